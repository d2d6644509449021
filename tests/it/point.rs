//! Phones that did not ask are pointed here by their own web interfaces, and come; nobody is shown a password that is not
//! his, and a run that was killed is gone on with.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use offhook::clock::Clock;
use offhook::device::{Channel, Identity, Sighting, Step};
use serde_json::Value;

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::lab::{self, Capture, Host, Lab, PATIENCE, Packet, Process};

/// A phone of the lab: vendor, model, MAC, what it is simulated with beside that, and by which means it comes.
type Phone = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str);

const PHONES: [Phone; 9] = [
    ("snom", "D785", "00:04:13:96:00:01", &["--web"], "web:snom"),
    ("yealink", "T46U", "00:15:65:00:00:02", &["--web"], "web:yealink-api"),
    ("yealink", "T28P", "00:15:65:00:00:03", &["--web"], "web:yealink-basic"),
    ("grandstream", "GXP2135", "00:0b:82:00:00:04", &["--web"], "web:grandstream-access"),
    ("grandstream", "GXP1450", "00:0b:82:00:00:05", &["--web=grandstream-cgi"], "web:grandstream-cgi"),
    ("fanvil", "X3", "00:a8:59:00:00:06", &["--web", "--notify", "refuse"], "web:fanvil"),
    ("gigaset", "N510 IP PRO", "7c:2f:80:00:00:07", &["--web"], "web:gigaset"),
    ("mitel", "6867i", "00:08:5d:00:00:08", &["--web"], "web:aastra"),
    ("fanvil", "X5U-V2", "0c:38:3e:00:00:09", &["--web"], "sip-notify:ua-profile"),
];
/// Somebody has set its password.
const CHANGED: &str = "00:15:65:00:00:0a";
const NETWORK: &str = "192.168.1.100/27";

fn setup(policy: &str) -> Setup {
    let mut accounts = "mac,vendor,model,username,password,web_password\n".to_owned();
    for (number, (vendor, model, mac, ..)) in PHONES.iter().enumerate() {
        // A password that is typed at the phone is of digits.
        let web = if *vendor == "mitel" { String::new() } else { format!("kWeb{number}secretword") };
        writeln!(accounts, "{mac},{vendor},{model},20{number},kSip20{number}secret,{web}").unwrap();
    }
    writeln!(accounts, "{CHANGED},yealink,T46U,220,kSip220secret,kWebAsecretword").unwrap();
    let config = format!("[adopt]\npolicy = \"{policy}\"\n[sip]\nregistrar = \"192.168.1.20\"\n");
    Setup { accounts, config }
}

/// Starts a phone that asks nobody, and waits until it shows its page.
fn plug(lab: &Lab, name: &str, last: u8, (vendor, model, mac, more, _): Phone) -> (Host, Process) {
    let address = format!("192.168.1.{last}");
    let host = lab.phone(name, mac, "lan", &format!("{address}/24"));
    let simulate = [
        OFFHOOK,
        "simulate",
        vendor,
        "--model",
        model,
        "--mac",
        mac,
        "--address",
        &address,
        "--wait",
        "--forget",
        "--no-register",
    ];
    let mut process = host.spawn(&[&simulate, more].concat());
    process.line("stays up");
    (host, process)
}

fn row<'v>(rows: &'v Value, mac: &str) -> &'v Value {
    rows.as_array().unwrap().iter().find(|row| row["mac"] == mac).unwrap_or_else(|| panic!("{mac}: {rows:#}"))
}

/// What reached a host by TCP to its web page and by SIP.
fn received(heard: &Capture, address: &str) -> String {
    let to_it =
        |packet: &Packet| packet.target.to_string() == address && [80, 5060].contains(&packet.target_port);
    heard.all(to_it).iter().map(Packet::text).collect()
}

#[test]
fn phones_of_every_kind_are_pointed_here_and_come() {
    lab::run("point::phones_of_every_kind_are_pointed_here_and_come", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &setup("approve"));
        let plugged: Vec<(Host, Process)> = (0..)
            .zip(PHONES)
            .map(|(number, phone)| plug(lab, &format!("phone{number}"), 100 + number, phone))
            .collect();
        let changed: Phone = ("yealink", "T46U", CHANGED, &["--web", "--web-password", "changed"], "");
        let (locked_up, _tenth) = plug(lab, "changed", 120, changed);
        let heard = locked_up.capture();
        lab.await_cables();

        let push = ["--json", "scan", NETWORK, "--rate", "100", "--push", "--wait", "60"];
        let (done, text) = agent.attempt(&push);
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let pointed = &told["pointed"];
        let mut amiss = String::new();
        for ((_, process), (vendor, model, mac, _, means)) in plugged.iter().zip(PHONES) {
            let row = row(pointed, mac);
            if row["result"] != "came" || row["means"] != means {
                writeln!(amiss, "{vendor} {model}: {row:#}\n{}", process.output()).unwrap();
            }
        }
        assert!(amiss.is_empty(), "{amiss}");
        // Shown its password as sold once, and named the step.
        let refused = row(pointed, CHANGED);
        assert!(!done && refused["result"] == "refused", "{refused:#}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("did not take the password (login: POST /api/auth/login)"), "{message}");
        let text = received(&heard, "192.168.1.120");
        assert_eq!(text.matches("pwd=").count(), 1, "{text}");
        assert!(text.contains("pwd=admin") && !text.contains("secret") && !text.contains("/d/"), "{text}");
        let (done, text) = agent.attempt(&["device", "point", CHANGED, "--wait", "0"]);
        assert!(!done && text.contains("none may be tried"), "what was wrong is not shown again: {text}");

        // Whoever has come is left alone by a scan.
        let again = agent.json(&["device", "point", "--found", "--dry-run"]);
        assert_eq!(row(&again, PHONES[0].2)["result"], "here");
        known_phones(&agent, &plugged);
    });
}

/// Phones that have their own passwords by now are shown them digested, or not at all.
fn known_phones(agent: &Agent<'_>, plugged: &[(Host, Process)]) {
    for (number, means) in [(3, "web:grandstream-access"), (5, "web:fanvil"), (2, "")] {
        let (vendor, model, mac, ..) = PHONES[number];
        lab::poll("the delivery of its passwords", || {
            let mac = mac.parse().unwrap();
            agent.with_store(async |store| {
                let grants = store.inventory().grants(mac).unwrap();
                let webui =
                    |grant: &&offhook::release::Grant| grant.id.kind == offhook::secret::SecretKind::Webui;
                let grant = grants.grants.iter().find(webui).unwrap();
                grant.delivered.map(|_| ())
            })
        });
        let (host, process) = &plugged[number];
        let heard = host.capture();
        let (done, text) = agent.attempt(&["--json", "device", "point", mac, "--wait", "30"]);
        let rows: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let row = &rows[0];
        let got = received(&heard, &format!("192.168.1.{}", 100 + number));
        assert!(!got.contains(&format!("kWeb{number}secret")), "{vendor} {model}: {got}");
        if means.is_empty() {
            assert!(!done && row["result"] == "refused", "{row:#}");
            assert!(row["message"].as_str().unwrap().contains("only in the clear"), "{row:#}");
            assert!(!got.contains("Authorization"), "{got}");
        } else {
            let is_as_it_should = done && row["result"] == "came" && row["means"] == means;
            assert!(is_as_it_should, "{row:#}\n{}", process.output());
            let rows = agent.audit("point_password");
            let own = rows.iter().filter(|row| row["detail"]["password"] == "its own, digested");
            assert!(own.count() > 0, "{rows:?}");
        }
    }
}

/// A stranger that answers like a phone, and a phone that another server has.
#[test]
fn nobody_is_told_what_is_not_his() {
    lab::run("point::nobody_is_told_what_is_not_his", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &setup("auto"));
        let liar: Phone = ("yealink", "T28P", "00:15:65:00:00:77", &["--web", "--web-password", "none"], "");
        let (laptop, _liar) = plug(lab, "laptop", 110, liar);
        let (bound, _bound) = plug(lab, "bound", 111, PHONES[0]);
        let (heard, silence) = (laptop.capture(), bound.capture());
        lab.await_cables();
        let led = Sighting {
            identity: Identity { mac: Some(PHONES[0].2.parse().unwrap()), ..Identity::default() },
            addr: "192.168.1.111".parse().unwrap(),
            channel: Channel::Dhcp,
            at: Clock::System.now(),
            step: Step::Misled,
            outcome: "was given another server".to_owned(),
            detail: Value::Null,
        };
        agent.with_store(async |store| store.note(&[led]).await.unwrap());
        let push = ["--json", "scan", NETWORK, "--rate", "100", "--push", "--wait", "20"];
        let (done, text) = agent.attempt(&push);
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(!done && row(&told["pointed"], liar.2)["result"] == "refused", "{told:#}");
        let got = received(&heard, "192.168.1.110");
        let proofs: Vec<&str> = got.lines().filter(|line| line.starts_with("Authorization")).collect();
        assert_eq!(proofs, ["Authorization: Basic YWRtaW46YWRtaW4="], "admin:admin, once: {got}");
        assert!(
            !got.contains("secret") && !got.contains("/d/") && !got.contains("http://192.168.1.35"),
            "{got}"
        );

        let left = row(&told["pointed"], PHONES[0].2);
        assert_eq!(left["result"], "foreign", "{left:#}");
        let page = |text: &str| text.contains("setting_server");
        assert!(!page(&received(&silence, "192.168.1.111")), "nothing is set");
        let rows = agent.json(&["device", "point", PHONES[0].2, "--foreign", "--wait", "60"]);
        assert_eq!(rows[0]["result"], "came", "{rows:#}");
        assert!(page(&received(&silence, "192.168.1.111")));
    });
}

/// Reads one request to its end, and answers it.
fn serve(listener: &TcpListener, answer: Option<&str>) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains("\r\n\r\n") {
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    if let Some(answer) = answer {
        stream.write_all(answer.as_bytes()).unwrap();
    }
    text
}

#[test]
fn a_run_that_was_killed_is_gone_on_with() {
    lab::run("point::a_run_that_was_killed_is_gone_on_with", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &setup("approve"));
        let mac = PHONES[0].2;
        let phone = lab.phone("phone", mac, "lan", "192.168.1.100/24");
        let listener = phone.inside(|| TcpListener::bind("0.0.0.0:80").unwrap());
        let fetch = |url: &str| phone.run(&["curl", "-sS", "--max-time", "20", "-o", "/dev/null", url]);
        lab.await_cables();
        fetch(&format!("http://192.168.1.35:8480/{}.xml", mac.replace(':', "").to_uppercase()));
        lab::poll("its first sighting", || {
            agent.device(mac).filter(|device| device["address"] == "192.168.1.100")
        });
        let page = "HTTP/1.1 200 OK\r\nServer: snom embedded\r\nContent-Length: 15\r\n\r\n<TITLE>snom 785";

        // It dies while the phone has the URL, and has not been told to look there.
        let config = agent.config().to_str().unwrap();
        let first = server.spawn(&[OFFHOOK, "--config", config, "device", "point", mac]);
        for _ in 0..2 {
            serve(&listener, Some(page));
        }
        let set = serve(&listener, None);
        assert!(set.starts_with("GET /dummy.htm?settings=save&setting_server=http"), "{set}");
        first.kill();
        let left = agent.json(&["device", "point", "--dry-run"]);
        assert_eq!((left.as_array().unwrap().len(), &left[0]["mac"]), (1, &mac.into()), "{left:#}");

        // The next one begins with the way at which that stopped, and comes to its end.
        let (done, text) = std::thread::scope(|scope| {
            let again = scope.spawn(|| agent.attempt(&["--json", "device", "point", "--wait", "30"]));
            for _ in 0..2 {
                serve(&listener, Some(page));
            }
            let set = serve(&listener, Some(page));
            let reboot =
                serve(&listener, Some("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"));
            assert!(reboot.starts_with("GET /advanced_update.htm?reboot=Reboot "), "{reboot}");
            let url = set.split("setting_server=").nth(1).unwrap().split('&').next().unwrap();
            fetch(&url.replace("%3A", ":").replace("%2F", "/"));
            again.join().unwrap()
        });
        let rows: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(done && rows[0]["result"] == "came", "{rows:#}");
        let (done, text) = agent.attempt(&["device", "point"]);
        assert!(!done && text.contains("no run was cut off"), "{text}");
    });
}
