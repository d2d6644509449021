//! Scans by the clock: waits for the time that the configuration names, scans, and stops for quiet hours.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Parts, host_timezone};
use crate::clock::{Clock, Entropy};
use crate::config::ScanConfig;
use crate::operate::round::{Rounds, RoundsParts};
use crate::operate::scan::{Scanner, ScannerParts, Wanted};
use crate::push;
use crate::scan::schedule;
use crate::scan::server::ScanParts;
use crate::store::Store;

/// How long is waited at most before the clock is looked at again: it may have been set.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

impl Parts {
    /// Who scans here, by the clock and for programs.
    pub(super) fn scanner(&self) -> Scanner {
        let options = &self.options;
        Scanner::new(ScannerParts {
            config: options.config.scan.clone(),
            interfaces: self.interfaces.clone(),
            alarms: self.alarms.clone(),
            observe: options.observe,
            parts: ScanParts {
                catalog: self.catalog.clone(),
                store: options.store.clone(),
                adopt: options.config.adopt.clone(),
                clock: options.clock.clone(),
                entropy: options.entropy.clone(),
                lock: options.places.scan_lock(),
            },
        })
    }

    /// Who tells phones something here, for programs.
    pub(super) fn rounds(&self) -> Rounds {
        let options = &self.options;
        Rounds::new(RoundsParts {
            network: push::server::Parts {
                interfaces: self.interfaces.clone(),
                neighbours: self.neighbours.clone(),
                clock: options.clock.clone(),
                entropy: options.entropy.clone(),
            },
            catalog: self.catalog.clone(),
            registrar: options.config.sip.registrar.clone(),
            observe: options.observe,
        })
    }
}

/// The agent's own scans.
pub(super) struct Schedule {
    config: ScanConfig,
    zone: TimeZone,
    store: Store,
    clock: Clock,
    entropy: Entropy,
    scanner: Scanner,
}

impl Schedule {
    /// `None` without a schedule, and for an agent that only observes.
    pub(super) fn of(parts: &Parts, scanner: Scanner) -> Option<Self> {
        let options = &parts.options;
        let config = options.config.scan.clone();
        if options.observe || !config.schedule.is_some() {
            return None;
        }
        let zone = options.config.site.timezone.clone().unwrap_or_else(host_timezone);
        let (store, zone) = (options.store.clone(), schedule::zone(&zone));
        let (clock, entropy) = (options.clock.clone(), options.entropy.clone());
        Some(Self { config, zone, store, clock, entropy, scanner })
    }

    /// Scans whenever it is time, until it is cancelled.
    pub(super) async fn run(self, cancel: CancellationToken) {
        loop {
            let now = self.clock.now();
            let Some(due) = schedule::next(&self.config, &self.zone, now, self.draw()) else {
                return warn!("scan.schedule names no time that will ever be");
            };
            info!("The next scan begins at {due}");
            while self.clock.now() < due {
                let left = due.0.saturating_sub(self.clock.now().0);
                let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                let slept = tokio::time::sleep(left.min(LOOKED_EVERY));
                if cancel.run_until_cancelled(slept).await.is_none() {
                    return;
                }
            }
            // A host that slept, or had the wrong time, wakes when it should be quiet.
            let now = self.clock.now();
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
        // Who names networks has looked how large they are.
        let wanted = Wanted { confirmed: !self.config.networks.is_empty(), ..Wanted::default() };
        let order = match self.scanner.order(wanted) {
            Ok(order) => order,
            Err(error) => return warn!("Cannot scan: {error}; name them in scan.networks"),
        };
        let now = self.clock.now();
        let quiet = schedule::until_quiet(self.config.quiet_hours, &self.zone, now).unwrap_or(Duration::MAX);
        let mut begun = match self.scanner.begin(self.store.clone(), order).await {
            Ok(begun) => begun,
            Err(error) => return warn!("Cannot scan: {error}"),
        };
        tokio::select! {
            _ = &mut begun.ended => return,
            () = tokio::time::sleep(quiet) => {}
            () = cancel.cancelled() => {}
        }
        begun.cancel.cancel();
        // It writes down how far it has come.
        let _ = begun.ended.await;
    }

    /// How much later than it is due it begins.
    fn draw(&self) -> Duration {
        let most = u64::try_from(self.config.jitter.0.as_millis()).unwrap_or(u64::MAX);
        // Without randomness all sites begin at once, which is no reason not to begin.
        let drawn = self.entropy.bytes::<8>().map_or(0, u64::from_be_bytes);
        Duration::from_millis(drawn.checked_rem(most.saturating_add(1)).unwrap_or_default())
    }
}
