//! Who is asking: a phone that moved, one whose address somebody else keeps, one behind a router, one that loses what it
//! is not told, and a host that guesses. The numbers are those of the specification's cases.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::lab::{self, Host};
use crate::release::{AT, FILE, MAC, SERVER, Site, curl, get, site};

#[test]
fn case_32_the_phone_gets_another_address_and_goes_on() {
    lab::run("release_who::case_32_the_phone_gets_another_address_and_goes_on", |lab| {
        site(lab, "", |site| {
            let first = get(&site.phone);
            site.phone.ip(&["address", "flush", "dev", "eth0", "scope", "global"]);
            site.phone.ip(&["address", "add", "192.168.1.150/24", "dev", "eth0"]);
            let moved = get(&site.phone);
            assert!(moved.is_full() && moved.body == first.body, "{moved:?}");
            let row = site.agent.audited("ip_change");
            assert_eq!((&row["detail"]["from"], &row["detail"]["to"]), (&AT.into(), &"192.168.1.150".into()));
            assert_eq!(site.agent.releases(MAC), 2);
        });
    });
}

#[test]
fn case_33_a_mac_that_is_at_two_addresses_is_a_clone() {
    lab::run("release_who::case_33_a_mac_that_is_at_two_addresses_is_a_clone", |lab| {
        site(lab, "", |site| {
            assert!(get(&site.phone).is_full());
            // The phone stays where it is; somebody with its MAC asks from another address.
            site.phone.ip(&["address", "add", "192.168.1.150/24", "dev", "eth0"]);
            let url = format!("http://{SERVER}:8480/{FILE}");
            let clone = curl(&site.phone, &url, &["--interface", "192.168.1.150"]);
            assert_eq!((clone.status, clone.body.contains("canary")), (403, false), "{clone:?}");
            let alarm = site.agent.alarmed("clone");
            assert_eq!(alarm["mac"], MAC, "{alarm}");
            assert_eq!(site.agent.releases(MAC), 1);
            site.agent.audited("refused");
        });
    });
}

/// A router between the agent's link and another one, and the phone behind it.
pub(crate) fn behind_a_router(site: &Site<'_>) -> (Host, Host) {
    let router = site.lab.host_on("router", &[("lan", "192.168.1.1/24"), ("far", "10.7.0.1/24")]);
    router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    site.agent.host().ip(&["route", "add", "10.7.0.0/24", "via", "192.168.1.1"]);
    let phone = site.lab.phone("routed", "00:04:13:00:00:99", "far", "10.7.0.100/24");
    phone.ip(&["route", "replace", "default", "via", "10.7.0.1"]);
    (router, phone)
}

#[test]
fn case_37_behind_a_router_only_the_token_counts() {
    lab::run("release_who::case_37_behind_a_router_only_the_token_counts", |lab| {
        site(lab, "", |site| {
            let (_router, routed) = behind_a_router(site);
            let nothing = curl(&routed, &format!("http://{SERVER}:8480/no-such-file"), &[]);
            let without = get(&routed);
            assert_eq!((without.status, without.body), (404, nothing.body));
            assert_eq!(site.agent.state(MAC), "staged");

            let rows = site.agent.json(&["url", MAC, "--host", SERVER]);
            let own = rows[0]["url"].as_str().expect("a URL").to_owned();
            let at = own.find("/d/").expect("a token in it");
            let other_digit = if own.contains("/d/a") { "/d/b" } else { "/d/a" };
            let guessed = format!("{}{other_digit}{}", &own[..at], &own[at + 4..]);
            assert_eq!(curl(&routed, &guessed, &[]).status, 404, "{guessed}");
            let with = curl(&routed, &own, &[]);
            assert!(with.is_full(), "{own}: {with:?}");
            let released = site.agent.audit("released");
            assert_eq!(released[0]["detail"]["identity"], 3, "{}", released[0]);
            // The window is that one's now: the URL proves it, and the MAC without it is another's.
            assert_eq!(get(&site.phone).status, 403);
            site.agent.alarmed("contention");
        });
    });
}

#[test]
fn case_48_a_phone_that_loses_what_it_is_not_told_gets_everything_always() {
    lab::run("release_who::case_48_a_phone_that_loses_what_it_is_not_told_gets_everything_always", |lab| {
        let folder = lab.folder().join("profiles/snom");
        std::fs::create_dir_all(&folder).unwrap();
        let profile = "schema = 1\ndisplay_name = \"Snom\"\nextends = \"snom\"\nretention = \"replace\"\n";
        std::fs::write(folder.join("profile.toml"), profile).unwrap();
        site(lab, "[profiles]\ndir = \"profiles\"\n", |site| {
            let first = get(&site.phone);
            assert!(first.is_full(), "{first:?}");
            site.agent.audited("acked");
            site.agent.end();
            site.agent.begin(&["unshare", "-T", "--boottime", "86400"]);
            let much_later = get(&site.phone);
            assert!(much_later.is_full() && much_later.body == first.body, "{much_later:?}");
            let other = lab.host("other", "192.168.1.50/24");
            let refused = get(&other);
            assert_eq!((refused.status, refused.body.contains("canary")), (404, false));
            site.agent.lock(MAC);
            lab::poll("the lock", || (get(&site.phone).status == 403).then_some(()));
        });
    });
}

/// How long the answer to a request of its own connection took; `None` when there was none.
fn timed(host: &Host, paths: &[String]) -> Vec<Option<Duration>> {
    host.inside(|| {
        let ask = |path: &String| {
            let server: SocketAddr = format!("{SERVER}:8480").parse().unwrap();
            let mut stream = TcpStream::connect(server).unwrap();
            stream.set_read_timeout(Some(lab::PATIENCE)).unwrap();
            let begun = Instant::now();
            stream
                .write_all(format!("GET /{path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes())
                .unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer.starts_with("HTTP/1.1 404").then(|| begun.elapsed())
        };
        paths.iter().map(ask).collect()
    })
}

#[test]
fn case_54_who_guesses_gets_three_answers_and_learns_nothing_from_their_time() {
    lab::run(
        "release_who::case_54_who_guesses_gets_three_answers_and_learns_nothing_from_their_time",
        |lab| {
            site(lab, "", |site| {
                // An unknown phone and a known one that it is not, in turns: two of the three that it may ask for.
                let curious = lab.host("curious", "192.168.1.51/24");
                let turns: Vec<String> =
                    (0..400).map(|turn| ["0004130000ff.xml", FILE][turn % 2].to_owned()).collect();
                let times = timed(&curious, &turns);
                let median = |which: usize| {
                    let mut all: Vec<Duration> =
                        times.iter().skip(which).step_by(2).flatten().copied().collect();
                    assert_eq!(all.len(), 200, "all are answered");
                    all.sort_unstable();
                    all[all.len() / 2]
                };
                let (unheard_of, known) = (median(0), median(1));
                println!("unknown {unheard_of:?}, refused {known:?}");
                let noise = Duration::from_millis(2).max(unheard_of);
                assert!(unheard_of.abs_diff(known) < noise, "unknown {unheard_of:?}, refused {known:?}");

                let guesser = lab.host("guesser", "192.168.1.50/24");
                let paths: Vec<String> = (0..1000).map(|n| format!("00041301{n:04x}.xml")).collect();
                let answered = timed(&guesser, &paths).iter().flatten().count();
                assert_eq!(answered, 3);
                assert_eq!(site.agent.alarmed("enumeration")["peer"], "192.168.1.50");
                assert_eq!(timed(&guesser, &[FILE.to_owned()]), [None], "nor is a right guess answered");
                assert!(get(&site.phone).is_full(), "the phone does not notice");
            });
        },
    );
}
