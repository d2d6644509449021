//! Server mode where it is not plain: behind a relay, for everybody, as a dry run, with a client that declines, when the
//! server's own address changes; and answers to INFORM that nobody sees.

use std::time::{Duration, Instant};

use crate::agent::{Agent, Setup};
use crate::dhcp_fleet::message::{ACK, Answer, Question, REQUEST};
use crate::dhcp_observe::moment;
use crate::dhcp_peers::{octets, unconfined};
use crate::dhcp_server::{ACCOUNTS, POOL, SAY, answers, dhclient, plug, searched, signal, udhcpc};
use crate::lab::{self, Packet};

const PHONE: &str = "80:5e:c0:aa:bb:01";
const PC: &str = "3c:52:82:00:00:01";
const INFORM: u8 = 8;

fn setup(config: &str) -> Setup {
    let config = format!("[dhcp]\nmode = \"server\"\n{config}");
    Setup { accounts: ACCOUNTS.to_owned(), config }
}

#[test]
fn behind_a_relay_a_phone_gets_renews_and_gives_back_its_lease() {
    lab::run("dhcp_served::behind_a_relay_a_phone_gets_renews_and_gives_back_its_lease", |lab| {
        if !lab::has("dhcrelay") {
            return;
        }
        let server = lab.host("agent", "192.168.40.1/24");
        let router = lab.host_on("router", &[("lan", "192.168.40.254/24"), ("voice", "10.64.0.2/16")]);
        let phone = lab.phone("phone", PHONE, "voice", "169.254.9.9/32");
        // It took the pool's first address without asking anybody; behind a router a ping finds it.
        let squatter = lab.phone("squatter", "00:04:13:aa:bb:09", "voice", "10.64.0.10/16");
        lab.await_cables();
        squatter.ip(&["route", "replace", "default", "via", "10.64.0.2"]);
        router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        server.ip(&["route", "add", "10.64.0.0/16", "via", "192.168.40.254"]);
        let seen = server.capture();
        let config = "interfaces = [\"eth0\"]\nrelays = [\"10.64.0.2\"]\n[[dhcp.pool]]\ninterface = \"eth0\"\nrelay = \"10.64.0.2\"\n\
                      network = \"10.64.0.0/16\"\nrange = \"10.64.0.10-10.64.0.29\"\nrouter = \"10.64.0.2\"\ndns = []\n";
        let agent = Agent::start(lab, &server, &setup(config));
        agent.log("DHCP leases of 10.64.0.10-10.64.0.29 on eth0: they are given");
        agent.log("somebody uses 10.64.0.10 of the pool on eth0 without a lease; it rests for an hour");
        let pid = lab.folder().join("dhcrelay.pid").to_string_lossy().into_owned();
        let dhcrelay = unconfined("dhcrelay", lab.folder());
        let mut relay = router.spawn(&[
            &dhcrelay,
            "-4",
            "-d",
            "-a",
            "-pf",
            &pid,
            "-iu",
            "eth0",
            "-id",
            "eth1",
            "192.168.40.1",
        ]);
        relay.line("Listening on");
        let mut client = udhcpc(lab, &phone, "yealink", &[]);
        let bound = client.line("EVENT bound");
        for part in ["ip=10.64.0.11 ", "router=10.64.0.2 ", "server=192.168.40.1", "tftp=bad "] {
            assert!(bound.contains(part), "{part}: {bound}");
        }
        let given = moment(&agent, PHONE, "given");
        let relayed = &given["data"]["question"]["relay"];
        assert_eq!(
            (&relayed["address"], &relayed["circuit_id"]),
            (&"10.64.0.2".into(), &"eth1".into()),
            "{given}"
        );
        // It renews straight, past the relay.
        phone.ip(&["route", "replace", "default", "via", "10.64.0.2"]);
        signal(&client, "USR1");
        client.line("EVENT renew");
        let straight =
            |packet: &Packet| packet.source_port == 67 && packet.target.octets() == [10, 64, 0, 11];
        seen.expect("an answer to the phone's own address", straight);
        signal(&client, "USR2");
        lab::poll("the release", || {
            let leases = agent.json(&["dhcp", "leases"]);
            (leases.as_array().unwrap().iter().all(|lease| lease["state"] == "quarantined")).then_some(())
        });
    });
}

#[test]
fn everybody_is_served_where_it_says_so_and_nobody_but_phones_elsewhere() {
    lab::run("dhcp_served::everybody_is_served_where_it_says_so_and_nobody_but_phones_elsewhere", |lab| {
        let server = lab.host_on("agent", &[("lan", "192.168.40.1/24"), ("voice", "192.168.50.1/24")]);
        let pc = plug(lab, "pc", PC);
        let other = lab.phone("other", "3c:52:82:00:00:02", "voice", "169.254.9.9/32");
        lab.await_cables();
        let seen = server.capture();
        let voice = POOL.replace("eth0", "eth1").replace("192.168.40.", "192.168.50.");
        let config = format!("interfaces = [\"eth0\", \"eth1\"]\n{POOL}serve_all = true\n{voice}");
        let agent = Agent::start(lab, &server, &setup(&config));
        searched(&agent);
        agent.log("No other DHCP server answers on eth1");
        let bound =
            dhclient(lab, &pc, "request subnet-mask, routers, tftp-server-name;\n", SAY).line("BOUND ip=");
        assert!(bound.contains("ip=192.168.40.100 66="), "{bound}");
        assert!(bound.trim_end().ends_with("66="), "nothing about phones: {bound}");
        udhcpc(lab, &other, "MSFT 5.0", &["-n", "-t", "3", "-T", "1"]).line("no lease");
        assert_eq!(answers(&seen, "3c:52:82:00:00:02"), 0);
        lab::poll("what was not answered", || {
            let status = agent.json(&["dhcp", "status"]);
            let eth1 =
                status.as_array().unwrap().iter().find(|one| one["interface"] == "eth1").unwrap().clone();
            let silences = &eth1["counted"]["silences"];
            (silences["microsoft"].as_u64() >= Some(3) && eth1["counted"]["answers"] == serde_json::json!({}))
                .then_some(())
        });
    });
}

#[test]
fn a_dry_run_sends_nothing_and_says_what_it_would_have_sent() {
    lab::run("dhcp_served::a_dry_run_sends_nothing_and_says_what_it_would_have_sent", |lab| {
        let server = lab.host("agent", "192.168.40.1/24");
        let phone = plug(lab, "phone", PHONE);
        lab.await_cables();
        let seen = server.capture();
        let agent =
            Agent::start(lab, &server, &setup(&format!("interfaces = [\"eth0\"]\ndry_run = true\n{POOL}")));
        agent.log("DHCP leases of 192.168.40.100-192.168.40.119 on eth0");
        udhcpc(lab, &phone, "yealink", &["-n", "-t", "2", "-T", "1"]).line("no lease");
        let told = lab::poll("what would have been answered", || {
            let shown = agent.json(&["device", "show", PHONE]);
            let life = shown["timeline"].as_array().unwrap().clone();
            life.into_iter()
                .find(|moment| moment["text"].as_str().is_some_and(|text| text.contains("dry run")))
        });
        let text = told["text"].as_str().unwrap();
        assert!(text.contains("would answer its discover on eth0 with OFFER 192.168.40.100"), "{text}");
        assert!(text.contains("no server was heard to answer"), "{text}");
        let own = crate::dhcp_fleet::text(crate::dhcp_peers::mac_of(&server));
        let sent = seen.all(|packet| packet.source_mac == own && [67, 68].contains(&packet.source_port));
        assert!(sent.is_empty(), "{sent:?}");
        let status = agent.offhook(&["dhcp", "status"]);
        for part in ["a dry run", "would OFFER (discover) "] {
            assert!(status.contains(part), "{part}: {status}");
        }
        let leases = agent.json(&["dhcp", "leases", "--all"]);
        assert_eq!(leases, serde_json::json!([]));
    });
}

#[test]
fn an_address_that_a_client_declines_is_nobodys_for_an_hour() {
    lab::run("dhcp_served::an_address_that_a_client_declines_is_nobodys_for_an_hour", |lab| {
        let server = lab.host("agent", "192.168.40.1/24");
        let (phone, second) = (plug(lab, "phone", PHONE), plug(lab, "second", "80:5e:c0:aa:bb:02"));
        lab.await_cables();
        let agent = Agent::start(lab, &server, &setup(&format!("interfaces = [\"eth0\"]\n{POOL}")));
        searched(&agent);
        // Its script does not like the first address, so dhclient sends DECLINE and starts anew.
        let picky =
            format!("{SAY}[ \"$reason $new_ip_address\" = \"BOUND 192.168.40.100\" ] && exit 1\nexit 0\n");
        let mut client = dhclient(lab, &phone, "send vendor-class-identifier \"yealink\";\n", &picky);
        client.line("BOUND ip=192.168.40.100 ");
        client.line("DHCPDECLINE");
        assert_eq!(agent.alarmed("dhcp_conflict")["mac"], PHONE);
        client.line("BOUND ip=192.168.40.101 ");
        let leases = agent.json(&["dhcp", "leases"]);
        let declined =
            leases.as_array().unwrap().iter().find(|lease| lease["address"] == "192.168.40.100").unwrap();
        assert_eq!(
            (&declined["state"], &declined["duration_s"]),
            (&"quarantined".into(), &3_600.into()),
            "{leases}"
        );
        let bound = udhcpc(lab, &second, "yealink", &["-r", "192.168.40.100"]).line("EVENT bound");
        assert!(bound.contains("ip=192.168.40.102 "), "not even to who asks for it: {bound}");
    });
}

#[test]
fn a_server_whose_address_changes_goes_on_with_the_new_one_or_stands_down() {
    lab::run("dhcp_served::a_server_whose_address_changes_goes_on_with_the_new_one_or_stands_down", |lab| {
        let server = lab.host("agent", "192.168.40.1/24");
        let phone = plug(lab, "phone", PHONE);
        lab.await_cables();
        let seen = server.capture();
        let agent = Agent::start(lab, &server, &setup(&format!("interfaces = [\"eth0\"]\n{POOL}")));
        searched(&agent);
        let bind = || {
            let mut client = udhcpc(lab, &phone, "yealink", &[]);
            let bound = client.line("EVENT bound");
            phone.ip(&["address", "flush", "dev", "eth0"]);
            bound
        };
        let bound = bind();
        assert!(bound.contains("ip=192.168.40.100 ") && bound.contains("server=192.168.40.1"), "{bound}");
        server.run(&["sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=1"]);
        server.ip(&["address", "add", "192.168.40.2/24", "broadcast", "+", "dev", "eth0"]);
        server.ip(&["address", "del", "192.168.40.1/24", "dev", "eth0"]);
        lab::poll("the new address in its answers", || {
            let bound = bind();
            assert!(bound.contains("ip=192.168.40.100 "), "its lease is its lease: {bound}");
            bound.contains("server=192.168.40.2").then_some(())
        });
        let old = |packet: &Packet| packet.source_port == 67 && packet.source.octets() == [192, 168, 40, 1];
        let before = seen.count(old);
        server.ip(&["address", "add", "10.0.0.1/24", "broadcast", "+", "dev", "eth0"]);
        server.ip(&["address", "del", "192.168.40.2/24", "dev", "eth0"]);
        agent.log("is not within a network of eth0, which has 10.0.0.1/24");
        let silent = udhcpc(lab, &phone, "yealink", &["-n", "-t", "2", "-T", "1"]).line("no lease");
        assert!(!silent.is_empty());
        server.ip(&["address", "add", "192.168.40.3/24", "broadcast", "+", "dev", "eth0"]);
        lab::poll("leases again", || bind().contains("server=192.168.40.3").then_some(()));
        assert_eq!(seen.count(old), before, "nothing leaves from an address that it has no more");
    });
}

#[test]
fn answers_to_inform_that_nobody_sees_end_by_themselves() {
    lab::run("dhcp_served::answers_to_inform_that_nobody_sees_end_by_themselves", |lab| {
        let server = lab.host("agent", "192.168.40.1/24");
        let macs = [PHONE, "80:5e:c0:aa:bb:02", "00:04:13:aa:bb:03"];
        let phones: Vec<_> = (0_u8..)
            .zip(macs)
            .map(|(at, mac)| {
                let address = format!("192.168.40.{}", 51 + at);
                (lab.phone(&format!("phone{at}"), mac, "lan", &format!("{address}/24")), octets(mac), address)
            })
            .collect();
        lab.await_cables();
        let config = "[dhcp]\nmode = \"inform\"\ninterfaces = [\"eth0\"]\n".to_owned();
        let agent = Agent::start(lab, &server, &Setup { accounts: ACCOUNTS.to_owned(), config });
        let sockets: Vec<_> = phones.iter().map(|(host, ..)| host.udp("0.0.0.0:68")).collect();
        let inform = |at: usize, xid: u32| {
            let (_, mac, address) = &phones[at];
            let asked = Question::new(INFORM, *mac, xid).at(address.parse().unwrap()).with(55, &[66, 43]);
            sockets[at].send_to(&asked.bytes(), "192.168.40.1:67").unwrap();
        };
        let is_answered = |at: usize| {
            let mut bytes = [0; 1_500];
            let length = sockets[at].recv(&mut bytes).unwrap();
            assert_eq!(Answer::read(&bytes[..length]).unwrap().kind(), ACK);
        };
        // Nothing is answered before it is read whether it may be, so the first question is asked as clients do, again.
        sockets[0].set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        let is_heard = || {
            inform(0, 0);
            sockets[0].peek(&mut [0; 1]).ok()
        };
        lab::poll("the first answer", is_heard);
        sockets[0].set_read_timeout(Some(lab::PATIENCE)).unwrap();
        for round in 0..3 {
            for again in [false, true] {
                for at in 0..3 {
                    if (round, again, at) != (0, false, 0) {
                        inform(at, round);
                    }
                    if !(round == 2 && again && at == 2) {
                        is_answered(at);
                    }
                }
                let begun = Instant::now();
                lab::poll("somebody's patience", || {
                    (begun.elapsed() > Duration::from_millis(1_100)).then_some(())
                });
            }
            // One of them has seen something, so the next three are told anew.
            let request = Question::new(REQUEST, phones[0].1, 100 + round).with(54, &[192, 168, 40, 9]);
            sockets[0].send_to(&request.bytes(), "192.168.40.1:67").unwrap();
        }
        agent.log("DHCP on eth0 is switched off");
        assert_eq!(agent.alarmed("dhcp_unseen")["seen"], 3);
        agent.alarmed("dhcp_off");
        assert_eq!(agent.audited("dhcp_off")["detail"]["why"], "three alarms in a minute");
        for socket in &sockets {
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        }
        inform(0, 9);
        assert!(sockets[0].recv(&mut [0; 1_500]).is_err(), "nobody is answered");
        agent.offhook(&["dhcp", "on", "eth0"]);
        agent.log("DHCP on eth0 is switched on");
        inform(1, 10);
        is_answered(1);
    });
}
