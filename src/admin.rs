//! The people's listener: REST for programs, and the place of the pages for people. It shares neither a listener nor a
//! router with the phones.
//!
//! ```text
//!  server    accepts, limits heads and connections, stops
//!  router    the table of routes; every request goes through
//!              origin    is it meant for this host (421), and not made by somebody else's page (403)
//!              access    whose token is it (401), and is it for this (403)
//!  api/*     one file per noun: asks and tells in JSON, over the functions that the command line uses
//!  once      a request with an Idempotency-Key is done once
//!  answer    what goes back: JSON, or a problem (RFC 9457) with the code, words and remedy of the command line
//!  openapi   the description of all that, made from the same table
//! ```

mod access;
mod answer;
mod api;
mod ask;
mod once;
mod openapi;
mod origin;
mod refusals;
mod router;
pub mod server;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Places};
use crate::doctor::Patient;
use crate::net::interfaces::Interfaces;
use crate::net::limit::Limiter;
use crate::operate::fleet::Fleet;
use crate::operate::release::Releases;
use crate::operate::round::Rounds;
use crate::operate::scan::Scanner;
use crate::profile::{Catalog, Site};
use crate::store::{self, ApiToken, Store};
use access::FAILURES;
use refusals::Refusals;

/// What the people's listener is made of.
pub struct AdminParts {
    /// Everything that is set.
    pub config: Config,
    /// The inventory, in the agent's hands.
    pub store: Store,
    /// The vendor profiles.
    pub catalog: Arc<Catalog>,
    /// The site, as the configuration has it.
    pub site: Site,
    /// The host's addresses, by which it may be asked.
    pub interfaces: Interfaces,
    /// The folder of firmware and language files.
    pub files: PathBuf,
    /// The time.
    pub clock: Clock,
    /// The agent's own socket: it looks at once when something was written.
    pub poke: PathBuf,
    /// Where the installation's files lie.
    pub places: Places,
    /// Who scans for programs.
    pub(crate) scanner: Scanner,
    /// Who tells phones something for programs.
    pub(crate) rounds: Rounds,
}

/// What all requests share.
#[derive(Clone)]
struct Shared(Arc<Inner>);

struct Inner {
    parts: AdminParts,
    refusals: Mutex<Refusals>,
    /// Tokens that are used, until that is written down.
    used: Mutex<HashMap<String, ApiToken>>,
    /// Held by whoever sends a file.
    coming: tokio::sync::Mutex<()>,
    /// How often an address may present what is no token.
    failures: Mutex<Limiter<IpAddr>>,
}

impl Shared {
    fn new(parts: AdminParts) -> Self {
        let (burst, every, keys) = FAILURES;
        Self(Arc::new(Inner {
            parts,
            refusals: Mutex::default(),
            used: Mutex::default(),
            coming: tokio::sync::Mutex::default(),
            failures: Mutex::new(Limiter::new(burst, every, keys)),
        }))
    }

    fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// How the passwords of phones stand.
    fn releases(&self) -> Releases<'_> {
        let AdminParts { config, catalog, store, .. } = &self.0.parts;
        Releases::new(config, Arc::clone(catalog), store)
    }

    /// What the files of phones are made of.
    fn fleet(&self) -> Fleet<'_> {
        let AdminParts { site, catalog, store, files, .. } = &self.0.parts;
        Fleet { store, catalog, site, files }
    }

    /// This agent and its host, for who looks whether they are well.
    fn patient(&self) -> Patient<'_> {
        let AdminParts { config, places, store, clock, .. } = &self.0.parts;
        let (clock, config_file) = (clock.clone(), None);
        Patient { config, config_file, places, store: Ok(store), is_agent: true, clock }
    }

    fn scanner(&self) -> &Scanner {
        &self.0.parts.scanner
    }

    fn rounds(&self) -> &Rounds {
        &self.0.parts.rounds
    }

    fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    /// Lets the agent look at once: a transfer of passwords that are locked now is to be aborted.
    fn poke(&self) {
        store::poke(&self.0.parts.poke);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
