//! The shell of pushing: looks who is behind an address, sends, waits for the answer, and tells what happened as it
//! happens. Each NOTIFY has a socket of its own, so that the kernel's word that nobody listens there belongs to it.

pub mod web;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::debug;

use super::decide::{
    Aim, IN_FLIGHT_MAX, LOOKING_MAX, Next, NotSent, Outcome, Rate, SIP_PORT, Transaction, aim, may_send,
};
use super::message::{DATAGRAM_BYTES_MAX, Names, Notify, Uri};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::device::Mac;
use crate::net::interfaces::Interfaces;
use crate::net::neighbours::Neighbours;
use crate::net::udp::{UdpEndpoint, Via};
use crate::profile::Means;
use crate::secret::Secret;

/// News that wait to be taken.
const NEWS_MAX: usize = 64;

/// What pushing needs of its surroundings.
#[derive(Clone)]
pub struct Parts {
    /// Our own addresses.
    pub interfaces: Interfaces,
    /// Who is behind an address.
    pub neighbours: Neighbours,
    /// The time.
    pub clock: Clock,
    /// The names of our calls.
    pub entropy: Entropy,
}

/// How fast, and how patiently.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// NOTIFYs a second.
    pub rate: Rate,
    /// How long an answer is awaited.
    pub patience: Duration,
}

/// One phone that shall be told something.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which.
    pub mac: Mac,
    /// Where it is sent.
    pub to: To,
    /// The user of its account, where it has one.
    pub user: Option<String>,
    /// What it is told, and by which event.
    pub means: Means,
    /// A URL for it, with its media type; as secret as a token in it.
    pub url: Option<(Secret, String)>,
}

/// Where a NOTIFY is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// To the phone, which was last seen at this address.
    Phone(IpAddr),
    /// To the registrar of its account: host, or `host:port`.
    Registrar(String),
}

/// What happened to an order.
#[derive(Debug)]
pub enum News {
    /// It is about to leave, and does when it is let go: whoever writes it down does so first.
    Ready(Ready),
    /// It does not leave at all.
    NotSent(NotSent),
    /// It was answered, or not.
    Done(Outcome),
}

/// A NOTIFY that is about to leave.
#[derive(Debug)]
pub struct Ready {
    /// To this place.
    pub to: SocketAddrV4,
    /// Now.
    pub at: Timestamp,
    go: oneshot::Sender<()>,
}

impl Ready {
    /// Lets it go. Dropped instead, it is never sent.
    pub fn go(self) {
        // Whoever does not wait for it any longer has been stopped.
        let _ = self.go.send(());
    }
}

/// Carries out orders; their news come in the order in which they happen, and end when all is done. Who drops the
/// receiver stops what has not been sent yet.
pub fn push(parts: Parts, orders: Vec<Order>, pace: Pace) -> mpsc::Receiver<(Mac, News)> {
    let (sender, news) = mpsc::channel(NEWS_MAX);
    let desk = Arc::new(Desk {
        parts,
        patience: pace.patience,
        ticks: Mutex::new(ticks(pace.rate)),
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        looking: Arc::new(Semaphore::new(LOOKING_MAX)),
        news: sender,
    });
    tokio::spawn(desk.carry_out(orders));
    news
}

/// What all orders share.
struct Desk {
    parts: Parts,
    patience: Duration,
    /// The next NOTIFY leaves with the next tick.
    ticks: Mutex<Interval>,
    in_flight: Arc<Semaphore>,
    looking: Arc<Semaphore>,
    news: mpsc::Sender<(Mac, News)>,
}

/// A socket for one exchange, and the other end of it.
struct Call {
    socket: UdpEndpoint,
    ours: SocketAddrV4,
    theirs: SocketAddrV4,
    /// Where the phone is; `None` where a PBX is asked.
    place: Option<Aim>,
}

fn ticks(rate: Rate) -> Interval {
    let mut ticks = tokio::time::interval(rate.period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Desk {
    async fn carry_out(self: Arc<Self>, orders: Vec<Order>) {
        let mut running = JoinSet::new();
        for order in orders {
            let Ok(permit) = Arc::clone(&self.in_flight).acquire_owned().await else { return };
            let Ok(looking) = Arc::clone(&self.looking).acquire_owned().await else { return };
            if self.news.is_closed() {
                return;
            }
            let desk = Arc::clone(&self);
            running.spawn(async move {
                desk.serve(&order, looking).await;
                drop(permit);
            });
            while running.try_join_next().is_some() {}
        }
        tokio::select! {
            () = self.news.closed() => {}
            () = async { while running.join_next().await.is_some() {} } => {}
        }
    }

    async fn serve(&self, order: &Order, looking: OwnedSemaphorePermit) {
        let last = match self.exchange(order, looking).await {
            Ok(outcome) => News::Done(outcome),
            Err(why) => News::NotSent(why),
        };
        self.tell(order.mac, last).await;
    }

    async fn tell(&self, mac: Mac, news: News) {
        // Whoever has stopped listening has stopped the whole.
        let _ = self.news.send((mac, news)).await;
    }

    /// Sends the NOTIFY of an order, and waits for what becomes of it.
    async fn exchange(&self, order: &Order, looking: OwnedSemaphorePermit) -> Result<Outcome, NotSent> {
        let call = match &order.to {
            To::Phone(address) => self.call_phone(order.mac, *address).await?,
            To::Registrar(name) => call_registrar(name).await?,
        };
        let random = self.parts.entropy.bytes().map_err(|error| NotSent::Failed(error.to_string()))?;
        let host = match &order.to {
            To::Phone(_) => call.theirs.to_string(),
            To::Registrar(name) => name.clone(),
        };
        let notify = Notify {
            to: &Uri { user: order.user.clone(), host },
            ours: call.ours,
            names: Names::new(random),
            means: &order.means,
            url: order.url.as_ref().map(|(url, content_type)| (url.expose(), content_type.as_str())),
        };
        self.ticks.lock().await.tick().await;
        drop(looking);
        self.let_go(order.mac, call.theirs).await?;
        let bytes = notify.bytes();
        match call.send(&bytes).await {
            Ok(()) => {}
            Err(error) if is_unreachable(&error) => return Ok(Outcome::Unreachable),
            Err(error) => return Err(cannot("send", &error)),
        }
        Ok(self.answered(order.mac, &call, &notify, &bytes).await)
    }

    /// Waits until whoever takes the news lets it leave.
    async fn let_go(&self, mac: Mac, to: SocketAddrV4) -> Result<(), NotSent> {
        let (go, gone) = oneshot::channel();
        self.tell(mac, News::Ready(Ready { to, at: self.parts.clock.now(), go })).await;
        gone.await.map_err(|_| NotSent::Failed("stopped before it was sent".to_owned()))
    }

    async fn answered(&self, mac: Mac, call: &Call, notify: &Notify<'_>, bytes: &[u8]) -> Outcome {
        let clock = &self.parts.clock;
        let mut transaction = Transaction::new(clock.instant(), self.patience);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let heard =
                tokio::time::timeout_at(transaction.poll_timeout().into(), call.socket.recv(&mut buffer));
            let over = match heard.await {
                Ok(Ok(datagram)) if datagram.from.ip() == IpAddr::V4(*call.theirs.ip()) => {
                    let answer = notify.answer(buffer.get(..datagram.len).unwrap_or_default());
                    answer.and_then(|answer| transaction.handle(answer))
                }
                Ok(Ok(_)) => None,
                Ok(Err(error)) => {
                    debug!("No answer can come from {}: {error}", call.theirs);
                    Some(Outcome::Unreachable)
                }
                Err(_) => match transaction.handle_timeout(clock.instant()) {
                    Next::Over(outcome) => Some(outcome),
                    // Meanwhile somebody else may have got the address.
                    Next::Repeat if self.is_there(mac, call.place).await.is_err() => Some(Outcome::Silent),
                    Next::Repeat => call.send(bytes).await.is_err().then_some(Outcome::Unreachable),
                },
            };
            if let Some(outcome) = over {
                return outcome;
            }
        }
    }

    async fn call_phone(&self, mac: Mac, address: IpAddr) -> Result<Call, NotSent> {
        let place = aim(address, &self.parts.interfaces.current())?;
        self.is_there(mac, Some(place)).await?;
        let Aim { address, ours, .. } = place;
        let theirs = SocketAddrV4::new(address, SIP_PORT);
        let open = || {
            let socket = UdpEndpoint::bind_small(SocketAddrV4::new(ours, 0).into())?;
            // Not connected: there are phones that answer from another port.
            socket.hear_errors()?;
            let port = socket.local_addr()?.port();
            Ok(Call { socket, ours: SocketAddrV4::new(ours, port), theirs, place: Some(place) })
        };
        open().map_err(|error| cannot("open a socket", &error))
    }

    /// Whether the phone, and nobody else, is where it was seen.
    async fn is_there(&self, mac: Mac, place: Option<Aim>) -> Result<(), NotSent> {
        let Some(place) = place else { return Ok(()) };
        let proved = self.parts.neighbours.prove(place.address.into(), place.interface, mac).await;
        may_send(&place, &proved)
    }
}

impl Call {
    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let via = self.place.map(|place| Via { interface: place.interface, source: Some(place.ours.into()) });
        self.socket.send(bytes, self.theirs.into(), via).await.map(|_| ())
    }
}

/// The route says from which of our addresses.
async fn call_registrar(name: &str) -> Result<Call, NotSent> {
    let theirs = resolve(name).await.ok_or_else(|| NotSent::NoRegistrar(name.to_owned()))?;
    let open = || {
        let socket = UdpEndpoint::bind_small(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
        socket.connect(theirs.into())?;
        match socket.local_addr()? {
            SocketAddr::V4(ours) => Ok(Call { socket, ours, theirs, place: None }),
            SocketAddr::V6(_) => Err(io::Error::other("no IPv4 address of our own")),
        }
    };
    open().map_err(|error| cannot("reach the PBX", &error))
}

async fn resolve(name: &str) -> Option<SocketAddrV4> {
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (name, SIP_PORT),
    };
    let found = tokio::net::lookup_host((host, port)).await.ok()?;
    found.into_iter().find_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    })
}

fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

fn cannot(what: &str, error: &io::Error) -> NotSent {
    NotSent::Failed(format!("cannot {what}: {error}"))
}
