//! What was done, by whom and when: read back, and the one deed that writes nothing else, showing a secret.

pub(super) mod chain;

use super::error::{StoreError, failed};
use super::load;
use super::write::Write;
use super::{Store, plan};
use crate::clock::Timestamp;
use crate::device::Mac;
use crate::secret::{Secret, SecretKind};

/// One deed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditRow {
    /// Counts from 1 without a gap.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who: a user of this host, or an agent.
    pub actor: String,
    /// What, in one word.
    pub event: String,
    /// To which device.
    pub mac: Option<Mac>,
    /// More about it. Never a secret.
    pub detail: serde_json::Value,
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
        let detail = serde_json::json!({ "kind": kind, "line": line, "set": secret.is_some() });
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
        type Row = (i64, i64, String, String, Option<String>, String);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT seq, at_ms, actor, event, mac, detail FROM audit WHERE $1 = '' OR mac = $1 \
             ORDER BY seq DESC LIMIT $2",
        )
        .bind(mac.map(load::key).unwrap_or_default())
        .bind(rows_max)
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed("read the audit"))?;
        rows.into_iter()
            .map(|(seq, at_ms, actor, event, mac, detail)| {
                let mac = mac.map(|mac| load::parse(&mac, "audit.mac")).transpose()?;
                let detail = serde_json::from_str(&detail)
                    .map_err(|_| StoreError::Damaged("a row's audit.detail is not JSON".to_owned()))?;
                Ok(AuditRow { seq, at: Timestamp(at_ms), actor, event, mac, detail })
            })
            .collect()
    }
}
