//! Cases on trial: every file of every case byte for byte, and, whatever stands in the case, that no combination of
//! released and withheld secrets leaks one, leaves an empty password behind, or breaks the file.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::catalog::Catalog;
use super::check::{Report, at};
use super::error::{ProfileError, line_of};
use super::origin::{Origin, VendorFiles, write_case};
use super::rendered::{Rendered, Slot};
use super::schema::{Format, Scope};
use super::{FileId, Profile};
use crate::secret::{Secret, SecretKind};

/// Words in the name of a parameter that holds a password.
const PASSWORD_WORDS: [&str; 4] = ["pass", "pswd", "passwd", "secret"];

/// Renders every case and compares it with its expected files.
pub fn test_all(origin: &Origin) -> Report {
    run(origin, false)
}

/// Renders every case and writes what comes out as expected. Built-in profiles cannot be written.
pub fn bless(origin: &Origin) -> Report {
    run(origin, true)
}

fn run(origin: &Origin, bless: bool) -> Report {
    let (catalog, errors) = Catalog::of_origin(origin);
    let mut report = Report { profiles: catalog.profiles().count(), errors, ..Report::default() };
    let (folders, _) = origin.read();
    for files in &folders {
        let Some(profile) = catalog.profiles().find(|profile| profile.vendor().as_str() == files.vendor)
        else {
            continue;
        };
        let mut trial = Trial { profile, files, seen: BTreeSet::new(), report: &mut report };
        let cases: Vec<String> = files
            .under("tests/")
            .filter_map(|(name, _)| name.strip_suffix(".toml"))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect();
        for case in &cases {
            trial.case(case, bless.then_some(origin));
        }
        trial.uncovered();
        trial.orphans(&cases);
    }
    report
}

struct Trial<'a> {
    profile: &'a Profile,
    files: &'a VendorFiles,
    seen: BTreeSet<FileId>,
    report: &'a mut Report,
}

impl Trial<'_> {
    fn case(&mut self, name: &str, bless: Option<&Origin>) {
        let Some(case) = self.read(name) else { return };
        self.report.cases += 1;
        let mut outcome: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let model = case.device.model.as_deref();
        let files: Vec<_> = self.profile.files_for(model).map(|(id, file)| (id, file.scope())).collect();
        for (id, scope) in files {
            let Some(file_name) = self.profile.file_name(id, Some(case.device.mac), model) else { continue };
            let subject = if scope == Scope::Device { case.subject() } else { case.shared_subject() };
            self.seen.insert(id);
            self.report.files += 1;
            let rendered = match self.profile.render(id, &subject) {
                Ok(rendered) => rendered,
                Err(error) => {
                    self.finding(&format!("tests/{name}.toml"), format!("{file_name}: {error}"), None);
                    continue;
                }
            };
            for wrong in proof(&rendered) {
                self.finding(&format!("tests/{name}.toml"), format!("{file_name}: {wrong}"), None);
            }
            match rendered.fill(|slot| case.secret(slot)) {
                Ok(text) => {
                    outcome.insert(file_name, text.as_bytes().to_vec());
                }
                Err(error) => self.finding(&format!("tests/{name}.toml"), error.to_string(), None),
            }
        }
        match bless {
            None => self.compare(name, &outcome),
            Some(origin) => self.write(name, &outcome, origin),
        }
    }

    fn read(&mut self, name: &str) -> Option<Case> {
        let file = format!("tests/{name}.toml");
        let text = self.files.text(&file).map_err(|error| self.report.errors.push(error)).ok()?;
        match Case::read(self.profile.vendor(), text) {
            Ok(case) => Some(case),
            Err(error) => {
                let line = line_of(text, error.span());
                self.finding(&file, error.message().replace('\n', " "), line);
                None
            }
        }
    }

    fn compare(&mut self, case: &str, outcome: &BTreeMap<String, Vec<u8>>) {
        let folder = format!("tests/{case}/");
        let files = self.files;
        let expected: BTreeMap<&str, &[u8]> = files.under(&folder).collect();
        for (name, bytes) in outcome {
            let file = format!("{folder}{name}");
            match expected.get(name.as_str()) {
                None => self.finding(&file, "is missing: the case makes this file", None),
                Some(expected) => {
                    if let Some((line, message)) = difference(expected, bytes) {
                        self.finding(&file, message, Some(line));
                    }
                }
            }
        }
        for name in expected.keys().filter(|name| !outcome.contains_key(**name)) {
            self.finding(&format!("{folder}{name}"), "is expected, but the case does not make it", None);
        }
    }

    fn write(&mut self, case: &str, outcome: &BTreeMap<String, Vec<u8>>, origin: &Origin) {
        let Some(folder) = origin.vendor_folder(&self.files.vendor) else {
            return self.finding(
                "tests",
                "cannot be blessed: built-in profiles are read-only; name a folder",
                None,
            );
        };
        match write_case(&folder, case, outcome) {
            Ok(()) => self.report.blessed.push(format!("{}/tests/{case}", self.files.vendor)),
            Err(error) => self.finding(&format!("tests/{case}"), format!("cannot be written: {error}"), None),
        }
    }

    /// Every file that the profile has of its own or inherits must be made by some case.
    fn uncovered(&mut self) {
        for (id, file) in self.profile.files() {
            if !self.seen.contains(&id) {
                let finding = ProfileError::new(
                    &at(self.profile),
                    "is made by no case",
                    "add a case with a model that asks for it",
                );
                self.report.errors.push(finding.key(format!("file {}", file.path())));
            }
        }
    }

    /// Expected files without a case would never be compared.
    fn orphans(&mut self, cases: &[String]) {
        let folders: BTreeSet<&str> =
            self.files.under("tests/").filter_map(|(name, _)| Some(name.split_once('/')?.0)).collect();
        for folder in folders.into_iter().filter(|folder| cases.iter().all(|case| case != folder)) {
            self.finding(&format!("tests/{folder}"), format!("has no {folder}.toml beside it"), None);
        }
    }

    fn finding(&mut self, file: &str, message: impl Into<String>, line: Option<usize>) {
        let file = format!("{}/{file}", self.files.vendor);
        let remedy = "correct the profile, or run offhook profile test DIR --bless and read the difference";
        self.report.errors.push(ProfileError::new(&file, message, remedy).line(line));
    }
}

/// The first line in which two files differ, and how.
fn difference(expected: &[u8], made: &[u8]) -> Option<(usize, String)> {
    if expected == made {
        return None;
    }
    let lines =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).split('\n').map(str::to_owned).collect::<Vec<_>>();
    let (expected, made) = (lines(expected), lines(made));
    let at = expected.iter().zip(&made).take_while(|(one, other)| one == other).count();
    let shown =
        |lines: &[String]| lines.get(at).map_or("the end of the file".to_owned(), |line| format!("`{line}`"));
    Some((at + 1, format!("expected {}, made {}", shown(&expected), shown(&made))))
}

/// What is wrong with a rendered file under any combination of released kinds of secrets.
fn proof(rendered: &Rendered) -> Vec<String> {
    let kinds: Vec<SecretKind> =
        rendered.slots().map(|slot| slot.kind).collect::<BTreeSet<_>>().into_iter().collect();
    let names: BTreeSet<String> = rendered.slot_pieces().map(|piece| piece.name.clone()).collect();
    let mut wrong = Vec::new();
    let full = filled(rendered, &kinds);
    for choice in 0..1usize << kinds.len() {
        let released: Vec<SecretKind> = kinds
            .iter()
            .enumerate()
            .filter(|(bit, _)| choice >> bit & 1 == 1)
            .map(|(_, kind)| *kind)
            .collect();
        let text = filled(rendered, &released);
        let told: Vec<&str> = released.iter().map(|kind| kind.as_str()).collect();
        let with =
            if told.is_empty() { "without secrets".to_owned() } else { format!("with {}", told.join(", ")) };
        for kind in kinds.iter().filter(|kind| !released.contains(kind)) {
            if text.contains(&format!("CANARY-{kind}")) {
                wrong.push(format!("{with} it holds a {kind} secret"));
            }
        }
        if released.is_empty() && text != rendered.plain() {
            wrong.push("without secrets it is not its plain self".to_owned());
        }
        if !is_without_lines(&text, &full) {
            wrong.push(format!("{with} it differs in more than its secrets"));
        }
        wrong.extend(malformed(rendered.format(), &text).map(|why| format!("{with} it is malformed: {why}")));
        wrong.extend(
            empty_passwords(rendered.format(), &text, &names).map(|name| format!("{with} {name} is empty")),
        );
    }
    wrong
}

fn filled(rendered: &Rendered, released: &[SecretKind]) -> String {
    let canary = |slot: Slot| {
        let line = slot.line.unwrap_or_default();
        released.contains(&slot.kind).then(|| Secret::new(format!("CANARY-{}-{line}&<\"'>", slot.kind)))
    };
    rendered.fill(canary).map(|text| text.to_string()).unwrap_or_default()
}

/// Whether `text` is `full` with something left out and nothing changed: by lines, and within lines by characters.
fn is_without_lines(text: &str, full: &str) -> bool {
    let mut rest = full.chars();
    text.chars().all(|c| rest.any(|other| other == c))
}

fn malformed(format: Format, text: &str) -> Option<String> {
    match format {
        Format::Xml => roxmltree::Document::parse(text).err().map(|error| error.to_string()),
        Format::Json => serde_json::from_str::<serde_json::Value>(text).err().map(|error| error.to_string()),
        Format::Line | Format::Plain => None,
    }
}

/// A parameter that should hold a password and holds nothing: many phones would take that for "no password".
fn empty_passwords(format: Format, text: &str, slots: &BTreeSet<String>) -> Option<String> {
    let is_password = |name: &str| {
        let lower = name.to_ascii_lowercase();
        slots.contains(name) || PASSWORD_WORDS.iter().any(|word| lower.contains(word))
    };
    match format {
        Format::Line | Format::Plain => text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (value.trim().is_empty() && is_password(name.trim())).then(|| name.trim().to_owned())
        }),
        Format::Xml => {
            let document = roxmltree::Document::parse(text).ok()?;
            let empty = |node: &roxmltree::Node<'_, '_>| {
                node.is_element()
                    && is_password(node.tag_name().name())
                    && !node.has_children()
                    && node.attribute("value").is_none_or(str::is_empty)
            };
            document.descendants().find(empty).map(|node| node.tag_name().name().to_owned())
        }
        Format::Json => empty_member(&serde_json::from_str(text).ok()?, &is_password),
    }
}

fn empty_member(value: &serde_json::Value, is_password: &impl Fn(&str) -> bool) -> Option<String> {
    match value {
        serde_json::Value::Object(members) => members.iter().find_map(|(name, value)| {
            let empty = is_password(name) && value.as_str().is_some_and(str::is_empty);
            if empty { Some(name.clone()) } else { empty_member(value, is_password) }
        }),
        serde_json::Value::Array(values) => values.iter().find_map(|value| empty_member(value, is_password)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => None,
    }
}
