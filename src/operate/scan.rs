//! Scans that a program or the clock starts in the agent: one at a time, told in the log, stopped with the agent; and what
//! anybody reads of any scan, from its rows.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Failure;
use super::failure::link;
use crate::alarm::{Alarm, AlarmKind, Alarms};
use crate::clock::Timestamp;
use crate::config::ScanConfig;
use crate::device::Mac;
use crate::net::Prefix;
use crate::net::interfaces::{Interfaces, Table};
use crate::scan::finding::{Difference, Finding, Kind};
use crate::scan::plan::{PlanError, Reach, Span, plan};
use crate::scan::server::{
    Duplicate, News, Order, Remarks, Report, Scan, ScanError, ScanParts, difference, found,
};
use crate::store::{ScanRow, ScanState, Store, StoreError};

/// A scan that says that it runs writes every second; one that has not for so long was cut off.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Without any, those of the configuration; without those, the interfaces' own.
    pub(crate) networks: Vec<Prefix>,
    pub(crate) rate: Option<u32>,
    /// Whether more than a /22 may be asked.
    pub(crate) confirmed: bool,
    pub(crate) fresh: bool,
}

impl Wanted {
    /// Whom that would ask, and how.
    pub(crate) fn order(self, config: &ScanConfig, table: &Table) -> Result<Order, PlanError> {
        let networks = if self.networks.is_empty() { &config.networks } else { &self.networks };
        let rate = self.rate.unwrap_or(config.rate);
        let plan = plan(networks, table, rate, self.confirmed)?;
        Ok(Order { plan, rate, fresh: self.fresh })
    }
}

/// An order before it is carried out.
#[derive(Debug, Serialize)]
pub(crate) struct Planned {
    dry_run: bool,
    networks: Vec<Value>,
    own: Vec<String>,
    addresses: u64,
    rate: u32,
    /// When nobody answers.
    seconds: u64,
}

impl Planned {
    pub(crate) fn of(Order { plan, rate, .. }: &Order) -> Self {
        let row = |span: &Span| json!({ "first": span.first, "last": span.last, "addresses": span.size(), "how": how(&span.reach) });
        Self {
            dry_run: true,
            networks: plan.spans.iter().map(row).collect(),
            own: plan.own.iter().map(ToString::to_string).collect(),
            addresses: plan.addresses(),
            rate: *rate,
            seconds: plan.time(*rate).as_secs(),
        }
    }
}

/// How addresses are asked, in words.
pub(crate) fn how(reach: &Reach) -> String {
    match reach {
        Reach::Link(link) => format!("by ARP on {}, SIP OPTIONS and HTTP to who answers", link.name),
        Reach::Router => "by SIP OPTIONS to port 5060 and HTTP to port 80, through a router".to_owned(),
    }
}

/// A scan as its rows tell it.
#[derive(Debug, Serialize)]
pub(crate) struct ScanShown {
    id: i64,
    agent: String,
    networks: String,
    /// `running`, `interrupted`, `stopped`, `complete`
    state: &'static str,
    /// Questions so far; whoever goes on begins there.
    asked: u64,
    /// Questions at most.
    questions: u64,
    answered: u64,
    phones: u64,
    guesses: u64,
    hints: u64,
    started: Timestamp,
    last: Timestamp,
    duplicates: Vec<Duplicate>,
    proxies: Vec<Mac>,
}

impl ScanShown {
    /// The latest scans, the latest first.
    pub(crate) async fn list(
        store: &Store,
        before: Option<i64>,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = store.scans(before, limit).await?;
        let (Some(last), Some(first)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
        let mut counts: BTreeMap<(i64, String), u64> = BTreeMap::new();
        for (scan, kind, count) in store.found_counts(first.id, last.id).await? {
            counts.insert((scan, kind), count);
        }
        let count = |id, kind: Kind| counts.get(&(id, kind.as_str().to_owned())).copied().unwrap_or_default();
        let shown = |row: ScanRow| {
            let Remarks { duplicates, proxies } = Remarks::of(&row);
            let ScanRow { id, position, total, answered, started, last, .. } = row;
            Self {
                id,
                state: state(&row, now),
                asked: position,
                questions: total,
                answered,
                phones: count(id, Kind::Phone),
                guesses: count(id, Kind::Guess),
                hints: count(id, Kind::Hint),
                started,
                last,
                duplicates,
                proxies,
                agent: row.agent,
                networks: row.networks,
            }
        };
        Ok(rows.into_iter().map(shown).collect())
    }

    /// Its number.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// The latest one.
    pub(crate) async fn latest(store: &Store, now: Timestamp) -> Result<Self, Failure> {
        Self::list(store, None, 1, now).await?.into_iter().next().ok_or_else(|| unknown(0))
    }

    /// One scan.
    pub(crate) async fn one(store: &Store, id: i64, now: Timestamp) -> Result<Self, Failure> {
        let found = Self::list(store, Some(id.saturating_add(1)), 1, now).await?;
        found.into_iter().find(|scan| scan.id == id).ok_or_else(|| unknown(id))
    }
}

/// Its row.
pub(crate) async fn known(store: &Store, id: i64) -> Result<ScanRow, Failure> {
    store.scan(id).await?.ok_or_else(|| unknown(id))
}

/// Whom it has found behind this address, at most so many; only those that may be phones, or all.
pub(crate) async fn found_by(
    store: &Store,
    id: i64,
    after: Option<Ipv4Addr>,
    all: bool,
    limit: usize,
) -> Result<Vec<Finding>, Failure> {
    known(store, id).await?;
    let is_wanted =
        |one: &Finding| (all || one.kind.is_shown()) && after.is_none_or(|after| one.address > after);
    Ok(found(store, id, is_wanted, limit).await?)
}

/// What had changed at its end; `None` before that, and for the first scan of its networks.
pub(crate) async fn difference_of(store: &Store, id: i64) -> Result<Option<Difference>, Failure> {
    let row = known(store, id).await?;
    Ok(difference(store, &row).await?)
}

fn unknown(id: i64) -> Failure {
    Failure::no("not_found", format!("there is no scan {id}"), "the latest hundred are kept")
}

fn state(row: &ScanRow, now: Timestamp) -> &'static str {
    match row.state {
        ScanState::Running if row.last < now.minus(SILENT_AFTER) => "interrupted",
        state => state.as_str(),
    }
}

/// Who scans in the agent. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scanner(Arc<Inner>);

/// What it is made of.
pub(crate) struct ScannerParts {
    pub(crate) config: ScanConfig,
    pub(crate) interfaces: Interfaces,
    pub(crate) alarms: Alarms,
    /// Nothing may be sent.
    pub(crate) observe: bool,
    pub(crate) parts: ScanParts,
}

struct Inner {
    own: ScannerParts,
    running: Mutex<Option<(i64, CancellationToken)>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// A scan that has begun.
pub(crate) struct Begun {
    pub(crate) id: i64,
    pub(crate) cancel: CancellationToken,
    pub(crate) ended: JoinHandle<()>,
}

impl Scanner {
    pub(crate) fn new(own: ScannerParts) -> Self {
        let (running, stopping) = (Mutex::default(), CancellationToken::new());
        Self(Arc::new(Inner { own, running, stopping, tasks: TaskTracker::new() }))
    }

    /// Whom that would ask, on this host as it is.
    pub(crate) fn order(&self, wanted: Wanted) -> Result<Order, PlanError> {
        let ScannerParts { config, interfaces, .. } = &self.0.own;
        wanted.order(config, &interfaces.current())
    }

    /// Why nothing is asked here, if so.
    pub(crate) fn objection(&self) -> Option<Failure> {
        self.0.own.observe.then(observing)
    }

    /// Begins a scan that runs by itself. Its row is written by `store`, under the conditions that it has.
    pub(crate) async fn begin(&self, store: Store, order: Order) -> Result<Begun, ScanError> {
        let parts = ScanParts { store, ..self.0.own.parts.clone() };
        let networks = order.plan.name();
        let scan = Scan::begin(parts, order).await?;
        let (id, cancel) = (scan.row().id, self.0.stopping.child_token());
        info!("Scanning {networks}");
        *self.0.running() = Some((id, cancel.clone()));
        let (inner, stop) = (Arc::clone(&self.0), cancel.clone());
        let ended = self.0.tasks.spawn(async move {
            match scan.run(|news| inner.tell(news), stop).await {
                Ok(report) => say(&networks, &report),
                Err(error) => warn!("The scan of {networks} ended: {error}"),
            }
            inner.running().take_if(|(running, _)| *running == id);
        });
        Ok(Begun { id, cancel, ended })
    }

    /// Stops it, if this agent runs it; what it found stays, and the next one goes on.
    pub(crate) fn stop(&self, id: i64) -> bool {
        let running = self.0.running();
        let own = running.as_ref().filter(|(running, _)| *running == id);
        own.inspect(|(_, cancel)| cancel.cancel()).is_some()
    }

    /// Stops what runs, and waits until it is written down.
    pub(crate) async fn close(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Why an agent that observes does nothing of that.
pub(crate) fn observing() -> Failure {
    let message = "this agent only observes (--observe): it asks and tells nobody anything";
    Failure::no("observing", message, "start it without --observe")
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, Option<(i64, CancellationToken)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, news: &News) {
        match news {
            News::Found(finding) if finding.kind == Kind::Phone => {
                let mac = finding.mac.map(|mac| mac.to_string()).unwrap_or_default();
                debug!(device.mac = %mac, "Found {} at {}", finding.name(), finding.address);
            }
            News::Resumed { since, .. } => {
                info!("Going on with the scan of {since}, which did not come to its end");
            }
            News::Duplicate(duplicate) => self.tell_duplicate(*duplicate),
            News::Proxy(mac) => info!("{mac} answers for other hosts"),
            News::Found(_) | News::Progress { .. } => {}
        }
    }

    fn tell_duplicate(&self, Duplicate { address, first, other }: Duplicate) {
        let text = format!("{address} is claimed by {first} and by {other}");
        info!("{text}");
        let inventory = self.own.parts.store.inventory();
        let phone = [first, other].into_iter().find(|mac| inventory.device(*mac).is_some());
        if let Some(mac) = phone {
            let (mac, peer) = (Some(mac), Some(address.into()));
            self.own.alarms.raise(Alarm { kind: AlarmKind::Clone, mac, peer, text });
        }
    }
}

fn say(networks: &str, report: &Report) {
    let phones = report.found.iter().filter(|finding| finding.kind == Kind::Phone).count();
    let answered = report.answered;
    if report.state != ScanState::Complete {
        return info!(
            "Stopped scanning {networks}: {answered} hosts answered, {phones} phones; the next scan within a day goes on"
        );
    }
    info!("Scanned {networks}: {answered} hosts answered, {phones} phones");
    let Some(difference) = report.difference.as_ref().filter(|difference| !difference.is_empty()) else {
        return;
    };
    let [new, gone] = [difference.new.len(), difference.gone.len()];
    let [moved, changed] = [difference.moved.len(), difference.changed.len()];
    info!("Since the last scan: {new} new, {gone} gone, {moved} moved, {changed} with another firmware");
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::usage(error.code(), error.to_string(), error.remedy())
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        let message = error.to_string();
        match error {
            ScanError::Busy => {
                Self::no("busy", message, "wait until it has ended; two at once would ask everybody twice")
            }
            ScanError::Lock { .. } => {
                Self::failed("lock", message, "run the command as root, or as the user of the service")
            }
            ScanError::Link { error, .. } => link(message, &error),
            ScanError::Store(error) => error.into(),
        }
    }
}
