//! The rows of scans and of whom they found: what the next scan goes on with after one was killed, and is compared with
//! after one that came to its end.

use std::net::Ipv4Addr;

use sqlx::AnyConnection;

use super::error::{StoreError, failed};
use super::write::{Cell, insert_rows};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanRow {
    /// Its number.
    pub id: i64,
    /// How far it has come.
    pub position: u64,
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
    /// Writes down that this agent begins to scan these networks.
    pub async fn begin_scan(&self, networks: &str) -> Result<ScanRow, StoreError> {
        let _right = self.inner.writer.lock().await;
        let now = self.inner.clock.now();
        let mut transaction = self.inner.db.begin().await?;
        // The head row is locked where several processes share the database, so that none takes the same number.
        let sql = "UPDATE head SET next_id = next_id + 1 WHERE id = $1 RETURNING next_id - 1";
        let (id,): (i64,) =
            sqlx::query_as(sql).bind(1_i64).fetch_one(&mut *transaction).await.map_err(failed(WRITE))?;
        sqlx::query(
            "INSERT INTO scan (id, agent, networks, state, position, started_ms, last_ms) \
             VALUES ($1, $2, $3, 'running', 0, $4, $4)",
        )
        .bind(id)
        .bind(self.agent_name())
        .bind(networks)
        .bind(now.0)
        .execute(&mut *transaction)
        .await
        .map_err(failed(WRITE))?;
        prune(&mut transaction, self.agent_name(), networks).await?;
        transaction.commit().await.map_err(failed(WRITE))?;
        Ok(ScanRow { id, position: 0, started: now, last: now })
    }

    /// The latest scan of these networks by this agent, if it did not come to its end, and not too long ago.
    pub async fn unfinished_scan(&self, networks: &str) -> Result<Option<ScanRow>, StoreError> {
        let sql = "SELECT id, state, position, started_ms, last_ms FROM scan WHERE agent = $1 AND networks = $2 \
                   ORDER BY id DESC LIMIT 1";
        let row: Option<(i64, String, i64, i64, i64)> = sqlx::query_as(sql)
            .bind(self.agent_name())
            .bind(networks)
            .fetch_optional(self.inner.db.reader())
            .await
            .map_err(failed(READ))?;
        let now = self.inner.clock.now();
        let left = row.filter(|(_, state, _, _, last)| {
            state != ScanState::Complete.as_str() && now.0.saturating_sub(*last) <= RESUMED_WITHIN_MS
        });
        Ok(left.map(|(id, _, position, started, last)| {
            let position = u64::try_from(position).unwrap_or_default();
            ScanRow { id, position, started: Timestamp(started), last: Timestamp(last) }
        }))
    }

    /// Whom the last scan of these networks that came to its end found; `None` before the first.
    pub async fn last_complete_scan(&self, networks: &str) -> Result<Option<Vec<FoundRow>>, StoreError> {
        let sql = "SELECT id FROM scan WHERE agent = $1 AND networks = $2 AND state = 'complete' \
                   ORDER BY id DESC LIMIT 1";
        let row: Option<(i64,)> = sqlx::query_as(sql)
            .bind(self.agent_name())
            .bind(networks)
            .fetch_optional(self.inner.db.reader())
            .await
            .map_err(failed(READ))?;
        match row {
            Some((id,)) => self.found_by(id).await.map(Some),
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

    /// Writes down how far a scan has come, and whom it found since.
    pub async fn keep_scan(
        &self,
        scan: i64,
        state: ScanState,
        position: u64,
        found: &[FoundRow],
    ) -> Result<(), StoreError> {
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        let rows = found.iter().map(|one| row(scan, one)).collect();
        let into =
            "scan_found (scan, address, mac, kind, vendor, model, firmware, confidence, evidence, first_ms)";
        let rest = "ON CONFLICT (scan, address) DO UPDATE SET mac = excluded.mac, kind = excluded.kind, \
                    vendor = excluded.vendor, model = excluded.model, firmware = excluded.firmware, \
                    confidence = excluded.confidence, evidence = excluded.evidence";
        insert_rows(&mut transaction, WRITE, into, rows, rest).await?;
        sqlx::query("UPDATE scan SET state = $1, position = $2, last_ms = $3 WHERE id = $4")
            .bind(state.as_str())
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(self.inner.clock.now().0)
            .bind(scan)
            .execute(&mut *transaction)
            .await
            .map_err(failed(WRITE))?;
        transaction.commit().await.map_err(failed(WRITE))
    }

    fn agent_name(&self) -> &str {
        self.agent.as_deref().unwrap_or_default()
    }
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
            let begun = store.begin_scan(LAN).await.unwrap();
            store.keep_scan(begun.id, ScanState::Running, 77, &[found(1), found(2)]).await.unwrap();
            store.keep_scan(begun.id, ScanState::Running, 78, &[FoundRow { model: None, ..found(2) }]).await.unwrap();
            let other = bench.store().await.in_agent("north");
            let left = other.unfinished_scan(LAN).await.unwrap().unwrap();
            assert_eq!((left.id, left.position, left.started), (begun.id, 78, begun.started));
            assert_eq!(other.found_by(left.id).await.unwrap(), [found(1), FoundRow { model: None, ..found(2) }]);
            assert_eq!(other.last_complete_scan(LAN).await.unwrap(), None);
            assert_eq!(other.in_agent("south").unfinished_scan(LAN).await.unwrap(), None);
            other.keep_scan(left.id, ScanState::Complete, 508, &[]).await.unwrap();
            assert_eq!(store.unfinished_scan(LAN).await.unwrap(), None);
            assert_eq!(store.last_complete_scan(LAN).await.unwrap().unwrap().len(), 2);
            bench.assert_settled(&store).await;
        }

        async fn a_scan_of_last_week_is_begun_anew(bench) {
            let store = bench.store().await;
            store.begin_scan(LAN).await.unwrap();
            bench.clock.advance(std::time::Duration::from_hours(25));
            assert_eq!(store.unfinished_scan(LAN).await.unwrap(), None);
        }

        async fn old_scans_are_removed_with_whom_they_found(bench) {
            let store = bench.store().await;
            let mut ids = Vec::new();
            for _ in 0..12 {
                let scan = store.begin_scan(LAN).await.unwrap();
                store.keep_scan(scan.id, ScanState::Complete, 1, &[found(1)]).await.unwrap();
                ids.push(scan.id);
            }
            store.begin_scan("elsewhere").await.unwrap();
            let mut kept = 0;
            for id in ids {
                kept += store.found_by(id).await.unwrap().len();
            }
            assert_eq!(kept, 8);
        }
    }
}
