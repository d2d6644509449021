//! The rows of phones' lives. Bounded for each phone, for strangers and in all: whoever invents phones, or lets one
//! babble, fills neither the disk nor pushes the others' lives out.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;

use super::error::{StoreError, failed};
use super::write::{Cell, bind, insert_rows, placeholders};
use super::{Store, load};
use crate::clock::Timestamp;
use crate::device::{Channel, Mac, Sighting, Step};
use crate::hex::hex;
use crate::timeline::{self, Moment};

/// Rows of one phone: what it did for months, or a day of trouble.
const OF_A_PHONE_MAX: i64 = 200;
/// Rows of phones that are no devices, some 10 MB.
const STRANGERS_MAX: i64 = 20_000;
/// Rows in all, some 250 MB; a fleet of 10,000 has fifty each.
const ROWS_MAX: i64 = 500_000;
/// So long a row is kept.
const KEPT: Duration = Duration::from_hours(90 * 24);
/// So many rows are written before the surplus is looked for again, which reads the whole index.
const SLACK: i64 = 5_000;
/// How long being led here by DHCP explains a phone's first request: a lease, and a phone that is plugged in again.
const LED_WITHIN: Duration = Duration::from_hours(7 * 24);
/// MACs in one question.
const TOGETHER_MAX: usize = 100;
const HOUR_MS: i64 = 3_600_000;
/// What every statement that writes does, for its error.
const WRITE: &str = "write the timeline";
const PRUNE: &str = "remove old rows of the timeline";

/// Counts the rows written since the surplus was last deleted; starts as if it were due.
#[derive(Debug)]
pub(super) struct Written(AtomicI64);

impl Default for Written {
    fn default() -> Self {
        Self(AtomicI64::new(SLACK))
    }
}

type Key = (Mac, i64, String);

impl Store {
    /// What happened to a phone, the latest last; of the latest, as many as `limit` says.
    pub async fn timeline(&self, mac: Mac, limit: Option<i64>) -> Result<Vec<Moment>, StoreError> {
        type Row = (String, String, String, Option<String>, String, i64, i64, i64);
        let mut rows: Vec<Row> = sqlx::query_as(
            "SELECT stage, step, text, data, agent, first_ms, last_ms, seen FROM timeline WHERE mac = $1 \
             ORDER BY last_ms DESC, first_ms DESC, mark LIMIT $2",
        )
        .bind(load::key(mac))
        .bind(limit.unwrap_or(OF_A_PHONE_MAX + SLACK))
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed("read the timeline"))?;
        rows.reverse();
        rows.into_iter()
            .map(|(stage, step, text, data, agent, first, last, count)| {
                let data =
                    data.map_or(Ok(serde_json::Value::Null), |data| load::parse(&data, "timeline.data"))?;
                let stage: Channel = load::parse(&stage, "timeline.stage")?;
                let step: Step = load::parse(&step, "timeline.step")?;
                let [first, last] = [first, last].map(Timestamp);
                Ok(Moment { mac, stage, step, text, data, agent, first, last, count })
            })
            .collect()
    }

    /// Adds what these sightings tell to their phones' lives, within a transaction that has begun.
    pub(super) async fn write_timeline(
        &self,
        connection: &mut AnyConnection,
        sightings: &[Sighting],
    ) -> Result<(), StoreError> {
        let mut lines: BTreeMap<Key, Line<'_>> = BTreeMap::new();
        for sighting in sightings {
            // Who is nobody has no life.
            let Some(mac) = sighting.identity.mac else { continue };
            let text = timeline::sentence(sighting);
            let key = (mac, sighting.at.0.div_euclid(HOUR_MS), mark(sighting, &text));
            let new = Line { newest: sighting, text, first: sighting.at, count: 0 };
            let line = lines.entry(key).or_insert(new);
            line.count += 1;
            line.first = line.first.min(sighting.at);
            if line.newest.at <= sighting.at {
                line.newest = sighting;
            }
        }
        let agent = self.agent.as_deref().unwrap_or_default();
        let rows: Vec<Vec<Cell>> = lines.into_iter().map(|(key, line)| row(key, line, agent)).collect();
        let written = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        insert_rows(
            connection,
            WRITE,
            "timeline (mac, hour, mark, stage, step, text, data, agent, first_ms, last_ms, seen)",
            rows,
            "ON CONFLICT (mac, hour, mark) DO UPDATE SET data = excluded.data, agent = excluded.agent, \
             last_ms = excluded.last_ms, seen = timeline.seen + excluded.seen",
        )
        .await?;
        self.inner.moments.0.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    /// Removes what is too much as soon as so much was written that there may be something.
    pub(super) async fn prune_timeline_when_due(&self) -> Result<(), StoreError> {
        if self.inner.moments.0.load(Ordering::Relaxed) < SLACK {
            return Ok(());
        }
        self.inner.moments.0.store(0, Ordering::Relaxed);
        self.prune_timeline().await
    }

    /// Which of these phones were led here by DHCP lately: those came by no path that somebody typed.
    pub(super) async fn led_here(
        &self,
        connection: &mut AnyConnection,
        macs: &[Mac],
    ) -> Result<HashSet<Mac>, StoreError> {
        let since = self.inner.clock.now().minus(LED_WITHIN).0;
        let mut led = HashSet::new();
        for macs in macs.chunks(TOGETHER_MAX) {
            let places = placeholders(1, macs.len());
            // Only numbers of places go in; every value is bound.
            let sql = sqlx::AssertSqlSafe(format!(
                "SELECT mac FROM timeline WHERE mac IN {places} AND stage = '{}' AND step = '{}' AND last_ms > {since}",
                Channel::Dhcp.as_str(),
                Step::Given.as_str(),
            ));
            let query = bind(sqlx::query(sql), macs.iter().map(|mac| Cell::Text(load::key(*mac))));
            let rows = query.fetch_all(&mut *connection).await.map_err(failed("read the timeline"))?;
            for row in rows {
                let mac: String = sqlx::Row::try_get(&row, 0).map_err(failed("read the timeline"))?;
                led.insert(load::parse(&mac, "timeline.mac")?);
            }
        }
        Ok(led)
    }

    /// Removes what has had its time, and what is too much: what is old, of a phone its oldest, then strangers' oldest,
    /// then the oldest of all. What that is is looked for before anybody who wants to write has to wait.
    pub async fn prune_timeline(&self) -> Result<(), StoreError> {
        let surplus = self.surplus().await?;
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        surplus.delete(&mut transaction).await?;
        transaction.commit().await.map_err(failed(PRUNE))
    }

    async fn surplus(&self) -> Result<Surplus, StoreError> {
        let reader = self.inner.db.reader();
        let full = sqlx::query_as("SELECT mac FROM timeline GROUP BY mac HAVING COUNT(*) > $1")
            .bind(OF_A_PHONE_MAX)
            .fetch_all(reader)
            .await
            .map_err(failed(PRUNE))?;
        let strangers = "SELECT t.last_ms FROM timeline t WHERE NOT EXISTS (SELECT 1 FROM device d WHERE d.mac = t.mac) \
             ORDER BY t.last_ms DESC LIMIT 1 OFFSET $1";
        let all = "SELECT last_ms FROM timeline ORDER BY last_ms DESC LIMIT 1 OFFSET $1";
        let mut last_kept = [None; 2];
        for (kept, (sql, rows_max)) in last_kept.iter_mut().zip([(strangers, STRANGERS_MAX), (all, ROWS_MAX)])
        {
            let row: Option<(i64,)> =
                sqlx::query_as(sql).bind(rows_max - 1).fetch_optional(reader).await.map_err(failed(PRUNE))?;
            *kept = row.map(|(last_ms,)| last_ms);
        }
        let [strangers, all] = last_kept;
        let old = self.inner.clock.now().minus(KEPT).0;
        Ok(Surplus { full, strangers, before: all.map_or(old, |all| all.max(old)) })
    }
}

/// What is too much.
struct Surplus {
    /// Phones with too many rows.
    full: Vec<(String,)>,
    /// When the oldest of the strangers' rows was that is kept; `None` while there are not so many.
    strangers: Option<i64>,
    /// When the oldest of all rows was that is kept.
    before: i64,
}

/// Sixteen digits tell the moments of one phone and hour apart.
fn mark(sighting: &Sighting, text: &str) -> String {
    let digest = Sha256::new()
        .chain_update(sighting.channel.as_str())
        .chain_update("\n")
        .chain_update(sighting.step.as_str())
        .chain_update("\n")
        .chain_update(text)
        .finalize();
    hex(digest.get(..8).unwrap_or_default())
}

/// The same sightings of one phone within an hour.
struct Line<'a> {
    newest: &'a Sighting,
    text: String,
    first: Timestamp,
    count: i64,
}

fn row((mac, hour, mark): Key, line: Line<'_>, agent: &str) -> Vec<Cell> {
    vec![
        Cell::Text(load::key(mac)),
        Cell::Number(hour),
        Cell::Text(mark),
        Cell::text(line.newest.channel.as_str()),
        Cell::text(line.newest.step.as_str()),
        Cell::Text(line.text),
        Cell::Maybe(timeline::data(line.newest)),
        Cell::text(agent),
        Cell::Number(line.first.0),
        Cell::Number(line.newest.at.0),
        Cell::Number(line.count),
    ]
}

impl Surplus {
    async fn delete(self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        let of_a_phone = "DELETE FROM timeline WHERE mac = $1 AND last_ms < (SELECT MIN(last_ms) FROM (SELECT last_ms FROM \
             timeline WHERE mac = $1 ORDER BY last_ms DESC LIMIT $2) newest)";
        for (mac,) in self.full {
            let query = sqlx::query(of_a_phone).bind(mac).bind(OF_A_PHONE_MAX);
            query.execute(&mut *connection).await.map_err(failed(PRUNE))?;
        }
        if let Some(strangers) = self.strangers {
            let sql = "DELETE FROM timeline WHERE last_ms < $1 AND NOT EXISTS (SELECT 1 FROM device d WHERE d.mac = \
                 timeline.mac)";
            sqlx::query(sql).bind(strangers).execute(&mut *connection).await.map_err(failed(PRUNE))?;
        }
        let sql = "DELETE FROM timeline WHERE last_ms < $1";
        sqlx::query(sql).bind(self.before).execute(connection).await.map_err(failed(PRUNE))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, identity, mac, on_both, sheet, sighting};
    use super::*;
    use crate::device::Way;
    use crate::store::ImportOptions;

    fn heard(last: u32, at: i64, step: Step, outcome: &str) -> Sighting {
        let detail = serde_json::json!({ "at": at });
        Sighting { step, outcome: outcome.to_owned(), detail, ..sighting(last, Channel::Dhcp, at) }
    }

    on_both! {
        async fn a_life_is_in_order_and_the_same_within_an_hour_is_counted(bench) {
            let store = bench.store().await.in_agent("north");
            let hour = bench.clock.now().0.div_euclid(HOUR_MS) * HOUR_MS;
            let first = [
                heard(1, hour + 10, Step::Unheard, "asked"),
                heard(1, hour + 30, Step::Given, "leads here"),
                heard(1, hour + 20, Step::Unheard, "asked"),
                heard(2, hour + 20, Step::Unheard, "asked"),
            ];
            store.record(&first, &[]).await.unwrap();
            store.record(&[heard(1, hour + 40, Step::Unheard, "asked"), sighting(1, Channel::Pnp, hour + 50)], &[]).await.unwrap();
            store.record(&[heard(1, hour + HOUR_MS, Step::Unheard, "asked")], &[]).await.unwrap();
            let life = store.timeline(mac(1), None).await.unwrap();
            let since = |at: Timestamp| at.0 - hour;
            let told: Vec<_> =
                life.iter().map(|one| (one.stage, one.step, since(one.first), since(one.last), one.count)).collect();
            assert_eq!(told, [
                (Channel::Dhcp, Step::Given, 30, 30, 1),
                (Channel::Dhcp, Step::Unheard, 10, 40, 3),
                (Channel::Pnp, Step::Answered, 50, 50, 1),
                (Channel::Dhcp, Step::Unheard, HOUR_MS, HOUR_MS, 1),
            ]);
            assert_eq!((life[1].data["at"].as_i64(), life[1].agent.as_str()), (Some(hour + 40), "north"));
            assert_eq!(store.timeline(mac(1), Some(1)).await.unwrap(), life[3..]);
            assert!(store.timeline(mac(3), None).await.unwrap().is_empty());
        }

        async fn a_babbling_phone_and_invented_ones_are_bounded(bench) {
            let store = bench.store().await;
            store.import(&sheet("mac,username\n805e00000001,101\n"), ImportOptions::default()).await.unwrap();
            let now = bench.clock.now().0;
            let many = |from: i64, to: i64| -> Vec<Sighting> {
                (from..to).map(|n| heard(1, now + n, Step::Unheard, &format!("asked {n}"))).collect()
            };
            store.record(&many(0, 300), &[]).await.unwrap();
            assert_eq!(store.timeline(mac(1), None).await.unwrap().len(), 200, "due from the start");
            store.record(&many(300, 400), &[]).await.unwrap();
            for batch in 0..13_u32 {
                let at = now + 500 + i64::from(batch);
                let strangers = (0..2_000).map(|n| heard(10 + batch * 2_000 + n, at, Step::Unheard, "asked"));
                store.record(&strangers.collect::<Vec<_>>(), &[]).await.unwrap();
            }
            store.prune_timeline().await.unwrap();
            let life = store.timeline(mac(1), None).await.unwrap();
            assert_eq!((life.len(), life[0].text.as_str()), (200, "asked 200"));
            let (rows,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM timeline WHERE mac <> $1")
                .bind(load::key(mac(1)))
                .fetch_one(store.inner.db.reader())
                .await
                .unwrap();
            assert_eq!(rows, STRANGERS_MAX);
            store.record(&[heard(9_999_999, now + 9_000, Step::Given, "later")], &[]).await.unwrap();
            bench.clock.advance(KEPT + Duration::from_secs(1));
            store.prune_timeline().await.unwrap();
            assert!(store.timeline(mac(1), None).await.unwrap().is_empty(), "it has had its time");
        }

        async fn a_phone_that_dhcp_led_here_did_not_come_by_hand(bench) {
            let store = bench.store().await;
            let sheet = sheet("mac,username\n805e00000001,101\n805e00000002,102\n805e00000003,103\n,104\n,105\n");
            store.import(&sheet, ImportOptions::default()).await.unwrap();
            let now = bench.clock.now().0;
            let way = |last| store.inventory().device(mac(last)).unwrap().way;
            store.record(&[heard(1, now, Step::Given, "leads here"), heard(2, now, Step::Unheard, "asked")], &[]).await.unwrap();
            assert_eq!((way(1), way(2)), (None, None), "every phone speaks DHCP: that is no way in");
            let fetches: Vec<_> = (1..=2).map(|last| sighting(last, Channel::Http, now)).collect();
            store.record(&fetches, &[]).await.unwrap();
            store.record(&[heard(3, now, Step::Given, "leads here"), sighting(3, Channel::Pnp, now)], &[]).await.unwrap();
            assert_eq!(way(1), Some(Way::OneTouchAuto));
            assert_eq!(way(2), Some(Way::OneTouchManual));
            assert_eq!(way(3), Some(Way::ZeroTouch), "it multicast");
            store.record(&[heard(4, now, Step::Given, "leads here")], &[]).await.unwrap();
            for last in [4, 5] {
                store.adopt(&identity(last), Way::OneTouchManual).await.unwrap().unwrap();
            }
            assert_eq!((way(4), way(5)), (Some(Way::OneTouchAuto), Some(Way::OneTouchManual)));
        }
    }
}
