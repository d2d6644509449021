//! Settings as people write them: a name and a value, checked as far as that is possible without knowing whom they are for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::Failure;
use super::fleet::Fleet;
use crate::device::{Group, Key, Mac};
use crate::firmware::Wish;
use crate::profile::{LaidSetting, check_fact, check_raw_name};
use crate::provision::{DEVICE_SETTINGS, FIRMWARE, HARDWARE, RELEASE_SETTINGS, device_window};

/// What the name of a raw parameter begins with.
pub(crate) const RAW: &str = "raw:";

/// Characters of a name and of a value.
const NAME_CHARS_MAX: usize = 120;
const VALUE_CHARS_MAX: usize = 1_024;

/// A name, and its value; `None` removes.
pub(crate) type Setting = (String, Option<String>);

/// The vendor's name of a raw parameter.
pub(crate) fn raw_of(name: &str) -> Option<&str> {
    name.strip_prefix(RAW)
}

/// `NAME=VALUE`; `NAME=` removes.
pub(crate) fn assigned(text: &str) -> Result<Setting, Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| refuse("there is no '='"))?;
    checked(name, Some(value).filter(|value| !value.is_empty()))
}

/// A setting that is to be removed. What stands in a table can always be taken out of it.
pub(crate) fn removed(name: &str) -> Setting {
    (name.to_owned(), None)
}

/// A fact of the site must have a value that it can have, a raw parameter a name that it can have.
pub(crate) fn checked(name: &str, value: Option<&str>) -> Result<Setting, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match raw_of(name) {
        Some(raw) => check_raw_name(raw).map_err(|reason| refuse(&reason))?,
        None if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) => {
            return Err(refuse("a name has letters, digits, '.', '_' and '-'; a raw parameter is raw:NAME"));
        }
        None => {}
    }
    let unsafe_in_files = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let long = value.is_some_and(|value| value.chars().count() > VALUE_CHARS_MAX);
    if long || value.is_some_and(|value| value.contains(unsafe_in_files)) {
        return Err(refuse("a value has no control characters, and at most 1024 others"));
    }
    if let Some(Err(reason)) = value.and_then(|value| check_fact(name, value)) {
        return Err(refuse(&format!("{name}: {reason}")));
    }
    if let Some(Err(reason)) = value.filter(|_| name == FIRMWARE).map(str::parse::<Wish>) {
        return Err(refuse(&reason));
    }
    if name == HARDWARE && value.is_some_and(|value| value.trim() != value || value.contains(['*', '?'])) {
        return Err(refuse(
            "a hardware revision stands as its label has it, without blanks around it, '*' and '?'",
        ));
    }
    if name.starts_with(RELEASE_SETTINGS) {
        check_release(name, value)?;
    }
    Ok((name.to_owned(), value.map(str::to_owned)))
}

fn refuse(reason: &str) -> Failure {
    let message = format!("a setting is not understood: {reason}");
    Failure::usage("setting", message, "write NAME=VALUE, or NAME= to remove it")
}

/// A window of this phone alone.
fn check_release(name: &str, value: Option<&str>) -> Result<(), Failure> {
    let names = DEVICE_SETTINGS.map(|(name, _)| name);
    let refuse = |message: String| {
        let remedy =
            format!("a phone's own windows are {}: write NAME=20m, or NAME= to remove it", names.join(", "));
        Failure::usage("setting", message, remedy)
    };
    if !names.contains(&name) {
        return Err(refuse(format!("no phone has a setting '{name}' of its own")));
    }
    let checked = value.map_or(Ok(()), |value| device_window(name, value).map(|_| ()));
    checked.map_err(|reason| {
        let message = if reason.starts_with(name) { reason } else { format!("{name}: {reason}") };
        refuse(message)
    })
}

/// What phones have in common, as `site show` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct CommonShown {
    /// `site`, `VENDOR` or `VENDOR/MODEL`.
    of: String,
    /// What holds for these phones unless they have something of their own, and where it comes from.
    settings: Vec<LaidSetting>,
    /// Their own plan of function keys.
    keys: Vec<Key>,
    /// Vendors and models for which something is set.
    groups: Vec<String>,
    /// What a person should know of what was just set.
    notes: Vec<String>,
}

impl CommonShown {
    pub(crate) fn new(fleet: &Fleet<'_>, group: &Group, notes: Vec<String>) -> Self {
        let commons = fleet.store.inventory().commons();
        let keys = commons.of(group).map(|common| common.keys.values().cloned().collect());
        let below = commons.groups.keys().filter(|other| **other != Group::Site);
        Self {
            of: group.to_string(),
            settings: fleet.laid_of(group),
            keys: keys.unwrap_or_default(),
            groups: below.map(ToString::to_string).collect(),
            notes,
        }
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.of);
        text.push_str(&settings_text(&self.settings));
        for key in &self.keys {
            let _ = writeln!(text, "  key {}: {}", key.number, super::view::key_text(key, None));
        }
        if !self.groups.is_empty() {
            let _ = writeln!(text, "  more is set for {}", self.groups.join(", "));
        }
        text
    }
}

/// Settings for a person, each with its layer.
pub(crate) fn settings_text(settings: &[LaidSetting]) -> String {
    let width = settings.iter().map(|setting| setting.name.chars().count()).max().unwrap_or_default();
    let line = |setting: &LaidSetting| {
        let LaidSetting { name, value, layer } = setting;
        let value = value.as_deref().unwrap_or("-");
        format!("  {name:<width$}  {value}  ({})\n", layer.as_str())
    };
    settings.iter().map(line).collect()
}

/// What was set for a phone, with what a person should know of it.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceSet {
    pub(crate) mac: Mac,
    /// Its own.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_name_and_a_value() {
        assert_eq!(assigned("a.b=c=d").unwrap(), ("a.b".to_owned(), Some("c=d".to_owned())));
        assert_eq!(assigned("a=").unwrap(), ("a".to_owned(), None));
        assert_eq!(assigned("vlan=").unwrap(), ("vlan".to_owned(), None));
        assert_eq!(assigned("raw:P2=x y").unwrap(), ("raw:P2".to_owned(), Some("x y".to_owned())));
        for right in ["raw:user_mailbox[1]=*97", "raw:sip line1 vmail=*97", "firmware=108.86.0.90 downgrade"]
        {
            assert!(assigned(right).is_ok(), "{right}");
        }
        for wrong in [
            "a",
            "=b",
            "a b=c",
            "a=b\nc",
            "vlan=4095",
            "timezone=Mars/Olympus",
            "raw:=x",
            "raw:a  b=x",
            "raw:a =x",
            "raw:a[]=x",
            "firmware=newest",
            "hardware= 1.0",
            "hardware=1.*",
        ] {
            assert!(assigned(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_window_of_a_phone_is_checked() {
        for right in ["release.window=20m", "release.webui_window=none", "release.menu_window="] {
            assert!(assigned(right).is_ok(), "{right}");
        }
        let rows = [
            ("release.window=59s", "release.window: '59s' is no window; write 1m to 24h"),
            ("release.sip_window=25h", "release.sip_window: '25h' is no window"),
            ("release.window=none", "release.window is none, but only the web password"),
            ("release.window=soon", "release.window: 'soon' is not a length of time"),
            ("release.prov_window=20m", "no phone has a setting 'release.prov_window' of its own"),
        ];
        for (wrong, message) in rows {
            let failure = assigned(wrong).unwrap_err();
            assert!(failure.message.starts_with(message), "{wrong}: {}", failure.message);
            assert!(failure.remedy.contains("release.webui_window"), "{}", failure.remedy);
        }
    }
}
