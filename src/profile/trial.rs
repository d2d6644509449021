//! Cases on trial: every file of every case byte for byte, and what [`proof`] shows of it whatever stands in the case.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::catalog::Catalog;
use super::check::{Report, at};
use super::error::{ProfileError, line_of};
use super::origin::{Origin, VendorFiles, write_case};
use super::proof;
use super::schema::Scope;
use super::{FileId, Profile};

/// Where the profile may be right and the expected file old.
const BLESS: &str = "correct the profile, or run offhook profile test DIR --bless and read the difference";
/// Where no expected file can be right.
const CORRECT: &str = "correct the template or the case";

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

/// Tries the cases of these folders, from which the catalog was made.
pub(super) fn try_all(
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

/// What came of a case's files.
#[derive(Default)]
struct Outcome {
    made: BTreeMap<String, Vec<u8>>,
    failed: BTreeSet<String>,
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
        let mut outcome = Outcome::default();
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
                    self.wrong(name, format!("{file_name}: {error}"));
                    outcome.failed.insert(file_name);
                    continue;
                }
            };
            let found = proof::of_rendered(&rendered);
            let of_case = proof::of_case(&rendered, &case, self.profile.file(id));
            for wrong in found.into_iter().chain(of_case) {
                self.wrong(name, format!("{file_name}: {wrong}"));
            }
            match rendered.fill(|slot| case.secret(slot)) {
                Ok(text) => {
                    outcome.made.insert(file_name, text.as_bytes().to_vec());
                }
                Err(error) => {
                    self.wrong(name, format!("{file_name}: {error}"));
                    outcome.failed.insert(file_name);
                }
            }
        }
        match bless {
            None => self.compare(name, &outcome),
            // A file that cannot be made says nothing against the one that was expected.
            Some(_) if !outcome.failed.is_empty() => {}
            Some(origin) => self.write(name, &outcome.made, origin),
        }
    }

    fn read(&mut self, name: &str) -> Option<Case> {
        let file = format!("tests/{name}.toml");
        let text = self.files.text(&file).map_err(|error| self.report.errors.push(error)).ok()?;
        match Case::read(self.profile.vendor(), text) {
            Ok(case) => Some(case),
            Err(error) => {
                let line = line_of(text, error.span());
                self.finding(&file, error.message().replace('\n', " "), line, "correct the case");
                None
            }
        }
    }

    fn compare(&mut self, case: &str, outcome: &Outcome) {
        let folder = format!("tests/{case}/");
        let files = self.files;
        let expected: BTreeMap<&str, &[u8]> = files.under(&folder).collect();
        for (name, bytes) in &outcome.made {
            let file = format!("{folder}{name}");
            match expected.get(name.as_str()) {
                None => self.finding(&file, "is missing: the case makes this file", None, BLESS),
                Some(expected) => {
                    if let Some((line, message)) = difference(expected, bytes) {
                        self.finding(&file, message, Some(line), BLESS);
                    }
                }
            }
        }
        let known = |name: &str| outcome.made.contains_key(name) || outcome.failed.contains(name);
        for name in expected.keys().filter(|name| !known(name)) {
            let message = "is expected, but the case does not make it";
            self.finding(&format!("{folder}{name}"), message, None, BLESS);
        }
    }

    fn write(&mut self, case: &str, outcome: &BTreeMap<String, Vec<u8>>, origin: &Origin) {
        let Some(folder) = origin.vendor_folder(&self.files.vendor) else {
            let message = "cannot be blessed: built-in profiles are read-only";
            return self.finding("tests", message, None, "name a folder");
        };
        match write_case(&folder, case, outcome) {
            Ok(()) => self.report.blessed.push(format!("{}/tests/{case}", self.files.vendor)),
            Err(error) => {
                let message = format!("cannot be written: {error}");
                self.finding(&format!("tests/{case}"), message, None, "see that the folder may be written");
            }
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
            let message = format!("has no {folder}.toml beside it");
            self.finding(&format!("tests/{folder}"), message, None, "write the case, or remove the folder");
        }
    }

    /// What is wrong with a case whatever is expected of it.
    fn wrong(&mut self, case: &str, message: String) {
        self.finding(&format!("tests/{case}.toml"), message, None, CORRECT);
    }

    fn finding(&mut self, file: &str, message: impl Into<String>, line: Option<usize>, remedy: &str) {
        let file = format!("{}/{file}", self.files.vendor);
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
            "001565000001.x: cannot render acme/templates/t:1: `missing` is not defined",
        );
    }

    #[test]
    fn blessing_is_offered_where_it_helps() {
        let helps = |case: &str, template: &str, (name, expected): (&str, &str)| {
            let files = fixture::vendor(
                "acme",
                &[
                    ("profile.toml", &PROFILE.replace("FORMAT", "line")),
                    ("templates/t", template),
                    ("tests/one.toml", case),
                    (name, expected),
                ],
            );
            let folders = [files];
            let (catalog, errors) = Catalog::of_folders(&folders);
            let report = try_all(&catalog, errors, &folders, None);
            let told: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
            let offers = told.iter().filter(|told| told.contains("--bless")).count();
            (offers, told.len())
        };
        let name = "tests/one/001565000001.x";
        let expected = (name, "a = 1\n");
        assert_eq!(helps(CASE, "a = 2\n", expected), (1, 1), "it differs");
        assert_eq!(helps(CASE, "a = 1\n", ("tests/one/stale.x", "")), (2, 2), "one is missing, one is stale");
        assert_eq!(helps(CASE, "a = {{ missing }}\n", expected), (0, 1), "it cannot be made");
        let slot = "a = \"{{ secret_param('sip', 1, 'pw') }}\"\n";
        let (offers, told) = helps(CASE, slot, (name, "a = \"pw = s3cret\"\n"));
        assert!(offers == 0 && told > 0, "a slot stands inside a line");
        let unread = [CASE.replace("001565000001", "00156500000g"), format!("{CASE}=")];
        for case in unread {
            let (offers, told) = helps(&case, "a = 1\n", expected);
            assert!(offers == 0 && told > 0, "{case}");
        }
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
    fn a_case_that_does_not_render_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let vendor = folder.path().join("acme");
        let expected = "tests/one/001565000001.x";
        for (name, text) in [
            ("profile.toml", PROFILE.replace("FORMAT", "line").as_str()),
            ("templates/t", "a = {{ missing }}\n"),
            ("tests/one.toml", CASE),
            (expected, "a = 1\n"),
        ] {
            let file = vendor.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let report = bless(&Origin::Folder(vendor.clone()));
        assert_eq!((report.errors.len(), report.blessed.len()), (1, 0), "{report:?}");
        assert_eq!(std::fs::read_to_string(vendor.join(expected)).unwrap(), "a = 1\n");
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
