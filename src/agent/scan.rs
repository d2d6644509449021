//! Scans by the clock: waits for the time that the configuration names, scans, and stops for quiet hours.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Parts, host_timezone};
use crate::alarm::{Alarm, AlarmKind, Alarms};
use crate::config::ScanConfig;
use crate::net::interfaces::Interfaces;
use crate::scan::finding::Kind;
use crate::scan::plan::plan;
use crate::scan::schedule;
use crate::scan::server::{Duplicate, News, Order, Report, ScanParts, scan};
use crate::store::{ScanState, Store};

/// How long is waited at most before the clock is looked at again: it may have been set.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// The agent's own scans.
pub(super) struct Scanner {
    config: ScanConfig,
    zone: TimeZone,
    interfaces: Interfaces,
    alarms: Alarms,
    parts: ScanParts,
}

impl Scanner {
    /// `None` without a schedule, and for an agent that only observes.
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let options = &parts.options;
        let config = options.config.scan.clone();
        if options.observe || !config.schedule.is_some() {
            return None;
        }
        let zone = options.config.site.timezone.clone().unwrap_or_else(host_timezone);
        Some(Self {
            config,
            zone: schedule::zone(&zone),
            interfaces: parts.interfaces.clone(),
            alarms: parts.alarms.clone(),
            parts: ScanParts {
                catalog: parts.catalog.clone(),
                store: options.store.clone(),
                adopt: options.config.adopt.clone(),
                clock: options.clock.clone(),
                entropy: options.entropy.clone(),
                lock: options.places.scan_lock(),
            },
        })
    }

    /// Scans whenever it is time, until it is cancelled.
    pub(super) async fn run(self, cancel: CancellationToken) {
        loop {
            let now = self.parts.clock.now();
            let Some(due) = schedule::next(&self.config, &self.zone, now, self.draw()) else {
                return warn!("scan.schedule names no time that will ever be");
            };
            info!("The next scan begins at {due}");
            while self.parts.clock.now() < due {
                let left = due.0.saturating_sub(self.parts.clock.now().0);
                let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                let slept = tokio::time::sleep(left.min(LOOKED_EVERY));
                if cancel.run_until_cancelled(slept).await.is_none() {
                    return;
                }
            }
            // A host that slept, or had the wrong time, wakes when it should be quiet.
            let now = self.parts.clock.now();
            if schedule::until_quiet(self.config.quiet_hours, &self.zone, now) == Some(Duration::ZERO) {
                continue;
            }
            self.scan(&cancel).await;
            if cancel.is_cancelled() {
                return;
            }
        }
    }

    async fn scan(&self, cancel: &CancellationToken) {
        let ScanConfig { networks, rate, quiet_hours, .. } = &self.config;
        // Who names networks has looked how large they are.
        let planned = plan(networks, &self.interfaces.current(), *rate, !networks.is_empty());
        let plan = match planned {
            Ok(plan) => plan,
            Err(error) => return warn!("Cannot scan: {error}; name them in scan.networks"),
        };
        let networks = plan.name();
        info!("Scanning {networks}");
        let order = Order { plan, rate: *rate, fresh: false };
        let stop = cancel.child_token();
        let now = self.parts.clock.now();
        let quiet = schedule::until_quiet(*quiet_hours, &self.zone, now).unwrap_or(Duration::MAX);
        let store = &self.parts.store;
        let tell = |news: &News| self.tell(news, store);
        let scanning = scan(self.parts.clone(), order, tell, stop.clone());
        tokio::pin!(scanning);
        let report = tokio::select! {
            report = &mut scanning => report,
            () = tokio::time::sleep(quiet) => {
                stop.cancel();
                scanning.await
            }
        };
        match report {
            Ok(report) => say(&networks, &report),
            Err(error) => warn!("Cannot scan {networks}: {error}"),
        }
    }

    fn tell(&self, news: &News, store: &Store) {
        match news {
            News::Found(finding) if finding.kind == Kind::Phone => {
                let mac = finding.mac.map(|mac| mac.to_string()).unwrap_or_default();
                debug!(device.mac = %mac, "Found {} at {}", finding.name(), finding.address);
            }
            News::Resumed { since, .. } => {
                info!("Going on with the scan of {since}, which did not come to its end");
            }
            News::Duplicate(Duplicate { address, first, other }) => {
                let text = format!("{address} is claimed by {first} and by {other}");
                info!("{text}");
                let phone = [first, other].into_iter().find(|mac| store.inventory().device(**mac).is_some());
                if let Some(mac) = phone {
                    let (mac, peer) = (Some(*mac), Some((*address).into()));
                    self.alarms.raise(Alarm { kind: AlarmKind::Clone, mac, peer, text });
                }
            }
            News::Proxy(mac) => info!("{mac} answers for whoever is asked for"),
            News::Found(_) | News::Progress { .. } => {}
        }
    }

    /// How much later than it is due it begins.
    fn draw(&self) -> Duration {
        let most = u64::try_from(self.config.jitter.0.as_millis()).unwrap_or(u64::MAX);
        // Without randomness all sites begin at once, which is no reason not to begin.
        let drawn = self.parts.entropy.bytes::<8>().map_or(0, u64::from_be_bytes);
        Duration::from_millis(drawn.checked_rem(most.saturating_add(1)).unwrap_or_default())
    }
}

fn say(networks: &str, report: &Report) {
    let phones = report.found.iter().filter(|finding| finding.kind == Kind::Phone).count();
    let answered = report.answered;
    if report.state != ScanState::Complete {
        return info!(
            "Stopped scanning {networks}: {answered} hosts answered, {phones} phones; the next scan goes on"
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
