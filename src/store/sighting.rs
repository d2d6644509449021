//! Sightings: the latest of each phone and service, in batches, and the strangers that become pending devices.
//! Bounded: whoever invents MACs fills neither the tables nor the list that a person has to read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Store;
use super::error::{StoreError, failed};
use super::inventory::{Delta, Entry, way_of};
use super::load;
use super::write::{Cell, Write, insert_rows};
use crate::clock::Timestamp;
use crate::device::{Approval, Channel, Device, Identity, Mac, Sighting, Way};

/// Pending devices at once: more than a person looks through, and a rogue host can fill it with invented MACs.
const PENDING_MAX: usize = 1_000;
/// A pending device that was not seen for so long makes room for another.
const PENDING_STALE_MS: i64 = 24 * 3_600 * 1_000;
/// Sightings of MACs that are no devices: a year of visitors, and a few megabytes.
const STRANGERS_MAX: i64 = 10_000;
/// So many rows of strangers may come before the surplus is deleted again.
const STRANGERS_SLACK: i64 = 1_000;

/// Counts strangers' rows since the surplus was last deleted; starts as if it were due.
#[derive(Debug)]
pub(super) struct Strangers(AtomicI64);

impl Default for Strangers {
    fn default() -> Self {
        Self(AtomicI64::new(STRANGERS_SLACK))
    }
}

/// The latest sighting of a phone by one service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Seen {
    /// Who.
    pub mac: Mac,
    /// By which service.
    pub channel: Channel,
    /// From which address, the last time.
    pub address: String,
    /// As recognised there.
    pub vendor: Option<String>,
    /// As recognised there.
    pub model: Option<String>,
    /// As recognised there.
    pub firmware: Option<String>,
    /// What became of it, the last time.
    pub outcome: String,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// How often.
    pub count: i64,
}

impl Seen {
    /// Where it was; nothing where it had no address that was heard.
    pub fn whereabouts(&self) -> Option<&str> {
        Some(self.address.as_str()).filter(|address| *address != "0.0.0.0")
    }
}

/// Sightings of one phone by one service in one batch.
struct Group<'a> {
    identity: Identity,
    newest: &'a Sighting,
    first: Timestamp,
    count: i64,
}

impl Store {
    /// Writes a batch of sightings, each also as a moment of its phone's life, and makes pending devices of the strangers
    /// in `pending`, in one transaction.
    ///
    /// What a sighting tells that the inventory does not know yet (model, firmware, way in) goes into the device; what
    /// the accounts file says about vendor and model is never overwritten.
    pub async fn record(&self, sightings: &[Sighting], pending: &[Identity]) -> Result<(), StoreError> {
        let groups = group(sightings);
        if groups.is_empty() && pending.is_empty() {
            return Ok(());
        }
        let right = self.inner.writer.lock().await;
        let news = self.news(&groups, pending);
        if news {
            let mut write = Write::begin_with(self, right).await?;
            let delta = self.write_news(&mut write, &groups, pending).await?;
            self.write_sightings(write.connection(), &groups).await?;
            self.write_timeline(write.connection(), sightings).await?;
            write.commit_with(delta).await?;
            self.touch(&groups);
        } else {
            let mut transaction = self.inner.db.begin().await?;
            self.write_sightings(&mut transaction, &groups).await?;
            self.write_timeline(&mut transaction, sightings).await?;
            transaction.commit().await.map_err(failed("commit the sightings"))?;
            drop(right);
            self.touch(&groups);
        }
        // What was written is written, whatever becomes of what is too much.
        if let Err(error) = self.prune_timeline_when_due().await {
            tracing::debug!("Cannot remove old rows of the timeline: {error}");
        }
        Ok(())
    }

    /// The latest sightings, newest first: of one phone, or of all, strangers among them.
    pub async fn sightings(&self, mac: Option<Mac>) -> Result<Vec<Seen>, StoreError> {
        match mac.map(load::key) {
            Some(key) => self.sightings_within(&key, &key).await,
            None => self.sightings_within("", "g").await,
        }
    }

    /// The same of the phones from one address to another.
    pub async fn sightings_between(&self, first: Mac, last: Mac) -> Result<Vec<Seen>, StoreError> {
        self.sightings_within(&load::key(first), &load::key(last)).await
    }

    /// Keys are hexadecimal digits: all of them come before a `g`.
    async fn sightings_within(&self, first: &str, last: &str) -> Result<Vec<Seen>, StoreError> {
        type Row =
            (String, String, String, Option<String>, Option<String>, Option<String>, String, i64, i64, i64);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT mac, channel, addr, vendor, model, firmware, outcome, first_ms, last_ms, seen FROM sighting \
             WHERE mac >= $1 AND mac <= $2 ORDER BY last_ms DESC",
        )
        .bind(first)
        .bind(last)
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed("read the sightings"))?;
        rows.into_iter()
            .map(|(mac, channel, address, vendor, model, firmware, outcome, first, last, count)| {
                Ok(Seen {
                    mac: load::parse(&mac, "sighting.mac")?,
                    channel: load::parse(&channel, "sighting.channel")?,
                    address,
                    vendor,
                    model,
                    firmware,
                    outcome,
                    first: Timestamp(first),
                    last: Timestamp(last),
                    count,
                })
            })
            .collect()
    }

    /// Whether this batch changes a device or makes one.
    fn news(&self, groups: &BTreeMap<(Mac, Channel), Group<'_>>, pending: &[Identity]) -> bool {
        let state = self.inventory().read();
        let stranger = |identity: &Identity| identity.mac.is_some_and(|mac| state.device(mac).is_none());
        pending.iter().any(stranger)
            || groups.iter().any(|((mac, channel), group)| {
                let learned = |device| learn(device, &group.identity, way_of(*channel, false));
                state.device(*mac).is_some_and(|device| learned(device).is_some())
            })
    }

    async fn write_news(
        &self,
        write: &mut Write<'_>,
        groups: &BTreeMap<(Mac, Channel), Group<'_>>,
        pending: &[Identity],
    ) -> Result<Delta, StoreError> {
        let led_here = self.led_among(write, groups).await?;
        let mut learned: HashMap<Mac, Entry> = HashMap::new();
        for ((mac, channel), group) in groups {
            let known = match learned.remove(mac) {
                Some(entry) => Some(entry),
                None => self.inventory().read().entry(*mac).cloned(),
            };
            let Some(entry) = known else { continue };
            match learn(&entry.device, &group.identity, way_of(*channel, led_here.contains(mac))) {
                Some(mut device) => {
                    device.revision = write.generation;
                    learned.insert(*mac, Entry { device: Arc::new(device), digests: entry.digests });
                }
                // Unchanged by this channel, but perhaps by the one before.
                None if entry.device.revision == write.generation => {
                    learned.insert(*mac, entry);
                }
                None => {}
            }
        }
        for entry in learned.values() {
            let device = &entry.device;
            let cells = [
                Cell::Maybe(device.vendor.as_ref().map(|vendor| vendor.as_str().to_owned())),
                Cell::Maybe(device.model.clone()),
                Cell::Maybe(device.firmware.clone()),
                Cell::Maybe(device.way.map(|way| way.as_str().to_owned())),
                Cell::Number(write.generation),
                Cell::Text(load::key(device.mac)),
            ];
            let sql = "UPDATE device SET vendor = $1, model = $2, firmware = $3, way = $4, revision = $5, changed = $5 \
                       WHERE mac = $6";
            write.change("update the device", sql, cells).await?;
        }
        let new = self.new_pending(write, groups, pending, &led_here).await?;
        write.insert_devices(&new).await?;
        let devices = learned.into_values().chain(new).collect();
        Ok(Delta { devices, ..Delta::default() })
    }

    /// Which of the phones that ask for a file without having come in any way were led here by DHCP.
    async fn led_among(
        &self,
        write: &mut Write<'_>,
        groups: &BTreeMap<(Mac, Channel), Group<'_>>,
    ) -> Result<HashSet<Mac>, StoreError> {
        let asks = |channel: &Channel| matches!(channel, Channel::Http | Channel::Tftp);
        let macs: Vec<Mac> = {
            let state = self.inventory().read();
            let is_new = |mac: &Mac| state.device(*mac).is_none_or(|device| device.way.is_none());
            let asking = groups.keys().filter(|(mac, channel)| asks(channel) && is_new(mac));
            asking.map(|(mac, _)| *mac).collect()
        };
        self.led_here(write.connection(), &macs).await
    }

    /// Pending devices for the strangers, as many as there is room for; stale ones make room first.
    async fn new_pending(
        &self,
        write: &mut Write<'_>,
        groups: &BTreeMap<(Mac, Channel), Group<'_>>,
        pending: &[Identity],
        led_here: &HashSet<Mac>,
    ) -> Result<Vec<Entry>, StoreError> {
        let (waiting, mut stale) = self.waiting(write.now);
        let mut room = PENDING_MAX.saturating_sub(waiting);
        let mut done = HashSet::new();
        let mut new = Vec::new();
        for identity in pending {
            let Some(mac) = identity.mac else { continue };
            if self.inventory().device(mac).is_some() || !done.insert(mac) {
                continue;
            }
            if room > 0 {
                room -= 1;
            } else if let Some(old) = stale.pop() {
                write.remove_device(old).await?;
            } else {
                tracing::warn!(device.mac = %mac, "{PENDING_MAX} phones wait for approval already; {mac} is not added");
                continue;
            }
            let mut channels = groups.keys().filter(|(seen, _)| *seen == mac).map(|(_, channel)| *channel);
            let way = channels.find_map(|channel| way_of(channel, led_here.contains(&mac)));
            let born = (write.generation, write.now);
            new.push(self.inner.mint.device(mac, identity, Approval::Pending, way, born)?);
        }
        Ok(new)
    }

    /// How many devices are pending, and which of them are stale, the stalest last.
    fn waiting(&self, now: Timestamp) -> (usize, Vec<Mac>) {
        let state = self.inventory().read();
        let mut waiting: Vec<(Timestamp, Mac)> = state
            .entries()
            .filter(|entry| entry.device.approval == Approval::Pending)
            .map(|entry| (entry.device.last_seen.unwrap_or(entry.device.created_at), entry.device.mac))
            .collect();
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        let count = waiting.len();
        waiting.retain(|(seen, _)| now.0.saturating_sub(seen.0) > PENDING_STALE_MS);
        (count, waiting.into_iter().map(|(_, mac)| mac).collect())
    }

    async fn write_sightings(
        &self,
        connection: &mut sqlx::AnyConnection,
        groups: &BTreeMap<(Mac, Channel), Group<'_>>,
    ) -> Result<(), StoreError> {
        let rows = groups.iter().map(|((mac, channel), group)| group.row(*mac, *channel)).collect();
        insert_rows(
            connection,
            "write the sightings",
            "sighting (mac, channel, addr, vendor, model, firmware, outcome, first_ms, last_ms, seen)",
            rows,
            "ON CONFLICT (mac, channel) DO UPDATE SET outcome = excluded.outcome, \
             addr = CASE WHEN excluded.addr = '0.0.0.0' THEN sighting.addr ELSE excluded.addr END, \
             vendor = COALESCE(excluded.vendor, sighting.vendor), model = COALESCE(excluded.model, sighting.model), \
             firmware = COALESCE(excluded.firmware, sighting.firmware), last_ms = excluded.last_ms, \
             seen = sighting.seen + excluded.seen",
        )
        .await?;
        let strangers = {
            let state = self.inventory().read();
            groups.keys().filter(|(mac, _)| state.device(*mac).is_none()).count()
        };
        let strangers = i64::try_from(strangers).unwrap_or(i64::MAX);
        let due = self.inner.strangers.0.fetch_add(strangers, Ordering::Relaxed).saturating_add(strangers);
        if strangers > 0 && due >= STRANGERS_SLACK {
            self.inner.strangers.0.store(0, Ordering::Relaxed);
            delete_surplus(connection).await?;
        }
        Ok(())
    }

    /// Puts the moment of the last sighting into memory.
    fn touch(&self, groups: &BTreeMap<(Mac, Channel), Group<'_>>) {
        let mut devices = Vec::new();
        for ((mac, _), group) in groups {
            let Some(mut device) = self.inventory().device(*mac).map(|device| Device::clone(&device)) else {
                continue;
            };
            device.last_seen = device.last_seen.max(Some(group.newest.at));
            devices.push(device);
        }
        let mut state = self.inventory().write();
        for device in devices {
            let later = state.device(device.mac).is_some_and(|known| known.last_seen < device.last_seen);
            if later {
                state.touch(device);
            }
        }
    }
}

impl Group<'_> {
    fn row(&self, mac: Mac, channel: Channel) -> Vec<Cell> {
        let identity = &self.identity;
        vec![
            Cell::Text(load::key(mac)),
            Cell::text(channel.as_str()),
            Cell::Text(self.newest.addr.to_string()),
            Cell::Maybe(identity.vendor.as_ref().map(|vendor| vendor.as_str().to_owned())),
            Cell::Maybe(identity.model.clone()),
            Cell::Maybe(identity.firmware.clone()),
            Cell::text(self.newest.outcome.as_str()),
            Cell::Number(self.first.0),
            Cell::Number(self.newest.at.0),
            Cell::Number(self.count),
        ]
    }
}

/// One group per phone and service, in an order that two processes share, so that they cannot lock each other out.
fn group(sightings: &[Sighting]) -> BTreeMap<(Mac, Channel), Group<'_>> {
    let mut groups: BTreeMap<(Mac, Channel), Group<'_>> = BTreeMap::new();
    for sighting in sightings {
        let Some(mac) = sighting.identity.mac else { continue };
        let group = groups.entry((mac, sighting.channel)).or_insert_with(|| Group {
            identity: Identity::default(),
            newest: sighting,
            first: sighting.at,
            count: 0,
        });
        group.count += 1;
        group.first = group.first.min(sighting.at);
        if group.newest.at <= sighting.at {
            group.newest = sighting;
        }
        merge(&mut group.identity, &sighting.identity);
    }
    groups
}

/// Takes over what the later identity knows.
fn merge(known: &mut Identity, later: &Identity) {
    let Identity { mac: _, vendor, model, firmware } = later;
    known.vendor = vendor.clone().or(known.vendor.take());
    known.model = model.clone().or(known.model.take());
    known.firmware = firmware.clone().or(known.firmware.take());
}

/// The device with what this sighting adds; `None` when that is nothing.
fn learn(device: &Device, identity: &Identity, way: Option<Way>) -> Option<Device> {
    let firmware = identity.firmware.as_ref().filter(|firmware| device.firmware.as_ref() != Some(firmware));
    let vendor = identity.vendor.as_ref().filter(|_| device.vendor.is_none());
    // A model of another vendor than the accounts file names is a contradiction, not an addition.
    let same_vendor = device.vendor.is_none() || device.vendor == identity.vendor;
    let model = identity.model.as_ref().filter(|_| device.model.is_none() && same_vendor);
    let way = way.filter(|_| device.way.is_none());
    if firmware.is_none() && vendor.is_none() && model.is_none() && way.is_none() {
        return None;
    }
    let mut device = device.clone();
    device.firmware = firmware.cloned().or(device.firmware);
    device.vendor = vendor.cloned().or(device.vendor);
    device.model = model.cloned().or(device.model);
    device.way = way.or(device.way);
    Some(device)
}

async fn delete_surplus(connection: &mut sqlx::AnyConnection) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM sighting WHERE last_ms < (SELECT MIN(last_ms) FROM (SELECT s.last_ms FROM sighting s WHERE NOT \
         EXISTS (SELECT 1 FROM device d WHERE d.mac = s.mac) ORDER BY s.last_ms DESC LIMIT $1) newest) \
         AND NOT EXISTS (SELECT 1 FROM device d WHERE d.mac = sighting.mac)",
    )
    .bind(STRANGERS_MAX)
    .execute(connection)
    .await
    .map_err(failed("delete old sightings of strangers"))?;
    Ok(())
}
