//! What a profile says about the release of its phones' passwords: `[release]` as plain data. Decides nothing.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Serialize;

use super::build::Findings;
use super::schema::ReleaseToml;
use super::{Profile, ProfileFile};
use crate::release::{CloseOn, Window};
use crate::secret::SecretKind;

/// How a vendor wants its phones' passwords released, where it wants something particular. What is not here is as the
/// configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReleaseRules {
    /// A kind that has no parameter of its own, and the kind whose parameter it is: one grant for both, and the stricter
    /// of their rules.
    pub aliases: BTreeMap<SecretKind, SecretKind>,
    /// The time in which the bound phone may fetch.
    pub windows: BTreeMap<SecretKind, Window>,
    /// What else ends it.
    pub close_on: BTreeMap<SecretKind, CloseOn>,
}

impl ReleaseRules {
    /// The kind whose parameter holds a secret of this kind: itself, unless the profile names another.
    pub fn kind_of(&self, kind: SecretKind) -> SecretKind {
        self.aliases.get(&kind).copied().unwrap_or(kind)
    }
}

/// `[release]`, understood: what the release is told, and what no secret's line or element may match.
#[derive(Debug, Clone, Default)]
pub(super) struct Release {
    pub(super) rules: ReleaseRules,
    pub(super) rejects: Vec<Regex>,
}

impl Release {
    /// Reads the section over what the parent says; key by key, and rejects are added to the parent's.
    pub(super) fn read(
        toml: Option<&ReleaseToml>,
        parent: Option<&Profile>,
        files: &[ProfileFile],
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut release = parent.map(|parent| parent.release.clone()).unwrap_or_default();
        let Some(toml) = toml else { return release };
        for pattern in &toml.rejects {
            let regex = findings.pattern(pattern, "release.rejects");
            release.rejects.extend(regex);
        }
        let kinds = [
            (SecretKind::Sip, &toml.sip),
            (SecretKind::Menu, &toml.menu),
            (SecretKind::Webui, &toml.webui),
            (SecretKind::Prov, &toml.prov),
        ];
        for (kind, written) in kinds {
            if let Some(text) = &written.window {
                let key = format!("release.{kind}.window");
                let window = findings.parsed(text, &key, |text| window(kind, text));
                release.rules.windows.extend(window.map(|window| (kind, window)));
            }
            release.rules.close_on.extend(written.close_on.map(|close_on| (kind, close_on)));
        }
        for (kind, of) in &toml.alias {
            match alias(*kind, *of.get_ref(), toml, files) {
                Ok(()) => {
                    release.rules.aliases.insert(*kind, *of.get_ref());
                }
                Err(message) => {
                    let remedy = "an alias names a kind of the phone's own that a file's secrets name, for one that none names";
                    findings.push(&format!("release.alias.{kind}"), Some(of.span()), message, remedy);
                }
            }
        }
        release
    }
}

fn window(kind: SecretKind, text: &str) -> Result<Window, String> {
    let on_window_alone = matches!(kind, SecretKind::Sip | SecretKind::Menu);
    match text.parse()? {
        Window::UntilAcked if on_window_alone => {
            Err(format!("is none, but a {kind} password leaves only within a window; write 1m to 24h"))
        }
        window => Ok(window),
    }
}

fn alias(kind: SecretKind, of: SecretKind, toml: &ReleaseToml, files: &[ProfileFile]) -> Result<(), String> {
    let stands = |kind: SecretKind| files.iter().any(|file| file.secrets.contains(&kind));
    match (kind, of) {
        (SecretKind::Sip, _) | (_, SecretKind::Sip) => {
            Err("is about a SIP password, which is a line's and not the phone's".to_owned())
        }
        _ if kind == of => Err("is an alias of itself".to_owned()),
        _ if toml.alias.contains_key(&of) => Err(format!("names {of}, which is an alias itself")),
        _ if stands(kind) => Err(format!("is an alias, yet a file has {kind} among its secrets")),
        _ if !stands(of) => Err(format!("names {of}, which no file has among its secrets")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::catalog::Catalog;
    use super::super::fixture;
    use super::*;
    use crate::device::Vendor;

    const HEAD: &str = "schema = 1\ndisplay_name = 'Acme'\n";
    const FILE: &str =
        "[[file]]\npath = '{mac}.x'\ntemplate = 't'\nformat = 'line'\nsecrets = ['sip', 'webui']\n";

    fn catalog(text: &str) -> (Catalog, Vec<String>) {
        let profile = format!("{HEAD}{text}{FILE}");
        let acme = fixture::vendor("acme", &[("profile.toml", &profile), ("templates/t", "x\n")]);
        let child = format!("{HEAD}extends = 'acme'\n[release.sip]\nwindow = '90s'\n");
        let child = fixture::vendor("child", &[("profile.toml", &child)]);
        let (catalog, errors) = Catalog::of_folders(&[acme, child]);
        (catalog, errors.iter().map(ToString::to_string).collect())
    }

    fn check(text: &str, expected: &str) {
        let (_, found) = catalog(text);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{text}: {found:?}");
    }

    #[test]
    fn rules_are_read_and_handed_down() {
        let (catalog, errors) = catalog(
            "[release]\nalias = { menu = 'webui' }\n[release.sip]\nwindow = '5m'\nclose_on = 'acked'\n\
             [release.webui]\nwindow = 'none'\n",
        );
        assert_eq!(errors, [""; 0]);
        let rules = |vendor: &str| catalog.get(&Vendor::new(vendor)).unwrap().release().clone();
        let acme = rules("acme");
        assert_eq!(acme.kind_of(SecretKind::Menu), SecretKind::Webui);
        assert_eq!(acme.kind_of(SecretKind::Sip), SecretKind::Sip);
        assert_eq!(acme.windows.get(&SecretKind::Sip), Some(&Window::Of(Duration::from_mins(5))));
        assert_eq!(acme.close_on.get(&SecretKind::Sip), Some(&CloseOn::Acked));
        let json = serde_json::to_string(&acme).unwrap();
        let expected =
            r#"{"aliases":{"menu":"webui"},"windows":{"sip":300,"webui":null},"close_on":{"sip":"acked"}}"#;
        assert_eq!(json, expected);
        let child = rules("child");
        assert_eq!(child.windows.get(&SecretKind::Sip), Some(&Window::Of(Duration::from_secs(90))));
        assert_eq!((child.windows.len(), child.aliases, child.close_on), (2, acme.aliases, acme.close_on));
    }

    #[test]
    fn a_window_is_a_minute_to_a_day() {
        let at = "acme/profile.toml:4: release.sip.window: ";
        for (window, message) in [
            ("59s", "'59s' is no window; write 1m to 24h"),
            ("25h", "'25h' is no window; write 1m to 24h"),
            ("ten", "'ten' is not a length of time"),
            ("none", "is none, but a sip password leaves only within a window"),
        ] {
            check(&format!("[release.sip]\nwindow = '{window}'\n"), &format!("{at}{message}"));
        }
        for window in ["60s", "24h", "1d"] {
            assert_eq!(catalog(&format!("[release.sip]\nwindow = '{window}'\n")).1, [""; 0], "{window}");
        }
    }

    #[test]
    fn an_alias_names_a_kind_that_stands_in_a_file() {
        let alias = |text: &str| format!("[release]\nalias = {{ {text} }}\n");
        check(&alias("menu = 'prov'"), "acme/profile.toml:4: release.alias.menu: names prov, which no file");
        check(&alias("webui = 'prov'"), "is an alias, yet a file has webui among its secrets");
        check(&alias("menu = 'menu'"), "is an alias of itself");
        check(&alias("menu = 'sip'"), "is about a SIP password");
        check(
            &alias("menu = 'webui', prov = 'menu'"),
            "release.alias.prov: names menu, which is an alias itself",
        );
        check(&alias("menu = 'wifi'"), "unknown variant `wifi`");
        check("[release]\nrejects = ['(']\n", "release.rejects: is no regular expression");
        check("[release.menu]\nclose_on = 'never'\n", "unknown variant `never`");
    }
}
