//! The shell around PnP: sockets, queues and timers. Waits and sends; what to say is decided elsewhere.
//!
//! Two sockets. The *ear* hears the group: a UDP socket bound to the group's address, so that it takes nothing away from
//! a PBX on 0.0.0.0:5060 of the same host, or a packet socket where that PBX does not share its port. The *voice* is a
//! unicast socket on `pnp.reply_port`: both the 200 and the NOTIFY leave from it, and the phone's answer to the NOTIFY
//! comes back to it, because whatever is sent to port 5060 of this host belongs to the PBX. Phones match a 200 by its
//! Via, Call-ID and `CSeq` and take it from any port: the servers they were built against answer from their own.
//!
//! Everything that is sent goes to a datagram's source, through the interface it came in by, from the address that this
//! host has in the phone's subnet.

mod ear;
mod look;
mod worker;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{JoinSet, unconstrained};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::ear::Ear;
pub use self::look::look;
use self::worker::Worker;
use super::message::DATAGRAM_BYTES_MAX;
use crate::alarm::Alarms;
use crate::clock::{Clock, Entropy, EntropyError};
use crate::config::{AdoptConfig, PnpConfig, PnpReceive};
use crate::net::interfaces::Interfaces;
use crate::net::limit::Losses;
use crate::net::neighbours::Neighbours;
use crate::net::packet;
use crate::net::udp::{Datagram, UdpEndpoint};
use crate::profile::Catalog;
use crate::provision::{Heard, Roots};
use crate::store::Store;

/// Datagrams between the sockets and the decisions, about 1 KB each: a fleet of 10,000 that boots at once, and some of
/// its answers.
const ARRIVALS_MAX: usize = 16_384;
/// What may wait for its first ARP answer when thousands of phones are answered at once. Above `net.core.wmem_max` it
/// needs `CAP_NET_ADMIN`; without, sending waits a little longer.
const SEND_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// Memory is taken for so many bytes of datagrams at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a socket that only fails is left alone.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// What the service needs from its agent.
#[derive(Clone)]
pub struct PnpParts {
    /// `[pnp]`
    pub config: PnpConfig,
    /// `[adopt]`
    pub adopt: AdoptConfig,
    /// Hear and record only.
    pub observe: bool,
    /// What goes into URLs, for each phone what answers at the address that it sees.
    pub roots: Roots,
    /// The interfaces to hear on, as they come and go.
    pub interfaces: Interfaces,
    /// Who is behind an address: whether a phone is the one that it says, or which one, where it does not write it.
    pub neighbours: Neighbours,
    /// The inventory, its tokens, and adoption.
    pub store: Store,
    /// The vendor profiles.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Clock,
    /// For the secret behind tags and branches.
    pub entropy: Entropy,
    /// Where sightings go, to be written in batches. When nobody takes them, they are dropped and counted: a phone is
    /// never kept waiting for the database.
    pub sightings: mpsc::Sender<Heard>,
    /// Where it is said that somebody asks in the name of a phone.
    pub alarms: Alarms,
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams that came in.
    pub heard: AtomicU64,
    /// Datagrams that were thrown away because the queue was full.
    pub overflowed: AtomicU64,
    /// Datagrams that were no SUBSCRIBE for a configuration, for whatever reason.
    pub unread: AtomicU64,
    /// SUBSCRIBEs from outside the subnets of the interface they came in by.
    pub off_link: AtomicU64,
    /// SUBSCRIBEs over a limit.
    pub limited: AtomicU64,
    /// SUBSCRIBEs of phones that are not served.
    pub unserved: AtomicU64,
    /// SUBSCRIBEs in the name of another phone.
    pub impostors: AtomicU64,
    /// SUBSCRIBEs answered for the first time.
    pub answered: AtomicU64,
    /// SUBSCRIBEs answered again.
    pub repeated: AtomicU64,
    /// NOTIFYs that a phone took.
    pub taken: AtomicU64,
    /// NOTIFYs that a phone refused.
    pub refused: AtomicU64,
    /// NOTIFYs that were given up.
    pub unanswered: AtomicU64,
    /// Sightings that nobody took.
    pub unrecorded: AtomicU64,
}

/// Why PnP is not there. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PnpError {
    /// The group's port is taken, and there is no other way in.
    #[error(
        "cannot hear {group}: another program holds UDP port {} without sharing it, and listening beside it needs \
         CAP_NET_RAW; give the service that capability, or bind the other program to its own addresses",
        group.port()
    )]
    Held {
        /// The group.
        group: SocketAddrV4,
    },
    /// `pnp.receive = "packet"` without the right to it.
    #[error(
        "cannot hear {group} by a packet socket: it needs CAP_NET_RAW; give the service that capability, or set pnp.receive = \"udp\""
    )]
    PacketDenied {
        /// The group.
        group: SocketAddrV4,
    },
    /// The ear cannot be opened for another reason.
    #[error("cannot hear {group}: {source}")]
    Ear {
        /// The group.
        group: SocketAddrV4,
        /// Why.
        source: io::Error,
    },
    /// The voice's port is taken.
    #[error("cannot send NOTIFYs from UDP port {port}: {source}; set pnp.reply_port to a free port")]
    Voice {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// The service, bound and not yet running.
pub struct PnpServer {
    parts: PnpParts,
    ear: Ear,
    voice: Arc<UdpEndpoint>,
    reply_port: u16,
    secret: [u8; 16],
    counters: Arc<Counters>,
}

impl PnpServer {
    /// Opens both sockets. Must be called inside the runtime.
    pub fn bind(parts: PnpParts) -> Result<Self, PnpError> {
        let secret = parts.entropy.bytes::<16>()?;
        let PnpConfig { group, port, receive, reply_port, .. } = parts.config;
        let ear = Ear::open(SocketAddrV4::new(group, port), receive)?;
        let failed = |source| PnpError::Voice { port: reply_port, source };
        let voice = UdpEndpoint::bind_with(SocketAddr::from((Ipv4Addr::UNSPECIFIED, reply_port)), |socket| {
            match setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES) {
                Ok(()) => Ok(()),
                Err(_) => socket.set_send_buffer_size(SEND_BUFFER_BYTES),
            }
        })
        .map_err(failed)?;
        let reply_port = voice.local_addr().map_err(failed)?.port();
        let counters = Arc::default();
        Ok(Self { parts, ear, voice: Arc::new(voice), reply_port, secret, counters })
    }

    /// How the group is heard, which may differ from what was configured.
    pub fn receive(&self) -> PnpReceive {
        self.ear.receive()
    }

    /// The group and port that are heard.
    pub fn group(&self) -> SocketAddrV4 {
        self.ear.group()
    }

    /// The port NOTIFYs leave from.
    pub fn reply_port(&self) -> u16 {
        self.reply_port
    }

    /// Whether the kernel granted less receive buffer than a storm of phones needs.
    pub fn is_clamped(&self) -> bool {
        self.ear.is_clamped() || self.voice.is_clamped()
    }

    /// What happens, in numbers.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { parts, ear, voice, reply_port, secret, counters } = self;
        let (queue, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let mut readers = JoinSet::new();
        for socket in [Source::Group(ear.clone()), Source::Voice(Arc::clone(&voice))] {
            let drained = drain(socket, queue.clone(), Arc::clone(&counters), parts.clock.clone());
            // Until the socket is empty: beside thousands of connections a task's turn comes seldom.
            readers.spawn(cancel.clone().run_until_cancelled_owned(unconstrained(drained)));
        }
        drop(queue);
        let worker = Worker::new(parts, ear, voice, reply_port, secret, counters);
        unconstrained(worker.run(arrivals, cancel)).await;
        readers.shutdown().await;
    }
}

/// A datagram on its way to the decisions.
#[derive(Debug)]
struct Arrival {
    origin: Origin,
    from: SocketAddrV4,
    interface: u32,
    bytes: Bytes,
}

/// Which socket a datagram came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Sent to the group: a question.
    Group,
    /// Sent to us: an answer.
    Voice,
}

/// What a reader reads.
enum Source {
    Group(Ear),
    Voice(Arc<UdpEndpoint>),
}

impl Source {
    async fn next(&self, buffer: &mut Vec<u8>) -> io::Result<Datagram> {
        match self {
            Self::Group(ear) => ear.recv(buffer).await,
            Self::Voice(endpoint) => {
                buffer.resize(DATAGRAM_BYTES_MAX + 1, 0);
                endpoint.recv(buffer).await
            }
        }
    }

    fn origin(&self) -> Origin {
        match self {
            Self::Group(_) => Origin::Group,
            Self::Voice(_) => Origin::Voice,
        }
    }
}

/// Empties a socket into the queue and does nothing else: what the kernel cannot hold is lost, and a lost first
/// datagram costs a phone half a second at least.
async fn drain(socket: Source, queue: mpsc::Sender<Arrival>, counters: Arc<Counters>, clock: Clock) {
    let origin = socket.origin();
    let mut buffer = packet::buffer(DATAGRAM_BYTES_MAX + 1);
    let mut chunk = BytesMut::new();
    let mut losses = Losses::default();
    loop {
        let datagram = match socket.next(&mut buffer).await {
            Ok(datagram) => datagram,
            Err(error) => {
                debug!("Cannot read from the {origin:?} socket: {error}");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        counters.heard.fetch_add(1, Ordering::Relaxed);
        let (SocketAddr::V4(from), Some(bytes)) = (datagram.from, buffer.get(..datagram.len)) else {
            continue;
        };
        if chunk.capacity() < bytes.len() {
            chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        chunk.extend_from_slice(bytes);
        let bytes = chunk.split().freeze();
        let arrival = Arrival { origin, from, interface: datagram.interface, bytes };
        match queue.try_send(arrival) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                counters.overflowed.fetch_add(1, Ordering::Relaxed);
                if let Some(lost) = losses.count(clock.instant()) {
                    warn!(
                        "More SIP than can be answered: {lost} datagrams were thrown away, the last from {from}"
                    );
                }
            }
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::IpAddr;

    use socket2::{Domain, Protocol, Socket, Type};
    use tokio::net::UdpSocket;

    use super::*;
    use crate::alarm::AlarmKind;
    use crate::clock::Timestamp;
    use crate::config::AdoptPolicy;
    use crate::device::Mac;
    use crate::net::interfaces::Table;
    use crate::pnp::message::{Message, Response};
    use crate::secret::Secret;
    use crate::store::{Give, NewAccount, Vault};

    /// Longer than any answer takes on loopback, shorter than the first repetition of a NOTIFY.
    const SILENCE: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// An agent's PnP on loopback, with an inventory of its own.
    struct Bench {
        store: Store,
        group: SocketAddrV4,
        reply_port: u16,
        counters: Arc<Counters>,
        sightings: mpsc::Receiver<Heard>,
        alarms: Alarms,
        cancel: CancellationToken,
        _folder: tempfile::TempDir,
    }

    async fn bench(policy: AdoptPolicy, receive: PnpReceive, port: u16) -> Result<Bench, PnpError> {
        bench_beside(policy, receive, port, SocketAddr::from(([127, 0, 0, 1], 8480))).await
    }

    /// The same beside an HTTP service that listens at `http`.
    async fn bench_beside(
        policy: AdoptPolicy,
        receive: PnpReceive,
        port: u16,
        http: SocketAddr,
    ) -> Result<Bench, PnpError> {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::System;
        let url = format!("sqlite:{}", folder.path().join("offhook.db").display());
        let store =
            Store::open(&url, Vault::with_key([7; 32]), clock.clone(), Entropy::System).await.unwrap();
        let (sender, sightings) = mpsc::channel(100);
        let alarms = Alarms::default();
        let neighbour = |last, mac: &str| (IpAddr::from([127, 0, 0, last]), mac.parse().unwrap());
        let neighbours =
            [neighbour(99, "000413000099"), neighbour(9, "000413aabbcc"), neighbour(10, "000413aabbdd")];
        let server = PnpServer::bind(PnpParts {
            config: PnpConfig { receive, port, reply_port: 0, ..PnpConfig::default() },
            adopt: AdoptConfig { policy, ..AdoptConfig::default() },
            observe: false,
            roots: Roots { http: Some(http), ..Roots::default() },
            interfaces: Interfaces::fixed(Table::read(&["lo".to_owned()]).unwrap()),
            neighbours: Neighbours::declared(HashMap::from(neighbours)),
            store: store.clone(),
            catalog: Arc::new(Catalog::builtin().unwrap()),
            clock,
            entropy: Entropy::System,
            sightings: sender,
            alarms: alarms.clone(),
        })?;
        let cancel = CancellationToken::new();
        let (group, reply_port, counters) = (server.group(), server.reply_port(), server.counters());
        tokio::spawn(server.run(cancel.clone()));
        Ok(Bench { store, group, reply_port, counters, sightings, alarms, cancel, _folder: folder })
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            self.cancel.cancel();
        }
    }

    /// A phone on loopback.
    struct Phone {
        socket: UdpSocket,
        group: SocketAddrV4,
    }

    impl Phone {
        fn new(bench: &Bench, last: u8) -> Self {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
            socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
            Self { socket: UdpSocket::from_std(socket.into()).unwrap(), group: bench.group }
        }

        fn address(&self) -> SocketAddr {
            self.socket.local_addr().unwrap()
        }

        async fn ask(&self, user: &str, call_id: &str) {
            let us = self.address();
            let message = format!(
                "SUBSCRIBE sip:{user}@224.0.1.75 SIP/2.0\r\nVia: SIP/2.0/UDP {us};rport\r\n\
                 From: <sip:{user}@224.0.1.75>;tag=7\r\nTo: <sip:{user}@224.0.1.75>\r\nCall-ID: {call_id}\r\n\
                 CSeq: 1 SUBSCRIBE\r\nContact: <sip:{us}>\r\nExpires: 0\r\nAccept: application/url\r\n\
                 Event: ua-profile;profile-type=\"device\";vendor=\"snom\";model=\"snomD785\";version=\"10.1.169.16\"\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            self.socket.send_to(message.as_bytes(), self.group).await.unwrap();
        }

        async fn hear(&self, patience: Duration) -> Option<(String, SocketAddr)> {
            let mut buffer = vec![0; 4096];
            let (len, from) =
                tokio::time::timeout(patience, self.socket.recv_from(&mut buffer)).await.ok()?.unwrap();
            Some((String::from_utf8(buffer[..len].to_vec()).unwrap(), from))
        }

        async fn hears_nothing(&self) -> bool {
            self.hear(SILENCE).await.is_none()
        }

        /// The 200 and the NOTIFY, in the order in which they must come; the NOTIFY is answered with `status`.
        async fn exchange(&self, bench: &Bench, user: &str, call_id: &str, status: u16) -> (String, String) {
            self.ask(user, call_id).await;
            let (ok, from) = self.hear(PATIENCE).await.unwrap();
            assert_eq!(from, SocketAddr::from(([127, 0, 0, 1], bench.reply_port)));
            let (notify, from) = self.hear(PATIENCE).await.unwrap();
            assert!(
                ok.starts_with("SIP/2.0 200 OK\r\n") && notify.starts_with("NOTIFY sip:"),
                "{ok}{notify}"
            );
            let line = |name: &str| notify.lines().find(|line| line.starts_with(name)).unwrap();
            let answer = format!(
                "SIP/2.0 {status} x\r\n{}\r\n{}\r\n{}\r\n\r\n",
                line("Via:"),
                line("Call-ID:"),
                line("CSeq:")
            );
            assert!(matches!(Message::parse(answer.as_bytes()), Ok(Message::Response(Response { .. }))));
            self.socket.send_to(answer.as_bytes(), from).await.unwrap();
            (ok, notify)
        }
    }

    async fn add_pool_account(bench: &Bench, username: &str) {
        let account = NewAccount { username: username.to_owned(), ..NewAccount::default() };
        bench.store.add_account(&account, Some(&Secret::new("secret"))).await.unwrap();
    }

    async fn next_outcome(bench: &mut Bench) -> (String, bool) {
        let seen = tokio::time::timeout(PATIENCE, bench.sightings.recv()).await.unwrap().unwrap();
        assert!(seen.sighting.identity.mac.is_some() && seen.sighting.at > Timestamp(0));
        (seen.sighting.outcome, seen.pending)
    }

    async fn approve(bench: &Bench, mac: &str) {
        bench.store.approve(mac.parse().unwrap(), &Give::NextFree).await.unwrap();
    }

    #[tokio::test]
    async fn a_known_phone_gets_its_own_url() {
        let mut bench = bench(AdoptPolicy::Known, PnpReceive::Udp, 0).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        let phone = Phone::new(&bench, 9);
        let (_, notify) = phone.exchange(&bench, "MAC%3a000413AABBCC", "a", 200).await;
        let url = notify.split("\r\n\r\n").nth(1).unwrap();
        assert!(url.starts_with("http://127.0.0.1:8480/d/"), "{url}");
        let token = url.split('/').nth(4).unwrap();
        let (device, _) = bench.store.inventory().by_token(token).unwrap();
        assert_eq!(device.mac, "000413aabbcc".parse::<Mac>().unwrap());
        assert!(notify.starts_with(&format!("NOTIFY sip:{} SIP/2.0", phone.address())));
        assert_eq!(next_outcome(&mut bench).await, ("answered".to_owned(), false));
        // Had the answer not been understood, the NOTIFY would come again after half a second.
        assert!(phone.hear(Duration::from_millis(900)).await.is_none());
        assert_eq!(bench.counters.taken.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_phone_hears_nothing_where_no_file_would_answer_it() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 35], 8480));
        let mut bench = bench_beside(AdoptPolicy::Known, PnpReceive::Udp, 0, elsewhere).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        let phone = Phone::new(&bench, 9);
        phone.ask("MAC%3a000413AABBCC", "a").await;
        let reason = "no service for files listens on 127.0.0.1".to_owned();
        assert_eq!(next_outcome(&mut bench).await, (reason, false));
        assert!(phone.hears_nothing().await);
    }

    #[tokio::test]
    async fn a_repeated_subscribe_gets_the_same_answer_and_a_silent_phone_the_same_notify() {
        let bench = bench(AdoptPolicy::Known, PnpReceive::Udp, 0).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        let phone = Phone::new(&bench, 9);
        phone.ask("MAC%3a000413AABBCC", "a").await;
        let first = phone.hear(PATIENCE).await.unwrap();
        let notify = phone.hear(PATIENCE).await.unwrap();
        phone.ask("MAC%3a000413AABBCC", "a").await;
        assert_eq!(phone.hear(PATIENCE).await.unwrap(), first);
        assert_eq!(phone.hear(PATIENCE).await.unwrap(), notify, "by its timer");
    }

    #[tokio::test]
    async fn a_phone_that_is_not_served_hears_nothing() {
        let mut bench = bench(AdoptPolicy::Approve, PnpReceive::Udp, 0).await.unwrap();
        let phone = Phone::new(&bench, 9);
        phone.ask("MAC%3a000413AABBCC", "a").await;
        assert_eq!(next_outcome(&mut bench).await, ("pending".to_owned(), true));
        approve(&bench, "000413aabbdd").await;
        bench.store.block("000413aabbdd".parse().unwrap()).await.unwrap();
        let blocked = Phone::new(&bench, 10);
        blocked.ask("MAC%3a000413AABBDD", "b").await;
        assert_eq!(next_outcome(&mut bench).await, ("blocked".to_owned(), false));
        assert!(blocked.hears_nothing().await && phone.hears_nothing().await);
        approve(&bench, "000413aabbcc").await;
        phone.exchange(&bench, "MAC%3a000413AABBCC", "c", 200).await;
    }

    #[tokio::test]
    async fn a_stranger_is_adopted_while_accounts_are_free() {
        let mut bench = bench(AdoptPolicy::Auto, PnpReceive::Udp, 0).await.unwrap();
        add_pool_account(&bench, "200").await;
        let phone = Phone::new(&bench, 9);
        phone.exchange(&bench, "MAC%3a000413AABBCC", "a", 481).await;
        let device = bench.store.inventory().device("000413aabbcc".parse().unwrap()).unwrap();
        assert_eq!(device.lines[0].account.username, "200");
        assert_eq!(next_outcome(&mut bench).await.0, "answered");
        assert_eq!(next_outcome(&mut bench).await.0, "refused its URL with 481");
        let late = Phone::new(&bench, 10);
        late.ask("MAC%3a000413AABBDD", "b").await;
        assert_eq!(next_outcome(&mut bench).await, ("pending: no account is free".to_owned(), true));
        assert!(late.hears_nothing().await);
    }

    #[tokio::test]
    async fn nobody_takes_an_account_in_the_name_of_another_phone() {
        let mut bench = bench(AdoptPolicy::Auto, PnpReceive::Udp, 0).await.unwrap();
        add_pool_account(&bench, "200").await;
        let liar = Phone::new(&bench, 10);
        liar.ask("MAC%3a000413AABBCC", "a").await;
        assert_eq!(next_outcome(&mut bench).await, ("asked for by another phone".to_owned(), false));
        assert!(liar.hears_nothing().await);
        assert_eq!(bench.store.inventory().pool_size(), 1);
        Phone::new(&bench, 9).exchange(&bench, "MAC%3a000413AABBCC", "b", 200).await;
    }

    #[tokio::test]
    async fn nobody_is_answered_in_the_name_of_another_phone_whatever_is_known_of_either() {
        let mut bench = bench(AdoptPolicy::Approve, PnpReceive::Udp, 0).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        let impostor = ("asked for by another phone".to_owned(), false);
        let liar = Phone::new(&bench, 10);
        // A phone of the inventory, a stranger, and once more what was just answered to the phone itself.
        liar.ask("MAC%3a000413AABBCC", "a").await;
        assert_eq!(next_outcome(&mut bench).await, impostor);
        liar.ask("MAC%3a000413EEEEEE", "b").await;
        assert_eq!(next_outcome(&mut bench).await, impostor);
        let silent = Phone::new(&bench, 98);
        silent.ask("MAC%3a000413AABBCC", "c").await;
        assert_eq!(next_outcome(&mut bench).await.0, "nobody answers at its address");
        let phone = Phone::new(&bench, 9);
        phone.exchange(&bench, "MAC%3a000413AABBCC", "d", 200).await;
        assert_eq!(next_outcome(&mut bench).await.0, "answered");
        // The same words with another MAC are no repetition.
        phone.ask("MAC%3a000413AABBDD", "d").await;
        assert_eq!(next_outcome(&mut bench).await, impostor);
        assert!(liar.hears_nothing().await && silent.hears_nothing().await && phone.hears_nothing().await);
        assert_eq!(bench.counters.impostors.load(Ordering::Relaxed), 3);
        let (alarms, _) = bench.alarms.take();
        assert!(alarms.iter().all(|counted| counted.alarm.kind == AlarmKind::Impostor), "{alarms:?}");
        assert_eq!(alarms.len(), 3, "silence is none");
        let inventory = bench.store.inventory();
        assert!(inventory.device("000413eeeeee".parse().unwrap()).is_none(), "nobody comes to wait by a lie");
    }

    #[tokio::test]
    async fn a_phone_is_not_silenced_by_another_that_asks_in_its_name() {
        let bench = bench(AdoptPolicy::Known, PnpReceive::Udp, 0).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        Phone::new(&bench, 10).ask("MAC%3a000413AABBCC", "a").await;
        Phone::new(&bench, 9).exchange(&bench, "MAC%3a000413AABBCC", "b", 200).await;
    }

    #[tokio::test]
    async fn a_phone_that_does_not_write_its_mac_is_known_by_its_neighbour_entry() {
        let bench = bench(AdoptPolicy::Known, PnpReceive::Udp, 0).await.unwrap();
        approve(&bench, "000413000099").await;
        Phone::new(&bench, 99).exchange(&bench, "00000001", "a", 200).await;
        let other = Phone::new(&bench, 98);
        other.ask("00000001", "b").await;
        assert!(other.hears_nothing().await);
    }

    #[tokio::test]
    async fn a_phone_in_a_loop_gets_one_notify() {
        let bench = bench(AdoptPolicy::Known, PnpReceive::Udp, 0).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        let phone = Phone::new(&bench, 9);
        phone.exchange(&bench, "MAC%3a000413AABBCC", "a", 200).await;
        for call_id in ["b", "c", "d"] {
            phone.ask("MAC%3a000413AABBCC", call_id).await;
        }
        assert!(phone.hears_nothing().await);
        assert_eq!(bench.counters.limited.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn junk_disturbs_nobody() {
        let bench = bench(AdoptPolicy::Known, PnpReceive::Udp, 0).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        let phone = Phone::new(&bench, 9);
        for junk in [
            &b""[..],
            b"\r\n\r\n",
            b"\0\0\0",
            b"OPTIONS sip:a SIP/2.0\r\n\r\n",
            &[0xff; 8000],
            &vec![b'x'; 20_000],
        ] {
            phone.socket.send_to(junk, phone.group).await.unwrap();
        }
        phone.exchange(&bench, "MAC%3a000413AABBCC", "a", 200).await;
    }

    /// A free port, held the way a PBX without address reuse holds 5060.
    fn pbx() -> std::net::UdpSocket {
        std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()
    }

    #[tokio::test]
    async fn a_pbx_that_shares_its_port_keeps_what_is_its_own() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
        let pbx: std::net::UdpSocket = socket.into();
        let bench =
            bench(AdoptPolicy::Known, PnpReceive::Udp, pbx.local_addr().unwrap().port()).await.unwrap();
        approve(&bench, "000413aabbcc").await;
        let phone = Phone::new(&bench, 9);
        phone.exchange(&bench, "MAC%3a000413AABBCC", "a", 200).await;
        for _ in 0..10 {
            phone.socket.send_to(b"REGISTER", (Ipv4Addr::LOCALHOST, bench.group.port())).await.unwrap();
        }
        let mut buffer = [0; 4096];
        let kept = (0..10).filter(|_| matches!(pbx.recv(&mut buffer), Ok(8))).count();
        assert!(kept >= 9, "{kept} of 10; one of what it received may be a copy of the multicast");
        assert_eq!(bench.counters.unread.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_pbx_that_shares_nothing_is_lived_with_or_named() {
        let pbx = pbx();
        let port = pbx.local_addr().unwrap().port();
        match bench(AdoptPolicy::Known, PnpReceive::Udp, port).await {
            Ok(bench) => {
                approve(&bench, "000413aabbcc").await;
                Phone::new(&bench, 9).exchange(&bench, "MAC%3a000413AABBCC", "a", 200).await;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("CAP_NET_RAW") && text.contains(&port.to_string()), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_reply_port_that_is_taken_is_named() {
        let holder = pbx();
        let config =
            PnpConfig { reply_port: holder.local_addr().unwrap().port(), port: 0, ..PnpConfig::default() };
        let bench = bench(AdoptPolicy::Known, PnpReceive::Udp, 0).await.unwrap();
        let parts = PnpParts {
            config,
            adopt: AdoptConfig::default(),
            observe: false,
            roots: Roots::default(),
            interfaces: Interfaces::fixed(Table::default()),
            neighbours: Neighbours::declared(HashMap::new()),
            store: bench.store.clone(),
            catalog: Arc::default(),
            clock: Clock::System,
            entropy: Entropy::System,
            sightings: mpsc::channel(1).0,
            alarms: Alarms::default(),
        };
        let Err(error) = PnpServer::bind(parts) else { panic!("the port was free") };
        assert!(error.to_string().contains("set pnp.reply_port to a free port"), "{error}");
    }
}
