//! Accepts people's connections, and stops. A head has ten seconds, a peer that takes nothing thirty, an address a few
//! connections; what goes on in a connection does not know whether TLS is under it.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::access::Ends;
use super::router::router;
use super::{AdminParts, Shared};
use crate::net::crowd::{Crowd, Place, pause};

/// Connections that the kernel completes while we are busy: people and programs, not a fleet.
const BACKLOG: i32 = 128;
/// Connections at once, and of one address: a browser opens six, a proxy in front speaks for everybody.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_PER_ADDRESS_MAX: usize = 128;
/// A head takes no longer, nor does a quiet connection stay.
const HEAD_MAX: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a peer may leave unacknowledged, or not take, what was sent to it (tcp(7), `TCP_USER_TIMEOUT`).
const SENDING_MAX: Duration = Duration::from_secs(30);
/// How soon a refusal is in the audit.
const WRITE_DOWN_EVERY: Duration = Duration::from_secs(1);
/// How long running requests may go on once the agent stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The people's listener.
pub struct AdminServer {
    listener: TcpListener,
    shared: Shared,
}

impl std::fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl AdminServer {
    /// Why this address is not listened on, if it is not: tokens do not go over a network in clear.
    pub fn objection(address: SocketAddr) -> Option<String> {
        if address.ip().to_canonical().is_loopback() {
            return None;
        }
        Some(format!(
            "tokens would cross the network in clear, because this port has no TLS yet: set admin.listen to \
             127.0.0.1:{port}, and reach it by ssh -L {port}:127.0.0.1:{port}, or by a proxy with TLS on this host, \
             whose name goes into admin.hosts",
            port = address.port()
        ))
    }

    /// Binds `admin.listen`.
    pub fn bind(listen: SocketAddr, parts: AdminParts) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&listen.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self { listener: TcpListener::from_std(socket.into())?, shared: Shared::new(parts) })
    }

    /// The address and port connections come to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `cancel`; then requests under way may finish within a grace.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { listener, shared } = self;
        let router = router(&shared);
        let crowd = Arc::new(Crowd::new(CONNECTIONS_PER_ADDRESS_MAX, CONNECTIONS_PER_ADDRESS_MAX));
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut ticks = interval(WRITE_DOWN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut writing = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => break,
                _ = ticks.tick() => {
                    while writing.try_join_next().is_some() {}
                    // Not two at once: a database that does not answer is waited for.
                    if writing.is_empty() {
                        let shared = shared.clone();
                        writing.spawn(async move { shared.write_down(false).await });
                    }
                    continue;
                }
                accepted = accept(&listener, &places) => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer, permit)) => {
                    let Some(place) = crowd.enter(peer.ip().to_canonical()) else {
                        debug!("Closed a connection of {peer}: its address has too many");
                        continue;
                    };
                    let (router, stopping) = (router.clone(), cancel.clone());
                    connections.spawn(async move {
                        let _permit = permit;
                        serve(stream, peer, place, router, stopping).await;
                    });
                }
                Err(error) => pause(&error, &shared.0.parts.clock).await,
            }
        }
        drop(listener);
        let finish = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
            warn!("Stopped the REST API in the middle of {} requests", connections.len());
            connections.shutdown().await;
        }
        while writing.join_next().await.is_some() {}
        shared.write_down(true).await;
    }
}

/// A connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    _place: Place,
    router: Router,
    stopping: CancellationToken,
) {
    let Ok(local) = stream.local_addr() else { return };
    let options = SockRef::from(&stream).set_tcp_user_timeout(Some(SENDING_MAX));
    if let Err(error) = options.and_then(|()| stream.set_nodelay(true)) {
        debug!("Closed a connection of {peer}: its socket takes no options: {error}");
        return;
    }
    let ends = Ends { peer: peer.ip().to_canonical(), local: local.ip().to_canonical() };
    converse(stream, ends, router, stopping).await;
}

/// Requests and answers, over whatever carries them.
async fn converse<S>(stream: S, ends: Ends, router: Router, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answers = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        answers.call(request)
    });
    let mut http = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut http => ended,
        () = stopping.cancelled() => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = ended {
        debug!("Connection of {}: {error}", ends.peer);
    }
}
