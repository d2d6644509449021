//! Running phones are told to fetch again: by sipp, by kamailio and by sockets that answer as phones do.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::lab::{self, Host, Lab, Packet, Process};

const MAC: &str = "00:15:65:f4:f9:e1";
const USER_AGENT: &str = "Yealink SIP-T46U 108.86.0.90";
const SERVER: &str = "192.168.1.35";

fn setup(phones: &str, registrar: &str) -> Setup {
    Setup {
        accounts: format!("mac,vendor,model,username,password\n{phones}"),
        config: format!("[sip]\nregistrar = \"{registrar}\"\n"),
    }
}

/// A phone asks for its file, and so is known to be where it is.
fn fetch(phone: &Host, mac: &str) {
    let url = format!("http://{SERVER}:8480/{}.cfg", mac.replace(':', ""));
    let agent = format!("{USER_AGENT} {mac}");
    phone.run(&["curl", "-sS", "--max-time", "20", "-o", "/dev/null", "-A", &agent, &url]);
}

/// sipp as a phone that answers one NOTIFY.
fn sipp(lab: &Lab, phone: &Host, address: &str, status: &str, header: &str) -> Process {
    let scenario = include_str!("sipp/notified.xml").replace("@STATUS@", status).replace("@HEADER@", header);
    let scenario = lab.file(&format!("notified-{address}.xml"), scenario);
    let scenario = scenario.to_string_lossy().into_owned();
    let process = phone.spawn(&[
        "env",
        "TERM=dumb",
        "sipp",
        "-sf",
        &scenario,
        "-i",
        address,
        "-p",
        "5060",
        "-m",
        "1",
        "-nostdin",
        "-timeout",
        "60",
        "-timeout_error",
    ]);
    phone.await_udp(5060);
    process
}

fn is_notify(packet: &Packet) -> bool {
    packet.text().starts_with("NOTIFY ")
}

/// What a NOTIFY is answered with.
pub(crate) fn answer(notify: &[u8], status: &str) -> String {
    let text = String::from_utf8_lossy(notify);
    let names = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let mut answer = format!("SIP/2.0 {status}\r\n");
    for line in text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))) {
        write!(answer, "{}\r\n", line.trim_end()).unwrap();
    }
    answer + "Content-Length: 0\r\n\r\n"
}

/// Answers so many NOTIFYs with 200; gives when each came.
fn accept(socket: &UdpSocket, count: usize) -> Vec<Instant> {
    let mut buffer = [0; 4096];
    let mut one = || {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let at = Instant::now();
        socket.send_to(answer(&buffer[..length], "200 OK").as_bytes(), from).unwrap();
        at
    };
    (0..count).map(|_| one()).collect()
}

#[test]
fn sipp_is_told_to_fetch_and_comes() {
    if !lab::has("sipp") {
        return;
    }
    lab::run("push::sipp_is_told_to_fetch_and_comes", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let phones = format!("{MAC},yealink,T46U,201,geheim\n");
        let agent = Agent::start(lab, &server, &setup(&phones, "192.168.1.20"));
        let phone = lab.phone("phone", MAC, "lan", "192.168.1.100/24");
        let heard = phone.capture();
        fetch(&phone, MAC);
        lab::poll("the phone's first sighting", || {
            agent.device(MAC).filter(|device| device["address"] == "192.168.1.100")
        });
        let planned = agent.json(&["device", "resync", MAC, "--dry-run"]);
        assert_eq!((&planned[0]["result"], &planned[0]["to"]), (&"planned".into(), &"192.168.1.100".into()));
        assert_eq!(heard.count(is_notify), 0, "a dry run sends nothing");

        let _sipp = sipp(lab, &phone, "192.168.1.100", "200 OK", "X-Phone: sipp");
        let (done, text) = std::thread::scope(|scope| {
            let told = scope.spawn(|| agent.attempt(&["--json", "device", "resync", MAC, "--wait", "30"]));
            let notify = heard.expect("the NOTIFY", is_notify);
            assert!(
                notify.text().starts_with("NOTIFY sip:201@192.168.1.100:5060 SIP/2.0\r\n"),
                "{}",
                notify.text()
            );
            heard.expect("sipp's 200", |packet| {
                packet.source_port == 5060 && packet.text().starts_with("SIP/2.0 200")
            });
            fetch(&phone, MAC);
            told.join().unwrap()
        });
        assert!(done, "{text}");
        let rows: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&rows[0]["result"], &rows[0]["status"]), (&"came".into(), &200.into()), "{text}");
        assert_eq!(rows[0]["came_by"], "http", "{text}");
        assert!(rows[0]["message"].as_str().unwrap().contains("001565f4f9e1.cfg"), "{text}");

        let shown = agent.json(&["device", "show", MAC]);
        let life = shown["timeline"].as_array().unwrap();
        let steps: Vec<&str> = life
            .iter()
            .filter(|one| one["stage"] == "push")
            .map(|one| one["step"].as_str().unwrap())
            .collect();
        for step in ["sent", "accepted", "came"] {
            assert!(steps.contains(&step), "{step}: {life:?}");
        }
        let audit = agent.audit("resync");
        assert_eq!(audit.len(), 1);
        assert_eq!(audit[0]["detail"]["to"], "192.168.1.100:5060");
        assert_eq!(audit[0]["detail"]["means"], "sip-notify:check-sync;reboot=false");
    });
}

/// Phones that cannot be told, or will not be.
#[test]
fn every_refusal_is_told_with_its_remedy() {
    if !lab::has("sipp") {
        return;
    }
    lab::run("push::every_refusal_is_told_with_its_remedy", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let mac = |last: u8| format!("00:15:65:00:00:{last:02x}");
        let mut phones = "7c1eb3000001,2n,,301,geheim\n".to_owned();
        for last in 1..=7 {
            writeln!(phones, "{},yealink,T46U,{},geheim", mac(last), 200 + u32::from(last)).unwrap();
        }
        let agent = Agent::start(lab, &server, &setup(&phones, "192.168.1.20"));
        let plugged: Vec<Host> = (1..=5)
            .map(|last| {
                let address = format!("192.168.1.{}/24", 100 + last);
                lab.phone(&format!("phone{last}"), &mac(last), "lan", &address)
            })
            .collect();
        for (last, phone) in (1..).zip(&plugged) {
            fetch(phone, &mac(last));
        }
        lab::poll("five sightings", || {
            (1..=5).all(|last| agent.device(&mac(last)).unwrap()["address"].is_string()).then_some(())
        });
        agent.offhook(&["device", "block", &mac(7)]);
        let _wants = sipp(
            lab,
            &plugged[0],
            "192.168.1.101",
            "401 Unauthorized",
            "WWW-Authenticate: Digest realm=\"phone\", nonce=\"1\"",
        );
        let _refuses = sipp(lab, &plugged[1], "192.168.1.102", "489 Bad Event", "X-Phone: sipp");
        let _silent = plugged[2].udp("192.168.1.103:5060");
        // The fourth has nobody on its port. The fifth is gone, and somebody else has its address.
        plugged[4].ip(&["address", "flush", "dev", "eth0"]);
        let stranger = lab.phone("stranger", "00:15:65:00:00:99", "lan", "192.168.1.105/24");
        let heard = stranger.capture();
        lab.await_cables();

        let all = ["--json", "device", "resync", "--all", "--wait", "0", "--rate", "20"];
        let begun = Instant::now();
        let (done, text) = agent.attempt(&all);
        assert!(!done, "{text}");
        let rows: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let check = |mac: &str, result: &str, message: &str, remedy: &str| {
            let row = rows.as_array().unwrap().iter().find(|row| row["mac"] == mac).unwrap();
            let has = |key: &str, part: &str| row[key].as_str().unwrap().contains(part);
            assert!(row["result"] == result && has("message", message) && has("remedy", remedy), "{row:#}");
        };
        check(&mac(1), "challenged", "wants a password (401, realm \"phone\")", "--via pbx");
        check(&mac(2), "refused", "does not know this event (489)", "sip.notify_reboot_enable");
        check(&mac(3), "silent", "did not answer", "--via pbx");
        check(&mac(4), "unreachable", "nobody on that port", "--via pbx");
        check(
            &mac(5),
            "not_sent",
            "somebody else has its address now: 00:15:65:00:00:99",
            "restart the phone",
        );
        check(&mac(6), "not_sent", "it was never seen", "--via pbx");
        check("7c:1e:b3:00:00:01", "not_sent", "no way is known to resync a 2N", "by hand");
        assert_eq!(rows.as_array().unwrap().len(), 7, "the blocked one is left out");
        assert!(
            begun.elapsed() >= Duration::from_secs(32),
            "a silent phone is asked until RFC 3261 gives it up"
        );
        let (done, text) = agent.attempt(&["device", "reboot", &mac(7)]);
        assert!(!done && text.contains("it is blocked"), "{text}");
        assert_eq!(heard.count(|packet| packet.protocol == 17), 0, "nothing goes to the stranger");
    });
}

/// Phones that are told by a PBX, so many that one would not want them all at once.
#[test]
fn a_hundred_phones_are_told_one_after_the_other() {
    lab::run("push::a_hundred_phones_are_told_one_after_the_other", |lab| {
        const PHONES: usize = 100;
        let server = lab.host("agent", "192.168.1.35/24");
        let exchange = lab.host("pbx", "192.168.1.20/24");
        let mut phones = String::new();
        for last in 0..PHONES {
            writeln!(phones, "0015650001{last:02x},yealink,T46U,{},geheim", 1_000 + last).unwrap();
        }
        let agent = Agent::start(lab, &server, &setup(&phones, "192.168.1.20"));
        let socket = exchange.udp("192.168.1.20:5060");
        lab.await_cables();

        let all = ["--json", "device", "resync", "--all", "--via", "pbx", "--wait", "0", "--rate", "50"];
        let (times, (done, text)) = std::thread::scope(|scope| {
            let told = scope.spawn(|| agent.attempt(&all));
            (accept(&socket, PHONES), told.join().unwrap())
        });
        assert!(done, "{text}");
        let rows: Value = serde_json::from_str(&text).unwrap();
        assert!(rows.as_array().unwrap().iter().all(|row| row["result"] == "accepted"), "{text}");
        let took = times[PHONES - 1] - times[0];
        println!("{PHONES} NOTIFYs at 50/s in {took:?}");
        assert!(took >= Duration::from_millis(1_900), "{took:?}");

        // Stopped in the middle: what was sent is written down, and nothing more is sent.
        let config = agent.config().to_str().unwrap();
        let mut slow = server.spawn(&[
            OFFHOOK, "--config", config, "device", "reboot", "--all", "--via", "pbx", "--rate", "2",
        ]);
        accept(&socket, 3);
        kill(Pid::from_raw(i32::try_from(slow.id()).unwrap()), Signal::SIGINT).unwrap();
        slow.line("stopped: ");
        lab::poll("its end", || slow.has_ended().then_some(()));
        let written = agent.audit("reboot").len();
        assert!((3..=4).contains(&written), "{written} rows: {}", slow.output());
    });
}

#[test]
fn kamailio_passes_it_on_to_a_registered_phone() {
    if !lab::has("kamailio") {
        return;
    }
    lab::run("push::kamailio_passes_it_on_to_a_registered_phone", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let exchange = lab.host("pbx", "192.168.1.20/24");
        let mut pbx = crate::pbx::start_pbx(lab, &exchange);
        let phones = format!(
            "{MAC},yealink,T46U,201,{}\n00:15:65:00:00:02,yealink,T46U,202,geheim\n",
            crate::pbx::PASSWORD
        );
        let agent = Agent::start(lab, &server, &setup(&phones, "192.168.1.20"));
        let phone = lab.phone("phone", MAC, "lan", "192.168.1.100/24");
        let heard = phone.capture();
        phone.run(&[OFFHOOK, "simulate", "yealink", "--mac", MAC, "--address", "192.168.1.100", "--forget"]);
        pbx.line("registered 201 from 192.168.1.100");
        let register = heard.expect("its REGISTER", |packet| packet.text().starts_with("REGISTER "));
        let text = register.text();
        let contact = text.lines().find_map(|line| line.strip_prefix("Contact: ")).unwrap();
        let port =
            contact.split("192.168.1.100:").nth(1).and_then(|rest| rest.split(['>', ';']).next()).unwrap();
        let socket = phone.udp(&format!("192.168.1.100:{port}"));

        let told = ["--json", "device", "resync", MAC, "--via", "pbx", "--wait", "0"];
        let (done, text) = std::thread::scope(|scope| {
            let told = scope.spawn(|| agent.attempt(&told));
            accept(&socket, 1);
            told.join().unwrap()
        });
        assert!(done, "{text}");
        let notify =
            heard.expect("the NOTIFY", |packet| is_notify(packet) && packet.text().contains("check-sync"));
        assert_eq!(notify.source.to_string(), "192.168.1.20", "it comes from the PBX");
        assert!(notify.text().contains("\r\nEvent: check-sync;reboot=false\r\n"), "{}", notify.text());
        let (done, text) =
            agent.attempt(&["device", "resync", "001565000002", "--via", "pbx", "--wait", "0"]);
        assert!(!done && text.contains("no such number (404)") && text.contains("not registered"), "{text}");
    });
}
