//! What a scan is asked for, what it tells while it runs, and what it comes to.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::AdoptConfig;
use crate::device::Mac;
use crate::profile::Catalog;
use crate::scan::finding::{Difference, Finding};
use crate::scan::plan::Plan;
use crate::store::{ScanRow, ScanState, Store, StoreError};

/// What a scan works with.
#[derive(Debug, Clone)]
pub struct ScanParts {
    /// Who tells phones from each other.
    pub catalog: Arc<Catalog>,
    /// Where what was found is written, in the hands of this agent.
    pub store: Store,
    /// Which strangers become phones of ours.
    pub adopt: AdoptConfig,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// The file that is locked while a scan runs.
    pub lock: PathBuf,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whom to ask.
    pub plan: Plan,
    /// Questions a second.
    pub rate: u32,
    /// Whether to begin anew where an earlier scan did not come to its end.
    pub fresh: bool,
}

/// What is told while a scan runs.
#[derive(Debug)]
pub enum News {
    /// An earlier scan did not come to its end, and this one goes on with it.
    Resumed {
        /// When that began.
        since: Timestamp,
        /// How many hosts it had found.
        found: usize,
    },
    /// How far it has come.
    Progress {
        /// Addresses that were asked.
        asked: u64,
        /// All that will be.
        total: u64,
    },
    /// A host, and what it is.
    Found(Box<Finding>),
    /// Two hosts claim one address.
    Duplicate(Duplicate),
    /// A host answers for whoever is asked for.
    Proxy(Mac),
}

/// Two hosts with one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Duplicate {
    /// The address.
    pub address: Ipv4Addr,
    /// Who answered first.
    pub first: Mac,
    /// Who answered, too.
    pub other: Mac,
}

/// What a scan came to.
#[derive(Debug)]
pub struct Report {
    /// Whether everybody was asked.
    pub state: ScanState,
    /// When it began; of one that went on, when the first of them did.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How many hosts answered in whatever way.
    pub answered: usize,
    /// Everybody who was found, by address.
    pub found: Vec<Finding>,
    /// Addresses that two hosts claim.
    pub duplicates: Vec<Duplicate>,
    /// Hosts that answer for others.
    pub proxies: Vec<Mac>,
    /// What has changed since the last one; `None` where there was none, or this one was stopped.
    pub difference: Option<Difference>,
}

/// Why there was no scan, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Another process scans.
    #[error("another scan is running on this host")]
    Busy,
    /// Nobody can tell whether another process scans.
    #[error("cannot lock {}: {error}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The link cannot be asked.
    #[error("cannot ask by ARP on {interface}: {error}")]
    Link {
        /// Its interface.
        interface: String,
        /// What the system said.
        error: io::Error,
    },
    /// The database does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ScanError {
    /// The store's own error, if it is one.
    pub fn into_store(self) -> Result<StoreError, Self> {
        match self {
            Self::Store(error) => Ok(error),
            other => Err(other),
        }
    }
}

/// What a scan is told of beside whom it found; a JSON text in its row.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remarks {
    /// Addresses that two hosts claim.
    pub duplicates: Vec<Duplicate>,
    /// Hosts that answer for others.
    pub proxies: Vec<Mac>,
}

impl Remarks {
    /// Those of a row.
    pub fn of(row: &ScanRow) -> Self {
        serde_json::from_str(&row.remarks).unwrap_or_default()
    }
}
