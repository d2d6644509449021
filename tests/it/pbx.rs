//! A real PBX (kamailio) beside the agent and as the phones' registrar.

use crate::agent::{Agent, Setup};
use crate::lab::{self, Host, Lab, Packet, Process};
use crate::phone::{Phone, Vendor};

const MAC: &str = "00:15:65:f4:f9:e1";
pub(crate) const PASSWORD: &str = "kReal-201-secret";

fn setup(config: &str) -> Setup {
    Setup {
        accounts: format!("mac,vendor,model,username,password\n{MAC},yealink,T46U,201,{PASSWORD}\n"),
        config: config.to_owned(),
    }
}

/// Starts kamailio on 0.0.0.0:5060 of this host and waits until it answers.
pub(crate) fn start_pbx(lab: &Lab, host: &Host) -> Process {
    let text = include_str!("peers/pbx.cfg").replace("@PASSWORD@", PASSWORD);
    let config = lab.file("pbx.cfg", text);
    let folder = lab.folder().to_string_lossy().into_owned();
    let config = config.to_string_lossy();
    let process = host.spawn(&[
        "kamailio", "-DD", "-E", "-m", "32", "-M", "8", "-w", &folder, "-Y", &folder, "-f", &config,
    ]);
    host.await_udp(5060);
    process
}

/// The PBX on the agent's host keeps its unicast traffic, and the phone gets our 200 and our NOTIFY.
fn beside(lab: &Lab, receive: &str) {
    let server = lab.host("agent", "192.168.1.35/24");
    let _pbx = start_pbx(lab, &server);
    let config = format!("[sip]\nregistrar = \"192.168.1.35\"\n[pnp]\nreceive = \"{receive}\"\n");
    let _agent = Agent::start(lab, &server, &setup(&config));
    let phone = Phone::plug(lab, "phone", Vendor::Yealink, MAC, "lan", "192.168.1.100/24");
    let heard = phone.host.capture();

    phone.subscribe();
    let ok = |packet: &Packet| Packet::to_port(5060)(packet) && packet.text().starts_with("SIP/2.0 200");
    let notify = |packet: &Packet| Packet::to_port(5060)(packet) && packet.text().starts_with("NOTIFY ");
    heard.expect("the agent's 200", ok);
    let notify = heard.expect("the agent's NOTIFY", notify);
    assert_eq!((notify.source.to_string().as_str(), notify.source_port), ("192.168.1.35", 5065));
    assert!(notify.text().contains("http://192.168.1.35:8480/d/"), "{}", notify.text());

    // The group's datagrams reach the PBX as well (its sockets hear every group that this host has joined). What the
    // phone then hears from it is printed, because a phone takes the first final answer.
    let heard_from = |packet: &Packet| {
        let first = packet.text().lines().next().unwrap_or_default().to_owned();
        format!("{} from {}", first, packet.source_port)
    };
    let to_phone =
        heard.all(|packet| Packet::to_port(5060)(packet) && packet.target.to_string() == "192.168.1.100");
    let order: Vec<String> = to_phone.iter().map(heard_from).collect();
    println!("pnp.receive = {receive}: the phone hears {}", order.join(", then "));

    for number in 0..10 {
        let options = format!(
            "OPTIONS sip:192.168.1.35 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.100:5060;branch=z9hG4bKo{number};rport\r\n\
             From: <sip:probe@192.168.1.100>;tag=1\r\nTo: <sip:192.168.1.35>\r\nCall-ID: options-{number}\r\n\
             CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        phone.send(options.as_bytes(), "192.168.1.35:5060");
    }
    heard.expect_count("the PBX's ten answers", 10, |packet| {
        packet.text().starts_with("SIP/2.0 200 PBX is here")
    });
}

#[test]
fn a_pbx_on_the_same_host_keeps_its_port_udp() {
    if lab::has("kamailio") {
        lab::run("pbx::a_pbx_on_the_same_host_keeps_its_port_udp", |lab| beside(lab, "udp"));
    }
}

#[test]
fn a_pbx_on_the_same_host_keeps_its_port_packet() {
    if lab::has("kamailio") {
        lab::run("pbx::a_pbx_on_the_same_host_keeps_its_port_packet", |lab| beside(lab, "packet"));
    }
}

#[test]
fn a_phone_registers_with_the_password_it_fetched() {
    if !lab::has("kamailio") {
        return;
    }
    lab::run("pbx::a_phone_registers_with_the_password_it_fetched", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let exchange = lab.host("pbx", "192.168.1.20/24");
        let mut pbx = start_pbx(lab, &exchange);
        let _agent = Agent::start(lab, &server, &setup("[sip]\nregistrar = \"192.168.1.20\"\n"));
        let phone = lab.phone("phone", MAC, "lan", "192.168.1.100/24");
        let text = phone.run(&[
            crate::agent::OFFHOOK,
            "simulate",
            "yealink",
            "--mac",
            MAC,
            "--address",
            "192.168.1.100",
            "--forget",
        ]);
        println!("{text}");
        pbx.line("registered 201 from 192.168.1.100");
        assert!(!text.contains(PASSWORD), "the simulated phone shows its password");
    });
}
