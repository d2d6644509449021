//! How a phone behaves: the `[simulate]` section of its vendor's profile with every word filled in. Data only; nothing
//! else of the profiles is read here than the model's table and the retention.

use super::spec::PhoneSpec;
use crate::profile::{Model, Retention, Simulate};

/// Without a version in profile and command, a phone still calls itself something.
const FIRMWARE: &str = "1.0.0";
/// The header of a SUBSCRIBE as most phones send it.
const USUAL_SUBSCRIBE: [&str; 12] = [
    "Via: SIP/2.0/UDP {local};branch=z9hG4bK{branch}",
    "From: <{uri}>;tag={tag}",
    "To: <{uri}>",
    "Call-ID: {call}@{ip}",
    "CSeq: 1 SUBSCRIBE",
    "Contact: <sip:{user}@{local}>",
    "Max-Forwards: 70",
    "User-Agent: {user_agent}",
    "Expires: 0",
    "Event: {event}",
    "Accept: application/url",
    "Content-Length: 0",
];
/// Most phones speak SIP from here.
const SIP_PORT: u16 = 5060;

/// One phone's habits.
#[derive(Debug, Clone)]
pub(super) struct Habits {
    /// The firmware it claims.
    pub(super) firmware: String,
    /// User-Agent of its HTTP requests.
    pub(super) user_agent: String,
    /// User-Agent of its SIP messages; some send none.
    pub(super) sip_user_agent: Option<String>,
    /// Server of its SIP answers; most send none.
    pub(super) sip_server: Option<String>,
    /// The URI it subscribes to; a phone without one never asks by multicast.
    pub(super) subscribe_uri: Option<String>,
    /// Its Event header.
    pub(super) event: String,
    /// The header lines of its SUBSCRIBE.
    pub(super) subscribe: Vec<String>,
    /// The port that its SIP leaves by, where it is free.
    pub(super) sip_port: u16,
    /// The files it asks for below a URL that is a folder, in its order, and whether each ends the search.
    pub(super) fetch: Vec<(String, bool)>,
    /// The second name it asks for beside a file, with `{stem}` and `{ending}`.
    pub(super) beside: Option<String>,
    /// Whether it loses what its files do not name.
    pub(super) forgets: bool,
    /// How it reads, and what it makes of that.
    pub(super) sheet: Simulate,
    /// The phone's own macros in URLs, the longest first.
    macros: Vec<(String, String)>,
    mac: String,
}

impl Habits {
    /// The habits of this phone.
    pub(super) fn of(spec: &PhoneSpec) -> Self {
        let table = spec.profile.table(&spec.model);
        let whole = spec.profile.simulate().cloned().unwrap_or_default();
        let family = table.family.as_deref();
        // A table may name only the first number of a model's firmware (`108`): no phone calls itself that.
        let whole_version = table.firmware.clone().filter(|version| version.contains('.'));
        let firmware = spec.firmware.clone().or(whole_version).or(whole.played(family, None).firmware);
        let firmware = firmware.unwrap_or_else(|| FIRMWARE.to_owned());
        let mut sheet = whole.played(family, Some(&firmware));
        let words = Words::of(spec, &firmware, table);
        let fill = |text: &Option<String>| text.as_deref().map(|text| words.fill(text)).unwrap_or_default();
        let fetch = sheet.fetch.iter().filter(|name| words.knows(name));
        let fetch = fetch.map(|name| (words.fill(name), sheet.ends.contains(name))).collect();
        let mut macros: Vec<(String, String)> =
            sheet.macros.iter().map(|(name, value)| (name.clone(), words.fill(value))).collect();
        macros.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let usual = || USUAL_SUBSCRIBE.map(str::to_owned).to_vec();
        let subscribe = std::mem::take(&mut sheet.subscribe);
        let subscribe = if subscribe.is_empty() { usual() } else { subscribe };
        let user_agent = fill(&sheet.user_agent);
        let sip_user_agent =
            sheet.sip_user_agent.as_deref().map_or(user_agent.clone(), |text| words.fill(text));
        let retention = sheet.retention.unwrap_or(spec.profile.retention(Some(&spec.model)));
        Self {
            sip_user_agent: Some(sip_user_agent).filter(|agent| !agent.is_empty()),
            user_agent,
            sip_server: sheet.sip_server.as_deref().map(|text| words.fill(text)),
            subscribe_uri: sheet.subscribe_uri.as_deref().map(|uri| words.fill(uri)),
            event: fill(&sheet.event),
            subscribe: subscribe.iter().map(|line| words.fill(line)).collect(),
            sip_port: sheet.sip_port.unwrap_or(SIP_PORT),
            fetch,
            beside: sheet.beside.as_deref().map(|name| words.fill(name)),
            forgets: retention == Retention::Replace,
            macros,
            mac: spec.mac.bare(),
            firmware,
            sheet,
        }
    }

    /// A URL with the phone's own macros filled in, as it does before it asks.
    pub(super) fn expand(&self, url: &str) -> String {
        self.macros.iter().fold(url.to_owned(), |url, (name, value)| url.replace(name, value))
    }

    /// Whether a file name carries this phone's MAC.
    pub(super) fn names_me(&self, name: &str) -> bool {
        name.to_ascii_lowercase().contains(&self.mac)
    }

    /// A setting as people know it: a user's name behind the colon is the reader's, to keep its users apart.
    pub(super) fn told<'n>(&self, name: &'n str) -> &'n str {
        let users = self.sheet.read.iter().flat_map(|read| &read.users);
        let user_of =
            |base: &String| name.strip_prefix(base.as_str()).is_some_and(|rest| rest.starts_with(':'));
        users.into_iter().find(|base| user_of(base)).and_then(|base| name.get(..base.len())).unwrap_or(name)
    }
}

/// What the words of a profile's texts stand for.
struct Words<'m> {
    known: Vec<(&'static str, String)>,
    table: &'m Model,
}

impl<'m> Words<'m> {
    fn of(spec: &PhoneSpec, firmware: &str, table: &'m Model) -> Self {
        let colons = spec.mac.to_string();
        let (bare, dashes) = (spec.mac.bare(), colons.replace(':', "-"));
        let known = [
            ("{MAC:}", colons.to_ascii_uppercase()),
            ("{mac:}", colons),
            ("{MAC-}", dashes.to_ascii_uppercase()),
            ("{mac-}", dashes),
            ("{MAC}", bare.to_ascii_uppercase()),
            ("{mac}", bare),
            ("{MODEL}", spec.model.to_ascii_uppercase()),
            ("{model}", spec.model.clone()),
            ("{firmware}", firmware.to_owned()),
        ];
        let common = table.common.clone().map(|common| ("{common}", common));
        Self { known: known.into_iter().chain(common).collect(), table }
    }

    fn fill(&self, text: &str) -> String {
        let text = self.known.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value));
        let fact = |rest: &str| {
            let (name, behind) = rest.split_once('}')?;
            Some(format!("{}{behind}", self.table.fact(name)?))
        };
        let mut parts = text.split("{facts.");
        let begin = parts.next().unwrap_or_default().to_owned();
        parts.fold(begin, |text, rest| text + &fact(rest).unwrap_or_else(|| format!("{{facts.{rest}")))
    }

    /// Whether this model has what the text needs: not every one has a common file.
    fn knows(&self, text: &str) -> bool {
        !self.fill(text).contains('{')
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::phone;
    use super::*;

    fn habits(vendor: &str, model: &str, firmware: Option<&str>, mac: &str) -> Habits {
        let firmware = firmware.map(str::to_owned);
        Habits::of(&PhoneSpec { model: model.to_owned(), firmware, ..phone(vendor, mac) })
    }

    #[test]
    fn user_agents_are_those_of_real_requests() {
        for (habits, capture) in [
            (
                habits("snom", "D785", Some("10.1.169.16"), "00041396D9B4"),
                "Mozilla/4.0 (compatible; snomD785-SIP 10.1.169.16 2010.12-00001-gd311851f1 (Feb 25 2019 - 14:19:43) 00041396D9B4 SXM:0 UXM:0 UXMC:0)",
            ),
            (
                habits("snom", "320", Some("8.4.18"), "00041327ffff"),
                "Mozilla/4.0 (compatible; snom320-SIP 8.4.18 1.1.3-s)",
            ),
            (
                habits("snom", "M900", Some("05.20.0001"), "000413b60680"),
                "Mozilla/4.0 (compatible; Snom M900 05.20.0001 000413b60680)",
            ),
            (
                habits("yealink", "T46G", Some("28.83.0.120"), "0015654aa937"),
                "Yealink SIP-T46G 28.83.0.120 00:15:65:4a:a9:37",
            ),
            (
                habits("yealink", "W70B", Some("146.85.0.5"), "805e0c1d654e"),
                "Yealink W70B 146.85.0.5 80:5e:0c:1d:65:4e",
            ),
        ] {
            assert_eq!(habits.user_agent, capture);
        }
    }

    #[test]
    fn a_phone_asks_for_its_own_files_in_its_own_case() {
        let names = |habits: &Habits| habits.fetch.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let snom = habits("snom", "D785", None, "00:04:13:ab:cd:ef");
        assert_eq!(names(&snom), ["snomD785.htm", "snomD785-000413ABCDEF.htm", "snomD785-firmware.htm"]);
        assert_eq!(snom.expand("http://h/{model}/{mac}.xml"), "http://h/snomD785/000413ABCDEF.xml");
        let yealink = habits("yealink", "T46U", None, "80:5E:C0:AA:BB:CC");
        assert!(names(&yealink).ends_with(&["y000000000108.cfg".to_owned(), "805ec0aabbcc.cfg".to_owned()]));
        assert_eq!(yealink.expand("http://h/$MAC.cfg"), "http://h/805ec0aabbcc.cfg");
    }

    #[test]
    fn families_and_old_firmware_lie_over_the_section() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("acme")).unwrap();
        let text = r#"
            schema = 1
            display_name = "Acme"
            retention = "keep"
            [simulate]
            user_agent = "phone {model} {mac:} {facts.part}"
            fetch = ["{MAC}.xml", "{common}"]
            [simulate.before."8.10"]
            user_agent = "old {firmware}"
            [simulate.before."2"]
            sip_user_agent = ""
            [simulate.family.dect]
            fetch = ["base-{mac-}.xml"]
            retention = "replace"
            [models."*"]
            family = "desk"
            [models.M900]
            family = "dect"
            firmware = "9.10"
            facts = { part = 7 }
        "#;
        std::fs::write(folder.path().join("acme/profile.toml"), text).unwrap();
        let (catalog, errors) = crate::profile::Catalog::load(Some(folder.path()));
        assert_eq!(errors, []);
        let profile = catalog.get(&crate::device::Vendor::new("acme")).unwrap();
        let of = |model: &str, firmware: Option<&str>| {
            let spec = PhoneSpec::new(profile.clone(), "000413000001".parse().unwrap());
            let firmware = firmware.map(str::to_owned);
            Habits::of(&PhoneSpec { model: model.to_owned(), firmware, ..spec })
        };
        let (desk, base) = (of("X1", Some("8.10")), of("M900", None));
        assert_eq!((desk.fetch, desk.forgets), (vec![("000413000001.xml".to_owned(), false)], false));
        assert_eq!(
            (base.fetch, base.forgets),
            (vec![("base-00-04-13-00-00-01.xml".to_owned(), false)], true)
        );
        assert_eq!(base.user_agent, "phone M900 00:04:13:00:00:01 7");
        assert_eq!((base.firmware.as_str(), base.sip_user_agent), ("9.10", Some(base.user_agent)));
        let (old, oldest) = (of("X1", Some("8.9.3")), of("X1", Some("1")));
        assert_eq!(
            (old.user_agent.as_str(), old.sip_user_agent.as_deref()),
            ("old 8.9.3", Some("old 8.9.3"))
        );
        assert_eq!((oldest.user_agent.as_str(), oldest.sip_user_agent), ("old 1", None));
    }
}
