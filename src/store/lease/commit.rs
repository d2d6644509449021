//! How leases become durable. An agent that gives leases has a journal: an ACK leaves when its lease is in there, and the
//! database follows within a second, so that no phone waits for it, nor for another process that writes to it. Without a
//! journal, or with no room in it, leases are in the database before anybody is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::error::{StoreError, failed};
use super::super::write::insert_rows;
use super::super::{Store, queue};
use super::LeaseRow;
use super::journal::{self, Journal};

/// Leases of one commit, give or take those that were asked for in the same moment. More wait for the next one.
const TOGETHER_MAX: usize = 8_192;
/// Leases that follow into the database in one transaction: whoever else writes waits no longer than for these.
const FOLLOW_MAX: usize = 1_024;
/// How long a client waits for a commit: it asks again after four seconds (RFC 2131, 4.1), and then there is a new one.
const COMMIT_WAIT: Duration = Duration::from_millis(2_300);
/// What nobody waits for lets leases go first until none was asked for in this time,
const LEASES_REST: Duration = Duration::from_millis(20);
/// but not more often than this: a second, as long as a fleet takes for its leases.
const LEASES_FIRST: u32 = 50;
/// How soon the database is tried again that did not take what is in the journal.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What every statement that writes does, for its error.
const WRITE: &str = "write the lease";
const COLUMNS: &str = "dhcp_lease (agent, interface, address, mac, client_id, host_name, class, state, granted_ms, \
                       granted_boot, granted_boot_ms, duration_ms, until_ms)";

type Queue = queue::Queue<Vec<LeaseRow>, ()>;
/// Held by whoever writes to the journal. `None`: there is none.
type Held<'a> = tokio::sync::MutexGuard<'a, Option<Journal>>;

/// Leases on their way.
#[derive(Debug, Default)]
pub(in crate::store) struct Commits {
    queue: Queue,
    /// How often leases were asked for, and how often they had been when none was asked for for a while.
    asked: AtomicU64,
    at_rest: AtomicU64,
    journal: tokio::sync::Mutex<Option<Journal>>,
    /// What is in the journal, and not in the database yet; the oldest first.
    behind: Mutex<VecDeque<LeaseRow>>,
    news: Notify,
}

impl Commits {
    fn behind(&self) -> MutexGuard<'_, VecDeque<LeaseRow>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases that were read from the database, under those that are in the journal alone; by interface and address.
    pub(super) fn over(&self, leases: Vec<LeaseRow>) -> Vec<LeaseRow> {
        let key = |lease: &LeaseRow| (lease.interface.clone(), lease.address);
        let behind = self.behind();
        let all = leases.into_iter().chain(behind.iter().cloned());
        all.map(|lease| (key(&lease), lease)).collect::<BTreeMap<_, _>>().into_values().collect()
    }
}

impl Store {
    /// Writes leases; what is given back is done when all of them are durable. An error means that no client may be told
    /// of its own. Leases are written in the order of these calls.
    pub fn commit_leases(
        &self,
        leases: Vec<LeaseRow>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.inner.leases.asked.fetch_add(1, Ordering::Relaxed);
        let (answer, idle) = self.inner.leases.queue.push(leases);
        if idle {
            // On a task of its own: whoever gives up must not take the others' commit along.
            tokio::spawn(self.clone().serve_leases());
        }
        async {
            match tokio::time::timeout(COMMIT_WAIT, answer).await {
                Ok(Ok(done)) => done,
                Ok(Err(_)) | Err(_) => Err(StoreError::Busy),
            }
        }
    }

    /// Puts what an agent that has died left in its journal into the database; `give`: and makes a new one, for an agent
    /// that gives leases. Where none can be made leases wait for the database. They count also where the database was
    /// restored meanwhile: those addresses are in use.
    pub async fn begin_leases(&self, file: &Path, give: bool) -> Result<(), StoreError> {
        let unread = |error| StoreError::file("read the leases in", file, error);
        let left = journal::read(file).map_err(unread)?;
        for (agent, leases) in &left {
            let _right = self.inner.writer.lock().await;
            self.write_leases(agent, leases).await?;
        }
        if !left.is_empty() {
            info!(
                "{} leases of an agent that had died were in its journal",
                left.iter().map(|(_, rows)| rows.len()).sum::<usize>()
            );
        }
        let begun = if give { Journal::create(file).map(Some) } else { journal::remove(file).map(|()| None) };
        match begun {
            Ok(journal) => *self.inner.leases.journal.lock().await = journal,
            // It must not be read once more, when its leases are old.
            Err(error) if !left.is_empty() => return Err(StoreError::file("make anew", file, error)),
            Err(error) => warn!("Cannot make {}: {error}; leases wait for the database", file.display()),
        }
        Ok(())
    }

    /// Writes into the database what is in the journal; after `last` is cancelled what is left, and ends.
    pub async fn follow_leases(self, last: CancellationToken) {
        let mut is_said = false;
        loop {
            let news = self.inner.leases.news.notified();
            let stopping = last.run_until_cancelled(news).await.is_none();
            last.run_until_cancelled(self.when_leases_rest()).await;
            match self.catch_up_with_leases().await {
                Ok(()) => is_said = false,
                Err(error) => {
                    if !std::mem::replace(&mut is_said, true) {
                        warn!("Leases are in the journal, and not in the database yet: {error}");
                    }
                    self.inner.leases.news.notify_one();
                    last.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await;
                }
            }
            if stopping {
                return;
            }
        }
    }

    /// Waits until no lease is asked for: what a phone is waiting for comes before what is written down of it.
    pub async fn when_leases_rest(&self) {
        let Commits { asked, at_rest, .. } = &self.inner.leases;
        for _ in 0..LEASES_FIRST {
            let before = asked.load(Ordering::Relaxed);
            if at_rest.load(Ordering::Relaxed) == before {
                return;
            }
            tokio::time::sleep(LEASES_REST).await;
            if asked.load(Ordering::Relaxed) == before {
                at_rest.store(before, Ordering::Relaxed);
            }
        }
    }

    async fn serve_leases(self) {
        let serving = self.inner.leases.queue.serving();
        loop {
            // Without a journal, who comes while somebody else writes to the database goes into the same commit.
            let journal = self.inner.leases.journal.lock().await;
            let right = if journal.is_none() { Some(self.inner.writer.lock().await) } else { None };
            let mut rows = 0;
            let mut waiting = self.inner.leases.queue.take_until(|_, next| {
                rows += next.len();
                rows > next.len() && rows > TOGETHER_MAX
            });
            if waiting.is_empty() {
                return serving.done();
            }
            let leases: Vec<LeaseRow> =
                waiting.iter_mut().flat_map(|one| std::mem::take(&mut one.question)).collect();
            let outcome = match right {
                Some(_right) => self.write_leases(self.agent(), &leases).await,
                None => self.journal_leases(journal, leases).await,
            };
            match outcome {
                Ok(()) => waiting.into_iter().for_each(|one| one.answer(Ok(()))),
                Err(error) => queue::fail(waiting, error),
            }
        }
    }

    /// Durable in the journal; where that has no room, or fails, in the database, behind what is in the journal already.
    async fn journal_leases(
        &self,
        mut journal: Held<'_>,
        mut leases: Vec<LeaseRow>,
    ) -> Result<(), StoreError> {
        let Some(mut taken) = journal.take() else { return Err(StoreError::Busy) };
        let agent = self.agent().to_owned();
        let writing = spawn_blocking(move || {
            let written = taken.append(&agent, &leases);
            (taken, leases, written)
        });
        let Ok((taken, given_back, written)) = writing.await else { return Err(StoreError::Busy) };
        (*journal, leases) = (Some(taken), given_back);
        match written {
            Ok(true) => {
                self.inner.leases.behind().extend(leases);
                self.inner.leases.news.notify_one();
                return Ok(());
            }
            Ok(false) => {}
            Err(error) => warn!("Cannot write the journal of leases: {error}; these go to the database"),
        }
        while self.catch_up_with_some().await? {}
        // Else what is in it would be read after what is written now, were this process to die.
        restart(&mut journal).await;
        let _right = self.inner.writer.lock().await;
        self.write_leases(self.agent(), &leases).await
    }

    /// Brings the database up to date, and begins the journal anew unless more came meanwhile.
    async fn catch_up_with_leases(&self) -> Result<(), StoreError> {
        while self.catch_up_with_some().await? {}
        let mut journal = self.inner.leases.journal.lock().await;
        let is_used = journal.as_ref().is_some_and(|journal| !journal.is_empty());
        if is_used && self.inner.leases.behind().is_empty() {
            restart(&mut journal).await;
        }
        Ok(())
    }

    /// Whether there was anything.
    async fn catch_up_with_some(&self) -> Result<bool, StoreError> {
        // Held until they are gone from the line, so that nobody writes the same beside, or something newer before.
        let _right = self.inner.writer.lock().await;
        let some: Vec<LeaseRow> = self.inner.leases.behind().iter().take(FOLLOW_MAX).cloned().collect();
        if some.is_empty() {
            return Ok(false);
        }
        self.write_leases(self.agent(), &some).await?;
        self.inner.leases.behind().drain(..some.len());
        Ok(true)
    }

    async fn write_leases(&self, agent: &str, leases: &[LeaseRow]) -> Result<(), StoreError> {
        // The last word about each address counts, and two processes write in one order.
        let by_address: BTreeMap<(&str, Ipv4Addr), &LeaseRow> =
            leases.iter().map(|lease| ((lease.interface.as_str(), lease.address), lease)).collect();
        let rows = by_address.into_values().map(|lease| lease.cells(agent)).collect();
        let mut transaction = self.inner.db.begin().await?;
        insert_rows(
            &mut transaction,
            WRITE,
            COLUMNS,
            rows,
            "ON CONFLICT (agent, interface, address) DO UPDATE SET mac = excluded.mac, client_id = excluded.client_id, \
             host_name = excluded.host_name, class = excluded.class, state = excluded.state, \
             granted_ms = excluded.granted_ms, granted_boot = excluded.granted_boot, \
             granted_boot_ms = excluded.granted_boot_ms, duration_ms = excluded.duration_ms, \
             until_ms = excluded.until_ms",
        )
        .await?;
        transaction.commit().await.map_err(failed(WRITE))
    }

    fn agent(&self) -> &str {
        self.agent.as_deref().unwrap_or_default()
    }
}

async fn restart(journal: &mut Held<'_>) {
    if let Some(taken) = journal.take() {
        **journal = spawn_blocking(|| taken.restart()).await.ok().flatten();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Bench, on_both};
    use super::super::tests::lease;
    use super::*;

    fn rows(of: std::ops::Range<u16>) -> Vec<LeaseRow> {
        of.map(|number| {
            let [high, low] = number.to_be_bytes();
            LeaseRow { address: Ipv4Addr::new(10, 66, high, low), ..lease(1, 9_000) }
        })
        .collect()
    }

    on_both! {
        async fn what_a_dead_agent_left_in_its_journal_is_in_the_database_of_the_next(bench) {
            let (store, file) = (bench.store().await.in_agent("one"), bench.folder.path().join("leases.journal"));
            store.begin_leases(&file, true).await.unwrap();
            let older = store.commit_leases(rows(0..2_500));
            let newer = LeaseRow { duration: Duration::from_mins(7), ..rows(7..8).remove(0) };
            older.await.unwrap();
            store.commit_leases(vec![newer.clone()]).await.unwrap();
            let mut all = rows(0..2_500);
            all[7] = newer;
            assert_eq!(store.leases().await.unwrap(), all, "who gave them knows them at once");
            let other = bench.store().await;
            assert!(other.leases().await.unwrap().is_empty(), "nothing follows here");
            // It is gone, and another one starts that gives no leases any more.
            other.in_agent("two").begin_leases(&file, false).await.unwrap();
            assert_eq!(other.in_agent("one").leases().await.unwrap(), all);
            assert!(!file.exists());
        }

        async fn the_database_follows_and_the_journal_begins_anew(bench) {
            let (store, file) = (bench.store().await.in_agent("one"), bench.folder.path().join("leases.journal"));
            store.begin_leases(&file, true).await.unwrap();
            let last = CancellationToken::new();
            let following = tokio::spawn(store.clone().follow_leases(last.clone()));
            store.commit_leases(rows(0..20)).await.unwrap();
            let other = bench.store().await;
            while other.leases().await.unwrap().len() < 20 || !journal::read(&file).unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            last.cancel();
            following.await.unwrap();
            store.commit_leases(rows(20..30)).await.unwrap();
            assert_eq!(journal::read(&file).unwrap(), [("one".to_owned(), rows(20..30))]);
            store.clone().follow_leases(last).await;
            assert_eq!(other.leases().await.unwrap(), rows(0..30), "what is left is written at the end");
        }

        async fn what_the_journal_does_not_take_is_in_the_database_before_anybody_is_told(bench) {
            let (store, file) = (bench.store().await.in_agent("one"), bench.folder.path().join("leases.journal"));
            store.begin_leases(&file, true).await.unwrap();
            store.commit_leases(rows(0..10)).await.unwrap();
            *store.inner.leases.journal.lock().await = Some(Journal::unwritable(&file));
            let other = bench.store().await;
            for end in [20, 30] {
                store.commit_leases(rows(end - 10..end)).await.unwrap();
                assert_eq!(other.leases().await.unwrap(), rows(0..end));
            }
            assert!(!file.exists(), "it would be read once more");
        }
    }
}
