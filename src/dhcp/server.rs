//! The shell around DHCP: hears every link by a packet socket, so that no port is taken from a server on this host, and
//! hands what was heard to who remembers and tells. Hearing sends nothing.

pub mod answer;
mod mouth;
mod recent;
mod spool;
mod worker;

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{JoinSet, unconstrained};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use self::mouth::Mouth;
use self::spool::Spool;
use self::worker::Worker;
use super::Packet;
use super::message::Message;
use crate::clock::Clock;
use crate::config::Config;
use crate::net::interfaces::Interfaces;
use crate::net::limit::Losses;
use crate::net::wire::{Frame, Wire};
use crate::profile::Catalog;
use crate::provision::{Heard, Roots};
use crate::store::{MetServer, Store};

/// The ports of a DHCP server and of its clients.
const PORTS: [u16; 2] = [67, 68];
/// Datagrams between the socket and the decisions, some 600 bytes each: a fleet of 10,000 that boots at once, and all that
/// it is answered from here, which is heard as well.
const ARRIVALS_MAX: usize = 65_536;
/// Memory is taken for so many bytes of datagrams at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a socket that only fails is left alone.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// What the service needs from its agent.
pub struct DhcpParts {
    /// Everything that is configured.
    pub config: Config,
    /// Where the files of phones are served.
    pub roots: Roots,
    /// The interfaces in use, as they come and go.
    pub interfaces: Interfaces,
    /// The inventory.
    pub store: Store,
    /// The vendor profiles.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Clock,
    /// Where sightings go, to be written in batches. Half of its room is left to phones that are served.
    pub sightings: mpsc::Sender<Heard>,
    /// Where servers that were met go, to be written down.
    pub servers: mpsc::Sender<MetServer>,
    /// The folder in which the hooks of DHCP servers leave their reports.
    pub reports: PathBuf,
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams that came in.
    pub heard: AtomicU64,
    /// Datagrams that were thrown away because the queue was full.
    pub overflowed: AtomicU64,
    /// Datagrams on interfaces that are not in use.
    pub elsewhere: AtomicU64,
    /// Datagrams that were no DHCP message.
    pub unread: AtomicU64,
    /// Questions of phones.
    pub phones: AtomicU64,
    /// Questions of everybody else.
    pub others: AtomicU64,
    /// Answers of servers.
    pub answers: AtomicU64,
    /// Exchanges of phones that were told.
    pub told: AtomicU64,
    /// Reports of hooks that were read.
    pub reports: AtomicU64,
    /// Sightings, servers and messages that nobody took.
    pub dropped: AtomicU64,
}

/// The service, opened and not yet running.
pub struct DhcpServer {
    parts: DhcpParts,
    wire: io::Result<Arc<Wire>>,
    counters: Arc<Counters>,
    queue: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
    /// Who answers.
    answers: Option<mpsc::Sender<Packet>>,
}

impl DhcpServer {
    /// Opens the packet socket. Where it may not (`CAP_NET_RAW`), the reports of hooks are read all the same. Must be
    /// called inside the runtime.
    pub fn open(parts: DhcpParts) -> Self {
        let wire = Wire::open(PORTS).map(Arc::new);
        let (queue, arrivals) = mpsc::channel(ARRIVALS_MAX);
        Self { parts, wire, counters: Arc::default(), queue, arrivals, answers: None }
    }

    /// The packet socket; or why there is none.
    pub fn wire(&self) -> Result<&Arc<Wire>, &io::Error> {
        self.wire.as_ref()
    }

    /// Lets somebody answer, who gets every message of the interfaces in use, of phones and of all others. `None` where
    /// nothing can be heard.
    pub fn answered_by(&mut self, answers: mpsc::Sender<Packet>) -> Option<Mouth> {
        let wire = Arc::clone(self.wire.as_ref().ok()?);
        self.answers = Some(answers);
        Some(Mouth { wire, hearing: self.queue.clone(), counters: self.counters() })
    }

    /// What happens, in numbers.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Hears until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { parts, wire, counters, queue, arrivals, answers } = self;
        let mut readers = JoinSet::new();
        if let Ok(wire) = wire {
            let drained = drain(wire, queue.clone(), Arc::clone(&counters), parts.clock.clone());
            readers.spawn(cancel.clone().run_until_cancelled_owned(unconstrained(drained)));
        }
        let spool = Spool::new(parts.reports.clone(), parts.clock.clone());
        readers.spawn(cancel.clone().run_until_cancelled_owned(spool.read(queue)));
        Worker::new(parts, answers, Arc::clone(&counters)).run(arrivals, cancel).await;
        readers.shutdown().await;
        debug!(
            heard = counters.heard.load(Ordering::Relaxed),
            lost = counters.overflowed.load(Ordering::Relaxed),
            unread = counters.unread.load(Ordering::Relaxed),
            phones = counters.phones.load(Ordering::Relaxed),
            others = counters.others.load(Ordering::Relaxed),
            answers = counters.answers.load(Ordering::Relaxed),
            told = counters.told.load(Ordering::Relaxed),
            dropped = counters.dropped.load(Ordering::Relaxed),
            "Stopped hearing DHCP"
        );
    }
}

/// What comes to the worker.
#[derive(Debug)]
enum Arrival {
    /// A datagram as it was on a link.
    Datagram(Frame, Bytes),
    /// What was answered from here.
    Said(Said),
    /// The report of a hook.
    Report(super::report::Report),
}

/// An answer of ours on its way.
#[derive(Debug)]
struct Said {
    interface: u32,
    from: SocketAddrV4,
    to: SocketAddrV4,
    message: Message,
}

/// Empties the socket into the queue and does nothing else: what the kernel cannot hold is lost, and a DISCOVER that is
/// lost costs a phone four seconds.
async fn drain(wire: Arc<Wire>, queue: mpsc::Sender<Arrival>, counters: Arc<Counters>, clock: Clock) {
    let mut buffer = Vec::new();
    let mut chunk = BytesMut::new();
    let mut losses = Losses::default();
    loop {
        let frame = match wire.recv(&mut buffer).await {
            Ok(frame) => frame,
            Err(error) => {
                debug!("Cannot read from the packet socket for DHCP: {error}");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        count(&counters.heard);
        if chunk.capacity() < buffer.len() {
            chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        chunk.extend_from_slice(&buffer);
        match queue.try_send(Arrival::Datagram(frame, chunk.split().freeze())) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                count(&counters.overflowed);
                if let Some(lost) = losses.count(clock.instant()) {
                    warn!(
                        "More DHCP than can be heard: {lost} datagrams were lost, the last from {}",
                        frame.from
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
