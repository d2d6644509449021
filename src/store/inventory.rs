//! The inventory in memory: every device with everything its files are made of, and every account. Reading never waits
//! for the database; only the store writes here, and only what it has committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use super::firmware::StockDelta;
use crate::clock::{BootInstant, Timestamp};
use crate::device::{Account, Channel, Commons, Device, Mac, Way};
use crate::firmware::Stock;
use crate::release::{Grant, Grants, State as Leave};

/// 128 bits in hexadecimal digits; nothing else is worth a digest.
const TOKEN_CHARS: usize = 32;

/// Which of a device's two tokens a URL held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    /// Handed out in a NOTIFY or by a person.
    Bootstrap,
    /// Only inside a delivered configuration: whoever has it, has applied one.
    Steady,
}

/// An account and the place that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The account.
    pub account: Arc<Account>,
    /// What a phone shows beside its line key.
    pub label: Option<String>,
    /// Which line of which device it is on; `None`: in the pool.
    pub on: Option<(Mac, u16)>,
}

/// SHA-256 of a token. The token itself is in no index: a dump of it opens nothing.
pub(super) type TokenDigest = [u8; 32];

/// A device as the inventory holds it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) device: Arc<Device>,
    /// Of the bootstrap and of the steady token.
    pub(super) digests: [TokenDigest; 2],
}

/// An account as the inventory holds it; where it is, its device says.
#[derive(Debug, Clone)]
pub(super) struct Labelled {
    pub(super) account: Arc<Account>,
    pub(super) label: Option<String>,
}

/// What a write changed, or all there is.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) devices: Vec<Entry>,
    pub(super) accounts: Vec<Labelled>,
    pub(super) grants: Vec<(Mac, Arc<Grants>)>,
    /// Where that has changed.
    pub(super) commons: Option<Arc<Commons>>,
    pub(super) stock: StockDelta,
}

/// Everything, at one generation.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) generation: i64,
    /// The highest wall clock that was ever written.
    pub(super) wall: Timestamp,
    commons: Arc<Commons>,
    stock: Arc<Stock>,
    grants: HashMap<Mac, Arc<Grants>>,
    devices: HashMap<Mac, Entry>,
    tokens: HashMap<TokenDigest, (Mac, Token)>,
    accounts: BTreeMap<i64, Labelled>,
    lines: HashMap<i64, (Mac, u16)>,
    free: BTreeSet<i64>,
}

/// The inventory in memory.
#[derive(Debug, Default)]
pub struct Inventory(RwLock<State>);

impl Inventory {
    /// The device of this address.
    pub fn device(&self, mac: Mac) -> Option<Arc<Device>> {
        self.read().device(mac).cloned()
    }

    /// Whether there is a device of this address.
    pub fn has(&self, mac: Mac) -> bool {
        self.read().device(mac).is_some()
    }

    /// The device that this token belongs to, and which of its tokens it is.
    pub fn by_token(&self, token: &str) -> Option<(Arc<Device>, Token)> {
        if token.len() != TOKEN_CHARS {
            return None;
        }
        let digest = digest(token);
        let state = self.read();
        let (mac, kind) = *state.tokens.get(&digest)?;
        Some((Arc::clone(state.device(mac)?), kind))
    }

    /// Every device, by MAC.
    pub fn devices(&self) -> Vec<Arc<Device>> {
        let mut devices: Vec<_> = self.read().entries().map(|entry| Arc::clone(&entry.device)).collect();
        devices.sort_unstable_by_key(|device| device.mac);
        devices
    }

    /// How many devices there are, in all and waiting for approval.
    pub fn count(&self) -> (usize, usize) {
        let state = self.read();
        let pending = |entry: &&Entry| entry.device.approval == crate::device::Approval::Pending;
        (state.devices.len(), state.entries().filter(pending).count())
    }

    /// Every account, in the order in which they came.
    pub fn accounts(&self) -> Vec<Holding> {
        let state = self.read();
        state.accounts.values().map(|labelled| state.holding(labelled)).collect()
    }

    /// What phones have in common.
    pub fn commons(&self) -> Arc<Commons> {
        Arc::clone(&self.read().commons)
    }

    /// The firmware catalog.
    pub fn stock(&self) -> Arc<Stock> {
        Arc::clone(&self.read().stock)
    }

    /// The account of this name: `NAME`, or `NAME@REGISTRAR` where several registrars have one.
    pub fn find_account(&self, name: &str) -> Result<Holding, StoreError> {
        self.read().find(name)
    }

    /// Which of a device's passwords may leave, as it was last written: what has run out since is still open here.
    pub fn grants(&self, mac: Mac) -> Option<Arc<Grants>> {
        self.read().grants.get(&mac).cloned()
    }

    /// The same of every device.
    pub fn all_grants(&self) -> HashMap<Mac, Arc<Grants>> {
        self.read().grants.clone()
    }

    /// The devices whose grants are like that, by MAC.
    pub fn macs_where(&self, wanted: impl Fn(&Grants) -> bool) -> Vec<Mac> {
        let state = self.read();
        let mut macs: Vec<Mac> =
            state.grants.iter().filter(|(_, grants)| wanted(grants)).map(|(mac, _)| *mac).collect();
        macs.sort_unstable();
        macs
    }

    /// The highest wall clock that was ever written.
    pub(super) fn wall(&self) -> Timestamp {
        self.read().wall
    }

    /// How many accounts wait in the pool.
    pub fn pool_size(&self) -> usize {
        self.read().free.len()
    }

    /// Counts the writes that changed a device or an account, whoever made them.
    pub fn generation(&self) -> i64 {
        self.read().generation
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// All there is, at a generation, in place of what was known before.
    pub(super) fn replaced_by(&self, generation: i64, all: Delta, boot: &BootInstant) -> Self {
        let mut state = Self { wall: self.wall, ..Self::default() };
        // So that a window of another host keeps the moment at which it was first seen.
        state.grants.clone_from(&self.grants);
        let there: std::collections::HashSet<Mac> = all.grants.iter().map(|(mac, _)| *mac).collect();
        state.install(generation, all, boot);
        state.grants.retain(|mac, _| there.contains(mac));
        state
    }

    /// Replaces what changed. `boot` is this moment on the boot clock.
    pub(super) fn install(&mut self, generation: i64, delta: Delta, boot: &BootInstant) {
        for labelled in delta.accounts {
            let id = labelled.account.id;
            if !self.lines.contains_key(&id) {
                self.free.insert(id);
            }
            self.accounts.insert(id, labelled);
        }
        // First all go, then all come: an account may have gone from one of these devices to another.
        for entry in &delta.devices {
            self.forget_device(entry.device.mac);
        }
        for entry in delta.devices {
            let mac = entry.device.mac;
            for line in &entry.device.lines {
                self.lines.insert(line.account.id, (mac, line.number));
                self.free.remove(&line.account.id);
            }
            let [bootstrap, steady] = entry.digests;
            self.tokens.insert(bootstrap, (mac, Token::Bootstrap));
            self.tokens.insert(steady, (mac, Token::Steady));
            self.devices.insert(mac, entry);
        }
        for (mac, grants) in delta.grants {
            let grants = self.first_seen(mac, grants, boot);
            self.grants.insert(mac, grants);
        }
        if let Some(commons) = delta.commons {
            self.commons = commons;
        }
        self.restock(delta.stock);
        self.generation = generation;
    }

    fn restock(&mut self, delta: StockDelta) {
        if delta.releases.is_none() && delta.tries.is_empty() {
            return;
        }
        let stock = Arc::make_mut(&mut self.stock);
        if let Some(releases) = delta.releases {
            stock.releases = releases;
        }
        stock.tries.extend(delta.tries);
    }

    /// A window that another boot opened is measured, here, from the moment at which it was first seen.
    fn first_seen(&self, mac: Mac, grants: Arc<Grants>, boot: &BootInstant) -> Arc<Grants> {
        let foreign = |grant: &Grant| grant.opening().is_some_and(|opening| opening.at.boot != boot.boot);
        if !grants.grants.iter().any(foreign) {
            return grants;
        }
        let before = self.grants.get(&mac);
        let mut grants = Grants::clone(&grants);
        for grant in &mut grants.grants {
            let (id, epoch) = (grant.id, grant.epoch);
            let Leave::Open(opening) = &mut grant.state else { continue };
            let known = before.and_then(|before| before.get(id)).filter(|known| known.epoch == epoch);
            let seen = known.and_then(|known| known.opening()).and_then(|opening| opening.seen_ms);
            opening.seen_ms = (opening.at.boot != boot.boot).then_some(seen.unwrap_or(boot.ms));
        }
        Arc::new(grants)
    }

    /// Takes a device out; its accounts are the pool's then.
    pub(super) fn remove_device(&mut self, mac: Mac) {
        self.grants.remove(&mac);
        if self.stock.tries.contains_key(&mac) {
            Arc::make_mut(&mut self.stock).tries.remove(&mac);
        }
        self.forget_device(mac);
    }

    fn forget_device(&mut self, mac: Mac) {
        let Some(entry) = self.devices.remove(&mac) else { return };
        for digest in entry.digests {
            self.tokens.remove(&digest);
        }
        for line in &entry.device.lines {
            let id = line.account.id;
            if self.lines.get(&id) == Some(&(mac, line.number)) {
                self.lines.remove(&id);
                if self.accounts.contains_key(&id) {
                    self.free.insert(id);
                }
            }
        }
    }

    /// Takes an account out.
    pub(super) fn forget_account(&mut self, id: i64) {
        self.accounts.remove(&id);
        self.free.remove(&id);
    }

    /// Exchanges a device for the same one seen later, or with a way.
    pub(super) fn touch(&mut self, device: Device) {
        if let Some(entry) = self.devices.get_mut(&device.mac) {
            entry.device = Arc::new(device);
        }
    }

    pub(super) fn commons(&self) -> &Commons {
        &self.commons
    }

    pub(super) fn device(&self, mac: Mac) -> Option<&Arc<Device>> {
        self.devices.get(&mac).map(|entry| &entry.device)
    }

    pub(super) fn entry(&self, mac: Mac) -> Option<&Entry> {
        self.devices.get(&mac)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.devices.values()
    }

    pub(super) fn holdings(&self) -> impl Iterator<Item = Holding> {
        self.accounts.values().map(|labelled| self.holding(labelled))
    }

    /// The accounts of the pool that have waited longest, at most `count`.
    pub(super) fn next_free(&self, count: usize) -> Vec<Labelled> {
        self.free.iter().filter_map(|id| self.accounts.get(id)).take(count).cloned().collect()
    }

    fn holding(&self, labelled: &Labelled) -> Holding {
        Holding {
            account: Arc::clone(&labelled.account),
            label: labelled.label.clone(),
            on: self.lines.get(&labelled.account.id).copied(),
        }
    }
}

/// The index's key for a token.
pub(super) fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// How a phone came in, as its first sighting tells: who multicasts came by itself, whom a scan found did not, who asks
/// for a file was sent by DHCP, where it was heard that it was led here, or else by a typed path. DHCP alone is no way in: every phone speaks it.
pub(super) fn way_of(channel: Channel, led_here: bool) -> Option<Way> {
    match channel {
        Channel::Pnp => Some(Way::ZeroTouch),
        Channel::Http | Channel::Https | Channel::Tftp if led_here => Some(Way::OneTouchAuto),
        Channel::Http | Channel::Https | Channel::Tftp => Some(Way::OneTouchManual),
        Channel::Scan => Some(Way::OneTouchAuto),
        Channel::Dhcp | Channel::Push | Channel::Sip => None,
    }
}
