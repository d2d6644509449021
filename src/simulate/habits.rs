//! How phones of a model behave: names, patterns and texts, from the `[simulate]` section of the vendor's profile, with
//! what is known of snom and Yealink as the fallback. Data only; nothing else of the profiles is read here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::spec::{Brand, PhoneSpec};

/// One phone's habits, with every pattern filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Habits {
    /// The firmware it claims.
    pub(super) firmware: String,
    /// Whether it is a DECT base.
    pub(super) dect: bool,
    /// User-Agent of its HTTP requests.
    pub(super) user_agent: String,
    /// User-Agent of its SIP messages; old snom firmware sends none.
    pub(super) sip_user_agent: Option<String>,
    /// The URI it subscribes to.
    pub(super) subscribe_uri: String,
    /// Its Event header.
    pub(super) event: String,
    /// The files it asks for below a URL that is a folder, in its order.
    pub(super) fetch: Vec<String>,
    /// Whether it loses what its files do not name.
    pub(super) forgets: bool,
    words: Words,
}

/// What the macros of patterns and URLs stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Words {
    brand: Brand,
    model: String,
    firmware: String,
    mac: String,
    mac_colon: String,
    common: Option<String>,
}

/// As written, in a profile or below.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Written {
    user_agent: Option<String>,
    sip_user_agent: Option<String>,
    subscribe_uri: Option<String>,
    event: Option<String>,
    fetch: Option<Vec<String>>,
    retention: Option<String>,
    #[serde(flatten)]
    families: BTreeMap<String, toml::Value>,
}

/// The part of a profile that concerns the simulator.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProfileFile {
    retention: Option<String>,
    simulate: Written,
    models: BTreeMap<String, ModelFacts>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ModelFacts {
    family: Option<String>,
    firmware: Option<String>,
    common: Option<String>,
    aliases: Vec<String>,
}

impl Habits {
    /// The habits of this phone. A profile in the given folder comes before the built-in one.
    pub(super) fn of(spec: &PhoneSpec) -> Self {
        let profile = read_profile(spec.vendor, spec.profiles.as_deref());
        let facts = profile.facts(&spec.model);
        let dect = facts.family.as_deref().map_or_else(
            || looks_like_base(spec.vendor, &spec.model),
            |family| family.to_ascii_lowercase().contains("dect"),
        );
        let known = known(spec.vendor, dect);
        let firmware = spec
            .firmware
            .clone()
            .or(full_version(facts.firmware))
            .unwrap_or_else(|| known.firmware.to_owned());
        let words = Words {
            brand: spec.vendor,
            model: spec.model.clone(),
            firmware: firmware.clone(),
            mac: spec.mac.bare(),
            mac_colon: spec.mac.to_string(),
            common: facts.common.or_else(|| known_common(&spec.model).map(str::to_owned)),
        };
        let written = profile.written(facts.family.as_deref());
        let pick =
            |written: Option<String>, known: &str| words.fill(&written.unwrap_or_else(|| known.to_owned()));
        let mut habits = Self {
            firmware,
            dect,
            // A profile that says nothing extends one that does, and snom and Yealink keep.
            forgets: written.retention.as_deref() == Some("replace"),
            user_agent: pick(written.user_agent, known.user_agent),
            sip_user_agent: Some(pick(written.sip_user_agent, known.sip_user_agent)),
            subscribe_uri: pick(written.subscribe_uri, known.subscribe_uri),
            event: pick(written.event, known.event),
            fetch: written
                .fetch
                .unwrap_or_else(|| known.fetch.iter().map(|name| (*name).to_owned()).collect())
                .iter()
                .filter(|name| words.common.is_some() || !name.contains("{common}"))
                .map(|name| words.fill(name))
                .collect(),
            words,
        };
        habits.grow_old();
        habits
    }

    /// A URL with the macros of this vendor filled in, as the phone does it before it asks.
    pub(super) fn expand(&self, url: &str) -> String {
        let upper = self.words.mac.to_ascii_uppercase();
        match self.words.brand {
            Brand::Snom => {
                url.replace("{mac}", &upper).replace("{model}", &format!("snom{}", self.words.model))
            }
            Brand::Yealink => url
                .replace("$MAC", &self.words.mac)
                .replace("$mac", &self.words.mac)
                .replace("$PN", &format!("SIP-{}", self.words.model))
                .replace("{mac}", &self.words.mac)
                .replace("{model}", &self.words.model),
        }
    }

    /// Whether a file name carries this phone's MAC.
    pub(super) fn names_me(&self, name: &str) -> bool {
        name.to_ascii_lowercase().contains(&self.words.mac)
    }

    /// The phone's MAC as this vendor writes it in file names.
    pub(super) fn mac_in_names(&self) -> String {
        match self.words.brand {
            Brand::Snom => self.words.mac.to_ascii_uppercase(),
            Brand::Yealink => self.words.mac.clone(),
        }
    }

    /// snom before 8.7.5 (2013): no MAC in the HTTP User-Agent, and before 8 no User-Agent in the SUBSCRIBE.
    fn grow_old(&mut self) {
        if self.words.brand != Brand::Snom || self.dect {
            return;
        }
        let version: Vec<u32> = self.firmware.split('.').map_while(|part| part.parse().ok()).collect();
        if version.as_slice() < [8, 7, 5].as_slice() {
            let Words { model, firmware, .. } = &self.words;
            self.user_agent = format!("Mozilla/4.0 (compatible; snom{model}-SIP {firmware} 1.1.3-s)");
        }
        if version.first().is_some_and(|major| *major < 8) {
            self.sip_user_agent = None;
        }
    }
}

impl Words {
    fn fill(&self, pattern: &str) -> String {
        pattern
            .replace("{mac:}", &self.mac_colon)
            .replace("{mac}", &self.mac)
            .replace("{MAC}", &self.mac.to_ascii_uppercase())
            .replace("{model}", &self.model)
            .replace("{firmware}", &self.firmware)
            .replace("{common}", self.common.as_deref().unwrap_or_default())
    }
}

impl ProfileFile {
    fn facts(&self, model: &str) -> ModelFacts {
        let named = |name: &str| name.eq_ignore_ascii_case(model);
        self.models
            .iter()
            .find(|(name, facts)| named(name) || facts.aliases.iter().any(|alias| named(alias)))
            .map(|(_, facts)| facts)
            .or_else(|| self.models.get("*"))
            .cloned()
            .unwrap_or_default()
    }

    /// The section, with the family's own entries over it.
    fn written(&self, family: Option<&str>) -> Written {
        let base = self.simulate.clone();
        let own: Written = family
            .and_then(|family| base.families.get(family))
            .and_then(|table| table.clone().try_into().ok())
            .unwrap_or_default();
        Written {
            user_agent: own.user_agent.or(base.user_agent),
            sip_user_agent: own.sip_user_agent.or(base.sip_user_agent),
            subscribe_uri: own.subscribe_uri.or(base.subscribe_uri),
            event: own.event.or(base.event),
            fetch: own.fetch.or(base.fetch),
            retention: own.retention.or(base.retention).or(self.retention.clone()),
            families: BTreeMap::new(),
        }
    }
}

/// A profile may know only the first number of a model's firmware (`108`): no phone calls itself that.
fn full_version(firmware: Option<String>) -> Option<String> {
    firmware.filter(|version| version.split('.').count() > 1)
}

/// A profile of the folder that is missing or cannot be read leaves the built-in one; without either, what is known below
/// is used.
fn read_profile(brand: Brand, folder: Option<&Path>) -> ProfileFile {
    let built_in = match brand {
        Brand::Snom => include_str!("../../vendor-profiles/snom/profile.toml"),
        Brand::Yealink => include_str!("../../vendor-profiles/yealink/profile.toml"),
    };
    let own = folder.map(|folder| folder.join(brand.as_str()).join("profile.toml"));
    let own =
        own.and_then(|path| std::fs::read_to_string(path).ok()).and_then(|text| toml::from_str(&text).ok());
    own.or_else(|| toml::from_str(built_in).ok()).unwrap_or_default()
}

fn looks_like_base(brand: Brand, model: &str) -> bool {
    let mut letters = model.chars();
    let initial = letters.next().map(|c| c.to_ascii_uppercase());
    let numbered = letters.next().is_some_and(|c| c.is_ascii_digit());
    numbered
        && match brand {
            Brand::Snom => initial == Some('M'),
            Brand::Yealink => initial == Some('W'),
        }
}

/// What captures and public server code show of these phones; a profile's `[simulate]` section comes before it.
struct Known {
    firmware: &'static str,
    user_agent: &'static str,
    sip_user_agent: &'static str,
    subscribe_uri: &'static str,
    event: &'static str,
    fetch: &'static [&'static str],
}

fn known(brand: Brand, dect: bool) -> Known {
    match (brand, dect) {
        (Brand::Snom, false) => Known {
            firmware: "10.1.169.16",
            user_agent: "Mozilla/4.0 (compatible; snom{model}-SIP {firmware} 2010.12-00001-gd311851f1 (Feb 25 2019 - 14:19:43) {MAC} SXM:0 UXM:0 UXMC:0)",
            sip_user_agent: "snom{model}/{firmware}",
            subscribe_uri: "sip:MAC%3a{MAC}@224.0.1.75",
            event: r#"ua-profile;profile-type="device";vendor="snom";model="snom{model}";version="{firmware}""#,
            fetch: &["snom{model}.htm", "snom{model}-{MAC}.htm", "snom{model}-firmware.htm"],
        },
        (Brand::Snom, true) => Known {
            firmware: "05.20.0001",
            user_agent: "Mozilla/4.0 (compatible; Snom {model} {firmware} {mac})",
            sip_user_agent: "snom{model}/{firmware} (MAC={MAC}; SER= 00000; HW=255)",
            subscribe_uri: "sip:MAC%3a{MAC}@224.0.1.75",
            event: r#"ua-profile;profile-type="device";vendor="snom";model="snom{model}";version="{firmware}""#,
            fetch: &["snom{model}.htm", "snom{model}-{MAC}.htm"],
        },
        (Brand::Yealink, false) => Known {
            firmware: "108.86.0.90",
            user_agent: "Yealink SIP-{model} {firmware} {mac:}",
            sip_user_agent: "Yealink SIP-{model} {firmware}",
            subscribe_uri: "sip:MAC{mac}@224.0.1.75",
            event: r#"ua-profile;profile-type="device";vendor="Yealink";model="{model}";version="{firmware}""#,
            fetch: &["{mac}.boot", "y000000000000.boot", "{common}", "{mac}.cfg"],
        },
        (Brand::Yealink, true) => Known {
            firmware: "146.85.0.5",
            user_agent: "Yealink {model} {firmware} {mac:}",
            sip_user_agent: "Yealink {model} {firmware}",
            subscribe_uri: "sip:MAC{mac}@224.0.1.75",
            event: r#"ua-profile;profile-type="device";vendor="yealink";model="{model}";version="{firmware}""#,
            fetch: &["{mac}.boot", "y000000000000.boot", "{common}", "{mac}.cfg"],
        },
    }
}

/// The common files of the models that are simulated by default; the profile knows the others.
fn known_common(model: &str) -> Option<&'static str> {
    match model.to_ascii_uppercase().as_str() {
        "T46U" => Some("y000000000108.cfg"),
        "T54W" => Some("y000000000096.cfg"),
        "T46G" => Some("y000000000028.cfg"),
        "W70B" => Some("y000000000146.cfg"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn habits(brand: Brand, model: &str, firmware: Option<&str>, mac: &str) -> Habits {
        Habits::of(&PhoneSpec {
            model: model.to_owned(),
            firmware: firmware.map(str::to_owned),
            ..PhoneSpec::new(brand, mac.parse().unwrap())
        })
    }

    #[test]
    fn user_agents_are_those_of_real_requests() {
        for (habits, capture) in [
            (
                habits(Brand::Snom, "D785", Some("10.1.169.16"), "00041396D9B4"),
                "Mozilla/4.0 (compatible; snomD785-SIP 10.1.169.16 2010.12-00001-gd311851f1 (Feb 25 2019 - 14:19:43) 00041396D9B4 SXM:0 UXM:0 UXMC:0)",
            ),
            (
                habits(Brand::Snom, "320", Some("8.4.18"), "00041327ffff"),
                "Mozilla/4.0 (compatible; snom320-SIP 8.4.18 1.1.3-s)",
            ),
            (
                habits(Brand::Snom, "M900", Some("05.20.0001"), "000413b60680"),
                "Mozilla/4.0 (compatible; Snom M900 05.20.0001 000413b60680)",
            ),
            (
                habits(Brand::Yealink, "T46G", Some("28.83.0.120"), "0015654aa937"),
                "Yealink SIP-T46G 28.83.0.120 00:15:65:4a:a9:37",
            ),
            (
                habits(Brand::Yealink, "W70B", Some("146.85.0.5"), "805e0c1d654e"),
                "Yealink W70B 146.85.0.5 80:5e:0c:1d:65:4e",
            ),
        ] {
            assert_eq!(habits.user_agent, capture);
        }
    }

    #[test]
    fn a_phone_asks_for_its_own_files_in_its_own_case() {
        let snom = habits(Brand::Snom, "D785", None, "00:04:13:ab:cd:ef");
        assert_eq!(snom.fetch, ["snomD785.htm", "snomD785-000413ABCDEF.htm", "snomD785-firmware.htm"]);
        assert_eq!(snom.expand("http://h/{model}/{mac}.xml"), "http://h/snomD785/000413ABCDEF.xml");
        let yealink = habits(Brand::Yealink, "T46U", None, "80:5E:C0:AA:BB:CC");
        assert!(yealink.fetch.ends_with(&["y000000000108.cfg".to_owned(), "805ec0aabbcc.cfg".to_owned()]));
        assert_eq!(yealink.expand("http://h/$MAC.cfg"), "http://h/805ec0aabbcc.cfg");
    }

    #[test]
    fn a_profile_in_a_folder_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("snom")).unwrap();
        let text = r#"
            schema = 1
            [simulate]
            user_agent = "phone {model} {mac:}"
            fetch = ["{MAC}.xml"]
            [simulate.dect]
            fetch = ["base-{mac}.xml"]
            [models."*"]
            family = "desk"
            [models.M900]
            family = "dect"
            firmware = "07.10"
        "#;
        std::fs::write(folder.path().join("snom/profile.toml"), text).unwrap();
        let of = |model: &str| {
            Habits::of(&PhoneSpec {
                model: model.to_owned(),
                profiles: Some(folder.path().to_owned()),
                ..PhoneSpec::new(Brand::Snom, "000413000001".parse().unwrap())
            })
        };
        assert_eq!(of("D785").fetch, ["000413000001.xml"]);
        assert_eq!(of("M900").fetch, ["base-000413000001.xml"]);
        assert_eq!(of("M900").user_agent, "phone M900 00:04:13:00:00:01");
        assert_eq!(of("M900").firmware, "07.10");
        assert!(!of("D785").forgets);
        for (text, desk, base) in [
            (text.replace("[simulate]", "retention = \"replace\"\n[simulate]"), true, true),
            (text.replace("[simulate.dect]", "[simulate.dect]\nretention = \"replace\""), false, true),
        ] {
            std::fs::write(folder.path().join("snom/profile.toml"), text).unwrap();
            assert_eq!((of("D785").forgets, of("M900").forgets), (desk, base));
        }
    }
}
