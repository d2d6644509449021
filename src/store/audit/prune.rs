//! Removes rows of the audit that have had their time, oldest first, and moves the anchor of the chain with them, so
//! that what is left can still be verified.

use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::error::{StoreError, failed};
use crate::store::write::Write;

impl Store {
    /// Removes at most `rows_max` rows, oldest first, as far as they were written before `before`. Says how many.
    ///
    /// A row behind a younger one stays until that one has had its time: the wall clock may have been set meanwhile.
    pub async fn prune_audit(&self, before: Timestamp, rows_max: i64) -> Result<usize, StoreError> {
        let oldest: Vec<(i64, i64, Option<String>)> =
            sqlx::query_as("SELECT seq, at_ms, hash FROM audit ORDER BY seq LIMIT $1")
                .bind(rows_max)
                .fetch_all(self.inner.db.reader())
                .await
                .map_err(failed("read the audit"))?;
        let old = oldest.iter().take_while(|(_, at_ms, _)| *at_ms < before.0);
        let (rows, Some((through, _, hash))) = (old.clone().count(), old.last()) else { return Ok(0) };
        let mut write = Write::begin(self).await?;
        sqlx::query("DELETE FROM audit WHERE seq <= $1")
            .bind(*through)
            .execute(write.connection())
            .await
            .map_err(failed("remove old rows of the audit"))?;
        // Never back: another agent may have removed more meanwhile.
        if let Some(hash) = hash {
            sqlx::query("UPDATE head SET anchor_seq = $1, anchor_hash = $2 WHERE id = 1 AND anchor_seq < $1")
                .bind(*through)
                .bind(hash.as_str())
                .execute(write.connection())
                .await
                .map_err(failed("move the anchor of the audit"))?;
        }
        let detail = serde_json::json!({ "through": through, "rows": rows });
        write.audit("audit_pruned", None, &detail).await?;
        write.commit().await?;
        Ok(rows)
    }
}
