//! Attackers on the phone's own link: they win races, tell the agent where the phone is, take its MAC. The numbers are
//! those of the specification's cases. OFFHOOK_RACES says how often (tests/run: 1,000 times).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;

use crate::agent::{Agent, Setup};
use crate::attack_wire::{ATTACKER, ATTACKER_MAC, Rig};
use crate::lab::{self, Host, Lab};
use crate::release::{AT, FILE, MAC, SECRETS, SERVER, curl, get, site};

/// How often, divided by what one of these costs more than another; a run of `cargo test` alone does a tenth.
pub(crate) fn times(all: usize) -> usize {
    let wanted = std::env::var("OFFHOOK_RACES").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(all / 10).min(all)
}

/// Whether a password, or half of one that was cut in two, is in these bytes.
pub(crate) fn has_secret(bytes: &[u8]) -> bool {
    let has = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    SECRETS.iter().any(|secret| has(&secret[..secret.len() / 2]) || has(&secret[secret.len() / 2..]))
}

/// A connection that is kept, and what it is answered.
struct Line(TcpStream);

impl Line {
    fn of(host: &Host) -> Self {
        let server: SocketAddr = format!("{SERVER}:8480").parse().unwrap();
        let stream = host.inside(|| TcpStream::connect(server).unwrap());
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(lab::PATIENCE)).unwrap();
        Self(stream)
    }

    /// Status and body of one request.
    fn get(&mut self, path: &str) -> (u16, Vec<u8>) {
        self.0.write_all(format!("GET /{path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 16_384]);
        loop {
            let octets = self.0.read(&mut buffer).unwrap();
            assert!(octets > 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..octets]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return (head[9..12].parse().unwrap(), body.as_bytes().to_vec());
            }
        }
    }
}

/// So many phones with a rival each, all on one link.
fn lanes(count: usize) -> String {
    let row = |lane| {
        format!("00:04:13:00:01:{lane:02x},snom,D785,3{lane:02},kSip-201-canary,kWeb-201-canary,70416253\n")
    };
    let rows: String = (0..count).map(row).collect();
    format!("mac,vendor,model,username,password,web_password,menu_password\n{rows}")
}

#[test]
fn case_10_of_the_phone_and_another_in_the_same_moment_the_phone_is_served() {
    lab::run("attack::case_10_of_the_phone_and_another_in_the_same_moment_the_phone_is_served", |lab| {
        let server = lab.host("agent", &format!("{SERVER}/24"));
        let setup = Setup { accounts: lanes(4), config: "[sip]\nregistrar = \"pbx\"\n".to_owned() };
        let agent = Agent::start(lab, &server, &setup);
        let runs = times(1000) / 4;
        let hosts: Vec<[Host; 2]> = (0..4).map(|lane| lane_hosts(lab, lane)).collect();
        std::thread::scope(|scope| {
            for (lane, hosts) in hosts.iter().enumerate() {
                let agent = &agent;
                scope.spawn(move || race(hosts, agent, lane, runs));
            }
        });
        assert_eq!(agent.audit("released").len(), runs * 4);
        assert_eq!(agent.audit("contention").len(), 0, "the other one never came so far");
    });
}

/// The phone of a lane and its rival.
fn lane_hosts(lab: &Lab, lane: usize) -> [Host; 2] {
    let phone = lab.phone(
        &format!("p{lane}"),
        &format!("00:04:13:00:01:{lane:02x}"),
        "lan",
        &format!("192.168.1.{}/24", 110 + lane),
    );
    [phone, lab.host(&format!("r{lane}"), &format!("192.168.1.{}/24", 210 + lane))]
}

/// Both ask at once, again and again, each time after a new arming.
fn race(hosts: &[Host; 2], agent: &Agent<'_>, lane: usize, runs: usize) {
    let (mac, path) = (format!("00:04:13:00:01:{lane:02x}"), format!("0004130001{lane:02X}.xml"));
    let [mut phone, mut rival] = hosts.each_ref().map(Line::of);
    let (start, path) = (&Barrier::new(2), path.as_str());
    for run in 0..runs {
        if run > 0 {
            agent.rearm(&mac);
        }
        let (served, denied) = std::thread::scope(|scope| {
            let asks = move |line: &mut Line| {
                start.wait();
                line.get(path)
            };
            let phone = &mut phone;
            let served = scope.spawn(move || asks(phone));
            let denied = asks(&mut rival);
            (served.join().unwrap(), denied)
        });
        assert_eq!((served.0, has_secret(&served.1)), (200, true), "run {run}");
        assert_eq!((denied.0, has_secret(&denied.1)), (404, false), "run {run}");
    }
}

#[test]
fn case_34_an_attacker_who_answers_for_the_phone_gets_nothing() {
    lab::run("attack::case_34_an_attacker_who_answers_for_the_phone_gets_nothing", |lab| {
        site(lab, "[release]\nmax_releases = 1000000\n", |site| {
            let mut rig = Rig::set(site);
            let rounds = times(1000).div_ceil(Rig::AT_ONCE);
            for number in 0..rounds {
                rig.round(site, number);
            }
            let released = site.agent.audit("released").len();
            println!(
                "{} requests from the attacker, {released} releases to the phone: {:?}",
                rounds * Rig::AT_ONCE,
                rig.heard()
            );
            assert!(
                released > 0,
                "the attacker came as far as the release:\n{}",
                site.agent.process().output()
            );
            assert_eq!(rig.secrets(), 0);
            rig.end(site);
            assert!(get(&site.phone).is_full(), "and the phone gets its file");
        });
    });
}

/// The same attack on an agent that may not pin: it shows that the attack is one, and why the pin is there.
#[test]
fn case_34_without_the_pin_the_same_attacker_wins() {
    lab::run("attack::case_34_without_the_pin_the_same_attacker_wins", |lab| {
        site(lab, "[release]\nmax_releases = 1000000\n", |site| {
            site.agent.end();
            site.agent.begin(&["setpriv", "--bounding-set=-net_admin"]);
            let mut rig = Rig::set(site);
            let won = (0..4).any(|number| {
                rig.round(site, number);
                rig.secrets() > 0
            });
            assert!(won, "{:?}\n{}", rig.heard(), site.agent.process().output());
        });
    });
}

#[test]
fn case_36_a_cloned_mac_is_served_and_noticed_when_the_phone_appears() {
    lab::run("attack::case_36_a_cloned_mac_is_served_and_noticed_when_the_phone_appears", |lab| {
        site(lab, "", |site| {
            site.phone.ip(&["link", "set", "eth0", "down"]);
            let clone = lab.phone("clone", MAC, "lan", "192.168.1.150/24");
            assert!(get(&clone).is_full(), "who has the MAC is the phone while the phone is silent");
            assert_eq!(site.agent.audit("released")[0]["detail"]["peer"], "192.168.1.150");
            site.phone.ip(&["link", "set", "eth0", "up"]);
            let url = format!("http://{SERVER}:8480/{FILE}");
            let phone = lab::poll("an answer to the phone", || {
                Some(curl(&site.phone, &url, &["--connect-timeout", "2"])).filter(|got| got.status > 0)
            });
            assert_eq!((phone.status, has_secret(phone.body.as_bytes())), (403, false), "{phone:?}");
            let alarm = site.agent.alarmed("clone");
            assert_eq!((&alarm["mac"], &alarm["peer"]), (&MAC.into(), &AT.into()), "{alarm}");
        });
    });
}

#[test]
fn a_host_that_takes_the_phones_address_is_not_the_phone() {
    lab::run("attack::a_host_that_takes_the_phones_address_is_not_the_phone", |lab| {
        site(lab, "", |site| {
            assert!(get(&site.phone).is_full());
            site.phone.ip(&["link", "set", "eth0", "down"]);
            let thief = lab.phone("thief", ATTACKER_MAC, "lan", &format!("{ATTACKER}/24"));
            thief.ip(&["address", "add", &format!("{AT}/24"), "dev", "eth0"]);
            let url = format!("http://{SERVER}:8480/{FILE}");
            let got = lab::poll("an answer to the thief", || {
                let options = ["--interface", AT, "--connect-timeout", "2"];
                Some(curl(&thief, &url, &options)).filter(|got| got.status > 0)
            });
            assert_eq!((got.status, has_secret(got.body.as_bytes())), (404, false), "{got:?}");
            assert_eq!(site.agent.releases(MAC), 1);
        });
    });
}
