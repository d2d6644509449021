//! Answers DHCP where an administrator says so: it finds out who a client is, asks the decisions, probes addresses, writes
//! leases down before their ACKs leave, and sends. Whoever hears hands it every message; it never waits for the store
//! or the link on behalf of one client while another one could be answered.
//!
//! What leaves is told to whoever hears ([`Mouth`]), like what any other server gives.

mod alarms;
mod client;
mod house;
mod record;
mod rows;
mod search;
mod sweep;
mod unseen;
mod voice;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::client::{Clients, host_for};
use self::house::{House, Overheard, Place, State, Up, kept_here, stand_of};
use self::search::Search;
use self::sweep::Swept;
use self::voice::Voice;
use crate::alarm::Alarms;
use crate::clock::{Clock, Entropy};
use crate::config::{Config, DhcpMode, PoolConfig};
use crate::dhcp::Packet;
use crate::dhcp::decide::{self, Scope, Standing, Who};
use crate::dhcp::lease::{Command, Harm, Input, Moment, Server, Stand};
use crate::dhcp::message::{Kind, code};
use crate::dhcp::pace::Pace;
use crate::dhcp::probe::{self, Responder};
use crate::dhcp::server::Mouth;
use crate::dhcp::silence::Why;
use crate::net::Prefix;
use crate::net::interfaces::{Interfaces, Table};
use crate::net::neighbours::{Evidence, Neighbours, Occupied};
use crate::net::sink::Sink;
use crate::profile::Catalog;
use crate::provision::{Heard, Roots};
use crate::store::{LeaseRow, Reservation, Store, StoreError, SwitchState, Switches};

/// Messages taken in before what they lead to is done.
const BATCH: usize = 256;
/// How often what stands in the way is looked at again, and what was counted is written down.
const TICK: Duration = Duration::from_secs(2);
/// How often it is written down that another server is still heard.
const FOREIGN_EVERY: Duration = Duration::from_secs(30);
/// One line about leases that cannot be written in this time.
const FAILURE_LINE_EVERY: Duration = Duration::from_secs(10);
/// Answers at once to strangers in mode `inform`: a site whose phones all come back with the power.
const INFORM_BURST: u32 = 1_000;
/// Why what was on is off.
const TOO_MANY: &str = "three alarms in a minute";
/// A DHCP server's port.
const SERVER_PORT: u16 = 67;

/// What the service needs from its agent.
pub struct AnswerParts {
    /// Everything that is configured.
    pub config: Arc<Config>,
    /// Where the files of phones are served.
    pub roots: Roots,
    /// The agent's data folder.
    pub data: PathBuf,
    /// The interfaces in use, as they come and go.
    pub interfaces: Interfaces,
    /// Who is on a link.
    pub neighbours: Neighbours,
    /// The inventory and the leases.
    pub store: Store,
    /// The vendor profiles.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Where sightings go, to be written in batches.
    pub sightings: mpsc::Sender<Heard>,
    /// Where alarms are raised.
    pub alarms: Alarms,
}

/// The service, not yet running.
pub struct Answerer {
    worker: Worker,
}

impl Answerer {
    /// Who answers, by this mouth.
    pub fn new(parts: AnswerParts, mouth: Mouth) -> Self {
        Self { worker: Worker::new(parts, mouth) }
    }

    /// Answers until cancelled. `packets` are all messages of the interfaces in use; `written` changes whenever a
    /// command has written something.
    pub async fn run(
        self,
        packets: mpsc::Receiver<Packet>,
        written: watch::Receiver<i64>,
        cancel: CancellationToken,
    ) {
        self.worker.run(packets, written, cancel).await;
    }
}

struct Worker {
    parts: AnswerParts,
    table: Arc<Table>,
    /// The interfaces that are answered on, by number.
    names: HashMap<u32, Arc<str>>,
    /// `None` until they were read; nothing is answered before.
    switches: Option<Switches>,
    reservations: Vec<Reservation>,
    houses: Vec<House>,
    sinks: HashMap<String, Arc<Sink>>,
    overheard: HashMap<u32, Overheard>,
    /// On which interfaces other servers are looked for.
    searches: HashMap<u32, Search>,
    last_search: u64,
    searched: HashSet<u32>,
    clients: Clients,
    voice: Voice,
    /// In mode `inform`.
    paces: HashMap<u32, Pace>,
    harm: HashMap<u32, Harm>,
    /// Where it has switched itself off, until the row that says so is read.
    gone_off: HashSet<u32>,
    noted: HashMap<u32, Instant>,
    failure_said: Option<Instant>,
    reports: HashMap<u32, serde_json::Value>,
    tasks: JoinSet<Done>,
    /// What is to be written down, and whose it is: what comes together is written together.
    unwritten: (Vec<LeaseRow>, Vec<Written>),
    commits: FuturesOrdered<BoxFuture<'static, Commit>>,
}

/// What somebody waited for.
enum Done {
    Rows(Result<(Switches, Vec<Reservation>), StoreError>),
    Leases { house: usize, epoch: u64, rows: Result<Vec<LeaseRow>, StoreError> },
    Probed { house: usize, epoch: u64, address: Ipv4Addr, found: Occupied },
    Swept { house: usize, epoch: u64, swept: Swept },
    Searched { interface: u32, number: u64, found: io::Result<std::collections::BTreeSet<Responder>> },
    Written,
}

/// Leases that were written, or could not be.
struct Commit {
    leases: Vec<Written>,
    outcome: Result<(), StoreError>,
}

/// Which pool's machine wants to know that a lease is written.
struct Written {
    house: usize,
    epoch: u64,
    id: u64,
}

impl Worker {
    fn new(parts: AnswerParts, mouth: Mouth) -> Self {
        let config = &parts.config.dhcp;
        let pools = if config.mode == DhcpMode::Server { config.pool.as_slice() } else { &[] };
        let houses = pools.iter().cloned().map(House::new).collect();
        let clients = Clients::new(Arc::clone(&parts.config), Arc::clone(&parts.catalog), parts.roots);
        let voice = Voice::new(mouth, parts.clock.clone(), parts.sightings.clone());
        Self {
            table: parts.interfaces.current(),
            names: HashMap::new(),
            switches: None,
            reservations: Vec::new(),
            houses,
            sinks: HashMap::new(),
            overheard: HashMap::new(),
            searches: HashMap::new(),
            last_search: 0,
            searched: HashSet::new(),
            clients,
            voice,
            paces: HashMap::new(),
            harm: HashMap::new(),
            gone_off: HashSet::new(),
            noted: HashMap::new(),
            failure_said: None,
            reports: HashMap::new(),
            tasks: JoinSet::new(),
            unwritten: Default::default(),
            commits: FuturesOrdered::new(),
            parts,
        }
    }

    async fn run(
        mut self,
        mut packets: mpsc::Receiver<Packet>,
        mut written: watch::Receiver<i64>,
        cancel: CancellationToken,
    ) {
        self.follow();
        self.read_rows();
        let mut interfaces = self.parts.interfaces.clone();
        let mut tick = tokio::time::interval(TICK);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.act();
            self.write();
            let now = self.parts.clock.instant();
            let due = self.houses.iter().filter_map(House::poll_timeout).min();
            let due = due.map_or(TICK, |due| due.saturating_duration_since(now));
            tokio::select! {
                // First what silences, then what is asked.
                biased;
                () = cancel.cancelled() => break,
                Ok(()) = written.changed() => self.read_rows(),
                Some(done) = self.tasks.join_next() => {
                    if let Ok(done) = done {
                        self.done(done);
                    }
                }
                () = interfaces.changed() => self.follow(),
                Some(commit) = self.commits.next() => self.committed(commit),
                // Before the questions, of which a flood has always one more.
                _ = tick.tick() => self.look_again(),
                () = tokio::time::sleep(due) => {
                    let now = self.parts.clock.instant();
                    self.houses.iter_mut().for_each(|house| house.handle_timeout(now));
                }
                taken = packets.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    let now = self.parts.clock.instant();
                    batch.drain(..).for_each(|packet| self.take_in(&packet, now));
                }
            }
        }
        self.tasks.shutdown().await;
    }

    /// A message that breaks one of our promises must not end the service for everybody else.
    fn take_in(&mut self, packet: &Packet, now: Instant) {
        let taken = catch_unwind(AssertUnwindSafe(|| self.hear(packet, now)));
        if taken.is_err() {
            error!("A DHCP message made the agent fail; it was dropped");
        }
    }

    fn hear(&mut self, packet: &Packet, now: Instant) {
        let Some(name) = self.names.get(&packet.interface).map(Arc::clone) else { return };
        if packet.message.from_server {
            return self.overhear(packet, &name, now);
        }
        let Some(switches) = &self.switches else { return };
        if let Some(other) = probe::candidate(packet) {
            return self.meet_rival(packet, other, now);
        }
        let has_pool = self.houses.iter().any(|house| *house.pool.interface == *name);
        let is_off = switches.state(&name) == SwitchState::Off || self.gone_off.contains(&packet.interface);
        if self.voice.asked(packet, now) {
            self.unseen(packet, &name, has_pool || is_off, now);
        }
        let host = host_for(packet, &self.table);
        let client = self.clients.find(packet, host, self.parts.store.inventory(), now);
        let input = Input::Packet { packet, who: &client.who, values: &client.values };
        let is_searched = self.searches.contains_key(&packet.interface);
        let ups = self.houses.iter_mut().filter_map(|house| house.on(packet.interface));
        let mut fitting = ups.filter(|up| up.server.fits(packet));
        match fitting.next() {
            Some(up) if !is_searched || up.server.settings().relay.is_some() || goes_on(packet) => {
                up.server.handle(input, now);
            }
            Some(_) => {
                let says = "other DHCP servers are looked for first";
                self.voice.silent_because(packet.interface, "searching", says, packet.message.mac);
            }
            None if is_off => self.voice.silent(packet.interface, Why::Off, packet.message.mac),
            None if !has_pool && packet.message.kind == Kind::Inform => {
                self.inform(packet, &client, &name, now);
            }
            None if has_pool => self.voice.silent(packet.interface, Why::NoPool, packet.message.mac),
            None => {}
        }
        self.act();
    }

    fn inform(&mut self, packet: &Packet, client: &client::Client, name: &str, now: Instant) {
        let config = &self.parts.config.dhcp;
        let scope = Scope { table: &self.table, relays: &config.relays };
        let mac = packet.message.mac;
        let pace = self
            .paces
            .entry(packet.interface)
            .or_insert_with(|| Pace::new(config.answers_per_s, INFORM_BURST.max(config.answers_per_s)));
        let is_known = client.who.standing == Standing::Approved;
        let decided = decide::inform(packet, &scope, &client.who, &client.values)
            .and_then(|reply| pace.allows(mac, is_known, now).map(|()| reply));
        match decided {
            Ok(reply) if config.dry_run => self.voice.would(reply, now),
            Ok(reply) => self.voice.send(&reply, name, now),
            Err(why) => self.voice.silent(packet.interface, why, mac),
        }
    }

    /// A server answers somebody.
    fn overhear(&mut self, packet: &Packet, name: &str, now: Instant) {
        const NOBODY: Who = Who { oui: false, class: false, standing: Standing::Unwelcome, is_server: true };
        // Every server answers from its port; whatever any program of any host can send silences nobody.
        if packet.from.port() != SERVER_PORT {
            return;
        }
        // Where leases are given from here nobody else has the port on this host: these are our own.
        let gives = self.sinks.contains_key(name);
        let said = packet.message.options.address(code::SERVER);
        let is_ours = said.is_some_and(|server| self.table.is_ours(server));
        if packet.is_own_hosts && gives {
            return;
        }
        self.clients.hear(packet, now);
        self.voice.hear(packet, name);
        let options = &packet.message.options;
        if let Some(router) = options.address(code::ROUTER) {
            let heard = Overheard { router: Some(router), dns: options.addresses(code::DNS).collect() };
            self.overheard.insert(packet.interface, heard);
        }
        let mut is_unwelcome = false;
        for up in self.houses.iter_mut().filter_map(|house| house.on(packet.interface)) {
            let input = Input::Packet { packet, who: &NOBODY, values: &BTreeMap::new() };
            up.server.handle(input, now);
            let settings = up.server.settings();
            is_unwelcome |= !settings.shared
                && !settings.dry_run
                && up.server.stand() != Stand::Serving
                && up.server.fits(packet)
                && !is_ours;
        }
        self.act();
        if is_unwelcome {
            let server = said.unwrap_or(*packet.from.ip());
            self.note_foreign(packet.interface, name, server, now);
        }
    }

    /// Does what the machines say.
    fn act(&mut self) {
        let now = self.parts.clock.instant();
        for at in 0..self.houses.len() {
            while let Some((up, name, epoch)) = self.up(at)
                && let Some(command) = up.server.next_command()
            {
                self.obey(command, at, &name, epoch, now);
            }
        }
    }

    fn up(&mut self, at: usize) -> Option<(&mut Up, Arc<str>, u64)> {
        let house = self.houses.get_mut(at)?;
        let (name, epoch) = (Arc::clone(&house.name), house.epoch);
        match &mut house.state {
            State::Up(up) => Some((up, name, epoch)),
            State::Opening(_) | State::Down(_) => None,
        }
    }

    fn obey(&mut self, command: Command, house: usize, name: &Arc<str>, epoch: u64, now: Instant) {
        let Some((up, ..)) = self.up(house) else { return };
        let interface = up.place.interface;
        match command {
            Command::Probe { address } => {
                let neighbours = self.parts.neighbours.clone();
                self.tasks.spawn(async move {
                    let found = neighbours.probe(address, interface).await;
                    Done::Probed { house, epoch, address, found }
                });
            }
            Command::Commit { id, .. } if up.server.settings().dry_run => {
                up.server.handle(Input::Committed { id }, now);
            }
            Command::Commit { id, change } => {
                self.unwritten.0.push(record::row(change, name, &self.parts.clock));
                self.unwritten.1.push(Written { house, epoch, id });
            }
            Command::Send(reply) => self.voice.send(&reply, name, now),
            Command::WouldSend(reply) => self.voice.would(reply, now),
            Command::Silence { why, mac } => self.voice.silent(interface, why, mac),
            Command::Stand(stand) => self.stood(stand, interface, name, now),
            Command::Alarm(alarm) => self.alarm(&alarm, name),
        }
    }

    /// Has written down what is to be.
    fn write(&mut self) {
        let (rows, leases) = std::mem::take(&mut self.unwritten);
        if !rows.is_empty() {
            let written = self.parts.store.commit_leases(rows);
            self.commits.push_back(Box::pin(async move { Commit { leases, outcome: written.await } }));
        }
    }

    fn committed(&mut self, commit: Commit) {
        let now = self.parts.clock.instant();
        let Commit { leases, outcome } = commit;
        if let Err(error) = &outcome
            && self.failure_said.is_none_or(|at| now.saturating_duration_since(at) >= FAILURE_LINE_EVERY)
        {
            self.failure_said = Some(now);
            warn!("Cannot write DHCP leases, so no client gets or renews one until it works again: {error}");
        }
        for Written { house, epoch, id } in leases {
            if let Some((up, _, now_at)) = self.up(house)
                && now_at == epoch
            {
                let input = if outcome.is_ok() { Input::Committed { id } } else { Input::Failed { id } };
                up.server.handle(input, now);
            }
        }
    }

    fn done(&mut self, done: Done) {
        let now = self.parts.clock.instant();
        match done {
            Done::Written => {}
            Done::Rows(rows) => self.know_rows(rows, now),
            Done::Leases { house, epoch, rows } => self.open(house, epoch, rows, now),
            Done::Probed { house, epoch, address, found } => {
                let Some((up, _, now_at)) = self.up(house) else { return };
                let by = match found {
                    Occupied::By(mac) => Some(mac),
                    Occupied::ByNobody => None,
                    // Not offered: the machine forgets it, and the client asks again.
                    Occupied::Unable => return debug!("Cannot find out whether somebody has {address}"),
                };
                if now_at == epoch {
                    up.server.handle(Input::Probed { address, by }, now);
                }
            }
            Done::Swept { house, epoch, swept } => self.swept(house, epoch, swept, now),
            Done::Searched { interface, number, found } => self.searched(interface, number, found, now),
        }
    }
}

/// The network that a pool's clients stand in. `None` while its interface has none that the pool's range lies in.
pub fn network_of(pool: &PoolConfig, table: &Table) -> Option<Prefix> {
    pool.network.or_else(|| house::find_place(pool, table).ok().map(|place| place.prefix))
}

/// Whether a client goes on with what it has: it is answered while other servers are looked for.
fn goes_on(packet: &Packet) -> bool {
    match packet.message.kind {
        Kind::Request => !packet.message.ciaddr.is_unspecified(),
        Kind::Release | Kind::Decline => true,
        _ => false,
    }
}
