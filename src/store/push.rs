//! What was told to phones while they ran, what they made of it, and how far each has come that is being pointed here.

use serde_json::Value;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::error::{StoreError, failed};
use super::write::{Cell, Write, insert_rows};
use super::{Store, load};
use crate::clock::Timestamp;
use crate::device::{Mac, Sighting};

/// So long a row is kept behind its last change: the tries of passwords that it counts are of no use any longer, and whoever
/// was not pointed by then is found by a new scan.
const KEPT_MS: i64 = 30 * 24 * 3_600 * 1_000;
/// A run that was killed longer ago is not gone on with: the phones may be gone.
const RESUMED_WITHIN_MS: i64 = 24 * 3_600 * 1_000;
const READ: &str = "read who is being pointed";
const WRITE: &str = "write who is being pointed";

/// How far a phone has come that is being pointed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointState {
    /// It was chosen.
    Queued,
    /// Something was sent to it.
    Running,
    /// It was told all, and is awaited.
    Told,
    /// It came.
    Came,
    /// It refused, could not be told, or is awaited no longer.
    Refused,
}

impl PointState {
    const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Told, Self::Came, Self::Refused];

    /// The word in the row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Told => "told",
            Self::Came => "came",
            Self::Refused => "refused",
        }
    }
}

/// A phone that is, or was, being pointed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointRow {
    /// Which.
    pub mac: Mac,
    /// How far it has come.
    pub state: PointState,
    /// Whether it is meant even if another server has it.
    pub foreign: bool,
    /// The way that is tried.
    pub means: Option<String>,
    /// The request that left last.
    pub step: Option<String>,
    /// Passwords that were proved since one was right.
    pub tries: u32,
    /// Of those as sold, how many are known to be wrong.
    pub wrong: u32,
    /// The last try.
    pub tried: Option<Timestamp>,
}

impl PointRow {
    /// A phone that was chosen, and of which nothing is known.
    pub fn new(mac: Mac, foreign: bool) -> Self {
        let (means, step, tried) = (None, None, None);
        Self { mac, state: PointState::Queued, foreign, means, step, tries: 0, wrong: 0, tried }
    }
}

impl Store {
    /// Writes down that a phone was told something: a row of the audit, and a moment of its life.
    pub async fn told(
        &self,
        moment: &Sighting,
        deed: &'static str,
        detail: &Value,
    ) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        write.audit(deed, moment.identity.mac, detail).await?;
        self.write_timeline(write.connection(), std::slice::from_ref(moment)).await?;
        write.commit().await
    }

    /// Writes down that somebody has phones told something; what each is told has a row of its own.
    pub async fn round_begun(&self, deed: &'static str, phones: usize) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        write.audit("round_begun", None, &serde_json::json!({ "told": deed, "phones": phones })).await?;
        write.commit().await
    }

    /// Adds moments to phones' lives that are no sightings: what is known of them comes from here, not from them.
    pub async fn note(&self, moments: &[Sighting]) -> Result<(), StoreError> {
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        self.write_timeline(&mut transaction, moments).await?;
        transaction.commit().await.map_err(failed("commit the timeline"))
    }

    /// Writes down how far phones have come, all of them or none.
    pub async fn keep_pointing(&self, rows: &[PointRow]) -> Result<(), StoreError> {
        let _right = self.inner.writer.lock().await;
        let now = self.inner.clock.now().0;
        let mut transaction = self.inner.db.begin().await?;
        sqlx::query("DELETE FROM pointing WHERE last_ms < $1")
            .bind(now - KEPT_MS)
            .execute(&mut *transaction)
            .await
            .map_err(failed(WRITE))?;
        let cells = rows.iter().map(|row| cells(row, now)).collect();
        let into = "pointing (mac, state, foreigner, means, step, tries, wrong, tried_ms, last_ms)";
        let rest = "ON CONFLICT (mac) DO UPDATE SET state = excluded.state, foreigner = excluded.foreigner, \
                    means = excluded.means, step = excluded.step, tries = excluded.tries, \
                    wrong = excluded.wrong, tried_ms = excluded.tried_ms, last_ms = excluded.last_ms";
        insert_rows(&mut transaction, WRITE, into, cells, rest).await?;
        transaction.commit().await.map_err(failed(WRITE))
    }

    /// How far a phone has come, if it was ever chosen.
    pub async fn pointing(&self, mac: Mac) -> Result<Option<PointRow>, StoreError> {
        let row = sqlx::query(
            "SELECT mac, state, foreigner, means, step, tries, wrong, tried_ms FROM pointing WHERE mac = $1",
        )
        .bind(load::key(mac))
        .fetch_optional(self.inner.db.reader())
        .await
        .map_err(failed(READ))?;
        row.map(|row| read(&row)).transpose()
    }

    /// The phones of a run that did not come to its end, not too long ago.
    pub async fn pointing_left(&self) -> Result<Vec<PointRow>, StoreError> {
        let sql = "SELECT mac, state, foreigner, means, step, tries, wrong, tried_ms FROM pointing WHERE state IN ('queued', 'running', 'told') AND last_ms >= $1 \
                   ORDER BY mac";
        let rows = sqlx::query(sql)
            .bind(self.inner.clock.now().0 - RESUMED_WITHIN_MS)
            .fetch_all(self.inner.db.reader())
            .await
            .map_err(failed(READ))?;
        rows.iter().map(read).collect()
    }
}

fn cells(row: &PointRow, now: i64) -> Vec<Cell> {
    vec![
        Cell::Text(load::key(row.mac)),
        Cell::text(row.state.as_str()),
        Cell::Number(row.foreign.into()),
        Cell::Maybe(row.means.clone()),
        Cell::Maybe(row.step.clone()),
        Cell::Number(row.tries.into()),
        Cell::Number(row.wrong.into()),
        Cell::MaybeNumber(row.tried.map(|tried| tried.0)),
        Cell::Number(now),
    ]
}

fn read(row: &AnyRow) -> Result<PointRow, StoreError> {
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(failed(READ));
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map_err(failed(READ));
    let state = text("state")?.unwrap_or_default();
    let known = PointState::ALL.into_iter().find(|known| known.as_str() == state);
    let damaged = || StoreError::Damaged("a row's pointing.state is not understood".to_owned());
    let tried: Option<i64> = row.try_get("tried_ms").map_err(failed(READ))?;
    Ok(PointRow {
        mac: load::parse(&text("mac")?.unwrap_or_default(), "pointing.mac")?,
        state: known.ok_or_else(damaged)?,
        foreign: number("foreigner")? != 0,
        means: text("means")?,
        step: text("step")?,
        tries: u32::try_from(number("tries")?).unwrap_or(u32::MAX),
        wrong: u32::try_from(number("wrong")?).unwrap_or_default(),
        tried: tried.map(Timestamp),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{Bench, mac, on_both};
    use super::*;

    on_both! {
        async fn a_run_that_was_killed_is_gone_on_with_and_not_a_day_later(bench) {
            let store = bench.store().await;
            let queued: Vec<PointRow> = (1..=3).map(|last| PointRow::new(mac(last), last == 2)).collect();
            store.keep_pointing(&queued).await.unwrap();
            let tried = Some(bench.clock.now());
            let running = PointRow {
                state: PointState::Running,
                means: Some("web:snom".to_owned()),
                step: Some("login: GET /".to_owned()),
                tries: 2,
                wrong: 1,
                tried,
                ..queued[0].clone()
            };
            let came = PointRow { state: PointState::Came, ..queued[2].clone() };
            store.keep_pointing(&[running.clone(), came.clone()]).await.unwrap();
            let other = bench.store().await;
            assert_eq!(other.pointing_left().await.unwrap(), [running.clone(), queued[1].clone()]);
            assert_eq!(other.pointing(mac(3)).await.unwrap(), Some(came));
            assert_eq!(other.pointing(mac(9)).await.unwrap(), None);
            bench.clock.advance(Duration::from_hours(25));
            assert_eq!(other.pointing_left().await.unwrap(), []);
            assert_eq!(other.pointing(mac(1)).await.unwrap(), Some(running), "its tries are counted still");
            bench.clock.advance(Duration::from_hours(30 * 24));
            other.keep_pointing(&[]).await.unwrap();
            assert_eq!(other.pointing(mac(1)).await.unwrap(), None);
            bench.assert_settled(&other).await;
        }
    }
}
