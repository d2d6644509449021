//! The store: the only SQL, and the inventory in memory that everybody reads. What is written is durable before anyone
//! sees it; what is read never waits for the database. Passwords come in as [`Secret`] and lie sealed in the tables.
//!
//! Several processes share one database (an agent and commands; a second agent on PostgreSQL). Every write that changes
//! a device or an account makes a new generation, and [`Store::refresh`] reads what others changed since the last one.
//! A sighting changes nothing that a file depends on, and makes no generation.

mod account;
mod adopt;
mod alarm;
mod audit;
mod backup;
mod common;
mod condition;
mod contact;
mod db;
mod device;
mod dhcp;
mod error;
mod fetched;
mod firmware;
mod fresh;
mod import;
mod inventory;
mod key_file;
mod lease;
mod load;
mod mark;
mod plan;
mod push;
mod queue;
mod release;
mod restore;
mod rotate;
mod scan;
mod sheet;
mod sighting;
mod swap;
mod switch;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod timeline;
mod token;
mod vault;
mod write;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;
use tokio::sync::Mutex;

pub use account::NewAccount;
pub use alarm::AlarmRow;
pub use audit::{AuditFilter, AuditRow, Broken, Damage, Record, Verified};
pub use backup::{Backup, BackupHead, Saved};
pub use common::Owner;
pub use condition::{Answered, Condition, Earlier, Once, Versions};
pub use db::sqlite_file;
pub use device::{Approved, Give};
pub use dhcp::{DhcpServerRow, Gives, MetServer};
pub use error::StoreError;
pub use fetched::{FetchedFile, FetchedRow};
pub use import::ImportOptions;
pub use inventory::{Holding, Inventory, Token};
pub(crate) use key_file::give_to_owner;
pub use lease::{LeaseRow, LeaseState, Reservation};
pub use mark::{Mark, MarkFile, Rollback};
pub use plan::{Change, FieldChange, Plan, Tally, Verb};
pub use push::{PointRow, PointState};
pub use release::{Armed, Decided, Delivery, Refused, ReleaseRequest, Terms, wanted_by};
pub use restore::{Restore, Restored, restore};
pub use rotate::{KeyUse, Rotation, VaultKey};
pub use scan::{FoundRow, ScanRow, ScanState};
pub use sheet::{AccountRow, DeviceRow, Field, KeyRow, Place as RowPlace, Problem, Sheet};
pub use sighting::Seen;
pub use switch::{DhcpReport, SwitchRow, SwitchState, Switches};
pub use token::{ApiRefusal, ApiToken, Presented, Scope, TOKEN_LIFE_MAX};
pub use vault::{KeyOrigin, Keys, Vault, VaultError};

use crate::clock::{Clock, Entropy, Timestamp};
use crate::device::{Account, Device};
use crate::hex::hex;
use crate::release::{Rule, holds};
use crate::secret::{Secret, SecretKind};
use error::failed;
use fresh::{BOOTSTRAP, Mint, account_place, device_place};

/// The store. Cheap to clone; all clones share one inventory and one queue of writers.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Who acts, for the audit.
    actor: Arc<str>,
    /// Which agent, where one acts.
    agent: Option<Arc<str>>,
    /// Under which terms passwords are released.
    terms: Arc<Terms>,
    /// What must hold for the next write.
    condition: Option<Arc<Condition>>,
}

#[derive(Debug)]
struct Inner {
    db: db::Db,
    inventory: Inventory,
    mint: Mint,
    clock: Clock,
    /// Held by whoever writes, and by whoever reads another process's writes into memory.
    writer: Mutex<()>,
    adoptions: adopt::Queue,
    releases: release::Queue,
    leases: lease::Commits,
    strangers: sighting::Strangers,
    moments: timeline::Written,
    /// By which the database is told from every other; empty while one is restored.
    name: OnceLock<String>,
}

impl Store {
    /// Opens the database of `url`, brings its tables up to date, unlocks the vault and reads the inventory.
    pub async fn open(url: &str, vault: Vault, clock: Clock, entropy: Entropy) -> Result<Self, StoreError> {
        let db = db::Db::open(url).await?;
        let keys = unlock(&db, &vault, &entropy).await?;
        let name = name_database(&db, &entropy).await?;
        let store = Self::over(db, keys, clock, entropy);
        store.inner.name.get_or_init(|| name);
        store.reload().await?;
        store.adopt_grants().await?;
        Ok(store)
    }

    /// A store over an open database, with nothing in memory yet.
    fn over(db: db::Db, keys: Keys, clock: Clock, entropy: Entropy) -> Self {
        let inner = Inner {
            db,
            inventory: Inventory::default(),
            mint: Mint { keys, entropy },
            clock,
            writer: Mutex::new(()),
            adoptions: adopt::Queue::default(),
            releases: release::Queue::default(),
            leases: lease::Commits::default(),
            strangers: sighting::Strangers::default(),
            name: OnceLock::new(),
            moments: timeline::Written::default(),
        };
        Self {
            inner: Arc::new(inner),
            actor: "agent".into(),
            agent: None,
            terms: Arc::default(),
            condition: None,
        }
    }

    /// The same store, with this name in the audit of what is done through it.
    #[must_use]
    pub fn acting_as(&self, actor: &str) -> Self {
        Self { actor: actor.into(), ..self.clone() }
    }

    /// The same store in the hands of the agent of this name.
    #[must_use]
    pub fn in_agent(&self, name: &str) -> Self {
        Self { actor: "agent".into(), agent: Some(name.into()), ..self.clone() }
    }

    /// The inventory in memory.
    pub fn inventory(&self) -> &Inventory {
        &self.inner.inventory
    }

    /// The unlocked vault, for entity tags.
    pub fn keys(&self) -> &Keys {
        &self.inner.mint.keys
    }

    /// Reads what another process wrote; says whether there was anything. Costs one small query when there was not.
    pub async fn refresh(&self) -> Result<bool, StoreError> {
        let head = load::head(self.inner.db.reader()).await?;
        if head.generation == self.inventory().generation() {
            return Ok(false);
        }
        let _right = self.inner.writer.lock().await;
        let mut snapshot = self.inner.db.snapshot().await?;
        let head = load::head(&mut *snapshot).await?;
        self.catch_up(&mut snapshot, &head).await
    }

    /// Opens a secret of a device, from memory. `line` counts for a SIP password only; `prov` is the steady token.
    pub fn reveal(
        &self,
        device: &Device,
        kind: SecretKind,
        line: Option<u16>,
    ) -> Result<Option<Secret>, StoreError> {
        let keys = self.keys();
        if kind != SecretKind::Sip {
            let place = device_place(device.mac, kind.as_str());
            let sealed = device.secrets.get(&kind);
            return Ok(sealed.map(|sealed| keys.open(&place, None, sealed)).transpose()?);
        }
        let number = line.unwrap_or(1);
        let line = device.lines.iter().find(|line| line.number == number);
        line.map_or(Ok(None), |line| self.account_password(&line.account))
    }

    /// Opens the password of an account, wherever it is.
    pub fn account_password(&self, account: &Account) -> Result<Option<Secret>, StoreError> {
        let Some(sealed) = &account.password else { return Ok(None) };
        let place = account_place(account.id);
        Ok(Some(self.keys().open(&place, Some(account.password_version), sealed)?))
    }

    /// The token of the URL that a NOTIFY or a person hands out.
    pub fn bootstrap_token(&self, device: &Device) -> Result<Secret, StoreError> {
        let place = device_place(device.mac, BOOTSTRAP);
        Ok(self.keys().open(&place, None, &device.bootstrap_token)?)
    }

    /// Whether no other host can have this database.
    pub fn is_alone(&self) -> bool {
        self.inner.db.is_embedded()
    }

    /// Reads the whole database once for damage; an agent does so at start.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.inner.db.check().await
    }

    /// By what agents on one network know whether they share a database. Says nothing of what is in it.
    pub fn name(&self) -> String {
        let name = self.inner.name.get().map(String::as_str).unwrap_or_default();
        hex(Sha256::digest(name).get(..4).unwrap_or_default())
    }

    /// Closes every connection and waits until they are gone. Later questions to the database fail; memory stays.
    pub async fn close(&self) {
        self.inner.db.close().await;
    }

    async fn reload(&self) -> Result<(), StoreError> {
        let mut snapshot = self.inner.db.snapshot().await?;
        let head = load::head(&mut *snapshot).await?;
        self.follow_key(&head)?;
        let all = load::changed_after(&mut snapshot, load::BEGINNING).await?;
        self.replace_memory(&head, all);
        Ok(())
    }

    fn replace_memory(&self, head: &load::Head, mut all: inventory::Delta) {
        let boot = self.inner.clock.boot();
        if !holds(Rule::MomentIsKept) {
            release::rebase(&mut all, &boot, self.inner.clock.now());
        }
        let mut memory = self.inventory().write();
        *memory = memory.replaced_by(head.generation, all, &boot);
        memory.wall = memory.wall.max(Timestamp(head.wall_ms));
    }

    /// Brings memory to the generation of `head`. The caller has the right to write, so that nobody else does the same.
    async fn catch_up(&self, connection: &mut AnyConnection, head: &load::Head) -> Result<bool, StoreError> {
        let known = self.inventory().generation();
        if head.generation == known {
            return Ok(false);
        }
        // First: what cannot be opened stays out, and memory goes on with what it has.
        self.follow_key(head)?;
        // Rows that are gone leave no trace to follow, and a database put back from a backup is behind memory: then
        // everything is read anew.
        if head.removal > known || head.generation < known {
            let all = load::changed_after(connection, load::BEGINNING).await?;
            self.replace_memory(head, all);
        } else {
            let delta = load::changed_after(connection, known).await?;
            let boot = self.inner.clock.boot();
            let mut memory = self.inventory().write();
            memory.install(head.generation, delta, &boot);
            memory.wall = memory.wall.max(Timestamp(head.wall_ms));
        }
        Ok(true)
    }

    /// Everything may have been sealed with a new key since this process looked.
    fn follow_key(&self, head: &load::Head) -> Result<(), StoreError> {
        head.check.as_ref().map_or(Ok(()), |check| self.keys().follow(check)).map_err(StoreError::Vault)
    }
}

/// Whether an agent listens at this socket.
pub fn is_served(socket: &Path) -> bool {
    UnixDatagram::unbound().and_then(|probe| probe.connect(socket)).is_ok()
}

/// Tells the agent whose socket this is that something was written. No agent, no matter: it will read it at start.
pub fn poke(socket: &Path) {
    if let Ok(sender) = UnixDatagram::unbound() {
        // A full queue means that the agent has been told and not looked yet.
        let _ = sender.set_nonblocking(true);
        let _ = sender.send_to(b"written", socket);
    }
}

/// Unlocks the vault with the key that this database was sealed with. A new key is made for a new database only.
async fn unlock(db: &db::Db, vault: &Vault, entropy: &Entropy) -> Result<Keys, StoreError> {
    let sealed_before = load::head(db.reader()).await?.check;
    let keys = vault.unlock(sealed_before.as_ref(), entropy)?;
    if sealed_before.is_some() {
        return Ok(keys);
    }
    // Two processes may meet here; the first one's text stays, and both must open it.
    let mut transaction = db.begin().await?;
    sqlx::query("UPDATE head SET key_check = $1 WHERE id = 1 AND key_check IS NULL")
        .bind(keys.check(entropy)?.0)
        .execute(&mut *transaction)
        .await
        .map_err(failed("write the key's check"))?;
    transaction.commit().await.map_err(failed("write the key's check"))?;
    let damaged = || StoreError::Damaged("the key's check is gone".to_owned());
    keys.follow(&load::head(db.reader()).await?.check.ok_or_else(damaged)?)?;
    Ok(keys)
}

/// Gives a database that has none a name of its own, by which it is told from every other.
async fn name_database(db: &db::Db, entropy: &Entropy) -> Result<String, StoreError> {
    let name = database_name(db).await?;
    if !name.is_empty() {
        return Ok(name);
    }
    let mut transaction = db.begin().await?;
    sqlx::query("UPDATE head SET database_id = $1 WHERE id = 1 AND database_id = ''")
        .bind(hex(&entropy.bytes::<16>()?))
        .execute(&mut *transaction)
        .await
        .map_err(failed("name the database"))?;
    transaction.commit().await.map_err(failed("name the database"))?;
    // Another process may have been faster.
    database_name(db).await
}

async fn database_name(db: &db::Db) -> Result<String, StoreError> {
    let (name,): (String,) = sqlx::query_as("SELECT database_id FROM head WHERE id = $1")
        .bind(1_i64)
        .fetch_one(db.reader())
        .await
        .map_err(failed("read the database's name"))?;
    Ok(name)
}
