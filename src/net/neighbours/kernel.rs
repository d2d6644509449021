//! Resolving, checking and proving with the kernel's table and, where that is allowed, with ARP and pins of our own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::arp::{Arp, Heard, Watch};
use super::bridge::Links;
use super::budget::Budget;
use super::netlink::{Entry, Netlink};
use super::pins::{Hold, Inheritance, NoPin, Pins};
use super::watcher::Watcher;
use super::whereabouts::Whereabouts;
use super::{Abilities, Behind, CloneSign, Evidence, Held, NeighbourOptions, Occupied, Pin, Place, Proved};
use crate::clock::Clock;
use crate::device::Mac;
use crate::net::arp::Ourselves;
use crate::net::interfaces::Interfaces;
use crate::net::limit::Limiter;
use crate::net::udp::{UdpEndpoint, Via};

/// How long a cold entry may take; a phone on the same link answers ARP within milliseconds.
const RESOLVE_MS_MAX: u64 = 300;
/// How often the table is read while it resolves.
const RESOLVE_STEP_MS: u64 = 10;
/// After so many readings our own question repeats the kernel's, which waits a second before it asks again.
const REPEAT_STEPS: u64 = 10;
/// Where the datagram goes that makes the kernel resolve an address: discard (RFC 863).
const DISCARD_PORT: u16 = 9;
/// One line about phones behind a gateway in this time, and so many gateways that are told apart.
const GATEWAY_LINE_EVERY: Duration = Duration::from_mins(1);
const GATEWAYS_MAX: usize = 64;

/// The kernel's table, what we may do with it, and what we remember.
pub(super) struct Kernel {
    netlink: Mutex<Netlink>,
    prompt: Option<Prompt>,
    arp: Option<Arc<Arp>>,
    pins: Option<Pins>,
    interfaces: Interfaces,
    clock: Clock,
    links: Arc<Mutex<Links>>,
    whereabouts: Mutex<Whereabouts>,
    budget: Mutex<Budget>,
    /// Of addresses that are to be given away.
    probes: Mutex<Budget>,
    gateways_said: Mutex<Limiter<IpAddr>>,
    /// Ends the listening and the looking.
    _background: DropGuard,
}

/// Sockets whose datagrams make the kernel resolve an address.
struct Prompt {
    v4: UdpEndpoint,
    /// `None` on a host without IPv6.
    v6: Option<UdpEndpoint>,
}

impl Kernel {
    pub(super) fn open(options: NeighbourOptions) -> io::Result<Self> {
        let NeighbourOptions { interfaces, clock, may_send, pin_list, inherited_kept } = options;
        let mut netlink = Netlink::open()?;
        let (mut prompt, mut arp, mut pins) = (None, None, None);
        if may_send {
            let any = SocketAddr::from(([0, 0, 0, 0], 0));
            let any_v6 = SocketAddr::from(([0_u16; 8], 0));
            prompt = Some(Prompt { v4: UdpEndpoint::bind(any)?, v6: UdpEndpoint::bind(any_v6).ok() });
            arp = allowed(Arp::open(clock.clone()))?.map(Arc::new);
            if let Some(list) = pin_list.filter(|_| netlink.may_set()) {
                pins = Some(Pins::start(&Inheritance { list, kept: inherited_kept }, &clock)?);
            }
        }
        let links = Arc::<Mutex<Links>>::default();
        let background = CancellationToken::new();
        let watcher = Watcher {
            interfaces: interfaces.clone(),
            links: Arc::clone(&links),
            arp: arp.clone(),
            netlink: Netlink::open()?,
            clock: clock.clone(),
        };
        tokio::spawn(background.clone().run_until_cancelled_owned(watcher.run()));
        if let Some(arp) = arp.clone() {
            let listening = async move { arp.listen().await };
            tokio::spawn(background.clone().run_until_cancelled_owned(listening));
        }
        let now = clock.instant();
        Ok(Self {
            netlink: Mutex::new(netlink),
            prompt,
            arp,
            pins,
            interfaces,
            clock,
            links,
            whereabouts: Mutex::new(Whereabouts::new(now)),
            budget: Mutex::new(Budget::new(now)),
            probes: Mutex::new(Budget::new(now)),
            gateways_said: Mutex::new(Limiter::new(1, GATEWAY_LINE_EVERY, GATEWAYS_MAX)),
            _background: background.drop_guard(),
        })
    }

    pub(super) fn abilities(&self) -> Abilities {
        Abilities { pin: self.pins.is_some(), raw_arp: self.arp.is_some() }
    }

    pub(super) async fn settle(&self) {
        if let Some(pins) = &self.pins {
            pins.settle().await;
        }
    }

    pub(super) fn evidence(&self, interface: u32) -> Evidence {
        let behind = lock(&self.links).all_behind(interface, self.clock.instant());
        behind.map_or(Evidence::Usable, |behind| Evidence::Indistinct { behind })
    }

    pub(super) async fn mac_of(&self, place: Place) -> Option<Mac> {
        if let Some(entry) = self.entry(place) {
            self.learn(place, entry.mac);
            return Some(entry.mac);
        }
        self.turn().await?;
        self.resolve(place).await
    }

    pub(super) fn glance(&self, place: Place, mac: Mac) -> Option<Behind> {
        if self.entry(place).is_some_and(|entry| entry.mac == mac) {
            self.learn(place, mac);
            return Some(Behind::Same);
        }
        matches!(self.evidence(place.interface), Evidence::Indistinct { .. }).then_some(Behind::Indistinct)
    }

    pub(super) async fn check(&self, place: Place, mac: Mac) -> Behind {
        if self.turn().await.is_none() {
            return Behind::Unable;
        }
        let found = match self.entry(place) {
            None => self.resolve(place).await.map_or(Behind::Silent, |found| behind(found, mac)),
            // An entry of an administrator is no old one.
            Some(Entry { mac: other, is_permanent: true }) => behind(other, mac),
            Some(Entry { mac: other, .. }) if other != mac => {
                if let Some((watch, ourselves)) = self.watch(place) {
                    judge(&watch.round(ourselves).await, mac)
                } else {
                    // The kernel finds out for itself when its entry is old; the phone will have asked again by then.
                    self.prompt(place).await;
                    Behind::Other(other)
                }
            }
            Some(_) => Behind::Same,
        };
        if let Behind::Same = found {
            self.learn(place, mac);
        }
        match self.evidence(place.interface) {
            Evidence::Indistinct { .. } => Behind::Indistinct,
            Evidence::Usable => found,
        }
    }

    pub(super) async fn prove(&self, place: Place, mac: Mac) -> Proved {
        if let Evidence::Indistinct { .. } = self.evidence(place.interface) {
            return Proved::Indistinct;
        }
        if self.turn().await.is_none() {
            return Proved::Unable;
        }
        let (there, before) = join(self.alone(place, mac), self.gone_from(place, mac)).await;
        let (watch, before) = match (there, before) {
            (Err(Proved::Other(other)), _) => return self.other(place, other),
            (Err(refused), _) | (_, Err(refused)) => return refused,
            (Ok(watch), Ok(before)) => (watch, before),
        };
        let hold = match self.pin(place, mac).await {
            Ok(hold) => hold,
            Err(refused) => return refused,
        };
        // What was said while the entry was pinned counts as well.
        if let Some(sign) = watch.as_ref().and_then(|watch| watch.heard().contradiction(mac)) {
            return Proved::Clone(sign);
        }
        for old in &before {
            lock(&self.whereabouts).forget(*old, mac);
        }
        self.learn(place, mac);
        let moved_from = before.first().map(|old| old.address);
        Proved::Yes(Held { pinned: hold.is_some(), pin: Some(Pin { mac, watch, _hold: hold }), moved_from })
    }

    /// Whether this MAC, and no other, is at this place, and the kernel would send there.
    async fn alone(&self, place: Place, mac: Mac) -> Result<Option<Watch>, Proved> {
        let ours = self.pins.as_ref().is_some_and(|pins| pins.made(place));
        if let Some(entry) = self.entry(place).filter(|entry| entry.is_permanent && !ours) {
            return if entry.mac == mac { Ok(None) } else { Err(Proved::Other(entry.mac)) };
        }
        let Some((watch, ourselves)) = self.watch(place) else {
            let resolved = match self.entry(place) {
                Some(entry) => Some(entry.mac),
                None => self.resolve(place).await,
            };
            return match resolved {
                Some(resolved) if resolved == mac => Ok(None),
                Some(other) => Err(Proved::Other(other)),
                None => Err(Proved::Silent),
            };
        };
        match judge(&watch.round(ourselves).await, mac) {
            Behind::Same => self.agrees(place, mac).await.map(|()| Some(watch)),
            Behind::Other(other) => Err(Proved::Other(other)),
            Behind::Contested(sign) => Err(Proved::Clone(sign)),
            Behind::Silent | Behind::Indistinct | Behind::Unable => Err(Proved::Silent),
        }
    }

    /// Waits until the kernel's table says what ARP said. Without an entry a pin makes one.
    async fn agrees(&self, place: Place, mac: Mac) -> Result<(), Proved> {
        let mut entry = self.entry(place);
        if entry.is_none() && self.pins.is_none() {
            return match self.resolve(place).await {
                Some(resolved) if resolved == mac => Ok(()),
                Some(other) => Err(Proved::Clone(CloneSign::Table { other })),
                None => Err(Proved::Silent),
            };
        }
        for _ in 0..RESOLVE_MS_MAX / RESOLVE_STEP_MS {
            if entry.is_none_or(|entry| entry.mac == mac) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(RESOLVE_STEP_MS)).await;
            entry = self.entry(place);
        }
        entry.map_or(Ok(()), |entry| Err(Proved::Clone(CloneSign::Table { other: entry.mac })))
    }

    /// The places that this MAC has left within the hour. One that still answers with it has been cloned.
    async fn gone_from(&self, place: Place, mac: Mac) -> Result<Vec<Place>, Proved> {
        let before = lock(&self.whereabouts).elsewhere(place, mac, self.clock.instant());
        let still_there = |old: Place| async move {
            let Some((watch, ourselves)) = self.watch(old) else { return Ok(()) };
            if self.turn().await.is_none() {
                return Err(Proved::Unable);
            }
            match judge(&watch.round(ourselves).await, mac) {
                Behind::Same | Behind::Contested(_) => {
                    Err(Proved::Clone(CloneSign::Elsewhere { address: old.address }))
                }
                Behind::Other(_) | Behind::Silent | Behind::Indistinct | Behind::Unable => Ok(()),
            }
        };
        let answers = join_all(before.iter().copied().map(still_there)).await;
        answers.into_iter().collect::<Result<(), Proved>>().map(|()| before)
    }

    async fn pin(&self, place: Place, mac: Mac) -> Result<Option<Hold>, Proved> {
        let Some(pins) = &self.pins else { return Ok(None) };
        match pins.pin(place, mac).await {
            Ok(hold) => Ok(Some(hold)),
            Err(NoPin::Other(other)) => Err(Proved::Other(other)),
            Err(NoPin::Refused) => Err(Proved::Unable),
        }
    }

    /// Another host is there; a gateway is no phone, and whoever is behind it looks like it.
    fn other(&self, place: Place, other: Mac) -> Proved {
        let IpAddr::V4(address) = place.address else { return Proved::Other(other) };
        if !lock(&self.links).is_gateway(place.interface, address) {
            return Proved::Other(other);
        }
        if lock(&self.gateways_said).allows(place.address, self.clock.instant()) {
            warn!(
                "A phone asks from {address}, which is this host's gateway: a container bridge or a router hides who \
                 it is, so it gets no password. Run offhook in the host's own network, or on the phones' link"
            );
        }
        Proved::Indistinct
    }

    pub(super) async fn probe(&self, address: Ipv4Addr, index: u32) -> Occupied {
        let table = self.interfaces.current();
        let mac = table.interfaces().iter().find(|one| one.index == index).and_then(|one| one.mac);
        let (Some(arp), Some(mac)) = (&self.arp, mac) else { return Occupied::Unable };
        // Nobody hears his own question.
        if table.is_ours(address) {
            return Occupied::By(mac);
        }
        let Some(wait) = lock(&self.probes).turn(self.clock.instant()) else { return Occupied::Unable };
        tokio::time::sleep(wait).await;
        arp.watch(index, address).probe(mac).await.map_or(Occupied::ByNobody, Occupied::By)
    }

    /// Waits for a turn to ask the link; `None` when too many wait.
    async fn turn(&self) -> Option<()> {
        let wait = lock(&self.budget).turn(self.clock.instant())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Some(())
    }

    fn entry(&self, place: Place) -> Option<Entry> {
        lock(&self.netlink).entry(place)
    }

    fn learn(&self, place: Place, mac: Mac) {
        let now = self.clock.instant();
        if place.address.is_ipv4() {
            lock(&self.links).learn(place, mac, now);
        }
        lock(&self.whereabouts).learn(place, mac, now);
    }

    /// An ear on a place where ARP may be spoken, and who we are there.
    fn watch(&self, place: Place) -> Option<(Watch, Ourselves)> {
        let IpAddr::V4(address) = place.address else { return None };
        let arp = self.arp.as_ref()?;
        let ourselves = self.ourselves(address, place.interface)?;
        Some((arp.watch(place.interface, address), ourselves))
    }

    fn ourselves(&self, address: Ipv4Addr, interface: u32) -> Option<Ourselves> {
        let table = self.interfaces.current();
        let (interface, ours) = table.on_link(address, Some(interface))?;
        Some(Ourselves { mac: interface.mac?, address: ours })
    }

    /// Makes the kernel resolve a place that its table does not know.
    async fn resolve(&self, place: Place) -> Option<Mac> {
        self.prompt.as_ref()?;
        let repeat = self.watch(place);
        self.prompt(place).await;
        for step in 1..=RESOLVE_MS_MAX / RESOLVE_STEP_MS {
            tokio::time::sleep(Duration::from_millis(RESOLVE_STEP_MS)).await;
            if let Some(entry) = self.entry(place) {
                self.learn(place, entry.mac);
                return Some(entry.mac);
            }
            if let Some((watch, ourselves)) = repeat.as_ref().filter(|_| step.is_multiple_of(REPEAT_STEPS)) {
                watch.ask(*ourselves);
            }
        }
        None
    }

    /// Sends a datagram that nobody reads, so that the kernel has to find out where it goes.
    async fn prompt(&self, place: Place) {
        let Some(prompt) = &self.prompt else { return };
        let via = Some(Via { interface: place.interface, source: None });
        let sent = match (place.address, &prompt.v6) {
            (IpAddr::V4(_), _) => {
                prompt.v4.send(&[], SocketAddr::new(place.address, DISCARD_PORT), via).await
            }
            (IpAddr::V6(address), Some(v6)) => {
                let to = SocketAddrV6::new(address, DISCARD_PORT, 0, place.interface);
                v6.send(&[], to.into(), None).await
            }
            (IpAddr::V6(_), None) => return,
        };
        if let Err(error) = sent {
            debug!("Cannot make the kernel resolve {}: {error}", place.address);
        }
    }
}

fn behind(found: Mac, claimed: Mac) -> Behind {
    if found == claimed { Behind::Same } else { Behind::Other(found) }
}

/// What ARP said, for somebody who claims this MAC.
fn judge(heard: &Heard, mac: Mac) -> Behind {
    match (heard.sign(), heard.owner()) {
        (Some(sign), _) => Behind::Contested(heard.contradiction(mac).unwrap_or(sign)),
        (None, Some(owner)) => behind(owner, mac),
        (None, None) => Behind::Silent,
    }
}

/// `None` for what this process may not do.
fn allowed<T>(tried: io::Result<T>) -> io::Result<Option<T>> {
    match tried {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
