//! From the files of a vendor to its [`Profile`]: everything is parsed and compiled here, once, and every finding names
//! its file, line, key and remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use regex::Regex;
use toml::Spanned;

use super::dhcp::Dhcp;
use super::error::{ProfileError, line_of};
use super::escape::Writing;
use super::language::LanguageToml;
use super::menu::{self, MenuForm, MenuToml};
use super::model::{ANY, Models};
use super::origin::VendorFiles;
use super::page::{self, Page};
use super::path::PathPattern;
use super::preamble::CommentForm;
use super::range::MacRange;
use super::raw::RawForm;
use super::reach::Reach;
use super::recogniser::{self, Example, Recogniser};
use super::release::Release;
use super::rendered::{ESCAPE_BYTES_MAX, SecretForm};
use super::schema::{FileToml, MatchToml, ModelToml, ProfileToml, SCHEMA, Scope, Text};
use super::template::{Maps, Templates};
use super::visit::Visit;
use super::{Manual, PnpUrl, Profile, ProfileFile};
use crate::device::Vendor;

/// What a profile hands down to one that extends it, beside its ready-made parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    extends: bool,
    sources: BTreeMap<String, String>,
    maps: Maps,
    defaults: BTreeMap<String, Text>,
    models: BTreeMap<String, ModelToml>,
}

impl Parts {
    /// The `[map]` tables.
    pub(super) fn maps(&self) -> &Maps {
        &self.maps
    }
}

/// A vendor's files with `profile.toml` read, but nothing in it understood yet.
#[derive(Debug)]
pub(super) struct Draft<'f> {
    files: &'f VendorFiles,
    text: &'f str,
    toml: ProfileToml,
}

impl<'f> Draft<'f> {
    /// Reads `profile.toml`.
    pub(super) fn read(files: &'f VendorFiles) -> Result<Self, ProfileError> {
        let text = files.text("profile.toml")?;
        let toml = toml::from_str::<ProfileToml>(text).map_err(|error| {
            ProfileError::new(
                &format!("{}/profile.toml", files.vendor),
                error.message().trim().replace('\n', " "),
                "vendor-profiles/README.md names every key",
            )
            .line(line_of(text, error.span()))
        })?;
        Ok(Self { files, text, toml })
    }

    /// The vendor whose profile this one extends.
    pub(super) fn extends(&self) -> Option<Vendor> {
        self.toml.extends.as_ref().map(|name| Vendor::new(name.get_ref()))
    }

    /// Builds the profile; `parent` is what it extends.
    pub(super) fn build(self, parent: Option<&Profile>) -> Result<Profile, Vec<ProfileError>> {
        let mut findings = Findings { file: self.files.vendor.clone(), text: self.text, errors: Vec::new() };
        let toml = &self.toml;
        findings.schema(toml, parent);
        let parts = self.parts(parent, &mut findings);
        let ranges =
            toml.oui.iter().enumerate().filter_map(|(at, text)| {
                findings.parsed(text, &format!("oui[{at}]"), str::parse::<MacRange>)
            });
        let mut ranges: Vec<MacRange> = ranges.collect();
        let tables = toml.matches.iter().enumerate();
        let mut recognisers: Vec<Recogniser> =
            tables.filter_map(|(at, table)| findings.recogniser(&format!("match[{at}]"), table)).collect();
        let mut identity_pages = Page::all(&self.files.vendor, &toml.pages, &parts, &mut findings);
        // Who changes a profile keeps its phones; who builds another vendor's on it has phones of its own.
        if let Some(parent) = parent.filter(|parent| parent.vendor.as_str() == self.files.vendor) {
            ranges.extend(&parent.ranges);
            recognisers.extend(parent.recognisers.iter().cloned());
            page::inherit(&mut identity_pages, &parent.pages);
        }
        let models = match Models::new(&parts.models, &parts.defaults) {
            Ok(models) => Some(models),
            Err((model, name)) => {
                let key = format!("models.{model}");
                findings.push(
                    &key,
                    None,
                    format!("prints '{name}', as another model does"),
                    "remove one alias",
                );
                None
            }
        };
        let mut files = Vec::new();
        for (at, table) in toml.files.iter().enumerate() {
            files.extend(findings.file(at, table, &parts));
        }
        findings.doubles(&files);
        if let Some(parent) = parent {
            let replaced = |file: &&ProfileFile| files.iter().any(|own| own.path == file.path);
            let inherited = parent.files.iter().filter(|file| !replaced(file));
            let inherited: Vec<ProfileFile> =
                inherited.map(|file| ProfileFile { inherited: true, ..file.clone() }).collect();
            files.extend(inherited);
        }
        let release = Release::read(toml.release.as_ref(), parent, &files, &mut findings);
        let pnp = match &toml.pnp {
            Some(pnp) => findings.parsed(&pnp.url, "pnp.url", pnp_url),
            None => parent.and_then(|parent| parent.pnp.clone()),
        };
        let dhcp = match &toml.dhcp {
            Some(dhcp) => Some(Dhcp::read(dhcp, &recognisers, &mut findings)),
            None => parent.and_then(|parent| parent.dhcp.clone()),
        };
        let families: Vec<&str> = parts.models.values().filter_map(|model| model.family.as_deref()).collect();
        let names: Vec<&str> = parts.models.keys().map(String::as_str).collect();
        let above = parent.and_then(Profile::simulate);
        let simulate = findings.simulate(toml.simulate.as_ref(), above, &families, &names);
        let simulate = simulate.or_else(|| above.cloned());
        let pages = toml.menu.as_ref();
        let menu = findings.form("menu.pages", pages.and_then(|pages| pages.pages.as_ref()), &parts);
        let menu = menu.or_else(|| parent.and_then(|parent| parent.menu.clone()));
        let phonebook =
            findings.form("menu.phonebook", pages.and_then(|pages| pages.phonebook.as_ref()), &parts);
        let phonebook = phonebook.or_else(|| parent.and_then(|parent| parent.phonebook.clone()));
        let above = parent.map(Profile::reach);
        let reach = Reach::read(toml.reach.as_ref(), &toml.push, above, &parts.models, &mut findings);
        let dated = toml.http.dated.iter().filter_map(|text| findings.pattern(text, "http.dated")).collect();
        let above = parent.map(|parent| parent.visits.as_slice());
        let visits = Visit::all(&toml.web, above, &parts.models, &mut findings);
        findings.language_files(toml.language_files.as_ref());
        let templates = findings.templates(&parts, &files, menu.is_some() || phonebook.is_some());
        let (Some(models), Some(templates), true) = (models, templates, findings.errors.is_empty()) else {
            return Err(findings.errors);
        };
        let manual = toml
            .manual
            .as_ref()
            .map(|manual| Manual { place: manual.r#where.clone(), value: manual.value.clone() });
        let pnp_content_type = match (&toml.pnp, parent) {
            (Some(pnp), _) => pnp.content_type.clone(),
            (None, Some(parent)) => parent.pnp_content_type.clone(),
            (None, None) => "application/url".to_owned(),
        };
        Ok(Profile {
            vendor: Vendor::new(&self.files.vendor),
            display_name: toml.display_name.clone(),
            release,
            retention: toml.retention.or(parent.map(|parent| parent.retention)).unwrap_or_default(),
            reach,
            visits,
            pnp,
            pnp_content_type,
            dhcp,
            manual: manual.or(parent.and_then(|parent| parent.manual.clone())),
            ranges,
            recognisers,
            pages: identity_pages,
            dated,
            files,
            models,
            templates,
            simulate,
            menu,
            phonebook,
            languages: toml
                .language_files
                .clone()
                .map(LanguageToml::completed)
                .or(parent.and_then(|parent| parent.languages.clone())),
            parts,
        })
    }

    /// The parent's layers with this profile's over them.
    fn parts(&self, parent: Option<&Profile>, findings: &mut Findings<'_>) -> Parts {
        let mut parts = parent.map(|parent| parent.parts.clone()).unwrap_or_default();
        parts.extends = self.toml.extends.is_some();
        for (name, _) in self.files.under("templates/") {
            match self.files.text(&format!("templates/{name}")) {
                Ok(text) => {
                    parts.sources.insert(name.to_owned(), text.to_owned());
                }
                Err(error) => findings.errors.push(error),
            }
        }
        for (name, table) in &self.toml.map {
            let entries = table.iter().map(|(key, value)| (key.clone(), value.0.clone()));
            parts.maps.entry(name.clone()).or_default().extend(entries);
        }
        parts.defaults.extend(self.toml.defaults.clone());
        parts.models.extend(self.toml.models.clone());
        parts
    }
}

fn pnp_url(text: &str) -> Result<PnpUrl, String> {
    if text == "directory" {
        return Ok(PnpUrl::Directory);
    }
    let name =
        text.strip_prefix("{base}").ok_or("is neither \"directory\" nor \"{base}\" with a file name")?;
    name.parse().map(PnpUrl::File).map_err(|error: super::PathError| error.to_string())
}

/// Findings in one `profile.toml`, collected so that its author sees all of them at once.
pub(super) struct Findings<'t> {
    file: String,
    text: &'t str,
    errors: Vec<ProfileError>,
}

impl Findings<'_> {
    pub(super) fn push(
        &mut self,
        key: &str,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        remedy: &str,
    ) {
        let file = format!("{}/profile.toml", self.file);
        let line = line_of(self.text, span);
        self.errors.push(ProfileError::new(&file, message, remedy).key(key).line(line));
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.errors.len()
    }

    /// Parses a text; what it says of itself when it cannot is the finding.
    pub(super) fn parsed<T, E: ToString>(
        &mut self,
        text: &Spanned<String>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text.get_ref()).map_err(|error| self.push(key, Some(text.span()), error.to_string(), "")).ok()
    }

    /// Compiles a pattern.
    pub(super) fn pattern(&mut self, text: &Spanned<String>, key: &str) -> Option<Regex> {
        let remedy =
            "correct the pattern; it is one of Rust's regex crate: no look-around, no back-references";
        let compiled = recogniser::compile(text.get_ref());
        compiled.map_err(|error| self.push(key, Some(text.span()), error, remedy)).ok()
    }

    fn schema(&mut self, toml: &ProfileToml, parent: Option<&Profile>) {
        if *toml.schema.get_ref() != SCHEMA {
            let message = format!("is {}, and this program reads {SCHEMA}", toml.schema.get_ref());
            self.push("schema", Some(toml.schema.span()), message, "use the program that fits the profile");
        }
        let Some(extends) = &toml.extends else { return };
        let remedy = "extend a profile that is there and extends none itself";
        match parent {
            None => self.push("extends", Some(extends.span()), "names no profile", remedy),
            Some(parent) if parent.parts.extends => {
                self.push("extends", Some(extends.span()), "names a profile that extends another", remedy);
            }
            Some(_) => {}
        }
    }

    /// A pattern with what it promises; `table` is the name of its table.
    pub(super) fn recogniser(&mut self, name: &str, table: &MatchToml) -> Option<Recogniser> {
        if let Some(confidence) = table.confidence.as_ref().filter(|confidence| *confidence.get_ref() > 100) {
            let key = format!("{name}.confidence");
            self.push(&key, Some(confidence.span()), "is more than 100", "write 0 to 100");
        }
        let regex = self.pattern(&table.pattern, &format!("{name}.pattern"))?;
        let line = |span: Range<usize>| line_of(self.text, Some(span));
        let examples = table.examples.iter().map(|example| {
            let inner = example.get_ref().clone();
            Example {
                line: line(example.span()),
                text: inner.text,
                model: inner.model,
                firmware: inner.firmware,
                mac: inner.mac,
            }
        });
        Some(Recogniser {
            source: table.source,
            regex,
            confidence: table.confidence.as_ref().map(|confidence| *confidence.get_ref()),
            examples: examples.collect(),
            rejects: table.rejects.iter().map(|text| (line(text.span()), text.get_ref().clone())).collect(),
            key: name.to_owned(),
        })
    }

    fn file(&mut self, at: usize, table: &FileToml, parts: &Parts) -> Option<ProfileFile> {
        let key = |name: &str| format!("file[{at}].{name}");
        let template = table.template.get_ref();
        if !parts.sources.contains_key(template) {
            let message = format!("names '{template}', which is not in the templates folder");
            self.push(
                &key("template"),
                Some(table.template.span()),
                message,
                "write it, or correct the name",
            );
        }
        self.models(&key("models"), &table.models, parts);
        for name in &table.families {
            if !parts.models.values().any(|model| model.family.as_ref() == Some(name.get_ref())) {
                let message = format!("names '{}', which no model has as its family", name.get_ref());
                self.push(&key("families"), Some(name.span()), message, "correct the name");
            }
        }
        let form = match &table.secret_form {
            Some(text) => self.parsed(text, &key("secret_form"), secret_form),
            None => secret_form(table.format.secret_form()).ok(),
        };
        let comment = match &table.comment {
            Some(text) if text.get_ref().is_empty() => None,
            Some(text) => self.parsed(text, &key("comment"), CommentForm::parse),
            None => table.format.comment_form().and_then(|form| CommentForm::parse(form).ok()),
        };
        let raw = self.raw_form(table, &key("raw_form"));
        let requires = table.requires.iter().filter_map(|text| self.pattern(text, &key("requires")));
        let requires = requires.collect();
        let path = self.parsed(&table.path, &key("path"), str::parse::<PathPattern>)?;
        let scope = self.scope(&path, table, &key("scope"));
        if scope != Scope::Device && !table.secrets.is_empty() {
            let remedy = "put secrets into a file with {mac} in its name";
            self.push(&key("secrets"), Some(table.path.span()), "stand in a file that phones share", remedy);
        }
        let names = |list: &[Spanned<String>]| list.iter().map(|name| name.get_ref().clone()).collect();
        Some(ProfileFile {
            path,
            template: template.clone(),
            writing: Arc::new(self.writing(table, &key)),
            content_type: table
                .content_type
                .clone()
                .unwrap_or_else(|| table.format.content_type().to_owned()),
            secrets: table.secrets.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
            form: form?,
            comment,
            raw: raw?,
            requires,
            models: names(&table.models),
            families: names(&table.families),
            scope,
            inherited: false,
        })
    }

    /// Names of models must have tables.
    pub(super) fn models(&mut self, key: &str, names: &[Spanned<String>], parts: &Parts) {
        for name in names {
            if name.get_ref() == ANY || !parts.models.contains_key(name.get_ref()) {
                let message = format!("names '{}', which has no [models] table", name.get_ref());
                self.push(key, Some(name.span()), message, "add the table, or correct the name");
            }
        }
    }

    fn raw_form(&mut self, table: &FileToml, key: &str) -> Option<RawForm> {
        let (usual, usual_index) = table.format.raw_form();
        let text = table.raw_form.as_ref().map_or(usual, |text| text.get_ref());
        let given = table.raw_index.as_ref();
        // An index of its own form only where the form has a place for it.
        let index =
            given.map(|text| text.get_ref().as_str()).or(usual_index.filter(|_| table.raw_form.is_none()));
        let span = table.raw_form.as_ref().or(given).map(Spanned::span);
        let read = RawForm::parse(text, index);
        read.map_err(|reason| self.push(key, span, reason, "write it like {name} = {value}")).ok()
    }

    /// How values stand in it. What the format itself escapes stays as the format has it: it would break out else.
    fn writing(&mut self, table: &FileToml, key: &impl Fn(&str) -> String) -> Writing {
        let mut writing = Writing::from(table.format);
        for (from, to) in &table.escapes {
            let fits = to.get_ref().len() <= ESCAPE_BYTES_MAX && !to.get_ref().contains(char::is_control);
            let one = from.parse::<char>().ok().filter(|from| fits && !table.format.escapes(*from));
            match one {
                Some(one) => drop(writing.escapes.insert(one, to.get_ref().clone())),
                None => self.push(
                    &key("escapes"),
                    Some(to.span()),
                    format!("cannot write '{from}' as '{}'", to.get_ref()),
                    "name one character that the format does not escape itself, and six octets at most to stand for it",
                ),
            }
        }
        writing.refuses = table.refuses.chars().collect();
        writing
    }

    fn scope(&mut self, path: &PathPattern, table: &FileToml, key: &str) -> Scope {
        let natural = match (path.has_mac(), path.has_model()) {
            (true, _) => Scope::Device,
            (false, true) => Scope::Model,
            (false, false) => Scope::Site,
        };
        let Some(said) = &table.scope else { return natural };
        if path.has_mac() && *said.get_ref() != Scope::Device {
            let remedy = "leave scope out, or take {mac} out of the path";
            self.push(key, Some(said.span()), "is not device, yet the path has the MAC in it", remedy);
        }
        *said.get_ref()
    }

    /// Two files of one name for one model would be a toss-up.
    fn doubles(&mut self, files: &[ProfileFile]) {
        for (at, file) in files.iter().enumerate() {
            let same = |other: &&ProfileFile| {
                other.path == file.path && other.models == file.models && other.families == file.families
            };
            if files.iter().take(at).any(|other| same(&other)) {
                let message = format!("is '{}', as another file's", file.path);
                self.push(&format!("file[{at}].path"), None, message, "give each its models, or remove one");
            }
        }
    }

    /// How pages are drawn, if the profile says.
    fn form(&mut self, key: &str, toml: Option<&MenuToml>, parts: &Parts) -> Option<MenuForm> {
        let toml = toml?;
        if !parts.sources.contains_key(&toml.template) {
            let message = format!("names '{}', which is not in the templates folder", toml.template);
            self.push(&format!("{key}.template"), None, message, "write it, or correct the name");
        }
        if toml.items_max == 0 || toml.bytes_max == 0 {
            self.push(
                key,
                None,
                "has no place for anything",
                "give items_max and bytes_max what a page holds",
            );
        }
        Some(MenuForm::from(toml.clone()))
    }

    fn templates(&mut self, parts: &Parts, files: &[ProfileFile], has_pages: bool) -> Option<Templates> {
        let mut writings: BTreeSet<_> = files.iter().map(|file| Writing::clone(&file.writing)).collect();
        writings.extend(has_pages.then(menu::writing));
        let maps = Arc::new(parts.maps.clone());
        Templates::compile(&parts.sources, &writings, &maps)
            .map_err(|errors| {
                for error in errors {
                    let file = format!("{}/templates/{}", self.file, error.template);
                    let remedy = "correct the template";
                    self.errors.push(ProfileError::new(&file, error.message, remedy).line(error.line));
                }
            })
            .ok()
    }
}

fn secret_form(text: &str) -> Result<SecretForm, &'static str> {
    SecretForm::parse(text).ok_or("does not have {value} in it exactly once")
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::super::fixture;
    use super::Draft;
    use crate::device::Vendor;

    /// What is found in a profile with this text below its head.
    fn findings(text: &str) -> Vec<String> {
        let profile = format!("schema = 1\ndisplay_name = 'Acme'\n{text}");
        let files = fixture::vendor("acme", &[("profile.toml", &profile), ("templates/t", "{{ mac }}\n")]);
        let (_, errors) = Catalog::of_folders(&[files]);
        errors.iter().map(ToString::to_string).collect()
    }

    fn check(text: &str, expected: &str) {
        let found = findings(text);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{text}: {found:?}");
    }

    #[test]
    fn findings_name_file_line_key_and_remedy() {
        check("oui = ['00156x']\n", "acme/profile.toml:3: oui[0]: '00156x' is no range");
        check("extends = 'nobody'\n", "acme/profile.toml:3: extends: names no profile (extend a profile");
        check("pnp = { url = 'folder' }\n", "acme/profile.toml:3: pnp.url: is neither \"directory\" nor");
        check(
            "retention = 'forget'\n",
            "acme/profile.toml:3: unknown variant `forget`, expected `keep` or `replace`",
        );
        check(
            "[[match]]\nsource = 'sip.uri'\npattern = '('\n",
            "acme/profile.toml:5: match[0].pattern: is no regular",
        );
        check("[[match]]\nsource = 'sip.uri'\npattern = '(?=x)'\n", "(correct the pattern; it is one of");
        let source =
            |word: &str| findings(&format!("[[match]]\nsource = '{word}'\npattern = ''\n")).join("|");
        let unknown = "acme/profile.toml:4: unknown source `sip`, expected one of `sip.event`, ";
        assert!(source("sip").starts_with(unknown) && !source("sip").contains("oui"), "{}", source("sip"));
        assert!(
            source("oui").contains("unknown source `oui`") && source("oui").contains("oui = […] at the top")
        );
        check("[models.A]\naliases = ['b']\n[models.B]\n", "models.B: prints 'B', as another model does");
        check("[defaults]\na = []\n", "a array is no value");
    }

    #[test]
    fn files_must_fit_what_they_name() {
        let file =
            |more: &str| format!("[[file]]\npath = '{{mac}}.x'\ntemplate = 't'\nformat = 'line'\n{more}");
        assert_eq!(findings(&file("")), [""; 0]);
        check(&file("models = ['X']\n"), "acme/profile.toml:7: file[0].models: names 'X'");
        check(&file("families = ['X']\n"), "file[0].families: names 'X'");
        check(&file("scope = 'site'\n"), "file[0].scope: is not device, yet the path has the MAC");
        check(&file("secret_form = 'x'\n"), "file[0].secret_form: does not have {value}");
        check(&file("secrets = ['wifi']\n"), "unknown variant `wifi`");
        check(&file("comment = 'x'\n"), "file[0].comment: does not have {text} in it");
        check(&file("requires = ['(']\n"), "file[0].requires: is no regular expression");
        check(&format!("{}{}", file(""), file("")), "file[1].path: is '{mac}.x', as another file's");
        check(
            &file("").replace("'t'", "'u'"),
            "file[0].template: names 'u', which is not in the templates folder",
        );
        check(&file("").replace("{mac}", "{max}"), "file[0].path: has the unknown variable {max}");
        check(
            &file("secrets = ['sip']").replace("{mac}.x", "all"),
            "file[0].secrets: stand in a file that phones share",
        );
    }

    #[test]
    fn another_schema_is_refused() {
        let files = fixture::vendor("acme", &[("profile.toml", "schema = 2\ndisplay_name = 'Acme'\n")]);
        let (_, errors) = Catalog::of_folders(&[files]);
        assert!(errors[0].to_string().contains(":1: schema: is 2, and this program reads 1"), "{errors:?}");
    }

    #[test]
    fn a_template_that_cannot_be_read_names_its_line() {
        let profile =
            "schema = 1\ndisplay_name = 'A'\n[[file]]\npath = '{mac}.x'\ntemplate = 't'\nformat = 'line'\n";
        let files = fixture::vendor("acme", &[("profile.toml", profile), ("templates/t", "a\n{{ mac\n")]);
        let (_, errors) = Catalog::of_folders(&[files]);
        assert!(errors[0].to_string().starts_with("acme/templates/t:"), "{errors:?}");
    }

    #[test]
    fn a_profile_extends_one_other() {
        let own = "schema = 1\ndisplay_name = 'Tiptel'\nextends = 'yealink'\n[models.286]\nlines = 6\n\
                   [defaults]\nvolume = 3\n";
        let child = fixture::vendor("tiptel", &[("profile.toml", own)]);
        let third = fixture::vendor("third", &[("profile.toml", &own.replace("yealink", "tiptel"))]);
        let (catalog, errors) = Catalog::of_folders(&[child, fixture::lines(), third]);
        assert!(errors[0].to_string().contains("names a profile that extends another"), "{errors:?}");
        let profile = catalog.get(&Vendor::new("tiptel")).unwrap();
        assert_eq!(profile.files().count(), 2);
        assert_eq!(profile.retention(None), crate::profile::Retention::Keep);
        assert!(profile.model("T46U").is_some() && profile.model("286").is_some());
        let own = "schema = 1\ndisplay_name = 'Yealink'\nextends = 'yealink'\n[defaults]\nvolume = 3\n";
        let builtin = catalog.get(&Vendor::new("yealink")).unwrap();
        let files = fixture::vendor("yealink", &[("profile.toml", own)]);
        let changed = Draft::read(&files).unwrap().build(Some(builtin)).unwrap();
        assert_eq!(changed.recognisers.len(), builtin.recognisers.len());
        assert_eq!(changed.ranges(), builtin.ranges());
        assert!(profile.ranges().is_empty() && profile.recognisers.is_empty(), "recognition is its own");
    }
}
