//! Whole fleets at once: what a proof costs, and whether a storm that no table knows is answered.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use offhook::net::neighbours::{Behind, Proved};

use super::{LONG, Prover, interface};
use crate::agent::{Agent, Setup};
use crate::{arp, lab};

/// Where the fleet's addresses begin.
const FLEET: Ipv4Addr = Ipv4Addr::new(10, 0, 16, 0);

/// The address of the fleet's phone of this number.
fn phone_of(number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(FLEET) + number).into()
}

/// What a release costs: a fleet is proved at the budget's thousand a second, and each phone waits little longer than
/// the time in which a second host could answer.
#[test]
fn a_fleet_is_proved_at_the_budget_s_pace() {
    lab::run("neighbours::fleet::a_fleet_is_proved_at_the_budget_s_pace", |lab| {
        let count =
            std::env::var("OFFHOOK_LAB_FLEET").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000);
        let (agent, farm) = (lab.host("agent", "10.0.0.1/16"), lab.host("farm", "10.0.0.2/16"));
        let _farm = arp::Farm::start(&farm, FLEET, count);
        let prover = Prover::start(lab, &agent, LONG);
        let begun = Instant::now();
        let proofs: Vec<_> = (0..count)
            .map(|number| {
                let neighbours = prover.neighbours().clone();
                let peer = phone_of(number);
                prover.runtime.spawn(async move {
                    let mac = arp::mac(number).parse().unwrap();
                    let proof = neighbours.prove(peer, interface(), mac).await;
                    (matches!(&proof, Proved::Yes(held) if held.pinned), begun.elapsed(), proof)
                })
            })
            .collect();
        let outcomes: Vec<_> =
            proofs.into_iter().map(|proof| prover.runtime.block_on(proof).unwrap()).collect();
        let whole = begun.elapsed();
        let failed = outcomes.iter().filter(|(yes, ..)| !yes).count();
        assert_eq!(failed, 0, "{:?}", outcomes.iter().find(|(yes, ..)| !yes));
        let permanent = agent.ip(&["neigh", "show", "nud", "permanent"]).lines().count();
        assert_eq!(permanent, usize::try_from(count).unwrap());
        let looked = Instant::now();
        for number in 0..count {
            let (peer, mac) = (phone_of(number), arp::mac(number).parse().unwrap());
            assert_eq!(prover.neighbours().glance(peer, interface(), mac), Some(Behind::Same));
        }
        let glance = looked.elapsed() / count;
        // Entries that are no longer pinned would fill the kernel's table, which all namespaces of the machine share.
        agent.ip(&["neigh", "flush", "nud", "permanent", "dev", "eth0"]);
        drop(outcomes);
        prover.runtime.block_on(prover.neighbours().settle());
        assert_eq!(agent.ip(&["neigh", "show", "to", "10.0.16.0/20"]), "", "nothing comes back");
        // One after the other, so that nobody waits for a turn.
        let mut waits: Vec<Duration> = (0..100)
            .map(|number| {
                let peer = phone_of(number).to_string();
                let begun = Instant::now();
                drop(prover.proved(&peer, &arp::mac(number)));
                begun.elapsed()
            })
            .collect();
        waits.sort_unstable();
        println!(
            "{count} phones proved and pinned in {:.2} s; one alone takes {:.1} ms (p50), {:.1} ms (p99); a glance at \
             the table takes {glance:?}",
            whole.as_secs_f64(),
            waits[49].as_secs_f64() * 1e3,
            waits[98].as_secs_f64() * 1e3
        );
        let due = f64::from(count.saturating_sub(1_000)) / 1_000.0;
        assert!(whole.as_secs_f64() < due + 5.0, "{whole:?}");
        assert!(waits[49] < Duration::from_millis(150), "{:?}", waits[49]);
    });
}

/// Phones multicast without having asked for us by ARP first, so a fleet that boots beside an agent that has just
/// started itself is not in its neighbour table.
#[test]
fn a_fleet_that_no_table_knows_is_answered_at_once() {
    lab::run("neighbours::fleet::a_fleet_that_no_table_knows_is_answered_at_once", |lab| {
        let count: u32 = 400;
        let (server, farm) = (lab.host("agent", "10.0.0.1/16"), lab.host("farm", "10.0.0.2/16"));
        let mut accounts = "mac,vendor,model,username,password\n".to_owned();
        let mut addresses = String::new();
        for number in 0..count {
            writeln!(accounts, "{},yealink,T46U,{},kFleet-secret", arp::mac(number), 1_000 + number).unwrap();
            writeln!(addresses, "address add {}/16 dev eth0", phone_of(number)).unwrap();
        }
        farm.ip(&["-batch", &lab.file("addresses", addresses).to_string_lossy()]);
        // The phones answer with MACs of their own, so the host that plays them does not.
        farm.run(&["sh", "-c", "echo 8 > /proc/sys/net/ipv4/conf/eth0/arp_ignore"]);
        let _farm = arp::Farm::start(&farm, FLEET, count);
        let config = "[sip]\nregistrar = \"pbx\"\n".to_owned();
        let _agent = Agent::start(lab, &server, &Setup { accounts, config });
        lab.await_cables();
        let sockets: Vec<_> =
            (0..count).map(|number| farm.udp(&format!("{}:5060", phone_of(number)))).collect();
        let seen = server.capture();
        let begun = Instant::now();
        for (number, socket) in (0..count).zip(&sockets) {
            let (mac, address) = (arp::mac(number).replace(':', ""), phone_of(number));
            let text = format!(
                "SUBSCRIBE sip:MAC%3a{mac}@224.0.1.75 SIP/2.0\r\nVia: SIP/2.0/UDP {address}:5060;rport\r\n\
                 From: <sip:MAC%3a{mac}@224.0.1.75>;tag=1\r\nTo: <sip:MAC%3a{mac}@224.0.1.75>\r\n\
                 Call-ID: {number}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:{address}:5060>\r\n\
                 Event: ua-profile;profile-type=\"device\";vendor=\"Yealink\";model=\"T46U\";version=\"1\"\r\n\
                 Expires: 0\r\nAccept: application/url\r\nContent-Length: 0\r\n\r\n"
            );
            let IpAddr::V4(address) = address else { unreachable!("the fleet has IPv4") };
            socket2::SockRef::from(socket).set_multicast_if_v4(&address).unwrap();
            socket.send_to(text.as_bytes(), "224.0.1.75:5060").unwrap();
        }
        let is_ok =
            |packet: &lab::Packet| packet.source_port == 5065 && packet.payload.starts_with(b"SIP/2.0 200");
        seen.expect_count("the 200 of every phone", usize::try_from(count).unwrap(), is_ok);
        println!("{count} phones that no table knew were answered within {:?}", begun.elapsed());
    });
}
