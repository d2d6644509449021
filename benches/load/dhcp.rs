//! DHCP from the phones' side, through one relay: DISCOVER, OFFER, REQUEST, ACK. The relay's socket is the phones' one way,
//! so that servers need neither a packet socket per phone nor an answer to ARP, and all of them do the same work.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::message::{ACK, Answer, DISCOVER, NAK, OFFER, Question, REQUEST};
use crate::phones::Phones;
use crate::{DhcpArgs, quantiles, wait};

/// RFC 2131, section 4.1: 4 s, doubling, give or take a second; this is the least.
const RESEND_FIRST: Duration = Duration::from_secs(3);
/// Servers and relays (RFC 2131).
const RELAY_PORT: u16 = 67;
/// What a Yealink asks for.
const ASKED: [u8; 10] = [1, 3, 6, 12, 15, 42, 43, 66, 150, 160];

/// The phones' side of many exchanges.
pub(crate) struct Dhcp {
    socket: Socket,
    server: SocketAddrV4,
    relay: Ipv4Addr,
    exchanges: Vec<Exchange>,
    timers: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    buffer: Vec<u8>,
    /// Whether a phone asks again; in an open loop it does not, so that the rate stays what was offered.
    repeats: bool,
    /// Questions that had to be repeated.
    pub(crate) resent: u64,
    /// Offers that were taken back; the phone begins anew.
    pub(crate) refused: u64,
    /// From REQUEST to ACK.
    acknowledged: Vec<Duration>,
}

#[derive(Clone, Default)]
struct Exchange {
    begun: Option<Instant>,
    requested: Option<Instant>,
    tries: u32,
    /// The address and the server of the offer.
    offer: Option<(Ipv4Addr, Ipv4Addr)>,
    address: Option<Ipv4Addr>,
}

/// What a look at the socket brought.
pub(crate) enum Received {
    /// Nothing is there.
    Nothing,
    /// Something that completes no exchange.
    Part,
    /// This phone has a lease, so long after its first DISCOVER.
    Leased(u32, Duration),
}

impl Dhcp {
    pub(crate) fn new(phones: Phones, server: SocketAddrV4, relay: Ipv4Addr, repeats: bool) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let bytes = 64 << 20;
        if setsockopt(&socket, sockopt::RcvBufForce, &bytes).is_err() {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        socket.bind(&SocketAddrV4::new(relay, RELAY_PORT).into()).expect("the relay's address is ours");
        Self {
            socket,
            server,
            relay,
            exchanges: vec![Exchange::default(); phones.count as usize],
            timers: BinaryHeap::new(),
            buffer: vec![0; 2048],
            repeats,
            resent: 0,
            refused: 0,
            acknowledged: Vec::new(),
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Asks what the phone's exchange has come to, and sets its timer.
    pub(crate) fn ask(&mut self, phone: u32, now: Instant) {
        let exchange = &mut self.exchanges[phone as usize];
        exchange.begun.get_or_insert(now);
        let mac = Phones::octets(phone);
        let kind = if exchange.offer.is_some() { REQUEST } else { DISCOVER };
        let mut question = Question::new(kind, mac, phone).through(self.relay);
        if let Some((address, server)) = exchange.offer {
            exchange.requested = Some(now);
            question = question.with(50, &address.octets()).with(54, &server.octets());
        }
        let bytes = question.with(55, &ASKED).with(60, b"yealink").bytes();
        exchange.tries += 1;
        if self.repeats {
            let jitter = Duration::from_millis(u64::from(phone.wrapping_mul(7_919) % 2_000));
            let wait = RESEND_FIRST * (1 << (exchange.tries - 1).min(2)) + jitter;
            self.timers.push(Reverse((now + wait, phone, exchange.tries)));
        }
        let to = self.server.into();
        while let Err(error) = self.socket.send_to(&bytes, &to) {
            assert!(error.kind() == ErrorKind::WouldBlock, "sending to {}: {error}", self.server);
            std::thread::yield_now();
        }
    }

    /// Repeats what is due.
    pub(crate) fn repeat_due(&mut self, now: Instant) {
        while let Some(Reverse((at, phone, tries))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            let exchange = &self.exchanges[phone as usize];
            if exchange.address.is_none() && exchange.tries == tries {
                self.resent += 1;
                self.ask(phone, now);
            }
        }
    }

    /// Takes one datagram.
    pub(crate) fn receive(&mut self) -> Received {
        let length = match std::io::Read::read(&mut &self.socket, &mut self.buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
            // Nobody is there yet, or no more.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Received::Part,
            Err(error) => panic!("receiving: {error}"),
        };
        let now = Instant::now();
        let Some(answer) = Answer::read(&self.buffer[..length]) else { return Received::Part };
        let phone = answer.xid();
        let Some(exchange) = self.exchanges.get_mut(phone as usize) else { return Received::Part };
        assert_eq!(answer.mac(), Phones::octets(phone), "an answer to another phone's question");
        match (answer.kind(), exchange.offer, answer.server()) {
            (OFFER, None, Some(server)) => {
                exchange.offer = Some((answer.yiaddr(), server));
                exchange.tries = 0;
                self.ask(phone, now);
                Received::Part
            }
            (ACK, Some((address, _)), _) if exchange.address.is_none() => {
                assert_eq!(answer.yiaddr(), address, "the ACK gives what was offered");
                exchange.address = Some(address);
                self.acknowledged.extend(exchange.requested.map(|at| now - at));
                Received::Leased(phone, now - exchange.begun.unwrap_or(now))
            }
            (NAK, Some(_), _) if exchange.address.is_none() => {
                self.refused += 1;
                (exchange.offer, exchange.tries) = (None, 0);
                self.ask(phone, now);
                Received::Part
            }
            _ => Received::Part,
        }
    }

    fn assert_nothing_was_given_twice(&self) {
        let mut given: Vec<Ipv4Addr> = self.exchanges.iter().filter_map(|one| one.address).collect();
        given.sort_unstable();
        assert!(given.windows(2).all(|pair| pair[0] != pair[1]), "two phones have the same address");
    }
}

/// Closed loop, open loop (`--rate`) or all at once, until every phone has a lease or patience ends.
pub(crate) fn run(args: &DhcpArgs) -> serde_json::Value {
    let phones = Phones::new(&args.phones);
    let mut dhcp = Dhcp::new(phones, args.server, args.relay, args.rate == 0);
    let begun = Instant::now();
    let mut deadline = begun + Duration::from_secs_f64(args.patience);
    let mut next = if args.rate == 0 { args.inflight.min(phones.count) } else { 0 };
    (0..next).for_each(|phone| dhcp.ask(phone, Instant::now()));
    let mut times = Vec::new();
    let mut last = begun;
    let mut offered_for = Duration::ZERO;
    while times.len() < phones.count as usize && Instant::now() < deadline {
        if args.rate > 0 && next < phones.count {
            let due = begun.elapsed().as_secs_f64() * f64::from(args.rate);
            while next < phones.count && f64::from(next) <= due {
                dhcp.ask(next, Instant::now());
                next += 1;
            }
            if next == phones.count {
                // Who is not served a second after the last one has asked is lost.
                offered_for = begun.elapsed();
                deadline = deadline.min(Instant::now() + Duration::from_secs(1));
            }
        }
        match dhcp.receive() {
            Received::Nothing => {
                dhcp.repeat_due(Instant::now());
                if args.rate == 0 || next == phones.count {
                    wait(&dhcp.socket, Duration::from_millis(1));
                }
            }
            Received::Part => {}
            Received::Leased(_, took) => {
                last = Instant::now();
                times.push(took);
                if args.rate == 0 && next < phones.count {
                    dhcp.ask(next, last);
                    next += 1;
                }
            }
        }
    }
    dhcp.assert_nothing_was_given_twice();
    let span = (last - begun).as_secs_f64();
    let dora = quantiles(times.clone());
    serde_json::json!({
        "phones": phones.count,
        "done": times.len(),
        "lost": phones.count as usize - times.len(),
        "resent": dhcp.resent,
        "refused": dhcp.refused,
        "offered_per_s": f64::from(phones.count) / offered_for.as_secs_f64(),
        "last_s": span,
        "per_s": times.len() as f64 / span,
        "p99_ms": dora["p99"],
        "ms": dora,
        "ack_ms": quantiles(dhcp.acknowledged),
    })
}
