//! What the built-in profiles must produce, read by the simulated phones: their readers share nothing with the renderer,
//! and must find in every case's files the accounts and the protection that the case asks for, without a remark.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::habits::Habits;
use super::meaning;
use super::read::Contents;
use super::scripted::phone;
use super::settings::{Account, Settings};
use super::spec::PhoneSpec;
use crate::device::Mac;
use crate::secret::Secret;

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
fn files(spec: &PhoneSpec, habits: &Habits, folder: &Path) -> Vec<PathBuf> {
    let told = spec.profile.provisioning_url("", spec.mac, Some(&spec.model)).unwrap_or_default();
    let names = habits.fetch.iter().map(|(name, _)| name.clone()).chain([told.trim_matches('/').to_owned()]);
    names.map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
}

fn check(vendor: &str, path: &Path) {
    let case: Case = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (model, firmware) = (case.model.clone(), case.firmware.clone());
    let spec = PhoneSpec { model, firmware, ..phone(vendor, &case.mac.bare()) };
    let habits = Habits::of(&spec);
    let sheet = &habits.sheet;
    let reading = sheet.read.as_ref().unwrap();
    let mut settings = Settings::default();
    let files = files(&spec, &habits, &path.with_extension(""));
    assert!(!files.is_empty(), "{}: no file that the phone asks for", path.display());
    for file in files {
        let contents = Contents::read(&std::fs::read(&file).unwrap(), reading);
        let contents = contents.unwrap_or_else(|reason| panic!("{}: {reason}", file.display()));
        assert_eq!(contents.remarks, Vec::<String>::new(), "{}", file.display());
        contents.apply(reading, &mut settings);
    }
    check_accounts(&case, &meaning::accounts(sheet, &settings), path);
    let has = |kind: &str| case.secrets.contains_key(kind);
    assert!(!meaning::has(&sheet.webui, &settings) || has("webui"), "{}", path.display());
    assert_eq!(
        meaning::has(&sheet.prov, &settings),
        has("prov") && !sheet.prov.is_empty(),
        "{}",
        path.display()
    );
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
        let password = account.password.as_ref().map(Secret::expose);
        let expected = secret.and_then(toml::Value::as_str);
        assert_eq!(password, expected, "{} line {}", path.display(), account.line);
    }
}

#[test]
fn the_profiles_files_mean_to_a_phone_what_their_cases_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-profiles");
    for vendor in super::scripted::vendors() {
        let cases = std::fs::read_dir(root.join(&vendor).join("tests")).unwrap();
        let cases: Vec<PathBuf> = cases.map(|entry| entry.unwrap().path()).collect();
        let cases = cases.into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml"));
        let checked = cases.inspect(|case| check(&vendor, case)).count();
        assert!(checked > 0, "{vendor} has no case");
    }
}
