//! Scans that a program begins by REST, what hosts announce and show by TLS, and an agent that observes.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::lab::{self, Host, Packet};
use crate::rest::{ask, token};

const PHONE: &str = "00:15:65:00:00:01";
const CONFIG: &str = "[scan]\nnetworks = [\"192.168.7.0/28\"]\nrate = 500\n";

fn get(host: &Host, token: &str, path: &str) -> (u16, Value) {
    ask(host, path, &["-H", &format!("Authorization: Bearer {token}")])
}

fn post(host: &Host, token: &str, path: &str, body: &Value, key: &str) -> (u16, Value) {
    let (bearer, key) = (format!("Authorization: Bearer {token}"), format!("Idempotency-Key: {key}"));
    let json = "Content-Type: application/json";
    ask(host, path, &["-H", &bearer, "-H", json, "-H", &key, "-d", &body.to_string()])
}

/// A frame of a scan or a push of this agent: a question by ARP beyond its kernel's own, mDNS, or SIP.
fn sent(packet: &Packet) -> bool {
    packet.target_port == 5353 || packet.target_port == 5060
}

/// Answers the question for announcements, once: `Acme X1._http._tcp.local` is what the phone says.
fn announce(phone: &Host) {
    let socket = phone.inside(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).unwrap();
        socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::new(192, 168, 7, 9)).unwrap();
        socket
    });
    socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1_500];
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
        assert!(buffer[..length].windows(5).any(|words| words == b"_http"));
        let mut answer = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let name = b"\x05_http\x04_tcp\x05local\x00";
        let instance = b"\x07Acme X1\xc0\x0c";
        answer.extend(name);
        answer.extend([0, 12, 0, 1, 0, 0, 0, 120, 0, u8::try_from(instance.len()).unwrap()]);
        answer.extend(instance);
        let _ = socket.send_to(&answer, from);
    });
}

#[test]
fn a_program_scans_reads_whom_it_found_and_tells_them_to_fetch() {
    lab::run("scan_rest::a_program_scans_reads_whom_it_found_and_tells_them_to_fetch", |lab| {
        let host = lab.host("agent", "192.168.7.1/24");
        let phone = lab.phone("phone", PHONE, "lan", "192.168.7.9/24");
        lab.await_cables();
        announce(&phone);
        let agent = Agent::start(lab, &host, &Setup { config: CONFIG.to_owned(), ..Setup::default() });
        host.await_tcp(8482);
        let token = token(&agent, "devices:read,devices:write");
        let (status, plan) = get(&host, &token, "/api/v1/scans/plan");
        assert_eq!((status, &plan["addresses"]), (200, &15.into()), "{plan}");
        let start = |key: &str| post(&host, &token, "/api/v1/scans", &json!({}), key);
        let (status, begun) = start("one");
        assert_eq!(status, 202, "{begun}");
        let id = begun["id"].as_i64().unwrap();
        assert_eq!(start("one").1["id"], id, "asked twice with one key, it is one scan");
        let path = format!("/api/v1/scans/{id}");
        let ended = lab::poll("the scan's end", || {
            let (_, scan) = get(&host, &token, &path);
            (scan["state"] == "complete").then_some(scan)
        });
        assert_eq!(
            (&ended["answered"], &ended["hints"], &ended["asked"]),
            (&1.into(), &1.into(), &ended["questions"])
        );
        let (_, found) = get(&host, &token, &format!("{path}/found?all=true"));
        assert_eq!((&found[0]["mac"], &found[0]["kind"]), (&PHONE.into(), &"hint".into()));
        let evidence = found[0]["evidence"].to_string();
        assert!(evidence.contains("mdns.service Acme X1._http._tcp"), "{evidence}");
        let (_, difference) = get(&host, &token, &format!("{path}/difference"));
        assert_eq!(difference, json!({ "difference": null }), "the first is compared with none");
        let (status, stopped) = post(&host, &token, &format!("{path}/stop"), &json!({}), "stop");
        assert_eq!((status, &stopped["code"]), (409, &"not_running".into()));
    });
}

#[test]
fn who_observes_neither_scans_nor_tells_nor_probes() {
    lab::run("scan_rest::who_observes_neither_scans_nor_tells_nor_probes", |lab| {
        let host = lab.host("agent", "192.168.7.1/24");
        let _phone = lab.phone("phone", PHONE, "lan", "192.168.7.9/24");
        lab.await_cables();
        let data = lab.folder().join("data");
        let text = format!(
            "[agent]\ndata_dir = '{}'\n{CONFIG}schedule = \"* * * * *\"\njitter = \"0s\"\n",
            data.display()
        );
        let config = lab.file("observe.toml", text);
        let config = config.to_str().unwrap();
        let made = host.run(&[
            OFFHOOK,
            "--config",
            config,
            "--json",
            "token",
            "create",
            "it",
            "--scope",
            "devices:read,devices:write",
            "--expires",
            "1d",
        ]);
        let token = serde_json::from_str::<Value>(&made).unwrap()["token"].as_str().unwrap().to_owned();
        let seen = host.capture();
        let mut observer = host.spawn(&[OFFHOOK, "--config", config, "run", "--observe"]);
        observer.line("REST");
        host.await_tcp(8482);
        for (path, body) in
            [("/api/v1/scans", json!({})), ("/api/v1/rounds", json!({ "told": "resync", "macs": [PHONE] }))]
        {
            let (status, refused) = post(&host, &token, path, &body, path);
            assert_eq!((status, &refused["code"]), (409, &"observing".into()), "{path}: {refused}");
        }
        lab::tool(&["kill", "-INT", &observer.id().to_string()]);
        lab::poll("its end", || observer.has_ended().then_some(()));
        let asked = |packet: &Packet| packet.ether_type == 0x0806 && packet.target_mac == "ff:ff:ff:ff:ff:ff";
        assert_eq!((seen.count(sent), seen.count(asked)), (0, 0), "an agent that observes is silent");
    });
}
