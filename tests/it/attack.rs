//! Attackers on the phone's own link: they win races, tell the agent where the phone is, take its MAC. The numbers are
//! those of the specification's cases. `OFFHOOK_RACES` says how often (tests/run: 1,000 times).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::Duration;

use offhook::clock::Clock;

use crate::agent::{Agent, Setup};
use crate::attack_wire::{ATTACKER, ATTACKER_MAC, Rig, silent};
use crate::lab::{self, Host, Lab};
use crate::release::{AT, FILE, MAC, SECRETS, SERVER, curl, get, site};
use crate::release_who::behind_a_router;

/// A poked agent has read by then what was written.
const SEEN_WITHIN: Duration = Duration::from_millis(50);

/// How often; a run of `cargo test` alone does a tenth.
pub(crate) fn times(all: usize) -> usize {
    let wanted = std::env::var("OFFHOOK_RACES").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(all / 10).min(all)
}

/// Whether a password is in these bytes, or the half of a long one that was cut in two.
pub(crate) fn has_secret(bytes: &[u8]) -> bool {
    let has = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    let [sip, web, menu] = SECRETS;
    [sip, web].iter().flat_map(|secret| [&secret[..7], &secret[8..]]).chain([menu]).any(has)
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

/// The one has the phone's MAC, the other the token of its URL.
#[test]
fn case_10_of_two_that_are_both_proven_one_is_served() {
    lab::run("attack::case_10_of_two_that_are_both_proven_one_is_served", |lab| {
        site(lab, "", |site| {
            let (_router, routed) = behind_a_router(site);
            let (mut phone, mut rival) = (Line::of(&site.phone), Line::of(&routed));
            let mut won = [0, 0];
            for run in 0..times(200) {
                if run > 0 {
                    site.agent.rearm(MAC);
                }
                let token = site.agent.token(MAC);
                silent(SEEN_WITHIN);
                let start = Barrier::new(2);
                let answers = std::thread::scope(|scope| {
                    let first = scope.spawn(|| {
                        start.wait();
                        phone.get(FILE)
                    });
                    start.wait();
                    // Proving the phone takes about 50 ms, a token none: so both come first now and then.
                    silent(Duration::from_millis(u64::try_from(run * 7 % 90).unwrap()));
                    [rival.get(&format!("d/{token}/{FILE}")), first.join().unwrap()]
                });
                let served = answers.iter().position(|(status, _)| *status == 200).expect("one is served");
                assert_eq!(answers[1 - served].0, 403, "run {run}");
                assert!(has_secret(&answers[served].1) && !has_secret(&answers[1 - served].1));
                won[served] += 1;
            }
            println!("the token came first {} times, the phone {} times", won[0], won[1]);
            // Decided in the same commit it is a row of its own; a moment later, one of the refusals of a minute.
            lab::poll("the audit", || {
                (site.agent.audit("contention").len() + site.agent.audit("refused").len() > 0).then_some(())
            });
            site.agent.alarmed("contention");
        });
    });
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

/// The same attack on an agent that lacks rights, which shows what each of them is good for: whether it succeeds.
fn attacked_without(name: &str, rights: &str, wins: bool) {
    lab::run(name, |lab| {
        site(lab, "[release]\nmax_releases = 1000000\n", |site| {
            site.agent.end();
            site.agent.begin(&["setpriv", &format!("--bounding-set={rights}")]);
            let mut rig = Rig::set(site);
            let rounds = if wins { 4 } else { times(240).div_ceil(Rig::AT_ONCE) };
            let won = (0..rounds).any(|number| {
                rig.round(site, number);
                rig.secrets() > 0
            });
            assert!(!site.agent.audit("released").is_empty(), "{}", site.agent.process().output());
            assert_eq!(won, wins, "{:?}\n{}", rig.heard(), site.agent.process().output());
        });
    });
}

#[test]
fn case_34_without_the_pin_the_connection_is_reset() {
    attacked_without("attack::case_34_without_the_pin_the_connection_is_reset", "-net_admin", false);
}

#[test]
fn case_34_without_the_pin_and_an_ear_the_attacker_wins() {
    let name = "attack::case_34_without_the_pin_and_an_ear_the_attacker_wins";
    attacked_without(name, "-net_admin,-net_raw", true);
}

#[test]
fn case_35_an_attacker_who_waits_for_the_end_of_the_pin_finds_no_connection() {
    lab::run("attack::case_35_an_attacker_who_waits_for_the_end_of_the_pin_finds_no_connection", |lab| {
        site(lab, "", |site| {
            let clock = Clock::manual(Clock::System.now());
            let _inside = site.agent.inside(&clock);
            let mut rig = Rig::set(site);
            let mut streams = rig.ask(site);
            lab::poll("the releases", || (site.agent.releases(MAC) > 10).then_some(()));
            assert!(site.agent.neighbour(AT).contains("PERMANENT"), "as long as the files are on their way");
            // Again for what left only while the time moved.
            lab::poll("the end of the pins", || {
                clock.advance(Duration::from_secs(121));
                (!site.agent.neighbour(AT).contains("PERMANENT")).then_some(())
            });
            rig.takes_over();
            rig.convince(site, ATTACKER_MAC);
            let ended = streams.iter_mut().map(is_reset).filter(|is_reset| *is_reset).count();
            assert_eq!(ended, streams.len(), "none is left to go on");
            rig.listen(&mut streams);
            assert_eq!((rig.secrets(), site.agent.audit("acked").len()), (0, 0));
        });
    });
}

/// Whether who still writes is told that there is no such connection: by the writing, or by the reading after it.
fn is_reset(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(lab::PATIENCE)).unwrap();
    let written = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
    let ended = written.and_then(|()| stream.read(&mut [0; 4096]).map(|_| ()));
    matches!(ended, Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
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
