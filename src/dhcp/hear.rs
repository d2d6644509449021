//! Follows the DHCP exchanges of phones as far as they are heard: what the phone asked, who answered, with what, and whom
//! it chose. Never sends, never waits, never guesses what was not heard.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Packet;
use super::message::{Kind, Message, Options, code};
use crate::device::Mac;

/// Exchanges at a time, some 2 KB each: a fleet of 10,000 that boots at once. Beyond, the oldest is forgotten.
pub const EXCHANGES_MAX: usize = 16_384;
/// Messages of them: four each, and for each that is repeated without end there is room still.
const HEARD_MAX: usize = EXCHANGES_MAX * 8;
/// An answer comes within this, or was not heard: longer than a server that pings an address before it offers it (3 s),
/// and after a phone has repeated its question once (4 s; RFC 2131, section 4.1).
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Offers of one exchange that are kept; more servers on one link than that are a flood.
const OFFERS_MAX: usize = 4;
/// Octets of a text or number that a client writes about itself.
const OCTETS_MAX: usize = 128;

/// The memory of exchanges.
#[derive(Debug, Default)]
pub struct Hear {
    exchanges: HashMap<Key, Exchange>,
    /// What was heard, the oldest first: an exchange is due by the last that stands here of it.
    heard: VecDeque<(Instant, Key)>,
    concluded: VecDeque<Exchange>,
    forgotten: u64,
}

type Key = (u32, Mac, u32);

/// One exchange of a phone, from its first question that was heard to the last answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// On which interface it was heard.
    pub interface: u32,
    /// Whose.
    pub mac: Mac,
    /// What it asked, the last question first of all; nothing where only the answer was heard.
    pub asked: Option<Question>,
    /// What it was offered.
    pub offers: Vec<Answer>,
    /// What it was given, or denied.
    pub answer: Option<Answer>,
    /// When the last of it was heard.
    pub at: Instant,
    pub(super) over: bool,
}

/// What a phone asked, and what it says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// DISCOVER, REQUEST, INFORM; or DECLINE, RELEASE.
    pub kind: Kind,
    /// The server that it names (option 54): it has chosen that one's offer.
    pub server: Option<Ipv4Addr>,
    /// The address that it has (`ciaddr`) or wants (option 50).
    pub address: Option<Ipv4Addr>,
    /// Option 60.
    pub class: Option<Vec<u8>>,
    /// Option 55.
    pub options: Vec<u8>,
    /// Option 12.
    pub host_name: Option<String>,
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
    /// The relay that passed it on.
    pub relay: Option<Relay>,
}

/// A relay, and what it says about where the phone is plugged in (option 82, RFC 3046).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// `giaddr`
    pub address: Ipv4Addr,
    /// Sub-option 1.
    pub circuit: Option<Vec<u8>>,
    /// Sub-option 2.
    pub remote: Option<Vec<u8>>,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// OFFER, ACK or NAK.
    pub kind: Kind,
    /// As it names itself (option 54), else where the answer came from.
    pub server: Ipv4Addr,
    /// Who put it on this link: the server, or a router.
    pub sender: Option<Mac>,
    /// The address that it gives.
    pub address: Option<Ipv4Addr>,
    /// The next server of the boot (`siaddr`).
    pub next_server: Option<Ipv4Addr>,
    /// What it gives beside; `sname` and `file` stand in for options 66 and 67 that are not there.
    pub options: Options,
}

impl Hear {
    /// Takes a message in. `is_phone` says of whom: of others nothing is kept.
    pub fn handle(&mut self, packet: &Packet, is_phone: bool, now: Instant) {
        let message = &packet.message;
        let key = (packet.interface, message.mac, message.xid);
        match message.kind {
            Kind::Offer | Kind::Ack | Kind::Nak => {
                // Who asked as a phone is one, whatever its address looks like in the answer.
                if is_phone || self.exchanges.contains_key(&key) {
                    self.answered(key, Answer::read(packet), now);
                }
            }
            Kind::Discover | Kind::Request | Kind::Inform if is_phone => {
                let exchange = self.exchange(key, now);
                if !exchange.over {
                    exchange.asked = Some(Question::read(message));
                }
            }
            Kind::Decline | Kind::Release if is_phone => {
                let exchange = Exchange { asked: Some(Question::read(message)), ..Exchange::new(key, now) };
                self.conclude(exchange);
            }
            Kind::Discover
            | Kind::Request
            | Kind::Inform
            | Kind::Decline
            | Kind::Release
            | Kind::ForceRenew => {}
        }
    }

    /// The next exchange that is over, or of which no more was heard in time.
    pub fn next_concluded(&mut self) -> Option<Exchange> {
        self.concluded.pop_front()
    }

    /// How many [`Self::next_concluded`] has.
    pub fn concluded(&self) -> usize {
        self.concluded.len()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.heard.front().map(|(at, _)| *at + ANSWER_WITHIN)
    }

    /// Concludes the exchanges whose answer was not heard in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.heard.front().is_some_and(|(at, _)| *at + ANSWER_WITHIN <= now) {
            if let Some(exchange) = self.take_oldest().filter(|exchange| !exchange.over) {
                self.conclude(exchange);
            }
        }
    }

    /// Takes away the oldest that was heard; and its exchange, unless more was heard of that since.
    fn take_oldest(&mut self) -> Option<Exchange> {
        let (at, key) = self.heard.pop_front()?;
        let is_last = self.exchanges.get(&key).is_some_and(|exchange| exchange.at == at);
        if is_last { self.exchanges.remove(&key) } else { None }
    }

    /// How many exchanges were forgotten because too many were under way.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn answered(&mut self, key: Key, answer: Answer, now: Instant) {
        let exchange = self.exchange(key, now);
        if exchange.over {
            return;
        }
        if answer.kind == Kind::Offer {
            if exchange.offers.len() < OFFERS_MAX && !exchange.offers.contains(&answer) {
                exchange.offers.push(answer);
            }
            return;
        }
        // That it was stays for a while, so that the same answer, repeated or heard twice, is not told twice.
        let (asked, offers) = (exchange.asked.take(), std::mem::take(&mut exchange.offers));
        let told = Exchange { asked, offers, answer: Some(answer), over: true, ..*exchange };
        exchange.over = true;
        self.conclude(told);
    }

    /// Whoever tells of them takes its time; a fleet of 10,000 waits for it, and of a flood the oldest are forgotten.
    fn conclude(&mut self, exchange: Exchange) {
        if self.concluded.len() >= EXCHANGES_MAX {
            self.forgotten += 1;
            self.concluded.pop_front();
        }
        self.concluded.push_back(exchange);
    }

    /// The exchange, which something was just heard of.
    fn exchange(&mut self, key: Key, now: Instant) -> &mut Exchange {
        if !self.exchanges.contains_key(&key) && self.exchanges.len() >= EXCHANGES_MAX {
            self.forgotten += 1;
            while !self.heard.is_empty() && self.take_oldest().is_none() {}
        }
        if self.heard.len() >= HEARD_MAX {
            let exchanges = &self.exchanges;
            self.heard.retain(|(at, key)| exchanges.get(key).is_some_and(|exchange| exchange.at == *at));
        }
        self.heard.push_back((now, key));
        let exchange = self.exchanges.entry(key).or_insert_with(|| Exchange::new(key, now));
        exchange.at = now;
        exchange
    }
}

impl Exchange {
    fn new((interface, mac, _): Key, at: Instant) -> Self {
        Self { interface, mac, asked: None, offers: Vec::new(), answer: None, at, over: false }
    }

    /// One of which nothing was heard: for tests of what is told.
    #[cfg(test)]
    pub(super) fn of(mac: Mac, at: Instant) -> Self {
        Self::new((2, mac, 0), at)
    }
}

impl Question {
    fn read(message: &Message) -> Self {
        let options = &message.options;
        let octets = |code| options.get(code).map(|octets| octets.iter().take(OCTETS_MAX).copied().collect());
        Self {
            kind: message.kind,
            server: options.address(code::SERVER),
            address: given(message.ciaddr).or_else(|| options.address(code::REQUESTED_ADDRESS)),
            class: octets(code::VENDOR_CLASS),
            options: options.asked().iter().take(OCTETS_MAX).copied().collect(),
            host_name: options.text(code::HOST_NAME).map(|name| name.chars().take(OCTETS_MAX).collect()),
            client_id: octets(code::CLIENT_ID),
            relay: Relay::read(message),
        }
    }
}

impl Relay {
    fn read(message: &Message) -> Option<Self> {
        let address = given(message.giaddr)?;
        let mut relay = Self { address, circuit: None, remote: None };
        let mut rest = message.options.get(code::RELAY_AGENT).unwrap_or_default();
        while let [number, len, behind @ ..] = rest {
            let Some((value, next)) = behind.split_at_checked(usize::from(*len)) else { break };
            let value = value.iter().take(OCTETS_MAX).copied().collect();
            match number {
                1 => relay.circuit = Some(value),
                2 => relay.remote = Some(value),
                _ => {}
            }
            rest = next;
        }
        Some(relay)
    }
}

impl Answer {
    fn read(packet: &Packet) -> Self {
        let Packet { message, from, sender, .. } = packet;
        let fields = [(code::TFTP_SERVER, &message.sname), (code::BOOT_FILE, &message.file)];
        let missing = fields.into_iter().filter(|(_, field)| !field.is_empty());
        let missing = missing.map(|(code, field)| (code, field.as_slice()));
        Self {
            kind: message.kind,
            server: message.options.address(code::SERVER).unwrap_or(*from.ip()),
            sender: *sender,
            address: given(message.yiaddr).or_else(|| given(message.ciaddr)),
            next_server: given(message.siaddr),
            options: message.options.with_missing(missing),
        }
    }
}

/// 0.0.0.0 stands for none.
fn given(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::dhcp::message::Draft;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const PHONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

    fn mac(last: u32) -> Mac {
        let [a, b, c, d] = last.to_be_bytes();
        Mac::new([0x80, 0x5e, a, b, c, d]).unwrap()
    }

    fn packet(draft: &Draft) -> Packet {
        let message = Message::read(&draft.write(1_472).bytes).unwrap();
        let from = if message.from_server { SERVER } else { Ipv4Addr::UNSPECIFIED };
        Packet {
            interface: 2,
            sender: Some(mac(0)),
            is_own_hosts: false,
            from: SocketAddrV4::new(from, 67),
            to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
            message,
        }
    }

    fn question(kind: Kind, xid: u32, options: &[(u8, &[u8])]) -> Draft {
        let options = options.iter().copied().collect();
        Draft { options, ..Draft::question(kind, mac(1), xid) }
    }

    fn answer(kind: Kind, xid: u32, options: &[(u8, &[u8])]) -> Draft {
        Draft { from_server: true, yiaddr: PHONE, ..question(kind, xid, options) }
    }

    struct Bench {
        hear: Hear,
        clock: Clock,
    }

    impl Bench {
        fn new() -> Self {
            Self { hear: Hear::default(), clock: Clock::manual(Timestamp(0)) }
        }

        fn hears(&mut self, draft: &Draft) -> Option<Exchange> {
            self.hear.handle(&packet(draft), true, self.clock.instant());
            self.hear.next_concluded()
        }

        fn after(&mut self, seconds: u64) -> Option<Exchange> {
            self.clock.advance(Duration::from_secs(seconds));
            self.hear.handle_timeout(self.clock.instant());
            self.hear.next_concluded()
        }
    }

    #[test]
    fn an_exchange_that_is_heard_to_its_end_is_concluded_once() {
        let mut bench = Bench::new();
        let class = (code::VENDOR_CLASS, b"yealink\0".as_slice());
        let discover = question(Kind::Discover, 7, &[class, (code::ASKED, &[1, 3, 66])]);
        assert_eq!(bench.hears(&discover), None);
        let offer = answer(Kind::Offer, 7, &[(code::SERVER, &SERVER.octets())]);
        assert_eq!((bench.hears(&offer), bench.hears(&offer)), (None, None));
        let mut request = question(Kind::Request, 7, &[class, (code::SERVER, &SERVER.octets())]);
        request.options.push(code::REQUESTED_ADDRESS, &PHONE.octets());
        assert_eq!(bench.hears(&request), None);
        let mut ack = answer(Kind::Ack, 7, &[(code::SERVER, &SERVER.octets())]);
        ack.options.push(code::TFTP_SERVER, b"http://192.0.2.9/");
        let told = bench.hears(&ack).unwrap();
        let (asked, given) = (told.asked.unwrap(), told.answer.unwrap());
        assert_eq!((asked.kind, asked.server, asked.address), (Kind::Request, Some(SERVER), Some(PHONE)));
        assert_eq!(asked.class.as_deref(), Some(b"yealink\0".as_slice()));
        assert_eq!((told.offers.len(), given.kind, given.server), (1, Kind::Ack, SERVER));
        assert_eq!(
            (given.address, given.options.text(66).as_deref()),
            (Some(PHONE), Some("http://192.0.2.9/"))
        );
        assert_eq!(bench.hears(&ack), None, "heard twice: on a bridge and its port, or repeated");
        assert_eq!(bench.after(60), None);
        assert!(bench.hear.exchanges.is_empty() && bench.hear.heard.is_empty());
        assert_eq!(bench.hear.poll_timeout(), None);
    }

    #[test]
    fn an_answer_that_a_switch_hides_is_awaited_and_not_guessed() {
        let mut bench = Bench::new();
        bench.hears(&question(Kind::Discover, 7, &[]));
        assert_eq!(bench.after(4), None);
        bench.hears(&question(Kind::Request, 7, &[(code::SERVER, &SERVER.octets())]));
        assert_eq!(bench.after(4), None, "the last question counts");
        let told = bench.after(1).unwrap();
        assert_eq!((told.answer, told.offers.len()), (None, 0));
        assert_eq!(told.asked.unwrap().server, Some(SERVER));
        assert_eq!(bench.after(60), None);
    }

    #[test]
    fn an_answer_alone_tells_who_gave_what() {
        let mut bench = Bench::new();
        let ack = answer(Kind::Ack, 7, &[(code::TFTP_SERVER, b"192.0.2.9")]);
        let told = bench.hears(&ack).unwrap();
        assert_eq!((told.asked, told.answer.unwrap().server), (None, SERVER), "where it came from");
        let mut hear = Hear::default();
        hear.handle(&packet(&ack), false, bench.clock.instant());
        assert_eq!((hear.next_concluded(), hear.exchanges.len()), (None, 0), "of others nothing is kept");
    }

    #[test]
    fn what_ends_a_lease_is_told_at_once() {
        let mut bench = Bench::new();
        for kind in [Kind::Decline, Kind::Release] {
            let told =
                bench.hears(&question(kind, 9, &[(code::REQUESTED_ADDRESS, &PHONE.octets())])).unwrap();
            assert_eq!((told.asked.unwrap().kind, told.answer), (kind, None));
        }
        assert!(bench.hear.exchanges.is_empty());
    }

    #[test]
    fn a_relay_and_its_option_82_are_read() {
        let mut bench = Bench::new();
        let relayed = Draft {
            giaddr: Ipv4Addr::new(10, 9, 0, 1),
            ..question(Kind::Discover, 7, &[(code::RELAY_AGENT, b"\x01\x04eth7\x02\x02ab\x09\xff")])
        };
        bench.hears(&relayed);
        let relay = bench.after(60).unwrap().asked.unwrap().relay.unwrap();
        assert_eq!(relay.address, Ipv4Addr::new(10, 9, 0, 1));
        assert_eq!(
            (relay.circuit.as_deref(), relay.remote.as_deref()),
            (Some(&b"eth7"[..]), Some(&b"ab"[..]))
        );
    }

    #[test]
    fn a_starvation_flood_does_not_grow_the_memory() {
        let mut bench = Bench::new();
        let flood = u32::try_from(EXCHANGES_MAX).unwrap() + 1_000;
        for last in 0..flood {
            let draft = Draft::question(Kind::Discover, mac(last), 7);
            bench.hear.handle(&packet(&draft), true, bench.clock.instant());
        }
        assert_eq!((bench.hear.exchanges.len(), bench.hear.heard.len()), (EXCHANGES_MAX, EXCHANGES_MAX));
        assert_eq!(bench.hear.forgotten(), 1_000);
        let repeated = packet(&Draft::question(Kind::Discover, mac(flood), 7));
        for _ in 0..HEARD_MAX {
            bench.clock.advance(Duration::from_millis(1));
            bench.hear.handle(&repeated, true, bench.clock.instant());
        }
        assert!(bench.hear.heard.len() <= HEARD_MAX, "one that asks without end");
        assert_eq!(bench.hear.forgotten(), 1_001);
        for last in 0..flood {
            let draft = Draft::question(Kind::Discover, mac(last), 8);
            bench.hear.handle(&packet(&draft), false, bench.clock.instant());
        }
        assert_eq!(bench.hear.forgotten(), 1_001, "who is no phone leaves no trace");
        bench.after(5);
        assert!(bench.hear.exchanges.is_empty() && bench.hear.heard.is_empty());
    }
}
