//! Accepts the phones' connections and moves the bytes that [`super::decide`] gives. Every step of a connection has an
//! end: hyper's own timer counts a quiet connection as an unfinished head and does not see a reader that has stopped.

mod custody;
mod handshake;
mod menu;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::custody::{Delivery, Fate};
use self::wire::Wire;
use super::decide::{self, Form, Verb, not_found, refused_method, reply};
use super::pace::{Kind, Pace};
use crate::clock::Clock;
use crate::device::Channel;
use crate::net::crowd::{Crowd, Place, pause};
use crate::net::interfaces::Interfaces;
use crate::net::limit::Limiter;
use crate::provision::{Answer, Desk, FileRequest, Handed, Want};
use crate::tls::{PhoneCertificate, Tls, Witness};

/// Connections that the kernel completes while we are busy. A storm of 10,000 phones has to fit, because a lost SYN
/// costs a phone one second; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 16_384;
/// Connections at once, of all addresses: 10,000 phones and some more. Beyond, the kernel's queue holds them. Less
/// where the process may open fewer files.
const CONNECTIONS_MAX: usize = 12_288;
/// Connections of one address that are served or wait for their turn; further ones are closed at once. A quarter of
/// all, so that no single host can take every place.
const CONNECTIONS_PER_ADDRESS_PRESENT_MAX: usize = CONNECTIONS_MAX / 4;
/// How long a connection waits for its turn beside others of its address.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// Octets of a request's head; phones send a few hundred.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What the kernel holds of a response beyond what is under way: small, so that a slow reader is seen to read.
const UNSENT_BYTES_MAX: u32 = 32 * 1024;
/// How long the acknowledgement of the last octets of a closed connection is waited for.
const LAST_ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_secs(2);
/// How long running responses may go on once the agent stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The phones' HTTP service, in clear or inside TLS.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    interfaces: Interfaces,
    clock: Clock,
    crowd: Arc<Crowd>,
    tls: Option<Tls>,
    is_secure: bool,
}

struct Shared {
    desk: Desk,
    interfaces: Interfaces,
    clock: Clock,
    /// Whose authority is given to whoever asks for it.
    tls: Option<Tls>,
    /// Whether every connection begins with a handshake.
    is_secure: bool,
    /// The addresses of which was said that they cannot do it.
    failures: Mutex<Limiter<IpAddr>>,
    stopping: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Binds the address; `[::]` hears both families. Of one address, `connections_per_address` connections are
    /// served at once.
    pub fn bind(
        listen: SocketAddr,
        connections_per_address: usize,
        interfaces: Interfaces,
        clock: Clock,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if listen.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // Both are inherited by the connections.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        socket.bind(&listen.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            listener: TcpListener::from_std(socket.into())?,
            interfaces,
            clock,
            crowd: Arc::new(Crowd::new(connections_per_address, CONNECTIONS_PER_ADDRESS_PRESENT_MAX)),
            tls: None,
            is_secure: false,
        })
    }

    /// The same, which also gives the certificate of our own authority to whoever asks for it.
    #[must_use]
    pub fn offering_authority(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The same inside TLS.
    #[must_use]
    pub fn over_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), is_secure: true, ..self }
    }

    /// The address and port connections come to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `cancel`; then responses under way may finish within a grace.
    pub async fn run(self, desk: Desk, cancel: CancellationToken) {
        let Self { listener, interfaces, clock, crowd, tls, is_secure } = self;
        let failures = Mutex::new(Limiter::new(1, handshake::NEWS_EVERY, handshake::NEWS_MAX));
        let stopping = CancellationToken::new();
        let shared = Arc::new(Shared { desk, interfaces, clock, tls, is_secure, failures, stopping });
        let files = getrlimit(Resource::RLIMIT_NOFILE)
            .map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
        let share = if is_secure { files / 4 } else { files / 2 };
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX.min(share).max(1)));
        let mut connections = JoinSet::new();
        let mut arrivals = open_door(listener, places, shared.clock.clone());
        while let Some(Some(arrival)) = cancel.run_until_cancelled(arrivals.recv()).await {
            let Arrival { permit, stream, peer } = arrival;
            while connections.try_join_next().is_some() {}
            let Some(place) = crowd.enter(peer.ip().to_canonical()) else {
                debug!("Closed a connection of {peer}: its address has too many");
                continue;
            };
            let connection = Connection::new(Arc::clone(&shared), stream, peer, place);
            connections.spawn(async move {
                let _permit = permit;
                connection.serve().await;
            });
        }
        drop(arrivals);
        shared.stopping.cancel();
        let finish = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
            warn!("Stopped a listener for phones in the middle of {} responses", connections.len());
            // Until each is gone, and has let go of its neighbour's entry.
            connections.shutdown().await;
        }
    }
}

/// A connection that waits for its task.
struct Arrival {
    permit: OwnedSemaphorePermit,
    stream: TcpStream,
    peer: SocketAddr,
}

/// Takes connections in while there are places, until nobody takes them from here. On a thread of its own, because
/// beside thousands of connections a task's turn comes seldom, and a SYN that finds the kernel's queue full costs a
/// phone a second.
fn open_door(
    listener: TcpListener,
    places: Arc<Semaphore>,
    clock: Clock,
) -> mpsc::UnboundedReceiver<Arrival> {
    let (queue, arrivals) = mpsc::unbounded_channel();
    let closed = queue.clone();
    let accepting = async move {
        while let Ok(permit) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => drop(queue.send(Arrival { permit, stream, peer })),
                Err(error) => pause(&error, &clock).await,
            }
        }
    };
    let until_closed = async move {
        tokio::select! {
            () = closed.closed() => {}
            () = accepting => {}
        }
    };
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(until_closed));
    arrivals
}

/// One connection and what is known of it.
struct Connection {
    shared: Arc<Shared>,
    /// Before `progress`, because fields are dropped in their order: the socket is closed while the receipt of what was
    /// sent through it still keeps the phone's neighbour entry.
    stream: TcpStream,
    peer: IpAddr,
    local: IpAddr,
    interface: Option<u32>,
    /// What the phone has proved by its certificate, and before whom.
    certificate: OnceLock<(PhoneCertificate, Arc<Witness>)>,
    place: Place,
    progress: Mutex<Progress>,
    /// A file with passwords begins to leave.
    begun: Notify,
    /// A file with passwords has arrived.
    settled: Notify,
}

/// Where the connection stands.
struct Progress {
    pace: Pace,
    /// Whether the body of the present response has been taken to be sent.
    body_taken: bool,
    delivery: Option<Delivery>,
}

/// Nothing is said, and the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the request is met with silence")]
struct Silence;

impl Connection {
    fn new(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, place: Place) -> Arc<Self> {
        let peer = peer.ip().to_canonical();
        let local = stream.local_addr().map_or(peer, |local| local.ip().to_canonical());
        let table = shared.interfaces.current();
        let interface = table.interfaces().iter().find_map(|interface| {
            let ours = interface.addresses.iter().any(|(address, _)| IpAddr::V4(*address) == local);
            ours.then_some(interface.index)
        });
        let now = shared.clock.instant();
        let progress = Mutex::new(Progress { pace: Pace::new(now), body_taken: false, delivery: None });
        let (begun, settled) = (Notify::new(), Notify::new());
        let certificate = OnceLock::new();
        Arc::new(Self {
            shared,
            stream,
            peer,
            local,
            interface,
            certificate,
            place,
            progress,
            begun,
            settled,
        })
    }

    async fn serve(self: Arc<Self>) {
        let turn = tokio::time::timeout(TURN_WAIT, self.place.turn()).await;
        let Ok(Some(turn)) = turn else {
            debug!("Closed a connection of {}: its address has too many", self.peer);
            return;
        };
        let fate = match self.shared.tls.as_ref().filter(|_| self.shared.is_secure) {
            None => self.converse(Wire(Arc::clone(&self))).await,
            Some(tls) => match self.handshake(tls).await {
                Some(stream) => self.converse(stream).await,
                None => return,
            },
        };
        drop(turn);
        match fate {
            Some(fate) => self.release(fate),
            None => self.settle().await,
        }
    }

    /// Requests and responses, until one side has enough, or a file with passwords has met a fate that ends everything.
    async fn converse(self: &Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<Fate> {
        self.progress().pace = Pace::new(self.now());
        let service = service_fn(|request| Arc::clone(self).answer(request));
        let mut hyper = pin!(
            http1::Builder::new()
                .header_read_timeout(None)
                .ignore_invalid_headers(true)
                .half_close(true)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
        );
        let mut alarm = pin!(sleep_until(self.deadline().into()));
        let mut stopping = pin!(self.shared.stopping.cancelled());
        let mut told = false;
        let mut fate: Fuse<BoxFuture<'_, Fate>> = Fuse::terminated();
        loop {
            tokio::select! {
                biased;
                ended = &mut hyper => {
                    if let Err(error) = ended {
                        debug!("Connection of {}: {error}", self.peer);
                    }
                    return None;
                }
                () = self.begun.notified() => fate = Arc::clone(self).fate().boxed().fuse(),
                met = &mut fate => match met {
                    Fate::Arrived => self.release(met),
                    Fate::Locked | Fate::Overdue | Fate::Gone => return Some(met),
                },
                () = &mut stopping, if !told => {
                    told = true;
                    hyper.as_mut().graceful_shutdown();
                }
                // The timer is not moved at every step; when it rings, the deadline may be a later one.
                () = &mut alarm => {
                    let deadline = self.deadline();
                    if deadline <= self.now() {
                        self.close_late();
                        return None;
                    }
                    alarm.as_mut().reset(deadline.into());
                }
            }
        }
    }

    /// The peer has used up its time. What it does not take is not kept for it.
    fn close_late(&self) {
        if self.progress().pace.is_responding() {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
        debug!("Closed a connection of {}: it took too long", self.peer);
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Outgoing>, Silence> {
        self.settle_earlier().await;
        let user_agent = decide::user_agent(request.headers());
        let mut response = match Verb::of(request.method()) {
            Some(verb) => self.answer_for(verb, &request).await?,
            None => refused_method(),
        };
        let dated = user_agent.is_some_and(|user_agent| self.shared.desk.wants_dated(&user_agent));
        decide::end(&mut response, self.place.is_wanted(), dated.then(|| self.shared.clock.now()));
        let is_static = response.headers().get(hyper::header::ACCEPT_RANGES).is_some_and(|r| r == "bytes");
        let mut progress = self.progress();
        progress.pace.answered(if is_static { Kind::Static } else { Kind::Own }, self.now());
        progress.body_taken = response.body().is_empty();
        drop(progress);
        Ok(response.map(|bytes| Outgoing { bytes, connection: self }))
    }

    async fn answer_for(&self, verb: Verb, request: &Request<Incoming>) -> Result<Response<Bytes>, Silence> {
        let Some(path) = decide::name(request.uri().path()) else { return Ok(not_found()) };
        let authority = self.shared.tls.as_ref().zip(decide::authority(&path));
        if let Some((tls, form)) = authority {
            let bytes = match form {
                Form::Pem => tls.authority_pem().into(),
                Form::Der => Bytes::copy_from_slice(tls.authority_der()),
            };
            let file = decide::authority_file(bytes, &tls.fingerprint());
            return Ok(reply(verb, request.headers(), Answer::File(file)));
        }
        let is_menu = crate::menu::is_menu(&path);
        let file = FileRequest {
            path,
            user_agent: decide::user_agent(request.headers()),
            peer: self.peer,
            local: self.local,
            interface: self.interface,
            channel: if self.shared.is_secure { Channel::Https } else { Channel::Http },
            certificate: self.certified()?,
            want: if verb == Verb::Head { Want::Head } else { Want::Whole },
            known: decide::known_tags(request.headers()),
        };
        if is_menu {
            return self.menu(verb, &file, request).await;
        }
        let mut answer = self.shared.desk.answer(&file).await;
        if let Answer::Silence = answer {
            return Err(Silence);
        }
        let receipt = if let Answer::File(body) = &mut answer { body.receipt.take() } else { None };
        let response = reply(verb, request.headers(), answer);
        let Some(mut receipt) = receipt else { return Ok(response) };
        receipt.is_of_part(decide::span(&response));
        if verb == Verb::Head {
            self.shared.desk.handed(&file, &receipt, Handed::Head);
            return Ok(response);
        }
        if receipt.revoked().is_cancelled() {
            self.shared.desk.handed(&file, &receipt, Handed::Part);
            return Err(Silence);
        }
        if !receipt.is_secret() {
            self.shared.desk.handed(&file, &receipt, Handed::Sent);
        }
        if let Err(error) = self.begin(file, receipt) {
            warn!("Cannot send {} its file: its socket takes no options: {error}", self.peer);
            return Err(Silence);
        }
        Ok(response)
    }

    /// The connection is over: whether its last file has arrived, the kernel knows by the acknowledgements, which may
    /// still be on their way.
    async fn settle(self: &Arc<Self>) {
        match self.has_secrets() {
            None => {}
            Some(true) if self.progress().delivery.as_ref().is_some_and(|delivery| delivery.is_out) => {
                let fate = Arc::clone(self).fate().await;
                self.release(fate);
            }
            Some(true) => self.release(Fate::Gone),
            Some(false) => self.settle_plain().await,
        }
    }

    async fn settle_plain(&self) {
        let Some(delivery) = self.progress().delivery.take().filter(|delivery| delivery.is_out) else {
            return;
        };
        if !self.is_acknowledged() {
            let _ = tokio::time::timeout(LAST_ACKNOWLEDGEMENT_WAIT, self.peer_closed()).await;
        }
        if self.is_acknowledged() {
            self.shared.desk.delivered(&delivery.file, delivery.receipt);
        }
    }

    /// Waits for the peer's end of the connection; whatever it still says is thrown away.
    async fn peer_closed(&self) {
        let mut rest = [0; 512];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut rest) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn now(&self) -> Instant {
        self.shared.clock.instant()
    }

    fn deadline(&self) -> Instant {
        self.progress().pace.deadline()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response's body, which tells its connection when it has been taken.
struct Outgoing {
    bytes: Bytes,
    connection: Arc<Connection>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        self.connection.progress().body_taken = true;
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}
