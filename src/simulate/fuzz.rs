//! Nothing that a server sends can panic a simulated phone: its readers take mutated messages of every kind, from a fixed
//! seed. `OFFHOOK_FUZZ=1000000` says how many for each reader; the usual run takes fewer.

use super::digest::Challenge;
use super::habits::Habits;
use super::http::Head;
use super::meaning;
use super::notify;
use super::read::Contents;
use super::scripted::{phone, sheet};
use super::settings::Settings;
use super::sip::Message;
use super::subscribe::{Draws, Subscription};
use super::tftp::Transfer;
use super::url::Url;

const USUAL_ROUNDS: usize = 20_000;

/// Splitmix64: small, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        const TELLING: &[u8] = b"\0\r\n \t:;=,\"<>@/%\\{}$&#!0189aZ\xff\xc3\x80";
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
                2 if at < bytes.len() => bytes[at] = TELLING[self.below(TELLING.len())],
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                4 => {
                    let end = (at + self.below(40)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                _ => {
                    let end = (at + self.below(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        bytes
    }
}

fn check(seeds: &[&[u8]], seed: u64, read: impl Fn(&[u8])) {
    let rounds = std::env::var("OFFHOOK_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(USUAL_ROUNDS);
    let mut dice = Dice(seed);
    for round in 0..rounds {
        let input = dice.mutate(seeds[round % seeds.len()]);
        read(&input);
    }
}

#[test]
fn no_sip_message_panics_a_phone() {
    let habits = Habits::of(&phone("snom", "00135E874B49"));
    let local = "172.16.18.90:5060".parse().unwrap();
    let subscription = Subscription::new(&habits, local, Draws { tag: 658_512_961, call: 1 });
    let subscription = subscription.unwrap();
    let notify_bytes: &[u8] = include_bytes!("../../tests/captures/snom720-snompnpd-notify.sip");
    let success = b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 172.16.18.90:5060;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: \"x\" <sip:a@b>;tag=2\r\n\
        Call-ID: 1@172.16.18.90\r\nCSeq: 1 SUBSCRIBE\r\nContent-Length: 0\r\n\r\n";
    let accepted = Message::read(success).unwrap();
    check(&[notify_bytes, success, &subscription.bytes], 1, |bytes| {
        if let Some(message) = Message::read(bytes) {
            let _ = notify::judge(&message, &subscription, Some(&accepted));
            let _ = notify::judge_success(&message, &subscription);
            let _ = super::sip::respond(&message, "200 OK", "t", &[]);
        }
    });
}

#[test]
fn no_file_panics_a_phone() {
    let xml = br#"<?xml version="1.0"?><settings><phone-settings><user_name idx="1" perm="R">1&amp;</user_name><user_host idx="1">h:5060;transport=tcp</user_host>
        </phone-settings><functionKeys><fkey idx="0">line</fkey></functionKeys></settings>"#;
    let list = br#"<setting-files><file url="http://h/{mac}.xml"/></setting-files>"#;
    let read = |vendor: &str, bytes: &[u8]| {
        let sheet = sheet(vendor, "desk");
        let reading = sheet.read.as_ref().unwrap();
        if let Ok(contents) = Contents::read(bytes, reading) {
            let mut settings = Settings::default();
            contents.apply(reading, &mut settings);
            let _ = (meaning::accounts(&sheet, &settings), meaning::keys(&sheet, &settings));
        }
    };
    check(&[xml, list], 2, |bytes| read("snom", bytes));
    let lines = b"#!version:1.0.0.1\ninclude:config <a.cfg>\naccount.1.user_name = 1\nstatic.security.user_password = admin:x\noverwrite_mode = 1\n";
    check(&[lines], 3, |bytes| read("yealink", bytes));
}

#[test]
fn no_transfer_panics_a_phone() {
    let packets: [&[u8]; 4] = [
        b"\0\x06blksize\x008\0windowsize\x004\0tsize\x0099\0",
        b"\0\x03\0\x01abcdefgh",
        b"\0\x03\0\x02abc",
        b"\0\x05\0\x01no\0",
    ];
    check(&packets, 4, |bytes| {
        let mut transfer = Transfer::new("x");
        transfer.hear(packets[0]);
        transfer.hear(bytes);
        transfer.hear(packets[1]);
        transfer.hear(bytes);
    });
    let head: &[u8] =
        b"HTTP/1.1 200 OK\nContent-Length: 12\nTransfer-Encoding: chunked\nLocation: http://h:80/x?y\n";
    check(&[head], 5, |bytes| {
        let lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        let _ = Head::read(&lines);
    });
}

#[test]
fn no_text_panics_a_phone() {
    let challenge: &[u8] =
        br#"Digest realm="a \"b\"", nonce=n, qop="auth,auth-int", opaque="o", stale=true, algorithm=MD5"#;
    check(&[challenge], 6, |bytes| {
        let _ = Challenge::read(&String::from_utf8_lossy(bytes));
    });
    let base = Url::read("http://h:8480/d/x.cfg").unwrap();
    check(&[b"http://10.0.0.1:8480/d/x.cfg?y=z", b"tftp://h/", b"../x"], 7, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(url) = Url::read(&text).or_else(|_| base.join(&text)) {
            let _ = (url.for_people(), url.name().len(), url.is_folder());
        }
    });
}
