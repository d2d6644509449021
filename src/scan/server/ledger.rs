//! Writes down what a scan finds while it runs: its rows, from which the next one goes on, and a sighting of each phone.

use std::sync::Arc;

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
        fresh: bool,
    ) -> Result<(Self, Vec<Finding>), StoreError> {
        let LedgerParts { store, catalog, adopt, clock } = parts;
        let left = if fresh { None } else { store.unfinished_scan(networks).await? };
        let rows = match &left {
            Some(scan) => store.found_by(scan.id).await?,
            None => Vec::new(),
        };
        let before = store.last_complete_scan(networks).await?;
        let before = before.map(|rows| rows.into_iter().map(finding).collect());
        let scan = match left {
            Some(scan) => scan,
            None => store.begin_scan(networks).await?,
        };
        let (written, sightings, pending) = (Vec::new(), Vec::new(), Vec::new());
        let ledger = Self { store, catalog, adopt, clock, scan, before, rows: written, sightings, pending };
        let mut found: Vec<Finding> = rows.into_iter().map(finding).collect();
        for finding in &mut found {
            ledger.complete(finding).await?;
        }
        Ok((ledger, found))
    }

    /// The scan's own row, as it was when it was opened.
    pub(super) fn scan(&self) -> ScanRow {
        self.scan
    }

    /// Completes a finding by what is known of the phone, and keeps both to be written.
    /// `proved`: the MAC that ARP told; behind a router there is none, and what a host writes there is its own word.
    pub(super) async fn add(&mut self, finding: &mut Finding, found: &Identified, proved: Option<Mac>) {
        if let Err(error) = self.complete(finding).await {
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
    pub(super) async fn write(&mut self, state: ScanState, position: u64) -> Result<(), StoreError> {
        self.store.record(&self.sightings, &self.pending).await?;
        self.sightings.clear();
        self.pending.clear();
        self.store.keep_scan(self.scan.id, state, position, &self.rows).await?;
        self.rows.clear();
        Ok(())
    }

    /// What has changed since the last scan that came to its end; `None` where this is the first.
    pub(super) async fn difference(&self, found: &[Finding]) -> Result<Option<Difference>, StoreError> {
        let Some(before) = &self.before else { return Ok(None) };
        let mut difference = Difference::between(before, found);
        for gone in &mut difference.gone {
            self.complete(gone).await?;
        }
        Ok(Some(difference))
    }

    /// Adds what is known of the phone beside what it showed.
    async fn complete(&self, finding: &mut Finding) -> Result<(), StoreError> {
        let Some(mac) = finding.mac.filter(|_| finding.kind.is_shown()) else { return Ok(()) };
        let seen = self.store.sightings(Some(mac)).await?;
        finding.first = seen.iter().map(|seen| seen.first).fold(finding.first, Timestamp::min);
        let asks = |channel| matches!(channel, Channel::Http | Channel::Https | Channel::Tftp);
        let asked = seen.iter().any(|seen| asks(seen.channel));
        let moments = self.store.timeline(mac, Some(MOMENTS_MAX)).await?;
        let by_dhcp = moments.iter().rev().find(|moment| moment.stage == Channel::Dhcp);
        let led_away = by_dhcp.is_some_and(|moment| moment.step == Step::Misled);
        finding.bound = bound(self.store.inventory().device(mac).as_deref(), asked, led_away);
        Ok(())
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
