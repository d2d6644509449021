//! What `offhook profile check` checks, and every test run with it: patterns keep what their examples and rejects
//! promise, no vendor claims another's phones, and every file renders for every model.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::case::blank_device;
use super::catalog::Catalog;
use super::error::ProfileError;
use super::identify::Clue;
use super::menu;
use super::origin::Origin;
use super::page::{Page, path_and_words};
use super::recogniser::{Example, Recogniser};
use super::schema::{Retention, Scope};
use super::stranger;
use super::subject::{NOTHING_SUPPLIED, Site, Subject};
use super::web::flat;
use super::{FileId, Model, Profile, proof};
use crate::device::{Account, Commons, Device, Key, KeyKind, Line, Mac};
use crate::secret::SecretKind;

/// What was checked, and what is wrong.
#[derive(Debug, Default, serde::Serialize)]
pub struct Report {
    /// Profiles that were read.
    pub profiles: usize,
    /// Examples and rejects of patterns.
    pub examples: usize,
    /// Files rendered for a model or a case.
    pub files: usize,
    /// Cases rendered and compared.
    pub cases: usize,
    /// Cases whose expected files were written anew.
    pub blessed: Vec<String>,
    /// What a person should know although nothing is wrong.
    pub notes: Vec<String>,
    /// What is wrong, nothing if all is well.
    pub errors: Vec<ProfileError>,
}

impl Report {
    /// Takes in what was found at another place.
    pub fn add(&mut self, other: Self) {
        let Self { profiles, examples, files, cases, blessed, notes, errors } = other;
        self.profiles += profiles;
        self.examples += examples;
        self.files += files;
        self.cases += cases;
        self.blessed.extend(blessed);
        self.notes.extend(notes);
        self.errors.extend(errors);
    }
}

/// Checks every profile of an origin, without comparing its cases.
pub fn check_all(origin: &Origin) -> Report {
    let (catalog, errors) = Catalog::of_origin(origin);
    check_catalog(&catalog, errors)
}

/// Checks the profiles of a catalog, in whose making these errors were found.
pub(super) fn check_catalog(catalog: &Catalog, errors: Vec<ProfileError>) -> Report {
    let mut report = Report { profiles: catalog.profiles().count(), errors, ..Report::default() };
    for profile in catalog.profiles() {
        check_patterns(profile, catalog, &mut report);
        check_models(profile, &mut report);
        let pages = menu::wrong(profile).into_iter();
        report.errors.extend(pages.map(|wrong| {
            ProfileError::new(&at(profile), wrong, "correct the template, or bytes_max").key("menu")
        }));
        report.notes.extend(retention_note(profile));
        report.notes.extend(idle_note(profile));
    }
    report
}

/// Whoever serves phones that lose their passwords should know that these travel every time.
fn retention_note(profile: &Profile) -> Option<String> {
    let keeps = |model: &Model| profile.retention(Some(&model.name)) == Retention::Keep;
    let replace = profile.retention(None) == Retention::Replace && profile.files().next().is_some();
    (replace && !profile.models().any(keeps)).then(|| {
        format!(
            "{}: REPLACE: a phone loses what its file does not name, so its passwords go with every configuration, \
             behind the check of who asks",
            profile.vendor()
        )
    })
}

/// Whoever has only begun a profile should not read that all is well.
fn idle_note(profile: &Profile) -> Option<String> {
    let recognises =
        !profile.recognisers.is_empty() || !profile.pages.is_empty() || !profile.ranges().is_empty();
    let serves = profile.files().next().is_some();
    (!recognises && !serves).then(|| {
        format!(
            "{}: recognises nobody and serves nothing: it has no [[match]], no oui and no [[file]]",
            profile.vendor()
        )
    })
}

/// The name of a profile's own file, for findings.
pub(super) fn at(profile: &Profile) -> String {
    format!("{}/profile.toml", profile.vendor())
}

fn check_patterns(profile: &Profile, catalog: &Catalog, report: &mut Report) {
    let on_pages = profile
        .pages
        .iter()
        .flat_map(|page| page.patterns.iter().map(move |pattern| (&pattern.recogniser, Some(page))));
    for (recogniser, page) in profile.recognisers.iter().map(|pattern| (pattern, None)).chain(on_pages) {
        let finding = |line, message: String, remedy: &str| {
            ProfileError::new(&at(profile), message, remedy).key(&recogniser.key).line(line)
        };
        for text in stranger::common(recogniser.source).iter().filter(|text| recogniser.regex.is_match(text))
        {
            let message = format!("matches '{text}', which hosts of every kind say");
            report.errors.push(finding(None, message, "let the pattern name the vendor or a model"));
        }
        if recogniser.examples.is_empty() {
            let remedy = "give at least one text that a real phone sends";
            report.errors.push(finding(None, "has no example".to_owned(), remedy));
        }
        for example in &recogniser.examples {
            report.examples += 1;
            let wrong = check_example(profile, recogniser, page, example, catalog);
            let told = wrong.map(|wrong| finding(example.line, wrong, "correct the pattern or the example"));
            report.errors.extend(told);
        }
        for (line, text) in &recogniser.rejects {
            report.examples += 1;
            let text_read =
                if page.is_some() { Cow::Owned(flat(text)) } else { Cow::Borrowed(text.as_str()) };
            if recogniser.regex.is_match(&text_read) {
                let message = format!("matches '{text}', which it must reject");
                report.errors.push(finding(*line, message, "make the pattern narrower"));
            }
        }
    }
}

/// What is wrong with how an example is read, by the pattern and by all profiles together.
fn check_example(
    profile: &Profile,
    recogniser: &Recogniser,
    page: Option<&Page>,
    example: &Example,
    catalog: &Catalog,
) -> Option<String> {
    let text = &example.text;
    let clues = match page {
        Some(page) => page.clues(text.as_bytes()),
        None => vec![Clue::new(recogniser.source, text.clone())],
    };
    // Of a page only the words that were recognised are kept, and they have to say the same.
    let words = |clue: &Clue| match page {
        Some(_) => path_and_words(&clue.text).1.to_owned(),
        None => clue.text.clone(),
    };
    let Some(reading) = clues.iter().find_map(|clue| recogniser.read(&words(clue), profile.names())) else {
        return Some(format!("does not match its example '{text}'"));
    };
    let mac = reading.mac.map(Mac::bare);
    let expected_mac = example.mac.as_ref().map(|mac| mac.parse().map_or_else(|_| mac.clone(), Mac::bare));
    // An example may name the model by what is printed or by the name of its table.
    let table = |printed: &String| profile.model(printed).map(|model| model.name.clone());
    let model = match (&reading.model, &example.model) {
        (Some(printed), Some(expected)) if table(printed).as_ref() == Some(expected) => example.model.clone(),
        (printed, _) => printed.clone(),
    };
    let fields = [
        ("model", &example.model, &model),
        ("firmware", &example.firmware, &reading.firmware),
        ("mac", &expected_mac, &mac),
    ];
    for (field, expected, read) in fields {
        if expected.is_some() && expected != read {
            let (expected, read) =
                (expected.as_deref().unwrap_or("nothing"), read.as_deref().unwrap_or("nothing"));
            return Some(format!("reads {field} {read} instead of {expected} in '{text}'"));
        }
    }
    let vote = catalog.identify(&clues);
    match &vote.identity.vendor {
        Some(vendor) if vendor != profile.vendor() => Some(format!("is outvoted by {vendor} on '{text}'")),
        _ => None,
    }
}

/// Every file must render for every model, with lines and keys of all kinds, hold no empty password, and ask for the secrets that it declares: a
/// release opens what is declared, and a kind that never leaves would look like one that was not fetched.
fn check_models(profile: &Profile, report: &mut Report) {
    let Some(mac) = Mac::new([0x02, 0, 0, 0, 0, 1]) else { return };
    let site = Site { timezone: "Europe/Berlin".to_owned(), vlan: Some(20), ..Site::default() };
    let commons = Commons::default();
    let model_names = profile.models().map(|model| Some(model.name.as_str()));
    let names: Vec<Option<&str>> = model_names.chain([None]).collect();
    let mut asked: BTreeMap<FileId, BTreeSet<SecretKind>> = BTreeMap::new();
    for name in names {
        let device = profile.sample_device(mac, name);
        for (id, file) in profile.files_for(name) {
            report.files += 1;
            let device = (file.scope() == Scope::Device).then_some(&device);
            let subject = Subject {
                device,
                model: name,
                site: &site,
                commons: &commons,
                host: "192.0.2.1",
                base: "http://192.0.2.1:8480/",
                supplied: &NOTHING_SUPPLIED,
            };
            let wrong: Vec<String> = match profile.render(id, &subject) {
                Ok(rendered) => {
                    asked.entry(id).or_default().extend(rendered.slots().map(|slot| slot.kind));
                    let lacks = proof::lacks(file, &rendered.plain()).collect();
                    [lacks, proof::of_plain(&rendered)].concat()
                }
                Err(error) => {
                    asked.entry(id).or_default().extend(profile.secret_kinds(id));
                    vec![error.to_string()]
                }
            };
            for wrong in wrong {
                let model = name.unwrap_or("an unknown model");
                let message = format!("for {model}: {wrong}");
                let finding =
                    ProfileError::new(&at(profile), message, "correct the template or the model's table");
                report.errors.push(finding.key(format!("file {}", file.path())));
            }
        }
    }
    for (id, asked) in asked {
        for kind in profile.secret_kinds(id).iter().filter(|kind| !asked.contains(kind)) {
            let message = format!("declares {kind} among its secrets, but asks for none with any model");
            let remedy = "take it out of the file's secrets, or give it a secret_param in the template";
            let key = format!("file {}", profile.file(id).path());
            report.errors.push(ProfileError::new(&at(profile), message, remedy).key(key));
        }
    }
}

impl Profile {
    /// A phone of this model that exists nowhere, with lines and keys of all kinds: to look at its files.
    pub fn sample_device(&self, mac: Mac, model: Option<&str>) -> Device {
        let known = model.and_then(|model| self.model(model));
        let lines = known.and_then(|model| model.lines).unwrap_or(2).clamp(1, 2);
        let keys = known.and_then(|model| model.line_keys).unwrap_or(2);
        let line = |number: u16| Line {
            number,
            label: None,
            account: Account {
                id: i64::from(number),
                username: format!("20{number}"),
                auth_id: format!("20{number}"),
                display_name: Some("Reception & <Desk>".to_owned()),
                registrar: Some("pbx.example:5070".to_owned()),
                transport: None,
                outbound_proxy: None,
                srtp: None,
                password_version: 1,
                password: None,
            },
        };
        let key = |(number, kind): (u16, KeyKind)| Key {
            number,
            kind,
            value: if kind == KeyKind::Line { "1".to_owned() } else { "202".to_owned() },
            label: "Key".to_owned(),
            line: None,
        };
        Device {
            model: model.map(str::to_owned),
            firmware: known.and_then(|model| model.firmware.clone()),
            lines: (1..=lines).map(line).collect(),
            keys: (1..=keys).zip(KeyKind::ALL.into_iter().cycle()).map(key).collect(),
            ..blank_device(mac, self.vendor())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn errors(table: &str) -> Vec<String> {
        let profile = format!("schema = 1\ndisplay_name = 'Acme'\n{table}");
        let files = fixture::vendor("acme", &[("profile.toml", &profile)]);
        let (catalog, errors) = Catalog::of_folders(&[files]);
        check_catalog(&catalog, errors).errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_hosts_of_every_kind_say_names_nobody() {
        let found = |source: &str, pattern: &str, text: &str| {
            errors(&format!(
                "[[match]]\nsource = '{source}'\npattern = '{pattern}'\nexamples = [{{ text = '{text}' }}]\n"
            ))
        };
        for (source, pattern, text) in [
            ("http.server", "^lighttpd", "lighttpd/1.4.39"),
            ("http.server", "http", "acme httpd"),
            ("http.title", "^Login$", "Login"),
            ("http.title", ".", "Acme"),
            ("http.realm", "admin", "admin"),
            ("sip.user-agent", "^Asterisk", "Asterisk PBX 18.10.0"),
        ] {
            let told = found(source, pattern, text);
            assert!(told.iter().any(|error| error.contains("hosts of every kind")), "{pattern}: {told:?}");
        }
        for (source, text) in
            [("http.server", "acme embed"), ("http.title", "Acme X1 Login"), ("http.realm", "Acme X1")]
        {
            assert_eq!(found(source, &format!("^{text}$"), text), [""; 0]);
        }
        let page = |pattern: &str| {
            errors(&format!(
                "[[page]]\npath = '/who'\npattern = '{pattern}'\nexamples = [{{ text = 'Acme <title>x</title>' }}]\n"
            ))
        };
        assert!(
            page("<title>").iter().any(|error| error.contains("page[0]") && error.contains("of every kind"))
        );
        assert_eq!(page("Acme <title>"), [""; 0]);
    }

    #[test]
    fn a_page_keeps_what_its_examples_and_rejects_promise() {
        let page =
            |rest: &str| errors(&format!("[[page]]\npath = '/who'\npattern = 'Acme (?<model>X\\d)'\n{rest}"));
        assert_eq!(
            page("examples = [{ text = 'the  Acme\tX1', model = 'X1' }]\nrejects = ['Acme Office']\n"),
            [""; 0]
        );
        assert!(page("").first().unwrap().contains("page[0]: has no example"));
        assert!(
            page("examples = [{ text = 'Acme X1', model = 'X2' }]\n")
                .first()
                .unwrap()
                .contains("reads model X1")
        );
        assert!(
            page("examples = [{ text = 'Acme' }]\n").first().unwrap().contains("does not match its example")
        );
        let rejected = page("examples = [{ text = 'Acme X1' }]\nrejects = [\"Acme\\n  X2\"]\n");
        assert!(rejected.first().unwrap().contains("which it must reject"), "{rejected:?}");
        let misplaced = errors("[[match]]\nsource = 'http.page'\npattern = 'x'\n");
        assert!(misplaced.first().unwrap().contains("[[page]]"), "{misplaced:?}");
    }

    #[test]
    fn a_profile_of_nothing_is_noted() {
        let notes = |more: &str| {
            let profile = format!("schema = 1\ndisplay_name = 'Acme'\n{more}");
            let files = fixture::vendor("acme", &[("profile.toml", &profile), ("templates/t", "x\n")]);
            let (catalog, errors) = Catalog::of_folders(&[files]);
            let report = check_catalog(&catalog, errors);
            assert_eq!(report.errors, [], "{more}");
            report.notes.iter().filter(|note| note.contains("recognises nobody")).count()
        };
        assert_eq!(notes(""), 1);
        assert_eq!(notes("oui = ['001565']\n"), 0);
        assert_eq!(notes("[[match]]\nsource = 'sip.uri'\npattern = 'x'\nexamples = [{ text = 'x' }]\n"), 0);
        assert_eq!(notes("[[file]]\npath = '{mac}.x'\ntemplate = 't'\nformat = 'line'\n"), 0);
    }
}
