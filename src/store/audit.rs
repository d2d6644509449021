//! What was done, by whom and when: read back, exported, verified; and the deeds that write nothing else, showing a
//! secret and exporting them. [`chain`] says what holds the rows together.

pub(super) mod chain;
mod prune;
#[cfg(test)]
mod tests;
mod verify;

use sqlx::{AnyConnection, AssertSqlSafe};

pub use chain::Record;
pub use verify::{Broken, Damage, Verified};

use super::error::{StoreError, failed};
use super::load;
use super::write::Write;
use super::{Store, plan};
use crate::clock::Timestamp;
use crate::device::Mac;
use crate::secret::{Secret, SecretKind};

/// What every question here does, for its error.
const READ: &str = "read the audit";

/// One deed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditRow {
    /// Counts from 1 without a gap.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Which boot of the host; not known of old rows.
    pub boot: Option<String>,
    /// Milliseconds since that boot.
    pub boot_ms: Option<i64>,
    /// The agent's name, where an agent did it.
    pub agent: Option<String>,
    /// Who: a user of this host, or an agent.
    pub actor: String,
    /// What, in one word.
    pub event: String,
    /// To which device.
    pub mac: Option<Mac>,
    /// In which act of arming.
    pub epoch: Option<i64>,
    /// In which release.
    pub release_id: Option<String>,
    /// More about it. Never a secret.
    pub detail: serde_json::Value,
    /// The hash that holds the row in its place; not there in old rows.
    pub hash: Option<String>,
}

/// Which rows are wanted; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// About this device.
    pub mac: Option<Mac>,
    /// Of this event.
    pub event: Option<String>,
    /// With a higher number.
    pub after: Option<i64>,
    /// With a lower number.
    pub before: Option<i64>,
    /// At this time or later.
    pub since: Option<Timestamp>,
}

impl Store {
    /// Opens a secret for a person, and writes down that it was shown. With `line`, a SIP password's.
    pub async fn reveal_to_person(
        &self,
        mac: Mac,
        kind: SecretKind,
        line: Option<u16>,
    ) -> Result<Option<Secret>, StoreError> {
        let mut write = Write::begin(self).await?;
        let device = self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))?;
        let secret = self.reveal(&device, kind, line)?;
        let fingerprint = secret.as_ref().map(|secret| self.keys().fingerprint(secret));
        let detail = serde_json::json!({ "kind": kind, "line": line, "fingerprint": fingerprint });
        write.audit("revealed", Some(mac), &detail).await?;
        write.commit().await?;
        Ok(secret)
    }

    /// Writes down that every secret of the inventory was exported.
    pub async fn audit_export(&self, plan: &plan::Tally) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        let detail = serde_json::json!({ "devices": plan.devices, "accounts": plan.accounts });
        write.audit("exported_with_secrets", None, &detail).await?;
        write.commit().await
    }

    /// What was done, newest first; with `mac`, to that device.
    pub async fn audit(&self, mac: Option<Mac>, rows_max: i64) -> Result<Vec<AuditRow>, StoreError> {
        let filter = AuditFilter { mac, ..AuditFilter::default() };
        self.audit_rows(&filter, Order::Newest, rows_max).await
    }

    /// Rows that `filter` lets through, in their order: the last `rows_max` of them, or with `filter.after` the first.
    pub async fn audit_listing(
        &self,
        filter: &AuditFilter,
        rows_max: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        if filter.after.is_some() {
            return self.audit_rows(filter, Order::Oldest, rows_max).await;
        }
        let mut rows = self.audit_rows(filter, Order::Newest, rows_max).await?;
        rows.reverse();
        Ok(rows)
    }

    /// At most `rows_max` rows as they are stored, oldest first.
    pub async fn audit_records(
        &self,
        filter: &AuditFilter,
        rows_max: i64,
    ) -> Result<Vec<Record>, StoreError> {
        let mut connection = self.inner.db.reader().acquire().await.map_err(failed(READ))?;
        select(&mut connection, filter, Order::Oldest, rows_max).await
    }

    async fn audit_rows(
        &self,
        filter: &AuditFilter,
        order: Order,
        rows_max: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let mut connection = self.inner.db.reader().acquire().await.map_err(failed(READ))?;
        let records = select(&mut connection, filter, order, rows_max).await?;
        records.into_iter().map(AuditRow::read).collect()
    }
}

impl AuditRow {
    fn read(record: Record) -> Result<Self, StoreError> {
        let mac = record.mac.map(|mac| load::parse(&mac, "audit.mac")).transpose()?;
        let detail = serde_json::from_str(&record.detail)
            .map_err(|_| StoreError::Damaged("a row's audit.detail is not JSON".to_owned()))?;
        Ok(Self {
            seq: record.seq,
            at: Timestamp(record.at_ms),
            boot: record.boot,
            boot_ms: record.boot_ms,
            agent: record.agent,
            actor: record.actor,
            event: record.event,
            mac,
            epoch: record.epoch,
            release_id: record.release_id,
            detail,
            hash: record.hash,
        })
    }
}

/// What the head row says of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) database: String,
    pub(super) seq: i64,
    pub(super) hash: String,
    pub(super) anchor_seq: i64,
    pub(super) anchor_hash: String,
}

pub(super) async fn ends(connection: &mut AnyConnection) -> Result<Ends, StoreError> {
    let (database, seq, hash, anchor_seq, anchor_hash) = sqlx::query_as(
        "SELECT database_id, audit_seq, audit_hash, anchor_seq, anchor_hash FROM head WHERE id = $1",
    )
    .bind(1_i64)
    .fetch_one(connection)
    .await
    .map_err(failed(READ))?;
    Ok(Ends { database, seq, hash, anchor_seq, anchor_hash })
}

/// At most `rows_max` rows with a number above `after`, oldest first.
async fn records(
    connection: &mut AnyConnection,
    after: i64,
    rows_max: i64,
) -> Result<Vec<Record>, StoreError> {
    let filter = AuditFilter { after: Some(after), ..AuditFilter::default() };
    select(connection, &filter, Order::Oldest, rows_max).await
}

/// In which order rows are read.
#[derive(Debug, Clone, Copy)]
enum Order {
    Oldest,
    Newest,
}

async fn select(
    connection: &mut AnyConnection,
    filter: &AuditFilter,
    order: Order,
    rows_max: i64,
) -> Result<Vec<Record>, StoreError> {
    type Row = (
        i64,
        i64,
        Option<String>,
        Option<i64>,
        Option<String>,
        String,
        String,
        Option<String>,
        Option<i64>,
        Option<String>,
        String,
        Option<String>,
        Option<String>,
    );
    // What is not asked for compares a text with itself, so that what is asked for finds its index.
    let mac = if filter.mac.is_some() { "mac = $3" } else { "$3 = ''" };
    let event = if filter.event.is_some() { "event = $4" } else { "$4 = ''" };
    let descending = match order {
        Order::Oldest => "",
        Order::Newest => "DESC",
    };
    let sql = AssertSqlSafe(format!(
        "SELECT seq, at_ms, boot, boot_ms, agent, actor, event, mac, epoch, release_id, detail, prev_hash, hash \
         FROM audit WHERE seq > $1 AND seq < $6 AND at_ms >= $2 AND {mac} AND {event} ORDER BY seq {descending} LIMIT $5"
    ));
    let rows: Vec<Row> = sqlx::query_as(sql)
        .bind(filter.after.unwrap_or(i64::MIN))
        .bind(filter.since.map_or(i64::MIN, |since| since.0))
        .bind(filter.mac.map(load::key).unwrap_or_default())
        .bind(filter.event.clone().unwrap_or_default())
        .bind(rows_max)
        .bind(filter.before.unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await
        .map_err(failed(READ))?;
    let record = |row: Row| Record {
        seq: row.0,
        at_ms: row.1,
        boot: row.2,
        boot_ms: row.3,
        agent: row.4,
        actor: row.5,
        event: row.6,
        mac: row.7.map(|mac| mac.parse::<Mac>().map_or(mac, |mac| mac.to_string())),
        epoch: row.8,
        release_id: row.9,
        detail: row.10,
        prev_hash: row.11,
        hash: row.12,
    };
    Ok(rows.into_iter().map(record).collect())
}
