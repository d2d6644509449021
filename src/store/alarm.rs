//! The rows of alarms: repetitions within an hour are counted, what is new or open again is told back.

use std::collections::HashMap;
use std::time::Duration;

use super::error::{StoreError, failed};
use super::write::{Cell, Write, insert_rows};
use super::{Store, load};
use crate::alarm::{Alarm, AlarmKind, Counted};
use crate::clock::Timestamp;
use crate::device::Mac;

/// So long after its first time an alarm is counted in the same row; after that it is told again.
const REPEATED_WITHIN: Duration = Duration::from_hours(1);
/// So long a row is kept.
const KEPT: Duration = Duration::from_hours(400 * 24);
/// Rows that are kept, done or not: an attacker on the LAN must not fill the disk.
const ROWS_MAX: i64 = 50_000;
/// New rows of one kind within an hour; further ones are counted in one row without a phone or peer.
const OF_A_KIND_MAX: usize = 1_000;
/// What every statement that writes does, for its error.
const WRITE: &str = "write the alarms";

/// An alarm as it was written down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AlarmRow {
    /// Its number, for `offhook alarm done`.
    pub id: i64,
    /// What kind of trouble.
    pub kind: String,
    /// About which phone.
    pub mac: Option<Mac>,
    /// Caused from where.
    pub peer: Option<String>,
    /// One sentence.
    pub text: String,
    /// When it was raised first.
    pub first: Timestamp,
    /// When it was raised last.
    pub last: Timestamp,
    /// How often in between.
    pub seen: i64,
    /// When somebody said that it is dealt with.
    pub done: Option<Timestamp>,
    /// What to do about it.
    pub remedy: &'static str,
}

type Key = (String, Option<String>, Option<String>);

impl Store {
    /// Writes down what was raised, in one transaction. Gives back the rows that are new, or were done and are open
    /// again: those an administrator has to hear of.
    pub async fn record_alarms(&self, raised: &[Counted]) -> Result<Vec<AlarmRow>, StoreError> {
        let mut write = Write::begin(self).await?;
        let told = Self::record_alarms_with(&mut write, raised).await?;
        write.commit().await?;
        Ok(told)
    }

    /// The same within a write that does more.
    pub(super) async fn record_alarms_with(
        write: &mut Write<'_>,
        raised: &[Counted],
    ) -> Result<Vec<AlarmRow>, StoreError> {
        let now = write.now;
        let recent = recent(write, now).await?;
        let (next,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(id), 0) + 1 FROM alarm")
            .fetch_one(write.connection())
            .await
            .map_err(failed(WRITE))?;
        let (mut told, mut new) = (Vec::new(), Vec::new());
        for (Counted { alarm, seen }, free) in gathered(raised, &recent).iter().zip(next..) {
            let known = recent.get(&key(alarm.kind, alarm.mac, alarm.peer));
            let row = AlarmRow {
                id: known.map_or(free, |known| known.id),
                kind: alarm.kind.as_str().to_owned(),
                mac: alarm.mac,
                peer: alarm.peer.map(|peer| peer.to_string()),
                text: alarm.text.clone(),
                first: known.map_or(now, |known| known.first),
                last: now,
                seen: known.map_or(0, |known| known.seen).saturating_add(*seen),
                done: None,
                remedy: alarm.kind.remedy(),
            };
            if known.is_some() {
                count_up(write, &row).await?;
            } else {
                new.push(cells(&row));
            }
            if known.is_none_or(|known| known.done) {
                told.push(row);
            }
        }
        let columns = "alarm (id, kind, mac, peer, text, first_ms, last_ms, seen)";
        insert_rows(write.connection(), WRITE, columns, new, "").await?;
        Ok(told)
    }

    /// The alarms, the latest first: those that nobody has dealt with, or all.
    pub async fn alarms(&self, all: bool) -> Result<Vec<AlarmRow>, StoreError> {
        type Row = (i64, String, Option<String>, Option<String>, String, i64, i64, i64, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, kind, mac, peer, text, first_ms, last_ms, seen, done_ms FROM alarm \
             WHERE $1 = 1 OR done_ms IS NULL ORDER BY last_ms DESC, id DESC",
        )
        .bind(i64::from(all))
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed("read the alarms"))?;
        rows.into_iter()
            .map(|(id, kind, mac, peer, text, first, last, seen, done)| {
                let remedy = kind.parse::<AlarmKind>().map_or("", AlarmKind::remedy);
                let mac = mac.map(|mac| load::parse(&mac, "alarm.mac")).transpose()?;
                let [first, last] = [first, last].map(Timestamp);
                let done = done.map(Timestamp);
                Ok(AlarmRow { id, kind, mac, peer, text, first, last, seen, done, remedy })
            })
            .collect()
    }

    /// Says that these alarms are dealt with, or all that are open; says how many were open.
    pub async fn alarms_done(&self, ids: Option<&[i64]>) -> Result<u64, StoreError> {
        let mut write = Write::begin(self).await?;
        let now = write.now.0;
        let done = match ids {
            None => sqlx::query("UPDATE alarm SET done_ms = $1 WHERE done_ms IS NULL")
                .bind(now)
                .execute(write.connection())
                .await
                .map_err(failed(WRITE))?
                .rows_affected(),
            Some(ids) => {
                let mut done = 0;
                for id in ids {
                    done += one_done(&mut write, *id, now).await?;
                }
                done
            }
        };
        write.audit("alarms_done", None, &serde_json::json!({ "alarms": ids, "count": done })).await?;
        write.commit().await?;
        Ok(done)
    }

    /// Removes alarms that have had their time, and the oldest where there are too many.
    pub async fn prune_alarms(&self) -> Result<u64, StoreError> {
        let mut write = Write::begin(self).await?;
        let done = sqlx::query(
            "DELETE FROM alarm WHERE last_ms < $1 OR id <= (SELECT COALESCE(MAX(id), 0) FROM alarm) - $2",
        )
        .bind(write.now.minus(KEPT).0)
        .bind(ROWS_MAX)
        .execute(write.connection())
        .await
        .map_err(failed("remove old alarms"))?;
        write.commit().await?;
        Ok(done.rows_affected())
    }
}

/// A row that a repetition is counted in.
struct Known {
    id: i64,
    first: Timestamp,
    seen: i64,
    done: bool,
}

async fn recent(write: &mut Write<'_>, now: Timestamp) -> Result<HashMap<Key, Known>, StoreError> {
    type Row = (i64, String, Option<String>, Option<String>, i64, i64, Option<i64>);
    let since = now.minus(REPEATED_WITHIN).0;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, kind, mac, peer, first_ms, seen, done_ms FROM alarm WHERE last_ms > $1 AND first_ms > $1 \
         ORDER BY id",
    )
    .bind(since)
    .fetch_all(write.connection())
    .await
    .map_err(failed("read the alarms"))?;
    let known = |(id, kind, mac, peer, first, seen, done): Row| {
        ((kind, mac, peer), Known { id, first: Timestamp(first), seen, done: done.is_some() })
    };
    Ok(rows.into_iter().map(known).collect())
}

/// What was raised, with the new ones of a kind that has too many as one.
fn gathered(raised: &[Counted], recent: &HashMap<Key, Known>) -> Vec<Counted> {
    let mut gathered: Vec<Counted> = Vec::with_capacity(raised.len());
    for kind in AlarmKind::ALL {
        let mut rows = recent.keys().filter(|(known, ..)| known == kind.as_str()).count();
        let mut others = 0;
        for counted in raised.iter().filter(|counted| counted.alarm.kind == kind) {
            let Alarm { mac, peer, .. } = counted.alarm;
            let known = recent.contains_key(&key(kind, mac, peer));
            if known || rows < OF_A_KIND_MAX {
                rows += usize::from(!known);
                gathered.push(counted.clone());
            } else {
                others += counted.seen;
            }
        }
        if others > 0 {
            let text = format!(
                "this happened to more than {OF_A_KIND_MAX} phones or from as many addresses in an hour"
            );
            gathered.push(Counted { alarm: Alarm { kind, mac: None, peer: None, text }, seen: others });
        }
    }
    gathered
}

fn key(kind: AlarmKind, mac: Option<Mac>, peer: Option<std::net::IpAddr>) -> Key {
    (kind.as_str().to_owned(), mac.map(load::key), peer.map(|peer| peer.to_string()))
}

fn cells(row: &AlarmRow) -> Vec<Cell> {
    vec![
        Cell::Number(row.id),
        Cell::text(row.kind.as_str()),
        Cell::Maybe(row.mac.map(load::key)),
        Cell::Maybe(row.peer.clone()),
        Cell::text(row.text.as_str()),
        Cell::Number(row.first.0),
        Cell::Number(row.last.0),
        Cell::Number(row.seen),
    ]
}

async fn count_up(write: &mut Write<'_>, row: &AlarmRow) -> Result<(), StoreError> {
    sqlx::query("UPDATE alarm SET seen = $1, last_ms = $2, text = $3, done_ms = NULL WHERE id = $4")
        .bind(row.seen)
        .bind(row.last.0)
        .bind(row.text.as_str())
        .bind(row.id)
        .execute(write.connection())
        .await
        .map_err(failed(WRITE))?;
    Ok(())
}

async fn one_done(write: &mut Write<'_>, id: i64, now: i64) -> Result<u64, StoreError> {
    let done = sqlx::query("UPDATE alarm SET done_ms = COALESCE(done_ms, $1) WHERE id = $2")
        .bind(now)
        .bind(id)
        .execute(write.connection())
        .await
        .map_err(failed(WRITE))?;
    match done.rows_affected() {
        0 => Err(StoreError::Conflict(format!("there is no alarm {id}"))),
        rows => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, mac, on_both};
    use super::*;

    fn counted(kind: AlarmKind, last: u32, seen: i64) -> Counted {
        let peer = Some([192, 0, 2, 7].into());
        Counted {
            alarm: Alarm { kind, mac: Some(mac(last)), peer, text: format!("it happened {seen}") },
            seen,
        }
    }

    on_both! {
        async fn repetitions_within_an_hour_are_one_row_and_told_once(bench) {
            let store = bench.store().await;
            let raised = [counted(AlarmKind::Clone, 1, 2), counted(AlarmKind::Impostor, 1, 1)];
            let told = store.record_alarms(&raised).await.unwrap();
            assert_eq!(told.iter().map(|row| (row.id, row.seen)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
            let generation = store.inventory().generation();
            bench.clock.advance(Duration::from_mins(59));
            assert!(store.record_alarms(&[counted(AlarmKind::Clone, 1, 5)]).await.unwrap().is_empty());
            let rows = store.alarms(false).await.unwrap();
            assert_eq!((rows.len(), rows[0].id, rows[0].seen), (2, 1, 7), "the latest first");
            assert_eq!((rows[0].last.0 - rows[0].first.0, rows[0].text.as_str()), (59 * 60_000, "it happened 5"));
            bench.clock.advance(Duration::from_mins(1));
            let told = store.record_alarms(&[counted(AlarmKind::Clone, 1, 1)]).await.unwrap();
            assert_eq!((told[0].id, told[0].seen), (3, 1), "an hour later it is told again");
            assert_eq!(store.inventory().generation(), generation, "no file depends on an alarm");
        }

        async fn an_alarm_that_is_dealt_with_is_told_when_it_comes_again(bench) {
            let store = bench.store().await.acting_as("ada");
            store.record_alarms(&[counted(AlarmKind::Clone, 1, 1), counted(AlarmKind::Clone, 2, 1)]).await.unwrap();
            assert_eq!(store.alarms_done(Some(&[1])).await.unwrap(), 1);
            assert_eq!(store.alarms(false).await.unwrap().len(), 1);
            assert_eq!(store.alarms(true).await.unwrap().len(), 2);
            let told = store.record_alarms(&[counted(AlarmKind::Clone, 1, 3)]).await.unwrap();
            assert_eq!(told.iter().map(|row| (row.id, row.seen)).collect::<Vec<_>>(), [(1, 4)]);
            assert_eq!(store.alarms_done(None).await.unwrap(), 2);
            assert!(store.alarms(false).await.unwrap().is_empty());
            let error = store.alarms_done(Some(&[1, 99])).await.unwrap_err();
            assert_eq!(error.to_string(), "there is no alarm 99");
            assert_eq!(store.audit(None, 9).await.unwrap().len(), 2, "who said so is written down");
        }

        async fn a_flood_of_one_kind_is_one_row_more(bench) {
            let store = bench.store().await;
            let many = |from: u32, count: u32| -> Vec<Counted> {
                (from..from + count).map(|n| counted(AlarmKind::Enumeration, n, 1)).collect()
            };
            assert_eq!(store.record_alarms(&many(0, 990)).await.unwrap().len(), 990);
            let told = store.record_alarms(&many(900, 300)).await.unwrap();
            assert_eq!(told.len(), 11, "ten more, and one for the rest");
            let last = told.last().unwrap();
            assert_eq!((last.mac, last.seen), (None, 200));
            assert!(store.record_alarms(&many(5_000, 7)).await.unwrap().is_empty());
            assert_eq!(store.record_alarms(&[counted(AlarmKind::Rival, 1, 1)]).await.unwrap().len(), 1);
            let rows = store.alarms(false).await.unwrap();
            assert_eq!((rows.len(), rows.iter().find(|row| row.mac.is_none()).unwrap().seen), (1_002, 207));
        }

        async fn old_alarms_go(bench) {
            let store = bench.store().await;
            store.record_alarms(&[counted(AlarmKind::Clone, 1, 1)]).await.unwrap();
            bench.clock.advance(KEPT);
            store.record_alarms(&[counted(AlarmKind::Clone, 2, 1)]).await.unwrap();
            assert_eq!(store.prune_alarms().await.unwrap(), 0);
            bench.clock.advance(Duration::from_millis(1));
            assert_eq!(store.prune_alarms().await.unwrap(), 1);
            assert_eq!(store.alarms(true).await.unwrap()[0].id, 2);
        }
    }
}
