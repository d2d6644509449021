//! What was told to phones while they ran, and what they made of it.

use serde_json::Value;

use super::error::failed;
use super::write::Write;
use super::{Store, StoreError};
use crate::device::Sighting;

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
}
