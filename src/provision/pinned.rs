//! The files of open windows, as they left the first time: until a window is over, its phone gets the same bytes again,
//! whatever is learnt of it or changed meanwhile. Holds rendered files with their slots, never a secret. Never waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::FileRequest;
use super::cache::Kept;
use crate::device::{Channel, Device, Mac, Vendor};
use crate::profile::{FileId, Requested, Supplied};
use crate::release::{GrantId, Grants, Released};

/// Files that are pinned at a time; a fleet that is larger gets its bytes from the present state of things.
const PINNED_MAX: usize = 16_384;

/// Which file, for whom, as seen from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PinnedKey {
    pub(super) vendor: Vendor,
    pub(super) mac: Mac,
    pub(super) file: FileId,
    pub(super) host: IpAddr,
    pub(super) by_tls: bool,
    /// What it tells of. The next step of a firmware does not wait for the end of a window.
    pub(super) supplied: Arc<Supplied>,
}

impl PinnedKey {
    /// Of the file that this request of the device is for.
    pub(super) fn of(
        requested: &Requested,
        device: &Device,
        request: &FileRequest,
        supplied: &Arc<Supplied>,
    ) -> Self {
        Self {
            vendor: requested.profile.vendor().clone(),
            mac: device.mac,
            file: requested.file,
            host: request.local,
            by_tls: request.channel == Channel::Https,
            supplied: Arc::clone(supplied),
        }
    }
}

/// A file as it left, and the device that it was rendered from.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) kept: Arc<Kept>,
    pub(super) device: Arc<Device>,
}

/// The files of open windows.
#[derive(Debug, Default)]
pub(super) struct Pinned(Mutex<HashMap<PinnedKey, Entry>>);

#[derive(Debug)]
struct Entry {
    /// The passwords that the file has places for; with others it is another file.
    wanted: Vec<GrantId>,
    /// What left with it, and in which epochs.
    released: Vec<(GrantId, i64)>,
    shape: Shape,
}

impl Pinned {
    /// The file as it left with these passwords in these epochs.
    pub(super) fn get(&self, key: &PinnedKey, wanted: &[GrantId], released: &[Released]) -> Option<Shape> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = files.get(key)?;
        (entry.wanted == wanted && entry.released == epochs(released)).then(|| entry.shape.clone())
    }

    /// The file has left like this.
    pub(super) fn put(&self, key: PinnedKey, wanted: &[GrantId], released: &[Released], shape: Shape) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() < PINNED_MAX || files.contains_key(&key) {
            files.insert(key, Entry { wanted: wanted.to_vec(), released: epochs(released), shape });
        }
    }

    /// Forgets the files of windows that are over.
    pub(super) fn prune(&self, grants_of: impl Fn(Mac) -> Option<Arc<Grants>>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|key, entry| {
            let grants = grants_of(key.mac);
            let open = |(id, epoch): &(GrantId, i64)| {
                let grant = grants.as_ref().and_then(|grants| grants.get(*id));
                grant.is_some_and(|grant| grant.epoch == *epoch && grant.opening().is_some())
            };
            entry.released.iter().any(open)
        });
    }
}

fn epochs(released: &[Released]) -> Vec<(GrantId, i64)> {
    let mut epochs: Vec<_> = released.iter().map(|one| (one.id, one.epoch)).collect();
    epochs.sort_unstable();
    epochs
}
