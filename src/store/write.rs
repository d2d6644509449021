//! One write: it holds the process's right to write and the database's head row, stamps what it changes with the next
//! generation, and puts into memory what it has committed. Dropped without a commit, it has changed nothing.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, Transaction};
use tokio::sync::MutexGuard;

use super::audit::chain::{self, Chain, Deed};
use super::error::{StoreError, failed};
use super::inventory::{Delta, Entry};
use super::{Store, condition, load};
use crate::clock::{BootInstant, Timestamp};
use crate::device::{Device, Mac};
use crate::hex::hex;
use crate::release::Grants;
use crate::secret::{Sealed, SecretKind};

/// Values in one INSERT: enough to make its overhead small.
const CELLS_MAX: usize = 1_600;
/// Rows of the audit that a write keeps in memory before it stores them.
const AUDIT_PENDING_MAX: usize = 1_024;

/// A write that has begun.
pub(super) struct Write<'s> {
    transaction: Transaction<'static, Any>,
    pub(super) store: &'s Store,
    /// The generation that this write makes, if it changes anything.
    pub(super) generation: i64,
    /// When it began.
    pub(super) now: Timestamp,
    /// The same on the boot clock.
    pub(super) boot: BootInstant,
    /// The same on the wall clock that never goes back; on PostgreSQL the server's, which all agents share.
    pub(super) wall: Timestamp,
    chain: Chain,
    /// What the grants of devices will be after the commit.
    grants: HashMap<Mac, Arc<Grants>>,
    removal: i64,
    next_id: i64,
    changes: bool,
    removed_devices: Vec<Mac>,
    removed_accounts: Vec<i64>,
    _right: MutexGuard<'s, ()>,
}

/// One value of a row.
pub(super) enum Cell {
    Number(i64),
    Text(String),
    Maybe(Option<String>),
    MaybeNumber(Option<i64>),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl<'s> Write<'s> {
    /// Waits for the right to write, and reads what another process wrote meanwhile.
    pub(super) async fn begin(store: &'s Store) -> Result<Self, StoreError> {
        let right = store.inner.writer.lock().await;
        Self::begin_with(store, right).await
    }

    /// The same for whoever has the right already.
    pub(super) async fn begin_with(store: &'s Store, right: MutexGuard<'s, ()>) -> Result<Self, StoreError> {
        let transaction = store.inner.db.begin().await?;
        Self::over(store, right, transaction).await
    }

    /// The same over a transaction that has begun.
    pub(super) async fn over(
        store: &'s Store,
        right: MutexGuard<'s, ()>,
        mut transaction: Transaction<'static, Any>,
    ) -> Result<Self, StoreError> {
        // Changes nothing, but locks the row on PostgreSQL: from here on everything that is read is the latest.
        let head = sqlx::query(
            "UPDATE head SET next_id = next_id WHERE id = $1 \
             RETURNING generation, removal, next_id, key_check, audit_seq, audit_hash, wall_ms",
        )
        .bind(1_i64)
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed("lock the inventory"))?;
        let number = |name: &str| head.try_get::<i64, _>(name).map_err(failed("lock the inventory"));
        let text = |name: &str| head.try_get::<Option<String>, _>(name).map_err(failed("lock the inventory"));
        let (generation, removal, wall_ms) = (number("generation")?, number("removal")?, number("wall_ms")?);
        let (next_id, audit_seq) = (number("next_id")?, number("audit_seq")?);
        let (check, audit_hash) = (text("key_check")?.map(Sealed), text("audit_hash")?.unwrap_or_default());
        let head = load::Head { generation, removal, wall_ms, check };
        store.follow_key(&head)?;
        store.catch_up(&mut transaction, &head).await?;
        let wall = store.inner.db.wall(&mut transaction, &store.inner.clock).await?.max(Timestamp(wall_ms));
        if let Some(condition) = &store.condition {
            condition::hold(store, condition, &mut transaction, wall).await?;
        }
        Ok(Self {
            transaction,
            store,
            generation: generation + 1,
            now: store.inner.clock.now(),
            boot: store.inner.clock.boot(),
            wall,
            grants: HashMap::new(),
            chain: Chain::new(audit_seq, audit_hash),
            removal,
            next_id,
            changes: false,
            removed_devices: Vec::new(),
            removed_accounts: Vec::new(),
            _right: right,
        })
    }

    /// The connection, for a statement of one's own.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// A number that no row of this database ever had.
    pub(super) fn next_id(&mut self) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Runs one statement that changes devices or accounts.
    pub(super) async fn change(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        cells: impl IntoIterator<Item = Cell>,
    ) -> Result<u64, StoreError> {
        self.changes = true;
        let query = bind(sqlx::query(sql), cells);
        let done = query.execute(&mut *self.transaction).await.map_err(failed(operation))?;
        Ok(done.rows_affected())
    }

    /// Inserts many rows with few statements. `into` is `table (column, column)`, `rest` a conflict clause or nothing.
    pub(super) async fn insert(
        &mut self,
        operation: &'static str,
        into: &'static str,
        rows: Vec<Vec<Cell>>,
        rest: &'static str,
    ) -> Result<(), StoreError> {
        self.changes |= !rows.is_empty();
        insert_rows(&mut self.transaction, operation, into, rows, rest).await
    }

    /// Writes new devices with their secrets and lines.
    pub(super) async fn insert_devices(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let generation = self.generation;
        let rows = entries.iter().map(|entry| device_row(entry, generation)).collect();
        self.insert(
            "add the device",
            "device (mac, vendor, model, firmware, approval, way, gigaset_id, created_ms, revision, changed)",
            rows,
            "",
        )
        .await?;
        let rows = entries.iter().flat_map(secret_rows).collect();
        self.insert(
            "add the device's secrets",
            "device_secret (mac, kind, version, sealed, digest)",
            rows,
            "",
        )
        .await?;
        let rows = entries.iter().flat_map(|entry| {
            let mac = load::key(entry.device.mac);
            entry.device.lines.iter().map(move |line| line_row(&mac, line.number, line.account.id))
        });
        let rows = rows.collect();
        self.insert("add the device's lines", "line (mac, number, account_id)", rows, "").await
    }

    /// Marks a device as changed, and its files with it.
    pub(super) async fn stamp(&mut self, mac: Mac) -> Result<(), StoreError> {
        let cells = [Cell::Number(self.generation), Cell::Text(load::key(mac))];
        self.change("mark the device", "UPDATE device SET revision = $1, changed = $1 WHERE mac = $2", cells)
            .await?;
        Ok(())
    }

    /// Removes a device with all that is its own; its accounts are the pool's then.
    pub(super) async fn remove_device(&mut self, mac: Mac) -> Result<(), StoreError> {
        self.change("remove the device", "DELETE FROM device WHERE mac = $1", [Cell::Text(load::key(mac))])
            .await?;
        self.removed_devices.push(mac);
        Ok(())
    }

    /// Removes an account and takes it from its device.
    pub(super) async fn remove_account(&mut self, id: i64) -> Result<(), StoreError> {
        self.change("remove the account", "DELETE FROM account WHERE id = $1", [Cell::Number(id)]).await?;
        self.removed_accounts.push(id);
        Ok(())
    }

    /// Writes down who did what, in the same transaction. `detail` never holds a secret.
    pub(super) async fn audit(
        &mut self,
        event: &'static str,
        mac: Option<Mac>,
        detail: &serde_json::Value,
    ) -> Result<(), StoreError> {
        self.append(event, mac, (None, None), detail).await
    }

    /// The same about an act of arming, or about one release in it.
    pub(super) async fn audit_release(
        &mut self,
        event: &'static str,
        mac: Mac,
        epoch: i64,
        release_id: Option<&str>,
        detail: &serde_json::Value,
    ) -> Result<(), StoreError> {
        self.append(event, Some(mac), (Some(epoch), release_id), detail).await
    }

    /// Rows are stored together at the commit: a group commit of hundreds of phones has as many of them.
    async fn append(
        &mut self,
        event: &'static str,
        mac: Option<Mac>,
        (epoch, release_id): (Option<i64>, Option<&str>),
        detail: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let agent = self.store.agent.as_deref();
        let actor = self.store.actor.as_ref();
        let (at, boot) = (self.now, &self.boot);
        self.chain.append(&Deed { at, boot, agent, actor, event, mac, epoch, release_id, detail });
        if self.chain.pending() >= AUDIT_PENDING_MAX {
            self.store_audit().await?;
        }
        Ok(())
    }

    async fn store_audit(&mut self) -> Result<(), StoreError> {
        let rows = self.chain.take();
        insert_rows(&mut self.transaction, "write the audit", chain::COLUMNS, rows, "").await
    }

    /// The grants of a device, as this write leaves them; none of one that it removes, also where another takes its place.
    pub(super) fn grants_of(&self, mac: Mac) -> Arc<Grants> {
        let pending = self.grants.get(&mac).cloned();
        let stays = || !self.removed_devices.contains(&mac);
        let before = || self.store.inventory().grants(mac).filter(|_| stays());
        pending.or_else(before).unwrap_or_default()
    }

    /// What the grants of a device will be; their rows are the caller's.
    pub(super) fn put_grants(&mut self, mac: Mac, grants: Grants) {
        self.grants.insert(mac, Arc::new(grants));
    }

    /// Commits, and reads back into memory what was changed.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let mut delta = Delta::default();
        if self.changes {
            delta = load::changed_after(&mut self.transaction, self.generation - 1).await?;
        }
        self.commit_with(delta).await
    }

    /// Commits, and puts `delta`, which is exactly what was changed, into memory.
    pub(super) async fn commit_with(mut self, mut delta: Delta) -> Result<(), StoreError> {
        let devices: Vec<Arc<Device>> = delta.devices.iter().map(|entry| Arc::clone(&entry.device)).collect();
        if !devices.is_empty() && self.reconcile(&devices).await? {
            // A bootstrap token was renewed with its password; the device is read as it is now.
            delta = load::changed_after(&mut self.transaction, self.generation - 1).await?;
        }
        delta.grants = std::mem::take(&mut self.grants).into_iter().collect();
        self.store_audit().await?;
        if let Some(condition) = &self.store.condition {
            condition::note(condition, &mut self.transaction, self.wall).await?;
        }
        let removed = !self.removed_devices.is_empty() || !self.removed_accounts.is_empty();
        let removal = if removed { self.generation } else { self.removal };
        let generation = if self.changes { self.generation } else { self.generation - 1 };
        sqlx::query(
            "UPDATE head SET generation = $1, removal = $2, next_id = $3, audit_seq = $4, audit_hash = $5, \
             wall_ms = $6 WHERE id = 1",
        )
        .bind(generation)
        .bind(removal)
        .bind(self.next_id)
        .bind(self.chain.seq)
        .bind(self.chain.hash.as_str())
        .bind(self.wall.0)
        .execute(&mut *self.transaction)
        .await
        .map_err(failed("write the generation"))?;
        self.transaction.commit().await.map_err(failed("commit"))?;
        if self.changes {
            let boot = self.boot.clone();
            let mut state = self.store.inner.inventory.write();
            state.wall = self.wall;
            for mac in self.removed_devices {
                state.remove_device(mac);
            }
            for id in self.removed_accounts {
                state.forget_account(id);
            }
            state.install(self.generation, delta, &boot);
        }
        Ok(())
    }
}

/// Inserts rows of equal length, several at a time.
pub(super) async fn insert_rows(
    connection: &mut AnyConnection,
    operation: &'static str,
    into: &str,
    rows: Vec<Vec<Cell>>,
    rest: &'static str,
) -> Result<(), StoreError> {
    let columns = rows.first().map_or(1, Vec::len);
    let most = (CELLS_MAX / columns).max(1);
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        // A power of two: the few texts that there are of a statement stay prepared.
        let taken = 1 << rows.len().min(most).ilog2();
        let chunk: Vec<Vec<Cell>> = rows.by_ref().take(taken).collect();
        let places = if connection.backend_name() == "SQLite" {
            unnamed(chunk.len(), columns)
        } else {
            placeholders(chunk.len(), columns)
        };
        // Only names from this program's text and numbers go in; every value is bound.
        let sql = AssertSqlSafe(format!("INSERT INTO {into} VALUES {places} {rest}"));
        bind(sqlx::query(sql), chunk.into_iter().flatten())
            .execute(&mut *connection)
            .await
            .map_err(failed(operation))?;
    }
    Ok(())
}

/// `(?, ?), (?, ?)`: the same places for SQLite alone, which finds a place's name by going through all of them, once per
/// place.
fn unnamed(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row.as_str(); rows].join(", ")
}

/// `($1, $2), ($3, $4)`: the places of `rows` rows.
pub(super) fn placeholders(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> =
            (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Binds the values of a statement, in their order.
pub(super) fn bind(
    mut query: Query<'_, Any, AnyArguments>,
    cells: impl IntoIterator<Item = Cell>,
) -> Query<'_, Any, AnyArguments> {
    for cell in cells {
        query = match cell {
            Cell::Number(number) => query.bind(number),
            Cell::Text(text) => query.bind(text),
            Cell::Maybe(text) => query.bind(text),
            Cell::MaybeNumber(number) => query.bind(number),
        };
    }
    query
}

fn device_row(entry: &Entry, generation: i64) -> Vec<Cell> {
    let device = &entry.device;
    vec![
        Cell::Text(load::key(device.mac)),
        Cell::Maybe(device.vendor.as_ref().map(|vendor| vendor.as_str().to_owned())),
        Cell::Maybe(device.model.clone()),
        Cell::Maybe(device.firmware.clone()),
        Cell::text(device.approval.as_str()),
        Cell::Maybe(device.way.map(|way| way.as_str().to_owned())),
        Cell::Maybe(device.gigaset_id.clone()),
        Cell::Number(device.created_at.0),
        Cell::Number(generation),
        Cell::Number(generation),
    ]
}

fn secret_rows(entry: &Entry) -> Vec<Vec<Cell>> {
    let mac = load::key(entry.device.mac);
    let [bootstrap, steady] = entry.digests.map(|digest| hex(&digest));
    let row = |kind: &str, sealed: &Sealed, digest: Option<String>| {
        vec![
            Cell::text(mac.clone()),
            Cell::text(kind),
            Cell::Number(1),
            Cell::text(sealed.0.clone()),
            Cell::Maybe(digest),
        ]
    };
    let secrets = entry.device.secrets.iter().map(|(kind, sealed)| {
        let digest = (*kind == SecretKind::Prov).then(|| steady.clone());
        row(kind.as_str(), sealed, digest)
    });
    let first = row(super::fresh::BOOTSTRAP, &entry.device.bootstrap_token, Some(bootstrap));
    std::iter::once(first).chain(secrets).collect()
}

/// A row of `line (mac, number, account_id)`.
pub(super) fn line_row(mac: &str, number: u16, account: i64) -> Vec<Cell> {
    vec![Cell::text(mac), Cell::Number(number.into()), Cell::Number(account)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_through() {
        assert_eq!(placeholders(2, 2), "($1, $2), ($3, $4)");
        assert_eq!(unnamed(2, 2), "(?, ?), (?, ?)");
    }
}
