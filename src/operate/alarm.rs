//! Alarms that somebody says are dealt with.

use super::Failure;
use crate::store::Store;

/// Fails where one of these numbers is no alarm's.
pub(crate) async fn known(store: &Store, ids: &[i64]) -> Result<(), Failure> {
    let known = store.alarms(true).await?;
    match ids.iter().find(|id| !known.iter().any(|row| row.id == **id)) {
        None => Ok(()),
        Some(id) => Err(Failure::no(
            "not_found",
            format!("there is no alarm {id}"),
            "offhook alarm list shows their numbers",
        )),
    }
}
