//! Other servers that answer phones on the same LAN: found, told, and left the phones that nobody has approved.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::agent::{Agent, Setup};
use crate::lab;
use crate::phone::{Phone, Vendor};

const OURS: &str = "00:15:65:00:00:01";
const STRANGER: &str = "00:15:65:00:00:02";
const HEADER: &str = "mac,vendor,model,username,password\n";

fn setup(config: &str) -> Setup {
    let accounts = format!("{HEADER}{OURS},yealink,T46U,201,kOurs-201-secret\n,,,202,kPool-202-secret\n");
    let config = format!("[adopt]\npolicy = \"auto\"\n[sip]\nregistrar = \"pbx\"\n[pnp]\n{config}");
    Setup { accounts, config }
}

/// Answers every SUBSCRIBE, as a PBX does, until it is told to stop; gives how many of its NOTIFYs were answered.
fn rival(socket: &UdpSocket, stop: &AtomicBool, notified: &AtomicUsize) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut bytes = [0; 8192];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.starts_with("SIP/2.0 200") {
            notified.fetch_add(1, Ordering::Relaxed);
        }
        if !text.starts_with("SUBSCRIBE") {
            continue;
        }
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).unwrap().1.to_owned()
        };
        let (via, ours, theirs, call) = (value("Via"), value("From"), value("To"), value("Call-ID"));
        let ok = format!(
            "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {ours}\r\nTo: {theirs};tag=r\r\nCall-ID: {call}\r\nCSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:192.168.1.9>\r\nExpires: 0\r\nContent-Length: 0\r\n\r\n"
        );
        let notify = format!(
            "NOTIFY sip:{from} SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.9:5060;branch=z9hG4bKr{call}\r\nMax-Forwards: 70\r\n\
             From: {theirs};tag=r\r\nTo: {ours}\r\nCall-ID: {call}\r\nCSeq: 2 NOTIFY\r\nEvent: ua-profile\r\n\
             Subscription-State: terminated;reason=timeout\r\nContent-Type: application/url\r\n\
             Content-Length: 22\r\n\r\nhttp://192.168.1.9/x/\r\n"
        );
        socket.send_to(ok.as_bytes(), from).unwrap();
        socket.send_to(notify.as_bytes(), from).unwrap();
    }
}

#[test]
fn strangers_are_left_to_a_server_that_was_there_first() {
    lab::run("rival::strangers_are_left_to_a_server_that_was_there_first", |lab| {
        let (host, other) = (lab.host("agent", "192.168.1.35/24"), lab.host("other", "192.168.1.9/24"));
        lab.await_cables();
        let (socket, group, its) =
            (other.udp("0.0.0.0:5060"), Ipv4Addr::new(224, 0, 1, 75), Ipv4Addr::new(192, 168, 1, 9));
        other.inside(|| socket.join_multicast_v4(&group, &its)).unwrap();
        let (stop, notified) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| rival(&socket, &stop, &notified));
            let agent = Agent::start(lab, &host, &setup(""));
            let alarm = agent.alarmed("rival");
            assert_eq!(alarm["peer"], "192.168.1.9");
            let text = alarm["text"].as_str().unwrap();
            assert!(
                text.starts_with("192.168.1.9 answers phones that look for their configuration"),
                "{text}"
            );
            lab::poll("its NOTIFYs to be answered", || (notified.load(Ordering::Relaxed) > 5).then_some(()));

            let stranger = Phone::plug(lab, "stranger", Vendor::Yealink, STRANGER, "lan", "192.168.1.101/24");
            let heard = stranger.host.capture();
            stranger.subscribe();
            lab::poll("it to be pending", || (agent.device(STRANGER)?["state"] == "pending").then_some(()));
            // The next phone may not come before it has fallen silent.
            stop.store(true, Ordering::Relaxed);
            answering.join().unwrap();
            // It was heard a moment ago: strangers stay its own, a phone of ours is served.
            let ours = Phone::plug(lab, "ours", Vendor::Yealink, OURS, "lan", "192.168.1.100/24");
            assert_eq!(ours.provisioned().from.to_string(), "192.168.1.35:5065");
            assert_eq!(heard.count(|packet| packet.source.to_string() == "192.168.1.35" && packet.source_port == 5065), 0);
            let outcome = agent.json(&["device", "show", STRANGER]).to_string();
            assert!(outcome.contains("another server answers phones here"), "{outcome}");
        });
    });
}

#[test]
fn two_agents_with_databases_of_their_own_hear_of_each_other() {
    lab::run("rival::two_agents_with_databases_of_their_own_hear_of_each_other", |lab| {
        let hosts = [lab.host("one", "192.168.1.35/24"), lab.host("two", "192.168.1.36/24")];
        lab.await_cables();
        let folders = ["one", "two"].map(|name| {
            let folder = lab.folder().join(name);
            std::fs::create_dir(&folder).unwrap();
            folder
        });
        let mut one = Agent::on(&folders[0], &hosts[0], &setup("rivals = \"ignore\"\n"));
        one.begin(&[]);
        let mut two = Agent::on(&folders[1], &hosts[1], &setup(""));
        two.begin(&[]);
        let alarm = one.alarmed("rival");
        assert_eq!(alarm["peer"], "192.168.1.36");
        let text = alarm["text"].as_str().unwrap();
        assert!(text.starts_with("192.168.1.36 is another offhook, with a database of its own"), "{text}");
        // Whoever was told to ignore rivals serves strangers as ever.
        let stranger = Phone::plug(lab, "stranger", Vendor::Yealink, STRANGER, "lan", "192.168.1.101/24");
        let notify = stranger.provisioned();
        assert_eq!(notify.from.to_string(), "192.168.1.35:5065");
        assert_eq!(one.device(STRANGER).unwrap()["state"], "approved");
    });
}
