//! Decides where a NOTIFY may go, when it is sent again, and what became of it, in words with a remedy. Never sends,
//! never waits, never reads the clock.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::message::Answer;
use crate::device::{Mac, Step};
use crate::net::interfaces::Table;
use crate::net::neighbours::Proved;

/// Where phones hear SIP unless they are told otherwise (RFC 3261 section 18.1.1).
pub const SIP_PORT: u16 = 5060;
/// NOTIFYs that wait for an answer at a time: a socket each. Silent phones wait [`TIMER_F`], so beyond eight a second
/// of those the others have to wait.
pub const IN_FLIGHT_MAX: usize = 256;
/// Phones whose neighbour entry is looked at together: an address that nobody has takes seconds, and what was found
/// should not be old when the NOTIFY leaves.
pub const LOOKING_MAX: usize = 8;
/// The first wait for an answer, doubled each time (RFC 3261 section 17.1.2.2, Timer E).
const T1: Duration = Duration::from_millis(500);
/// The longest wait between two repetitions.
const T2: Duration = Duration::from_secs(4);
/// 64 × T1: a phone that has not answered by then will not (Timer F).
pub const TIMER_F: Duration = Duration::from_secs(32);

/// How many NOTIFYs a second leave. Phones that fetch together fetch large files together, and those that restart
/// register together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u32);

impl Rate {
    /// Beyond, nothing is staggered.
    const MAX: u32 = 1_000;

    /// The time from one NOTIFY to the next.
    pub fn period(self) -> Duration {
        Duration::from_secs(1) / self.0
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self(5)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
        number.filter(|number| (1..=Self::MAX).contains(number)).map(Self).ok_or_else(|| {
            format!("'{text}' is no rate; write the phones a second, 1 to {}: 5 or 5/s", Self::MAX)
        })
    }
}

/// A place on a link where a phone was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    /// The phone's address.
    pub address: Ipv4Addr,
    /// On which interface.
    pub interface: u32,
    /// Our own address there.
    pub ours: Ipv4Addr,
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// Its address lies on no link of this host.
    Elsewhere(IpAddr),
    /// Another host has its address.
    Other(IpAddr, Mac),
    /// More than one host claims its address, or its MAC.
    Contested(IpAddr),
    /// Nobody answers at its address.
    Nobody(IpAddr),
    /// On this link it cannot be said who is behind an address.
    Indistinct(IpAddr),
    /// It could not be found out who is there.
    Unable(IpAddr),
    /// The PBX has no address.
    NoRegistrar(String),
    /// This host could not send, for this reason.
    Failed(String),
}

/// What became of a NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Accepted(u16),
    /// 401 or 407: somebody wants a password; who, where it says so.
    Challenged(u16, Option<String>),
    /// Any other final answer.
    Refused(u16),
    /// Nothing for [`TIMER_F`].
    Silent,
    /// The host says that nobody listens on the port, or a router that there is no way.
    Unreachable,
}

/// By which way a NOTIFY goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Straight to the phone's address.
    #[default]
    Phone,
    /// To the registrar of the phone's account, which passes it on as a proxy does.
    Pbx,
}

/// Where a phone is that was last seen at this address: only what is on a link of ours is ever sent anything.
pub fn aim(address: IpAddr, table: &Table) -> Result<Aim, NotSent> {
    let IpAddr::V4(v4) = address else { return Err(NotSent::Elsewhere(address)) };
    let (interface, ours) = table.on_link(v4, None).ok_or(NotSent::Elsewhere(address))?;
    Ok(Aim { address: v4, interface: interface.index, ours })
}

/// Whether the host behind the address is the phone. An entry of the neighbour table alone would not do: it may be as old
/// as the sighting, and what is sent to it arrives at whoever the kernel finds there then.
pub fn may_send(aim: &Aim, proved: &Proved) -> Result<(), NotSent> {
    let address = IpAddr::V4(aim.address);
    match proved {
        Proved::Yes(_) => Ok(()),
        Proved::Other(mac) => Err(NotSent::Other(address, *mac)),
        Proved::Clone(_) => Err(NotSent::Contested(address)),
        Proved::Silent => Err(NotSent::Nobody(address)),
        Proved::Indistinct => Err(NotSent::Indistinct(address)),
        Proved::Unable => Err(NotSent::Unable(address)),
    }
}

/// One NOTIFY on its way (RFC 3261 section 17.1.2, the non-INVITE client transaction over UDP).
#[derive(Debug)]
pub struct Transaction {
    due: Instant,
    wait: Duration,
    give_up: Instant,
}

/// What shall happen when the time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send the same bytes again.
    Repeat,
    /// It is over.
    Over(Outcome),
}

impl Transaction {
    /// It was sent for the first time; nobody waits longer than `patience` for the answer.
    pub fn new(now: Instant, patience: Duration) -> Self {
        let give_up = now + patience.min(TIMER_F);
        Self { due: (now + T1).min(give_up), wait: T1, give_up }
    }

    /// When [`Transaction::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Says what to do at this time.
    pub fn handle_timeout(&mut self, now: Instant) -> Next {
        if now >= self.give_up {
            return Next::Over(Outcome::Silent);
        }
        self.wait = (self.wait * 2).min(T2);
        self.due = (now + self.wait).min(self.give_up);
        Next::Repeat
    }

    /// Takes in an answer; `None` while a final one is still to come.
    pub fn handle(&mut self, answer: Answer) -> Option<Outcome> {
        match answer.status {
            // Whoever works on it is asked again at T2 from the next timer on.
            ..200 => {
                self.wait = T2;
                None
            }
            200..300 => Some(Outcome::Accepted(answer.status)),
            401 | 407 => Some(Outcome::Challenged(answer.status, answer.realm)),
            status => Some(Outcome::Refused(status)),
        }
    }
}

impl Way {
    /// The word of commands and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Pbx => "pbx",
        }
    }

    /// Who answers.
    fn who(self) -> &'static str {
        match self {
            Self::Phone => "the phone",
            Self::Pbx => "the PBX",
        }
    }
}

impl NotSent {
    /// What stood in the way.
    pub fn said(&self) -> String {
        match self {
            Self::Elsewhere(address) => format!("{address} is on no link of this host"),
            Self::Other(address, mac) => format!("somebody else has its address now: {mac} is at {address}"),
            Self::Contested(address) => format!("more than one host claims {address}"),
            Self::Nobody(address) => format!("nobody answers at {address}, where it was last"),
            Self::Indistinct(address) => format!("on the link of {address} all hosts look alike"),
            Self::Unable(address) => format!("it could not be found out who is at {address}"),
            Self::NoRegistrar(name) => format!("the PBX '{name}' has no IPv4 address"),
            Self::Failed(reason) => reason.clone(),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Elsewhere(_) => "run the command at an agent on its link, or with --via pbx",
            Self::Other(..) => "restart the phone: it is seen at its new address then",
            Self::Contested(_) => "find the other host: offhook alarm list names it where it is known",
            Self::Nobody(_) => "is it switched on and on this network? it is seen at its next boot",
            Self::Indistinct(_) => "run the command on the phones' own link, or with --via pbx",
            Self::Unable(_) | Self::Failed(_) => "say it again in a moment",
            Self::NoRegistrar(_) => "correct the account's registrar, or sip.registrar",
        }
    }
}

impl Outcome {
    /// The stable word of listings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Challenged(..) => "challenged",
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
        }
    }

    /// The step of the phone's life.
    pub fn step(&self) -> Step {
        match self {
            Self::Accepted(_) => Step::Accepted,
            Self::Challenged(..) | Self::Refused(_) => Step::Declined,
            Self::Silent | Self::Unreachable => Step::Silent,
        }
    }

    /// The code of the answer, where there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Accepted(status) | Self::Challenged(status, _) | Self::Refused(status) => Some(*status),
            Self::Silent | Self::Unreachable => None,
        }
    }

    /// What happened.
    pub fn said(&self, way: Way) -> String {
        let who = way.who();
        match self {
            Self::Accepted(200) => format!("{who} accepted it"),
            Self::Accepted(status) => format!("{who} accepted it ({status})"),
            Self::Challenged(status, realm) => {
                let realm = realm.as_ref().map(|realm| format!(", realm \"{realm}\"")).unwrap_or_default();
                format!("{who} wants a password ({status}{realm})")
            }
            Self::Refused(404) => format!("{who} knows no such number (404)"),
            Self::Refused(status @ 480) => format!("{who} says that nobody is there ({status})"),
            Self::Refused(489) => format!("{who} does not know this event (489)"),
            Self::Refused(status) => format!("{who} refused it ({status})"),
            Self::Silent => format!("{who} did not answer"),
            Self::Unreachable => format!("{who} has nobody on that port"),
        }
    }

    /// What to do about it; `permit` is what the vendor's profile says of the phone's own setting.
    pub fn remedy(&self, way: Way, permit: Option<&str>) -> String {
        let setting = |or: &str| permit.map_or_else(|| or.to_owned(), |permit| format!("{permit}; {or}"));
        match (self, way) {
            (Self::Accepted(_), _) => String::new(),
            (Self::Challenged(..), Way::Phone) => setting("or let it come from the registrar: --via pbx"),
            (Self::Challenged(..), Way::Pbx) => "let the PBX take a NOTIFY from this host without a password, or send \
                                                 it from the PBX itself"
                .to_owned(),
            (Self::Refused(404 | 480), Way::Pbx) => {
                "the phone is not registered there: it fetches at its next boot, or with --via phone".to_owned()
            }
            (Self::Refused(_), Way::Pbx) => "a PBX that is no proxy passes no NOTIFY on (Asterisk, FreeSWITCH): send it \
                                             with the PBX's own command, or with --via phone"
                .to_owned(),
            (Self::Refused(489 | 501), Way::Phone) => {
                setting("its firmware may know another event: restart it by hand, or wait for its next check")
            }
            (Self::Refused(_), Way::Phone) => {
                setting("many phones take it only from their registrar: --via pbx")
            }
            (Self::Silent, Way::Phone) => setting(
                "some phones never answer, or hear SIP on another port or from their registrar only: --via pbx, or \
                 restart it",
            ),
            (Self::Silent | Self::Unreachable, Way::Pbx) => {
                "is the registrar of its account right, and does it speak SIP by UDP?".to_owned()
            }
            (Self::Unreachable, Way::Phone) => {
                "a phone without an account may hear no SIP, and one by TLS or TCP alone not this: --via pbx, or \
                 restart it"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::net::Prefix;
    use crate::net::interfaces::Interface;
    use crate::net::neighbours::{CloneSign, Held};

    fn start() -> Instant {
        Clock::manual(Timestamp(0)).instant()
    }

    fn answer(status: u16) -> Answer {
        Answer { status, realm: None }
    }

    /// When it is repeated and given up, in milliseconds.
    fn times(patience: Duration, provisional_at: Option<u64>) -> Vec<u128> {
        let start = start();
        let mut transaction = Transaction::new(start, patience);
        let mut times = Vec::new();
        loop {
            let due = transaction.poll_timeout();
            times.push((due - start).as_millis());
            if provisional_at == u64::try_from(times.len()).ok() {
                assert_eq!(transaction.handle(answer(100)), None);
            }
            match transaction.handle_timeout(due) {
                Next::Repeat => {}
                Next::Over(outcome) => {
                    assert_eq!(outcome, Outcome::Silent);
                    return times;
                }
            }
        }
    }

    #[test]
    fn a_notify_is_repeated_by_the_timers_of_the_rfc_and_then_given_up() {
        let all = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000];
        assert_eq!(times(TIMER_F, None), all);
        assert_eq!(times(Duration::from_mins(10), None), all, "nobody waits longer");
        assert_eq!(times(Duration::from_secs(2), None), [500, 1_500, 2_000]);
        assert_eq!(times(Duration::from_millis(100), None), [100]);
        assert_eq!(times(Duration::from_secs(10), Some(1)), [500, 4_500, 8_500, 10_000], "working on it");
    }

    #[test]
    fn every_answer_means_something_that_can_be_done() {
        let permit = Some("set X");
        let check = |status: u16, way: Way, word: &str, step: Step, said: &str, remedy: &str| {
            let outcome = Transaction::new(start(), TIMER_F).handle(answer(status)).unwrap();
            assert_eq!((outcome.as_str(), outcome.step(), outcome.status()), (word, step, Some(status)));
            assert!(outcome.said(way).contains(said), "{status}: {}", outcome.said(way));
            assert!(
                outcome.remedy(way, permit).contains(remedy),
                "{status}: {}",
                outcome.remedy(way, permit)
            );
        };
        check(200, Way::Phone, "accepted", Step::Accepted, "the phone accepted it", "");
        check(202, Way::Pbx, "accepted", Step::Accepted, "the PBX accepted it (202)", "");
        check(
            401,
            Way::Phone,
            "challenged",
            Step::Declined,
            "wants a password (401)",
            "set X; or let it come",
        );
        check(
            407,
            Way::Pbx,
            "challenged",
            Step::Declined,
            "the PBX wants a password (407)",
            "without a password",
        );
        check(403, Way::Phone, "refused", Step::Declined, "refused it (403)", "set X; many phones");
        check(405, Way::Phone, "refused", Step::Declined, "refused it (405)", "--via pbx");
        check(404, Way::Pbx, "refused", Step::Declined, "no such number (404)", "not registered");
        check(481, Way::Phone, "refused", Step::Declined, "refused it (481)", "set X");
        check(481, Way::Pbx, "refused", Step::Declined, "refused it (481)", "no proxy");
        check(
            489,
            Way::Phone,
            "refused",
            Step::Declined,
            "does not know this event (489)",
            "set X; its firmware",
        );
        check(603, Way::Phone, "refused", Step::Declined, "refused it (603)", "set X");
        assert_eq!(Outcome::Silent.said(Way::Phone), "the phone did not answer");
        assert!(Outcome::Unreachable.remedy(Way::Pbx, None).contains("registrar"));
        let who = Outcome::Challenged(401, Some("asterisk".to_owned())).said(Way::Phone);
        assert_eq!(who, "the phone wants a password (401, realm \"asterisk\")");
        assert_eq!(Outcome::Silent.remedy(Way::Phone, None).find("some phones"), Some(0));
    }

    #[test]
    fn a_notify_goes_to_the_phone_itself_and_to_nobody_else() {
        let ours = Ipv4Addr::new(192, 0, 2, 1);
        let table = Table::of(vec![Interface {
            index: 3,
            name: "eth0".to_owned(),
            mac: None,
            addresses: vec![(ours, Prefix::new(ours, 24).unwrap())],
            up: true,
            multicast: true,
            loopback: false,
        }]);
        let phone = Ipv4Addr::new(192, 0, 2, 7);
        let here = aim(phone.into(), &table).unwrap();
        assert_eq!(here, Aim { address: phone, interface: 3, ours });
        for elsewhere in ["192.0.3.7", "2001:db8::1"] {
            let elsewhere: IpAddr = elsewhere.parse().unwrap();
            assert_eq!(aim(elsewhere, &table), Err(NotSent::Elsewhere(elsewhere)));
        }
        let other: Mac = "001565000002".parse().unwrap();
        let address = IpAddr::V4(phone);
        let check = |proved: Proved, expected: Result<(), NotSent>| {
            assert_eq!(may_send(&here, &proved), expected);
            if let Err(why) = expected {
                assert!(!why.said().is_empty() && !why.remedy().is_empty(), "{why:?}");
            }
        };
        check(Proved::Yes(Held::default()), Ok(()));
        check(Proved::Other(other), Err(NotSent::Other(address, other)));
        check(Proved::Clone(CloneSign::TwoAnswer { other }), Err(NotSent::Contested(address)));
        check(Proved::Silent, Err(NotSent::Nobody(address)));
        check(Proved::Indistinct, Err(NotSent::Indistinct(address)));
        check(Proved::Unable, Err(NotSent::Unable(address)));
    }

    #[test]
    fn a_rate_is_phones_a_second() {
        for (text, ms) in [("5", 200), ("5/s", 200), ("1", 1_000), ("1000/s", 1)] {
            assert_eq!(text.parse::<Rate>().unwrap().period(), Duration::from_millis(ms), "{text}");
        }
        for text in ["0", "1001", "5/min", "", "-1"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!(Rate::default().to_string(), "5/s");
    }
}
