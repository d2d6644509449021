//! The small world's database: what is committed, what of that is on the disk, and what a process reads back.

use super::steps::Storage;
use super::world::{IDS, PASSWORDS};
use super::*;

/// A row that says that a release may have left.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    pub(super) release: usize,
    pub(super) released: Vec<Released>,
}

/// What the tables hold.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) grants: [Grants; 2],
    pub(super) standing: [Standing; 2],
    /// Which device has which account.
    pub(super) owner: [usize; 2],
    /// The version of each device's password of each kind; an account's stands at both.
    pub(super) versions: [[i64; PASSWORDS]; 2],
    pub(super) wall_high: Timestamp,
    intents: Vec<Intent>,
}

pub(super) struct Disk {
    tables: Tables,
    /// What would be left after a loss of power, where that is less.
    durable: Option<Box<Tables>>,
    pub(super) storage: Storage,
}

impl Tables {
    /// The passwords that a device has, as the store tells the machine.
    pub(super) fn held(&self, device: usize) -> Vec<(GrantId, i64)> {
        let has = |password: &usize| self.owner.get(*password).is_none_or(|owner| *owner == device);
        (0..PASSWORDS).filter(has).map(|at| (IDS[at], self.versions[device][at])).collect()
    }
}

impl Disk {
    pub(super) fn new() -> Self {
        let tables = Tables {
            grants: [Grants::default(), Grants::default()],
            standing: [Standing::Pending; 2],
            owner: [0, 1],
            versions: [[1; PASSWORDS]; 2],
            wall_high: Timestamp(0),
            intents: Vec::new(),
        };
        Self { tables, durable: None, storage: Storage::Up }
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// One transaction: whether it has happened, which is not always what who waits for it is told.
    pub(super) fn commit(&mut self, now: &Now, write: impl FnOnce(&mut Tables)) -> bool {
        if self.storage == Storage::Failing {
            return false;
        }
        if !holds(Rule::Synchronous) && self.durable.is_none() {
            self.durable = Some(Box::new(self.tables.clone()));
        }
        write(&mut self.tables);
        self.tables.wall_high = self.tables.wall_high.max(now.wall);
        true
    }

    /// What a process remembers about another host's windows stays in its memory.
    pub(super) fn strip(mut grants: Grants) -> Grants {
        for grant in &mut grants.grants {
            if let State::Open(opening) = &mut grant.state {
                opening.seen_ms = None;
            }
        }
        grants
    }

    pub(super) fn write_intent(tables: &mut Tables, intent: Intent) {
        tables.intents.push(intent);
    }

    /// Whether what left is on the disk, with each password and version.
    pub(super) fn has_intent(&self, release: usize, released: &[Released]) -> bool {
        let durable = self.durable.as_deref().unwrap_or(&self.tables);
        let intent = durable.intents.iter().find(|intent| intent.release == release);
        intent.is_some_and(|intent| intent.released == released)
    }

    pub(super) fn flush(&mut self) {
        self.durable = None;
    }

    pub(super) fn lose_power(&mut self) {
        if let Some(durable) = self.durable.take() {
            self.tables = *durable;
        }
    }

    /// A process reads the tables for the first time.
    pub(super) fn read_back(&mut self, now: &Now) {
        let grants = self.tables.grants.iter_mut().flat_map(|grants| &mut grants.grants);
        for grant in grants {
            let State::Open(opening) = &mut grant.state else { continue };
            if !holds(Rule::BindingIsKept) {
                opening.bound = None;
            }
            if !holds(Rule::MomentIsKept) {
                opening.at.boot = now.boot.boot.clone();
                opening.at.ms = now.boot.ms - (now.wall.0 - opening.wall.0);
            }
        }
    }
}
