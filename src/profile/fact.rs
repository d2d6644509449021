//! The facts of the site that some phones may have otherwise: settings of the same names in the layers of vendor, model,
//! site and device. What was
//! stored and is not understood is left out with a note, because a phone without its file is worse off than one with the
//! site's time zone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::layers::{LaidSetting, Stack};
use super::subject::Site;
use super::zone::Zone;
use crate::device::Layer;

/// Overwrites one fact, or says what its value must be.
type Lay = fn(&mut Site, &str) -> Result<(), String>;

/// The facts by their neutral names.
const FACTS: [(&str, Lay); 10] = [
    ("language", |site, value| put(&mut site.language, language(value))),
    ("country", |site, value| put(&mut site.country, country(value))),
    ("timezone", |site, value| put(&mut site.timezone, timezone(value))),
    ("ntp", |site, value| put(&mut site.ntp, host(value).map(Some))),
    ("vlan", |site, value| put(&mut site.vlan, number(value, 1, 4094))),
    ("vlan_priority", |site, value| put(&mut site.vlan_priority, number(value, 0, 7))),
    ("tones", |site, value| put(&mut site.tones, country(value).map(Some))),
    ("codecs", |site, value| put(&mut site.codecs, codecs(value))),
    ("resync_minutes", |site, value| put(&mut site.resync_minutes, minutes(value))),
    ("pickup_code", |site, value| put(&mut site.pickup_code, pickup_code(value))),
];

/// A year; a phone that looks less often than that does not look at all.
const RESYNC_MINUTES_MAX: u32 = 525_600;

/// The word for a fact that this phone shall not have, though the site has it.
const NONE: &str = "none";

/// Whether a setting of this name is a fact of the site.
pub fn is_fact(name: &str) -> bool {
    FACTS.iter().any(|(fact, _)| *fact == name)
}

/// Whether a fact of the site can have this value; `None` when no fact has this name.
pub fn check_fact(name: &str, value: &str) -> Option<Result<(), String>> {
    lay(&mut Site::default(), name, value)
}

fn lay(site: &mut Site, name: &str, value: &str) -> Option<Result<(), String>> {
    let (_, lay) = FACTS.iter().find(|(fact, _)| *fact == name)?;
    Some(lay(site, value.trim()))
}

fn put<T>(fact: &mut T, value: Result<T, String>) -> Result<(), String> {
    *fact = value?;
    Ok(())
}

impl Site {
    /// The site as this phone has it, and what in the settings for it was not understood.
    pub(super) fn seen_by(&self, stack: &Stack<'_>) -> (Cow<'_, Self>, Vec<String>) {
        let mut site = Cow::Borrowed(self);
        let mut notes = Vec::new();
        for (layer, name, value) in stack.facts(self) {
            if !is_fact(name) {
                continue;
            }
            if let Some(Err(reason)) = lay(site.to_mut(), name, value) {
                let whose = if layer == Layer::Device { "phone's own" } else { layer.as_str() };
                notes.push(format!("the {whose} setting {name} is left out: {reason}"));
            }
        }
        (site, notes)
    }

    /// Each fact as the phone has it, and the layer that it comes from.
    pub(super) fn facts_of(&self, stack: &Stack<'_>) -> Vec<LaidSetting> {
        let mut site = self.clone();
        let mut layers: BTreeMap<&str, Layer> = BTreeMap::new();
        for (layer, name, value) in stack.facts(self) {
            if let Some(Ok(())) = lay(&mut site, name, value) {
                layers.insert(name, layer);
            }
        }
        let basis = |name| if self.is_written(name) { Layer::Configuration } else { Layer::Default };
        let shown = FACTS.iter().map(|(name, _)| LaidSetting {
            name: (*name).to_owned(),
            value: site.fact(name),
            layer: layers.get(name).copied().unwrap_or_else(|| basis(name)),
        });
        shown.collect()
    }

    /// A fact as a text; `None`: there is none, or it follows from where the phone is.
    fn fact(&self, name: &str) -> Option<String> {
        match name {
            "language" => Some(self.language.clone()),
            "country" => Some(self.country.clone()),
            "timezone" => Some(self.timezone.clone()),
            "ntp" => self.ntp.clone(),
            "vlan" => self.vlan.map(|vlan| vlan.to_string()),
            "vlan_priority" => self.vlan_priority.map(|priority| priority.to_string()),
            "tones" => Some(self.tones.clone().unwrap_or_else(|| self.country.clone())),
            "codecs" => Some(self.codecs.join(",")),
            "resync_minutes" => Some(self.resync_minutes.to_string()),
            "pickup_code" => self.pickup_code.clone(),
            _ => None,
        }
    }
}

fn language(value: &str) -> Result<String, String> {
    let mut words = value.split(['-', '_']);
    let first = words.next().is_some_and(|word| matches!(word.len(), 2 | 3) && letters(word));
    let rest =
        words.all(|word| (2..=8).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric()));
    if first && rest {
        Ok(value.to_owned())
    } else {
        Err("must be a language such as de or en-AU".to_owned())
    }
}

fn country(value: &str) -> Result<String, String> {
    let reason = || "must be a country of two letters, such as de".to_owned();
    (value.len() == 2 && letters(value)).then(|| value.to_ascii_lowercase()).ok_or_else(reason)
}

fn timezone(value: &str) -> Result<String, String> {
    Zone::named(value).map(|zone| zone.name).map_err(|error| error.to_string())
}

fn minutes(value: &str) -> Result<u32, String> {
    let minutes = value.parse().ok().filter(|minutes| *minutes <= RESYNC_MINUTES_MAX);
    minutes.ok_or_else(|| format!("must be 0 to {RESYNC_MINUTES_MAX} minutes (0: only at boot)"))
}

fn letters(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn host(value: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let fits = !value.is_empty() && value.len() <= 255 && value.bytes().all(plain);
    fits.then(|| value.to_owned()).ok_or_else(|| "must be a host's name or address".to_owned())
}

/// A number in these bounds; `none` for no number.
fn number<T>(value: &str, least: T, most: T) -> Result<Option<T>, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    if value.eq_ignore_ascii_case(NONE) {
        return Ok(None);
    }
    let number = value.parse().ok().filter(|number| *number >= least && *number <= most);
    number.map(Some).ok_or_else(|| format!("must be {least} to {most}, or {NONE}"))
}

fn codecs(value: &str) -> Result<Vec<String>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let codecs: Vec<String> = value.split(',').map(|codec| codec.trim().to_ascii_lowercase()).collect();
    let fits = codecs.iter().all(|codec| !codec.is_empty() && codec.bytes().all(plain));
    fits.then_some(codecs).ok_or_else(|| "must be codecs with commas between them: g722,pcma".to_owned())
}

fn pickup_code(value: &str) -> Result<Option<String>, String> {
    if value.eq_ignore_ascii_case(NONE) {
        return Ok(None);
    }
    let dialled = |byte: u8| byte.is_ascii_digit() || b"*#+".contains(&byte);
    let fits = (1..=16).contains(&value.len()) && value.bytes().all(dialled);
    fits.then(|| Some(value.to_owned()))
        .ok_or_else(|| format!("must be what is dialled, such as *8, or {NONE}"))
}

#[cfg(test)]
mod tests {
    use super::super::case::blank_device;
    use super::super::subject::Subject;
    use super::*;
    use crate::device::{Commons, Device, Vendor};

    fn phone(settings: &[(&str, &str)]) -> Device {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mac = "805ec0aabbcc".parse().unwrap();
        Device { settings: settings.collect(), ..blank_device(mac, &Vendor::new("yealink")) }
    }

    fn seen<'s>(site: &'s Site, phone: &'s Device) -> (Cow<'s, Site>, Vec<String>) {
        let commons = Commons::default();
        let subject = Subject {
            device: Some(phone),
            model: None,
            site,
            commons: &commons,
            host: "h",
            base: "http://h/",
            supplied: &crate::profile::NOTHING_SUPPLIED,
        };
        site.seen_by(&Stack::new(&subject, "yealink", None, None))
    }

    #[test]
    fn a_phones_own_settings_lie_over_the_sites_facts() {
        let site = Site { vlan: Some(20), pickup_code: Some("*8".to_owned()), ..Site::default() };
        let phone = phone(&[
            ("codecs", "OPUS, pcma"),
            ("country", "DE"),
            ("language", "de"),
            ("ntp", "ntp.example"),
            ("pickup_code", "none"),
            ("resync_minutes", "0"),
            ("timezone", "america/new_york"),
            ("tones", "gb"),
            ("vlan", "30"),
            ("vlan_priority", "5"),
            ("voicemail", "*97"),
        ]);
        let expected = Site {
            codecs: ["opus", "pcma"].map(str::to_owned).to_vec(),
            country: "de".to_owned(),
            language: "de".to_owned(),
            ntp: Some("ntp.example".to_owned()),
            pickup_code: None,
            resync_minutes: 0,
            timezone: "America/New_York".to_owned(),
            tones: Some("gb".to_owned()),
            vlan: Some(30),
            vlan_priority: Some(5),
            ..Site::default()
        };
        let (seen, notes) = seen(&site, &phone);
        assert_eq!((seen.as_ref(), notes), (&expected, Vec::new()));
    }

    #[test]
    fn what_is_not_understood_leaves_the_sites_fact_and_a_note() {
        let site = Site { vlan: Some(20), ..Site::default() };
        let phone = phone(&[("timezone", "Mars/Olympus"), ("vlan", "4095")]);
        let (seen, notes) = seen(&site, &phone);
        assert_eq!(seen.as_ref(), &site);
        assert!(
            matches!(notes.as_slice(), [zone, vlan] if zone.contains("Mars") && vlan.contains("4094")),
            "{notes:?}"
        );
    }

    #[test]
    fn each_fact_knows_its_values() {
        let check = |name: &str, good: &[&str], bad: &[&str]| {
            for value in good {
                assert_eq!(check_fact(name, value), Some(Ok(())), "{name}={value}");
            }
            for value in bad {
                assert!(check_fact(name, value).is_some_and(|checked| checked.is_err()), "{name}={value}");
            }
        };
        check("language", &["de", "en-AU", "zh_Hant", "gsw"], &["", "german", "d", "de-", "1e"]);
        check("country", &["de", "US"], &["", "deu", "Germany", "d1"]);
        check("tones", &["gb"], &["uk-old"]);
        check("timezone", &["Europe/Berlin", "UTC"], &["", "Berlin", "+01:00"]);
        check("ntp", &["pool.ntp.org", "192.0.2.1", "[2001:db8::1]"], &["", "a b", "ntp<x>"]);
        check("vlan", &["1", "4094", "none", " 7 "], &["", "0", "4095", "-1", "x"]);
        check("vlan_priority", &["0", "7", "none"], &["8", "-1"]);
        check("codecs", &["g722", "g722,pcma , opus"], &["", "g722,,pcma", "g 722"]);
        check("resync_minutes", &["0", "1440"], &["", "-5", "daily", "4294967295"]);
        check("pickup_code", &["*8", "**", "none"], &["", "star 8"]);
        assert_eq!(check_fact("voicemail", "*97"), None);
    }
}
