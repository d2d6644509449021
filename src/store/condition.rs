//! Conditions that a caller sets to its next write: that it is done once, however often it is asked for, and only while
//! the device is as the caller saw it. Both are looked at inside the transaction, so that they hold whoever else writes,
//! in this process or another.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;

use super::Store;
use super::error::{StoreError, failed};
use super::write::{Cell, Write, insert_rows};
use crate::clock::Timestamp;
use crate::device::Mac;
use crate::hex::hex;
use crate::release::{Grants, State};

/// How long a key is remembered: clients try again within minutes, and a day covers a night's outage.
const REMEMBERED: Duration = Duration::from_hours(24);
/// What every question here does, for its error.
const READ: &str = "look for an earlier request";
const REMEMBER: &str = "remember the answer";

/// What must hold for a write to be done.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// It was not done before.
    pub once: Option<Once>,
    /// The device is there, in one of these versions.
    pub unchanged: Option<(Mac, Versions)>,
}

/// Versions of a device ([`Store::version_of`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// Whichever it has.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

impl Versions {
    fn have(&self, version: &String) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.contains(version),
        }
    }
}

/// A deed that is to be done once. Two with one key are the same deed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    token: String,
    key: String,
    request: String,
}

/// An answer that was given: its status and its body.
pub type Answered = (u16, String);

/// A deed that was done before; its answer, unless the process ended before there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier(pub Option<Answered>);

impl Once {
    /// The deed that the holder of `token` names `key`. `request` is everything that was asked for.
    pub fn new(token: &str, key: &[u8], request: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for part in request {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self { token: token.to_owned(), key: hex(&Sha256::digest(key)), request: hex(&digest.finalize()) }
    }
}

impl Store {
    /// The same store, whose next write is done under this condition. It fails with [`StoreError::Repeated`],
    /// [`StoreError::KeyReused`] or [`StoreError::Changed`] where that does not hold.
    #[must_use]
    pub fn on_condition(&self, condition: Condition) -> Self {
        Self { condition: Some(condition.into()), ..self.clone() }
    }

    /// The same store without a condition: for what follows from a deed.
    #[must_use]
    pub fn unconditionally(&self) -> Self {
        Self { condition: None, ..self.clone() }
    }

    /// Whether this was done before, within a day; memory has then what came of it.
    pub async fn done_before(&self, once: &Once) -> Result<Option<Earlier>, StoreError> {
        let mut connection = self.inner.db.reader().acquire().await.map_err(failed(READ))?;
        let earlier = find(&mut connection, once, self.release_now().wall).await?;
        drop(connection);
        if earlier.is_some() {
            self.refresh().await?;
        }
        Ok(earlier)
    }

    /// Keeps the answer to a deed for whoever asks for it again. The first answer stays.
    pub async fn remember(&self, once: &Once, (status, body): &Answered) -> Result<(), StoreError> {
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        let row = vec![
            Cell::text(once.token.as_str()),
            Cell::text(once.key.as_str()),
            Cell::text(once.request.as_str()),
            Cell::Number(self.release_now().wall.0),
            Cell::Number((*status).into()),
            Cell::text(body.as_str()),
        ];
        let columns = "api_deed (token, key, request, at_ms, status, answer)";
        let keep = "ON CONFLICT (token, key) DO UPDATE SET status = excluded.status, answer = excluded.answer \
                    WHERE api_deed.status IS NULL AND api_deed.request = excluded.request";
        insert_rows(&mut transaction, REMEMBER, columns, vec![row], keep).await?;
        transaction.commit().await.map_err(failed(REMEMBER))
    }

    /// Tells one state of a device from every other: of what its files depend on, and of its passwords. Where it was seen
    /// is not in it.
    pub fn version_of(&self, mac: Mac) -> Option<String> {
        let device = self.inventory().device(mac)?;
        let mut grants = self.inventory().grants(mac).as_deref().cloned().unwrap_or_default();
        grants.expire(&self.release_now());
        let text = format!("{} {}", device.revision, described(&grants));
        Some(hex(Sha256::digest(text).get(..8).unwrap_or_default()))
    }
}

fn described(grants: &Grants) -> String {
    let one = |grant: &crate::release::Grant| {
        let reason = match grant.state {
            State::Locked(reason) => reason.as_str(),
            State::Staged { .. } | State::Open(_) => "",
        };
        let (state, delivered) = (grant.state.as_str(), grant.delivered.unwrap_or(-1));
        format!("{:?} {state} {reason} {} {} {delivered}", grant.id, grant.epoch, grant.version)
    };
    grants.grants.iter().map(one).collect::<Vec<_>>().join(";")
}

/// Whether the condition holds, as this transaction sees it. Memory is as new as the transaction.
pub(super) async fn hold(
    store: &Store,
    condition: &Condition,
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(once) = &condition.once
        && find(connection, once, now).await?.is_some()
    {
        return Err(StoreError::Repeated);
    }
    match &condition.unchanged {
        None => Ok(()),
        Some((mac, versions)) if store.version_of(*mac).is_some_and(|now| versions.have(&now)) => Ok(()),
        Some((mac, _)) => Err(StoreError::Changed(*mac)),
    }
}

/// Writes down that the deed is done, in the transaction that does it. A row that had its day is another deed's.
pub(super) async fn note(
    condition: &Condition,
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(once) = &condition.once else { return Ok(()) };
    let row = vec![
        Cell::text(once.token.as_str()),
        Cell::text(once.key.as_str()),
        Cell::text(once.request.as_str()),
        Cell::Number(now.0),
    ];
    let columns = "api_deed (token, key, request, at_ms)";
    let anew = "ON CONFLICT (token, key) DO UPDATE SET request = excluded.request, at_ms = excluded.at_ms, \
                status = NULL, answer = NULL";
    insert_rows(connection, "write down the request", columns, vec![row], anew).await
}

async fn find(
    connection: &mut AnyConnection,
    once: &Once,
    now: Timestamp,
) -> Result<Option<Earlier>, StoreError> {
    let row: Option<(String, Option<i64>, Option<String>)> = sqlx::query_as(
        "SELECT request, status, answer FROM api_deed WHERE token = $1 AND key = $2 AND at_ms > $3",
    )
    .bind(once.token.as_str())
    .bind(once.key.as_str())
    .bind(now.minus(REMEMBERED).0)
    .fetch_optional(connection)
    .await
    .map_err(failed(READ))?;
    let Some((request, status, answer)) = row else { return Ok(None) };
    if request != once.request {
        return Err(StoreError::KeyReused);
    }
    let status = status.and_then(|status| u16::try_from(status).ok());
    Ok(Some(Earlier(status.zip(answer))))
}

/// Forgets requests that have had their day.
pub(super) async fn prune(write: &mut Write<'_>) -> Result<(), StoreError> {
    let before = write.wall.minus(REMEMBERED).0;
    sqlx::query("DELETE FROM api_deed WHERE at_ms <= $1")
        .bind(before)
        .execute(write.connection())
        .await
        .map_err(failed("forget old requests"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
