//! Looks whether somebody else on this LAN answers phones that look for their configuration: asks as phones would, now
//! and then, and remembers who answered. Never sends, never waits, never reads the clock.
//!
//! The questions write a hardware address of nobody (locally administered, the same at every search) and a User-Agent
//! that says what they are. An agent that hears such a question of another one has found a rival as well; agents that
//! share a database know each other by its name.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::hex::hex;
use crate::net::sip::{self, Start, Wire};

/// Between two searches: a rival is told of within ten minutes.
const EVERY: Duration = Duration::from_mins(5);
/// How long strangers wait at the start for what the first search finds; servers on one link answer within milliseconds.
const FIRST: Duration = Duration::from_secs(1);
/// A rival that was not heard for so long is gone: three searches, and a moment for the answer.
const SILENT: Duration = Duration::from_secs(15 * 60 + 10);
/// A rival that stays is told of again after so long.
const TOLD_AGAIN: Duration = Duration::from_hours(1);
/// Rivals that are remembered; a LAN with more has other worries.
const RIVALS_MAX: usize = 32;
/// How a question's User-Agent begins.
const PROBE: &str = "offhook-probe/";

/// Who else answers phones.
#[derive(Debug)]
pub(super) struct Rivals {
    /// The Event headers of the questions, one of each vendor whose phones ask by multicast.
    events: Vec<String>,
    /// The name of this agent's database.
    ours: String,
    /// The number of the last search; 0: none yet.
    search: u64,
    /// When the next one is due, if there are any.
    due: Option<Instant>,
    /// Until when strangers wait for the first one.
    first_until: Option<Instant>,
    /// Whether strangers are left to a rival.
    yields: bool,
    /// Who was heard, when last, and when it was told of.
    heard: BTreeMap<Ipv4Addr, (Instant, Instant)>,
}

/// By what a rival was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answered a question.
    Answer,
    /// It asked one: another offhook, with a database of its own.
    Question,
}

impl Rivals {
    /// Searches from now on, unless nothing is to be sent.
    pub(super) fn new(events: Vec<String>, ours: String, searches: bool, yields: bool, now: Instant) -> Self {
        let (due, first_until) = if searches { (Some(now), Some(now + FIRST)) } else { (None, None) };
        Self { events, ours, search: 0, due, first_until, yields, heard: BTreeMap::new() }
    }

    /// When the next search is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Begins a search, if one is due; gives back the rivals that are gone.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Vec<Ipv4Addr>> {
        self.due.filter(|due| *due <= now)?;
        self.due = Some(now + EVERY);
        self.search += 1;
        let mut gone = Vec::new();
        self.heard.retain(|rival, (last, _)| {
            let stays = !is_over(*last, now, SILENT);
            if !stays {
                gone.push(*rival);
            }
            stays
        });
        Some(gone)
    }

    /// The questions of this search, for one interface.
    pub(super) fn questions(&self, ours: SocketAddrV4, group: SocketAddrV4) -> Vec<Vec<u8>> {
        (0..).zip(&self.events).map(|(number, event)| self.question(number, event, ours, group)).collect()
    }

    fn question(&self, number: u16, event: &str, ours: SocketAddrV4, group: SocketAddrV4) -> Vec<u8> {
        let mac = self.mac(number);
        let (call, host) = (self.call_id(), group.ip());
        let name = &self.ours;
        format!(
            "SUBSCRIBE sip:MAC%3a{mac}@{host} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {ours};rport;branch=z9hG4bK{call}{number}\r\n\
             From: <sip:MAC%3a{mac}@{host}>;tag={number}\r\n\
             To: <sip:MAC%3a{mac}@{host}>\r\n\
             Call-ID: {call}-{number}\r\n\
             CSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:{ours}>\r\n\
             Event: {event}\r\n\
             Accept: application/url\r\n\
             Expires: 0\r\n\
             Max-Forwards: 1\r\n\
             User-Agent: {PROBE}{version} ({name})\r\n\
             Content-Length: 0\r\n\r\n",
            version = env!("CARGO_PKG_VERSION"),
        )
        .into_bytes()
    }

    /// An address of nobody, of this agent's database and vendor.
    fn mac(&self, number: u16) -> String {
        let digest = Sha256::digest(format!("{} {number}", self.ours));
        format!("02{}", hex(digest.get(..5).unwrap_or_default()))
    }

    /// What all questions of this search have in common.
    fn call_id(&self) -> String {
        let digest = Sha256::digest(format!("search {} of {}", self.search, self.ours));
        hex(digest.get(..8).unwrap_or_default())
    }

    /// Whether a message's Call-ID is that of a question of this search.
    pub(super) fn is_answer(&self, call_id: &str) -> bool {
        self.search > 0 && call_id.split('-').next() == Some(&self.call_id())
    }

    /// Whether a User-Agent is that of a question, and if so, whether of another database's agent.
    pub(super) fn asked_by_other(&self, user_agent: Option<&str>) -> Option<bool> {
        let said = user_agent?.strip_prefix(PROBE)?;
        Some(!said.contains(&format!("({})", self.ours)))
    }

    /// Remembers who was heard; whether that is to be told.
    pub(super) fn hear(&mut self, rival: Ipv4Addr, now: Instant) -> bool {
        self.heard.retain(|_, (last, _)| !is_over(*last, now, SILENT));
        let room = self.heard.len() < RIVALS_MAX;
        match self.heard.get_mut(&rival) {
            Some((last, told)) => {
                *last = now;
                let again = is_over(*told, now, TOLD_AGAIN);
                if again {
                    *told = now;
                }
                again
            }
            None if room => self.heard.insert(rival, (now, now)).is_none(),
            // Whoever invents so many is no server.
            None => false,
        }
    }

    /// Why strangers are left alone now, if they are.
    pub(super) fn withholds(&self, now: Instant) -> Option<&'static str> {
        if !self.yields {
            return None;
        }
        if self.heard.values().any(|(last, _)| !is_over(*last, now, SILENT)) {
            return Some("another server answers phones here");
        }
        let is_first = self.first_until.is_some_and(|until| now < until);
        is_first.then_some("it is not known yet whether another server answers phones here")
    }
}

fn is_over(since: Instant, now: Instant, time: Duration) -> bool {
    now.saturating_duration_since(since) > time
}

/// What a person is told of a rival.
pub(super) fn told(rival: Ipv4Addr, sign: Sign, yields: bool) -> String {
    let what = match sign {
        Sign::Answer => format!("{rival} answers phones that look for their configuration"),
        Sign::Question => format!("{rival} is another offhook, with a database of its own"),
    };
    let so = if yields {
        "phones that nobody has approved get no answer by PnP from here meanwhile"
    } else {
        "both answer (pnp.rivals)"
    };
    format!("{what}: {so}")
}

/// The Call-ID of a NOTIFY, and the answer to it: whoever sent it need not repeat it.
pub(super) fn notified(datagram: &[u8]) -> Option<(String, Vec<u8>)> {
    let (text, latin1) = sip::text(datagram);
    let wire = Wire::read(&text).ok()?;
    if !matches!(&wire.start, Start::Request { method, .. } if method.eq_ignore_ascii_case("NOTIFY")) {
        return None;
    }
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        for value in wire.all(name) {
            answer.extend([name, ": ", value, "\r\n"]);
        }
    }
    answer.push_str("Content-Length: 0\r\n\r\n");
    Some((wire.header("Call-ID")?.to_owned(), sip::to_bytes(answer, latin1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::pnp::message::{Message, Subscribe};

    const RIVAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 9);
    const EVENT: &str =
        "ua-profile;profile-type=\"device\";vendor=\"snom\";model=\"snom720\";version=\"7.1.19\"";

    fn rivals(name: &str, yields: bool, now: Instant) -> Rivals {
        Rivals::new(vec![EVENT.to_owned(), "ua-profile".to_owned()], name.to_owned(), true, yields, now)
    }

    fn asked(rivals: &Rivals) -> Vec<Subscribe> {
        let ours = "192.168.1.2:5065".parse().unwrap();
        let questions = rivals.questions(ours, "224.0.1.75:5060".parse().unwrap());
        let read = |bytes: &Vec<u8>| match Message::parse(bytes) {
            Ok(Message::Subscribe(subscribe)) => *subscribe,
            other => panic!("{other:?}"),
        };
        questions.iter().map(read).collect()
    }

    #[test]
    fn a_question_is_a_phones_and_says_what_it_is() {
        let now = Clock::System.instant();
        let mut one = rivals("aa", true, now);
        assert!(!one.is_answer("-0"), "no search, no answer");
        assert_eq!(one.handle_timeout(now), Some(vec![]));
        let questions = asked(&one);
        let [first, second] = questions.as_slice() else { panic!("{questions:?}") };
        assert_eq!(first.event(), EVENT);
        let macs = [first.claimed_mac().unwrap(), second.claimed_mac().unwrap()];
        assert!(macs[0] != macs[1] && macs.iter().all(|mac| mac.to_string().starts_with("02:")));
        assert!(one.is_answer(first.call_id()) && !one.is_answer("x-0"));
        assert_eq!(one.asked_by_other(first.user_agent()), Some(false));
        assert_eq!(one.asked_by_other(Some("snom/8")), None);
        let other = rivals("bb", true, now);
        assert_eq!(other.asked_by_other(first.user_agent()), Some(true));
        // The next search has other names and the same phones.
        assert_eq!(one.handle_timeout(now), None);
        one.handle_timeout(now + EVERY).unwrap();
        let next = asked(&one);
        assert!(!one.is_answer(first.call_id()) && one.is_answer(next[0].call_id()));
        assert_eq!(next[0].claimed_mac(), Some(macs[0]));
    }

    #[test]
    fn strangers_wait_for_the_first_search_and_for_a_rival_to_go() {
        let now = Clock::System.instant();
        let mut rivals = rivals("aa", true, now);
        rivals.handle_timeout(now).unwrap();
        assert!(rivals.withholds(now).unwrap().contains("not known yet"));
        assert_eq!(rivals.withholds(now + FIRST), None);
        assert!(rivals.hear(RIVAL, now) && !rivals.hear(RIVAL, now));
        assert_eq!(rivals.withholds(now + FIRST), Some("another server answers phones here"));
        for round in 1..=3 {
            assert_eq!(rivals.handle_timeout(now + EVERY * round), Some(vec![]), "{round}");
        }
        assert_eq!(rivals.handle_timeout(now + EVERY * 4), Some(vec![RIVAL]));
        assert_eq!(rivals.withholds(now + EVERY * 4), None);
    }

    #[test]
    fn who_sends_nothing_or_shares_withholds_nothing() {
        let now = Clock::System.instant();
        let mut quiet = Rivals::new(vec![], "aa".to_owned(), false, true, now);
        assert_eq!(
            (quiet.poll_timeout(), quiet.handle_timeout(now), quiet.withholds(now)),
            (None, None, None)
        );
        quiet.hear(RIVAL, now);
        assert!(quiet.withholds(now).is_some(), "it was heard all the same");
        assert_eq!(quiet.withholds(now + EVERY * 4), None, "and is forgotten all the same");
        assert!(quiet.hear(RIVAL, now + EVERY * 4), "a new one");
        for last in 0..=u8::MAX {
            quiet.hear(Ipv4Addr::new(10, 0, 0, last), now + EVERY * 4);
        }
        assert!(!quiet.hear(Ipv4Addr::new(10, 0, 1, 0), now + EVERY * 4), "no LAN has so many");
        let mut shares = rivals("aa", false, now);
        shares.hear(RIVAL, now);
        assert_eq!(shares.withholds(now), None);
    }

    #[test]
    fn a_notify_is_answered_with_its_own_names() {
        let notify = "NOTIFY sip:192.168.1.2:5065 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.9:5060;branch=z9hG4bKx\r\n\
                      f: <sip:a@b>;tag=1\r\nt: <sip:c@d>\r\ni: abc-0\r\nCSeq: 7 NOTIFY\r\nContent-Length: 0\r\n\r\n";
        let (call_id, answer) = notified(notify.as_bytes()).unwrap();
        assert_eq!(call_id, "abc-0");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.168.1.9:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>"
        ));
        assert_eq!(notified(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n"), None);
        assert_eq!(notified(b"\xff\xfe"), None);
    }
}
