//! Waits for read requests and carries out what [`Transfer`] decides: one task and one socket per transfer.
//! The socket at the well-known port is only ever drained, so that a storm of first packets is not lost in its buffer.

mod lingering;
mod peers;
mod wire;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, Id, JoinSet, unconstrained};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::lingering::Lingering;
use self::peers::reach;
use self::wire::{Errand, Wire};
use super::agree::{Agreement, Reach, agree};
use super::decide::{Outcome, Transfer};
use super::message::{self, ErrorCode, Message, Mode, Read};
use super::refusal::{NEEDS_OPTIONS, NOT_FOUND, Refusal, refusal};
use crate::clock::Clock;
use crate::device::Channel;
use crate::net::Prefix;
use crate::net::interfaces::Interfaces;
use crate::net::limit::Limiter;
use crate::net::udp::{Datagram, UdpEndpoint, Via};
use crate::provision::{Answer, Desk, FileRequest, Handed, Offer, PREAMBLE_BYTES, Promise, Receipt, Want};

/// A request is a name and a few options; RFC 2347 allows 512 octets.
const REQUEST_BYTES_MAX: usize = 1024;
/// Requests that wait to be looked at: 10,000 phones of one site, and their impatient second tries.
const REQUESTS_WAITING_MAX: usize = 16_384;
/// Transfers at once, each with a socket; less where the process may open fewer files. Further ones wait for a place.
const TRANSFERS_MAX: usize = 4096;
/// Requests of one address that are served or wait: a storm of phones behind one router.
const REQUESTS_PER_ADDRESS_MAX: usize = 1024;
/// Transfers with one address that have not proved it by an acknowledgement; further ones wait for their turn.
const UNPROVEN_PER_ADDRESS_MAX: usize = 8;
/// How long a request waits for its turn and its place; the phone has asked again by then.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// How long a socket that only fails is left alone.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// How long running transfers may go on once the agent stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Answers to packets that belong to no transfer, per second and address.
const STRAY_ANSWERS_PER_SECOND: u32 = 10;
/// Addresses that are remembered for that.
const STRAY_ADDRESSES_MAX: usize = 1024;

/// The TFTP service.
#[derive(Debug)]
pub struct TftpServer {
    endpoints: Vec<Arc<UdpEndpoint>>,
    networks: Vec<Prefix>,
    interfaces: Interfaces,
    clock: Clock,
}

/// What every transfer needs.
struct Shared {
    desk: Desk,
    networks: Vec<Prefix>,
    interfaces: Interfaces,
    clock: Clock,
    strays: Mutex<Limiter<IpAddr>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("networks", &self.networks).finish_non_exhaustive()
    }
}

impl TftpServer {
    /// Binds the address; `[::]` is bound for both families. `networks` are answered beside the hosts on our links.
    pub fn bind(
        listen: SocketAddr,
        networks: Vec<Prefix>,
        interfaces: Interfaces,
        clock: Clock,
    ) -> io::Result<Self> {
        let first = UdpEndpoint::bind(listen)?;
        let port = first.local_addr()?.port();
        let mut endpoints = vec![Arc::new(first)];
        if listen.ip() == IpAddr::from([0u16; 8]) {
            endpoints.push(Arc::new(UdpEndpoint::bind(SocketAddr::from(([0, 0, 0, 0], port)))?));
        }
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.is_clamped()) {
            info!(
                "The kernel grants TFTP {} KiB of receive buffer; raise net.core.rmem_max to 16777216 for storms",
                endpoint.receive_buffer_bytes() / 1024
            );
        }
        Ok(Self { endpoints, networks, interfaces, clock })
    }

    /// The address and port requests come to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoints
            .first()
            .map_or_else(|| Err(io::ErrorKind::NotConnected.into()), |first| first.local_addr())
    }

    /// Serves until `cancel`; then running transfers may finish within a grace.
    pub async fn run(self, desk: Desk, cancel: CancellationToken) {
        let Self { endpoints, networks, interfaces, clock } = self;
        let every = Duration::from_secs(1) / STRAY_ANSWERS_PER_SECOND;
        let strays = Mutex::new(Limiter::new(STRAY_ANSWERS_PER_SECOND, every, STRAY_ADDRESSES_MAX));
        let (queue, mut arrivals) = mpsc::channel(REQUESTS_WAITING_MAX);
        let mut readers = JoinSet::new();
        for endpoint in endpoints {
            // Until the socket is empty: beside thousands of transfers a task's turn comes seldom.
            readers.spawn(unconstrained(drain(endpoint, queue.clone())));
        }
        let mut dispatcher = Dispatcher::new(Arc::new(Shared { desk, networks, interfaces, clock, strays }));
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(ended) = dispatcher.tasks.join_next_with_id() => {
                    let (id, ending) = ended.unwrap_or_else(|error| (error.id(), Ending::Forgotten));
                    dispatcher.forget(id, ending);
                }
                Some(arrival) = arrivals.recv() => dispatcher.dispatch(arrival),
            }
        }
        readers.abort_all();
        dispatcher.places.close();
        let finish = async { while dispatcher.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
            warn!("Stopped TFTP in the middle of {} transfers", dispatcher.running.len());
            // Until each is gone, and has let go of its neighbour's entry.
            dispatcher.tasks.shutdown().await;
        }
    }
}

/// A datagram at the well-known port.
struct Arrival {
    endpoint: Arc<UdpEndpoint>,
    datagram: Datagram,
    bytes: Box<[u8]>,
}

/// Takes datagrams off the socket as fast as they come; nothing is decided here.
async fn drain(endpoint: Arc<UdpEndpoint>, queue: mpsc::Sender<Arrival>) {
    let mut buffer = [0; REQUEST_BYTES_MAX];
    loop {
        match endpoint.recv(&mut buffer).await {
            Ok(datagram) => {
                let bytes = buffer.get(..datagram.len).unwrap_or_default().into();
                if queue.try_send(Arrival { endpoint: Arc::clone(&endpoint), datagram, bytes }).is_err() {
                    debug!("Dropped a TFTP request of {}: too many wait", datagram.from);
                }
            }
            Err(error) => {
                warn!("Cannot receive TFTP requests: {error}");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Which transfers run, with whom.
struct Dispatcher {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    tasks: JoinSet<Ending>,
    running: HashMap<SocketAddr, Running>,
    lingering: Lingering,
    peers: HashMap<Id, SocketAddr>,
    addresses: HashMap<IpAddr, Address>,
}

struct Running {
    filename: Option<String>,
    task: AbortHandle,
    asked_again: Arc<Notify>,
}

/// What remains of a request that was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Nothing: the same request again is a new one.
    Forgotten,
    /// The client has passwords by it: the same request again is a repetition.
    Lingers,
}

struct Address {
    running: usize,
    unproven: Arc<Semaphore>,
}

impl Dispatcher {
    fn new(shared: Arc<Shared>) -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE)
            .map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
        Self {
            shared,
            places: Arc::new(Semaphore::new(TRANSFERS_MAX.min(files / 4).max(1))),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            lingering: Lingering::default(),
            peers: HashMap::new(),
            addresses: HashMap::new(),
        }
    }

    fn dispatch(&mut self, arrival: Arrival) {
        let Datagram { from, local, interface, .. } = arrival.datagram;
        let peer = without_flow(from);
        let table = self.shared.interfaces.current();
        let Some(reach) = reach(peer.ip(), local, interface, &table, &self.shared.networks) else {
            debug!("Ignored a TFTP packet of {peer}: neither on our links nor in tftp.networks");
            return;
        };
        let read = match Message::try_from(&*arrival.bytes) {
            Ok(Message::Read(read)) => Some(read),
            Ok(Message::Write) => None,
            Ok(Message::Acknowledgement(_) | Message::Error(_)) => return,
            Err(malformed) => {
                debug!("Ignored a TFTP packet of {peer}: {malformed}");
                return;
            }
        };
        if let Some(running) = self.running.get(&peer) {
            if read.as_ref().is_some_and(|read| read.filename == running.filename) {
                running.asked_again.notify_one();
                return;
            }
            // The same port asks for another file: it has forgotten the first.
            running.task.abort();
        }
        let name = read.as_ref().and_then(|read| read.filename.as_ref());
        if name.is_some_and(|name| self.lingering.holds(peer, name, self.shared.clock.instant())) {
            debug!("Ignored a TFTP request of {peer}: it repeats one that has been served");
            return;
        }
        self.start(Session { shared: Arc::clone(&self.shared), peer, reach, arrival, read });
    }

    fn start(&mut self, session: Session) {
        let peer = session.peer;
        let fresh = || Address { running: 0, unproven: Arc::new(Semaphore::new(UNPROVEN_PER_ADDRESS_MAX)) };
        let address = self.addresses.entry(peer.ip()).or_insert_with(fresh);
        if self.tasks.len() >= REQUESTS_WAITING_MAX || address.running >= REQUESTS_PER_ADDRESS_MAX {
            debug!("Dropped a TFTP request of {peer}: too many are served or wait");
            return;
        }
        address.running += 1;
        let asked_again = Arc::new(Notify::new());
        let filename = session.read.as_ref().and_then(|read| read.filename.clone());
        let limits = Limits { places: Arc::clone(&self.places), unproven: Arc::clone(&address.unproven) };
        let work = session.run(limits, Arc::clone(&asked_again));
        let task = self.tasks.spawn(work);
        self.peers.insert(task.id(), peer);
        self.running.insert(peer, Running { filename, task, asked_again });
    }

    /// A task has ended, whichever way.
    fn forget(&mut self, id: Id, ending: Ending) {
        let Some(peer) = self.peers.remove(&id) else { return };
        if self.running.get(&peer).is_some_and(|running| running.task.id() == id)
            && let Some(Running { filename: Some(filename), .. }) = self.running.remove(&peer)
            && ending == Ending::Lingers
        {
            self.lingering.add(peer, filename, self.shared.clock.instant());
        }
        if let Some(address) = self.addresses.get_mut(&peer.ip()) {
            address.running = address.running.saturating_sub(1);
            if address.running == 0 {
                self.addresses.remove(&peer.ip());
            }
        }
    }
}

/// What a request needs before it is served.
struct Limits {
    places: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
}

impl Limits {
    /// A turn beside other unproven requests of the address, then a place; nothing once the service stops.
    async fn enter(self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let turn = self.unproven.acquire_owned().await.ok()?;
        let place = self.places.acquire_owned().await.ok()?;
        Some((place, turn))
    }
}

/// One request and what becomes of it.
struct Session {
    shared: Arc<Shared>,
    peer: SocketAddr,
    reach: Reach,
    arrival: Arrival,
    /// `None` for a request to write.
    read: Option<Read>,
}

impl Session {
    async fn run(self, limits: Limits, asked_again: Arc<Notify>) -> Ending {
        let Ok(Some((_place, turn))) = tokio::time::timeout(TURN_WAIT, limits.enter()).await else {
            debug!("Dropped a TFTP request of {}: it waited too long", self.peer);
            return Ending::Forgotten;
        };
        let done = match self.answer().await {
            Ok((request, goods)) => self.transfer(request, goods, turn, &asked_again).await,
            Err(Some((code, text))) => self.refuse(code, text).await.map(|()| Ending::Forgotten),
            Err(None) => Ok(Ending::Forgotten),
        };
        done.unwrap_or_else(|error| {
            debug!("Cannot answer the TFTP request of {}: {error}", self.peer);
            Ending::Forgotten
        })
    }

    /// The file, or its promise, or what the ERROR packet says.
    async fn answer(&self) -> Result<(FileRequest, Goods), Option<Refusal>> {
        let Some(read) = &self.read else {
            return Err(Some((ErrorCode::AccessViolation, "This server is read-only")));
        };
        if read.mode != Mode::Octet {
            return Err(Some((ErrorCode::IllegalOperation, "Only octet (binary) mode is served")));
        }
        let plausible = |name: &&String| !name.chars().any(char::is_control) && !climbs(name);
        let path = read.filename.as_ref().filter(plausible).ok_or(Some(NOT_FOUND))?;
        let Datagram { local, interface, .. } = self.arrival.datagram;
        let has_options = !read.options.is_empty();
        let request = FileRequest {
            path: path.clone(),
            user_agent: None,
            peer: self.peer.ip(),
            local,
            interface: Some(interface),
            channel: Channel::Tftp,
            certificate: None,
            want: if has_options { Want::Whole } else { Want::WithPreamble },
            known: None,
        };
        match self.shared.desk.offer(&request).await {
            Offer::Now(Answer::File(body)) => Ok((request, Goods::Ready(body.bytes, body.receipt))),
            Offer::Now(other) => Err(refusal(&other)),
            // Without options the first block leaves before the address is proven.
            Offer::Due(promise) if !has_options && promise.head().len() != PREAMBLE_BYTES => {
                Err(Some(NEEDS_OPTIONS))
            }
            Offer::Due(promise) => Ok((request, Goods::Promised(promise))),
        }
    }

    async fn refuse(&self, code: ErrorCode, text: &str) -> io::Result<()> {
        let datagram = message::error(code, text);
        self.arrival.endpoint.send(&datagram, self.peer, Some(self.via())).await.map(drop)
    }

    /// Answers leave from the address that was asked, on the interface it was asked on.
    fn via(&self) -> Via {
        let Datagram { local, interface, .. } = self.arrival.datagram;
        Via { interface, source: Some(local) }
    }

    async fn transfer(
        &self,
        request: FileRequest,
        goods: Goods,
        turn: OwnedSemaphorePermit,
        asked_again: &Notify,
    ) -> io::Result<Ending> {
        let options = self.read.as_ref().map(|read| read.options).unwrap_or_default();
        let now = self.shared.clock.instant();
        let wire = Wire::new(&self.arrival.datagram, self.peer, self.via(), &self.shared)?;
        // A client that asked again while the file was being made has lost nothing yet.
        let _ = asked_again.notified().now_or_never();
        let (mut transfer, promise, receipt) = goods.into_transfer(agree(&options, self.reach), now);
        let mut errand = Errand { request, promise, receipt };
        let outcome = wire.carry_out(&mut transfer, &mut errand, turn, asked_again).await;
        debug!("TFTP transfer of {} bytes to {}: {outcome:?}", transfer.size(), self.peer);
        let Errand { request, receipt: Some(receipt), .. } = errand else { return Ok(Ending::Forgotten) };
        if outcome != Outcome::Delivered {
            self.shared.desk.handed(&request, &receipt, Handed::Part);
            return Ok(Ending::Forgotten);
        }
        let ending = if receipt.is_secret() { Ending::Lingers } else { Ending::Forgotten };
        self.shared.desk.handed(&request, &receipt, Handed::Sent);
        self.shared.desk.delivered(&request, receipt);
        Ok(ending)
    }
}

/// What a client gets: a file, or one that is released once the client's address is proven.
enum Goods {
    Ready(Bytes, Option<Receipt>),
    Promised(Promise),
}

impl Goods {
    fn into_transfer(
        self,
        agreement: Agreement,
        now: Instant,
    ) -> (Transfer, Option<Promise>, Option<Receipt>) {
        match self {
            Self::Ready(bytes, receipt) => (Transfer::new(bytes, agreement, now), None, receipt),
            Self::Promised(promise) => {
                let head = promise.head().clone();
                (Transfer::promised(promise.size(), head, agreement, now), Some(promise), None)
            }
        }
    }
}

/// Whether the name tries to leave the root. No name of ours does, and none ever becomes a path; so this only spares
/// the desk the question.
fn climbs(name: &str) -> bool {
    name.split(['/', '\\']).any(|part| part == "..")
}

/// The peer as a key: IPv6's flow label may differ from packet to packet.
fn without_flow(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V6(peer) => {
            SocketAddr::V6(SocketAddrV6::new(*peer.ip(), peer.port(), 0, peer.scope_id()))
        }
        SocketAddr::V4(peer) => SocketAddr::V4(peer),
    }
}
