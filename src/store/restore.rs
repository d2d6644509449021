//! A backup becomes the database again. Nothing is touched before the backup was read to its end and its key was found;
//! what was there before is kept aside; and whatever a phone could still have fetched is locked, because nobody knows
//! which passwords have left since the backup was made.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::AnyConnection;

use super::backup::{self, Backup, BackupHead, Line, PROGRESS_ROWS, Reader};
use super::db::{self, Db, Table};
use super::error::{StoreError, failed};
use super::vault::{Found, Key, KeyOrigin, Keys, Sealer, Vault};
use super::write::{Cell, Write, insert_rows};
use super::{Store, key_file, swap};
use crate::alarm::{Alarm, AlarmKind, Counted};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::device::Mac;
use crate::hex::hex;

/// Rows that are read before they are written together.
const ROWS_AT_ONCE: usize = 512;

/// Where a backup goes.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The database's URL.
    pub url: String,
    /// Where the key is looked for.
    pub vault: Vault,
    /// A file with the backup's key, where it is not where keys are looked for; it is put there.
    pub key: Option<PathBuf>,
    /// Where the replaced contents of a PostgreSQL are kept; an SQLite file stays beside the new one.
    pub aside: PathBuf,
    /// Who does it, for the audit.
    pub actor: String,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup's first line says.
    pub head: BackupHead,
    /// Rows of all tables.
    pub rows: u64,
    /// Passwords that could leave when the backup was made, and that may not now.
    pub locked: u64,
    /// Where the replaced database, or a backup of it, lies.
    pub replaced: Option<PathBuf>,
}

/// Replaces the database by what the backup holds. The caller has made sure that no agent runs on it.
pub async fn restore(
    options: &Restore,
    backup: &Backup,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Restored, StoreError> {
    let keys = unlock(options, backup)?;
    let now = options.clock.now();
    let Some(file) = db::sqlite_file(&options.url) else {
        let db = Db::open(&options.url).await?;
        let replaced = save_aside(&db, options, now).await?;
        let locked = fill(&db, keys, options, backup, progress).await?;
        db.close().await;
        return Ok(Restored { head: backup.head.clone(), rows: backup.rows, locked, replaced });
    };
    let draft = swap::draft(&file)?;
    let url = format!("sqlite:{}", draft.display());
    let db = Db::open(&url).await?;
    let filled = fill(&db, keys, options, backup, progress).await;
    db.close().await;
    let exchanged = match filled {
        Ok(locked) => {
            let replaced = swap::exchange(&file, &draft, &aside(&file, now)).await;
            replaced.map(|replaced| (locked, replaced))
        }
        Err(error) => Err(error),
    };
    if exchanged.is_err() {
        swap::discard(&draft);
    }
    let (locked, replaced) = exchanged?;
    Ok(Restored { head: backup.head.clone(), rows: backup.rows, locked, replaced })
}

/// Finds the key that opens the backup, and puts it where it will be found again.
fn unlock(options: &Restore, backup: &Backup) -> Result<Keys, StoreError> {
    let check = backup.check();
    let mut brought = backup.keys.clone();
    if let Some(file) = &options.key {
        brought.extend(key_file::read_copy(file)?);
    }
    let opens =
        |key: &Key| Sealer::new(&Found { key: key.clone(), origin: KeyOrigin::Memory }).recognises(&check);
    let vault = options.vault.clone();
    let here = vault.sealer_of(&check);
    let sealer = match (here, brought.iter().find(|key| opens(key))) {
        (Ok(sealer), _) => sealer,
        (Err(_), Some(key)) => {
            vault.install(key, &options.entropy)?;
            vault.sealer_of(&check)?
        }
        (Err(error), None) => return Err(error.into()),
    };
    Ok(Keys::new(vault, sealer))
}

/// `offhook.db.replaced-20261123T014300.000Z`, a name that nothing has.
fn aside(file: &Path, now: Timestamp) -> PathBuf {
    let stamp: String = now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let named = |suffix: String| {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".replaced-{stamp}{suffix}"));
        PathBuf::from(name)
    };
    let first = std::iter::once(named(String::new()));
    let mut free = first.chain((2_u32..).map(|number| named(format!("-{number}"))));
    free.find(|name| !name.exists()).unwrap_or_default()
}

/// What a PostgreSQL holds now, as a backup of its own.
async fn save_aside(db: &Db, options: &Restore, now: Timestamp) -> Result<Option<PathBuf>, StoreError> {
    if super::load::head(db.reader()).await?.check.is_none() {
        return Ok(None);
    }
    let file = aside(&options.aside.join("offhook.backup"), now);
    key_file::create_folder(&options.aside)
        .map_err(|error| StoreError::file("keep the replaced database in", &options.aside, error))?;
    backup::save(db, &file, None, now, &options.entropy, &mut |_, _| {}).await?;
    Ok(Some(file))
}

/// Empties the database and fills it from the backup, in one transaction. Gives back how many passwords were locked.
async fn fill(
    db: &Db,
    keys: Keys,
    options: &Restore,
    backup: &Backup,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<u64, StoreError> {
    let store = Store::over(db.clone(), keys, options.clock.clone(), options.entropy.clone());
    let store = store.acting_as(&options.actor);
    let right = store.inner.writer.lock().await;
    let mut transaction = db.begin().await?;
    let before = super::load::head(&mut *transaction).await?.generation;
    db::make_anew(&mut transaction, db.is_postgres(), backup.head.schema).await?;
    insert(&mut transaction, db.is_postgres(), backup, progress).await?;
    db::migrate_within(&mut transaction, None).await?;
    be_another(&mut transaction, before, &options.entropy).await?;
    let mut write = Write::over(&store, right, transaction).await?;
    // A backup from before there were grants gets them here, so that they are locked too.
    let without = store.without_grants();
    write.reconcile(&without).await?;
    let detail = json!({ "made": backup.head.at, "key": backup.head.key, "rows": backup.rows });
    write.audit("restored", None, &detail).await?;
    let text = format!("the backup of {} was restored, and every password was locked", backup.head.at);
    let alarm = Alarm { kind: AlarmKind::Rollback, mac: None, peer: None, text };
    Store::record_alarms_with(&mut write, &[Counted { alarm, seen: 1 }]).await?;
    let macs: Vec<Mac> = without.iter().map(|device| device.mac).collect();
    let locked = store.lock_restored_with(write, &macs).await?;
    Ok(locked.iter().flat_map(|(_, changes)| changes).map(|change| change.ids.len() as u64).sum())
}

async fn insert(
    connection: &mut AnyConnection,
    postgres: bool,
    backup: &Backup,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(), StoreError> {
    let tables = db::tables(connection, postgres).await?;
    let mut reader = Reader::open(&backup.file)?;
    let mut into = String::new();
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    let mut done = 0;
    loop {
        let line = reader.next_line()?;
        let full = rows.len() >= ROWS_AT_ONCE;
        if full || !matches!(line, Some(Line::Row(_))) {
            insert_rows(connection, "fill the tables", &into, std::mem::take(&mut rows), "").await?;
        }
        match line {
            None => break,
            Some(Line::Table { name, columns: names }) => {
                let unknown = || reader.damaged("it has a table or a column that this version does not know");
                let table = tables.iter().find(|table| table.name == name).ok_or_else(unknown)?;
                columns = named(table, &names).ok_or_else(unknown)?;
                into = format!("{} ({})", table.name, names.join(", "));
            }
            Some(Line::Row(values)) => {
                let row = cells(values, &columns);
                rows.push(row.ok_or_else(|| reader.damaged("a row does not fit its table"))?);
                done += 1;
                if done % PROGRESS_ROWS == 0 {
                    progress(done, backup.rows);
                }
            }
        }
    }
    progress(done, backup.rows);
    Ok(())
}

/// Whether each of these columns of the table is a number; `None` if there is none of that name.
fn named(table: &Table, names: &[String]) -> Option<Vec<bool>> {
    let known = |name: &String| table.columns.iter().find(|column| column.name == *name);
    names.iter().map(|name| known(name).map(|column| column.number)).collect()
}

fn cells(values: Vec<Value>, columns: &[bool]) -> Option<Vec<Cell>> {
    if values.len() != columns.len() {
        return None;
    }
    let cell = |(value, number): (Value, &bool)| match (value, *number) {
        (Value::Null, true) => Some(Cell::MaybeNumber(None)),
        (Value::Null, false) => Some(Cell::Maybe(None)),
        (Value::Number(value), true) => value.as_i64().map(Cell::Number),
        (Value::String(value), false) => Some(Cell::Text(value)),
        (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_), _) => {
            None
        }
    };
    values.into_iter().zip(columns).map(cell).collect()
}

/// Makes a generation that nobody has seen, before which things were removed: whoever follows this database reads
/// everything anew. And a name that no agent has a mark of: that rows of the audit are gone is known, and written down.
async fn be_another(
    connection: &mut AnyConnection,
    before: i64,
    entropy: &Entropy,
) -> Result<(), StoreError> {
    let (restored,): (i64,) = sqlx::query_as("SELECT generation FROM head WHERE id = 1")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed("read the generation"))?;
    sqlx::query("UPDATE head SET generation = $1, removal = $1, database_id = $2 WHERE id = 1")
        .bind(restored.max(before) + 1)
        .bind(hex(&entropy.bytes::<16>()?))
        .execute(connection)
        .await
        .map_err(failed("write the generation"))?;
    Ok(())
}
