//! By which ways a vendor's phones can be reached, and what a running phone is told by SIP. Reads what profiles write;
//! sends nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use toml::Spanned;

use super::build::Findings;
use super::schema::ModelToml;

/// The one scheme there is: a NOTIFY out of any dialog (RFC 6665 calls it unsolicited).
const SIP_NOTIFY: &str = "sip-notify";
/// What a row of `[[push]]` says of phones that cannot be told.
const NONE: &str = "none";
/// Octets of a body: it goes into one datagram, beside some 500 of headers.
const BODY_BYTES_MAX: usize = 700;

/// By which ways a vendor's phones can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// They multicast a SUBSCRIBE and follow the URL of the NOTIFY.
    pub pnp: bool,
    /// They read DHCP option 66.
    pub option66: bool,
    /// They read DHCP option 43.
    pub option43: bool,
    /// They read DHCP option 150.
    pub option150: bool,
    /// They read DHCP option 160.
    pub option160: bool,
    /// They fetch by TFTP.
    pub tftp: bool,
    /// The vendor's redirection service (`yealink-rps`).
    pub redirect: Option<String>,
    /// How a running phone is told to fetch again (`sip-notify:check-sync;reboot=false`).
    pub resync: Option<Means>,
    /// How a running phone is told to start anew (`sip-notify:check-sync;reboot=true`).
    pub reboot: Option<Means>,
    /// How a running phone is told its URL (`sip-notify:ua-profile`).
    pub point: Option<Means>,
    /// What has to be set so that a phone takes a NOTIFY from here, in a sentence for people.
    pub permit: Option<String>,
    /// How the URL is set by the phone's own web interface.
    pub web: Option<String>,
    /// What holds for some models in place of `resync`, `reboot`, `point` and `permit`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) push: Vec<Push>,
}

/// What a phone can be told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// To look whether its configuration has changed.
    Resync,
    /// To start anew, which makes it look as well.
    Reboot,
    /// Where its configuration is.
    Point,
}

/// A way to tell a running phone something, as the profile writes it: `sip-notify:EVENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Means {
    /// The Event header: a package and its parameters (RFC 6665 section 8.2.1).
    pub event: String,
    /// What the NOTIFY says beside its event, where phones of this kind want that.
    pub body: Option<Body>,
}

/// The body of a NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Its media type.
    pub content_type: String,
    /// Lines end in LF here, and in CR LF on the wire.
    pub text: String,
}

/// What holds for some models of a vendor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Push {
    models: Vec<String>,
    families: Vec<String>,
    resync: Option<Rule>,
    reboot: Option<Rule>,
    point: Option<Rule>,
    permit: Option<String>,
}

/// A way, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule(Option<Means>);

/// `reach = { … }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReachToml {
    pnp: bool,
    option66: bool,
    option43: bool,
    option150: bool,
    option160: bool,
    tftp: bool,
    redirect: Option<String>,
    resync: Option<Spanned<String>>,
    reboot: Option<Spanned<String>>,
    point: Option<Spanned<String>>,
    permit: Option<String>,
    web: Option<String>,
}

/// `[[push]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PushToml {
    models: Vec<Spanned<String>>,
    families: Vec<Spanned<String>>,
    resync: Option<Spanned<String>>,
    reboot: Option<Spanned<String>>,
    point: Option<Spanned<String>>,
    permit: Option<String>,
    body: Option<Spanned<Body>>,
}

impl Reach {
    /// Reads `reach` and the rows of `[[push]]`; `parent` stands in for a table that is not there.
    pub(super) fn read(
        reach: Option<&ReachToml>,
        push: &[Spanned<PushToml>],
        parent: Option<&Self>,
        models: &BTreeMap<String, ModelToml>,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut read = match (reach, parent) {
            (Some(toml), _) => toml.read(findings),
            (None, Some(parent)) => parent.clone(),
            (None, None) => Self::default(),
        };
        if reach.is_some() || !push.is_empty() {
            let rows = push.iter().enumerate();
            read.push = rows.map(|(at, row)| row.get_ref().read(at, row.span(), models, findings)).collect();
        }
        read
    }

    /// The ways in, each in a word, for listings.
    pub fn words(&self) -> Vec<String> {
        let flags = [
            (self.pnp, "pnp"),
            (self.option66, "option66"),
            (self.option43, "option43"),
            (self.option150, "option150"),
            (self.option160, "option160"),
            (self.tftp, "tftp"),
            (self.web.is_some(), "web"),
            (self.resync.is_some(), "resync"),
            (self.reboot.is_some(), "reboot"),
            (self.point.is_some(), "point"),
        ];
        let named = flags.into_iter().filter(|(has, _)| *has).map(|(_, word)| word.to_owned());
        named.chain(self.redirect.clone()).collect()
    }

    /// How a phone of this model and family is told something, if it can be.
    pub(super) fn means(&self, told: Told, model: Option<&str>, family: Option<&str>) -> Option<&Means> {
        let mut rules = self.push.iter().filter(|row| row.is_of(model, family));
        match rules.find_map(|row| row.rule(told)) {
            Some(Rule(means)) => means.as_ref(),
            None => match told {
                Told::Resync => self.resync.as_ref(),
                Told::Reboot => self.reboot.as_ref(),
                Told::Point => self.point.as_ref(),
            },
        }
    }

    /// What has to be set so that a phone of this model and family takes a NOTIFY.
    pub(super) fn permit(&self, model: Option<&str>, family: Option<&str>) -> Option<&str> {
        let mut rules = self.push.iter().filter(|row| row.is_of(model, family));
        rules.find_map(|row| row.permit.as_deref()).or(self.permit.as_deref())
    }
}

impl ReachToml {
    fn read(&self, findings: &mut Findings<'_>) -> Reach {
        let mut means = |text: &Option<Spanned<String>>, key: &str| {
            text.as_ref().and_then(|text| findings.parsed(text, key, str::parse::<Means>))
        };
        Reach {
            pnp: self.pnp,
            option66: self.option66,
            option43: self.option43,
            option150: self.option150,
            option160: self.option160,
            tftp: self.tftp,
            redirect: self.redirect.clone(),
            resync: means(&self.resync, "reach.resync"),
            reboot: means(&self.reboot, "reach.reboot"),
            point: means(&self.point, "reach.point"),
            permit: self.permit.clone(),
            web: self.web.clone(),
            push: Vec::new(),
        }
    }
}

impl PushToml {
    fn read(
        &self,
        at: usize,
        span: Range<usize>,
        models: &BTreeMap<String, ModelToml>,
        findings: &mut Findings<'_>,
    ) -> Push {
        let key = |name: &str| format!("push[{at}].{name}");
        if self.models.is_empty() && self.families.is_empty() {
            let remedy = "say of which: models = [\"…\"], families = [\"…\"]";
            findings.push(&key("models"), Some(span), "is of no phones", remedy);
        }
        for name in self.models.iter().filter(|name| !models.contains_key(name.get_ref())) {
            let message = format!("'{}' is no model of this profile", name.get_ref());
            findings.push(&key("models"), Some(name.span()), message, "add the table, or correct the name");
        }
        let has_family = |name: &str| models.values().any(|model| model.family.as_deref() == Some(name));
        for name in self.families.iter().filter(|name| !has_family(name.get_ref())) {
            let message = format!("'{}' is no family of this profile", name.get_ref());
            findings.push(&key("families"), Some(name.span()), message, "correct the name");
        }
        if let Some(body) = &self.body {
            for problem in body.get_ref().problems() {
                findings.push(&key("body"), Some(body.span()), problem, "");
            }
        }
        let body = self.body.as_ref().map(Spanned::get_ref);
        let mut rule = |text: &Option<Spanned<String>>, name: &str| {
            let text = text.as_ref()?;
            if text.get_ref() == NONE {
                return Some(Rule(None));
            }
            let means = findings.parsed(text, &key(name), str::parse::<Means>)?;
            Some(Rule(Some(Means { body: body.cloned(), ..means })))
        };
        let texts = |texts: &[Spanned<String>]| texts.iter().map(|text| text.get_ref().clone()).collect();
        Push {
            resync: rule(&self.resync, "resync"),
            reboot: rule(&self.reboot, "reboot"),
            point: rule(&self.point, "point"),
            permit: self.permit.clone(),
            models: texts(&self.models),
            families: texts(&self.families),
        }
    }
}

impl Push {
    fn is_of(&self, model: Option<&str>, family: Option<&str>) -> bool {
        let holds = |names: &[String], name: Option<&str>| {
            name.is_some_and(|name| names.iter().any(|one| one.eq_ignore_ascii_case(name)))
        };
        holds(&self.models, model) || holds(&self.families, family)
    }

    fn rule(&self, told: Told) -> Option<&Rule> {
        match told {
            Told::Resync => self.resync.as_ref(),
            Told::Reboot => self.reboot.as_ref(),
            Told::Point => self.point.as_ref(),
        }
    }
}

impl Body {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let is_type = self.content_type.split('/').count() == 2 && self.content_type.chars().all(visible);
        if !is_type {
            problems.push(format!("'{}' is no media type", self.content_type));
        }
        if self.text.chars().any(|c| c.is_control() && c != '\n') {
            problems.push("has a control character".to_owned());
        }
        if self.text.len() > BODY_BYTES_MAX {
            problems.push(format!("has {} bytes; {BODY_BYTES_MAX} fit", self.text.len()));
        }
        problems
    }
}

impl Told {
    /// The word of commands, rows and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::Reboot => "reboot",
            Self::Point => "point",
        }
    }
}

impl FromStr for Means {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, event)) = text.split_once(':') else {
            return Err(format!("'{text}' has no scheme: {SIP_NOTIFY}:EVENT, as {SIP_NOTIFY}:check-sync"));
        };
        if scheme != SIP_NOTIFY {
            return Err(format!("'{scheme}' is no way to tell a phone something; {SIP_NOTIFY} is one"));
        }
        let mut pieces = event.split(';');
        let package = pieces.next().unwrap_or_default();
        if !is_token(package) {
            return Err(format!("'{package}' is no event package: letters, digits and -.!%*_+`'~"));
        }
        match pieces.find(|piece| !is_parameter(piece)) {
            Some(piece) => Err(format!("'{piece}' is no parameter of an event: NAME or NAME=VALUE")),
            None => Ok(Self { event: event.to_owned(), body: None }),
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SIP_NOTIFY}:{}", self.event)
    }
}

impl Serialize for Means {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(means) => means.serialize(serializer),
            None => serializer.serialize_str(NONE),
        }
    }
}

/// RFC 3261 section 25.1: what stands without quotes.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

/// `NAME`, `NAME=TOKEN` or `NAME="TEXT"`, without blanks.
fn is_parameter(piece: &str) -> bool {
    let Some((name, value)) = piece.split_once('=') else { return is_token(piece) };
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let is_plain = |text: &str| text.chars().all(|c| visible(c) && c != '"' && c != '\\');
    is_token(name) && (is_token(value) || quoted.is_some_and(is_plain))
}

fn visible(c: char) -> bool {
    c.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;
    use crate::profile::fixture;

    #[test]
    fn what_a_phone_is_told_is_an_event_with_parameters() {
        let check = |text: &str, complaint: Option<&str>| match (text.parse::<Means>(), complaint) {
            (Ok(means), None) => assert_eq!(means.to_string(), text),
            (Err(error), Some(complaint)) => assert!(error.contains(complaint), "{text}: {error}"),
            (read, _) => panic!("{text}: {read:?}"),
        };
        check("sip-notify:check-sync", None);
        check("sip-notify:check-sync;reboot=false", None);
        check("sip-notify:ua-profile;profile-type=\"device\";vendor=\"x\"", None);
        check("sip-notify:x;ob", None);
        check("check-sync", Some("no scheme"));
        check("http:check-sync", Some("'http' is no way"));
        check("sip-notify:", Some("no event package"));
        check("sip-notify:check sync", Some("no event package"));
        check("sip-notify:check-sync;", Some("no parameter"));
        check("sip-notify:check-sync;=1", Some("no parameter"));
        check("sip-notify:check-sync; reboot=true", Some("no parameter"));
        check("sip-notify:a;b=\"c\"d\"", Some("no parameter"));
        check("sip-notify:a\r\nEvil: yes", Some("no event package"));
    }

    fn with(reach: &str, push: &str) -> Result<Catalog, String> {
        let mut files = fixture::lines();
        let text = String::from_utf8(files.files.remove("profile.toml").unwrap()).unwrap();
        let old = "reach = { pnp = true, option66 = true, redirect = \"yealink-rps\" }";
        assert!(text.contains(old));
        let reach = if reach.is_empty() { old } else { reach };
        let text = format!("{}\n{push}", text.replace(old, reach));
        files.files.insert("profile.toml".to_owned(), text.into_bytes());
        let (catalog, errors) = Catalog::of_folders(&[files]);
        match errors.first() {
            Some(error) => Err(error.to_string()),
            None => Ok(catalog),
        }
    }

    #[test]
    fn a_bad_way_is_told_with_its_place() {
        let check = |reach: &str, push: &str, complaints: &[&str]| {
            let error = with(reach, push).unwrap_err();
            assert!(complaints.iter().all(|part| error.contains(part)), "{error}");
        };
        check(
            "reach = { reboot = \"reboot\" }",
            "",
            &["yealink/profile.toml:7: reach.reboot: ", "no scheme"],
        );
        check("reach = { point = \"sip-notify:\" }", "", &["profile.toml:7: reach.point: "]);
        check("", "[[push]]\nresync = \"none\"\n", &["push[0].models: is of no phones"]);
        check("", "[[push]]\nfamilies = [\"x\"]\n", &["push[0].families: 'x' is no family"]);
        check("", "[[push]]\nmodels = [\"T46U\"]\nreboot = \"x\"\n", &["push[0].reboot: 'x' has no scheme"]);
        let body = "[[push]]\nmodels = [\"T46U\"]\nbody = { content_type = \"x\", text = \"\" }\n";
        check("", body, &["push[0].body: 'x' is no media type"]);
    }

    #[test]
    fn some_models_are_told_otherwise() {
        let reach = "reach = { resync = \"sip-notify:check-sync\", permit = \"switch it on\" }";
        let push = "[[push]]\nmodels = [\"T46U\"]\nresync = \"none\"\nreboot = \"sip-notify:service-control\"\n\
                    body = { content_type = \"text/plain\", text = \"action=reset\\n\" }\n";
        let catalog = with(reach, push).unwrap();
        let profile = catalog.get(&crate::device::Vendor::new("yealink")).unwrap();
        let told = |told, model| profile.means(told, model).map(ToString::to_string);
        assert_eq!(told(Told::Resync, None).as_deref(), Some("sip-notify:check-sync"));
        assert_eq!(told(Told::Resync, Some("T46U")), None);
        assert_eq!(told(Told::Reboot, None), None);
        let reboot = profile.means(Told::Reboot, Some("t46u")).unwrap();
        assert_eq!(
            (reboot.event.as_str(), reboot.body.as_ref().unwrap().text.as_str()),
            ("service-control", "action=reset\n")
        );
        assert_eq!(profile.permit(Some("T46U")), Some("switch it on"));
    }
}
