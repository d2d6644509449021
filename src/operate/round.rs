//! Rounds: phones that a program has the agent tell something, in the background. Each can be read while it goes on and
//! for some time after; what was told to a phone, and what came of it, is in the phone's own timeline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Failure;
use super::failure::link;
use super::push::{Fate, Round, Row, Wish};
use super::scan::observing;
use super::view;
use crate::clock::Timestamp;
use crate::device::{Approval, Device, Mac, Vendor};
use crate::profile::{Catalog, Told};
use crate::push::decide::{Rate, TIMER_F, Way};
use crate::push::server::{Pace, Parts};
use crate::store::{Store, StoreError};

/// Rounds at a time: each watches the store.
const RUNNING_MAX: usize = 4;
/// Rounds that can be read after their end.
const KEPT: usize = 32;
/// Letters of a round's name.
const ID_CHARS: usize = 12;

/// Which phones are meant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    pub(crate) macs: Vec<Mac>,
    /// Every approved phone that is left by the filters.
    pub(crate) all: bool,
    pub(crate) vendor: Option<String>,
    pub(crate) model: Option<String>,
}

impl Selection {
    /// They, each once.
    pub(crate) async fn devices(
        &self,
        store: &Store,
        catalog: &Catalog,
    ) -> Result<Vec<Arc<Device>>, Failure> {
        if !self.all {
            let macs: BTreeSet<Mac> = self.macs.iter().copied().collect();
            let mut devices = Vec::new();
            for mac in macs {
                devices.push(view::known(store, mac).await?);
            }
            return Ok(devices);
        }
        let devices = store.inventory().devices().into_iter();
        let devices: Vec<_> = devices.filter(|device| self.wants(device, catalog)).collect();
        if devices.is_empty() {
            let message = "no approved phone is left by the filters: nothing was sent";
            return Err(Failure::no("nothing", message, "offhook device list shows the phones"));
        }
        Ok(devices)
    }

    fn wants(&self, device: &Device, catalog: &Catalog) -> bool {
        let profile = device.vendor.as_ref().and_then(|vendor| catalog.get(vendor));
        let same_model = |wanted: &String| {
            let name = |written: &str| match profile {
                Some(profile) => profile.table_name(written),
                None => written.to_owned(),
            };
            device.model.as_ref().is_some_and(|model| name(model).eq_ignore_ascii_case(&name(wanted)))
        };
        let same_vendor = |wanted: &String| device.vendor.as_ref() == Some(&Vendor::new(wanted));
        device.approval == Approval::Approved
            && self.vendor.as_ref().is_none_or(same_vendor)
            && self.model.as_ref().is_none_or(same_model)
    }
}

/// What they are told, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Telling {
    pub(crate) told: Told,
    pub(crate) way: Way,
    pub(crate) rate: Rate,
    pub(crate) wait: Duration,
}

/// What is asked for, by a program; `rate`: phones a second.
pub(crate) fn telling(
    is_reboot: bool,
    by_pbx: bool,
    rate: Option<u32>,
    wait: Duration,
) -> Result<Telling, Failure> {
    let rate = match rate {
        None => Rate::default(),
        Some(rate) => rate
            .to_string()
            .parse()
            .map_err(|error: String| Failure::usage("rate", error, "leave it out for 5 phones a second"))?,
    };
    let told = if is_reboot { Told::Reboot } else { Told::Resync };
    let way = if by_pbx { Way::Pbx } else { Way::Phone };
    Ok(Telling { told, way, rate, wait })
}

/// The rounds of an agent. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rounds(Arc<Inner>);

/// What they are made of.
pub(crate) struct RoundsParts {
    pub(crate) network: Parts,
    pub(crate) catalog: Arc<Catalog>,
    /// For accounts that name no registrar.
    pub(crate) registrar: Option<String>,
    /// Nothing may be sent.
    pub(crate) observe: bool,
}

struct Inner {
    own: RoundsParts,
    jobs: Mutex<VecDeque<Arc<Job>>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// One round.
pub(crate) struct Job {
    id: String,
    told: Told,
    started: Timestamp,
    cancel: CancellationToken,
    now: Mutex<Now>,
}

struct Now {
    rows: Vec<Row>,
    /// When, and whether it was stopped before its end.
    ended: Option<(Timestamp, bool)>,
}

/// A round as programs see it.
#[derive(Debug, Serialize)]
pub(crate) struct JobShown {
    /// `None`: it was only planned.
    id: Option<String>,
    told: Told,
    /// `planned`, `running`, `stopped`, `complete`
    state: &'static str,
    started: Timestamp,
    ended: Option<Timestamp>,
    phones: usize,
    /// How many of each result.
    results: BTreeMap<String, u64>,
    /// What each would be told; of one that has begun this is asked for page by page.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plan: Vec<Row>,
}

impl JobShown {
    /// What would be told, and nothing is.
    pub(crate) fn planned(round: &Round, telling: Telling, now: Timestamp) -> Self {
        let plan = round.rows.clone();
        let (phones, results) = (plan.len(), results(&plan));
        Self {
            id: None,
            told: telling.told,
            state: "planned",
            started: now,
            ended: None,
            phones,
            results,
            plan,
        }
    }

    /// Its name in URLs.
    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

fn results(rows: &[Row]) -> BTreeMap<String, u64> {
    let mut results: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        *results.entry(row.result.code()).or_default() += 1;
    }
    results
}

impl Job {
    pub(crate) fn shown(&self) -> JobShown {
        let now = self.now();
        JobShown {
            id: Some(self.id.clone()),
            told: self.told,
            state: match now.ended {
                None => "running",
                Some((_, true)) => "stopped",
                Some((_, false)) => "complete",
            },
            started: self.started,
            ended: now.ended.map(|(at, _)| at),
            phones: now.rows.len(),
            results: results(&now.rows),
            plan: Vec::new(),
        }
    }

    /// Its phones behind this one, by MAC.
    pub(crate) fn rows(&self, after: Option<Mac>) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.now().rows.iter().filter(|row| after.is_none_or(|after| row.mac > after)).cloned().collect();
        rows.sort_by_key(|row| row.mac);
        rows
    }

    /// Tells nobody any more.
    pub(crate) fn stop(&self) {
        self.cancel.cancel();
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.now().ended.is_none()
    }

    fn take(&self, row: &Row) {
        if let Some(known) = self.now().rows.iter_mut().find(|known| known.mac == row.mac) {
            *known = row.clone();
        }
    }
}

impl Rounds {
    pub(crate) fn new(own: RoundsParts) -> Self {
        let (jobs, stopping) = (Mutex::default(), CancellationToken::new());
        Self(Arc::new(Inner { own, jobs, stopping, tasks: TaskTracker::new() }))
    }

    /// What each phone would be told, and by which way.
    pub(crate) async fn plan(
        &self,
        store: &Store,
        selection: &Selection,
        telling: Telling,
    ) -> Result<Round, Failure> {
        let RoundsParts { catalog, registrar, .. } = &self.0.own;
        let devices = selection.devices(store, catalog).await?;
        let wish = Wish { told: telling.told, way: telling.way, registrar: registrar.as_deref() };
        Round::plan(store, catalog, &devices, wish).await
    }

    /// Why nobody is told anything here, if so.
    pub(crate) fn objection(&self, way: Way) -> Option<Failure> {
        let RoundsParts { network, observe, .. } = &self.0.own;
        if *observe {
            return Some(observing());
        }
        if way == Way::Phone && network.neighbours.abilities().is_some_and(|able| !able.raw_arp) {
            let message = "cannot ask by ARP whether the phones are where they were seen";
            return Some(link(message.to_owned(), &std::io::ErrorKind::PermissionDenied.into()));
        }
        if self.0.jobs().iter().filter(|job| job.is_running()).count() >= RUNNING_MAX {
            let message = format!("{RUNNING_MAX} rounds are going on");
            return Some(Failure::no("busy", message, "wait until one has ended, or stop one"));
        }
        None
    }

    /// Begins a round that goes on by itself; that it begins is written by `store`, under the conditions that it has.
    pub(crate) async fn begin(
        &self,
        store: &Store,
        round: Round,
        telling: Telling,
    ) -> Result<Arc<Job>, StoreError> {
        let Parts { clock, entropy, .. } = &self.0.own.network;
        store.round_begun(telling.told.as_str(), round.due()).await?;
        let store = store.unconditionally();
        let id = entropy.text("0123456789abcdefghijklmnopqrstuvwxyz", ID_CHARS);
        let id = id.unwrap_or_else(|_| format!("{}", clock.now().0));
        let rows = round.rows.clone();
        let job = Arc::new(Job {
            id,
            told: telling.told,
            started: clock.now(),
            cancel: self.0.stopping.child_token(),
            now: Mutex::new(Now { rows, ended: None }),
        });
        self.0.keep(&job);
        let (inner, done) = (Arc::clone(&self.0), Arc::clone(&job));
        self.0.tasks.spawn(async move { inner.carry_out(&store, round, telling, &done).await });
        Ok(job)
    }

    /// The latest first.
    pub(crate) fn jobs(&self) -> Vec<Arc<Job>> {
        self.0.jobs().iter().rev().cloned().collect()
    }

    /// The round of this name.
    pub(crate) fn job(&self, id: &str) -> Result<Arc<Job>, Failure> {
        let found = self.0.jobs().iter().find(|job| job.id == id).cloned();
        found.ok_or_else(|| {
            let message = "there is no such round: an agent keeps its latest ones, until it ends";
            Failure::no(
                "not_found",
                message,
                "a phone's timeline tells what it was told, and what came of it",
            )
        })
    }

    /// Stops what goes on, and waits until it is written down.
    pub(crate) async fn close(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    fn jobs(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, job: &Arc<Job>) {
        let mut jobs = self.jobs();
        jobs.push_back(Arc::clone(job));
        while jobs.len() > KEPT {
            jobs.pop_front();
        }
    }

    async fn carry_out(&self, store: &Store, mut round: Round, telling: Telling, job: &Job) {
        let pace = Pace { rate: telling.rate, patience: TIMER_F };
        let carried =
            round.carry_out(store, self.own.network.clone(), pace, telling.wait, |row| job.take(row));
        let outcome = job.cancel.run_until_cancelled(carried).await;
        if let Some(Err(error)) = &outcome {
            tracing::warn!("A round ended before everybody was told: {error}");
        }
        let stopped = !matches!(outcome, Some(Ok(())));
        let mut now = job.now();
        now.rows = round.rows;
        now.ended = Some((self.own.network.clock.now(), stopped));
    }
}

impl Fate {
    /// The word for programs.
    fn code(self) -> String {
        self.as_str().replace(' ', "_")
    }
}
