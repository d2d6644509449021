//! Rendered files, kept until what they were made of changes. Secrets are never in here: a rendered file holds slots.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;

use super::PREAMBLE_BYTES;
use crate::device::{Mac, Vendor};
use crate::profile::{FileId, Rendered, Supplied};
use crate::store::Keys;

/// All kept files together; about 3,000 phones with their three files. When it is full it starts anew: a fleet that is
/// larger than this boots once, and asks once.
const KEPT_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Which file, for whom, as seen from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) vendor: Vendor,
    pub(super) file: FileId,
    pub(super) mac: Option<Mac>,
    pub(super) model: Option<String>,
    /// As the phone says, where the inventory does not know it yet.
    pub(super) firmware: Option<String>,
    pub(super) host: IpAddr,
    /// The URLs in it go on with TLS.
    pub(super) by_tls: bool,
    /// What this agent serves beside it.
    pub(super) supplied: Arc<Supplied>,
}

/// A rendered file, and what it is without its secrets, with its tag.
#[derive(Debug)]
pub(super) struct Kept {
    /// Of the device it was rendered for, or of what phones have in common, whichever is newer.
    pub(super) revision: i64,
    pub(super) rendered: Rendered,
    /// This host as the phone sees it, and the URL in the file.
    pub(super) place: Place,
    plain: OnceLock<(Bytes, String)>,
    /// Which phones are known to have fetched it.
    noted: Mutex<HashSet<Mac>>,
    /// The file as it was before a preamble was put into it.
    bare: Option<Arc<Kept>>,
}

/// From where a file was rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) base: String,
}

impl Kept {
    pub(super) fn new(revision: i64, rendered: Rendered, place: Place) -> Self {
        Self { revision, rendered, place, plain: OnceLock::new(), noted: Mutex::default(), bare: None }
    }

    /// The same file, begun with a comment; that is not what a person compares.
    pub(super) fn with_preamble(self: &Arc<Self>) -> Result<Arc<Self>, String> {
        let rendered = self.rendered.with_preamble(PREAMBLE_BYTES);
        let rendered =
            rendered.ok_or("its format cannot begin with a comment, and no options were asked for")?;
        let bare = Some(self.bare());
        Ok(Arc::new(Self { bare, ..Self::new(self.revision, rendered, self.place.clone()) }))
    }

    /// The file without a preamble.
    pub(super) fn bare(self: &Arc<Self>) -> Arc<Self> {
        Arc::clone(self.bare.as_ref().unwrap_or(self))
    }

    /// Whether this phone's having it is news; it is once.
    pub(super) fn is_news_of(&self, mac: Mac) -> bool {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(mac)
    }

    /// The file without its secrets, and its tag.
    pub(super) fn plain(&self, keys: &Keys) -> (Bytes, String) {
        let made = self.plain.get_or_init(|| {
            let plain = self.rendered.plain();
            let etag = keys.etag(plain.as_bytes(), &[]);
            (Bytes::from(plain), etag)
        });
        made.clone()
    }
}

/// The files that were rendered lately.
#[derive(Debug, Default)]
pub(super) struct Cache(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Each with its size.
    files: HashMap<Key, (Arc<Kept>, usize)>,
    bytes: usize,
}

impl Cache {
    /// The file, if it was rendered from this revision.
    pub(super) fn get(&self, key: &Key, revision: i64) -> Option<Arc<Kept>> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (kept, _) = state.files.get(key).filter(|(kept, _)| kept.revision == revision)?;
        Some(Arc::clone(kept))
    }

    /// Keeps a file of `bytes` bytes in place of what was kept under this key.
    pub(super) fn put(&self, key: Key, kept: Arc<Kept>, bytes: usize) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = state.files.get(&key).map_or(0, |(_, before)| *before);
        if state.bytes - before + bytes > KEPT_BYTES_MAX {
            *state = State::default();
        }
        let replaced = state.files.insert(key, (kept, bytes)).map_or(0, |(_, replaced)| replaced);
        state.bytes = state.bytes - replaced + bytes;
    }
}
