//! More questions than any LAN has: a steady rate of frames from one host, each made when it is sent.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::crowd::stranger;
use super::wire::{EVERYBODY, Wire, datagram};
use crate::lab::Host;

/// How often it looks how many are due.
const TICK: Duration = Duration::from_millis(1);

/// A running flood; ends with its handle.
pub(crate) struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Randomness that can be had again: a line of numbers that follows from its seed (xorshift, Marsaglia 2003).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of the numbers below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).expect("64 bits") % end.max(1)
    }

    fn octet(&mut self) -> u8 {
        // The values at which lengths and signs go wrong come more often than others.
        const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, 52, 53];
        let [octet, choice, ..] = self.next().to_be_bytes();
        if choice % 2 == 0 { octet } else { EDGES[usize::from(octet) % EDGES.len()] }
    }
}

impl Flood {
    /// From `eth0` of the host, `rate` frames a second that `make` makes, `most` in all.
    pub(crate) fn start(
        host: &Host,
        rate: u64,
        most: u64,
        mut make: impl FnMut(&mut Dice, u64) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let wire = Wire::open(host);
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (Arc::clone(&over), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let (begun, mut dice) = (Instant::now(), Dice::new(4));
            let mut number = 0;
            while number < most && !ends.load(Ordering::Relaxed) {
                let millis = u64::try_from(begun.elapsed().as_millis()).expect("a test's time");
                let due = (millis * rate / 1000).min(most);
                while number < due {
                    wire.send(&make(&mut dice, number));
                    number += 1;
                }
                counts.store(number, Ordering::Relaxed);
                wire.wait(TICK);
            }
        });
        Self { over, sent, thread: Some(thread) }
    }

    /// How many frames have left.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether all of them have.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The DISCOVER of a phone that does not exist, to everybody.
pub(crate) fn invented_phone(dice: &mut Dice, number: u64) -> Vec<u8> {
    let (mac, question) = stranger(u32::try_from(number & 0x7f_ffff).expect("23 bits"), number_of(dice));
    frame(mac, EVERYBODY, &question.bytes())
}

/// A phone's message with something wrong in it, to everybody or to one host. With `answers`, some say that they are a
/// server's.
pub(crate) fn mutated(
    receiver: [u8; 6],
    answers: bool,
) -> impl FnMut(&mut Dice, u64) -> Vec<u8> + Send + 'static {
    move |dice, number| {
        let (mac, question) = stranger(u32::try_from(number & 0x7f_ffff).expect("23 bits"), number_of(dice));
        let mut bytes = question.bytes();
        // Every type that there is, and some that there are not.
        bytes[242] = u8::try_from(dice.below(12)).expect("small");
        bytes[0] = 1 + u8::try_from(dice.below(20) / 19).expect("small");
        for _ in 0..=dice.below(6) {
            harm(dice, &mut bytes);
        }
        bytes.truncate(1472);
        if let Some(operation) = bytes.first_mut().filter(|operation| **operation == 2 && !answers) {
            *operation = 1;
        }
        let mut frame = frame(mac, receiver, &bytes);
        if dice.below(20) == 0 {
            // The headers lie: lengths, protocol, fragments.
            let at = 14 + dice.below(28.min(frame.len() - 14));
            frame[at] = dice.octet();
        }
        frame
    }
}

fn frame(mac: [u8; 6], receiver: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let (from, to) =
        (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
    datagram([mac, receiver], from, to, payload)
}

fn number_of(dice: &mut Dice) -> u32 {
    u32::try_from(dice.next() >> 32).expect("the upper half")
}

/// One fault, of the kinds that parsers fall over.
fn harm(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return bytes.push(dice.octet());
    }
    let at = dice.below(bytes.len());
    // Options are where the lengths are.
    let option = 240 + dice.below(bytes.len().saturating_sub(240));
    match dice.below(9) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.octet(),
        2 => bytes.truncate(at),
        3 if option < bytes.len() => bytes[option] = dice.octet(),
        // An option of a random length, somewhere among the others.
        4 if option < bytes.len() => {
            let (code, len) = (dice.octet(), dice.octet());
            bytes.splice(option..option, [code, len]);
        }
        // Hardware type and length, the relay, the cookie.
        5 => {
            let field = [1, 2, 3, 24, 236][dice.below(5)];
            if field < bytes.len() {
                bytes[field] = dice.octet();
            }
        }
        // The options go on in `sname` and `file` (option 52), where anything may stand.
        6 if bytes.len() > 260 => {
            bytes.splice(243..243, [52, 1, 3]);
            bytes[44..236].fill_with(|| dice.octet());
        }
        7 => bytes.extend((0..dice.below(600)).map(|_| dice.octet()).collect::<Vec<_>>()),
        // The same option again and again (RFC 3396), thousands of octets long when joined.
        _ if bytes.len() > 260 => {
            let part = [vec![60, 100], vec![b's'; 100]].concat();
            bytes.splice(243..243, part.repeat(1 + dice.below(10)));
        }
        _ => bytes[at] = 0xff,
    }
}
