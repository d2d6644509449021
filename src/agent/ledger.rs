//! What the agent does for its audit: at start it compares the database with the mark that it left; then it lets the
//! mark follow, and removes what has had its time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::alarm::{Alarm, AlarmKind, Alarms};
use crate::clock::Clock;
use crate::store::{Mark, MarkFile, Store, StoreError};

/// How often the mark is written, where there is something new.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// How long a row of the audit is kept.
const AUDIT_KEPT: Duration = Duration::from_hours(400 * 24);
/// How often rows are removed, and how many at once: a clock that runs years ahead for an hour costs no more than this.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
const PRUNED_ROWS_MAX: i64 = 5_000;

/// Compares the database with the mark; to be called before any socket opens. A database that was put back has every
/// password locked when this returns. A mark that cannot be read is no reason not to serve phones.
pub(super) async fn compare_with_mark(
    store: &Store,
    file: &MarkFile,
    alarms: &Alarms,
) -> Result<(), StoreError> {
    let now = store.mark().await?;
    let mark = match file.read(&now.database) {
        Ok(Some(mark)) => mark,
        Ok(None) => return Ok(()),
        Err(error) => {
            warn!(
                "Cannot read {}: {error}; a database that was put back would not be noticed",
                file.path().display()
            );
            return Ok(());
        }
    };
    lock_if_put_back(store, &mark, alarms).await
}

/// Locks every password that could leave, where the database is not the one that was marked.
async fn lock_if_put_back(store: &Store, mark: &Mark, alarms: &Alarms) -> Result<(), StoreError> {
    let Some(rollback) = store.notice_rollback(mark).await? else { return Ok(()) };
    let text = format!(
        "the database was put back to an earlier state: its audit ends with row {}, and row {} had been written once; \
         {} passwords that could have left are locked",
        rollback.found, rollback.marked, rollback.locked
    );
    error!("The database was put back to an earlier state: no password leaves until it is armed again");
    alarms.raise(Alarm { kind: AlarmKind::Rollback, mac: None, peer: None, text });
    Ok(())
}

/// Lets the mark follow the audit, and removes old rows, until cancelled; then writes the mark a last time.
pub(super) async fn keep(
    store: Store,
    file: MarkFile,
    alarms: Alarms,
    clock: Clock,
    cancel: CancellationToken,
) {
    let mut follower = Follower { store: store.clone(), file, alarms, written: None, failing: false };
    follower.follow().await;
    let mut pruned = clock.instant();
    loop {
        let stopping = tokio::select! {
            () = cancel.cancelled() => true,
            () = tokio::time::sleep(MARK_EVERY) => false,
        };
        follower.follow().await;
        if stopping {
            return;
        }
        if clock.instant().duration_since(pruned) >= PRUNE_EVERY {
            pruned = clock.instant();
            prune(&store, &clock).await;
        }
    }
}

async fn prune(store: &Store, clock: &Clock) {
    let before = clock.now().minus(AUDIT_KEPT);
    match store.prune_audit(before, PRUNED_ROWS_MAX).await {
        Ok(0) => {}
        Ok(rows) => debug!("Removed {rows} rows of the audit that were older than 400 days"),
        Err(error) => warn!("Cannot remove old rows of the audit: {error}"),
    }
    if let Err(error) = store.prune_alarms().await {
        warn!("Cannot remove old alarms: {error}");
    }
    if let Err(error) = store.prune_leases().await {
        warn!("Cannot forget DHCP leases that ended long ago: {error}");
    }
    if let Err(error) = store.prune_timeline().await {
        warn!("Cannot remove old rows of the timeline: {error}");
    }
    if let Err(error) = store.prune_fetched().await {
        warn!("Cannot forget files that no phone has any more: {error}");
    }
    if let Err(error) = store.prune_api().await {
        warn!("Cannot forget old tokens and requests of the REST API: {error}");
    }
}

struct Follower {
    store: Store,
    file: MarkFile,
    alarms: Alarms,
    written: Option<Mark>,
    failing: bool,
}

impl Follower {
    async fn follow(&mut self) {
        // A database that does not answer is told by whoever needs it.
        let Ok(mark) = self.store.mark().await else { return };
        if self.written.as_ref() == Some(&mark) {
            return;
        }
        let behind = |before: &&Mark| before.database == mark.database && mark.seq < before.seq;
        if let Some(before) = self.written.as_ref().filter(behind) {
            // Put back while we ran (a server's failover, a dump): the mark stays until its passwords are locked.
            if lock_if_put_back(&self.store, before, &self.alarms).await.is_ok() {
                self.written = None;
            }
            return;
        }
        let (file, next) = (self.file.clone(), mark.clone());
        let write = tokio::task::spawn_blocking(move || file.write(&next)).await;
        match write {
            Ok(Ok(())) => (self.written, self.failing) = (Some(mark), false),
            Ok(Err(error)) if !self.failing => {
                self.failing = true;
                warn!(
                    "Cannot write {}: {error}; a database that is put back will not be noticed",
                    self.file.path().display()
                );
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Entropy, Timestamp};
    use crate::store::{ImportOptions, Sheet, Vault};

    async fn store(folder: &std::path::Path) -> Store {
        let url = format!("sqlite:{}", folder.join("data/offhook.db").display());
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        Store::open(&url, Vault::with_key([7; 32]), clock, Entropy::System).await.unwrap()
    }

    async fn import(store: &Store, name: &str) {
        let mut sheet = Sheet::default();
        let row = format!("mac,username,password\n805e00000001,{name},x\n");
        crate::accounts::read_csv("a.csv", row.as_bytes(), &mut sheet);
        store.import(&sheet, ImportOptions::default()).await.unwrap();
    }

    /// An agent's life: it compares, keeps the mark, and stops. What it raised.
    async fn life(store: &Store, file: &MarkFile) -> usize {
        let alarms = Alarms::default();
        compare_with_mark(store, file, &alarms).await.unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        keep(store.clone(), file.clone(), alarms.clone(), Clock::System, cancel).await;
        alarms.take().0.len()
    }

    #[tokio::test]
    async fn a_database_that_is_put_back_raises_one_alarm_and_the_mark_follows() {
        let folder = tempfile::tempdir().unwrap();
        let file = MarkFile::at(&folder.path().join("offhook.mark"));
        let [database, copy] = ["data/offhook.db", "copy.db"].map(|name| folder.path().join(name));
        let first = store(folder.path()).await;
        import(&first, "101").await;
        assert_eq!(life(&first, &file).await, 0);
        first.close().await;
        std::fs::copy(&database, &copy).unwrap();
        let second = store(folder.path()).await;
        assert_eq!(life(&second, &file).await, 0, "it goes on where it was");
        import(&second, "102").await;
        assert_eq!(life(&second, &file).await, 0, "so does one that went on without an agent");
        second.close().await;
        std::fs::copy(&copy, &database).unwrap();
        let third = store(folder.path()).await;
        assert_eq!(life(&third, &file).await, 1);
        assert_eq!(life(&third, &file).await, 0);
        third.close().await;
        std::fs::remove_file(&database).unwrap();
        let fourth = store(folder.path()).await;
        assert_eq!(life(&fourth, &file).await, 0, "a new database is no old one");
    }

    #[tokio::test]
    async fn a_mark_that_cannot_be_written_or_read_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        assert_eq!(life(&store, &MarkFile::at(&folder.path().join("nonexistent/offhook.mark"))).await, 0);
        assert_eq!(life(&store, &MarkFile::at(folder.path())).await, 0);
    }
}
