//! PnP on real networks: captured messages, several interfaces, addresses that change, a machine that withholds ports.

use serde::Deserialize;

use crate::agent::{Agent, OFFHOOK, Setup, configure};
use crate::lab::{self, Lab};
use crate::phone::{Phone, Vendor};

const HEADER: &str = "mac,vendor,model,username,password\n";

/// What tests/captures/sip.toml says of each message; only what is needed here.
#[derive(Deserialize)]
struct Captures {
    subscribe: Vec<Captured>,
}

#[derive(Deserialize)]
struct Captured {
    file: String,
    contact: String,
    mac: Option<String>,
}

/// A phone of the inventory (`vendor`, `model`) says the captured message, from the address and port that it names.
/// A phone without a profile hears nothing, because its URL could only answer 404.
fn captured(lab: &Lab, file: &str, vendor: &str, model: &str, answered: bool) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let captures: Captures =
        toml::from_str(&std::fs::read_to_string(folder.join("sip.toml")).unwrap()).unwrap();
    let message = captures.subscribe.into_iter().find(|captured| captured.file == file).expect("in sip.toml");
    let bytes = std::fs::read(folder.join(file)).unwrap();
    let contact = message.contact.trim_start_matches("sip:");
    let contact = contact.rsplit('@').next().expect("rsplit gives one");
    let (host, port) = contact.split_once(':').unwrap_or((contact, "5060"));
    let mac = message.mac.unwrap_or_else(|| "00908f000001".to_owned());
    let colons = (0..6).map(|octet| &mac[octet * 2..octet * 2 + 2]).collect::<Vec<_>>().join(":");
    let net = &host[..host.rfind('.').unwrap()];

    let server = lab.host("agent", &format!("{net}.35/24"));
    let fence = "00:15:65:ff:ff:01";
    let accounts = format!(
        "{HEADER}{colons},{vendor},{model},201,kCap-201-secret\n{fence},yealink,T46U,299,kFence-secret\n"
    );
    let setup =
        Setup { accounts, config: "[adopt]\npolicy = \"known\"\n[sip]\nregistrar = \"pbx\"\n".to_owned() };
    let _agent = Agent::start(lab, &server, &setup);
    let phone = lab.phone("phone", &colons, "lan", &format!("{host}/24"));
    let socket = phone.udp(&format!("0.0.0.0:{port}"));
    let fence = Phone::plug(lab, "fence", Vendor::Yealink, fence, "lan", &format!("{net}.199/24"));
    let heard = phone.capture();

    socket.send_to(&bytes, "224.0.1.75:5060").unwrap();
    if answered {
        let ok = heard.expect("the 200", |packet| packet.text().starts_with("SIP/2.0 200"));
        assert_eq!(ok.target.to_string(), host, "the 200 goes where the message came from");
        let notify = heard.expect("the NOTIFY", |packet| packet.text().starts_with("NOTIFY "));
        let url = notify.text().split_once("\r\n\r\n").unwrap().1.trim().to_owned();
        assert!(url.starts_with(&format!("http://{net}.35:8480/d/")), "{url}");
    }
    fence.provisioned();
    let to_phone = heard.count(|packet| packet.source_port == 5065 || packet.text().starts_with("SIP/2.0"));
    assert_eq!(to_phone > 0, answered, "{file}");
}

/// One test per captured message: file, vendor and model in the inventory, whether it is answered.
macro_rules! captured {
    ($($name:ident: $file:literal, $vendor:literal, $model:literal, $answered:literal;)*) => {
        $(#[test] fn $name() {
            lab::run(concat!("network::", stringify!($name)), |lab| captured(lab, $file, $vendor, $model, $answered));
        })*
    };
}

captured! {
    captured_snom_d120: "snomD120-10.1.39.11-subscribe.sip", "snom", "D120", true;
    captured_snom_720: "snom720-7.1.19-subscribe-reordered.sip", "snom", "720", true;
    captured_snom_oem: "snom-oem-7.1.19-subscribe.sip", "snom", "", true;
    captured_gigaset_p: "gigaset-pseries-7.1.19-subscribe.sip", "snom", "", true;
    captured_yealink_t21p: "yealink-t21p-34.72.14.6-subscribe.sip", "yealink", "T21P", true;
    captured_yealink_t53w: "yealink-t53w-96.87.0.16-subscribe-synthetic.sip", "yealink", "T53W", true;
    captured_grandstream: "grandstream-grp2612w-1.0.5.67-subscribe.sip", "grandstream", "GRP2612W", true;
    captured_audiocodes: "audiocodes-420hd-1.2.1_build_6-subscribe.sip", "audiocodes", "420HD", true;
    captured_without_profile: "unknown-maker-subscribe-synthetic.sip", "", "", false;
}

#[test]
fn each_phone_gets_a_url_it_can_reach() {
    lab::run("network::each_phone_gets_a_url_it_can_reach", |lab| {
        let server = lab.host_on("agent", &[("front", "192.168.1.35/24"), ("back", "10.9.0.1/16")]);
        let accounts = format!(
            "{HEADER}00:15:65:00:00:01,yealink,T46U,201,kFront-201-secret\n00:04:13:00:00:02,snom,D785,202,kBack-202-secret\n"
        );
        let _agent = Agent::start(
            lab,
            &server,
            &Setup { accounts, config: "[sip]\nregistrar = \"pbx\"\n".to_owned() },
        );
        let front =
            Phone::plug(lab, "front", Vendor::Yealink, "00:15:65:00:00:01", "front", "192.168.1.100/24");
        let back = Phone::plug(lab, "back", Vendor::Snom, "00:04:13:00:00:02", "back", "10.9.44.7/16");
        for (phone, address, account) in
            [(&front, "192.168.1.35", "kFront-201"), (&back, "10.9.0.1", "kBack-202")]
        {
            let notify = phone.provisioned();
            assert_eq!(notify.from.to_string(), format!("{address}:5065"));
            assert!(notify.url.starts_with(&format!("http://{address}:8480/d/")), "{}", notify.url);
            let (status, body) = phone.get(&phone.settings_url(&notify.url));
            assert_eq!(status, 200, "{}", notify.url);
            assert!(body.contains(account), "{body}");
        }
    });
}

#[test]
fn two_subnets_on_one_interface_are_told_apart() {
    lab::run("network::two_subnets_on_one_interface_are_told_apart", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        server.ip(&["address", "add", "192.168.2.35/24", "dev", "eth0"]);
        let accounts = format!(
            "{HEADER}00:15:65:00:00:01,yealink,T46U,201,kFirst-201-secret\n00:15:65:00:00:02,yealink,T46U,202,kSecond-202-secret\n"
        );
        let _agent = Agent::start(
            lab,
            &server,
            &Setup { accounts, config: "[sip]\nregistrar = \"pbx\"\n".to_owned() },
        );
        for (number, net) in [(1, "192.168.1"), (2, "192.168.2")] {
            let mac = format!("00:15:65:00:00:0{number}");
            let phone = Phone::plug(
                lab,
                &format!("phone{number}"),
                Vendor::Yealink,
                &mac,
                "lan",
                &format!("{net}.100/24"),
            );
            let notify = phone.provisioned();
            assert!(notify.url.starts_with(&format!("http://{net}.35:8480/d/")), "{}", notify.url);
            assert_eq!(phone.get(&phone.settings_url(&notify.url)).0, 200);
        }
    });
}

#[test]
fn an_address_that_changes_at_run_time_is_followed() {
    lab::run("network::an_address_that_changes_at_run_time_is_followed", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let accounts = format!("{HEADER}00:15:65:00:00:01,yealink,T46U,201,kMoved-201-secret\n");
        let _agent = Agent::start(
            lab,
            &server,
            &Setup { accounts, config: "[sip]\nregistrar = \"pbx\"\n".to_owned() },
        );
        let mut phone =
            Phone::plug(lab, "phone", Vendor::Yealink, "00:15:65:00:00:01", "lan", "192.168.1.100/24");
        assert!(phone.provisioned().url.starts_with("http://192.168.1.35:8480/d/"));

        server.ip(&["address", "del", "192.168.1.35/24", "dev", "eth0"]);
        server.ip(&["address", "add", "10.20.0.1/24", "dev", "eth0"]);
        phone.move_to("10.20.0.100/24");
        let heard = phone.host.capture();
        let notify = lab::poll("a NOTIFY from the new address", || {
            phone.subscribe();
            heard.soon(|packet| packet.text().starts_with("NOTIFY "))
        });
        assert_eq!(notify.source.to_string(), "10.20.0.1");
        let url = notify.text().split_once("\r\n\r\n").unwrap().1.trim().to_owned();
        assert!(url.starts_with("http://10.20.0.1:8480/d/"), "{url}");
        assert_eq!(phone.get(&phone.settings_url(&url)).0, 200);
    });
}

#[test]
fn an_interface_that_comes_at_run_time_is_joined() {
    lab::run("network::an_interface_that_comes_at_run_time_is_joined", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let accounts = format!("{HEADER}00:15:65:00:00:01,yealink,T46U,201,kLate-201-secret\n");
        let _agent = Agent::start(
            lab,
            &server,
            &Setup { accounts, config: "[sip]\nregistrar = \"pbx\"\n".to_owned() },
        );
        lab.plug_late(&server, 1, "late", "10.30.0.1/24");
        let phone = Phone::plug(lab, "phone", Vendor::Yealink, "00:15:65:00:00:01", "late", "10.30.0.100/24");
        let heard = phone.host.capture();
        let notify = lab::poll("a NOTIFY on the late interface", || {
            phone.subscribe();
            heard.soon(|packet| packet.text().starts_with("NOTIFY "))
        });
        assert!(notify.text().contains("http://10.30.0.1:8480/d/"), "{}", notify.text());
    });
}

/// Whoever asks in the name of a phone hears nothing, whatever stands in the inventory; the phone itself is answered.
#[test]
fn an_impostor_gets_no_byte_and_the_phone_does() {
    lab::run("network::an_impostor_gets_no_byte_and_the_phone_does", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let (known, mac) = ("00:15:65:00:00:01", "00:15:65:00:00:66");
        let accounts = format!("{HEADER}{known},yealink,T46U,201,kKnown-201-secret\n");
        let config = "[adopt]\npolicy = \"approve\"\n[sip]\nregistrar = \"pbx\"\n".to_owned();
        let agent = Agent::start(lab, &server, &Setup { accounts, config });
        let impostor = lab.phone("impostor", mac, "lan", "192.168.1.66/24");
        let phone = Phone::plug(lab, "phone", Vendor::Yealink, known, "lan", "192.168.1.100/24");
        let socket = impostor.udp("0.0.0.0:5060");
        let heard = impostor.capture();
        // In the name of a phone of the inventory, before and after that has been answered, and of a stranger.
        let ask = |name: &str, call: u32| {
            let mac = name.replace(':', "");
            let text = format!(
                "SUBSCRIBE sip:MAC%3a{mac}@224.0.1.75 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.66:5060;rport\r\n\
                 From: <sip:MAC%3a{mac}@224.0.1.75>;tag=1\r\nTo: <sip:MAC%3a{mac}@224.0.1.75>\r\n\
                 Call-ID: {call}@192.168.1.66\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:192.168.1.66:5060>\r\n\
                 Event: ua-profile;profile-type=\"device\";vendor=\"Yealink\";model=\"T46U\";version=\"1\"\r\n\
                 Expires: 0\r\nAccept: application/url\r\nContent-Length: 0\r\n\r\n"
            );
            socket.send_to(text.as_bytes(), "224.0.1.75:5060").unwrap();
        };
        lab.await_cables();
        ask(known, 1);
        phone.provisioned();
        ask(known, 2);
        ask("00:15:65:00:00:77", 3);
        for name in [known, "00:15:65:00:00:77"] {
            agent.log(&format!("in the name of {name}, and was not answered: {mac} is there"));
        }
        let ours = |packet: &lab::Packet| packet.source.to_string() == "192.168.1.35";
        let got: Vec<_> = heard.all(|packet| ours(packet) && packet.target.to_string() == "192.168.1.66");
        // The datagram of no bytes that makes the kernel ask whose address that is.
        assert!(got.iter().all(|packet| packet.payload.is_empty() && packet.target_port == 9), "{got:?}");
        assert!(agent.device("00:15:65:00:00:77").is_none(), "nobody comes to wait by a lie");
    });
}

/// An ordinary user may not bind port 69: the agent says so, says what to do, and does the rest.
#[test]
fn an_ordinary_user_is_told_what_is_off_and_the_rest_works() {
    lab::run("network::an_ordinary_user_is_told_what_is_off_and_the_rest_works", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let mac = "00:15:65:00:00:01";
        let accounts = format!("{HEADER}{mac},yealink,T46U,201,kUser-201-secret\n");
        let setup = Setup { accounts, config: "[sip]\nregistrar = \"pbx\"\n".to_owned() };
        let config = configure(lab.folder(), &server, &setup);
        let user = ["unshare", "-U", "--map-user=1000", "--map-group=1000", OFFHOOK, "--config"];
        let agent = server.spawn(&[&user[..], &[&config.to_string_lossy(), "run"]].concat());
        server.await_tcp(8480);
        server.await_udp(5060);
        let phone = Phone::plug(lab, "phone", Vendor::Yealink, mac, "lan", "192.168.1.100/24");
        let notify = phone.provisioned();
        let (status, body) = phone.get(&phone.settings_url(&notify.url));
        assert_eq!(status, 200);
        assert!(body.contains("201"), "{body}");
        let text = agent.output();
        println!("{text}");
        let off = text.lines().find(|line| line.contains(":69/udp")).expect("a line about port 69");
        assert!(off.to_lowercase().contains("tftp"), "{off}");
        assert!(!phone.tftp("192.168.1.35", &phone.file()).0, "TFTP is off");
    });
}
