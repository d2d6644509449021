//! `[language_files]`: what a vendor calls the files that teach its phones a language. Which of them are there, whoever
//! looks says; a profile only names them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Profile;
use super::build::Findings;
use super::layers::Stack;
use super::model::Model;
use super::subject::Subject;
use crate::firmware::{Version, fits, folder};

/// `[language_files]` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LanguageToml {
    files: Vec<String>,
    web_files: Vec<String>,
    needed: bool,
    names: BTreeMap<String, String>,
    web_names: BTreeMap<String, String>,
}

/// A file that a phone wants for its language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageFile {
    /// The setting that names its URL.
    pub setting: &'static str,
    /// The language, as it is set.
    pub language: String,
    /// Where it may lie in the vendor's folder, the best place first: `NAME` or `FOLDER/NAME`, where `*` stands for any
    /// characters.
    pub places: Vec<String>,
    /// Whether the phone does without the language when there is none.
    pub needed: bool,
}

impl LanguageToml {
    /// With the display's names for the web page's languages that have none of their own.
    pub(super) fn completed(mut self) -> Self {
        for (language, name) in &self.names {
            self.web_names.entry(language.clone()).or_insert_with(|| name.clone());
        }
        self
    }
}

impl LanguageFile {
    /// The first of these files, as paths in the vendor's folder, that is one.
    pub fn among<'n, T: AsRef<str>>(&self, there: &'n [T]) -> Option<&'n str> {
        let paths = || there.iter().map(AsRef::as_ref);
        self.places.iter().find_map(|place| paths().filter(|path| fits(place, path)).min())
    }

    /// What a person is told where there is none.
    pub fn missing(&self, vendor: &str) -> String {
        let place = self.places.first().map(String::as_str).unwrap_or_default();
        format!("there is no file for the language '{}': files/lang/{vendor}/{place}", self.language)
    }
}

impl Findings<'_> {
    pub(super) fn language_files(&mut self, toml: Option<&LanguageToml>) {
        for (list, places) in
            toml.iter().flat_map(|toml| [("files", &toml.files), ("web_files", &toml.web_files)])
        {
            for place in places {
                let bare = ["{name}", "{version}", "{model}"]
                    .iter()
                    .fold(place.clone(), |text, word| text.replace(word, ""));
                let steps = place.split('/').count();
                if bare.contains(['{', '}', '\\'])
                    || steps > 2
                    || !place.contains("{name}")
                    || place.contains("..")
                {
                    let key = format!("language_files.{list}");
                    let remedy =
                        "write NAME or FOLDER/NAME with {name}, and {version} or {model} where it has them";
                    self.push(&key, None, format!("'{place}' is no place of a language file"), remedy);
                }
            }
        }
    }
}

impl Profile {
    /// Whether there is anything to say of the files of a language, where there are some or none.
    pub fn has_language_files(&self, are_there: bool) -> bool {
        self.languages.as_ref().is_some_and(|table| are_there || table.needed)
    }

    /// The files that the subject wants for its languages.
    pub fn language_files(&self, subject: &Subject<'_>) -> Vec<LanguageFile> {
        let Some(table) = &self.languages else { return Vec::new() };
        let (model, name) = self.known_model(subject);
        let stack = Stack::new(subject, self.vendor.as_str(), name, Some(model.settings()));
        let (site, _) = subject.site.seen_by(&stack);
        let settled = stack.settled();
        let set = |name: &str| settled.get(name).map(|(_, value)| (*value).to_owned());
        let display = set("language").unwrap_or_else(|| site.language.clone());
        let web = set("web_language").unwrap_or_else(|| display.clone());
        let wanted = [
            ("language_url", display, &table.files, &table.names),
            ("web_language_url", web, &table.web_files, &table.web_names),
        ];
        let firmware = subject.device.and_then(|device| device.firmware.as_deref());
        let file =
            |(setting, language, places, names): (&'static str, String, &Vec<String>, &BTreeMap<_, _>)| {
                if places.is_empty() || settled.contains_key(setting) {
                    return None;
                }
                let written: &String = named(names, &language)?;
                let places =
                    places.iter().filter_map(|place| filled(place, written, firmware, model)).collect();
                let needed = table.needed && setting == "language_url";
                Some(LanguageFile { setting, language, places, needed })
            };
        wanted.into_iter().filter_map(file).collect()
    }
}

/// The vendor's word for a language: of the whole tag, else of its first two letters.
fn named<'t>(names: &'t BTreeMap<String, String>, language: &str) -> Option<&'t String> {
    let language = language.to_ascii_lowercase();
    names.get(&language).or_else(|| names.get(language.get(..2)?))
}

fn filled(place: &str, name: &str, firmware: Option<&str>, model: &Model) -> Option<String> {
    if place.contains("{version}") && firmware.is_none() || place.contains("{model}") && model.name == "*" {
        return None;
    }
    let version = firmware.map(|firmware| folder(&Version::new(firmware))).unwrap_or_default();
    Some(place.replace("{name}", name).replace("{version}", &version).replace("{model}", &model.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Commons, Vendor};
    use crate::profile::{Catalog, NOTHING_SUPPLIED, Site};

    fn wanted(
        vendor: &str,
        model: &str,
        firmware: Option<&str>,
        settings: &[(&str, &str)],
    ) -> Vec<LanguageFile> {
        let catalog = Catalog::builtin().unwrap();
        let profile = catalog.get(&Vendor::new(vendor)).unwrap();
        let mut device = profile.sample_device("020000000001".parse().unwrap(), Some(model));
        device.firmware = firmware.map(str::to_owned);
        device.settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (site, commons) = (Site { language: "de".to_owned(), ..Site::default() }, Commons::default());
        let subject = Subject {
            device: Some(&device),
            model: None,
            site: &site,
            commons: &commons,
            host: "h",
            base: "http://h/",
            supplied: &NOTHING_SUPPLIED,
        };
        profile.language_files(&subject)
    }

    #[test]
    fn a_phone_wants_the_file_of_its_version_first() {
        let files = wanted("snom", "D785", Some("8.9.3.80"), &[]);
        assert_eq!(files[0].places, ["8.9.3.80/gui_lang_DE.xml", "gui_lang_DE.xml"]);
        let there = ["gui_lang_de.xml", "8.9.3.80/web_lang_DE.xml", "8.9.3.80/gui_lang_DE.xml"];
        assert_eq!(files[0].among(&there), Some("8.9.3.80/gui_lang_DE.xml"));
        assert_eq!(files[0].among(&there[..2]), Some("gui_lang_de.xml"));
        assert_eq!(files[1].among(&there), Some("8.9.3.80/web_lang_DE.xml"));
        assert_eq!(files[0].among(&there[3..]), None);
        let unknown = wanted("snom", "D785", None, &[]);
        assert_eq!(unknown[0].places, ["gui_lang_DE.xml"], "of a version that is not known there is none");
    }

    #[test]
    fn what_is_set_by_hand_or_has_no_name_is_not_looked_for() {
        let by_hand = [("language_url", "http://x/y.xml")];
        assert_eq!(wanted("snom", "D785", None, &by_hand)[0].setting, "web_language_url");
        assert_eq!(wanted("snom", "D785", None, &[("language", "tlh")]), []);
        assert_eq!(wanted("grandstream", "GXP2170", None, &[]), [], "its profile names no files");
        let swedish = wanted("snom", "D785", None, &[("language", "sv")]);
        let places: Vec<&str> = swedish.iter().map(|file| file.places[0].as_str()).collect();
        assert_eq!(places, ["gui_lang_SW.xml", "web_lang_SV.xml"]);
    }

    #[test]
    fn a_name_may_have_a_number_before_it() {
        let files = wanted("yealink", "T46G", Some("28.83.0.120"), &[("language", "fr")]);
        let there = ["T46G/005.GUI.German.lang", "T46G/004.GUI.French.lang", "T48G/003.GUI.French.lang"];
        assert_eq!(files[0].among(&there), Some("T46G/004.GUI.French.lang"));
        assert!(!files[0].needed);
        assert!(wanted("mitel", "6869i", None, &[])[0].needed);
    }
}
