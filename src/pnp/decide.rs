//! Decides the answer to a SUBSCRIBE. Never sends, never waits, never reads the clock.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer;
use super::message::Subscribe;
use super::names::{Names, Peer};
use crate::clock::Timestamp;
use crate::device::{Channel, Identity, Mac, Sighting, Step};
use crate::net::limit::Limiter;
use crate::provision::Heard;

/// How long an answer is kept for a SUBSCRIBE that comes again: 64 × T1, until the phone's own transaction has ended
/// (RFC 3261 Timer J and Timer F).
const REMEMBERED_MS: u64 = 32_000;
/// Answers kept at a time, about 1 KB each; the oldest goes first. A fleet of 10,000 that boots at once fits.
const REMEMBERED_MAX: usize = 16_384;
/// One NOTIFY (and one record of a stranger) per MAC and this time: a phone that asks more often is in a loop.
const PER_MAC_MS: u64 = 2_000;
/// MACs whose limit is kept at a time; phones of the inventory and strangers under their cap, both far fewer.
const MACS_MAX: usize = 65_536;
/// Answers per second to strangers, whoever they say they are: nobody uses us to shoot at others.
const STRANGERS_PER_S: u32 = 200;
/// Answers per second to phones of the inventory; the whole fleet may come at once when the power returns.
const KNOWN_PER_S: u32 = 5_000;
/// How many of those at once.
const KNOWN_BURST: u32 = 20_000;

/// One SUBSCRIBE, and what is known about its sender.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What the phone wrote.
    pub subscribe: &'a Subscribe,
    /// From where, and where it was heard.
    pub peer: &'a Peer,
    /// The names in this dialog.
    pub names: &'a Names,
    /// Which phone it is.
    pub identity: &'a Arc<Identity>,
    /// When it was heard.
    pub at: Timestamp,
}

/// What the policy says about a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It gets this URL, which will answer.
    Served(Offer),
    /// It waits for a person; with what is said about it.
    Pending(&'static str),
    /// It gets nothing, for this reason.
    Ignored(&'static str),
    /// It gets nothing: whatever its URL said, nobody would answer at the address of ours that it sees.
    Unreachable,
}

/// What a NOTIFY carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The device's own URL in its vendor's shape.
    pub url: String,
    /// `application/url`, unless the vendor's phones want another name for it.
    pub content_type: String,
}

/// What shall happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Write down that the phone was seen.
    Record(Heard),
    /// Send the answer to its SUBSCRIBE.
    Respond {
        /// To whom, through which interface and from which address.
        peer: Peer,
        /// The message.
        bytes: Bytes,
    },
    /// Send a NOTIFY until it is answered.
    Notify(Arc<Notice>),
}

/// A NOTIFY with what is needed to repeat it, to know its answer, and to report what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// To whom, through which interface and from which address.
    pub peer: Peer,
    /// The message; every repetition is the same.
    pub bytes: Bytes,
    /// Its branch and the dialog's tag.
    pub names: Names,
    /// The dialog.
    pub call_id: String,
    /// The phone.
    pub identity: Arc<Identity>,
}

impl Notice {
    /// Who asked for it.
    pub fn caller(&self) -> Option<Caller> {
        self.identity.mac.map(|mac| (mac, *self.peer.phone.ip()))
    }
}

/// The answer to a SUBSCRIBE that is heard for the first time. A phone that is not served gets nothing at all, not
/// even a 200: it may look further, and another server may be meant for it.
pub fn decide(question: &Question<'_>, standing: &Standing) -> Vec<Command> {
    let Question { subscribe, peer, names, identity, .. } = *question;
    match standing {
        Standing::Pending(outcome) => vec![Command::Record(seen(question, Step::Pending, outcome))],
        Standing::Ignored(reason) => vec![Command::Record(seen(question, Step::Ignored, reason))],
        Standing::Unreachable => {
            let outcome = format!("no service for files listens on {}", peer.ours.ip());
            vec![Command::Record(seen(question, Step::Unreachable, &outcome))]
        }
        Standing::Served(offer) => vec![
            Command::Record(seen(question, Step::Answered, "answered")),
            Command::Respond { peer: *peer, bytes: answer::ok(subscribe, peer, names).into() },
            Command::Notify(Arc::new(Notice {
                peer: *peer,
                bytes: answer::notify(subscribe, peer, names, offer).into(),
                names: *names,
                call_id: subscribe.call_id().to_owned(),
                identity: Arc::clone(identity),
            })),
        ],
    }
}

fn seen(question: &Question<'_>, step: Step, outcome: &str) -> Heard {
    let sighting = Sighting {
        identity: Identity::clone(question.identity),
        addr: IpAddr::V4(*question.peer.phone.ip()),
        channel: Channel::Pnp,
        at: question.at,
        step,
        outcome: outcome.to_owned(),
        detail: serde_json::Value::Null,
    };
    Heard { sighting, pending: step == Step::Pending }
}

/// Who asks: the MAC that it writes, and the address that it writes from. Limits are kept for both together, so that
/// nobody silences a phone by asking in its name.
pub type Caller = (Mac, Ipv4Addr);

/// What was answered lately, and how often: everything that a single SUBSCRIBE does not tell.
#[derive(Debug)]
pub struct Memory {
    answered: HashMap<u128, Answered>,
    /// Keys in the order of their answers; all live equally long, so the first is the oldest.
    order: VecDeque<(Instant, u128)>,
    notified: Limiter<Caller>,
    recorded: Limiter<Caller>,
    known: Limiter<()>,
    strangers: Limiter<()>,
}

#[derive(Debug)]
struct Answered {
    ok: Bytes,
    notice: Arc<Notice>,
}

impl Default for Memory {
    fn default() -> Self {
        let per_caller = || Limiter::new(1, Duration::from_millis(PER_MAC_MS), MACS_MAX);
        let per_second = |burst, rate| Limiter::new(burst, Duration::from_secs(1) / rate, 1);
        Self {
            answered: HashMap::new(),
            order: VecDeque::new(),
            notified: per_caller(),
            recorded: per_caller(),
            known: per_second(KNOWN_BURST, KNOWN_PER_S),
            strangers: per_second(STRANGERS_PER_S, STRANGERS_PER_S),
        }
    }
}

impl Memory {
    /// The answer to a SUBSCRIBE that was answered before: the same 200, and the same NOTIFY again when the last one
    /// is long enough ago. `None`: it is new, or its phone is no longer `served`.
    pub fn again(
        &mut self,
        names: &Names,
        served: impl FnOnce(Mac) -> bool,
        now: Instant,
    ) -> Option<Vec<Command>> {
        self.forget(now);
        let Answered { ok, notice } = self.answered.get(&names.key)?;
        if !notice.identity.mac.is_some_and(served) {
            return None;
        }
        if !self.known.allows((), now) {
            return Some(Vec::new());
        }
        let mut commands = vec![Command::Respond { peer: notice.peer, bytes: ok.clone() }];
        if notice.caller().is_some_and(|caller| self.notified.allows(caller, now)) {
            commands.push(Command::Notify(Arc::clone(notice)));
        }
        Some(commands)
    }

    /// Whether this SUBSCRIBE was answered before.
    pub fn has(&self, names: &Names) -> bool {
        self.answered.contains_key(&names.key)
    }

    /// Whether a phone of the inventory may be answered now; if so, it has used its turn.
    pub fn answers_known(&mut self, caller: Caller, now: Instant) -> bool {
        self.known.allows((), now) && self.notified.allows(caller, now)
    }

    /// Whether a stranger may be considered now (recorded, or adopted and answered); if so, it has used its turn.
    pub fn hears_stranger(&mut self, caller: Caller, now: Instant) -> bool {
        self.strangers.allows((), now) && self.recorded.allows(caller, now)
    }

    /// Keeps an answer for when its SUBSCRIBE comes again.
    pub fn remember(&mut self, commands: &[Command], now: Instant) {
        let mut answer = (None, None);
        for command in commands {
            match command {
                Command::Respond { bytes, .. } => answer.0 = Some(bytes.clone()),
                Command::Notify(notice) => answer.1 = Some(Arc::clone(notice)),
                Command::Record(_) => {}
            }
        }
        let (Some(ok), Some(notice)) = answer else { return };
        let key = notice.names.key;
        if self.answered.insert(key, Answered { ok, notice }).is_none() {
            self.order.push_back((now, key));
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front() {
            let old = now.saturating_duration_since(*at) >= Duration::from_millis(REMEMBERED_MS);
            if !old && self.order.len() <= REMEMBERED_MAX {
                break;
            }
            self.answered.remove(key);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const PHONE: &str = "192.0.2.7:5060";
    const URL: &str = "http://192.0.2.1:8480/d/00112233445566778899aabbccddeeff/";

    fn subscribe(call_id: &str) -> Subscribe {
        let message = format!(
            "SUBSCRIBE sip:MAC%3a001565aabbcc@224.0.1.75 SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};rport\r\n\
             From: <sip:MAC%3a001565aabbcc@224.0.1.75>;tag=7\r\nTo: <sip:MAC%3a001565aabbcc@224.0.1.75>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 SUBSCRIBE\r\nEvent: ua-profile\r\n\r\n"
        );
        Subscribe::parse(message.as_bytes()).unwrap()
    }

    fn mac(last: u32) -> Mac {
        let [_, a, b, c] = last.to_be_bytes();
        Mac::new([0, 0x15, 0x65, a, b, c]).unwrap()
    }

    /// The answer to a SUBSCRIBE of `mac` with this Call-ID, and the names in its dialog.
    fn answer_to(mac: Mac, call_id: &str, standing: &Standing) -> (Names, Vec<Command>) {
        let subscribe = subscribe(call_id);
        let peer =
            Peer { phone: PHONE.parse().unwrap(), ours: "192.0.2.1:5065".parse().unwrap(), interface: 2 };
        let names = Names::new(&[7; 16], &peer, &subscribe);
        let identity = Arc::new(Identity { mac: Some(mac), ..Identity::default() });
        let question = Question {
            subscribe: &subscribe,
            peer: &peer,
            names: &names,
            identity: &identity,
            at: Timestamp(1_000),
        };
        (names, decide(&question, standing))
    }

    fn served() -> Standing {
        Standing::Served(Offer { url: URL.to_owned(), content_type: "application/url".to_owned() })
    }

    fn start() -> Instant {
        Clock::manual(Timestamp(0)).instant()
    }

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn caller(last: u32) -> Caller {
        (mac(last), Ipv4Addr::new(192, 0, 2, 7))
    }

    #[test]
    fn a_phone_that_is_not_served_gets_nothing_at_all() {
        let check = |standing: Standing, outcome: &str, pending: bool| {
            let (_, commands) = answer_to(mac(1), "a", &standing);
            let [Command::Record(seen)] = commands.as_slice() else { panic!("{commands:?}") };
            assert_eq!((seen.sighting.outcome.as_str(), seen.pending), (outcome, pending));
            assert_eq!((seen.sighting.identity.mac, seen.sighting.at), (Some(mac(1)), Timestamp(1_000)));
        };
        check(Standing::Pending("pending"), "pending", true);
        check(Standing::Ignored("blocked"), "blocked", false);
    }

    #[test]
    fn a_served_phone_is_recorded_answered_and_notified_in_this_order() {
        let (_, commands) = answer_to(mac(1), "a", &served());
        let [Command::Record(seen), Command::Respond { peer, bytes }, Command::Notify(notice)] =
            &commands[..]
        else {
            panic!("{commands:?}")
        };
        assert_eq!(seen.sighting.outcome, "answered");
        assert_eq!(*peer, notice.peer);
        assert!(bytes.starts_with(b"SIP/2.0 200 OK\r\n") && notice.bytes.ends_with(URL.as_bytes()));
    }

    #[test]
    fn the_same_subscribe_gets_the_same_answer() {
        let (mut memory, start) = (Memory::default(), start());
        let everybody = |_| true;
        let (names, commands) = answer_to(mac(1), "a", &served());
        assert_eq!(memory.again(&names, everybody, start), None);
        assert!(memory.answers_known(caller(1), start));
        memory.remember(&commands, start);
        let [_, ok, notify] = commands.try_into().unwrap();
        let check = |memory: &mut Memory, ms: u64, expected: Option<Vec<Command>>| {
            assert_eq!(memory.again(&names, everybody, at(start, ms)), expected, "after {ms} ms");
        };
        // The NOTIFY has timers of its own; it comes again only where they must have ended in vain.
        check(&mut memory, 500, Some(vec![ok.clone()]));
        check(&mut memory, 1_500, Some(vec![ok.clone()]));
        check(&mut memory, 3_500, Some(vec![ok.clone(), notify.clone()]));
        check(&mut memory, 4_000, Some(vec![ok.clone()]));
        check(&mut memory, 31_999, Some(vec![ok, notify]));
        check(&mut memory, 32_000, None);
    }

    #[test]
    fn a_phone_that_has_been_blocked_since_is_not_answered_again() {
        let (mut memory, start) = (Memory::default(), start());
        let (names, commands) = answer_to(mac(1), "a", &served());
        memory.remember(&commands, start);
        assert_eq!(memory.again(&names, |_| false, start), None);
    }

    #[test]
    fn a_mac_gets_one_notify_in_two_seconds() {
        let (mut memory, start) = (Memory::default(), start());
        let answers =
            [0, 0, 500, 1_999, 2_000, 3_999, 4_000].map(|ms| memory.answers_known(caller(1), at(start, ms)));
        assert_eq!(answers, [true, false, false, false, true, false, true]);
        assert!(memory.answers_known(caller(2), start));
    }

    #[test]
    fn strangers_are_heard_two_hundred_times_a_second_and_the_fleet_all_at_once() {
        let (mut memory, start) = (Memory::default(), start());
        let mut strangers = |ms, macs: std::ops::Range<u32>| {
            macs.filter(|last| memory.hears_stranger(caller(*last), at(start, ms))).count()
        };
        assert_eq!(strangers(0, 0..1_000), 200);
        assert_eq!(strangers(0, 1_000..2_000), 0);
        assert_eq!(strangers(1_000, 2_000..3_000), 200);
        assert_eq!((0..10_000).filter(|last| memory.answers_known(caller(*last), start)).count(), 10_000);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut memory, start) = (Memory::default(), start());
        for round in 0..REMEMBERED_MAX + 100 {
            let (_, commands) = answer_to(mac(1), &round.to_string(), &served());
            memory.remember(&commands, start);
        }
        assert_eq!((memory.answered.len(), memory.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        let (names, _) = answer_to(mac(1), "0", &served());
        assert_eq!(memory.again(&names, |_| true, start), None, "the oldest went first");
    }
}
