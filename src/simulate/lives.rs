//! Second lives of simulated phones against servers made of hand-written bytes: a file with passwords, then one without.

use std::net::SocketAddr;

use super::registrar::Registrar;
use super::scripted::{SNOM, YEALINK, registrar, snom_settings, spec, udp, web_server, yealink_settings};
use super::*;
use crate::secret::Secret;

const SNOM_FILE: &str = "/p/00041396D9B4.xml";
const YEALINK_FILE: &str = "/p/805ec0aabbcc.cfg";

async fn live_on(memory: &mut Memory, spec: PhoneSpec) -> (Report, Vec<Step>) {
    let mut steps = Vec::new();
    let report = Phone::new(spec).live_on(memory, |step| steps.push(step)).await;
    (report, steps)
}

/// A life against a server with this one file.
async fn life(memory: &mut Memory, vendor: &str, last: u8, path: &str, body: String) -> (Report, Vec<Step>) {
    let web = web_server(&[(path, body)]).await;
    live_on(memory, spec(vendor, last, Target::Url(format!("http://{}{path}", web.0)))).await
}

fn with_passwords(registrar: &Registrar) -> String {
    let passwords = "<user_pass idx=\"1\">right</user_pass><http_pass>web-hunter2</http_pass>\
                     <admin_mode_password>1234</admin_mode_password>";
    snom_settings(registrar.address(), passwords)
}

fn without_passwords(text: &str) -> String {
    text.lines()
        .filter(|line| !line.contains("password"))
        .fold(String::new(), |text, line| text + line + "\n")
}

fn told(steps: &[Step]) -> Vec<&str> {
    steps.iter().filter(|step| step.kind == StepKind::Memory).map(|step| step.text.as_str()).collect()
}

#[tokio::test]
async fn a_snom_of_the_second_life_keeps_what_its_file_no_longer_names() {
    let registrar = registrar("right").await;
    let mut memory = Memory::default();
    let (first, steps) = life(&mut memory, SNOM, 31, SNOM_FILE, with_passwords(&registrar)).await;
    assert_eq!((first.failure, first.life, first.registered), (None, 1, true));
    assert_eq!((first.absent, told(&steps)), (Vec::<String>::new(), Vec::<&str>::new()));
    let plain = snom_settings(registrar.address(), "");
    let (second, steps) = life(&mut memory, SNOM, 31, SNOM_FILE, plain).await;
    assert_eq!((second.failure.clone(), second.life, second.registered), (None, 2, true), "{steps:#?}");
    let absent = ["admin_mode_password", "http_pass", "user_pass1"];
    assert_eq!(
        (second.absent.as_slice(), second.kept.as_slice()),
        (&absent.map(str::to_owned)[..], &absent.map(str::to_owned)[..])
    );
    assert!(second.lost.is_empty() && second.missing.is_empty());
    assert!(second.accounts[0].has_password && second.accounts[0].password_kept);
    assert!(second.web_password && second.menu_password);
    let expected = [
        "life 2: it knows 8 settings from before",
        "absent now: admin_mode_password, http_pass, user_pass1; the phone keeps what it has",
    ];
    assert_eq!(told(&steps), expected);
    let all = format!("{steps:?} {second:?} {memory:?} {}", serde_json::to_string(&second).unwrap());
    for password in ["right", "hunter2", "1234"] {
        assert!(!all.contains(password), "a password was told: {all}");
    }
}

#[tokio::test]
async fn a_yealink_of_the_second_life_keeps_what_its_file_no_longer_names() {
    let registrar = registrar("right").await;
    let full = yealink_settings(registrar.address(), 0);
    let mut memory = Memory::default();
    let (first, _) = life(&mut memory, YEALINK, 32, YEALINK_FILE, full.clone()).await;
    assert!(first.registered && !first.accounts[0].password_kept);
    let (second, steps) = life(&mut memory, YEALINK, 32, YEALINK_FILE, without_passwords(&full)).await;
    assert!(second.is_up() && second.registered, "{steps:#?}");
    assert_eq!(second.absent, ["account.1.password", "static.security.user_password"]);
    assert!(second.accounts[0].password_kept && second.web_password);
}

#[tokio::test]
async fn after_a_factory_reset_a_file_without_passwords_strands_the_phone_and_it_says_so() {
    let registrar = registrar("right").await;
    let full = yealink_settings(registrar.address(), 0);
    let plain = without_passwords(&full);
    let (report, steps) = life(&mut Memory::default(), YEALINK, 33, YEALINK_FILE, plain).await;
    assert_eq!((report.life, report.missing.as_slice()), (1, &["account.1.password".to_owned()][..]));
    assert_eq!(report.failure.map(|failure| failure.step), Some(StepKind::Register));
    assert!(told(&steps)[0].ends_with("(offhook device rearm 80:5e:c0:aa:bb:cc)"), "{steps:#?}");
    let (report, steps) =
        life(&mut Memory::default(), SNOM, 34, SNOM_FILE, snom_settings(registrar.address(), "")).await;
    assert_eq!(report.missing, ["user_pass1"]);
    assert!(
        told(&steps)[0].starts_with("missing: user_pass1; neither the files nor the phone have it"),
        "{steps:#?}"
    );
}

#[tokio::test]
async fn a_phone_that_replaces_loses_what_its_file_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("snom")).unwrap();
    let own =
        "schema = 1\ndisplay_name = \"Snom\"\nextends = \"snom\"\n[simulate]\nretention = \"replace\"\n";
    std::fs::write(folder.path().join("snom/profile.toml"), own).unwrap();
    let (catalog, errors) = crate::profile::Catalog::load(Some(folder.path()));
    assert_eq!(errors, []);
    let profile = catalog.get(&crate::device::Vendor::new(SNOM)).unwrap();
    let registrar = registrar("right").await;
    let web = web_server(&[
        ("/a.xml", with_passwords(&registrar)),
        ("/b.xml", snom_settings(registrar.address(), "")),
    ])
    .await;
    let of = |name: &str| PhoneSpec {
        profile: profile.clone(),
        ..spec(SNOM, 35, Target::Url(format!("http://{}/{name}", web.0)))
    };
    let mut memory = Memory::default();
    assert!(live_on(&mut memory, of("a.xml")).await.0.registered);
    let (second, steps) = live_on(&mut memory, of("b.xml")).await;
    assert_eq!(second.lost, ["admin_mode_password", "http_pass", "user_pass1"]);
    assert_eq!((second.kept.len(), second.missing.as_slice()), (0, &["user_pass1".to_owned()][..]));
    assert!(
        !second.registered && told(&steps).iter().any(|told| told.ends_with("the phone has lost it")),
        "{steps:#?}"
    );
}

#[tokio::test]
async fn a_boot_file_that_overwrites_takes_the_password_away() {
    let registrar = registrar("right").await;
    let full = yealink_settings(registrar.address(), 0);
    let mut memory = Memory::default();
    assert!(life(&mut memory, YEALINK, 36, YEALINK_FILE, full.clone()).await.0.registered);
    let boot = "#!version:1.0.0.1\ninclude:config <own.cfg>\noverwrite_mode = 1\n".to_owned();
    let web = web_server(&[("/805ec0aabbcc.boot", boot), ("/own.cfg", without_passwords(&full))]).await;
    let (second, _) =
        live_on(&mut memory, spec(YEALINK, 36, Target::Url(format!("http://{}/", web.0)))).await;
    assert_eq!(second.lost, ["account.1.password", "static.security.user_password"]);
    assert!(!second.registered);
}

#[tokio::test]
async fn a_phone_that_gets_no_configuration_registers_with_what_it_knows() {
    let registrar = registrar("right").await;
    let mut memory = Memory::default();
    assert!(life(&mut memory, SNOM, 37, SNOM_FILE, with_passwords(&registrar)).await.0.registered);
    let empty = web_server(&[]).await;
    let target = Target::Url(format!("http://{}/x.xml", empty.0));
    let (report, steps) = live_on(&mut memory, spec(SNOM, 37, target)).await;
    assert_eq!(report.failure.map(|failure| failure.step), Some(StepKind::Fetch));
    assert!(report.registered && report.accounts[0].has_password, "{steps:#?}");
}

#[tokio::test]
async fn a_phone_that_nobody_answers_looks_at_its_own_url() {
    let registrar = registrar("right").await;
    let (first, plain) = (with_passwords(&registrar), snom_settings(registrar.address(), ""));
    let web = web_server(&[(SNOM_FILE, first), ("/own/x.xml", plain)]).await;
    let mut memory = Memory::default();
    let url = Target::Url(format!("http://{}{SNOM_FILE}", web.0));
    assert!(live_on(&mut memory, spec(SNOM, 38, url)).await.0.registered);
    let silent = udp().await;
    let address: SocketAddr = silent.local_addr().unwrap();
    let patience = Patience { subscribe: std::time::Duration::from_millis(300), ..Patience::default() };
    let second = PhoneSpec { patience, ..spec(SNOM, 38, Target::Server(address)) };
    let (report, steps) = live_on(&mut memory, second).await;
    assert!(report.is_up() && report.registered && !report.subscribed, "{steps:#?}");
    assert_eq!(report.kept, ["admin_mode_password", "http_pass", "user_pass1"]);
    assert!(memory.settings.secret("setting_server").is_some_and(|url: &Secret| !url.is_empty()));
}
