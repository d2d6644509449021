//! `offhook scan` on networks of forty hosts: everybody is found, nobody is taken for a phone who is none, the kernel's
//! neighbour table hardly grows, and a scan that was killed goes on.

mod site;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use offhook::clock::{Clock, Timestamp};
use serde_json::Value;

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::arp::Farm;
use crate::lab::{self, Host, Lab, Packet};
use site::{Site, neighbours};

/// The agent's host with its configuration; the agent does not run.
struct Desk<'l> {
    host: &'l Host,
    config: PathBuf,
}

impl<'l> Desk<'l> {
    fn new(lab: &Lab, host: &'l Host) -> Self {
        let data = lab.folder().join("data");
        Self { host, config: lab.file("offhook.toml", format!("[agent]\ndata_dir = '{}'\n", data.display())) }
    }

    fn words<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        [&[OFFHOOK, "--config", self.config.to_str().unwrap()][..], words].concat()
    }

    fn command(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.host.command(&self.words(words)).output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let (exit, text, errors) = self.command(&[&["--json"], words].concat());
        println!("{words:?}: {exit}\n{text}{errors}");
        (exit, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}")))
    }

    fn scanned(&self, words: &[&str]) -> Value {
        let (exit, told) = self.json(&[&["scan"], words].concat());
        assert_eq!(exit, 0, "{told}");
        told
    }
}

/// Address and MAC of what was found.
fn found(told: &Value) -> BTreeMap<String, String> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = told["found"].as_array().unwrap();
    rows.iter().map(|row| (text(row, "address"), text(row, "mac"))).collect()
}

fn addresses(rows: &Value) -> Vec<String> {
    rows.as_array().unwrap().iter().map(|row| row["address"].as_str().unwrap().to_owned()).collect()
}

/// Whether a frame asks by ARP.
fn asks(packet: &Packet) -> bool {
    packet.ether_type == 0x0806 && packet.target_mac == "ff:ff:ff:ff:ff:ff"
}

/// All hosts of a network are found, and the phones among them are exactly the phones.
fn everybody(lab: &Lab, network: &str, first: Ipv4Addr, bits: u32) {
    let agent = lab.host("agent", &format!("{}/{bits}", Ipv4Addr::from(u32::from(first) + 1)));
    let site = Site::plug(lab, "lan", first, bits);
    let desk = Desk::new(lab, &agent);
    lab.await_cables();
    let before = neighbours(&agent);
    let told = desk.scanned(&[network, "--rate", "2000"]);
    assert_eq!(found(&told), site.phones());
    assert_eq!((&told["answered"], &told["phones"]), (&40.into(), &20.into()));
    let models = told["found"].as_array().unwrap().iter().map(|row| row["model"].clone());
    assert_eq!(models.filter(|model| model == "T38G" || model == "T46S").count(), 2, "known by their pages");
    assert_eq!(told["difference"], Value::Null, "the first scan is compared with none");
    let grown = neighbours(&agent) - before;
    assert!(grown <= 40, "{grown} neighbours more for 40 hosts");
    assert!(site.asked.load(Ordering::Relaxed) >= 20);
    // They are listed like phones that asked.
    let (_, waiting) = desk.json(&["device", "list", "--pending"]);
    let mut macs: Vec<&str> =
        waiting.as_array().unwrap().iter().map(|row| row["mac"].as_str().unwrap()).collect();
    macs.sort_unstable();
    let phones = site.phones();
    let mut expected: Vec<&str> = phones.values().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(macs, expected);
    let everybody = found(&desk.scanned(&[network, "--rate", "5000", "--all"]));
    let hosts = site.hosts.iter().map(|host| (host.address.to_string(), host.mac.clone()));
    assert_eq!(everybody, hosts.collect());
}

#[test]
fn all_of_a_slash_24_are_found_and_no_printer_is_a_phone() {
    lab::run("scan::all_of_a_slash_24_are_found_and_no_printer_is_a_phone", |lab| {
        everybody(lab, "192.168.7.0/24", Ipv4Addr::new(192, 168, 7, 0), 24);
    });
}

#[test]
fn all_of_a_slash_22_are_found_and_no_printer_is_a_phone() {
    lab::run("scan::all_of_a_slash_22_are_found_and_no_printer_is_a_phone", |lab| {
        everybody(lab, "10.20.4.0/22", Ipv4Addr::new(10, 20, 4, 0), 22);
    });
}

#[test]
fn a_slash_16_wants_a_confirmation_and_is_swept_at_a_high_rate() {
    lab::run("scan::a_slash_16_wants_a_confirmation_and_is_swept_at_a_high_rate", |lab| {
        let agent = lab.host("agent", "10.30.0.1/16");
        let farm = lab.host("farm", "10.30.0.2/16");
        farm.run(&["sh", "-c", "echo 8 > /proc/sys/net/ipv4/conf/eth0/arp_ignore"]);
        let _farm = Farm::start(&farm, Ipv4Addr::new(10, 30, 200, 77), 40);
        let desk = Desk::new(lab, &agent);
        lab.await_cables();
        let (exit, refused) = desk.json(&["scan", "10.30.0.0/16"]);
        assert_eq!((exit, &refused["error"]["code"]), (2, &"unconfirmed".into()));
        let text = refused["error"].to_string();
        for word in ["65534 addresses", "44 min at 50 a second", "--yes"] {
            assert!(text.contains(word), "{text}");
        }
        let before = neighbours(&agent);
        let told = desk.scanned(&["10.30.0.0/16", "--yes", "--all", "--rate", "30000"]);
        assert_eq!(found(&told).len(), 40, "everybody");
        assert_eq!((&told["answered"], &told["phones"], &told["hints"]), (&40.into(), &0.into(), &40.into()));
        let grown = neighbours(&agent) - before;
        assert!(grown <= 40, "{grown}");
    });
}

#[test]
fn what_has_changed_since_the_last_scan_is_told() {
    lab::run("scan::what_has_changed_since_the_last_scan_is_told", |lab| {
        let agent = lab.host("agent", "192.168.7.1/24");
        let site = Site::plug(lab, "lan", Ipv4Addr::new(192, 168, 7, 0), 24);
        let desk = Desk::new(lab, &agent);
        lab.await_cables();
        desk.scanned(&["--rate", "5000"]);
        assert!(desk.scanned(&["--rate", "5000"])["difference"]["new"].as_array().unwrap().is_empty());
        let [gone, moved, ..] = &site.hosts[..] else { panic!("forty hosts") };
        gone.host.ip(&["link", "set", "eth0", "down"]);
        moved.host.ip(&["address", "flush", "dev", "eth0"]);
        moved.host.ip(&["address", "add", "192.168.7.250/24", "dev", "eth0"]);
        let new = lab.phone("new", "00:15:65:99:99:99", "lan", "192.168.7.251/24");
        site::KINDS[0].answer(&new, Some("Yealink SIP-T46U 108.86.0.20"), &site.asked);
        lab::poll("the new cable", || {
            new.ip(&["-o", "link", "show", "eth0"]).contains("state UP").then_some(())
        });
        let told = desk.scanned(&["--rate", "5000"]);
        let difference = &told["difference"];
        assert_eq!(addresses(&difference["new"]), ["192.168.7.251"]);
        assert_eq!(addresses(&difference["gone"]), [gone.address.to_string()]);
        assert_eq!(addresses(&difference["moved"]), ["192.168.7.250"]);
        assert_eq!(difference["moved"][0]["before"], moved.address.to_string());
        assert_eq!(difference["changed"], Value::Array(Vec::new()));
    });
}

#[test]
fn a_scan_that_was_killed_goes_on_and_two_do_not_run_at_once() {
    lab::run("scan::a_scan_that_was_killed_goes_on_and_two_do_not_run_at_once", |lab| {
        let agent = lab.host("agent", "192.168.7.1/24");
        let site = Site::plug(lab, "lan", Ipv4Addr::new(192, 168, 7, 0), 24);
        let desk = Desk::new(lab, &agent);
        lab.await_cables();
        let seen = agent.capture();
        let mut first = agent.spawn(&desk.words(&["scan", "--rate", "60"]));
        seen.expect_count("a hundred and fifty questions", 150, asks);
        let (exit, busy) = desk.json(&["scan"]);
        assert_eq!((exit, &busy["error"]["code"]), (1, &"busy".into()));
        seen.expect_count("two hundred questions", 200, asks);
        first.line("00:15:65");
        first.kill();
        let before = seen.count(asks);
        let (exit, text, errors) = desk.command(&["scan", "--rate", "400"]);
        assert_eq!(exit, 0, "{text}{errors}");
        assert!(text.contains("going on where it stopped"), "{text}");
        assert!(text.contains("40 hosts answered, 20 phones"), "{text}");
        let after = seen.count(asks) - before;
        assert!(after < 400, "{after} questions after {before}");
        let told = desk.scanned(&["--rate", "5000"]);
        assert_eq!(found(&told), site.phones());
        let empty = Value::Array(Vec::new());
        for change in ["new", "gone", "moved", "changed"] {
            assert_eq!(told["difference"][change], empty, "{change}");
        }
    });
}

#[test]
fn who_stops_it_keeps_what_was_found() {
    lab::run("scan::who_stops_it_keeps_what_was_found", |lab| {
        let agent = lab.host("agent", "192.168.7.1/24");
        let _site = Site::plug(lab, "lan", Ipv4Addr::new(192, 168, 7, 0), 24);
        let desk = Desk::new(lab, &agent);
        lab.await_cables();
        let seen = agent.capture();
        let mut scan = agent.spawn(&desk.words(&["scan", "--rate", "60"]));
        seen.expect_count("a hundred questions", 100, asks);
        scan.line("00:");
        lab::tool(&["kill", "-INT", &scan.id().to_string()]);
        scan.line("the next scan of these networks goes on from here");
        lab::poll("its end", || scan.has_ended().then_some(()));
        let (_, waiting) = desk.json(&["device", "list", "--pending"]);
        assert!(!waiting.as_array().unwrap().is_empty());
        let (_, text, _) = desk.command(&["scan", "--rate", "5000", "--fresh"]);
        assert!(!text.contains("going on"), "{text}");
    });
}

#[test]
fn phones_behind_a_router_are_found_by_what_they_answer() {
    lab::run("scan::phones_behind_a_router_are_found_by_what_they_answer", |lab| {
        let agent = lab.host("agent", "10.66.0.1/24");
        let router = lab.host_on("router", &[("lan", "10.66.0.254/24"), ("far", "10.77.0.1/24")]);
        router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        agent.ip(&["route", "add", "10.77.0.0/24", "via", "10.66.0.254"]);
        let site = Site::plug(lab, "far", Ipv4Addr::new(10, 77, 0, 0), 24);
        for host in &site.hosts {
            host.host.ip(&["route", "replace", "default", "via", "10.77.0.1"]);
        }
        let desk = Desk::new(lab, &agent);
        lab.await_cables();
        let before = neighbours(&agent);
        let told = desk.scanned(&["10.77.0.0/24", "--rate", "500"]);
        let phones: Vec<String> = site.phones().into_keys().collect();
        assert_eq!(found(&told).into_keys().collect::<Vec<_>>(), phones);
        assert!(neighbours(&agent) <= before + 1, "nobody but the router");
    });
}

#[test]
fn two_hosts_with_one_address_are_told() {
    lab::run("scan::two_hosts_with_one_address_are_told", |lab| {
        let agent = lab.host("agent", "192.168.7.1/24");
        let _one = lab.phone("one", "00:15:65:00:00:01", "lan", "192.168.7.9/24");
        let _two = lab.phone("two", "00:04:13:00:00:02", "lan", "192.168.7.9/24");
        let desk = Desk::new(lab, &agent);
        lab.await_cables();
        let told = desk.scanned(&["192.168.7.0/28", "--rate", "500"]);
        let duplicate = &told["duplicates"][0];
        let mut macs = [&duplicate["first"], &duplicate["other"]].map(|mac| mac.as_str().unwrap_or_default());
        macs.sort_unstable();
        assert_eq!(
            (duplicate["address"].as_str(), macs),
            (Some("192.168.7.9"), ["00:04:13:00:00:02", "00:15:65:00:00:01"])
        );
    });
}

#[test]
fn nothing_is_sent_in_a_dry_run_and_a_missing_right_says_what_to_do() {
    lab::run("scan::nothing_is_sent_in_a_dry_run_and_a_missing_right_says_what_to_do", |lab| {
        let agent = lab.host("agent", "192.168.7.1/24");
        let _other = lab.phone("other", "00:15:65:00:00:01", "lan", "192.168.7.9/24");
        let desk = Desk::new(lab, &agent);
        lab.await_cables();
        let seen = agent.capture();
        let told = desk.scanned(&["--dry-run"]);
        assert_eq!((&told["addresses"], &told["seconds"]), (&254.into(), &11.into()));
        assert_eq!(seen.count(asks), 0);
        let config = desk.config.to_string_lossy();
        let user = ["unshare", "-U", "--map-user=1000", "--map-group=1000", OFFHOOK, "--config", &config];
        let output = agent.command(&[&user[..], &["scan"]].concat()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("setcap cap_net_raw+ep") && text.contains("eth0"), "{text}");
        let check = |words: &[&str], code: &str| {
            let (exit, error) = desk.json(words);
            assert_eq!((exit, &error["error"]["code"]), (2, &code.into()), "{words:?}");
        };
        check(&["scan", "127.0.0.0/8"], "no_hosts");
        check(&["scan", "10.0.0.0/8", "--yes"], "too_many");
        check(&["scan", "here"], "usage");
        check(&["scan", "--rate", "0"], "usage");
    });
}

#[test]
fn an_agent_scans_by_its_clock_and_not_in_quiet_hours() {
    lab::run("scan::an_agent_scans_by_its_clock_and_not_in_quiet_hours", |lab| {
        let host = lab.host("agent", "192.168.7.1/24");
        let phone = lab.phone("phone", "00:15:65:00:00:01", "lan", "192.168.7.9/24");
        site::KINDS[0].answer(&phone, Some("Yealink SIP-T46U 108.86.0.20"), &Arc::default());
        lab.await_cables();
        let config = "[scan]\nschedule = \"* * * * *\"\nnetworks = [\"192.168.7.0/28\"]\nrate = 500\njitter = \"0s\"\n\
                      quiet_hours = \"02:00-03:00\"\n[site]\ntimezone = \"Europe/Berlin\"\n";
        let mut agent = Agent::start(lab, &host, &Setup { config: config.to_owned(), ..Setup::default() });
        agent.log("The next scan begins at ");
        // Half past two in Berlin.
        let clock = Clock::manual(Timestamp(1_795_483_800_000));
        let _inside = agent.inside(&clock);
        let seen = host.capture();
        clock.advance(Duration::from_mins(25));
        // Its kernel asks for a few by itself; a scan asks for fourteen.
        assert!(seen.count(asks) < 10, "{}", seen.count(asks));
        clock.advance(Duration::from_mins(10));
        lab::poll("the scan", || {
            clock.advance(Duration::from_secs(1));
            (seen.count(asks) >= 14).then_some(())
        });
        let found = lab::poll("the phone to be found", || {
            clock.advance(Duration::from_secs(1));
            agent.device("00:15:65:00:00:01")
        });
        assert_eq!((&found["state"], &found["way"]), (&"pending".into(), &"one_touch_auto".into()));
    });
}
