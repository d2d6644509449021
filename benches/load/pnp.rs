//! PnP from the phones' side: SUBSCRIBE with RFC 3261's timer (500 ms, doubling to 4 s), 200, NOTIFY, 200.
//! One socket serves all phones: each datagram names the phone's own address as its source.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Socket, Type};

use crate::phones::Phones;
use crate::{SipArgs, quantiles, wait};

/// RFC 3261, T1 and T2.
const RESEND_FIRST: Duration = Duration::from_millis(500);
const RESEND_MAX: Duration = Duration::from_secs(4);

/// The phones' side of many exchanges.
pub(crate) struct Pnp {
    socket: Socket,
    phones: Phones,
    server: SocketAddrV4,
    interface: u32,
    exchanges: Vec<Exchange>,
    timers: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    buffer: Vec<u8>,
    /// SUBSCRIBEs that had to be repeated.
    pub(crate) resent: u64,
    /// NOTIFYs that came again.
    pub(crate) notified_again: u64,
}

#[derive(Clone, Default)]
struct Exchange {
    begun: Option<Instant>,
    tries: u32,
    answered: bool,
    notified: bool,
    url: String,
}

/// What a look at the socket brought.
pub(crate) enum Received {
    /// Nothing is there.
    Nothing,
    /// Something that serves no phone yet.
    Part,
    /// A phone has just been served.
    Served(Provisioned),
}

/// A phone that has its URL, and how long it took.
pub(crate) struct Provisioned {
    pub(crate) phone: u32,
    pub(crate) took: Duration,
    pub(crate) url: String,
}

impl Pnp {
    pub(crate) fn new(phones: Phones, server: SocketAddrV4, interface: u32) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
        let bytes = 64 << 20;
        if setsockopt(&socket, sockopt::RcvBufForce, &bytes).is_err() {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5060).into()).unwrap();
        Self {
            socket,
            phones,
            server,
            interface,
            exchanges: vec![Exchange::default(); phones.count as usize],
            timers: BinaryHeap::new(),
            buffer: vec![0; 65_536],
            resent: 0,
            notified_again: 0,
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn subscribe(&mut self, phone: u32, now: Instant) {
        let exchange = &mut self.exchanges[phone as usize];
        exchange.begun.get_or_insert(now);
        exchange.tries += 1;
        let wait = RESEND_FIRST.saturating_mul(1 << (exchange.tries - 1).min(5)).min(RESEND_MAX);
        self.timers.push(Reverse((now + wait, phone, exchange.tries)));
        let message = self.phones.subscribe(phone);
        self.send(phone, &message, self.server, self.interface);
    }

    /// Repeats what is due; gives the moment of the next one.
    pub(crate) fn repeat_due(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((at, phone, tries))) = self.timers.peek().copied() {
            if at > now {
                return Some(at);
            }
            self.timers.pop();
            let exchange = &self.exchanges[phone as usize];
            if !(exchange.answered && exchange.notified) && exchange.tries == tries {
                self.resent += 1;
                self.subscribe(phone, now);
            }
        }
        None
    }

    /// Takes one datagram.
    pub(crate) fn receive(&mut self) -> Received {
        let Some((length, from, to)) = self.datagram() else { return Received::Nothing };
        let now = Instant::now();
        let Some(phone) = self.phones.at(to) else { return Received::Part };
        let text = String::from_utf8_lossy(&self.buffer[..length]).into_owned();
        let exchange = &mut self.exchanges[phone as usize];
        let was_served = exchange.answered && exchange.notified;
        if text.starts_with("SIP/2.0 200") {
            exchange.answered = true;
        } else if text.starts_with("NOTIFY ") {
            self.notified_again += u64::from(exchange.notified);
            exchange.notified = true;
            text.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim().clone_into(&mut exchange.url);
            let answer = answer_to(&text);
            self.send(phone, answer.as_bytes(), from, 0);
        }
        let exchange = &mut self.exchanges[phone as usize];
        let served = !was_served && exchange.answered && exchange.notified;
        let took = now - exchange.begun.unwrap_or(now);
        if !served {
            return Received::Part;
        }
        Received::Served(Provisioned { phone, took, url: std::mem::take(&mut exchange.url) })
    }

    fn datagram(&mut self) -> Option<(usize, SocketAddrV4, Ipv4Addr)> {
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let mut control = nix::cmsg_space!(in_pktinfo);
        let received = recvmsg::<SockaddrIn>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let received = match received {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return None,
            Err(error) => panic!("receiving: {error}"),
        };
        let target = received.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
            }
            _ => None,
        });
        Some((received.bytes, received.address.unwrap().into(), target.unwrap()))
    }

    /// Sends as the phone; a full queue is waited for, because a phone has a network of its own.
    fn send(&self, phone: u32, bytes: &[u8], to: SocketAddrV4, interface: u32) {
        let source = u32::from(self.phones.address(phone)).to_be();
        let info = in_pktinfo {
            ipi_ifindex: i32::try_from(interface).unwrap(),
            ipi_spec_dst: in_addr { s_addr: source },
            ipi_addr: in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let to = SockaddrIn::from(to);
        while let Err(error) =
            sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&to))
        {
            assert!(matches!(error, Errno::EAGAIN | Errno::ENOBUFS), "sending to {to}: {error}");
            std::thread::yield_now();
        }
    }
}

/// A 200 with the headers of the request that RFC 3261 wants back.
fn answer_to(request: &str) -> String {
    let head = request.split_once("\r\n\r\n").map_or(request, |(head, _)| head);
    let kept = head.lines().filter(|line| {
        ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
    });
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for line in kept {
        answer.push_str(line);
        answer.push_str("\r\n");
    }
    answer + "Content-Length: 0\r\n\r\n"
}

/// Closed loop or burst, until every phone is served or patience ends.
pub(crate) fn run(args: &SipArgs) -> serde_json::Value {
    let phones = Phones::new(&args.phones);
    let mut pnp = Pnp::new(phones, args.server, args.interface);
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs_f64(args.patience);
    let mut next = if args.burst { phones.count } else { args.inflight.min(phones.count) };
    (0..next).for_each(|phone| pnp.subscribe(phone, Instant::now()));
    let mut times = Vec::new();
    let mut last = begun;
    while times.len() < phones.count as usize && Instant::now() < deadline {
        match pnp.receive() {
            Received::Nothing => {
                pnp.repeat_due(Instant::now());
                wait(&pnp.socket, Duration::from_millis(1));
            }
            Received::Part => {}
            Received::Served(served) => {
                assert!(served.url.starts_with("http"), "a NOTIFY without a URL: {:?}", served.url);
                last = Instant::now();
                times.push(served.took);
                if next < phones.count {
                    pnp.subscribe(next, last);
                    next += 1;
                }
            }
        }
    }
    let span = (last - begun).as_secs_f64();
    serde_json::json!({
        "phones": phones.count,
        "done": times.len(),
        "lost": phones.count as usize - times.len(),
        "resent": pnp.resent,
        "notified_again": pnp.notified_again,
        "last_s": span,
        "per_s": times.len() as f64 / span,
        "late": times.iter().filter(|took| took.as_secs() >= 5).count(),
        "ms": quantiles(times),
    })
}
