//! Who is behind an address, on real links: hosts that lie, move, are silent or look alike, and pins in the kernel's
//! table that outlive who made them.

mod fleet;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use offhook::clock::Clock;
use offhook::net::interfaces::Interfaces;
use offhook::net::neighbours::{
    Abilities, Behind, CloneSign, Evidence, Held, NeighbourOptions, Neighbours, Proved,
};
use tokio::runtime::Runtime;

use crate::arp;
use crate::lab::{self, Host, Lab};

const PHONE: &str = "00:15:65:f4:f9:e1";
const OTHER: &str = "00:15:65:00:00:02";
/// Long enough that nothing of it ends by itself within a test.
const LONG: Duration = Duration::from_mins(2);
/// Names the folder of the list, in a process that does nothing but hold a pin.
const CHILD: &str = "OFFHOOK_LAB_PIN";

/// An agent's neighbours, on a host of the lab.
struct Prover {
    runtime: Runtime,
    neighbours: Option<Neighbours>,
}

impl Prover {
    fn start(lab: &Lab, host: &Host, inherited_kept: Duration) -> Self {
        let list = lab.folder().join("pins");
        lab.await_cables();
        host.inside(|| Self::here(list, inherited_kept))
    }

    /// In the calling thread's namespace; the runtime's threads stay in it.
    fn here(pin_list: PathBuf, inherited_kept: Duration) -> Self {
        let runtime = Runtime::new().unwrap();
        let inside = runtime.enter();
        let interfaces = Interfaces::watch(Vec::new()).unwrap();
        // The kernel says some time after plugging in that a cable carries.
        lab::poll("eth0", || interfaces.current().interfaces().first().map(|_| ()));
        let neighbours = Neighbours::kernel(NeighbourOptions {
            interfaces,
            clock: Clock::System,
            may_send: true,
            pin_list: Some(pin_list),
            inherited_kept,
        })
        .unwrap();
        drop(inside);
        Self { runtime, neighbours: Some(neighbours) }
    }

    fn neighbours(&self) -> &Neighbours {
        self.neighbours.as_ref().unwrap()
    }

    fn prove(&self, peer: &str, mac: &str) -> Proved {
        self.runtime.block_on(self.neighbours().prove(address(peer), interface(), mac.parse().unwrap()))
    }

    /// What must be proved, and what is held by it.
    fn proved(&self, peer: &str, mac: &str) -> Held {
        match self.prove(peer, mac) {
            Proved::Yes(held) => held,
            other => panic!("{peer} is {mac}, but: {other:?}"),
        }
    }

    /// The sign that must be found.
    fn cloned(&self, peer: &str, mac: &str) -> CloneSign {
        match self.prove(peer, mac) {
            Proved::Clone(sign) => sign,
            other => panic!("{peer} is contested, but: {other:?}"),
        }
    }

    fn check(&self, peer: &str, mac: &str) -> Behind {
        self.runtime.block_on(self.neighbours().check(address(peer), interface(), mac.parse().unwrap()))
    }

    fn let_go(&self, held: Held) {
        drop(held);
        self.runtime.block_on(self.neighbours().settle());
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `lo` is the first interface of a host in the lab, its `eth0` the second.
fn interface() -> u32 {
    2
}

/// The kernel's line about an address.
fn entry(host: &Host, peer: &str) -> String {
    host.ip(&["neigh", "show", peer]).trim().to_owned()
}

/// An agent and a phone on one LAN.
fn pair(lab: &Lab) -> (Host, Host) {
    let agent = lab.host("agent", "192.168.1.35/24");
    (agent, lab.phone("phone", PHONE, "lan", "192.168.1.100/24"))
}

#[test]
fn a_phone_is_proved_and_pinned_with_a_cold_and_with_a_warm_table() {
    lab::run("neighbours::a_phone_is_proved_and_pinned_with_a_cold_and_with_a_warm_table", |lab| {
        let (agent, phone) = pair(lab);
        let prover = Prover::start(lab, &agent, LONG);
        assert_eq!(prover.neighbours().abilities(), Some(Abilities { pin: true, raw_arp: true }));
        for table in ["", "STALE"] {
            let before = entry(&agent, "192.168.1.100");
            assert!(before.ends_with(table), "{before}");
            let held = prover.proved("192.168.1.100", PHONE);
            let (first, second) =
                (prover.proved("192.168.1.100", PHONE), prover.proved("192.168.1.100", PHONE));
            assert!(held.pinned && held.moved_from.is_none());
            let pinned = entry(&agent, "192.168.1.100");
            assert!(pinned.contains(PHONE) && pinned.ends_with("PERMANENT"), "{pinned}");
            // Whoever is last lets go.
            prover.let_go(first);
            prover.let_go(held);
            assert!(entry(&agent, "192.168.1.100").ends_with("PERMANENT"));
            prover.let_go(second);
            let after = entry(&agent, "192.168.1.100");
            assert!(after.contains(PHONE) && after.ends_with("STALE"), "{after}");
        }
        let list = std::fs::read_to_string(lab.folder().join("pins")).unwrap();
        assert_eq!(list.lines().count(), 1, "{list}");
        // IPv6: by the kernel alone, which resolves a link-local peer.
        let local = lab::poll("a link-local address that is not tentative any more", || {
            let text = phone.ip(&["-6", "-o", "address", "show", "dev", "eth0", "scope", "link"]);
            let local = text.split_whitespace().nth(3)?.split('/').next()?.to_owned();
            (!text.contains("tentative")).then_some(local)
        });
        lab::poll("our own link-local address", || {
            (!agent.ip(&["-6", "address", "show", "dev", "eth0"]).contains("tentative")).then_some(())
        });
        let held = prover.proved(&local, PHONE);
        assert!(held.pinned && entry(&agent, &local).ends_with("PERMANENT"));
        prover.let_go(held);
        assert!(matches!(prover.prove(&local, OTHER), Proved::Other(mac) if mac.to_string() == PHONE));
    });
}

#[test]
fn another_phone_a_silent_address_and_an_administrators_entry_are_told_apart() {
    lab::run(
        "neighbours::another_phone_a_silent_address_and_an_administrators_entry_are_told_apart",
        |lab| {
            let (agent, _phone) = pair(lab);
            let prover = Prover::start(lab, &agent, LONG);
            assert!(
                matches!(prover.prove("192.168.1.100", OTHER), Proved::Other(mac) if mac.to_string() == PHONE)
            );
            let begun = Instant::now();
            assert!(matches!(prover.prove("192.168.1.77", PHONE), Proved::Silent));
            assert!(begun.elapsed() >= Duration::from_millis(300));
            assert_eq!(prover.check("192.168.1.77", PHONE), Behind::Silent);
            // What an administrator made permanent is believed, and stays as it is.
            agent.ip(&[
                "neigh",
                "replace",
                "192.168.1.78",
                "lladdr",
                OTHER,
                "nud",
                "permanent",
                "dev",
                "eth0",
            ]);
            assert!(matches!(prover.prove("192.168.1.78", PHONE), Proved::Other(_)));
            let held = prover.proved("192.168.1.78", OTHER);
            assert!(held.pinned);
            prover.let_go(held);
            assert!(entry(&agent, "192.168.1.78").ends_with("PERMANENT"));
        },
    );
}

#[test]
fn two_hosts_that_claim_one_address_are_a_clone_alarm() {
    lab::run("neighbours::two_hosts_that_claim_one_address_are_a_clone_alarm", |lab| {
        let (agent, _phone) = pair(lab);
        let _twin = lab.phone("twin", OTHER, "lan", "192.168.1.100/24");
        let prover = Prover::start(lab, &agent, LONG);
        for _ in 0..20 {
            assert_eq!(
                prover.cloned("192.168.1.100", PHONE),
                CloneSign::TwoAnswer { other: OTHER.parse().unwrap() }
            );
            assert!(matches!(prover.prove("192.168.1.100", OTHER), Proved::Clone(_)));
        }
        assert!(!entry(&agent, "192.168.1.100").ends_with("PERMANENT"));
    });
}

#[test]
fn who_answers_in_the_name_of_a_phone_without_its_ethernet_address_is_found_out() {
    lab::run(
        "neighbours::who_answers_in_the_name_of_a_phone_without_its_ethernet_address_is_found_out",
        |lab| {
            let (agent, attacker) =
                (lab.host("agent", "192.168.1.35/24"), lab.host("attacker", "192.168.1.66/24"));
            let mac = attacker.run(&["cat", "/sys/class/net/eth0/address"]).trim().to_owned();
            let prover = Prover::start(lab, &agent, LONG);
            let wire = arp::socket(&attacker);
            let proof = std::thread::scope(|scope| {
                let proof = scope.spawn(|| prover.prove("192.168.1.77", PHONE));
                while !proof.is_finished() {
                    wire.claim(&mac, PHONE, "192.168.1.77");
                    std::thread::yield_now();
                }
                proof.join().unwrap()
            });
            let Proved::Clone(CloneSign::Forged { by }) = proof else { panic!("{proof:?}") };
            assert_eq!(by.to_string(), mac);
        },
    );
}

/// Cases 32 and 33 of the release, and the attacker of case 36 when the phone comes.
#[test]
fn a_phone_that_has_moved_is_served_and_one_that_is_in_two_places_is_not() {
    lab::run("neighbours::a_phone_that_has_moved_is_served_and_one_that_is_in_two_places_is_not", |lab| {
        let (agent, phone) = pair(lab);
        let prover = Prover::start(lab, &agent, LONG);
        prover.let_go(prover.proved("192.168.1.100", PHONE));
        phone.ip(&["address", "flush", "dev", "eth0", "scope", "global"]);
        phone.ip(&["address", "add", "192.168.1.101/24", "dev", "eth0"]);
        let held = prover.proved("192.168.1.101", PHONE);
        assert_eq!(held.moved_from, Some(address("192.168.1.100")));
        prover.let_go(held);
        assert_eq!(prover.proved("192.168.1.101", PHONE).moved_from, None, "said once");
        // Somebody on another port of the switch has the same MAC at another address.
        let _clone = lab.phone("clone", PHONE, "lan", "192.168.1.102/24");
        lab.await_cables();
        let elsewhere = CloneSign::Elsewhere { address: address("192.168.1.101") };
        assert_eq!(prover.cloned("192.168.1.102", PHONE), elsewhere);
        assert!(!entry(&agent, "192.168.1.102").ends_with("PERMANENT"));
    });
}

/// The core of case 34.
#[test]
fn a_pinned_entry_survives_what_an_attacker_says() {
    lab::run("neighbours::a_pinned_entry_survives_what_an_attacker_says", |lab| {
        let (agent, _phone) = pair(lab);
        let attacker = lab.phone("attacker", OTHER, "lan", "192.168.1.66/24");
        let wire = arp::socket(&attacker);
        let prover = Prover::start(lab, &agent, LONG);
        let held = prover.proved("192.168.1.100", PHONE);
        let pin = held.pin.as_ref().unwrap();
        assert_eq!(pin.contested(), None);
        wire.claim(OTHER, OTHER, "192.168.1.100");
        let sign = prover.runtime.block_on(pin.contest());
        assert_eq!(sign, CloneSign::TwoAnswer { other: OTHER.parse().unwrap() });
        assert_eq!(pin.contested(), Some(sign));
        for _ in 0..200 {
            wire.claim(OTHER, OTHER, "192.168.1.100");
        }
        let pinned = entry(&agent, "192.168.1.100");
        assert!(pinned.contains(PHONE) && pinned.ends_with("PERMANENT"), "{pinned}");
        // While somebody fights for the address, nobody else gets anything there either.
        assert!(matches!(prover.prove("192.168.1.100", PHONE), Proved::Clone(_)));
        prover.let_go(held);
        // The same without a pin: the kernel believes it.
        let poisoned = lab::poll("the poisoned entry", || {
            wire.claim(OTHER, OTHER, "192.168.1.100");
            Some(entry(&agent, "192.168.1.100")).filter(|entry| entry.contains(OTHER))
        });
        assert!(!poisoned.ends_with("PERMANENT"), "{poisoned}");
        // The table is poisoned, and the attacker silent: what the phone answers does not agree with it at once, and
        // nothing is ever pinned for the attacker.
        match prover.prove("192.168.1.100", PHONE) {
            Proved::Yes(held) => assert!(held.pinned && entry(&agent, "192.168.1.100").contains(PHONE)),
            Proved::Clone(CloneSign::Table { other }) => assert_eq!(other.to_string(), OTHER),
            other => panic!("{other:?}"),
        }
    });
}

/// The process that is killed in the test below; by itself it does nothing.
#[test]
fn child_that_pins_and_is_killed() {
    let Some(list) = std::env::var_os(CHILD) else { return };
    let prover = Prover::here(list.into(), LONG);
    println!("abilities: {:?}", prover.neighbours().abilities());
    println!("proof: {:?}", prover.prove("192.168.1.100", PHONE));
    if std::env::var_os("OFFHOOK_LAB_STAY").is_some() {
        let _held = prover.proved("192.168.1.100", PHONE);
        println!("holding");
        loop {
            std::thread::park();
        }
    }
}

fn child<'a>(before: &[&'a str], list: &'a str, this: &'a str) -> Vec<&'a str> {
    let test = ["--exact", "neighbours::child_that_pins_and_is_killed", "--nocapture", "--test-threads=1"];
    [before, &["env", list, this], &test].concat()
}

#[test]
fn the_pins_of_an_agent_that_died_stay_for_a_while_and_then_go() {
    lab::run("neighbours::the_pins_of_an_agent_that_died_stay_for_a_while_and_then_go", |lab| {
        let (agent, _phone) = pair(lab);
        let list = lab.folder().join("pins");
        let this = std::env::current_exe().unwrap().display().to_string();
        let variable = format!("{CHILD}={}", list.display());
        lab.await_cables();
        let mut dying = agent.spawn(&child(&["env", "OFFHOOK_LAB_STAY=1"], &variable, &this));
        dying.line("holding");
        let id = i32::try_from(dying.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL).unwrap();
        drop(dying);
        assert!(entry(&agent, "192.168.1.100").ends_with("PERMANENT"));

        // Kept as long as the wait is not over, whoever holds it meanwhile, and listed again.
        let prover = Prover::start(lab, &agent, LONG);
        prover.let_go(prover.proved("192.168.1.100", PHONE));
        assert!(entry(&agent, "192.168.1.100").ends_with("PERMANENT"));
        assert!(std::fs::read_to_string(&list).unwrap().contains(PHONE));
        drop(prover);

        let _prover = Prover::start(lab, &agent, Duration::from_millis(50));
        lab::poll("the end of the inherited pin", || {
            entry(&agent, "192.168.1.100").ends_with("STALE").then_some(())
        });
        lab::poll("an empty list", || {
            (std::fs::read_to_string(&list).unwrap().lines().count() == 1).then_some(())
        });
    });
}

#[test]
fn without_the_rights_less_is_proved_and_it_is_known() {
    lab::run("neighbours::without_the_rights_less_is_proved_and_it_is_known", |lab| {
        let (agent, _phone) = pair(lab);
        let this = std::env::current_exe().unwrap().display().to_string();
        let variable = format!("{CHILD}={}", lab.folder().join("pins").display());
        let check = |before: &[&str], abilities: &str, pinned: &str| {
            agent.ip(&["neigh", "flush", "all"]);
            lab.await_cables();
            let text = agent.run(&child(before, &variable, &this));
            assert!(text.contains(abilities), "{before:?}\n{text}");
            assert!(text.contains("proof: Yes(") && text.contains(pinned), "{before:?}\n{text}");
        };
        check(
            &["setpriv", "--bounding-set", "-net_admin"],
            "Abilities { pin: false, raw_arp: true }",
            "pinned: false",
        );
        check(
            &["setpriv", "--bounding-set", "-net_raw"],
            "Abilities { pin: true, raw_arp: false }",
            "pinned: true",
        );
        // An ordinary user, and one who is root of a namespace that has no say over this network.
        let neither = "Abilities { pin: false, raw_arp: false }";
        check(&["unshare", "-U", "--map-user=1000", "--map-group=1000"], neither, "pinned: false");
        check(&["unshare", "-U", "--map-root-user"], neither, "pinned: false");
    });
}

#[test]
fn a_link_where_one_mac_answers_for_everybody_proves_nothing_and_a_switch_does() {
    lab::run(
        "neighbours::a_link_where_one_mac_answers_for_everybody_proves_nothing_and_a_switch_does",
        |lab| {
            let agent = lab.host("agent", "192.168.1.35/24");
            let proxy = lab.phone("proxy", OTHER, "lan", "192.168.1.1/24");
            for knob in
                ["ip_forward", "conf/eth0/proxy_arp", "conf/eth0/proxy_arp_pvlan", "conf/eth0/forwarding"]
            {
                proxy.run(&["sh", "-c", &format!("echo 1 > /proc/sys/net/ipv4/{knob}")]);
            }
            proxy.run(&["sh", "-c", "echo 0 > /proc/sys/net/ipv4/neigh/eth0/proxy_delay"]);
            let prover = Prover::start(lab, &agent, LONG);
            let behind = OTHER.parse().unwrap();
            lab::poll("the proxy to be noticed", || {
                (prover.neighbours().evidence(interface()) == Evidence::Indistinct { behind }).then_some(())
            });
            assert!(matches!(prover.prove("192.168.1.100", PHONE), Proved::Indistinct));
            assert!(matches!(prover.prove("192.168.1.1", OTHER), Proved::Indistinct));
            assert_eq!(prover.check("192.168.1.100", PHONE), Behind::Indistinct);
            drop(prover);

            let (agent, _phone) = (
                lab.host_on("near", &[("switch", "192.168.2.35/24")]),
                lab.phone("phone", PHONE, "switch", "192.168.2.100/24"),
            );
            let prover = Prover::start(lab, &agent, LONG);
            // A gateway is no phone, and who is behind it is nobody who could be told.
            agent.ip(&["route", "add", "default", "via", "192.168.2.100"]);
            assert_eq!(prover.neighbours().evidence(interface()), Evidence::Usable);
            assert!(matches!(prover.prove("192.168.2.100", OTHER), Proved::Other(_)));
            drop(prover.proved("192.168.2.100", PHONE));
            let prover = Prover::start(lab, &agent, LONG);
            assert!(lab::poll("the gateway to be known", || {
                matches!(prover.prove("192.168.2.100", OTHER), Proved::Indistinct).then_some(true)
            }));
        },
    );
}
