//! Whole lives of phones, step by step: every file of tests/scenarios is played in a lab of its own.
//!
//! A file names the agent's policy and accounts, the phones, and the steps; `Step` below is the whole language.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::agent::{Agent, Setup};
use crate::lab::{self, Lab};
use crate::phone::{Notify, Phone, Vendor};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What it shows, as a sentence.
    title: String,
    /// `adopt.policy`.
    adopt: String,
    /// `accounts.csv`, with its header line; nothing is imported when empty.
    #[serde(default)]
    accounts: String,
    phone: Vec<PhoneEntry>,
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhoneEntry {
    name: String,
    vendor: Vendor,
    mac: String,
    address: String,
}

/// One step. The phone is named by `phone`; the first one where none is named.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    /// The phone multicasts its SUBSCRIBE (the same bytes again until it reboots).
    Subscribe { phone: Option<String> },
    /// A 200 comes; the phone repeats its SUBSCRIBE until then.
    Ok { phone: Option<String> },
    /// A NOTIFY comes, and the phone answers it unless `lost`. Repeated ones must be the same bytes.
    Notify {
        phone: Option<String>,
        #[serde(default)]
        lost: bool,
        /// The URL begins so.
        #[serde(default)]
        url: String,
    },
    /// Nothing has come, neither 200 nor NOTIFY: another, known phone (`fence`) is served first.
    Silence { phone: Option<String>, fence: String },
    /// The phone fetches its settings at the URL it was given, or `file` of the shared folder.
    Fetch {
        phone: Option<String>,
        #[serde(default)]
        file: Option<String>,
        status: u16,
        #[serde(default)]
        contains: Vec<String>,
        #[serde(default)]
        lacks: Vec<String>,
    },
    /// The phone's power goes off and on.
    Reboot { phone: Option<String> },
    /// The phone gets another address.
    Move { phone: Option<String>, to: String },
    /// The inventory shows the phone so (`state`, `vendor`, …), or not at all where `absent`.
    Device {
        phone: Option<String>,
        #[serde(default)]
        absent: bool,
        #[serde(default)]
        shows: BTreeMap<String, toml::Value>,
    },
    /// A command of the program: `{mac}` is the phone's.
    Command { phone: Option<String>, run: Vec<String> },
}

impl Step {
    /// Whose step it is.
    fn phone(&self) -> Option<&str> {
        match self {
            Self::Subscribe { phone }
            | Self::Ok { phone }
            | Self::Reboot { phone }
            | Self::Notify { phone, .. }
            | Self::Silence { phone, .. }
            | Self::Fetch { phone, .. }
            | Self::Move { phone, .. }
            | Self::Device { phone, .. }
            | Self::Command { phone, .. } => phone.as_deref(),
        }
    }
}

struct Play<'a> {
    agent: Agent<'a>,
    phones: BTreeMap<String, Phone>,
    first: String,
    notified: BTreeMap<String, Notify>,
}

fn play(lab: &Lab, text: &str) {
    let scenario: Scenario = toml::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    let server = lab.host("agent", "192.168.1.35/24");
    let setup = Setup {
        accounts: scenario.accounts,
        config: format!("[adopt]\npolicy = \"{}\"\n[sip]\nregistrar = \"192.168.1.20\"\n", scenario.adopt),
    };
    let agent = Agent::start(lab, &server, &setup);
    let plug = |entry: &PhoneEntry| {
        (entry.name.clone(), Phone::plug(lab, &entry.name, entry.vendor, &entry.mac, "lan", &entry.address))
    };
    let first = scenario.phone.first().expect("a scenario has a phone").name.clone();
    let phones = scenario.phone.iter().map(plug).collect();
    let mut play = Play { agent, phones, first, notified: BTreeMap::new() };
    for (number, step) in scenario.step.iter().enumerate() {
        eprintln!("{}: step {}", scenario.title, number + 1);
        play.step(step);
    }
}

impl Play<'_> {
    fn step(&mut self, step: &Step) {
        let phone = step.phone();
        match step {
            Step::Subscribe { .. } => self.phone(phone).subscribe(),
            Step::Ok { .. } => self.phone(phone).expect_ok(),
            Step::Notify { lost, url, .. } => self.notify(phone, *lost, url),
            Step::Silence { fence, .. } => self.silence(phone, fence),
            Step::Fetch { file, status, contains, lacks, .. } => {
                self.fetch(phone, file.as_deref(), *status, contains, lacks);
            }
            Step::Reboot { .. } => {
                self.notified.remove(&self.name(phone));
                self.phone_mut(phone).reboot();
            }
            Step::Move { to, .. } => {
                self.notified.remove(&self.name(phone));
                self.phone_mut(phone).move_to(to);
            }
            Step::Device { absent, shows, .. } => self.device(phone, *absent, shows),
            Step::Command { run, .. } => {
                let mac = self.phone(phone).mac();
                let words: Vec<String> = run.iter().map(|word| word.replace("{mac}", &mac)).collect();
                self.agent.offhook(&words.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
    }

    fn name(&self, phone: Option<&str>) -> String {
        phone.unwrap_or(&self.first).to_owned()
    }

    fn phone(&self, phone: Option<&str>) -> &Phone {
        let name = self.name(phone);
        self.phones.get(&name).unwrap_or_else(|| panic!("no phone is called {name}"))
    }

    fn phone_mut(&mut self, phone: Option<&str>) -> &mut Phone {
        let name = self.name(phone);
        self.phones.get_mut(&name).unwrap_or_else(|| panic!("no phone is called {name}"))
    }

    fn notify(&mut self, phone: Option<&str>, lost: bool, url: &str) {
        let notify = self.phone(phone).expect_notify();
        assert!(notify.url.starts_with(url), "the URL is {}", notify.url);
        let name = self.name(phone);
        if let Some(before) = self.notified.get(&name) {
            assert_eq!(before.text, notify.text, "a repeated NOTIFY is the same");
        }
        if !lost {
            self.phone(phone).answer(&notify);
        }
        self.notified.insert(name, notify);
    }

    /// What is sent later is answered later: when the fence has its NOTIFY, the silent one's time has passed.
    fn silence(&mut self, phone: Option<&str>, fence: &str) {
        let seen = self.phone(phone).host.capture();
        self.phone(phone).subscribe();
        let fence = &self.phones[fence];
        fence.provisioned();
        let heard = seen.all(|packet| {
            packet.protocol == 17 && packet.target_port == 5060 && !packet.target.is_multicast()
        });
        assert!(heard.is_empty(), "a phone that is not served hears: {}", heard[0].text());
    }

    fn fetch(
        &self,
        phone: Option<&str>,
        file: Option<&str>,
        status: u16,
        contains: &[String],
        lacks: &[String],
    ) {
        let phone_name = self.name(phone);
        let phone = self.phone(phone);
        let url = file.map_or_else(
            || phone.settings_url(&self.notified.get(&phone_name).expect("a NOTIFY came before").url),
            |file| format!("http://192.168.1.35:8480/{}", file.replace("{file}", &phone.file())),
        );
        let (got, body) = phone.get(&url);
        assert_eq!(got, status, "{url}:\n{body}");
        for part in contains {
            assert!(body.contains(part), "{url} lacks '{part}':\n{body}");
        }
        for part in lacks {
            assert!(!body.contains(part), "{url} contains '{part}':\n{body}");
        }
    }

    fn device(&self, phone: Option<&str>, absent: bool, shows: &BTreeMap<String, toml::Value>) {
        let mac = self.phone(phone).mac();
        // Sightings are written in batches, shortly after they are made.
        lab::poll(&format!("the inventory shows {mac} with {shows:?}"), || {
            let Some(device) = self.agent.device(&mac) else { return absent.then_some(()) };
            let fits = |(key, value): (&String, &toml::Value)| {
                device
                    .get(key)
                    .is_some_and(|shown| *shown == serde_json::to_value(value).expect("TOML as JSON"))
            };
            (!absent && shows.iter().all(fits)).then_some(())
        });
    }
}

/// One test per file, so that a name in a failure says which life it was.
macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { played(stringify!($name)); })*
        const PLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    known_phone
    stranger_known
    stranger_approve
    stranger_auto
    phone_reboots
    notify_lost_twice
    subscribe_retransmitted
    new_address
}

fn played(name: &str) {
    let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).expect("the scenario's file");
    lab::run(&format!("scenarios::{name}"), |lab| play(lab, &text));
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

#[test]
fn every_file_is_played() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .expect("tests/scenarios")
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    files.sort();
    let mut named: Vec<String> = PLAYED.iter().map(|name| (*name).to_owned()).collect();
    named.sort();
    assert_eq!(files, named, "tests/scenarios and the list in tests/it/scenarios.rs");
}
