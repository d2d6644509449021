//! What the built-in profiles must produce, read by the simulated phones: their readers share nothing with the renderer,
//! and must find in every case's files the accounts and the protection that the case asks for, without a remark.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::habits::Habits;
use super::meaning;
use super::read::Contents;
use super::scripted::phone;
use super::settings::Settings;
use super::spec::PhoneSpec;
use crate::device::Mac;
use crate::profile::Simulate;
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

/// What a phone reads of these files: those it asks for, and those that they name.
pub(super) fn read(
    spec: &PhoneSpec,
    habits: &Habits,
    file: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<Settings, String> {
    let Some(reading) = &habits.sheet.read else {
        return Err("it is not said how files are read".to_owned());
    };
    let told = spec.profile.provisioning_url("", spec.mac, Some(&spec.model)).unwrap_or_default();
    let told = (told.trim_matches('/').to_owned(), false);
    let asked = habits.fetch.iter().chain([&told]).filter(|(name, _)| !name.is_empty());
    let mut settings = Settings::default();
    let mut seen = Vec::new();
    for (name, ends) in asked {
        let mut pending = vec![name.clone()];
        let mut found = false;
        while let Some(name) = pending.pop().filter(|name| !seen.contains(&name.to_ascii_lowercase())) {
            let Some(body) = file(&name) else { continue };
            found = true;
            seen.push(name.to_ascii_lowercase());
            let contents = Contents::read(&body, reading).map_err(|reason| format!("{name}: {reason}"))?;
            if !contents.remarks.is_empty() {
                return Err(format!("{name}: {:?}", contents.remarks));
            }
            contents.apply(reading, &mut settings);
            let links = contents.files.iter().rev().map(|link| habits.expand(link));
            pending.extend(links.map(|link| link.rsplit('/').next().unwrap().to_owned()));
        }
        if *ends && found {
            break;
        }
    }
    if seen.is_empty() { Err("no file that the phone asks for".to_owned()) } else { Ok(settings) }
}

fn file(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let mut files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let file = files.find(|file| file.file_name().to_string_lossy().eq_ignore_ascii_case(name))?;
    Some(std::fs::read(file.path()).unwrap())
}

/// What is wrong with what the phone makes of a case's files.
fn check(vendor: &str, path: &Path) -> Result<(), String> {
    let case: Case = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (model, firmware) = (case.model.clone(), case.firmware.clone());
    let spec = PhoneSpec { model, firmware, ..phone(vendor, &case.mac.bare()) };
    let habits = Habits::of(&spec);
    let sheet = &habits.sheet;
    let folder = path.with_extension("");
    let settings = read(&spec, &habits, |name| file(&folder, name))?;
    check_accounts(&case, sheet, &settings)?;
    let has = |kind: &str| case.secrets.contains_key(kind);
    if meaning::has(&sheet.webui, &settings) && !has("webui") {
        return Err("a password of the web page that nobody gave".to_owned());
    }
    let given = meaning::own_url(sheet, &settings);
    if has("prov") && !sheet.prov.is_empty() && given.is_none() {
        return Err("its own URL is missing".to_owned());
    }
    Ok(())
}

fn check_accounts(case: &Case, sheet: &Simulate, settings: &Settings) -> Result<(), String> {
    let accounts = meaning::accounts(sheet, settings);
    type Read<'a> = (u16, &'a str, &'a str, Option<&'a str>);
    let named = sheet.account.iter().any(|names| names.username.iter().any(|name| name.contains("{id}")));
    let read: Vec<Read<'_>> = accounts
        .iter()
        .map(|a| (a.line, a.username.as_str(), a.auth_id.as_str(), a.password.as_ref().map(Secret::expose)))
        .collect();
    let expected = case.line.iter().zip(1..).map(|(line, position)| -> Read<'_> {
        let number = line.number.unwrap_or(position);
        let secret = case.secrets.get("sip").and_then(|sip| sip.get(number.to_string()));
        let auth_id = line.auth_id.as_ref().unwrap_or(&line.username);
        (number, &line.username, auth_id, secret.and_then(toml::Value::as_str))
    });
    // A line that the phone has no room for is left out, and nothing of it is in its files.
    let known = |text: &str| settings.values().any(|(_, value)| value.expose() == text);
    let is_there = |(.., name, _, password): &Read<'_>| password.map_or(known(name), known);
    let expected: Vec<Read<'_>> = expected.filter(|one| read.contains(one) || is_there(one)).collect();
    // Accounts with a name instead of a number come in any order.
    let fits = |one: &Read<'_>| {
        expected.iter().any(|other| if named { one.1 == other.1 && one.3 == other.3 } else { one == other })
    };
    let all = read.iter().all(fits) && !read.is_empty();
    if all && read.len() == expected.len() {
        return Ok(());
    }
    Err(format!("it reads the accounts {read:?} instead of {expected:?}"))
}

#[test]
fn the_profiles_files_mean_to_a_phone_what_their_cases_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-profiles");
    let mut wrong = Vec::new();
    for vendor in super::scripted::vendors() {
        let cases = std::fs::read_dir(root.join(&vendor).join("tests")).unwrap();
        let cases = cases.map(|entry| entry.unwrap().path());
        let cases: Vec<PathBuf> =
            cases.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
        assert!(!cases.is_empty(), "{vendor} has no case");
        for case in cases {
            let found = check(&vendor, &case).err();
            let name = case.file_stem().unwrap().to_string_lossy().into_owned();
            wrong.extend(found.map(|found| format!("{vendor}/tests/{name}: {found}")));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
