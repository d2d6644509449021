//! Who scans and who tells phones something, for tests of those who ask them to.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::round::{Rounds, RoundsParts};
use super::scan::{Scanner, ScannerParts};
use crate::alarm::Alarms;
use crate::clock::{Clock, Entropy};
use crate::config::{AdoptConfig, ScanConfig};
use crate::net::interfaces::Interfaces;
use crate::net::neighbours::Neighbours;
use crate::profile::Catalog;
use crate::push::server::Parts;
use crate::scan::server::ScanParts;
use crate::store::Store;

/// On these interfaces, with its lock in this folder.
pub(crate) fn scanner(
    folder: &Path,
    store: Store,
    catalog: &Arc<Catalog>,
    interfaces: &Interfaces,
    clock: &Clock,
) -> Scanner {
    let parts = ScanParts {
        catalog: Arc::clone(catalog),
        store,
        adopt: AdoptConfig::default(),
        clock: clock.clone(),
        entropy: Entropy::seeded(7),
        lock: folder.join("scan.lock"),
    };
    let (config, interfaces) = (ScanConfig::default(), interfaces.clone());
    Scanner::new(ScannerParts { config, interfaces, alarms: Alarms::default(), observe: false, parts })
}

/// Nobody is behind any address.
pub(crate) fn rounds(catalog: &Arc<Catalog>, interfaces: &Interfaces, clock: &Clock) -> Rounds {
    let network = Parts {
        interfaces: interfaces.clone(),
        neighbours: Neighbours::declared(HashMap::new()),
        clock: clock.clone(),
        entropy: Entropy::seeded(7),
    };
    Rounds::new(RoundsParts { network, catalog: Arc::clone(catalog), registrar: None, observe: false })
}
