//! Repeats a NOTIFY until it is answered, or the phone must be gone (RFC 3261 section 17.1.2, the non-INVITE client
//! transaction over UDP). Never sends, never waits, never reads the clock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer::NOTIFY_CSEQ;
use super::decide::{Caller, Notice};
use super::message::Response;
use super::names::{Branch, Peer};
use crate::device::Identity;

/// The first wait for an answer, doubled each time (Timer E).
const T1: Duration = Duration::from_millis(500);
/// The longest wait between two repetitions.
const T2: Duration = Duration::from_secs(4);
/// 64 × T1: a phone that has not answered by then will not (Timer F).
const TIMER_F: Duration = Duration::from_secs(32);
/// NOTIFYs that wait for an answer at a time, about 1 KB each. Beyond, a NOTIFY is sent once: the phone's own repeated
/// SUBSCRIBE has to do.
const PENDING_MAX: usize = 16_384;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A NOTIFY shall be sent, for the first time or again.
    Notify(Arc<Notice>),
    /// Somebody at this address answered something.
    Answer(Ipv4Addr, Response),
}

/// What shall happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send these bytes.
    Send {
        /// To whom, through which interface and from which address.
        peer: Peer,
        /// The message.
        bytes: Bytes,
    },
    /// Tell what became of a NOTIFY.
    Report {
        /// The phone.
        identity: Arc<Identity>,
        /// Where it was.
        peer: Peer,
        /// What it did.
        outcome: Outcome,
    },
}

/// What became of a NOTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: the phone has its URL.
    Taken,
    /// 3xx to 6xx, with the code.
    Refused(u16),
    /// Nothing for 32 s.
    Unanswered,
}

/// All NOTIFYs that wait for an answer.
#[derive(Debug, Default)]
pub struct Notifier {
    pending: HashMap<Branch, Pending>,
    /// For phones that answer without our branch: by their address and a hash of the Call-ID.
    by_call: HashMap<(Ipv4Addr, u64), Branch>,
    /// A phone that asks anew no longer waits for what it asked before.
    by_caller: HashMap<Caller, Branch>,
    timers: BTreeSet<(Instant, Branch)>,
    commands: VecDeque<Command>,
}

#[derive(Debug)]
struct Pending {
    notice: Arc<Notice>,
    due: Instant,
    wait: Duration,
    give_up: Instant,
}

impl Notifier {
    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Notify(notice) => self.notify(notice, now),
            Input::Answer(from, response) => self.answer(from, &response),
        }
    }

    /// The next thing to do; ask until there is none.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Notifier::handle_timeout`] wants to be called, at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Repeats what is due, and gives up what is too old.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, branch)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.pop_first();
            let Some(pending) = self.pending.get_mut(&branch) else { continue };
            if now >= pending.give_up {
                self.finish(branch, Outcome::Unanswered);
                continue;
            }
            pending.wait = (pending.wait * 2).min(T2);
            pending.due = (now + pending.wait).min(pending.give_up);
            self.timers.insert((pending.due, branch));
            let Notice { peer, bytes, .. } = &*pending.notice;
            self.commands.push_back(Command::Send { peer: *peer, bytes: bytes.clone() });
        }
    }

    /// How many wait for an answer.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn notify(&mut self, notice: Arc<Notice>, now: Instant) {
        let branch = notice.names.branch;
        self.commands.push_back(Command::Send { peer: notice.peer, bytes: notice.bytes.clone() });
        if self.pending.contains_key(&branch) {
            return;
        }
        if let Some(older) = notice.caller().and_then(|caller| self.by_caller.get(&caller).copied()) {
            self.forget(older);
        }
        if self.pending.len() >= PENDING_MAX {
            return;
        }
        if let Some(caller) = notice.caller() {
            self.by_caller.insert(caller, branch);
        }
        let call = self.call(*notice.peer.phone.ip(), &notice.call_id);
        self.by_call.insert(call, branch);
        let due = now + T1;
        self.timers.insert((due, branch));
        self.pending.insert(branch, Pending { notice, due, wait: T1, give_up: now + TIMER_F });
    }

    /// An answer belongs to a NOTIFY when it comes from the phone it went to, and has its branch, or (where the phone
    /// lost that) its Call-ID and `CSeq`.
    fn answer(&mut self, from: Ipv4Addr, response: &Response) {
        let branch = match response.branch.filter(|branch| self.pending.contains_key(branch)) {
            Some(branch) => branch,
            None if response.cseq != NOTIFY_CSEQ => return,
            None => match self.by_call.get(&self.call(from, &response.call_id)) {
                Some(branch) => *branch,
                None => return,
            },
        };
        let Some(pending) = self.pending.get_mut(&branch) else { return };
        if *pending.notice.peer.phone.ip() != from {
            return;
        }
        match response.status {
            // The phone works on it: repeat at T2 from the next timer on (RFC 3261 section 17.1.2.2).
            ..200 => pending.wait = T2,
            200..300 => self.finish(branch, Outcome::Taken),
            code => self.finish(branch, Outcome::Refused(code)),
        }
    }

    fn finish(&mut self, branch: Branch, outcome: Outcome) {
        if let Some(notice) = self.forget(branch) {
            let identity = Arc::clone(&notice.identity);
            self.commands.push_back(Command::Report { identity, peer: notice.peer, outcome });
        }
    }

    fn forget(&mut self, branch: Branch) -> Option<Arc<Notice>> {
        let Pending { notice, due, .. } = self.pending.remove(&branch)?;
        self.timers.remove(&(due, branch));
        if let Some(caller) = notice.caller().filter(|caller| self.by_caller.get(caller) == Some(&branch)) {
            self.by_caller.remove(&caller);
        }
        let call = self.call(*notice.peer.phone.ip(), &notice.call_id);
        if self.by_call.get(&call) == Some(&branch) {
            self.by_call.remove(&call);
        }
        Some(notice)
    }

    fn call(&self, phone: Ipv4Addr, call_id: &str) -> (Ipv4Addr, u64) {
        (phone, self.by_call.hasher().hash_one(call_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::device::Mac;
    use crate::pnp::message::{Message, Subscribe};
    use crate::pnp::names::Names;

    fn start() -> Instant {
        Clock::manual(Timestamp(0)).instant()
    }

    /// The NOTIFY to the phone 192.0.2.7 with this MAC, in the dialog with this Call-ID.
    fn notice(last: u16, call_id: &str) -> Arc<Notice> {
        let message = format!(
            "SUBSCRIBE sip:x@y SIP/2.0\r\nVia: x\r\nFrom: x\r\nTo: x\r\nCall-ID: {call_id}\r\nCSeq: 1\r\n\
             Event: ua-profile\r\n\r\n"
        );
        let peer = Peer {
            phone: "192.0.2.7:5060".parse().unwrap(),
            ours: "192.0.2.1:5065".parse().unwrap(),
            interface: 2,
        };
        let names = Names::new(&[7; 16], &peer, &Subscribe::parse(message.as_bytes()).unwrap());
        let [a, b] = last.to_be_bytes();
        let notice = Notice {
            peer,
            bytes: Bytes::from(format!("NOTIFY {call_id}")),
            names,
            call_id: call_id.to_owned(),
            identity: Arc::new(Identity { mac: Mac::new([0, 0x15, 0x65, 0, a, b]), ..Identity::default() }),
        };
        Arc::new(notice)
    }

    fn answer(status: u16, call_id: &str, branch: Option<String>) -> Input {
        let via = branch.map_or_else(String::new, |branch| format!(";branch={branch}"));
        let message = format!(
            "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP 192.0.2.1:5065{via}\r\nCall-ID: {call_id}\r\nCSeq: 3 NOTIFY\r\n\r\n"
        );
        match Message::parse(message.as_bytes()).unwrap() {
            Message::Response(response) => Input::Answer(Ipv4Addr::new(192, 0, 2, 7), response),
            other => panic!("{other:?}"),
        }
    }

    fn drain(notifier: &mut Notifier) -> Vec<Command> {
        std::iter::from_fn(|| notifier.next_command()).collect()
    }

    fn outcomes(notifier: &mut Notifier) -> Vec<Outcome> {
        let outcome = |command| match command {
            Command::Report { outcome, .. } => Some(outcome),
            Command::Send { .. } => None,
        };
        drain(notifier).into_iter().filter_map(outcome).collect()
    }

    /// Lets time pass until nothing is due; milliseconds and commands since `start`.
    fn run(notifier: &mut Notifier, start: Instant) -> Vec<(u128, Command)> {
        let mut happened: Vec<_> = drain(notifier).into_iter().map(|command| (0, command)).collect();
        while let Some(due) = notifier.poll_timeout() {
            notifier.handle_timeout(due);
            let ms = (due - start).as_millis();
            happened.extend(drain(notifier).into_iter().map(|command| (ms, command)));
        }
        happened
    }

    #[test]
    fn an_unanswered_notify_is_repeated_by_the_timers_of_the_rfc_and_then_given_up() {
        let (mut notifier, start) = (Notifier::default(), start());
        let sent = notice(1, "a");
        notifier.handle(Input::Notify(sent.clone()), start);
        let mut happened = run(&mut notifier, start);
        let Some((32_000, Command::Report { outcome: Outcome::Unanswered, .. })) = happened.pop() else {
            panic!("{happened:?}")
        };
        let times: Vec<u128> = happened.iter().map(|(ms, _)| *ms).collect();
        let expected = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(times, expected);
        let same = Command::Send { peer: sent.peer, bytes: sent.bytes.clone() };
        assert!(happened.iter().all(|(_, command)| *command == same));
        assert_eq!(notifier.waiting(), 0);
        assert!(notifier.by_call.is_empty() && notifier.by_caller.is_empty());
    }

    #[test]
    fn an_answer_ends_it() {
        let check = |what: &str, answers: Vec<Input>, expected: &[Outcome]| {
            let (mut notifier, start) = (Notifier::default(), start());
            notifier.handle(Input::Notify(notice(1, "a")), start);
            for answer in answers {
                notifier.handle(answer, start);
            }
            assert_eq!(outcomes(&mut notifier), expected, "{what}");
            assert_eq!(notifier.poll_timeout().is_none(), !expected.is_empty(), "{what}");
        };
        let branch = || Some(notice(1, "a").names.branch.to_string());
        check("200", vec![answer(200, "a", branch())], &[Outcome::Taken]);
        check("202", vec![answer(202, "a", branch())], &[Outcome::Taken]);
        check("twice", vec![answer(200, "a", branch()), answer(200, "a", branch())], &[Outcome::Taken]);
        check("481", vec![answer(481, "a", branch())], &[Outcome::Refused(481)]);
        check("branch lost", vec![answer(200, "a", None)], &[Outcome::Taken]);
        check("branch changed", vec![answer(200, "a", Some("z9hG4bKother".to_owned()))], &[Outcome::Taken]);
        check("another dialog", vec![answer(200, "b", None)], &[]);
        check("working on it", vec![answer(100, "a", branch())], &[]);
        let Input::Answer(_, response) = answer(200, "a", branch()) else { panic!() };
        check("another host", vec![Input::Answer(Ipv4Addr::new(192, 0, 2, 8), response.clone())], &[]);
        let elsewhere = Response { cseq: 1, branch: None, ..response };
        check("another request", vec![Input::Answer(Ipv4Addr::new(192, 0, 2, 7), elsewhere)], &[]);
    }

    #[test]
    fn a_provisional_answer_slows_the_repetition() {
        let (mut notifier, start) = (Notifier::default(), start());
        notifier.handle(Input::Notify(notice(1, "a")), start);
        notifier.handle(answer(100, "a", None), start);
        let times: Vec<u128> = run(&mut notifier, start).iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [0, 500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500, 32_000]);
    }

    #[test]
    fn the_same_notify_again_keeps_its_timers() {
        let (mut notifier, start) = (Notifier::default(), start());
        notifier.handle(Input::Notify(notice(1, "a")), start);
        notifier.handle(Input::Notify(notice(1, "a")), start + Duration::from_millis(400));
        assert_eq!(drain(&mut notifier).len(), 2);
        assert_eq!((notifier.waiting(), notifier.poll_timeout()), (1, Some(start + T1)));
    }

    #[test]
    fn a_phone_that_asks_anew_is_not_sent_what_it_asked_before() {
        let (mut notifier, start) = (Notifier::default(), start());
        notifier.handle(Input::Notify(notice(1, "a")), start);
        notifier.handle(Input::Notify(notice(1, "b")), start);
        notifier.handle(Input::Notify(notice(2, "c")), start);
        assert_eq!((notifier.waiting(), notifier.timers.len()), (2, 2));
        notifier.handle(answer(200, "a", None), start);
        assert_eq!(outcomes(&mut notifier), []);
        notifier.handle(answer(200, "b", None), start);
        assert_eq!(outcomes(&mut notifier), [Outcome::Taken]);
    }

    #[test]
    fn ten_thousand_at_once_are_repeated_and_forgotten() {
        let (mut notifier, start) = (Notifier::default(), start());
        for phone in 0..10_000 {
            notifier.handle(Input::Notify(notice(phone, &phone.to_string())), start);
        }
        for phone in 0..9_000u16 {
            notifier.handle(answer(200, &phone.to_string(), None), start);
        }
        assert_eq!(notifier.waiting(), 1_000);
        assert_eq!(run(&mut notifier, start).len(), 10_000 + 9_000 + 1_000 * 11);
        assert_eq!((notifier.waiting(), notifier.timers.len(), notifier.by_caller.len()), (0, 0, 0));
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut notifier, start) = (Notifier::default(), start());
        for phone in 0..u16::try_from(PENDING_MAX).unwrap() + 5 {
            notifier.handle(Input::Notify(notice(phone, &phone.to_string())), start);
        }
        assert_eq!(notifier.waiting(), PENDING_MAX);
        assert_eq!(drain(&mut notifier).len(), PENDING_MAX + 5, "each is sent once at least");
    }
}
