//! What an operator decides about passwords, by the built program on a store in a folder of its own; in the last test
//! beside an agent and a phone.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::lab;
use crate::phone::{Phone, Vendor};

const OFFICE: &str = "mac,vendor,model,username,password,line\n\
                      001565000001,yealink,T46U,101,geheim1,1\n\
                      001565000001,yealink,T46U,102,geheim2,2\n\
                      000413000002,snom,D785,103,geheim3,1\n\
                      000413000003,snom,D865,104,geheim4,1\n\
                      000413000004,snom,D785,105,geheim5,1\n";
const YEALINK: &str = "00:15:65:00:00:01";
const SNOMS: [&str; 3] = ["00:04:13:00:00:02", "00:04:13:00:00:03", "00:04:13:00:00:04"];

/// A configuration and a store.
struct Office {
    _folder: tempfile::TempDir,
    config: PathBuf,
}

impl Office {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("offhook.toml");
        let data = folder.path().join("data");
        std::fs::write(&config, format!("[agent]\ndata_dir = \"{}\"\n", data.display())).unwrap();
        let accounts = folder.path().join("accounts.csv");
        std::fs::write(&accounts, OFFICE).unwrap();
        let office = Self { _folder: folder, config };
        office.text(0, &["import", accounts.to_str().unwrap()]);
        office
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(OFFHOOK);
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }

    fn run(&self, exit: i32, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
        for password in ["geheim1", "geheim2", "geheim3", "geheim4", "geheim5"] {
            let all = [&output.stdout[..], &output.stderr].concat();
            assert!(!String::from_utf8_lossy(&all).contains(password), "a password is shown: {output:?}");
        }
        output
    }

    fn text(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(exit, arguments);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn json(&self, exit: i32, arguments: &[&str]) -> Value {
        let output = self.run(exit, &[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    fn release(&self, mac: &str) -> Value {
        self.json(0, &["device", "show", mac])["release"].clone()
    }

    /// The word of `device list`.
    fn word(&self, mac: &str) -> Value {
        let list = self.json(0, &["device", "list"]);
        list.as_array().unwrap().iter().find(|row| row["mac"] == mac).unwrap()["passwords"].clone()
    }
}

/// Names and states, in the order of the listing.
fn states(release: &Value) -> Vec<(&str, &str, i64)> {
    release
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["password"].as_str().unwrap(),
                one["state"].as_str().unwrap(),
                one["epoch"].as_i64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn case_8_a_phone_is_armed_for_its_next_contact() {
    let office = Office::open();
    let armed =
        office.json(0, &["device", "rearm", YEALINK, "--kind", "sip,menu", "--reason", "reset by hand"]);
    let [one] = armed.as_array().unwrap().as_slice() else { panic!("{armed}") };
    assert_eq!((&one["mac"], &one["epoch"], &one["state"]), (&YEALINK.into(), &2.into(), &"staged".into()));
    assert_eq!(one["closes_in_s"], Value::Null);
    assert!(one["until"].as_str().unwrap().ends_with('Z'), "{one}");
    // The menu's password is the web password on these phones.
    assert_eq!(one["passwords"], json!(["sip 101", "sip 102", "webui"]));
    let release = office.release(YEALINK);
    assert_eq!(
        states(&release),
        [
            ("sip 101", "staged", 2),
            ("sip 102", "staged", 2),
            ("menu", "staged", 2),
            ("webui", "staged", 2),
            ("prov", "staged", 1)
        ]
    );
    let text = office.text(0, &["device", "rearm", YEALINK]);
    assert!(
        text.contains("the window (10 min) opens at the phone's next request, if that comes before "),
        "{text}"
    );
    assert!(
        text.contains(
            "Provoke it: offhook device resync 00:15:65:00:00:01, or restart the phone; otherwise it asks at the next boot \
             or check (every 24 h"
        ),
        "{text}"
    );
    let audit = office.json(0, &["audit", YEALINK, "--event", "armed"]);
    assert!(audit.to_string().contains("reset by hand"), "{audit}");
}

#[test]
fn case_6_a_window_is_opened_now() {
    let office = Office::open();
    let armed = office.json(0, &["device", "rearm", YEALINK, SNOMS[0], "--now", "--window", "20m"]);
    for one in armed.as_array().unwrap() {
        let left = one["closes_in_s"].as_u64().unwrap();
        assert!(one["state"] == "open" && (1_190..=1_200).contains(&left), "{one}");
        for password in one["release"].as_array().unwrap() {
            assert_eq!(
                (&password["window_s"], &password["bound"]),
                (&1_200.into(), &Value::Null),
                "{password}"
            );
        }
    }
    assert_eq!(office.word(SNOMS[0]), "open");
    let text = office.text(0, &["device", "list"]);
    assert!(text.lines().any(|line| line.contains(YEALINK) && line.contains("open 1")), "{text}");
    let text = office.text(0, &["device", "show", SNOMS[0]]);
    assert!(text.contains("s left: leaves to whoever proves to be the phone first"), "{text}");
}

#[test]
fn case_42_one_account_is_armed_alone() {
    let office = Office::open();
    let armed = office.json(0, &["device", "rearm", YEALINK, "--account", "102", "--now"]);
    assert_eq!(armed[0]["passwords"], json!(["sip 102"]));
    let release = office.release(YEALINK);
    let open: Vec<_> = states(&release).into_iter().filter(|(_, state, _)| *state == "open").collect();
    assert_eq!(open, [("sip 102", "open", 2)]);
    assert!(
        office.text(1, &["device", "rearm", YEALINK, "--account", "103"]).contains("account 103 is not on")
    );
}

#[test]
fn a_phone_is_locked_and_confirmed() {
    let office = Office::open();
    let locked = office.json(0, &["device", "lock", SNOMS[0], "--kind", "sip,webui"]);
    assert_eq!(locked[0]["passwords"], json!(["sip 103", "webui"]));
    let text = office.text(0, &["device", "show", SNOMS[0]]);
    assert!(
        text.contains("locked (revoked): an operator locked it; the phone is not known to have it"),
        "{text}"
    );
    office.text(0, &["device", "lock", SNOMS[0]]);
    assert!(office.text(0, &["device", "lock", SNOMS[0]]).contains("locked as before"));

    let confirmed = office.json(0, &["device", "confirm", SNOMS[0]]);
    for password in confirmed[0]["release"].as_array().unwrap() {
        assert_eq!(password["delivered_version"], password["version"], "{password}");
    }
    assert_eq!(office.word(SNOMS[0]), "locked");
    let text = office.text(0, &["device", "confirm", SNOMS[1]]);
    assert!(text.contains("may leave all the same; to keep what it has: offhook device lock"), "{text}");
}

#[test]
fn case_45_a_new_password_is_armed_by_itself() {
    let office = Office::open();
    office.text(0, &["device", "lock", YEALINK]);
    let mut command = office.command(&["account", "set-password", "102"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"neu-hunter2\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("has a new password; the phone gets it at its next contact"), "{text}");
    let release = office.release(YEALINK);
    let account = release.as_array().unwrap().iter().find(|one| one["password"] == "sip 102").unwrap();
    assert_eq!((&account["state"], &account["version"]), (&"staged".into(), &2.into()), "{account}");
    let accounts = office.config.with_file_name("accounts.csv");
    std::fs::write(&accounts, OFFICE.replace("geheim3", "neu-hunter3").replace("geheim4", "neu-hunter4"))
        .unwrap();
    let text = office.text(0, &["import", accounts.to_str().unwrap()]);
    assert!(text.contains("phones get new passwords at their next contact"), "{text}");
}

#[test]
fn all_that_were_locked_for_a_reason_are_armed_and_no_others() {
    let office = Office::open();
    let none = office.json(1, &["rearm", "--all", "--reason", "revoked"]);
    assert_eq!(none["error"]["code"], "nothing", "{none}");
    office.text(0, &["device", "lock", SNOMS[0], SNOMS[1]]);
    office.text(0, &["device", "lock", YEALINK, "--kind", "sip"]);
    let planned = office.json(0, &["rearm", "--all", "--reason", "revoked", "--dry-run"]);
    let shown: Vec<_> = planned.as_array().unwrap().iter().map(|row| (&row["mac"], &row["armed"])).collect();
    assert_eq!(
        shown,
        [
            (&SNOMS[0].into(), &false.into()),
            (&SNOMS[1].into(), &false.into()),
            (&YEALINK.into(), &false.into())
        ]
    );
    assert_eq!(planned[2]["passwords"], json!(["sip 101", "sip 102"]));
    assert_eq!(office.word(SNOMS[0]), "locked", "a dry run");

    let snom =
        office.json(0, &["rearm", "--all", "--reason", "revoked", "--model", "snomD865", "--rate", "6000"]);
    assert_eq!((snom.as_array().unwrap().len(), &snom[0]["mac"]), (1, &SNOMS[1].into()), "{snom}");
    assert_eq!((&snom[0]["state"], &snom[0]["armed"]), (&"staged".into(), &true.into()));
    let text = office.text(0, &["rearm", "--all", "--reason", "revoked", "--vendor", "yealink", "--now"]);
    assert!(
        text.starts_with("1 phone to arm, 300 a minute, about 0 s:\n  00:15:65:00:00:01: sip 101, sip 102\n"),
        "{text}"
    );
    assert!(text.contains("1/1 00:15:65:00:00:01 armed\n1 phone armed; their windows are open\n"), "{text}");
    assert_eq!(office.word(YEALINK), "open");
    assert_eq!(office.word(SNOMS[0]), "locked");
}

#[test]
fn many_are_armed_one_after_the_other_and_ctrl_c_stops_in_between() {
    let office = Office::open();
    office.text(0, &["device", "lock", SNOMS[0], SNOMS[1], SNOMS[2]]);
    let mut command = office.command(&["rearm", "--all", "--reason", "revoked", "--rate", "1/min"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.map(Result::unwrap).find(|line| line.starts_with("1/3 ")).unwrap();
    assert_eq!(first, "1/3 00:04:13:00:00:02 armed");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(
        told.contains("stopped: 1 of 3 phones armed\n  the same command goes on with the rest"),
        "{told}"
    );
    assert_eq!((office.word(SNOMS[0]), office.word(SNOMS[1])), ("staged".into(), "locked".into()));

    let begun = Instant::now();
    let rest = office.json(0, &["rearm", "--all", "--reason", "revoked", "--rate", "120/min"]);
    assert_eq!(rest.as_array().unwrap().len(), 2, "{rest}");
    assert!(begun.elapsed() >= Duration::from_millis(500), "the second waits half a second for its turn");
}

#[test]
fn wrong_use_is_told_from_a_no() {
    let office = Office::open();
    let unknown = "00:15:65:00:00:99";
    let rows: [(i32, &str, &[&str]); 15] = [
        (1, "not_found", &["device", "rearm", unknown]),
        (1, "not_found", &["device", "rearm", YEALINK, unknown]),
        (1, "not_found", &["device", "lock", unknown]),
        (1, "not_found", &["device", "confirm", unknown]),
        (1, "not_found", &["device", "rearm", YEALINK, "--account", "999"]),
        (1, "nothing", &["rearm", "--all", "--reason", "interrupted"]),
        (1, "nothing", &["rearm", "--all", "--vendor", "nobody"]),
        (2, "all", &["rearm", "--reason", "interrupted"]),
        (2, "usage", &["rearm", "--all", "--reason", "boredom"]),
        (2, "usage", &["rearm", "--all", "--rate", "0"]),
        (2, "usage", &["device", "rearm", YEALINK, "--now", "--on-contact"]),
        (2, "usage", &["device", "rearm", YEALINK, "--window", "5s"]),
        (2, "usage", &["device", "rearm", YEALINK, "--kind", "door"]),
        (2, "window", &["device", "rearm", YEALINK, "--window", "none"]),
        (2, "account", &["device", "rearm", YEALINK, "--account", "101", "--kind", "webui"]),
    ];
    for (exit, code, arguments) in rows {
        let error = &office.json(exit, arguments)["error"];
        assert_eq!(error["code"], code, "{arguments:?}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{arguments:?}");
        assert!(!error["remedy"].as_str().unwrap().is_empty(), "{arguments:?}: {error}");
    }
    assert_eq!(states(&office.release(YEALINK))[0], ("sip 101", "staged", 1), "nothing of it was done");
    office.text(0, &["device", "block", SNOMS[0]]);
    let blocked = office.json(1, &["device", "rearm", SNOMS[0]]);
    assert!(blocked["error"]["remedy"].as_str().unwrap().contains("offhook device approve"), "{blocked}");
}

#[test]
fn a_phone_has_a_window_of_its_own() {
    let office = Office::open();
    office.text(0, &["device", "set", YEALINK, "release.window=20m", "release.sip_window=5m"]);
    let text = office.text(0, &["device", "show", YEALINK]);
    let shown = text.lines().any(|line| line.split_whitespace().eq(["release.window", "20m", "(device)"]));
    assert!(shown && text.contains("window 5 min"), "{text}");
    let release = office.release(YEALINK);
    let windows: Vec<_> = release.as_array().unwrap().iter().map(|one| one["window_s"].clone()).collect();
    assert_eq!(windows, [300, 300, 1_200, 1_200, 1_200].map(Value::from));
    let text = office.text(0, &["device", "rearm", YEALINK]);
    assert!(text.contains("(sip 5 min, webui 20 min, prov 20 min)"), "{text}");
    let text = office.text(2, &["device", "set", YEALINK, "release.window=2s"]);
    assert!(text.contains("release.window: '2s' is no window; write 1m to 24h"), "{text}");
}

#[test]
fn a_running_agent_hears_of_it_at_once() {
    lab::run("rearm::a_running_agent_hears_of_it_at_once", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &Setup { accounts: OFFICE.to_owned(), ..Setup::default() });
        let mut phone = Phone::plug(lab, "phone", Vendor::Yealink, YEALINK, "lan", "192.168.1.40/24");
        let url = phone.settings_url(&phone.provisioned().url);
        let (status, first) = phone.get(&url);
        assert!(status == 200 && first.contains("geheim1") && first.contains("geheim2"), "{status}: {first}");
        let sip = || agent.json(&["device", "show", YEALINK])["release"][0].clone();
        let arrived =
            lab::poll("the proof of the delivery", || Some(sip()).filter(|one| one["evidence"] == "acked"));
        assert_eq!(
            (&arrived["state"], &arrived["delivered_version"]),
            (&"open".into(), &1.into()),
            "{arrived}"
        );
        assert_eq!(arrived["bound"]["identity"], "i2", "{arrived}");
        assert_eq!(arrived["bound"]["to"], format!("mac {YEALINK}"));
        assert_eq!(agent.device(YEALINK).unwrap()["passwords"], "open");
        assert_eq!(phone.get(&url), (200, first), "the same bytes again");

        agent.offhook(&["device", "lock", YEALINK]);
        let plain = lab::poll("a file without passwords", || {
            let (status, body) = phone.get(&url);
            (status == 200 && !body.contains("geheim")).then_some(body)
        });
        assert!(!plain.contains(".password"), "absent, not empty: {plain}");
        assert_eq!((sip()["state"].clone(), sip()["reason"].clone()), ("locked".into(), "revoked".into()));

        agent.offhook(&["device", "rearm", YEALINK, "--account", "102"]);
        // The URL of the first NOTIFY was for the first window, and the phone is told another when it boots; on its link
        // it is known by its MAC meanwhile, whatever stands in the old one.
        lab::poll("the password by the old URL", || phone.get(&url).1.contains("geheim2").then_some(()));
        phone.reboot();
        let (status, again) = phone.get(&phone.settings_url(&phone.provisioned().url));
        assert!(status == 200 && again.contains("geheim2"), "{status}: {again}");
        assert!(!again.contains("geheim1"), "{again}");
    });
}
