//! Rows as they are written, and what is wrong with others.

use super::super::Catalog;
use super::super::fixture;
use super::*;
use crate::device::Vendor;

const ROW: &str = r#"
[[web]]
name    = "acme"
user    = "admin"
factory = ["admin"]
look    = [{ get = "/", has = "Acme" }]
login   = [{ post = "/login", form = [["p", "{proof}"]], make = { proof = "md5({user}:{password})" } }]
set     = [{ post = "/set", body = '{"url":{"a":"{url}"},"e":{}}', type = "application/json" }]
leave   = [{ get = "/logout" }]
"#;

fn read(row: &str) -> Result<Catalog, String> {
    let mut files = fixture::lines();
    let text = String::from_utf8(files.files.remove("profile.toml").unwrap()).unwrap();
    files.files.insert("profile.toml".to_owned(), format!("{text}\n{row}").into_bytes());
    let (catalog, errors) = Catalog::of_folders(&[files]);
    if errors.is_empty() { Ok(catalog) } else { Err(errors.iter().map(ToString::to_string).collect()) }
}

fn check(row: &str, complaint: &str) {
    match read(row) {
        Err(errors) => assert!(errors.contains(complaint), "{errors}"),
        Ok(_) => panic!("taken: {row}"),
    }
}

#[test]
fn a_row_is_read_and_its_steps_stand_in_the_order_of_their_stages() {
    let catalog = read(ROW).unwrap();
    let vendor = catalog.profiles().next().unwrap().vendor().clone();
    let profile = catalog.get(&vendor).unwrap();
    let visit = profile.visits(Some("T46U")).next().unwrap();
    let names: Vec<String> = visit.steps.iter().map(VisitStep::name).collect();
    assert_eq!(names, ["look: GET /", "login: POST /login", "set: POST /set", "leave: GET /logout"]);
    assert_eq!(visit.first_of(Stage::Apply), 3, "a stage without steps is passed over");
    assert_eq!(visit.steps[1].has_word("password"), Mention::Digested);
    assert_eq!(visit.steps[2].has_word("url"), Mention::AsItIs);
    assert_eq!(visit.schemes, ["http"]);
}

#[test]
fn nothing_is_said_before_its_time() {
    check(&ROW.replace("get = \"/\"", "get = \"/?p={password}\""), "'{password}' is not known here");
    check(&ROW.replace("get = \"/\"", "get = \"/\", auth = true"), "gives a password away");
    check(&ROW.replace("post = \"/login\"", "post = \"/login?to={url}\""), "'{url}' is not known here");
    check(&ROW.replace("md5({user}:{password})", "crc({password})"), "write md5(…) or sha256(…)");
    check(&ROW.replace("get = \"/logout\"", "get = \"logout\""), "'logout' is no path");
    check(&ROW.replace("get = \"/logout\"", "get = \"/a\", post = \"/b\""), "is no request");
    check(&ROW.replace("[\"admin\"]", "['1', '2', '3', '4']"), "phones lock themselves");
    check(&ROW.replace("look    = [{ get = \"/\", has = \"Acme\" }]", ""), "is missing");
    check(&ROW.replace("name    =", "models = ['none']\nname    ="), "is no model");
    check(&ROW.replace("has = \"Acme\"", "take = { x = 'Acme' }"), "has no group");
}

#[test]
fn braces_around_no_word_are_what_they_are() {
    let phrase = Phrase::read(r#"{"a":{},"b":"{url}{","c":{{user}}}"#);
    assert_eq!(phrase.words().collect::<Vec<_>>(), ["url", "user"]);
    let filled = phrase.filled(|word| Some(word.to_uppercase())).unwrap();
    assert_eq!(filled, r#"{"a":{},"b":"URL{","c":{USER}}"#);
    assert!(phrase.is_json());
    assert_eq!(phrase.filled(|word| (word == "url").then(String::new)), None);
}

#[test]
fn every_vendor_with_a_web_interface_has_its_rows() {
    let catalog = Catalog::builtin().unwrap();
    let names = |vendor: &str, model: &str| -> Vec<String> {
        let profile = catalog.get(&Vendor::new(vendor)).unwrap();
        profile.visits(Some(model)).map(|visit| visit.name.clone()).collect()
    };
    assert_eq!(names("snom", "D785"), ["snom"]);
    assert_eq!(names("yealink", "T46U"), ["yealink-api", "yealink-basic"]);
    assert_eq!((names("fanvil", "X3"), names("fanvil", "X5U-V2")), (vec!["fanvil".to_owned()], vec![]));
    assert_eq!(names("mitel", "6867i"), ["aastra"]);
}
