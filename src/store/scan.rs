//! The rows of scans and of whom they found: what the next scan goes on with after one was killed, and is compared with
//! after one that came to its end.

use std::net::Ipv4Addr;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _};

use super::error::{StoreError, failed};
use super::write::{Cell, Write, insert_rows};
use super::{Store, load};
use crate::clock::Timestamp;
use crate::device::Mac;

/// Scans of the same networks that are kept: one a day for a week, and one over.
const KEPT_OF_NETWORKS: i64 = 8;
/// Scans that are kept in all.
const KEPT: i64 = 100;
/// A scan that was killed longer ago is begun anew: the hosts that it found may be gone.
const RESUMED_WITHIN_MS: i64 = 24 * 3_600 * 1_000;
const READ: &str = "read the scans";
const WRITE: &str = "write the scan";

/// How far a scan has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanState {
    /// It runs, or was killed.
    Running,
    /// Somebody stopped it.
    Stopped,
    /// Everybody was asked.
    Complete,
}

impl ScanState {
    /// The word in the row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Complete => "complete",
        }
    }
}

/// A scan that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRow {
    /// Its number.
    pub id: i64,
    /// Whose links are asked.
    pub agent: String,
    /// The same text for the same addresses asked in the same way.
    pub networks: String,
    /// As it was written last.
    pub state: ScanState,
    /// How far it has come.
    pub position: u64,
    /// How far it will come at most.
    pub total: u64,
    /// How many hosts answered.
    pub answered: u64,
    /// What it was told of beside whom it found: a JSON text of the scan.
    pub remarks: String,
    /// When it began.
    pub started: Timestamp,
    /// When it last wrote something.
    pub last: Timestamp,
}

/// A host that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRow {
    /// Where.
    pub address: Ipv4Addr,
    /// Who.
    pub mac: Option<Mac>,
    /// What it is taken for, in a word.
    pub kind: String,
    /// As recognised.
    pub vendor: Option<String>,
    /// As recognised.
    pub model: Option<String>,
    /// As recognised.
    pub firmware: Option<String>,
    /// How sure that is, 0 to 100.
    pub confidence: u8,
    /// What it showed, in words.
    pub evidence: Vec<String>,
    /// The first time that it was seen.
    pub first: Timestamp,
}

impl Store {
    /// Writes down that this agent begins to scan these networks, or goes on with a scan of them that was left.
    pub async fn begin_scan(
        &self,
        networks: &str,
        total: u64,
        left: Option<ScanRow>,
    ) -> Result<ScanRow, StoreError> {
        let mut write = Write::begin(self).await?;
        let now = write.now;
        let resumed = left.is_some();
        let scan = match left {
            Some(left) => ScanRow { state: ScanState::Running, total, last: now, ..left },
            None => ScanRow {
                id: write.next_id(),
                agent: self.agent_name().to_owned(),
                networks: networks.to_owned(),
                state: ScanState::Running,
                position: 0,
                total,
                answered: 0,
                remarks: "{}".to_owned(),
                started: now,
                last: now,
            },
        };
        sqlx::query(
            "INSERT INTO scan (id, agent, networks, state, position, total, started_ms, last_ms) \
             VALUES ($1, $2, $3, $4, 0, $5, $6, $6) \
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, total = excluded.total, last_ms = excluded.last_ms",
        )
        .bind(scan.id)
        .bind(&scan.agent)
        .bind(&scan.networks)
        .bind(scan.state.as_str())
        .bind(number(total))
        .bind(now.0)
        .execute(write.connection())
        .await
        .map_err(failed(WRITE))?;
        prune(write.connection(), &scan.agent, networks).await?;
        let detail = serde_json::json!({ "scan": scan.id, "networks": networks, "resumed": resumed });
        write.audit("scan_begun", None, &detail).await?;
        write.commit().await?;
        Ok(scan)
    }

    /// The latest scan of these networks by this agent, if it did not come to its end, and not too long ago.
    pub async fn unfinished_scan(&self, networks: &str) -> Result<Option<ScanRow>, StoreError> {
        let rest = "WHERE agent = $1 AND networks = $2 ORDER BY id DESC LIMIT 1";
        let latest =
            self.select(rest, |query| query.bind(self.agent_name().to_owned()).bind(networks.to_owned()));
        let since = self.inner.clock.now().0.saturating_sub(RESUMED_WITHIN_MS);
        let latest = latest.await?.into_iter().next();
        Ok(latest.filter(|scan| scan.state != ScanState::Complete && scan.last.0 >= since))
    }

    /// The latest scans of whichever agent, the latest first; those before that number, if one is given.
    pub async fn scans(&self, before: Option<i64>, limit: i64) -> Result<Vec<ScanRow>, StoreError> {
        let before = before.unwrap_or(i64::MAX);
        self.select("WHERE id < $1 ORDER BY id DESC LIMIT $2", |query| query.bind(before).bind(limit)).await
    }

    /// The scan of this number.
    pub async fn scan(&self, id: i64) -> Result<Option<ScanRow>, StoreError> {
        let found = self.select("WHERE id = $1", |query| query.bind(id)).await?;
        Ok(found.into_iter().next())
    }

    /// Whom the last scan of the same networks found that came to its end before this one.
    pub async fn complete_scan_before(&self, scan: &ScanRow) -> Result<Option<Vec<FoundRow>>, StoreError> {
        let rest =
            "WHERE agent = $1 AND networks = $2 AND id < $3 AND state = 'complete' ORDER BY id DESC LIMIT 1";
        let (agent, networks, id) = (scan.agent.clone(), scan.networks.clone(), scan.id);
        let found = self.select(rest, |query| query.bind(agent).bind(networks).bind(id)).await?;
        match found.first() {
            Some(before) => self.found_by(before.id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whom the last scan of these networks that came to its end found; `None` before the first.
    pub async fn last_complete_scan(&self, networks: &str) -> Result<Option<Vec<FoundRow>>, StoreError> {
        let rest = "WHERE agent = $1 AND networks = $2 AND state = 'complete' ORDER BY id DESC LIMIT 1";
        let agent = self.agent_name().to_owned();
        let found = self.select(rest, |query| query.bind(agent).bind(networks.to_owned())).await?;
        match found.first() {
            Some(last) => self.found_by(last.id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whom a scan has found so far.
    pub async fn found_by(&self, scan: i64) -> Result<Vec<FoundRow>, StoreError> {
        type Row = (
            String,
            Option<String>,
            String,
            Option<String>,
            Option<String>,
            Option<String>,
            i64,
            String,
            i64,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT address, mac, kind, vendor, model, firmware, confidence, evidence, first_ms FROM scan_found \
             WHERE scan = $1",
        )
        .bind(scan)
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed(READ))?;
        let damaged = |_| StoreError::Damaged("a row's scan_found.evidence is not understood".to_owned());
        rows.into_iter()
            .map(|(address, mac, kind, vendor, model, firmware, confidence, evidence, first)| {
                Ok(FoundRow {
                    address: load::parse(&address, "scan_found.address")?,
                    mac: mac.map(|mac| load::parse(&mac, "scan_found.mac")).transpose()?,
                    kind,
                    vendor,
                    model,
                    firmware,
                    confidence: u8::try_from(confidence).unwrap_or(100),
                    evidence: serde_json::from_str(&evidence).map_err(damaged)?,
                    first: Timestamp(first),
                })
            })
            .collect()
    }

    /// How many of each kind these scans have found: scan, kind, count.
    pub async fn found_counts(&self, first: i64, last: i64) -> Result<Vec<(i64, String, u64)>, StoreError> {
        let sql =
            "SELECT scan, kind, COUNT(*) FROM scan_found WHERE scan >= $1 AND scan <= $2 GROUP BY scan, kind";
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(sql)
            .bind(first)
            .bind(last)
            .fetch_all(self.inner.db.reader())
            .await
            .map_err(failed(READ))?;
        let counted = |(scan, kind, count)| (scan, kind, u64::try_from(count).unwrap_or_default());
        Ok(rows.into_iter().map(counted).collect())
    }

    /// Writes down how far a scan has come, whom it found since, and whom it found no more.
    pub async fn keep_scan(
        &self,
        scan: &ScanRow,
        state: ScanState,
        found: &[FoundRow],
        removed: &[Ipv4Addr],
    ) -> Result<(), StoreError> {
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        let rows = found.iter().map(|one| row(scan.id, one)).collect();
        let into =
            "scan_found (scan, address, mac, kind, vendor, model, firmware, confidence, evidence, first_ms)";
        let rest = "ON CONFLICT (scan, address) DO UPDATE SET mac = excluded.mac, kind = excluded.kind, \
                    vendor = excluded.vendor, model = excluded.model, firmware = excluded.firmware, \
                    confidence = excluded.confidence, evidence = excluded.evidence";
        insert_rows(&mut transaction, WRITE, into, rows, rest).await?;
        for address in removed {
            sqlx::query("DELETE FROM scan_found WHERE scan = $1 AND address = $2")
                .bind(scan.id)
                .bind(address.to_string())
                .execute(&mut *transaction)
                .await
                .map_err(failed(WRITE))?;
        }
        sqlx::query("UPDATE scan SET state = $1, position = $2, answered = $3, remarks = $4, last_ms = $5 WHERE id = $6")
            .bind(state.as_str())
            .bind(number(scan.position))
            .bind(number(scan.answered))
            .bind(&scan.remarks)
            .bind(self.inner.clock.now().0)
            .bind(scan.id)
            .execute(&mut *transaction)
            .await
            .map_err(failed(WRITE))?;
        transaction.commit().await.map_err(failed(WRITE))
    }

    /// The scans that the rest of the statement names.
    async fn select(
        &self,
        rest: &'static str,
        bind: impl for<'q> FnOnce(Select<'q>) -> Select<'q>,
    ) -> Result<Vec<ScanRow>, StoreError> {
        let sql = format!(
            "SELECT id, agent, networks, state, position, total, answered, remarks, started_ms, last_ms FROM scan {rest}"
        );
        let rows = bind(sqlx::query(AssertSqlSafe(sql))).fetch_all(self.inner.db.reader()).await;
        rows.map_err(failed(READ))?.iter().map(scan_row).collect()
    }

    fn agent_name(&self) -> &str {
        self.agent.as_deref().unwrap_or_default()
    }
}

type Select<'q> = sqlx::query::Query<'q, Any, AnyArguments>;

fn scan_row(row: &AnyRow) -> Result<ScanRow, StoreError> {
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(failed(READ));
    let count = |name: &str| number(name).map(|count| u64::try_from(count).unwrap_or_default());
    let text = |name: &str| row.try_get::<String, _>(name).map_err(failed(READ));
    let state = text("state")?;
    let known = [ScanState::Running, ScanState::Stopped, ScanState::Complete];
    let damaged = || StoreError::Damaged("a row's scan.state is not understood".to_owned());
    Ok(ScanRow {
        id: number("id")?,
        agent: text("agent")?,
        networks: text("networks")?,
        state: known.into_iter().find(|known| known.as_str() == state).ok_or_else(damaged)?,
        position: count("position")?,
        total: count("total")?,
        answered: count("answered")?,
        remarks: text("remarks")?,
        started: Timestamp(number("started_ms")?),
        last: Timestamp(number("last_ms")?),
    })
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn row(scan: i64, one: &FoundRow) -> Vec<Cell> {
    vec![
        Cell::Number(scan),
        Cell::Text(one.address.to_string()),
        Cell::Maybe(one.mac.map(load::key)),
        Cell::text(one.kind.as_str()),
        Cell::Maybe(one.vendor.clone()),
        Cell::Maybe(one.model.clone()),
        Cell::Maybe(one.firmware.clone()),
        Cell::Number(one.confidence.into()),
        Cell::Text(serde_json::json!(one.evidence).to_string()),
        Cell::Number(one.first.0),
    ]
}

/// The latest stay. SQLite and PostgreSQL remove what a scan found with the scan.
async fn prune(connection: &mut AnyConnection, agent: &str, networks: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM scan WHERE agent = $1 AND networks = $2 AND id NOT IN \
         (SELECT id FROM scan WHERE agent = $1 AND networks = $2 ORDER BY id DESC LIMIT $3)",
    )
    .bind(agent)
    .bind(networks)
    .bind(KEPT_OF_NETWORKS)
    .execute(&mut *connection)
    .await
    .map_err(failed(WRITE))?;
    sqlx::query("DELETE FROM scan WHERE id NOT IN (SELECT id FROM scan ORDER BY id DESC LIMIT $1)")
        .bind(KEPT)
        .execute(connection)
        .await
        .map_err(failed(WRITE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, mac, on_both};
    use super::*;

    const LAN: &str = "192.0.2.1-192.0.2.254 on eth0";

    fn found(last: u8) -> FoundRow {
        FoundRow {
            address: [192, 0, 2, last].into(),
            mac: Some(mac(last.into())),
            kind: "phone".to_owned(),
            vendor: Some("yealink".to_owned()),
            model: Some("T46U".to_owned()),
            firmware: None,
            confidence: 92,
            evidence: vec!["sip.user-agent \"quoted\"".to_owned()],
            first: Timestamp(7),
        }
    }

    on_both! {
        async fn a_scan_that_was_killed_is_gone_on_with_and_one_that_ended_is_compared_with(bench) {
            let store = bench.store().await.in_agent("north");
            assert_eq!(store.unfinished_scan(LAN).await.unwrap(), None);
            let begun = store.begin_scan(LAN, 508, None).await.unwrap();
            let come = |position| ScanRow { position, answered: 2, remarks: "{\"proxies\":[]}".to_owned(), ..begun.clone() };
            let found_first = [found(1), found(2), found(9)];
            store.keep_scan(&come(77), ScanState::Running, &found_first, &[]).await.unwrap();
            let known_better = FoundRow { model: None, ..found(2) };
            store.keep_scan(&come(78), ScanState::Running, &[known_better], &[found(9).address]).await.unwrap();
            let other = bench.store().await.in_agent("north");
            let left = other.unfinished_scan(LAN).await.unwrap().unwrap();
            assert_eq!(left, ScanRow { last: left.last, ..come(78) });
            assert_eq!(other.found_by(left.id).await.unwrap(), [found(1), FoundRow { model: None, ..found(2) }]);
            assert_eq!(other.last_complete_scan(LAN).await.unwrap(), None);
            assert_eq!(other.in_agent("south").unfinished_scan(LAN).await.unwrap(), None);
            let left = other.begin_scan(LAN, 508, Some(left)).await.unwrap();
            assert_eq!((left.id, other.found_by(left.id).await.unwrap().len()), (begun.id, 2));
            other.keep_scan(&ScanRow { position: 508, ..left }, ScanState::Complete, &[], &[]).await.unwrap();
            assert_eq!(store.unfinished_scan(LAN).await.unwrap(), None);
            assert_eq!(store.last_complete_scan(LAN).await.unwrap().unwrap().len(), 2);
            let next = store.begin_scan(LAN, 508, None).await.unwrap();
            assert_eq!(store.complete_scan_before(&next).await.unwrap().unwrap().len(), 2);
            assert_eq!(store.complete_scan_before(&begun).await.unwrap(), None);
            let listed: Vec<i64> = store.scans(None, 10).await.unwrap().iter().map(|scan| scan.id).collect();
            assert_eq!(listed, [next.id, begun.id]);
            assert_eq!(store.scans(Some(next.id), 10).await.unwrap()[0].state, ScanState::Complete);
            assert_eq!(store.scan(next.id).await.unwrap(), Some(next));
            assert_eq!(store.audit(None, 10).await.unwrap().iter().filter(|row| row.event == "scan_begun").count(), 3);
            bench.assert_settled(&store).await;
        }

        async fn a_scan_of_last_week_is_begun_anew(bench) {
            let store = bench.store().await;
            store.begin_scan(LAN, 508, None).await.unwrap();
            bench.clock.advance(std::time::Duration::from_hours(25));
            assert_eq!(store.unfinished_scan(LAN).await.unwrap(), None);
        }

        async fn old_scans_are_removed_with_whom_they_found(bench) {
            let store = bench.store().await;
            let mut ids = Vec::new();
            for _ in 0..12 {
                let scan = store.begin_scan(LAN, 508, None).await.unwrap();
                store.keep_scan(&scan, ScanState::Complete, &[found(1)], &[]).await.unwrap();
                ids.push(scan.id);
            }
            store.begin_scan("elsewhere", 1, None).await.unwrap();
            let mut kept = 0;
            for id in ids {
                kept += store.found_by(id).await.unwrap().len();
            }
            assert_eq!(kept, 8);
        }
    }
}
