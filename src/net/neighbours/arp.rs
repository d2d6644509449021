//! Our own ARP: questions to everybody on a link, and every answer that comes, however many there are. The kernel's
//! table keeps one answer and forgets the rest; who wants to know whether two hosts claim one address has to listen.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{LinkAddr, MsgFlags, recvmsg};
use pnet::packet::ethernet::EtherTypes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::CloneSign;
use crate::clock::Clock;
use crate::device::Mac;
use crate::net::arp::{Claim, Ourselves, question};
use crate::net::sys;

/// Questions before nobody is there: one frame may be lost, three in a row are not.
const TRIES: u32 = 3;
/// How long each question waits for its first answer; a phone on the same link answers within milliseconds.
const TRY: Duration = Duration::from_millis(100);
/// How long a second answer is waited for after the first. Two hosts that hear the same broadcast answer within
/// milliseconds of each other; what comes later is heard as long as the watch lasts.
const LISTEN: Duration = Duration::from_millis(50);
/// How long an answer counts for the next who asks while somebody still watches.
const FRESH: Duration = Duration::from_secs(1);
/// Questions before an address counts as nobody's, and how long each is listened to: DHCP gives it away then, so a host
/// that is slow to answer is waited for (RFC 2131, 4.4.1; RFC 5227 takes three of one to two seconds each).
const PROBES: u32 = 2;
const PROBE: Duration = Duration::from_millis(250);
/// MACs that are kept of one address; two are a contradiction already.
const CLAIMS_MAX: usize = 4;
/// The answers of some hundred phones; what the kernel grants by default is enough for that.
const FRAME_BYTES_MAX: usize = 128;
/// How long a socket that only fails is left alone.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// One address on one interface's link.
type Spot = (u32, Ipv4Addr);

/// A packet socket for ARP (`CAP_NET_RAW`), and who waits for what.
pub(super) struct Arp {
    socket: AsyncFd<Socket>,
    watched: Mutex<HashMap<Spot, (usize, watch::Sender<Heard>)>>,
    clock: Clock,
}

/// What was heard about one address while it was watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// When the latest answer came.
    answered: Option<Instant>,
    /// Who says that the address is his, in the order of saying so.
    claims: Vec<Mac>,
    /// Whose frame named another host as the owner.
    forged: Option<Mac>,
}

impl Arp {
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub(super) fn open(clock: Clock) -> io::Result<Self> {
        let arp = i32::from(u16::try_from(libc::ETH_P_ARP).unwrap_or_default().to_be());
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(arp)))?;
        socket.set_nonblocking(true)?;
        #[expect(deprecated, reason = "sound for a socket that this value owns and never lends out")]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, watched: Mutex::default(), clock })
    }

    /// Hears every ARP frame of every interface, until it is dropped.
    pub(super) async fn listen(&self) {
        let mut buffer = [0; FRAME_BYTES_MAX];
        loop {
            match self.socket.async_io(Interest::READABLE, |socket| receive(socket, &mut buffer)).await {
                Ok((length, interface, sender)) => {
                    let claim = buffer.get(..length).and_then(|frame| Claim::read(frame, sender));
                    claim.inspect(|claim| self.hear(interface, claim));
                }
                Err(error) => {
                    tracing::debug!("Cannot hear ARP: {error}");
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Keeps what is said about this address from now on, until the watch is dropped.
    pub(super) fn watch(self: &Arc<Self>, interface: u32, address: Ipv4Addr) -> Watch {
        let spot = (interface, address);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let (watchers, heard) =
            watched.entry(spot).or_insert_with(|| (0, watch::channel(Heard::default()).0));
        *watchers += 1;
        Watch { arp: Arc::clone(self), spot, heard: heard.subscribe() }
    }

    /// Asks everybody on the link whose this address is.
    fn ask(&self, (interface, address): Spot, ourselves: Ourselves) {
        let to = sys::on_link(interface, EtherTypes::Arp.0, None);
        // A full queue of the interface loses this question, and the next one asks again.
        if let Err(error) = self.socket.get_ref().send_to(&question(ourselves, address), &to) {
            tracing::debug!("Cannot ask by ARP for {address}: {error}");
        }
    }

    fn hear(&self, interface: u32, claim: &Claim) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, heard)) = watched.get(&(interface, claim.address)) {
            let now = self.clock.instant();
            heard.send_if_modified(|heard| heard.add(claim, now));
        }
    }
}

/// Somebody's interest in one address.
pub(super) struct Watch {
    arp: Arc<Arp>,
    spot: Spot,
    heard: watch::Receiver<Heard>,
}

impl Watch {
    /// Asks, and gives what was said, as soon as it is certain: after the first answer and the time that a second one
    /// may take, at once when two contradict each other, or when three questions stayed without an answer.
    pub(super) async fn round(&self, ourselves: Ourselves) -> Heard {
        let mut heard = self.heard.clone();
        for _ in 0..TRIES {
            if self.listened().is_some() {
                break;
            }
            let begun = self.arp.clock.instant();
            self.arp.ask(self.spot, ourselves);
            let answered = heard.wait_for(|heard| heard.answered.is_some_and(|at| at >= begun));
            if timeout(TRY, answered).await.is_ok() {
                break;
            }
        }
        if let Some(left) = self.listened().map(|listened| LISTEN.saturating_sub(listened)) {
            let _ = timeout(left, heard.wait_for(|heard| heard.sign().is_some())).await;
        }
        self.heard()
    }

    /// Asks as somebody without an address (RFC 5227, 2.1.1), so that nobody takes the question for a claim, and gives
    /// who has it as soon as somebody says so, in whatever frame.
    pub(super) async fn probe(&self, mac: Mac) -> Option<Mac> {
        let nobody = Ourselves { mac, address: Ipv4Addr::UNSPECIFIED };
        let mut heard = self.heard.clone();
        for _ in 0..PROBES {
            self.arp.ask(self.spot, nobody);
            let claimed = heard.wait_for(|heard| !heard.claims.is_empty());
            if let Ok(Ok(heard)) = timeout(PROBE, claimed).await {
                return heard.claims.first().copied();
            }
        }
        None
    }

    /// Asks once, and does not wait.
    pub(super) fn ask(&self, ourselves: Ourselves) {
        self.arp.ask(self.spot, ourselves);
    }

    /// For how long it has been listened since an answer that still counts.
    fn listened(&self) -> Option<Duration> {
        let since = self.arp.clock.instant().saturating_duration_since(self.heard.borrow().answered?);
        (since < FRESH).then_some(since)
    }

    /// What has been said so far.
    pub(super) fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Waits until another host than this one claims the address.
    pub(super) async fn contested(&self, owner: Mac) -> CloneSign {
        let mut heard = self.heard.clone();
        match heard
            .wait_for(|heard| heard.contradiction(owner).is_some())
            .await
            .map(|heard| heard.contradiction(owner))
        {
            Ok(Some(sign)) => sign,
            // Whoever hears has gone with the program.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.spot).field(&self.heard()).finish()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.arp.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((watchers, _)) = watched.get_mut(&self.spot) {
            *watchers -= 1;
            if *watchers == 0 {
                watched.remove(&self.spot);
            }
        }
    }
}

impl Heard {
    /// Whether it says something new.
    fn add(&mut self, claim: &Claim, now: Instant) -> bool {
        let before = self.clone();
        if claim.sender == Some(claim.owner) {
            if claim.is_answer {
                self.answered = Some(now);
            }
        } else {
            self.forged = self.forged.or(claim.sender);
        }
        if !self.claims.contains(&claim.owner) && self.claims.len() < CLAIMS_MAX {
            self.claims.push(claim.owner);
        }
        *self != before
    }

    /// Who answered, when nobody contradicts: `None` for silence.
    pub(super) fn owner(&self) -> Option<Mac> {
        self.answered.and(self.claims.first().copied())
    }

    /// Whether the address is claimed by more than one host, whoever is right.
    pub(super) fn sign(&self) -> Option<CloneSign> {
        self.claims.first().and_then(|first| self.contradiction(*first))
    }

    /// What speaks against `owner` being alone at the address.
    pub(super) fn contradiction(&self, owner: Mac) -> Option<CloneSign> {
        let other = self.claims.iter().find(|claim| **claim != owner);
        other
            .map(|other| CloneSign::TwoAnswer { other: *other })
            .or_else(|| self.forged.map(|by| CloneSign::Forged { by }))
    }
}

/// One frame without its Ethernet header: its length, the interface and the sender.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, u32, Option<Mac>)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, None, MsgFlags::empty())?;
    let from = message.address;
    let interface = from.map_or(0, |from| u32::try_from(from.ifindex()).unwrap_or(0));
    Ok((message.bytes, interface, from.and_then(|from| from.addr()).and_then(Mac::new)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn mac(last: u8) -> Mac {
        Mac::new([0, 0x15, 0x65, 0, 0, last]).unwrap()
    }

    fn claim(owner: u8, sender: u8, is_answer: bool) -> Claim {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        Claim { address, owner: mac(owner), sender: Some(mac(sender)), is_answer }
    }

    fn heard(claims: &[Claim]) -> Heard {
        let now = Clock::manual(Timestamp(0)).instant();
        let mut heard = Heard::default();
        for claim in claims {
            heard.add(claim, now);
        }
        heard
    }

    #[test]
    fn one_host_that_answers_is_the_owner_and_two_contradict_each_other() {
        let check = |claims: &[Claim], owner: Option<u8>, sign: Option<CloneSign>| {
            let heard = heard(claims);
            assert_eq!((heard.owner(), heard.sign()), (owner.map(mac), sign), "{claims:?}");
        };
        check(&[], None, None);
        check(&[claim(1, 1, true), claim(1, 1, true)], Some(1), None);
        check(&[claim(1, 1, false)], None, None);
        let other = Some(CloneSign::TwoAnswer { other: mac(2) });
        check(&[claim(1, 1, true), claim(2, 2, true)], Some(1), other);
        // An announcement of somebody else is a contradiction too.
        check(&[claim(1, 1, true), claim(2, 2, false)], Some(1), other);
        // Who lets a frame say that the address is another's has answered for nobody.
        check(&[claim(1, 9, true)], None, Some(CloneSign::Forged { by: mac(9) }));
    }

    #[test]
    fn a_flood_of_claims_is_bounded() {
        let many: Vec<Claim> = (0..200).map(|last| claim(last, last, true)).collect();
        assert_eq!(heard(&many).claims.len(), CLAIMS_MAX);
    }
}
