//! Scans: sends the sweep's questions, visits who answers, writes down what was found, and tells of it while it goes on.

mod announce;
mod knock;
mod ledger;
mod order;
mod secure;
mod turn;
mod visit;
mod web;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use announce::Announced;
use ledger::{Ledger, LedgerParts};
pub use ledger::{difference, found};
pub use order::{Duplicate, News, Order, Remarks, Report, ScanError, ScanParts};
use turn::Turn;
use visit::{Host, Visited};

use super::finding::Finding;
use super::plan::{Link, Plan, Span, VISITS_MAX};
use super::sweep::{Answer, Command, Sweep};
use crate::device::Mac;
use crate::net::arp::{ArpWire, Claim};
use crate::store::{ScanRow, ScanState};

/// Hosts that wait to be visited; until there are fewer, nobody else is asked for.
const WAITING_MAX: usize = 1_024;
/// Lots of answers between who hears them and who counts them.
const HEARD_MAX: usize = 256;
/// How soon what was found is in the database.
const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// How often it is told how far it has come.
const TOLD_EVERY: Duration = Duration::from_millis(200);
/// How long a full queue of an interface is left alone.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Scans, and tells of it; when it is cancelled, it stops and keeps what it found.
pub async fn scan(
    parts: ScanParts,
    order: Order,
    tell: impl FnMut(&News),
    cancel: CancellationToken,
) -> Result<Report, ScanError> {
    let begun = Scan::begin(parts, order).await?;
    begun.run(tell, cancel).await
}

/// A scan that has its turn, is written down, and has asked nobody yet.
pub struct Scan {
    walk: Walk,
    resumed: bool,
    _turn: Turn,
}

impl Scan {
    /// Takes the turn, and opens what it asks by; the row is written under the conditions of `parts.store`.
    pub async fn begin(parts: ScanParts, order: Order) -> Result<Self, ScanError> {
        let locked = |error| ScanError::Lock { path: parts.lock.clone(), error };
        let turn = Turn::take(&parts.lock).map_err(locked)?.ok_or(ScanError::Busy)?;
        let wires = wires(&order.plan)?;
        let ledger_parts = LedgerParts {
            store: parts.store.clone(),
            catalog: Arc::clone(&parts.catalog),
            adopt: parts.adopt.clone(),
            clock: parts.clock.clone(),
        };
        let Order { plan, rate, fresh } = order;
        let total = plan.questions();
        let (ledger, found) = Ledger::open(ledger_parts, &plan.name(), total, fresh).await?;
        let position = ledger.scan().position;
        // What a host behind a router, or one that another one speaks for, says of itself, is no answer by ARP.
        let by_arp = |one: &Finding| one.mac.filter(|_| plan.link_of(one.address).is_some());
        let known: Vec<(Ipv4Addr, Option<Mac>)> =
            found.iter().map(|one| (one.address, by_arp(one))).collect();
        let now = parts.clock.instant();
        let Remarks { duplicates, proxies } = ledger.remarks();
        let walk = Walk {
            sweep: Sweep::new(plan.clone(), rate, position, &known, now),
            plan,
            parts,
            ledger,
            wires,
            announced: Announced::default(),
            outbox: HashMap::new(),
            waiting: VecDeque::new(),
            visits: JoinSet::new(),
            under_way: BTreeMap::new(),
            found,
            duplicates,
            proxies,
            written: now,
            told: None,
        };
        Ok(Self { walk, resumed: position > 0, _turn: turn })
    }

    /// Its row, as it was when it began.
    pub fn row(&self) -> &ScanRow {
        self.walk.ledger.scan()
    }

    /// Whether it goes on with one that did not come to its end.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Asks everybody, and tells of it; when it is cancelled, it stops and keeps what it found.
    pub async fn run(
        self,
        mut tell: impl FnMut(&News),
        cancel: CancellationToken,
    ) -> Result<Report, ScanError> {
        if self.resumed {
            tell(&News::Resumed { since: self.row().started, found: self.walk.found.len() });
        }
        self.walk.run(&mut tell, cancel).await
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("row", self.row()).finish_non_exhaustive()
    }
}

/// One of our addresses on the link of an interface.
type Place = (u32, Ipv4Addr);

/// A socket for each of our addresses that asks.
fn wires(plan: &Plan) -> Result<HashMap<Place, Arc<ArpWire>>, ScanError> {
    let mut wires = HashMap::new();
    for link in plan.spans.iter().filter_map(Span::link) {
        if let Entry::Vacant(place) = wires.entry(place(link)) {
            let failed = |error| ScanError::Link { interface: link.name.clone(), error };
            place.insert(Arc::new(ArpWire::open(link.interface, link.ourselves).map_err(failed)?));
        }
    }
    Ok(wires)
}

fn place(link: &Link) -> Place {
    (link.interface, link.ourselves.address)
}

/// A scan under way.
struct Walk {
    parts: ScanParts,
    plan: Plan,
    sweep: Sweep,
    ledger: Ledger,
    wires: HashMap<Place, Arc<ArpWire>>,
    announced: Announced,
    /// Questions that an interface has not taken yet.
    outbox: HashMap<Place, Vec<Ipv4Addr>>,
    waiting: VecDeque<Host>,
    visits: JoinSet<Visited>,
    /// The positions of who waits or is being visited, and how many of each.
    under_way: BTreeMap<u64, usize>,
    found: Vec<Finding>,
    duplicates: Vec<Duplicate>,
    proxies: Vec<Mac>,
    written: Instant,
    told: Option<Instant>,
}

impl Walk {
    async fn run(
        mut self,
        tell: &mut impl FnMut(&News),
        cancel: CancellationToken,
    ) -> Result<Report, ScanError> {
        let (mut heard, ears) = self.listen();
        loop {
            self.go_on(tell)?;
            let now = self.parts.clock.instant();
            if now.saturating_duration_since(self.written) >= WRITTEN_EVERY {
                // What cannot be written now is written with what comes next.
                if let Err(error) = self.write(ScanState::Running).await {
                    tracing::warn!("Cannot write down how far the scan has come: {error}");
                }
                self.written = now;
            }
            if self.sweep.poll_timeout().is_none() && self.waiting.is_empty() && self.visits.is_empty() {
                self.leave_out_the_gone();
                break;
            }
            let pause = self.pause(now);
            tokio::select! {
                Some((interface, claims)) = heard.recv() => self.hear(interface, &claims),
                Some(visited) = self.visits.join_next(), if !self.visits.is_empty() => match visited {
                    Ok(visited) => self.take_in(visited, tell).await,
                    // A host that breaks one of our promises must not end the scan of everybody else.
                    Err(error) => tracing::error!("A host made the scan fail, and is left out: {error}"),
                },
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => {
                    self.write(ScanState::Stopped).await?;
                    drop(ears);
                    return self.report(ScanState::Stopped).await;
                }
            }
        }
        drop(ears);
        self.tell_progress(tell);
        self.write(ScanState::Complete).await?;
        self.report(ScanState::Complete).await
    }

    /// Hears every link's answers until the second value is dropped.
    fn listen(&self) -> (mpsc::Receiver<(u32, Vec<Claim>)>, JoinSet<()>) {
        let (hear, heard) = mpsc::channel(HEARD_MAX);
        let mut ears = JoinSet::new();
        let mut links: Vec<Link> = self.plan.spans.iter().filter_map(Span::link).cloned().collect();
        links.dedup_by_key(|link| link.interface);
        ears.spawn(self.announced.clone().listen(links));
        for ((interface, _), wire) in &self.wires {
            let (interface, wire, hear) = (*interface, Arc::clone(wire), hear.clone());
            ears.spawn(async move {
                loop {
                    let mut claims = Vec::new();
                    if let Err(error) = wire.answers(&mut claims).await {
                        tracing::debug!("Cannot hear answers by ARP: {error}");
                        tokio::time::sleep(FULL_PAUSE).await;
                    }
                    if !claims.is_empty() && hear.send((interface, claims)).await.is_err() {
                        return;
                    }
                }
            });
        }
        (heard, ears)
    }

    /// Asks whom it is time to ask, and visits who can be visited.
    fn go_on(&mut self, tell: &mut impl FnMut(&News)) -> Result<(), ScanError> {
        let now = self.parts.clock.instant();
        let is_behind =
            self.waiting.len() >= WAITING_MAX || self.outbox.values().any(|rest| !rest.is_empty());
        if !is_behind {
            self.sweep.handle_timeout(now);
        }
        while let Some(command) = self.sweep.next_command() {
            self.perform(command, tell);
        }
        for (at, rest) in &mut self.outbox {
            let Some(wire) = self.wires.get(at) else { continue };
            let asked = wire.ask(rest).map_err(|error| {
                let link = self.plan.spans.iter().filter_map(Span::link).find(|link| place(link) == *at);
                let interface = link.map(|link| link.name.clone()).unwrap_or_default();
                ScanError::Link { interface, error }
            })?;
            rest.drain(..asked);
        }
        while self.visits.len() < VISITS_MAX
            && let Some(host) = self.waiting.pop_front()
        {
            let (catalog, entropy) = (Arc::clone(&self.parts.catalog), self.parts.entropy.clone());
            self.visits.spawn(visit::visit(host, catalog, entropy, self.announced.clone()));
        }
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY) {
            self.told = Some(now);
            self.tell_progress(tell);
        }
        Ok(())
    }

    fn perform(&mut self, command: Command, tell: &mut impl FnMut(&News)) {
        match command {
            Command::Ask { address, .. } => {
                if let Some(at) = self.link_of(address).map(place) {
                    self.outbox.entry(at).or_default().push(address);
                }
            }
            Command::Knock { address } => self.expect(address, None, false),
            Command::Found { address, mac, .. } => self.expect(address, Some(mac), true),
            Command::Duplicate { address, first, other } => {
                let duplicate = Duplicate { address, first, other };
                tell(&News::Duplicate(duplicate));
                self.duplicates.push(duplicate);
            }
            Command::Proxy { mac } => self.know_proxy(mac, tell),
        }
    }

    /// Whom it has answered for so far is asked once more, as somebody whose hardware address nobody knows.
    fn know_proxy(&mut self, mac: Mac, tell: &mut impl FnMut(&News)) {
        if !self.proxies.contains(&mac) {
            tell(&News::Proxy(mac));
            self.proxies.push(mac);
        }
        let (behind, rest) = self.found.drain(..).partition(|one| one.mac == Some(mac));
        self.found = rest;
        let behind: Vec<Finding> = behind;
        for one in behind {
            self.expect(one.address, None, true);
        }
    }

    fn link_of(&self, address: Ipv4Addr) -> Option<&Link> {
        self.plan.link_of(address)
    }

    fn expect(&mut self, address: Ipv4Addr, mac: Option<Mac>, is_there: bool) {
        let mac = mac.filter(|mac| !self.proxies.contains(mac));
        let ours = self.link_of(address).map_or(Ipv4Addr::UNSPECIFIED, |link| link.ourselves.address);
        let position = self.sweep.position_of(address);
        *self.under_way.entry(position).or_default() += 1;
        self.waiting.push_back(Host { address, mac, is_there, ours, position });
    }

    fn hear(&mut self, interface: u32, claims: &[Claim]) {
        for claim in claims {
            self.sweep.handle(Answer { interface, address: claim.address, mac: claim.owner });
        }
    }

    async fn take_in(&mut self, visited: Visited, tell: &mut impl FnMut(&News)) {
        let Visited { host, found, said } = visited;
        if let Some(count) = self.under_way.get_mut(&host.position) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&host.position);
            }
        }
        let Some(found) = found else { return };
        if host.mac.is_some_and(|mac| self.proxies.contains(&mac)) {
            // It was being visited when that was noticed.
            return self.expect(host.address, None, true);
        }
        let mut finding = Finding::new(host.address, host.mac, &found, self.parts.clock.now());
        finding.show(&said);
        self.ledger.add(&mut finding, &found, host.mac).await;
        let news = News::Found(Box::new(finding));
        tell(&news);
        if let News::Found(finding) = news {
            self.found.retain(|known| known.address != finding.address);
            self.found.push(*finding);
        }
    }

    /// Whom an earlier run found, and who did not answer this one.
    fn leave_out_the_gone(&mut self) {
        let gone: Vec<Ipv4Addr> = self.sweep.gone().collect();
        self.found.retain(|one| !gone.contains(&one.address));
        self.ledger.remove(gone);
    }

    /// Whoever goes on finds those again who were not visited yet.
    async fn write(&mut self, state: ScanState) -> Result<(), ScanError> {
        let unvisited = self.under_way.first_key_value().map(|(position, _)| *position);
        let position = unvisited.unwrap_or(u64::MAX).min(self.sweep.position());
        let remarks = Remarks { duplicates: self.duplicates.clone(), proxies: self.proxies.clone() };
        Ok(self.ledger.write(state, position, self.answered(), &remarks).await?)
    }

    fn pause(&self, now: Instant) -> Duration {
        let write = WRITTEN_EVERY.saturating_sub(now.saturating_duration_since(self.written));
        let is_full = self.outbox.values().any(|rest| !rest.is_empty());
        let next = match self.sweep.poll_timeout() {
            _ if is_full => FULL_PAUSE,
            Some(_) if self.waiting.len() >= WAITING_MAX => write,
            Some(at) => at.saturating_duration_since(now),
            None => write,
        };
        next.min(write)
    }

    fn tell_progress(&self, tell: &mut impl FnMut(&News)) {
        let (asked, total) = self.sweep.progress();
        tell(&News::Progress { asked, total });
    }

    /// How many hosts answered in whatever way.
    fn answered(&self) -> usize {
        let otherwise = self.found.iter().filter(|one| !self.sweep.has_heard(one.address)).count();
        self.sweep.answered() + otherwise
    }

    async fn report(mut self, state: ScanState) -> Result<Report, ScanError> {
        self.found.sort_by_key(|finding| finding.address);
        let difference = match state {
            ScanState::Complete => self.ledger.difference(&self.found).await?,
            ScanState::Running | ScanState::Stopped => None,
        };
        Ok(Report {
            state,
            started: self.ledger.scan().started,
            ended: self.parts.clock.now(),
            answered: self.answered(),
            difference,
            found: self.found,
            duplicates: self.duplicates,
            proxies: self.proxies,
        })
    }
}
