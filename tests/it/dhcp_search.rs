//! The search before the first lease: agents that want to serve one network, and a person who switches off meanwhile.

use std::time::{Duration, Instant};

use crate::agent::{Agent, Setup};
use crate::dhcp_server::{ACCOUNTS, POOL, plug, searched, udhcpc};
use crate::lab::{self, Lab, Packet};

/// Between two questions of a search, and some more.
const UNTIL_THE_NEXT: Duration = Duration::from_secs(12);

fn setup() -> Setup {
    let config = format!("[dhcp]\nmode = \"server\"\ninterfaces = [\"eth0\"]\n{POOL}");
    Setup { accounts: ACCOUNTS.to_owned(), config }
}

fn agent<'a>(lab: &Lab, host: &'a lab::Host, name: &str) -> Agent<'a> {
    let folder = lab.folder().join(name);
    std::fs::create_dir(&folder).unwrap();
    Agent::on(&folder, host, &setup())
}

#[test]
fn of_agents_for_one_network_one_serves_and_the_others_leave_it_to_that_one() {
    lab::run(
        "dhcp_search::of_agents_for_one_network_one_serves_and_the_others_leave_it_to_that_one",
        |lab| {
            let hosts =
                [2, 3, 1].map(|last| lab.host(&format!("agent{last}"), &format!("192.168.40.{last}/24")));
            let phone = plug(lab, "phone", "80:5e:c0:aa:bb:01");
            lab.await_cables();
            let seen = phone.capture();
            let [mut first, mut second, mut third] =
                [0, 1, 2].map(|at| agent(lab, &hosts[at], &format!("agent{at}")));
            std::thread::scope(|scope| {
                let both = [&mut first, &mut second].map(|agent| scope.spawn(|| agent.begin(&[])));
                for begun in both {
                    begun.join().unwrap();
                }
            });
            let words = "the DHCP server 192.168.40.2 answers there";
            second.log(words);
            searched(&first);
            first.log("DHCP leases of 192.168.40.100-192.168.40.119 on eth0 are given");
            // The smallest address of all, and too late.
            third.begin(&[]);
            third.log(words);
            let bound = udhcpc(lab, &phone, "yealink", &[]).line("EVENT bound");
            assert!(bound.contains("server=192.168.40.2"), "{bound}");
            let serving = |packet: &Packet| packet.source_port == 67 && packet.source.octets()[3] != 2;
            assert_eq!(seen.all(serving).len(), 0, "nobody else answers");
            for agent in [&second, &third] {
                assert!(agent.alarmed("foreign_dhcp")["text"].as_str().unwrap().contains("192.168.40.2"));
                assert!(!agent.process_output().contains("No other DHCP server answers"));
            }
            lab::poll("its status", || {
                let status = first.json(&["dhcp", "status"]);
                let counted = status[0]["counted"]["answers"]["OFFER (search)"].as_u64();
                (status[0]["pools"][0]["state"] == "serving" && counted >= Some(1)).then_some(())
            });
        },
    );
}

#[test]
fn who_switches_off_in_the_middle_of_a_search_hears_no_more_of_it() {
    lab::run("dhcp_search::who_switches_off_in_the_middle_of_a_search_hears_no_more_of_it", |lab| {
        let server = lab.host("agent", "192.168.40.1/24");
        lab.await_cables();
        let seen = server.capture();
        let mut agent = agent(lab, &server, "agent");
        agent.begin(&[]);
        let asked = |packet: &Packet| packet.target_port == 67;
        seen.expect("the first question", asked);
        agent.offhook(&["dhcp", "off"]);
        agent.log("DHCP on eth0 is switched off");
        let off = Instant::now();
        lab::poll("the time of the next question", || (off.elapsed() > UNTIL_THE_NEXT).then_some(()));
        assert_eq!(seen.count(asked), 1, "nothing is asked any more");
        agent.offhook(&["dhcp", "on", "eth0"]);
        seen.expect_count("a search from its beginning", 2, asked);
        assert!(!agent.process_output().contains("No other DHCP server answers"));
    });
}

#[test]
fn who_only_looks_for_servers_stops_at_once_as_well() {
    lab::run("dhcp_search::who_only_looks_for_servers_stops_at_once_as_well", |lab| {
        let server = lab.host("agent", "192.168.40.1/24");
        lab.await_cables();
        let seen = server.capture();
        let mut agent = Agent::start(
            lab,
            &server,
            &Setup { config: "[dhcp]\nprobe = true\n".into(), ..Setup::default() },
        );
        let asked = |packet: &Packet| packet.target_port == 67;
        seen.expect("the first question", asked);
        agent.offhook(&["dhcp", "off"]);
        agent.end();
        // Its turn on this interface is over; another one begins.
        for name in std::fs::read_dir(lab.folder().join("data")).unwrap().flatten() {
            if name.file_name().to_string_lossy().starts_with("dhcp-probe.") {
                std::fs::remove_file(name.path()).unwrap();
            }
        }
        agent.begin(&[]);
        let off = Instant::now();
        lab::poll("the time of the next question", || (off.elapsed() > UNTIL_THE_NEXT).then_some(()));
        assert_eq!(seen.count(asked), 1, "nothing is asked any more");
        agent.offhook(&["dhcp", "on", "eth0"]);
        agent.end();
        agent.begin(&[]);
        seen.expect_count("after a start", 2, asked);
        agent.offhook(&["dhcp", "off", "eth0"]);
        let off = Instant::now();
        lab::poll("the time of the next question", || (off.elapsed() > UNTIL_THE_NEXT).then_some(()));
        assert_eq!(seen.count(asked), 2, "in the middle of a search");
    });
}

#[test]
fn addresses_in_use_are_known_before_the_first_phone_asks() {
    lab::run("dhcp_search::addresses_in_use_are_known_before_the_first_phone_asks", |lab| {
        let server = lab.host("agent", "192.168.40.1/24");
        // Without the sweep, three of them would be three alarms in the first minute.
        let squatters =
            [100, 101, 103, 104].map(|last| lab.host(&format!("pc{last}"), &format!("192.168.40.{last}/24")));
        let phone = plug(lab, "phone", "80:5e:c0:aa:bb:01");
        lab.await_cables();
        let seen = squatters[0].capture();
        let mut agent = agent(lab, &server, "agent");
        agent.begin(&[]);
        let alarm = agent.alarmed("dhcp_conflict");
        let text = alarm["text"].as_str().unwrap();
        assert!(text.contains("uses 192.168.40.100 of the pool") && text.contains("and 3 more"), "{text}");
        let asks = |packet: &Packet| packet.ether_type == 0x0806;
        let swept = seen.count(asks);
        assert!(swept <= 2 * 20 + 8, "two questions for each free address at most: {swept}");
        searched(&agent);
        let bound = udhcpc(lab, &phone, "yealink", &[]).line("EVENT bound");
        assert!(bound.contains("ip=192.168.40.102 "), "{bound}");
        let status = lab::poll("its status", || {
            let status = agent.json(&["dhcp", "status"]);
            (status[0]["pools"][0]["state"] == "serving").then_some(status)
        });
        let leases = status[0]["leases"].as_array().unwrap();
        assert_eq!(leases.iter().filter(|lease| lease["state"] == "quarantined").count(), 4, "{status}");
        let alarms = agent.json(&["alarm", "list"]);
        assert_eq!(alarms.as_array().unwrap().len(), 1, "{alarms}");
    });
}
