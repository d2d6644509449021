//! Leases and answers to INFORM from the agent, to clients that it did not write: udhcpc, dhclient, dhcpcd, with what
//! phones write into options 60 and 55.

use std::time::{Duration, Instant};

use crate::agent::{Agent, Setup};
use crate::dhcp_peers::{self, Kind, Serving};
use crate::lab::{self, Capture, Host, Lab, Packet, Process};

pub(crate) const ACCOUNTS: &str = "mac,vendor,model,username,password\n\
                        80:5e:c0:aa:bb:01,yealink,T46U,201,kLease-201-secret\n\
                        80:5e:c0:aa:bb:02,yealink,T46U,202,kLease-202-secret\n\
                        00:04:13:aa:bb:03,snom,D785,203,kLease-203-secret\n";
/// Other servers are looked for so long: three questions, ten seconds apart.
const SEARCH: Duration = Duration::from_secs(27);
/// What the agent's pages of URLs begin with.
const ROOT: &str = "http://192.168.40.1:8480/";

/// A pool of twenty addresses.
pub(crate) const POOL: &str = "[[dhcp.pool]]\ninterface = \"eth0\"\nrange = \"192.168.40.100-192.168.40.119\"\n\
    router = \"192.168.40.1\"\ndns = [\"192.168.40.1\"]\ndomain = \"phones.example\"\nlease = \"10m\"\n";

fn setup() -> Setup {
    let config = format!("[dhcp]\nmode = \"server\"\ninterfaces = [\"eth0\"]\n{POOL}");
    Setup { accounts: ACCOUNTS.to_owned(), config }
}

/// A client without an address of that network.
pub(crate) fn plug(lab: &Lab, name: &str, mac: &str) -> Host {
    lab.phone(name, mac, "lan", "169.254.9.9/32")
}

/// Says what udhcpc was told, and sets the address as it wants it.
const SET: &str = "#!/bin/sh\necho \"EVENT $1 ip=$ip tftp=$tftp lease=$lease router=$router dns=$dns server=$serverid\"\n\
    [ \"$1\" = bound ] && ip address replace $ip/24 dev $interface\nexit 0\n";
/// Says what dhclient and dhcpcd were told.
pub(crate) const SAY: &str = "#!/bin/sh\necho \"$reason ip=$new_ip_address 66=$new_tftp_server_name\"\n";

fn script(lab: &Lab, name: &str, text: &str) -> String {
    let script = lab.file(name, text).to_string_lossy().into_owned();
    lab::tool(&["chmod", "+x", &script]);
    script
}

/// ISC dhclient with this configuration and this script.
pub(crate) fn dhclient(lab: &Lab, host: &Host, conf: &str, says: &str) -> Process {
    let program = dhcp_peers::unconfined("dhclient", lab.folder());
    let (conf, says) = (lab.file("dhclient.conf", conf), script(lab, "dhclient.sh", says));
    let (leases, pid) = (lab.file("dhclient.leases", ""), lab.folder().join("dhclient.pid"));
    let [conf, leases, pid] = [conf, leases, pid].map(|path| path.to_string_lossy().into_owned());
    let files = ["-sf", &says, "-cf", &conf, "-lf", &leases, "-pf", &pid];
    host.spawn(&[&[&program, "-4", "-d", "-v"][..], &files, &["eth0"]].concat())
}

/// busybox udhcpc, as this kind of client (option 60).
pub(crate) fn udhcpc(lab: &Lab, host: &Host, class: &str, more: &[&str]) -> Process {
    let script = script(lab, "udhcpc.sh", SET);
    let usual = ["busybox", "udhcpc", "-f", "-i", "eth0", "-s", &script, "-V", class, "-O", "tftp"];
    host.spawn(&[&usual, more].concat())
}

/// Waits until the agent has found nobody else.
pub(crate) fn searched(agent: &Agent<'_>) {
    agent.log("Looks for other DHCP servers on eth0");
    let begun = Instant::now();
    // Longer than one wait of the lab.
    lab::poll("half of the search", || (begun.elapsed() > SEARCH / 2).then_some(()));
    agent.log("No other DHCP server answers on eth0");
}

pub(crate) fn answers(seen: &Capture, to: &str) -> usize {
    let to = to.to_owned();
    seen.count(move |packet| packet.source_port == 67 && of(packet) == to)
}

/// Whose exchange a DHCP packet belongs to.
fn of(packet: &Packet) -> String {
    let octets = packet.payload.get(28..34).unwrap_or_default();
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

pub(crate) fn signal(process: &Process, name: &str) {
    lab::tool(&["kill", &format!("-{name}"), &process.id().to_string()]);
}

#[test]
fn real_clients_get_renew_and_release_leases_and_the_switch_silences_at_once() {
    lab::run(
        "dhcp_server::real_clients_get_renew_and_release_leases_and_the_switch_silences_at_once",
        |lab| {
            let server = lab.host("agent", "192.168.40.1/24");
            let phone = plug(lab, "phone", "80:5e:c0:aa:bb:01");
            let (second, pc) =
                (plug(lab, "second", "00:04:13:aa:bb:03"), plug(lab, "pc", "3c:52:82:00:00:01"));
            // It took the pool's first address without asking anybody.
            let _squatter = lab.host("squatter", "192.168.40.100/24");
            lab.await_cables();
            let seen = server.capture();
            let mut agent = Agent::start(lab, &server, &setup());
            assert_eq!(agent.audited("dhcp_mode")["detail"]["mode"], "server");
            searched(&agent);

            let mut client = udhcpc(lab, &phone, "yealink", &[]);
            let bound = client.line("EVENT bound");
            assert!(
                bound.contains("ip=192.168.40.101 "),
                "the address that is in use is not offered: {bound}"
            );
            // busybox shows no option 66 that is not a host's name, only that it is there.
            for part in ["tftp=bad ", "lease=600 ", "router=192.168.40.1 ", "server=192.168.40.1"] {
                assert!(bound.contains(part), "{part}: {bound}");
            }
            assert_eq!(agent.alarmed("dhcp_conflict")["seen"], 1);
            signal(&client, "USR1");
            client.line("EVENT renew");

            let mut pcs = udhcpc(lab, &pc, "MSFT 5.0", &["-n", "-t", "2", "-T", "1"]);
            pcs.line("no lease");
            assert_eq!(answers(&seen, "3c:52:82:00:00:01"), 0);

            // dhclient and dhcpcd, one after the other on the same host.
            let mut dhclient = dhclient(
                lab,
                &second,
                "send vendor-class-identifier \"snomD785\";\nrequest subnet-mask, routers, tftp-server-name;\n",
                SAY,
            );
            let bound = dhclient.line("BOUND ip=");
            assert!(bound.contains("ip=192.168.40.102 ") && bound.contains(ROOT), "{bound}");
            drop(dhclient);
            if lab::has("dhcpcd") {
                let mut dhcpcd = second.spawn(&[
                    "dhcpcd",
                    "-4",
                    "-B",
                    "-d",
                    "--noarp",
                    "-i",
                    "snomD785",
                    "-o",
                    "tftp_server_name",
                    "-c",
                    &script(lab, "say.sh", SAY),
                    "eth0",
                ]);
                assert!(
                    dhcpcd.line("leased").contains("192.168.40.102"),
                    "whoever comes back has its address"
                );
            }

            // The agent is killed: what it gave is still given, while it looks for others.
            agent.kill();
            agent.begin(&[]);
            agent.log("Looks for other DHCP servers");
            signal(&client, "USR1");
            let renewed = || client.output().matches("EVENT renew").count() == 2;
            lab::poll("the renewal after the kill", || renewed().then_some(()));
            let leases = agent.json(&["dhcp", "leases"]);
            assert_eq!(leases.as_array().unwrap().len(), 3, "two leases, one quarantine: {leases}");

            signal(&client, "USR2");
            lab::poll("the release", || {
                let leases = agent.json(&["dhcp", "leases"]);
                (leases.as_array().unwrap().iter().all(|lease| lease["address"] != "192.168.40.101"))
                    .then_some(())
            });
            drop(client);
            searched(&agent);
            agent.offhook(&["dhcp", "off", "--why", "a test"]);
            agent.log("DHCP on eth0 is switched off");
            let before = answers(&seen, "80:5e:c0:aa:bb:01");
            let mut refused = udhcpc(lab, &phone, "yealink", &["-n", "-t", "2", "-T", "1"]);
            refused.line("no lease");
            assert_eq!(answers(&seen, "80:5e:c0:aa:bb:01"), before);
            let row = agent.audited("dhcp_off");
            assert_eq!(
                (&row["detail"]["interface"], &row["detail"]["why"]),
                (&"all".into(), &"a test".into())
            );
            let status = agent.json(&["dhcp", "status"]);
            assert_eq!(status[0]["switch"]["state"], "off", "{status}");
        },
    );
}

#[test]
fn another_server_silences_the_agent_within_a_second() {
    lab::run("dhcp_server::another_server_silences_the_agent_within_a_second", |lab| {
        if !lab::has("dnsmasq") {
            return;
        }
        let server = lab.host("agent", "192.168.40.1/24");
        let other = lab.host("other", "192.168.40.2/24");
        let (phone, second) =
            (plug(lab, "phone", "80:5e:c0:aa:bb:01"), plug(lab, "second", "80:5e:c0:aa:bb:02"));
        lab.await_cables();
        let seen = server.capture();
        let agent = Agent::start(lab, &server, &setup());
        searched(&agent);
        let mut client = udhcpc(lab, &phone, "yealink", &[]);
        client.line("EVENT bound");

        let serving = Serving { network: [192, 168], third: 40, tftp_server: ROOT };
        let _dnsmasq = Kind::Dnsmasq.start(lab, &other, &serving);
        let foreign = dhcp_peers::mac_of(&other);
        let foreign = foreign.map(|octet| format!("{octet:02x}")).join(":");
        let _newcomer = udhcpc(lab, &second, "yealink", &["-B"]);
        seen.expect("the other server's first answer", |packet| {
            packet.source_mac == foreign && packet.source_port == 67
        });
        let first = Instant::now();
        agent.log("the DHCP server 192.168.40.2 answers there");
        assert!(first.elapsed() < Duration::from_secs(1), "{:?}", first.elapsed());
        let ours = |packet: &Packet| packet.source.octets() == [192, 168, 40, 1] && packet.source_port == 67;
        let before = seen.count(ours);
        let third = plug(lab, "third", "80:5e:c0:aa:bb:07");
        udhcpc(lab, &third, "yealink", &[]).line("EVENT bound");
        assert_eq!(before, seen.count(ours), "nobody new is answered");
        signal(&client, "USR1");
        client.line("EVENT renew");
        assert!(agent.alarmed("foreign_dhcp")["text"].as_str().unwrap().contains("192.168.40.2"));
        let (done, said) = agent.attempt(&["dhcp", "on", "eth0"]);
        assert!(!done && said.contains("come back in 14 min"), "{said}");
        let status = agent.json(&["dhcp", "status"]);
        assert_eq!(status[0]["switch"]["state"], "renew", "{status}");
    });
}
