//! The agent hears DHCP: beside a server elsewhere on the LAN, beside one on its own host, and by the reports of servers'
//! hooks. It sends no packet, takes no port, and keeps nothing of who is no phone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::dhcp_fleet::wire::{EVERYBODY, Wire, datagram};
use crate::dhcp_peers::unconfined;
use crate::lab::{self, Host, Lab, Packet, Process};

pub(crate) const AGENT: &str = "192.168.1.35";
const SERVER: &str = "192.168.1.1";
pub(crate) const YEALINK: &str = "80:5e:c0:00:00:01";
const SNOM: &str = "00:04:13:00:00:02";
const PC: &str = "52:54:00:00:00:03";
const CANARY: &str = "kDhcpCanary";
const ACCOUNTS: &str = "mac,vendor,model,username,password\n00:04:13:00:00:02,snom,D785,201,x\n";

/// dnsmasq on `eth0` of a host, giving `options` to whom they name.
pub(crate) fn dnsmasq(lab: &Lab, host: &Host, around: &[&str], options: &[&str]) -> Process {
    let folder = tempfile::tempdir_in(lab.folder()).unwrap().keep();
    let program = unconfined("dnsmasq", &folder);
    let leases = format!("--dhcp-leasefile={}", folder.join("leases").display());
    let pid = format!("--pid-file={}", folder.join("pid").display());
    let own = [
        &program,
        "--no-daemon",
        "--conf-file=/dev/null",
        "--port=0",
        "--no-ping",
        "--dhcp-authoritative",
        "--dhcp-range=192.168.1.100,192.168.1.199,255.255.255.0,2h",
        "--dhcp-vendorclass=set:snom,snom",
        "--dhcp-vendorclass=set:yealink,yealink",
        &leases,
        &pid,
    ];
    let mut dnsmasq = host.spawn(&[around, &own, options].concat());
    dnsmasq.line("DHCP, IP range");
    dnsmasq
}

/// A phone's or PC's DHCP client: one lease, which it does not even configure.
pub(crate) fn lease(host: &Host, arguments: &[&str]) -> String {
    let own = ["busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "3", "-T", "2", "-s", "/bin/true"];
    host.run(&[&own, arguments].concat())
}

/// A moment of a phone's life with this step, as soon as it is written.
pub(crate) fn moment(agent: &Agent<'_>, mac: &str, step: &str) -> Value {
    lab::poll(&format!("the step '{step}' in the life of {mac}"), || {
        agent.device(mac)?;
        let shown = agent.json(&["device", "show", mac]);
        let life = shown["timeline"].as_array().unwrap().clone();
        life.into_iter().find(|moment| moment["step"] == step)
    })
}

fn mac_of(host: &Host) -> String {
    crate::dhcp_fleet::text(crate::dhcp_peers::mac_of(host))
}

/// Whether this host has sent any DHCP.
fn dhcp_from(mac: &str) -> impl Fn(&Packet) -> bool {
    move |packet| packet.source_mac == mac && packet.protocol == 17 && [67, 68].contains(&packet.target_port)
}

/// Nothing that was written, and nothing that was said, holds this.
fn assert_nowhere(folder: &Path, log: &str, secret: &str) {
    assert!(!log.contains(secret), "in the log");
    let digits = secret.bytes().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    let mut folders = vec![PathBuf::from(folder)];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                read += 1;
                let bytes = std::fs::read(entry.path()).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(secret) && !text.contains(&digits), "in {}", entry.path().display());
            }
        }
    }
    assert!(read > 1, "the database and its log were looked at");
}

#[test]
fn phones_beside_a_server_elsewhere_are_heard_as_far_as_the_switch_lets() {
    lab::run("dhcp_observe::phones_beside_a_server_elsewhere_are_heard_as_far_as_the_switch_lets", |lab| {
        if !["dnsmasq", "busybox", "dhclient"].iter().all(|program| lab::has(program)) {
            return;
        }
        let (server, dhcp) =
            (lab.host("agent", &format!("{AGENT}/24")), lab.host("dhcp", &format!("{SERVER}/24")));
        let yealink = lab.phone("yealink", YEALINK, "lan", "0.0.0.0/0");
        let snom = lab.phone("snom", SNOM, "lan", "0.0.0.0/0");
        let pc = lab.phone("pc", PC, "lan", "0.0.0.0/0");
        lab.await_cables();
        let wire = server.capture();
        let url = format!("--dhcp-option=tag:yealink,66,http://{AGENT}:8480/");
        let _dnsmasq = dnsmasq(lab, &dhcp, &[], &["--interface=eth0", &url]);
        let mut agent =
            Agent::start(lab, &server, &Setup { accounts: ACCOUNTS.to_owned(), config: String::new() });
        agent.end();
        agent.begin(&["env", "OFFHOOK_LOG=debug"]);

        // A Yealink wants broadcast answers: all of it is heard, and it is told to come here.
        lease(&yealink, &["-V", "yealink", "-O", "66", "-O", "160", "-B"]);
        let given = moment(&agent, YEALINK, "given");
        let text = given["text"].as_str().unwrap();
        assert!(text.starts_with("as \"yealink\", asking for "), "{text}");
        assert!(text.contains(&format!("{SERVER} gave it 192.168.1.")), "{text}");
        assert!(
            text.ends_with(&format!("for 2 h with 66 \"http://{AGENT}:8480/\": that leads it here")),
            "{text}"
        );
        assert_eq!(given["data"]["answer"]["server"], SERVER);
        let device = agent.device(YEALINK).unwrap();
        assert_eq!((device["state"].as_str(), device["way"].as_str()), (Some("pending"), None), "{device}");
        assert!(device["address"].as_str().unwrap().starts_with("192.168.1."), "{device}");

        // The answers to a snom go to it alone: that is said, and nothing is guessed.
        lease(&snom, &["-V", "snom", "-O", "66"]);
        let unheard = moment(&agent, SNOM, "unheard");
        let text = unheard["text"].as_str().unwrap();
        assert!(
            text.contains("took 192.168.1.") && text.contains(&format!("from {SERVER}; what it was given")),
            "{text}"
        );
        assert!(text.contains("offhook dhcp verify") && unheard["data"]["answer"].is_null(), "{unheard}");
        let shown = agent.offhook(&["device", "show", SNOM]);
        assert!(shown.contains("what happened:") && shown.contains("  dhcp  as \"snom\""), "{shown}");

        // A PC is nobody's business.
        let leases = lab.file("pc.leases", "");
        let config =
            lab.file("pc.conf", "send vendor-class-identifier \"MSFT 5.0\"; send host-name \"pc-of-ada\";");
        let files = [leases.to_str().unwrap(), config.to_str().unwrap()];
        let _ = pc.attempt(&[
            "dhclient",
            "-1",
            "-v",
            "-lf",
            files[0],
            "-cf",
            files[1],
            "-pf",
            "/run/pc.pid",
            "-sf",
            "/bin/true",
            "eth0",
        ]);
        lease(&pc, &["-V", "MSFT 5.0", "-B"]);
        wire.expect("the PC's question", |packet| packet.source_mac == PC && packet.target_port == 67);
        let servers = lab::poll("the server's row", || {
            let servers = agent.with_store(async |store| store.dhcp_servers().await.unwrap());
            servers.into_iter().find(|row| row.count >= 4 && row.gives.contains_key("yealink"))
        });
        assert_eq!((servers.address.as_str(), servers.interface.as_str()), (SERVER, "eth0"));
        assert_eq!(servers.mac.unwrap().to_string(), mac_of(&dhcp));
        assert_eq!(servers.gives["yealink"][&66], format!("http://{AGENT}:8480/"));
        let traces = agent.with_store(async |store| {
            let mac = PC.parse().unwrap();
            let sightings = store.sightings(Some(mac)).await.unwrap().len();
            (
                sightings,
                store.timeline(mac, None).await.unwrap().len(),
                store.inventory().device(mac).is_some(),
            )
        });
        assert_eq!(traces, (0, 0, false));

        assert_eq!(wire.count(dhcp_from(&mac_of(&server))), 0, "not one packet");
        drop(server.udp("0.0.0.0:67"));
        drop(server.udp("0.0.0.0:68"));
        let log = agent.process().output();
        assert!(!log.contains(PC) && !log.contains("pc-of-ada"), "{log}");
    });
}

#[test]
fn beside_a_server_on_the_same_host_everything_is_heard() {
    lab::run("dhcp_observe::beside_a_server_on_the_same_host_everything_is_heard", |lab| {
        if !["dnsmasq", "busybox"].iter().all(|program| lab::has(program)) {
            return;
        }
        let server = lab.host("agent", &format!("{AGENT}/24"));
        let yealink = lab.phone("yealink", YEALINK, "lan", "0.0.0.0/0");
        let snom = lab.phone("snom", SNOM, "lan", "0.0.0.0/0");
        lab.await_cables();
        let bad = format!("--dhcp-option=tag:yealink,66,http://admin:{CANARY}@192.168.1.9/");
        let vendor = format!("--dhcp-option=tag:yealink,160,http://admin:{CANARY}@{AGENT}:8480/");
        let good = format!("--dhcp-option=tag:snom,66,http://{AGENT}:8480/");
        let _dnsmasq = dnsmasq(lab, &server, &[], &["--interface=eth0", &bad, &vendor, &good]);
        let mut agent =
            Agent::start(lab, &server, &Setup { accounts: ACCOUNTS.to_owned(), config: String::new() });
        agent.end();
        agent.begin(&["env", "OFFHOOK_LOG=trace"]);
        lease(&snom, &["-V", "snom", "-O", "66"]);
        let given = moment(&agent, SNOM, "given");
        assert_eq!(given["data"]["offers"].as_array().unwrap().len(), 1, "{given}");
        assert_eq!(given["data"]["answer"]["lease_s"], 7_200);

        // It comes by the shared root, because DHCP sent it: not by a path that somebody typed.
        snom.ip(&["address", "add", "192.168.1.150/24", "dev", "eth0"]);
        snom.run(&[
            "curl",
            "-sf",
            "-A",
            "Mozilla/4.0 (compatible; snomD785-SIP 10.1.169.16 000413000002)",
            &format!("http://{AGENT}:8480/snomD785-000413000002.htm"),
        ]);
        lab::poll("its way in", || (agent.device(SNOM)?["way"] == "one_touch_auto").then_some(()));
        moment(&agent, SNOM, "served");

        // A password in an option is everybody's who listens; here it is nowhere.
        lease(&yealink, &["-V", "yealink", "-O", "66", "-O", "160"]);
        let given = moment(&agent, YEALINK, "given");
        let text = given["text"].as_str().unwrap();
        assert!(
            text.contains("66 \"http://***@192.168.1.9/\"") && text.contains("but option 160 has a password"),
            "{text}"
        );
        lease(&yealink, &["-V", "yealink", "-O", "66", "-r", "192.168.1.77"]);
        let misled = moment(&agent, YEALINK, "misled");
        assert!(misled["text"].as_str().unwrap().contains("which is another server"), "{misled}");
        let shown = agent.offhook(&["device", "show", YEALINK]);
        let servers = lab::poll("the server's row", || {
            let servers = agent.with_store(async |store| store.dhcp_servers().await.unwrap());
            servers.into_iter().find(|row| row.gives.contains_key("yealink"))
        });
        let log = agent.process().output();
        agent.end();
        assert_nowhere(&lab.folder().join("data"), &format!("{log}{shown}{servers:?}"), CANARY);
    });
}

#[test]
fn ten_thousand_phones_that_ask_at_once_are_all_heard() {
    const PHONES: u32 = 10_000;
    lab::run("dhcp_observe::ten_thousand_phones_that_ask_at_once_are_all_heard", |lab| {
        let server = lab.host("agent", &format!("{AGENT}/24"));
        let farm = lab.host("farm", "192.168.1.200/24");
        lab.await_cables();
        let config = "[adopt]\npolicy = \"known\"\n".to_owned();
        let agent = Agent::start(lab, &server, &Setup { accounts: String::new(), config });
        let wire = farm.udp("192.168.1.200:68");
        wire.set_broadcast(true).unwrap();
        for number in 0..PHONES {
            wire.send_to(&discover(number), "255.255.255.255:67").unwrap();
        }
        lab::poll("every phone's sighting", || {
            let heard = agent.with_store(async |store| store.sightings(None).await.unwrap().len());
            (heard == usize::try_from(PHONES).unwrap()).then_some(())
        });
        let life = agent.with_store(async |store| {
            store.timeline("80:5e:c0:00:27:0f".parse().unwrap(), None).await.unwrap()
        });
        assert_eq!((life.len(), life[0].step.as_str()), (1, "unanswered"));
        assert_eq!(
            agent.json(&["device", "list"]).as_array().unwrap().len(),
            0,
            "adopt = known: none of them waits"
        );
    });
}

#[test]
fn phones_of_another_vlan_are_not_taken_for_phones_of_the_link_that_carries_it() {
    lab::run(
        "dhcp_observe::phones_of_another_vlan_are_not_taken_for_phones_of_the_link_that_carries_it",
        |lab| {
            let server = lab.host("agent", &format!("{AGENT}/24"));
            let trunk = lab.host("trunk", "192.168.1.200/24");
            lab.await_cables();
            let config = "[adopt]\npolicy = \"known\"\n".to_owned();
            let agent = Agent::start(lab, &server, &Setup { accounts: String::new(), config });
            let wire = Wire::open(&trunk);
            // VLAN 40; a priority and no VLAN, as phones send it; no tag.
            let tags: [&[u8]; 3] = [&[0x81, 0, 0xa0, 40], &[0x81, 0, 0xa0, 0], &[]];
            for (number, tag) in (1..).zip(tags) {
                let question = discover(number);
                let sender = question[28..34].try_into().unwrap();
                let [from, to] = ["0.0.0.0:68", "255.255.255.255:67"].map(|end| end.parse().unwrap());
                let frame = datagram([sender, EVERYBODY], from, to, &question);
                wire.send(&[&frame[..12], tag, &frame[12..]].concat());
            }
            let heard = |number: u8| {
                let mac = format!("80:5e:c0:00:00:{number:02x}").parse().unwrap();
                agent.with_store(async move |store| !store.timeline(mac, None).await.unwrap().is_empty())
            };
            lab::poll("the phones of this link", || (heard(2) && heard(3)).then_some(()));
            assert!(!heard(1));
        },
    );
}

/// A Yealink's DISCOVER.
fn discover(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes[28..31].copy_from_slice(&[0x80, 0x5e, 0xc0]);
    bytes[31..34].copy_from_slice(&number.to_be_bytes()[1..]);
    bytes.extend([99, 130, 83, 99, 53, 1, 1, 60, 7]);
    bytes.extend(b"yealink");
    bytes.extend([55, 3, 1, 3, 66, 255]);
    bytes.resize(300, 0);
    bytes
}

#[test]
fn an_interface_that_comes_later_is_heard_and_observing_hears_as_well() {
    lab::run("dhcp_observe::an_interface_that_comes_later_is_heard_and_observing_hears_as_well", |lab| {
        if !lab::has("busybox") {
            return;
        }
        let server = lab.host("agent", &format!("{AGENT}/24"));
        lab.await_cables();
        let mut agent =
            Agent::start(lab, &server, &Setup { accounts: ACCOUNTS.to_owned(), config: String::new() });
        lab.plug_late(&server, 1, "back", "10.9.0.1/16");
        let snom = lab.phone("snom", SNOM, "back", "0.0.0.0/0");
        lab.await_cables();
        snom.attempt(&[
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-f",
            "-n",
            "-q",
            "-t",
            "2",
            "-T",
            "1",
            "-V",
            "snom",
            "-s",
            "/bin/true",
        ]);
        let unanswered = moment(&agent, SNOM, "unanswered");
        assert_eq!(unanswered["data"]["interface"], "eth1");
        agent.end();

        let observer =
            [OFFHOOK, "--config", agent.config().to_str().unwrap(), "run", "--observe"].map(str::to_owned);
        let mut observer = server.spawn(&observer.each_ref().map(String::as_str));
        observer.line("DHCP");
        let before = unanswered["count"].as_i64().unwrap();
        snom.attempt(&[
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-f",
            "-n",
            "-q",
            "-t",
            "2",
            "-T",
            "1",
            "-V",
            "snom",
            "-s",
            "/bin/true",
        ]);
        lab::poll("what only an observer hears", || {
            let life =
                agent.with_store(async |store| store.timeline(SNOM.parse().unwrap(), None).await.unwrap());
            (life.iter().map(|moment| moment.count).sum::<i64>() > before).then_some(())
        });
    });
}

#[test]
fn without_the_right_to_hear_the_rest_runs() {
    lab::run("dhcp_observe::without_the_right_to_hear_the_rest_runs", |lab| {
        let server = lab.host("agent", &format!("{AGENT}/24"));
        let mut agent = Agent::start(lab, &server, &Setup::default());
        agent.end();
        agent.begin(&["setpriv", "--bounding-set", "-net_raw"]);
        let line = agent.log("DHCP");
        assert!(line.contains("OFF") && line.contains("CAP_NET_RAW") && line.contains("setcap"), "{line}");
    });
}
