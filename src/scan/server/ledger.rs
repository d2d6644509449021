//! Writes down what a scan finds while it runs: its rows, from which the next one goes on, and a sighting of each phone.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Remarks;
use crate::clock::{Clock, Timestamp};
use crate::config::AdoptConfig;
use crate::device::{Channel, Identity, Mac, Sighting, Step};
use crate::profile::{Catalog, Identified};
use crate::provision::{self, Admission};
use crate::scan::finding::{Bound, Difference, Finding, Kind, bound};
use crate::store::{FoundRow, ScanRow, ScanState, Store, StoreError};

/// Moments of a phone's life that are looked at for where DHCP leads it.
const MOMENTS_MAX: i64 = 50;

/// A scan's rows.
pub(super) struct Ledger {
    store: Store,
    catalog: Arc<Catalog>,
    adopt: AdoptConfig,
    clock: Clock,
    scan: ScanRow,
    /// Whom the last complete scan found.
    before: Option<Vec<Finding>>,
    /// Found, and not written yet.
    rows: Vec<FoundRow>,
    removed: Vec<Ipv4Addr>,
    sightings: Vec<Sighting>,
    pending: Vec<Identity>,
}

/// What a ledger is made from.
pub(super) struct LedgerParts {
    pub(super) store: Store,
    pub(super) catalog: Arc<Catalog>,
    pub(super) adopt: AdoptConfig,
    pub(super) clock: Clock,
}

impl Ledger {
    /// Goes on with a scan of these networks that did not come to its end, unless it shall be `fresh`; the second value
    /// is whom it had found.
    pub(super) async fn open(
        parts: LedgerParts,
        networks: &str,
        total: u64,
        fresh: bool,
    ) -> Result<(Self, Vec<Finding>), StoreError> {
        let LedgerParts { store, catalog, adopt, clock } = parts;
        let left = if fresh { None } else { store.unfinished_scan(networks).await? };
        let before = store.last_complete_scan(networks).await?;
        let before = before.map(|rows| rows.into_iter().map(finding).collect());
        let scan = store.begin_scan(networks, total, left).await?;
        // What follows is this scan's own, under nobody's conditions.
        let store = store.unconditionally();
        let found = found(&store, scan.id, |_| true, usize::MAX).await?;
        let (rows, removed, sightings, pending) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let ledger = Self { store, catalog, adopt, clock, scan, before, rows, removed, sightings, pending };
        Ok((ledger, found))
    }

    /// The scan's own row, as it was when it was opened.
    pub(super) fn scan(&self) -> &ScanRow {
        &self.scan
    }

    /// What it was told of so far.
    pub(super) fn remarks(&self) -> Remarks {
        Remarks::of(&self.scan)
    }

    /// Takes back what was found there.
    pub(super) fn remove(&mut self, addresses: Vec<Ipv4Addr>) {
        self.removed = addresses;
    }

    /// Completes a finding by what is known of the phone, and keeps both to be written.
    /// `proved`: the MAC that ARP told; behind a router there is none, and what a host writes there is its own word.
    pub(super) async fn add(&mut self, finding: &mut Finding, found: &Identified, proved: Option<Mac>) {
        if let Err(error) = complete(&self.store, finding).await {
            tracing::warn!("Cannot look up what is known of {}: {error}", finding.address);
        }
        if finding.kind == Kind::Phone
            && let Some(mac) = proved
            && let Some(identity) = Finding::identity(mac, found)
        {
            self.sight(finding, identity, mac);
        }
        self.rows.push(row(finding));
    }

    /// Writes what was kept.
    pub(super) async fn write(
        &mut self,
        state: ScanState,
        position: u64,
        answered: usize,
        remarks: &Remarks,
    ) -> Result<(), StoreError> {
        self.store.record(&self.sightings, &self.pending).await?;
        self.sightings.clear();
        self.pending.clear();
        self.scan.position = position;
        self.scan.answered = answered as u64;
        self.scan.remarks = serde_json::json!(remarks).to_string();
        self.store.keep_scan(&self.scan, state, &self.rows, &self.removed).await?;
        self.rows.clear();
        self.removed.clear();
        Ok(())
    }

    /// What has changed since the last scan that came to its end; `None` where this is the first.
    pub(super) async fn difference(&self, found: &[Finding]) -> Result<Option<Difference>, StoreError> {
        match &self.before {
            Some(before) => between(&self.store, before, found).await.map(Some),
            None => Ok(None),
        }
    }

    /// A phone that was found is listed like one that asked.
    fn sight(&mut self, finding: &mut Finding, identity: Identity, mac: Mac) {
        let device = self.store.inventory().device(mac);
        let known = provision::is_known(&identity, &self.catalog);
        // Found is not asked: nobody takes an account out of the pool before the phone itself wants one.
        let waits = match provision::admission(&identity, device.as_deref(), &self.adopt, known) {
            Admission::Pending | Admission::Adopt => true,
            Admission::Serve | Admission::Ignore(_) => false,
        };
        if waits {
            self.pending.push(identity.clone());
            if finding.bound == Bound::Free {
                finding.bound = Bound::Pending;
            }
        }
        self.sightings.push(Sighting {
            identity,
            addr: finding.address.into(),
            channel: Channel::Scan,
            at: self.clock.now(),
            step: if waits { Step::Pending } else { Step::Found },
            outcome: format!("found by a scan: {}", finding.name()),
            detail: serde_json::json!({ "confidence": finding.confidence, "evidence": finding.evidence }),
        });
    }
}

/// Whom a scan has found so far, by address, each with what is known of it: those that are wanted, at most so many.
pub async fn found(
    store: &Store,
    scan: i64,
    is_wanted: impl Fn(&Finding) -> bool,
    limit: usize,
) -> Result<Vec<Finding>, StoreError> {
    let mut found: Vec<Finding> = store.found_by(scan).await?.into_iter().map(finding).collect();
    found.retain(|one| is_wanted(one));
    found.sort_by_key(|one| one.address);
    found.truncate(limit);
    for one in &mut found {
        complete(store, one).await?;
    }
    Ok(found)
}

/// What had changed when a scan came to its end; `None` where it did not, or where it was the first of its networks.
pub async fn difference(store: &Store, scan: &ScanRow) -> Result<Option<Difference>, StoreError> {
    if scan.state != ScanState::Complete {
        return Ok(None);
    }
    let Some(before) = store.complete_scan_before(scan).await? else { return Ok(None) };
    let before: Vec<Finding> = before.into_iter().map(finding).collect();
    between(store, &before, &found(store, scan.id, |_| true, usize::MAX).await?).await.map(Some)
}

async fn between(store: &Store, before: &[Finding], now: &[Finding]) -> Result<Difference, StoreError> {
    let mut difference = Difference::between(before, now);
    for gone in &mut difference.gone {
        complete(store, gone).await?;
    }
    Ok(difference)
}

/// Adds what is known of the phone beside what it showed.
async fn complete(store: &Store, finding: &mut Finding) -> Result<(), StoreError> {
    let Some(mac) = finding.mac.filter(|_| finding.kind.is_shown()) else { return Ok(()) };
    let seen = store.sightings(Some(mac)).await?;
    finding.first = seen.iter().map(|seen| seen.first).fold(finding.first, Timestamp::min);
    let asks = |channel| matches!(channel, Channel::Http | Channel::Https | Channel::Tftp);
    let asked = seen.iter().any(|seen| asks(seen.channel));
    let moments = store.timeline(mac, Some(MOMENTS_MAX)).await?;
    let by_dhcp = moments.iter().rev().find(|moment| moment.stage == Channel::Dhcp);
    let led_away = by_dhcp.is_some_and(|moment| moment.step == Step::Misled);
    finding.bound = bound(store.inventory().device(mac).as_deref(), asked, led_away);
    Ok(())
}

fn row(finding: &Finding) -> FoundRow {
    FoundRow {
        address: finding.address,
        mac: finding.mac,
        kind: finding.kind.as_str().to_owned(),
        vendor: finding.vendor.clone(),
        model: finding.model.clone(),
        firmware: finding.firmware.clone(),
        confidence: finding.confidence,
        evidence: finding.evidence.clone(),
        first: finding.first,
    }
}

fn finding(row: FoundRow) -> Finding {
    let FoundRow { address, mac, kind, vendor, model, firmware, confidence, evidence, first } = row;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).unwrap_or(Kind::Other);
    Finding { address, mac, kind, vendor, model, firmware, confidence, evidence, bound: Bound::Free, first }
}
