//! A new key for everything that is sealed. The key file holds both keys, durably, before the first value is sealed
//! with the new one; every value and the head's check change in one transaction; only then the old key is put aside.
//! Whoever is killed on the way leaves files and rows that fit each other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::Store;
use super::error::{StoreError, failed};
use super::fresh::{BOOTSTRAP, account_place, device_place};
use super::load;
use super::vault::{Found, Keys, Place, Sealer, VaultError};
use super::write::{Cell, Write, bind, placeholders};
use crate::clock::Entropy;
use crate::secret::{Sealed, SecretKind};

/// Rows of one UPDATE, for the reason that an INSERT has sixteen: SQLite finds a parameter by going through all.
const ROWS_MAX: usize = 16;
/// Where a sealed text names its key, for SQL: `1.0123abcd.…`.
const KEY_OF_VALUE: (&str, &str) = (
    "SELECT substr(sealed, 3, 8), COUNT(*) FROM device_secret GROUP BY 1",
    "SELECT substr(password, 3, 8), COUNT(*) FROM account WHERE password IS NOT NULL GROUP BY 1",
);

/// What a change of keys did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rotation {
    /// The name of the key before.
    pub from: String,
    /// The name of the key from now on.
    pub to: String,
    /// How many values were sealed with it.
    pub values: usize,
    /// Values that no key opens; they stay as they are, and want to be set again.
    pub broken: Vec<String>,
    /// Where the old keys lie now, for backups made before. Empty where they were forgotten, or were not in the file.
    pub kept: Vec<PathBuf>,
}

/// What a key is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUse {
    /// Seals.
    Current,
    /// Is given, and would seal after a change of keys.
    Next,
    /// Opens what was sealed before, or a backup.
    Old,
    /// Is nowhere: what was sealed with it cannot be opened.
    Missing,
}

/// A key as listings show it: never the key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VaultKey {
    /// Its name.
    pub id: String,
    /// What it is there for.
    pub state: KeyUse,
    /// `credential`, `file`, `retired` or `memory`; nothing for one that is missing.
    pub origin: Option<&'static str>,
    /// In which file.
    pub path: Option<PathBuf>,
    /// How many values of the database it opens.
    pub values: i64,
}

/// A table with sealed values. Another one would have its place here, and in [`Store::reseal`].
struct Table {
    name: &'static str,
    column: &'static str,
    /// What finds the row of `v`, whose second and third columns are a [`Value`]'s cells.
    finds: &'static str,
    cells: fn(&Place) -> Vec<Cell>,
}

const DEVICE_SECRET: Table = Table {
    name: "device_secret",
    column: "sealed",
    finds: "device_secret.mac = v.column2 AND device_secret.kind = v.column3",
    cells: |place| vec![Cell::text(place.row.as_str()), Cell::text(place.kind)],
};
const ACCOUNT: Table = Table {
    name: "account",
    column: "password",
    finds: "account.id = v.column2",
    cells: |place| vec![Cell::Number(place.row.parse().unwrap_or_default())],
};

/// A sealed value and where it stands.
struct Value {
    place: Place,
    sealed: Sealed,
}

/// What seals with the next key what the present ones open.
struct Anew {
    next: Arc<Sealer>,
    keys: Keys,
    entropy: Entropy,
}

impl Anew {
    /// The same value and version with the next key; `None` where no key opens it.
    fn seal(&self, value: &Value) -> Result<Option<Sealed>, StoreError> {
        match self.keys.open(&value.place, None, &value.sealed) {
            Ok(secret) => {
                let version = Keys::version_of(&value.sealed);
                Ok(Some(self.next.seal(&value.place, version, &secret, &self.entropy)?))
            }
            Err(VaultError::Broken(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Store {
    /// Puts the next key beside the present one, without using it: for agents on other hosts, which need it first.
    /// Gives back its name.
    pub async fn prepare_key(&self) -> Result<String, StoreError> {
        let _alone = self.keys().vault().lock()?;
        self.refresh().await?;
        Ok(self.next_key()?.key.id())
    }

    /// Seals every value with a new key, and puts the old one aside, or forgets it. `progress` hears how many of how
    /// many values are done.
    pub async fn rotate_key(
        &self,
        forget: bool,
        progress: &mut (dyn FnMut(usize, usize) + Send),
    ) -> Result<Rotation, StoreError> {
        let vault = self.keys().vault().clone();
        // From reading the key file until it is as it shall be, nobody else may change it.
        let _alone = vault.lock()?;
        let rotation = self.reseal(progress).await?;
        let kept = vault.tidy(&rotation.to, forget)?;
        Ok(Rotation { kept, ..rotation })
    }

    /// Everything but the last step: two keys are in the file afterwards, and one of them is used.
    pub(super) async fn reseal(
        &self,
        progress: &mut (dyn FnMut(usize, usize) + Send),
    ) -> Result<Rotation, StoreError> {
        self.refresh().await?;
        let before = self.keys().sealer()?;
        let anew = Anew {
            next: Arc::new(Sealer::new(&self.next_key()?)),
            keys: self.keys().clone(),
            entropy: self.inner.mint.entropy.clone(),
        };
        let Anew { next, entropy, .. } = &anew;
        let check = next.check(entropy)?;
        // While nobody waits: phones do as soon as the right to write is taken.
        let mut ready = self.seal_ahead(&anew).await?;

        let mut write = Write::begin(self).await?;
        if self.keys().id().as_deref() != Some(before.id()) {
            return Err(StoreError::Conflict("another process has just changed the key".to_owned()));
        }
        let connection = write.connection();
        let tables =
            [(DEVICE_SECRET, device_values(connection).await?), (ACCOUNT, account_values(connection).await?)];
        let total = tables.iter().map(|(_, values)| values.len()).sum();
        let (mut broken, mut done) = (Vec::new(), 0);
        for (table, values) in tables {
            for chunk in values.chunks(ROWS_MAX) {
                let mut rows = Vec::new();
                for value in chunk {
                    let sealed = match ready.remove(&value.sealed) {
                        Some(sealed) => Some(sealed),
                        None => anew.seal(value)?,
                    };
                    match sealed {
                        Some(sealed) => rows.push((value, sealed)),
                        None => broken.push(value.place.to_string()),
                    }
                }
                update(connection, &table, rows).await?;
                done += chunk.len();
                progress(done, total);
            }
        }
        // Their files stay as they are; what memory holds of them does not.
        for sql in ["UPDATE device SET changed = $1", "UPDATE account SET changed = $1"] {
            let generation = Cell::Number(write.generation);
            write.change("mark what was sealed anew", sql, [generation]).await?;
        }
        let cells = [Cell::Text(check.0.clone())];
        write.change("write the key's check", "UPDATE head SET key_check = $1 WHERE id = 1", cells).await?;
        let rotation = Rotation {
            from: before.id().to_owned(),
            to: next.id().to_owned(),
            values: total - broken.len(),
            broken,
            kept: Vec::new(),
        };
        let detail = json!({
            "from": rotation.from, "to": rotation.to, "values": rotation.values, "broken": rotation.broken.len(),
            "origin": next.origin().as_str(),
        });
        write.audit("key_rotated", None, &detail).await?;
        // What the commit itself seals, and whoever reads memory right after it, has the new key; if it fails, the next
        // write finds the old one in the head and follows it back.
        self.keys().learn(next);
        self.keys().follow(&check)?;
        write.commit().await?;
        Ok(rotation)
    }

    /// Every value as it is now, and the same sealed anew.
    async fn seal_ahead(&self, anew: &Anew) -> Result<HashMap<Sealed, Sealed>, StoreError> {
        let mut snapshot = self.inner.db.snapshot().await?;
        let mut values = device_values(&mut snapshot).await?;
        values.append(&mut account_values(&mut snapshot).await?);
        let mut ready = HashMap::with_capacity(values.len());
        for value in values {
            if let Some(sealed) = anew.seal(&value)? {
                ready.insert(value.sealed, sealed);
            }
        }
        Ok(ready)
    }

    /// Every key that is given or named by a value, and what it is there for.
    pub async fn vault_keys(&self) -> Result<Vec<VaultKey>, StoreError> {
        let mut snapshot = self.inner.db.snapshot().await?;
        let mut values = std::collections::BTreeMap::<String, i64>::new();
        for sql in [KEY_OF_VALUE.0, KEY_OF_VALUE.1] {
            let counted: Vec<(String, i64)> = sqlx::query_as(sql)
                .fetch_all(&mut *snapshot)
                .await
                .map_err(failed("count the sealed values"))?;
            for (id, count) in counted {
                *values.entry(id).or_default() += count;
            }
        }
        let check = load::head(&mut *snapshot).await?.check;
        let current = check.as_ref().and_then(Keys::key_of);
        let vault = self.keys().vault();
        let mut keys = Vec::new();
        let mut found = vault.find()?;
        let next = found.first().map(|first| first.key.id());
        found.extend(vault.find_retired()?);
        for found in found {
            let id = found.key.id();
            let state = match current {
                Some(current) if current == id => KeyUse::Current,
                Some(_) | None if next.as_ref() == Some(&id) => KeyUse::Next,
                Some(_) | None => KeyUse::Old,
            };
            keys.push(row(&found, state, values.remove(&id).unwrap_or(0)));
        }
        keys.extend(values.into_iter().map(|(id, values)| VaultKey {
            id,
            state: KeyUse::Missing,
            origin: None,
            path: None,
            values,
        }));
        Ok(keys)
    }

    /// The key that is given, and that a change of keys would use, where it is not the one that seals.
    pub fn waiting_key(&self) -> Result<Option<String>, StoreError> {
        let first = self.keys().vault().find()?.first().map(|first| first.key.id());
        Ok(first.filter(|first| self.keys().id().is_some_and(|current| current != *first)))
    }

    fn next_key(&self) -> Result<Found, StoreError> {
        let keys = self.keys();
        Ok(keys.vault().prepare(&*keys.sealer()?, &self.inner.mint.entropy)?)
    }
}

fn row(found: &Found, state: KeyUse, values: i64) -> VaultKey {
    let path = found.origin.path().map(ToOwned::to_owned);
    VaultKey { id: found.key.id(), state, origin: Some(found.origin.as_str()), path, values }
}

async fn device_values(connection: &mut AnyConnection) -> Result<Vec<Value>, StoreError> {
    let rows: Vec<(String, String, String)> = sqlx::query_as("SELECT mac, kind, sealed FROM device_secret")
        .fetch_all(connection)
        .await
        .map_err(failed("read the devices' secrets"))?;
    let value = |(mac, kind, sealed): (String, String, String)| {
        let kind = if kind == BOOTSTRAP {
            BOOTSTRAP
        } else {
            load::parse::<SecretKind>(&kind, "device_secret.kind")?.as_str()
        };
        let place = device_place(load::parse(&mac, "device_secret.mac")?, kind);
        Ok(Value { place, sealed: Sealed(sealed) })
    };
    rows.into_iter().map(value).collect()
}

async fn account_values(connection: &mut AnyConnection) -> Result<Vec<Value>, StoreError> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, password FROM account WHERE password IS NOT NULL")
            .fetch_all(connection)
            .await
            .map_err(failed("read the accounts"))?;
    let value = |(id, sealed)| Value { place: account_place(id), sealed: Sealed(sealed) };
    Ok(rows.into_iter().map(value).collect())
}

/// Writes the new texts of a few rows.
async fn update(
    connection: &mut AnyConnection,
    table: &Table,
    rows: Vec<(&Value, Sealed)>,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(value, sealed)| {
            std::iter::once(Cell::Text(sealed.0)).chain((table.cells)(&value.place)).collect()
        })
        .collect();
    let places = placeholders(rows.len(), rows.first().map_or(0, Vec::len));
    let Table { name, column, finds, .. } = table;
    // Only names from this program's text and numbers go in; every value is bound.
    let sql = AssertSqlSafe(format!(
        "UPDATE {name} SET {column} = v.column1 FROM (VALUES {places}) AS v WHERE {finds}"
    ));
    bind(sqlx::query(sql), rows.into_iter().flatten())
        .execute(connection)
        .await
        .map_err(failed("write what was sealed anew"))?;
    Ok(())
}
