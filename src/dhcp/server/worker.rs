//! The one task that listens: it reads messages, finds out whose they are, and passes on what they tell. Never waits for
//! the store.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, trace};

use super::recent::Recent;
use super::{Arrival, Counters, DhcpParts, Said, count};
use crate::clock::Timestamp;
use crate::device::{Channel, Identity, Mac, Sighting, Step, Vendor};
use crate::dhcp::Packet;
use crate::dhcp::hear::{EXCHANGES_MAX, Exchange, Hear};
use crate::dhcp::message::{Kind, Message, code};
use crate::dhcp::probe::is_probe;
use crate::dhcp::report::{LeaseEvent, Report};
use crate::dhcp::servers::{Server, Servers};
use crate::dhcp::tell::{Told, leading, tell};
use crate::net::interfaces::{Interface, Table};
use crate::net::wire::Frame;
use crate::profile::{DhcpPlace, class_text};
use crate::provision::{Admission, Heard, Votes, admission, is_known};
use crate::store::MetServer;

/// Messages taken in before everybody else has a turn: some milliseconds.
const BATCH: usize = 256;
/// Exchanges are told so many at a time, and no sooner again than after this: 4,000 in a second, as many as the store takes
/// sightings.
const TOLD_PER_TURN: usize = 40;
const TURN: Duration = Duration::from_millis(10);
/// The same while a fleet boots: telling what a phone got takes as long as giving it, and the next phone waits for that.
const TOLD_PER_BUSY_TURN: usize = 5;
/// More messages than this in a turn, with those of a hundred phones in a second, are a fleet's.
const BUSY_TURN: usize = 20;
/// Beyond so many, exchanges are told in any case: of more than there is room for, the oldest would be forgotten.
const WAITING_MAX: usize = EXCHANGES_MAX / 4 * 3;
/// Questions of programs at once: `offhook dhcp verify` has some for each vendor.
const PROBES_MAX: usize = 64;
/// Servers told of after each batch: whoever invents them does not make a row for each.
const SERVERS_PER_BATCH: usize = 4;

pub(super) struct Worker {
    parts: DhcpParts,
    answers: Option<mpsc::Sender<Packet>>,
    counters: Arc<Counters>,
    table: Arc<Table>,
    votes: Votes,
    hear: Hear,
    servers: Servers,
    recent: Recent,
    /// When exchanges may be told again, and how many messages came since the last time.
    turn: Instant,
    arrived: usize,
    /// The latest questions of programs that look for servers, so that the answers are not taken for a phone's.
    probes: VecDeque<(Mac, u32)>,
}

/// Who a client is.
struct Client {
    identity: Identity,
    /// Whose range its address lies in.
    range_owner: Option<Vendor>,
    is_ours: bool,
}

impl Client {
    /// Of others nothing is kept: they are nobody's business here.
    fn is_phone(&self) -> bool {
        self.is_ours || self.range_owner.is_some() || self.identity.vendor.is_some()
    }
}

impl Worker {
    pub(super) fn new(
        parts: DhcpParts,
        answers: Option<mpsc::Sender<Packet>>,
        counters: Arc<Counters>,
    ) -> Self {
        let table = parts.interfaces.current();
        let (votes, hear, servers, recent) = Default::default();
        let turn = parts.clock.instant();
        Self {
            parts,
            answers,
            counters,
            table,
            votes,
            hear,
            servers,
            recent,
            turn,
            arrived: 0,
            probes: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>, cancel: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let now = self.parts.clock.instant();
            let turn = (self.hear.concluded() > 0).then_some(self.turn);
            let due =
                [self.hear.poll_timeout(), self.servers.poll_timeout(), turn].into_iter().flatten().min();
            let due = due.map(|due| due.saturating_duration_since(now));
            tokio::select! {
                () = cancel.cancelled() => break,
                taken = arrivals.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    self.arrived += taken;
                    for arrival in batch.drain(..) {
                        self.take_in(arrival);
                    }
                    if taken == BATCH {
                        yield_now().await;
                    }
                }
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {
                    self.hear.handle_timeout(self.parts.clock.instant());
                }
                () = self.parts.interfaces.changed() => self.table = self.parts.interfaces.current(),
            }
            self.tell();
        }
    }

    /// A message that breaks one of our promises must not end the service for everybody else.
    fn take_in(&mut self, arrival: Arrival) {
        let taken = catch_unwind(AssertUnwindSafe(|| match arrival {
            Arrival::Datagram(frame, bytes) => self.read(frame, &bytes),
            Arrival::Said(said) => self.said(said),
            Arrival::Report(report) => self.report(&report),
        }));
        if taken.is_err() {
            error!("A DHCP message made the agent fail; it was dropped");
        }
    }

    fn read(&mut self, frame: Frame, bytes: &Bytes) {
        let Frame { interface, sender, is_own_hosts, from, to } = frame;
        // A bridge's ports would be heard beside the bridge.
        if self.interface(interface).is_none() {
            return count(&self.counters.elsewhere);
        }
        match Message::read(bytes) {
            Ok(message) => {
                trace!("{} of {} from {from}", message.kind, message.mac);
                let packet = Packet { interface, sender, is_own_hosts, from, to, message };
                self.hear(&packet);
                if let Some(answers) = &self.answers
                    && answers.try_send(packet).is_err()
                {
                    count(&self.counters.dropped);
                }
            }
            Err(error) => {
                count(&self.counters.unread);
                debug!("Dropped a DHCP datagram of {from}: {error}");
            }
        }
    }

    /// What was answered from here is heard like any other server's answer.
    fn said(&mut self, said: Said) {
        let Said { interface, from, to, message } = said;
        let sender = self.interface(interface).and_then(|interface| interface.mac);
        self.hear(&Packet { interface, sender, is_own_hosts: true, from, to, message });
    }

    fn hear(&mut self, packet: &Packet) {
        let message = &packet.message;
        let now = self.parts.clock.instant();
        let server = message.options.address(code::SERVER);
        let class = message.options.get(code::VENDOR_CLASS).filter(|_| !message.from_server);
        let is_phone = self.is_phone(message.mac, class) && !self.is_of_a_probe(message);
        match (message.kind, server) {
            (Kind::Offer | Kind::Ack | Kind::Nak, _) => {
                count(&self.counters.answers);
                let address = server.unwrap_or(*packet.from.ip());
                self.servers.met(packet.interface, address, packet.sender, now);
                if message.kind == Kind::Ack && is_phone && !message.yiaddr.is_unspecified() {
                    self.recent.given(message.mac, message.yiaddr, now);
                }
            }
            (Kind::Request, Some(server)) => self.servers.met(packet.interface, server, None, now),
            (Kind::Request, None)
            | (Kind::Discover | Kind::Decline | Kind::Release | Kind::Inform | Kind::ForceRenew, _) => {}
        }
        if !message.from_server {
            count(if is_phone { &self.counters.phones } else { &self.counters.others });
        }
        self.hear.handle(packet, is_phone, now);
    }

    /// The same as [`Client::is_phone`]; who is known by its address needs no vote.
    fn is_phone(&mut self, mac: Mac, class: Option<&[u8]>) -> bool {
        self.parts.catalog.range_owner(mac).is_some()
            || self.parts.store.inventory().has(mac)
            || self.client(mac, class).is_phone()
    }

    /// Whether `offhook dhcp verify`, or an agent that looks for servers, asks this or is answered: its address and its
    /// option 60 are made up.
    fn is_of_a_probe(&mut self, message: &Message) -> bool {
        let exchange = (message.mac, message.xid);
        let asks = is_probe(message);
        if asks && !self.probes.contains(&exchange) {
            self.probes.truncate(PROBES_MAX - 1);
            self.probes.push_front(exchange);
        }
        asks || message.from_server && self.probes.contains(&exchange)
    }

    /// Passes on what is over, and what servers were met.
    fn tell(&mut self) {
        let now = self.parts.clock.instant();
        if self.turn <= now {
            let is_busy = std::mem::take(&mut self.arrived) > BUSY_TURN;
            let most = if is_busy && self.hear.concluded() < WAITING_MAX {
                TOLD_PER_BUSY_TURN
            } else {
                TOLD_PER_TURN
            };
            let told: Vec<Exchange> = std::iter::from_fn(|| self.hear.next_concluded()).take(most).collect();
            self.turn = if told.is_empty() { now } else { now + TURN };
            for exchange in &told {
                self.tell_exchange(exchange, now);
            }
        }
        for _ in 0..SERVERS_PER_BATCH {
            let Some(server) = self.servers.next_told(now) else { return };
            self.tell_server(server, now);
        }
    }

    fn tell_exchange(&mut self, exchange: &Exchange, now: Instant) {
        let class = exchange.asked.as_ref().and_then(|asked| asked.class.as_deref());
        let client = self.client(exchange.mac, class);
        let vendor = self.vendor(&client);
        let profile = vendor.as_ref().and_then(|vendor| self.parts.catalog.get(vendor)).cloned();
        let Some(interface) = self.interface(exchange.interface).cloned() else { return };
        let place = self.place(&interface, exchange);
        let told = tell(exchange, &interface.name, profile.as_deref(), place.as_ref());
        if let Some(answer) =
            exchange.answer.iter().chain(&exchange.offers).find(|answer| answer.kind != Kind::Nak)
        {
            let key = (exchange.interface, answer.server);
            let vendor = vendor.as_ref().map_or("", Vendor::as_str);
            self.servers.gave(key, vendor, leading(&answer.options), now);
        }
        count(&self.counters.told);
        self.record(client, told, self.wall(exchange.at, now));
    }

    fn report(&mut self, report: &Report) {
        count(&self.counters.reports);
        let gives = matches!(report.event, LeaseEvent::New | LeaseEvent::Kept);
        if gives && self.recent.was_given(report.mac, report.address, self.parts.clock.instant()) {
            return debug!("{} was heard to be given {} as well", report.mac, report.address);
        }
        let client = self.client(report.mac, report.class.as_deref().map(str::as_bytes));
        if client.is_phone() {
            self.record(client, report.told(), self.parts.clock.now());
        }
    }

    /// A stranger waits for a person as with PnP, when both its address and what it writes say that it is a phone.
    fn record(&self, client: Client, told: Told, at: Timestamp) {
        let Told { step, sentence, data, address } = told;
        let mac = client.identity.mac.map(|mac| mac.to_string()).unwrap_or_default();
        if step == Step::Misled {
            info!(device.mac = %mac, "DHCP does not lead {mac} here: {sentence}");
        } else {
            debug!(device.mac = %mac, "DHCP of {mac}: {sentence}");
        }
        let is_sure = client.range_owner.is_some() && client.range_owner == client.identity.vendor;
        let pending = is_sure && !client.is_ours && {
            let (identity, catalog) = (&client.identity, &self.parts.catalog);
            let admitted = admission(identity, None, &self.parts.config.adopt, is_known(identity, catalog));
            matches!(admitted, Admission::Pending | Admission::Adopt)
        };
        let addr = IpAddr::V4(address.unwrap_or(Ipv4Addr::UNSPECIFIED));
        let (identity, channel) = (client.identity, Channel::Dhcp);
        let sighting = Sighting { identity, addr, channel, at, step, outcome: sentence, detail: data };
        let sightings = &self.parts.sightings;
        // What is heard does not crowd out what was served.
        let has_room = sightings.capacity() > sightings.max_capacity() / 2;
        if !has_room || sightings.try_send(Heard { sighting, pending }).is_err() {
            count(&self.counters.dropped);
        }
    }

    fn tell_server(&self, server: Server, now: Instant) {
        let Some(interface) = self.interface(server.interface) else { return };
        let Server { address, mac, gives, count: met, at, .. } = server;
        let (interface, at) = (interface.name.clone(), self.wall(at, now));
        let met = MetServer { interface, address, mac, gives, at, count: met };
        if self.parts.servers.try_send(met).is_err() {
            count(&self.counters.dropped);
        }
    }

    fn client(&mut self, mac: Mac, class: Option<&[u8]>) -> Client {
        let catalog = &self.parts.catalog;
        let range_owner = catalog.range_owner(mac).map(|profile| profile.vendor());
        let text = class.map(class_text);
        let vote = || catalog.identify_client(class, mac).identity;
        let identity = self.votes.identity(text.as_deref().into_iter(), mac, range_owner, vote);
        let is_ours = self.parts.store.inventory().device(mac).is_some();
        Client { identity, range_owner: range_owner.cloned(), is_ours }
    }

    /// Whose phone it is: as the inventory says, as it says itself, as its address suggests.
    fn vendor(&self, client: &Client) -> Option<Vendor> {
        let device = client.identity.mac.and_then(|mac| self.parts.store.inventory().device(mac));
        let known = device.and_then(|device| device.vendor.clone());
        known.or_else(|| client.identity.vendor.clone()).or_else(|| client.range_owner.clone())
    }

    fn interface(&self, index: u32) -> Option<&Interface> {
        self.table.interfaces().iter().find(|interface| interface.index == index)
    }

    /// Where the phone of this exchange would find us: at our address in its subnet, else at the interface's first.
    fn place(&self, interface: &Interface, exchange: &Exchange) -> Option<DhcpPlace> {
        let asked = exchange.asked.as_ref().and_then(|asked| asked.address);
        let phone = exchange.answer.as_ref().and_then(|answer| answer.address).or(asked);
        let near = phone.and_then(|phone| self.table.on_link(phone, Some(interface.index)));
        let first = || interface.addresses.first().map(|(address, _)| *address);
        let host = near.map(|(_, ours)| ours).or_else(first)?;
        let ours = self.table.interfaces().iter().flat_map(|interface| &interface.addresses);
        let names = ours.map(|(address, _)| address.to_string()).collect();
        Some(DhcpPlace { names, ..self.parts.roots.dhcp_place(host, &self.parts.config) })
    }

    /// When that was, on the wall clock.
    fn wall(&self, at: Instant, now: Instant) -> Timestamp {
        self.parts.clock.now().minus(now.saturating_duration_since(at))
    }
}
