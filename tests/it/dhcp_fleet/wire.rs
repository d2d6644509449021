//! The link of a whole fleet: one packet socket that sends as any host and hears what is sent to any of them.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use offhook::net::sys::on_link;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::lab::Host;

/// Every frame, of every protocol (`ETH_P_ALL`): also what another socket of this host sends.
const ETHERNET_ALL: u16 = 0x0003;
const IPV4: [u8; 2] = [8, 0];
const ARP: [u8; 2] = [8, 6];
pub(crate) const EVERYBODY: [u8; 6] = [0xff; 6];
const CLIENT_PORT: u16 = 68;

pub(crate) struct Wire {
    socket: Socket,
    interface: u32,
}

/// What a fleet has to hear.
pub(crate) enum Heard<'a> {
    /// Somebody sends to port 68: the frame's sender, and the message.
    Answer([u8; 6], &'a [u8]),
    /// Somebody asks who has an address: who asks, at which address, and for which.
    Arp([u8; 6], Ipv4Addr, Ipv4Addr),
}

impl Wire {
    /// On `eth0` of the host.
    pub(crate) fn open(host: &Host) -> Self {
        host.inside(|| {
            let every = Protocol::from(i32::from(ETHERNET_ALL.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(every)).expect("root of the lab");
            socket.attach_filter(&filter()).expect("a filter that the kernel takes");
            let _ = socket.set_recv_buffer_size(16 << 20);
            socket.set_nonblocking(true).expect("a socket");
            let interface = nix::net::if_::if_nametoindex("eth0").expect("every host of the lab has it");
            Self { socket, interface }
        })
    }

    /// Sends a whole frame; a full queue is waited for, because every client has a cable of its own.
    pub(crate) fn send(&self, frame: &[u8]) {
        let to = on_link(self.interface, 0x0800, None);
        while let Err(error) = self.socket.send_to(frame, &to) {
            let full = [nix::libc::EAGAIN, nix::libc::ENOBUFS];
            assert!(error.raw_os_error().is_some_and(|code| full.contains(&code)), "sending: {error}");
            std::thread::yield_now();
        }
    }

    /// Waits until there is something to hear, at most this long.
    pub(crate) fn wait(&self, most: Duration) {
        let mut set = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut set, u16::try_from(most.as_millis() + 1).unwrap_or(u16::MAX));
    }

    /// The next thing heard, if there is one.
    pub(crate) fn hear<'a>(&self, buffer: &'a mut [u8]) -> Option<Heard<'a>> {
        loop {
            let length = (&self.socket).read(buffer).ok()?;
            // What is heard is looked at where it lies; the borrow ends here when it is nothing.
            if understand(&buffer[..length]).is_some() {
                return understand(&buffer[..length]);
            }
        }
    }
}

fn understand(frame: &[u8]) -> Option<Heard<'_>> {
    let sender = frame.get(6..12)?.try_into().ok()?;
    let address = |from: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(from..from + 4)?).ok()?));
    match frame.get(12..14)? {
        kind if kind == ARP => {
            (frame.get(21)? == &1).then_some(Heard::Arp(sender, address(28)?, address(38)?))
        }
        kind if kind == IPV4 => {
            let udp = 14 + usize::from(frame.get(14)? & 15) * 4;
            Some(Heard::Answer(sender, frame.get(udp + 8..)?))
        }
        _ => None,
    }
}

/// One UDP datagram as a frame.
pub(crate) fn datagram(macs: [[u8; 6]; 2], from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).expect("one datagram");
    let (source, target) = (from.ip().octets(), to.ip().octets());
    let mut ip =
        [&[0x45, 0][..], &(udp_len + 20).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0], &source, &target]
            .concat();
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp =
        [&from.port().to_be_bytes()[..], &to.port().to_be_bytes(), &udp_len.to_be_bytes(), &[0, 0], payload]
            .concat();
    let pseudo = [&source[..], &target, &[0, 17], &udp_len.to_be_bytes(), &udp].concat();
    udp[6..8].copy_from_slice(&checksum(&pseudo).max(1).to_be_bytes());
    let [sender, receiver] = macs;
    [&receiver[..], &sender, &IPV4, &ip, &udp].concat()
}

/// The answer of `owner`, who has `address`, to who asked for it.
pub(crate) fn arp_answer(
    owner: [u8; 6],
    address: Ipv4Addr,
    asker: [u8; 6],
    asker_address: Ipv4Addr,
) -> Vec<u8> {
    let body = [&owner[..], &address.octets(), &asker, &asker_address.octets()].concat();
    [&asker[..], &owner, &ARP, &[0, 1, 8, 0, 6, 4, 0, 2], &body].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// The classic BPF program: ARP, and IPv4 UDP to port 68. A flood of questions beside us costs us nothing.
fn filter() -> [SockFilter; 10] {
    let step = SockFilter::new;
    [
        step(0x28, 0, 0, 12),
        step(0x15, 6, 0, 0x0806),
        step(0x15, 0, 6, 0x0800),
        step(0x30, 0, 0, 23),
        step(0x15, 0, 4, 17),
        step(0xb1, 0, 0, 14),
        step(0x48, 0, 0, 16),
        step(0x15, 0, 1, u32::from(CLIENT_PORT)),
        step(0x06, 0, 0, u32::MAX),
        step(0x06, 0, 0, 0),
    ]
}
