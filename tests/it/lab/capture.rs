//! What really went over a host's wires: frames from a packet socket, read as IPv4 and UDP by fixed offsets.
//! No code of the product is asked what was sent.

use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::PATIENCE;

/// Every frame, of every protocol (`ETH_P_ALL`).
const ETHERNET_ALL: u16 = 0x0003;
/// How long one read waits before it looks whether the capture is over.
const READ_TIMEOUT: Duration = Duration::from_millis(50);

/// A running capture of one host; ends with its handle.
pub(crate) struct Capture {
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    packets: Mutex<Vec<Packet>>,
    more: Condvar,
    over: AtomicBool,
}

/// One frame.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// Ethernet source, `00:15:65:f4:f9:e1`.
    pub(crate) source_mac: String,
    /// Ethernet destination.
    pub(crate) target_mac: String,
    /// `0x0800` IPv4, `0x0806` ARP, …
    pub(crate) ether_type: u16,
    /// 0.0.0.0 when it is not IPv4.
    pub(crate) source: Ipv4Addr,
    /// 0.0.0.0 when it is not IPv4.
    pub(crate) target: Ipv4Addr,
    /// 6 TCP, 17 UDP, 0 when it is not IPv4.
    pub(crate) protocol: u8,
    /// Ports of TCP and UDP, else 0.
    pub(crate) source_port: u16,
    /// As above.
    pub(crate) target_port: u16,
    /// What a UDP datagram or a TCP segment carries; empty otherwise.
    pub(crate) payload: Vec<u8>,
}

impl Capture {
    /// Begins, in the calling thread's namespace; frames that pass from now on are seen.
    pub(super) fn start() -> Self {
        let every = Protocol::from(i32::from(ETHERNET_ALL.to_be()));
        let mut socket =
            Socket::new(Domain::PACKET, Type::RAW, Some(every)).expect("a packet socket in the lab");
        socket.set_read_timeout(Some(READ_TIMEOUT)).expect("a timeout that is not zero");
        let _ = socket.set_recv_buffer_size(4 << 20);
        let seen = Arc::<Seen>::default();
        let writer = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut frame = vec![0; 65_536];
            while !writer.over.load(Ordering::Relaxed) {
                if let Some(packet) =
                    socket.read(&mut frame).ok().and_then(|length| Packet::read(&frame[..length]))
                {
                    writer.packets.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
                    writer.more.notify_all();
                }
            }
        });
        Self { seen }
    }

    /// The first packet that fits, waiting for it; fails with a list of what was seen when none comes.
    pub(crate) fn expect(&self, what: &str, fits: impl Fn(&Packet) -> bool) -> Packet {
        self.expect_count(what, 1, fits).remove(0)
    }

    /// The first `count` packets that fit, waiting for them.
    pub(crate) fn expect_count(
        &self,
        what: &str,
        count: usize,
        fits: impl Fn(&Packet) -> bool,
    ) -> Vec<Packet> {
        let deadline = Instant::now() + PATIENCE;
        let mut packets = self.seen.packets.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found: Vec<Packet> =
                packets.iter().filter(|packet| fits(packet)).take(count).cloned().collect();
            if found.len() == count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never seen: {what}; seen were:\n{}", list(&packets));
            packets = self.seen.more.wait_timeout(packets, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first packet that fits and comes within half a second (the time after which a phone repeats itself).
    pub(crate) fn soon(&self, fits: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let deadline = Instant::now() + Duration::from_millis(500);
        let mut packets = self.seen.packets.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(packet) = packets.iter().find(|packet| fits(packet)) {
                return Some(packet.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            packets = self.seen.more.wait_timeout(packets, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many packets so far fit.
    pub(crate) fn count(&self, fits: impl Fn(&Packet) -> bool) -> usize {
        self.all(fits).len()
    }

    /// All packets so far that fit, in order.
    pub(crate) fn all(&self, fits: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        let packets = self.seen.packets.lock().unwrap_or_else(PoisonError::into_inner);
        packets.iter().filter(|packet| fits(packet)).cloned().collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
    }
}

impl Packet {
    /// UDP to this port.
    pub(crate) fn to_port(port: u16) -> impl Fn(&Self) -> bool {
        move |packet| packet.protocol == 17 && packet.target_port == port
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    fn read(frame: &[u8]) -> Option<Self> {
        let (target_mac, rest) = frame.split_at_checked(6)?;
        let (source_mac, rest) = rest.split_at_checked(6)?;
        let (ether_type, body) = rest.split_at_checked(2)?;
        let mut packet = Self {
            source_mac: mac(source_mac),
            target_mac: mac(target_mac),
            ether_type: number(ether_type),
            source: Ipv4Addr::UNSPECIFIED,
            target: Ipv4Addr::UNSPECIFIED,
            protocol: 0,
            source_port: 0,
            target_port: 0,
            payload: Vec::new(),
        };
        if packet.ether_type == 0x0800 {
            packet.read_ipv4(body);
        }
        Some(packet)
    }

    fn read_ipv4(&mut self, bytes: &[u8]) -> Option<()> {
        self.protocol = *bytes.get(9)?;
        self.source = <[u8; 4]>::try_from(bytes.get(12..16)?).ok()?.into();
        self.target = <[u8; 4]>::try_from(bytes.get(16..20)?).ok()?.into();
        let length = usize::from(number(bytes.get(2..4)?));
        let segment = bytes.get(usize::from(bytes[0] & 0x0f) * 4..length.min(bytes.len()))?;
        if matches!(self.protocol, 6 | 17) {
            self.source_port = number(segment.get(0..2)?);
            self.target_port = number(segment.get(2..4)?);
        }
        let header = if self.protocol == 17 { 8 } else { usize::from(*segment.get(12)? >> 4) * 4 };
        if matches!(self.protocol, 6 | 17) {
            self.payload = segment.get(header..)?.to_vec();
        }
        Some(())
    }
}

fn number(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |number, byte| number << 8 | u16::from(*byte))
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// One line per packet, for a failure's message.
fn list(packets: &[Packet]) -> String {
    let line = |packet: &Packet| {
        let first: String = packet.text().chars().take_while(|c| !c.is_control()).take(60).collect();
        format!(
            "  {:04x} {} {}:{} > {} {}:{}  {first}",
            packet.ether_type,
            packet.source_mac,
            packet.source,
            packet.source_port,
            packet.target_mac,
            packet.target,
            packet.target_port,
        )
    };
    packets.iter().map(line).collect::<Vec<_>>().join("\n")
}
