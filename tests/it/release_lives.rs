//! `offhook simulate` against the running agent: the first life of a phone, the one after its window, the one after a
//! factory reset, and the one after an operator has let its passwords leave once more.

use offhook::clock::Entropy;
use offhook::secret::Secret;
use offhook::simulate::registrar::Registrar;
use serde_json::{Value, json};

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::lab::{self, Host, Lab};

/// A phone of a vendor, the elements or lines that hold its passwords, and its row.
struct Model {
    vendor: &'static str,
    mac: &'static str,
    row: &'static str,
    /// What its file lacks once it has everything.
    once: &'static [&'static str],
}

const SNOM: Model = Model {
    vendor: "snom",
    mac: "00:04:13:00:00:01",
    row: "00:04:13:00:00:01,snom,D785,201,kSip-201-canary",
    once: &["user_pass1", "http_pass", "admin_mode_password", "setting_server"],
};
const YEALINK: Model = Model {
    vendor: "yealink",
    mac: "80:5e:c0:aa:bb:cc",
    row: "80:5e:c0:aa:bb:cc,yealink,T46U,201,kSip-201-canary",
    once: &["account.1.password", "static.security.user_password"],
};

/// One life of the phone; whether it came up, and its report.
fn life(phone: &Host, model: &Model, lab: &Lab, more: &[&str]) -> (bool, Value) {
    let keep = lab.folder().join("phone.json");
    let command =
        [OFFHOOK, "--json", "simulate", model.vendor, "--mac", model.mac, "--keep", keep.to_str().unwrap()];
    let output = phone.command(&[&command, more].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("canary"), "a password is shown: {text}");
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error} in {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), report)
}

fn has_all(list: &Value, names: &[&str]) -> bool {
    names.iter().all(|name| list.as_array().is_some_and(|list| list.contains(&json!(name))))
}

/// The agent starts again, so many seconds later.
fn later(agent: &mut Agent<'_>, seconds: &str) {
    agent.audited("acked");
    agent.end();
    agent.begin(&["unshare", "-T", "--boottime", seconds]);
}

fn lives(lab: &Lab, model: &Model) {
    let server = lab.host("agent", "192.168.1.35/24");
    let accounts = format!("mac,vendor,model,username,password\n{}\n", model.row);
    let config = "[sip]\nregistrar = \"192.168.1.20\"\n".to_owned();
    let mut agent = Agent::start(lab, &server, &Setup { accounts, config });
    let pbx = lab.host("pbx", "192.168.1.20/24");
    let (_runtime, registrar) = pbx.inside(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let login = [("201".to_owned(), Secret::new("kSip-201-canary"))];
        let listen = "192.168.1.20:5060".parse().unwrap();
        let registrar = runtime.block_on(Registrar::start(listen, login, Entropy::seeded(5))).unwrap();
        (runtime, registrar)
    });
    let phone = lab.phone("phone", model.mac, "lan", "192.168.1.100/24");

    let (up, first) = life(&phone, model, lab, &[]);
    assert!(up && first["registered"] == true && first["life"] == 1, "{first}");
    assert_eq!(first["absent"], json!([]), "{first}");
    later(&mut agent, "601");
    let (up, second) = life(&phone, model, lab, &[]);
    assert!(up && second["registered"] == true && second["life"] == 2, "{second}");
    assert!(has_all(&second["absent"], model.once), "{second}");
    assert_eq!(second["absent"], second["kept"], "{second}");

    let (up, reset) = life(&phone, model, lab, &["--factory-reset"]);
    assert!(!up && reset["registered"] == false, "{reset}");
    assert!(has_all(&reset["missing"], &model.once[..1]), "{reset}");
    agent.offhook(&["device", "rearm", model.mac, "--reason", "it was reset"]);
    let (up, again) = life(&phone, model, lab, &["--factory-reset"]);
    assert!(up && again["registered"] == true, "{again}");
    assert_eq!(again["missing"], json!([]), "{again}");
    assert_eq!(registrar.registered(), ["201"]);
}

#[test]
fn a_snom_lives_on_and_is_reset() {
    lab::run("release_lives::a_snom_lives_on_and_is_reset", |lab| lives(lab, &SNOM));
}

#[test]
fn a_yealink_lives_on_and_is_reset() {
    lab::run("release_lives::a_yealink_lives_on_and_is_reset", |lab| lives(lab, &YEALINK));
}
