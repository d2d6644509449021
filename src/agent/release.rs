//! What the agent does for the release of passwords beside the requests: it closes what an earlier boot left open, closes
//! windows when their time is over, and writes down what was delivered and who was refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::chores::{Pace, in_batches};
use crate::alarm::Alarms;
use crate::config::{Config, Span};
use crate::device::Mac;
use crate::profile::Catalog;
use crate::provision::{Deed, Desk, Fetched, raise_changes};
use crate::release::{Change, Evidence};
use crate::store::{Delivery, FetchedRow, Store, StoreError, Terms};

/// How soon a window that is over is written down as closed. It is closed before that for whoever asks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon a delivery is in the database; a batch is one transaction, and phones that wait for theirs come first.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// Deliveries of one transaction.
const BATCH_MAX: usize = 1_000;
/// Deliveries that wait for a database that does not take them.
const KEPT_MAX: usize = 40_000;

/// Under which terms this agent, or a command on its host, writes about releases.
pub(crate) fn terms(config: &Config) -> Terms {
    let (Span(staged_discovered), Span(staged_registered)) =
        (config.release.staged_ttl, config.release.registered_ttl);
    Terms { agent: config.agent.name().into(), staged_discovered, staged_registered }
}

/// Closes what an earlier boot of this host left open; before any socket is opened.
pub(super) async fn begin(store: &Store, catalog: &Catalog, alarms: &Alarms) -> Result<(), StoreError> {
    let interrupted = store.start_release().await?;
    if !interrupted.is_empty() {
        info!(
            "The host has booted while {} phones had an open window: offhook rearm --all --reason interrupted",
            interrupted.len()
        );
    }
    raise(store, catalog, alarms, interrupted);
    Ok(())
}

/// Closes windows whose time is over, and looks for phones that lost their passwords.
pub(super) async fn watch(
    desk: Desk,
    catalog: Arc<Catalog>,
    alarms: Alarms,
    store: Store,
    cancel: CancellationToken,
) {
    let mut failing = false;
    while cancel.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        desk.tidy();
        match store.expire().await {
            Ok(over) => {
                failing = false;
                raise(&store, &catalog, &alarms, over);
            }
            Err(error) if !failing => {
                failing = true;
                warn!("Cannot write down which windows are closed: {error}");
            }
            Err(_) => {}
        }
    }
}

/// Writes deliveries and refusals in batches; after `last` is cancelled, what is left, and ends.
pub(super) async fn write_down(store: Store, done: mpsc::Receiver<Deed>, last: CancellationToken) {
    let pace = Pace { wait: BATCH_WAIT, most: BATCH_MAX };
    in_batches(done, pace, last, |batch| write(&store, batch)).await;
}

/// What cannot be written now waits for the next batch. Lost, it errs on the safe side: a delivery that is not known of
/// keeps its phone from getting a file without passwords.
async fn write(store: &Store, mut batch: Vec<Deed>) -> Vec<Deed> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    let (mut refused, mut moved) = (Vec::new(), Vec::new());
    let (mut fetched, mut upgrading, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    for deed in batch.iter().cloned() {
        match deed {
            Deed::Delivery(delivery) => deliveries.push(delivery),
            Deed::Refused(one) => refused.push(one),
            Deed::Moved { mac, before, now_at } => moved.push((mac, before, now_at)),
            Deed::Fetched(one) => fetched.push(one),
            Deed::Upgrading { mac, release, had } => upgrading.push((mac, release, had)),
            Deed::Firmware { mac, release, had } => loaded.push((mac, release, had)),
        }
    }
    // Of these nobody's passwords depend: what cannot be written is written when the phone fetches another time.
    batch.retain(|deed| !matches!(deed, Deed::Fetched(_) | Deed::Upgrading { .. } | Deed::Firmware { .. }));
    for (mac, release, had) in upgrading {
        if let Err(error) = store.tell_firmware(mac, &release, &had).await {
            debug!("Cannot write down that {mac} is told of {}: {error}", release.name());
        }
    }
    for (mac, release, had) in loaded {
        if let Err(error) = store.count_firmware(mac, &release, &had).await {
            debug!("Cannot write down that {mac} has fetched {}: {error}", release.name());
        }
    }
    if !fetched.is_empty() {
        let rows: Vec<FetchedRow> = fetched.iter().map(Fetched::row).collect();
        if let Err(error) = store.keep_fetched(&rows).await {
            debug!("Cannot write down what {} phones have fetched: {error}", rows.len());
        }
    }
    if batch.is_empty() {
        return batch;
    }
    // What was sent and is acknowledged already needs one row.
    let arrived: HashSet<String> = deliveries
        .iter()
        .filter(|delivery| delivery.evidence >= Evidence::Acked)
        .map(|delivery| delivery.release_id.clone())
        .collect();
    deliveries
        .retain(|delivery| delivery.evidence >= Evidence::Acked || !arrived.contains(&delivery.release_id));
    match store.write_deliveries(&deliveries, &refused, &moved).await {
        Ok(()) => batch.clear(),
        Err(error) if batch.len() < KEPT_MAX => warn!("Cannot write {} deliveries yet: {error}", batch.len()),
        Err(error) => {
            warn!("Gave up {} deliveries: {error}", batch.len());
            batch.clear();
        }
    }
    batch
}

fn raise(store: &Store, catalog: &Catalog, alarms: &Alarms, changed: Vec<(Mac, Vec<Change>)>) {
    for (mac, changes) in changed {
        raise_changes(store, catalog, alarms, mac, &changes);
    }
}
