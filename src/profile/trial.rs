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
    let (folders, _) = origin.read();
    try_all(&catalog, errors, &folders, bless.then_some(origin))
}

fn try_all(
    catalog: &Catalog,
    errors: Vec<ProfileError>,
    folders: &[VendorFiles],
    bless: Option<&Origin>,
) -> Report {
    let mut report = Report { profiles: catalog.profiles().count(), errors, ..Report::default() };
    for files in folders {
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
            trial.case(case, bless);
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

    /// Every file of the profile's own must be made by some case.
    fn uncovered(&mut self) {
        for (id, file) in self.profile.files() {
            if !file.inherited && !self.seen.contains(&id) {
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
        if !is_full_with_gaps(&text, &full) {
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

/// Whether `text` is `full` with something left out, and nothing added or changed.
fn is_full_with_gaps(text: &str, full: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    const PROFILE: &str = "schema = 1\ndisplay_name = 'Acme'\n[[file]]\npath = '{mac}.x'\ntemplate = 't'\n\
                           format = 'FORMAT'\nsecrets = ['sip']\n";
    const CASE: &str = "model = 'A'\nmac = '001565000001'\nurl = 'http://h/'\n[[line]]\nusername = '200'\n\
                        [secrets]\nsip.1 = 's3cret'\n";

    fn tried(format: &str, template: &str, expected: &str) -> Vec<String> {
        let files = fixture::vendor(
            "acme",
            &[
                ("profile.toml", &PROFILE.replace("FORMAT", format)),
                ("templates/t", template),
                ("tests/one.toml", CASE),
                ("tests/one/001565000001.x", expected),
            ],
        );
        let folders = [files];
        let (catalog, errors) = Catalog::of_folders(&folders);
        let report = try_all(&catalog, errors, &folders, None);
        report.errors.iter().map(ToString::to_string).collect()
    }

    fn check(format: &str, template: &str, expected: &str, finding: &str) {
        let found = tried(format, template, expected);
        match finding {
            "" => assert_eq!(found, [""; 0], "{template}"),
            finding => assert!(found.iter().any(|found| found.contains(finding)), "{template}: {found:?}"),
        }
    }

    #[test]
    fn a_case_is_compared_byte_for_byte() {
        let template = "a = 1\n{{ secret_param('sip', 1, 'pw') }}\n";
        check("line", template, "a = 1\npw = s3cret\n", "");
        let difference = "acme/tests/one/001565000001.x:2: expected `pw = secret`, made `pw = s3cret`";
        check("line", template, "a = 1\npw = secret\n", difference);
        check("line", template, "a = 1\npw = s3cret", ":3: expected the end of the file, made ``");
    }

    #[test]
    fn an_empty_password_is_found_in_every_format() {
        check(
            "line",
            "account.password = \n",
            "account.password = \n",
            "without secrets account.password is empty",
        );
        let xml = "<a><http_pass></http_pass></a>";
        check("xml", xml, xml, "http_pass is empty");
        check("json", r#"{"a": [{"password": ""}]}"#, r#"{"a": [{"password": ""}]}"#, "password is empty");
        let inside = "<a><pw>{{ secret_param('sip', 1, 'pw') }}</pw></a>";
        check("xml", inside, "<a><pw><pw>s3cret</pw></pw></a>", "without secrets pw is empty");
    }

    #[test]
    fn a_broken_file_is_found() {
        check("xml", "<a>", "<a>", "is malformed");
        check("json", "{\"a\": 1,}", "{\"a\": 1,}", "is malformed");
        check(
            "line",
            "{{ missing }}",
            "",
            "001565000001.x: cannot render acme/templates/t:1: a name is not defined",
        );
    }

    #[test]
    fn files_without_cases_and_cases_without_files_are_found() {
        let profile = PROFILE.replace("FORMAT", "line");
        let files = fixture::vendor(
            "acme",
            &[
                (
                    "profile.toml",
                    &format!(
                        "{profile}[[file]]\npath = 'all'\ntemplate = 't'\nformat = 'line'\nmodels = ['B']\n[models.B]\n"
                    ),
                ),
                ("templates/t", "x\n"),
                ("tests/one.toml", CASE),
                ("tests/one/other.x", "x\n"),
                ("tests/two/001565000001.x", "x\n"),
            ],
        );
        let folders = [files];
        let (catalog, errors) = Catalog::of_folders(&folders);
        let report = try_all(&catalog, errors, &folders, None);
        let told: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
        for finding in [
            "tests/one/001565000001.x: is missing",
            "tests/one/other.x: is expected, but the case does not make it",
            "file all: is made by no case",
            "tests/two: has no two.toml beside it",
        ] {
            assert!(told.iter().any(|told| told.contains(finding)), "{finding}: {told:?}");
        }
    }

    #[test]
    fn blessed_cases_pass() {
        let folder = tempfile::tempdir().unwrap();
        let vendor = folder.path().join("acme");
        for (name, text) in [
            ("profile.toml", PROFILE.replace("FORMAT", "line").as_str()),
            ("templates/t", "a = {{ mac }}\n"),
            ("tests/one.toml", CASE),
            ("tests/one/stale.x", ""),
        ] {
            let file = vendor.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        for origin in [Origin::Folder(folder.path().to_owned()), Origin::Folder(vendor.clone())] {
            std::fs::write(vendor.join("tests/one/stale.x"), "").unwrap();
            assert_eq!(test_all(&origin).errors.len(), 2);
            let report = bless(&origin);
            assert_eq!(
                (report.errors.len(), report.blessed.as_slice()),
                (0, ["acme/tests/one".to_owned()].as_slice())
            );
            assert_eq!(test_all(&origin).errors, []);
            let bytes = std::fs::read(vendor.join("tests/one/001565000001.x")).unwrap();
            assert_eq!(bytes, b"a = 001565000001\n");
            std::fs::remove_file(vendor.join("tests/one/001565000001.x")).unwrap();
        }
    }
}
