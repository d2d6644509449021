//! What the built-in profiles must produce, read by the simulated phones: their readers share nothing with the renderer,
//! and must find in every case's files the accounts and the protection that the case asks for, without a remark.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::settings::{Account, Settings};
use super::spec::{Brand, PhoneSpec};
use super::{habits::Habits, snom, yealink};
use crate::device::Mac;

#[derive(Deserialize)]
struct Case {
    model: String,
    mac: Mac,
    firmware: Option<String>,
    #[serde(default)]
    line: Vec<Line>,
    #[serde(default)]
    secrets: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Line {
    number: Option<u16>,
    username: String,
    auth_id: Option<String>,
}

/// The files of a case in the order in which the phone asks for them.
fn files(brand: Brand, case: &Case, folder: &Path) -> Vec<PathBuf> {
    let habits = Habits::of(&PhoneSpec {
        model: case.model.clone(),
        firmware: case.firmware.clone(),
        ..PhoneSpec::new(brand, case.mac)
    });
    let own = format!("{}.xml", case.mac.bare().to_ascii_uppercase());
    let names = habits.fetch.iter().filter(|name| !name.contains(".boot")).chain([&own]);
    names.map(|name| folder.join(name)).filter(|path| path.exists()).collect()
}

fn check(brand: Brand, path: &Path) {
    let case: Case = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut settings = Settings::default();
    let files = files(brand, &case, &path.with_extension(""));
    assert!(!files.is_empty(), "{}: no file that the phone asks for", path.display());
    for file in files {
        let body = std::fs::read(&file).unwrap();
        let remarks = match brand {
            Brand::Snom => snom::read_xml(&body).map(|xml| xml.taken_into(&mut settings)),
            Brand::Yealink => Ok(yealink::read_lines(&body).taken_into(&mut settings)),
        };
        assert_eq!(remarks, Ok(Vec::new()), "{}", file.display());
    }
    let (accounts, given) = match brand {
        Brand::Snom => (snom::accounts(&settings), snom::given(&settings)),
        Brand::Yealink => (yealink::accounts(&settings), yealink::given(&settings)),
    };
    check_accounts(&case, &accounts, path);
    assert_eq!(given.web_password, case.secrets.contains_key("webui"), "{}", path.display());
}

fn check_accounts(case: &Case, accounts: &[Account], path: &Path) {
    let read: Vec<_> = accounts.iter().map(|a| (a.line, a.username.as_str(), a.auth_id.as_str())).collect();
    let expected: Vec<_> = case
        .line
        .iter()
        .zip(1..)
        .map(|(line, position)| {
            let auth_id = line.auth_id.as_ref().unwrap_or(&line.username);
            (line.number.unwrap_or(position), line.username.as_str(), auth_id.as_str())
        })
        .collect();
    assert_eq!(read, expected, "{}", path.display());
    for account in accounts {
        let secret = case.secrets.get("sip").and_then(|sip| sip.get(account.line.to_string()));
        let password = account.password.as_ref().map(crate::secret::Secret::expose);
        assert_eq!(
            password,
            secret.and_then(toml::Value::as_str),
            "{} line {}",
            path.display(),
            account.line
        );
    }
}

#[test]
fn the_profiles_files_mean_to_a_phone_what_their_cases_say() {
    for brand in [Brand::Snom, Brand::Yealink] {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-profiles").join(brand.as_str()).join("tests");
        let cases = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let cases: Vec<PathBuf> =
            cases.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
        assert!(cases.len() > 3, "{brand:?}");
        for case in cases {
            check(brand, &case);
        }
    }
}
