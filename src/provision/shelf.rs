//! The static files for phones: firmware and language files under the data directory. A name from the network is looked
//! up in a list of what is there; it never becomes a path. Whoever takes a file is told the digest of the very bytes that
//! it gets.

use std::collections::HashMap;
use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{Area, FileBody};
use crate::clock::Clock;
use crate::hex::hex;

/// Files up to this size stay in memory once read; a larger one is shared only while somebody transfers it.
const KEPT_BYTES_MAX: u64 = 256 * 1024;
/// All kept files together.
const KEPT_TOTAL_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// A list older than this is read again before a name counts as missing or a file as unchanged.
const LIST_AGE_MAX: Duration = Duration::from_secs(2);

/// What is on the shelf.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    clock: Clock,
    list: RwLock<List>,
    /// Held by whoever lists the folders; who wants the list meanwhile waits.
    listing: Mutex<()>,
}

#[derive(Debug, Default)]
struct List {
    read_at: Option<Instant>,
    entries: Entries,
    /// The files of each vendor, as they are called on the disk.
    paths: HashMap<(Area, String), Arc<[String]>>,
    kept_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    bytes: u64,
    modified_ns: u128,
    content: RwLock<Content>,
    /// Held by whoever reads the file; who wants it meanwhile waits, and takes what was read.
    reading: Mutex<()>,
}

#[derive(Debug, Default)]
struct Content {
    kept: Option<Bytes>,
    shared: Weak<Vec<u8>>,
    /// SHA-256 of them, in hexadecimal digits.
    sha256: Arc<str>,
}

/// A file, and the digest of its bytes.
pub(crate) struct Taken {
    pub(crate) body: FileBody,
    pub(crate) sha256: Arc<str>,
}

/// Keeps a large file's bytes alive exactly as long as a transfer holds them.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Shelf {
    /// The shelf of this folder: `FOLDER/{firmware,lang}/VENDOR/[VERSION/]NAME`.
    pub fn new(folder: PathBuf, clock: Clock) -> Self {
        Self { folder, clock, list: RwLock::default(), listing: Mutex::default() }
    }

    /// Whether there is a file of this name: `NAME` or `VERSION/NAME`.
    pub(crate) async fn has(&self, area: Area, vendor: &str, name: &str) -> bool {
        self.refresh().await;
        self.entry(area, vendor, name).is_some()
    }

    /// The files of a vendor, each as it is called on the disk: `NAME` or `VERSION/NAME`.
    pub(crate) async fn paths(&self, area: Area, vendor: &str) -> Arc<[String]> {
        self.refresh().await;
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.paths.get(&(area, vendor.to_owned())).cloned().unwrap_or_default()
    }

    fn entry(&self, area: Area, vendor: &str, name: &str) -> Option<Arc<Entry>> {
        let key = (area, vendor.to_owned(), name.to_ascii_lowercase());
        self.list.read().unwrap_or_else(PoisonError::into_inner).entries.get(&key).cloned()
    }

    /// The file of this name, in whatever case it is asked; `None` when there is none, or it cannot be read.
    pub(crate) async fn take(&self, area: Area, vendor: &str, name: &str) -> Option<Taken> {
        self.refresh().await;
        let entry = self.entry(area, vendor, name)?;
        let (bytes, sha256) = match entry.content() {
            Some(content) => content,
            None => self.load(&entry).await?,
        };
        let body = FileBody {
            bytes,
            content_type: "application/octet-stream".to_owned(),
            etag: format!("\"{:x}-{:x}\"", entry.modified_ns, entry.bytes),
            ranges: true,
            receipt: None,
        };
        Some(Taken { body, sha256 })
    }

    /// Reads a file once for everybody who wants it now: forty megabytes for each of a site's phones would be the end
    /// of a small host.
    async fn load(&self, entry: &Arc<Entry>) -> Option<(Bytes, Arc<str>)> {
        let _turn = entry.reading.lock().await;
        if let Some(content) = entry.content() {
            return Some(content);
        }
        let path = entry.path.clone();
        let digested = move || {
            let read = std::fs::read(&path)?;
            let sha256 = hex(&Sha256::digest(&read));
            Ok::<_, io::Error>((Arc::new(read), Arc::from(sha256)))
        };
        let (read, sha256): (_, Arc<str>) = match tokio::task::spawn_blocking(digested).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::warn!("Cannot read {}: {error}", entry.path.display());
                return None;
            }
            Err(_) => return None,
        };
        let keep = entry.bytes <= KEPT_BYTES_MAX && {
            let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
            let room = list.kept_bytes + entry.bytes <= KEPT_TOTAL_BYTES_MAX;
            list.kept_bytes += if room { entry.bytes } else { 0 };
            room
        };
        let bytes = Bytes::from_owner(Shared(Arc::clone(&read)));
        let mut content = entry.content.write().unwrap_or_else(PoisonError::into_inner);
        content.shared = Arc::downgrade(&read);
        content.kept = keep.then(|| bytes.clone());
        content.sha256 = Arc::clone(&sha256);
        Some((bytes, sha256))
    }

    /// Reads the folders again when the list is old. Entries that did not change keep their content. A folder on a slow
    /// disk keeps waiting who wants a static file, and whose configuration may name one.
    async fn refresh(&self) {
        if self.is_fresh() {
            return;
        }
        let _turn = self.listing.lock().await;
        if self.is_fresh() {
            return;
        }
        let now = self.clock.instant();
        let before = self.list.read().unwrap_or_else(PoisonError::into_inner).entries.clone();
        let folder = self.folder.clone();
        let listed = tokio::task::spawn_blocking(move || read_folders(&folder, &before)).await;
        let Ok(entries) = listed.inspect_err(|error| tracing::warn!("Cannot list the static files: {error}"))
        else {
            return;
        };
        let kept = |entry: &Arc<Entry>| {
            let content = entry.content.read().unwrap_or_else(PoisonError::into_inner);
            content.kept.as_ref().map_or(0, |bytes| bytes.len() as u64)
        };
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.kept_bytes = entries.values().map(kept).sum();
        list.paths = paths(&entries);
        list.entries = entries;
        list.read_at = Some(now);
    }

    fn is_fresh(&self) -> bool {
        let read_at = self.list.read().unwrap_or_else(PoisonError::into_inner).read_at;
        read_at.is_some_and(|at| self.clock.instant().saturating_duration_since(at) < LIST_AGE_MAX)
    }
}

impl Entry {
    fn content(&self) -> Option<(Bytes, Arc<str>)> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let shared = || content.shared.upgrade().map(|shared| Bytes::from_owner(Shared(shared)));
        let bytes = content.kept.clone().or_else(shared)?;
        Some((bytes, Arc::clone(&content.sha256)))
    }
}

/// By area, vendor, and name in small letters.
type Entries = HashMap<(Area, String, String), Arc<Entry>>;

/// The files of each vendor, sorted; one whose name is no text is nobody's.
fn paths(entries: &Entries) -> HashMap<(Area, String), Arc<[String]>> {
    let mut paths: HashMap<_, Vec<String>> = HashMap::new();
    for ((area, vendor, name), entry) in entries {
        let steps = name.split('/').count();
        let steps: Vec<_> = entry.path.iter().rev().take(steps).map(|step| step.to_str()).collect();
        if let Some(steps) = steps.into_iter().rev().collect::<Option<Vec<_>>>() {
            paths.entry((*area, vendor.clone())).or_default().push(steps.join("/"));
        }
    }
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        Arc::from(paths)
    };
    paths.into_iter().map(|(key, paths)| (key, sorted(paths))).collect()
}

fn read_folders(folder: &Path, before: &Entries) -> Entries {
    let mut entries = HashMap::new();
    for (area, name) in [(Area::Firmware, "firmware"), (Area::Lang, "lang")] {
        for vendor in list_folder(&folder.join(name)) {
            if vendor.metadata().is_ok_and(|facts| facts.is_dir()) {
                read_vendor(area, &vendor, before, &mut entries);
            }
        }
    }
    entries
}

/// The vendor's own files, and those of one folder more, which is a version's. What cannot be looked at, because it was
/// just removed or for another reason, is left out alone; and so is a name with a dot before it, which is a file that is
/// still being copied.
fn read_vendor(area: Area, vendor: &DirEntry, before: &Entries, entries: &mut Entries) {
    let vendor_name = vendor.file_name().to_string_lossy().to_ascii_lowercase();
    for file in list_folder(&vendor.path()) {
        let name = file.file_name().to_string_lossy().to_ascii_lowercase();
        if !file.metadata().is_ok_and(|facts| facts.is_dir()) {
            read_file((area, &vendor_name, name), &file, before, entries);
            continue;
        }
        for below in list_folder(&file.path()) {
            let path = format!("{name}/{}", below.file_name().to_string_lossy().to_ascii_lowercase());
            read_file((area, &vendor_name, path), &below, before, entries);
        }
    }
}

fn read_file(
    (area, vendor, name): (Area, &str, String),
    file: &DirEntry,
    before: &Entries,
    entries: &mut Entries,
) {
    let is_partial = file.file_name().to_string_lossy().starts_with('.');
    let Ok(facts) = file.metadata() else { return };
    if !facts.is_file() || is_partial {
        return;
    }
    let modified = facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified_ns = modified.map_or(0, |since| since.as_nanos());
    let key = (area, vendor.to_owned(), name);
    let same = before.get(&key).filter(|old| (old.bytes, old.modified_ns) == (facts.len(), modified_ns));
    let entry = same.cloned().unwrap_or_else(|| {
        Arc::new(Entry {
            path: file.path(),
            bytes: facts.len(),
            modified_ns,
            content: RwLock::default(),
            reading: Mutex::default(),
        })
    });
    entries.insert(key, entry);
}

/// The entries of a folder; none when it does not exist or cannot be read.
fn list_folder(folder: &Path) -> Vec<DirEntry> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(Result::ok).collect(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("Cannot list {}: {error}", folder.display());
            }
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[tokio::test]
    async fn a_file_is_found_in_any_case_and_its_replacement_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let vendor = folder.path().join("firmware/snom");
        std::fs::create_dir_all(&vendor).unwrap();
        std::fs::write(vendor.join("D785.bin"), b"one").unwrap();
        let clock = Clock::manual(Timestamp(0));
        let shelf = Shelf::new(folder.path().to_owned(), clock.clone());
        let first = shelf.take(Area::Firmware, "snom", "d785.BIN").await.unwrap().body;
        assert_eq!((&first.bytes[..], first.ranges), (&b"one"[..], true));
        assert!(shelf.take(Area::Lang, "snom", "d785.bin").await.is_none());
        std::fs::write(vendor.join("D785.bin"), b"three").unwrap();
        assert_eq!(shelf.take(Area::Firmware, "snom", "D785.bin").await.unwrap().body.bytes, first.bytes);
        clock.advance(LIST_AGE_MAX);
        let second = shelf.take(Area::Firmware, "snom", "D785.bin").await.unwrap().body;
        assert_eq!(&second.bytes[..], b"three");
        assert_ne!(first.etag, second.etag);
    }

    #[tokio::test]
    async fn a_large_file_is_shared_while_it_is_transferred_and_dropped_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("firmware/snom")).unwrap();
        std::fs::write(folder.path().join("firmware/snom/big.bin"), vec![7; 300_000]).unwrap();
        let shelf = Shelf::new(folder.path().to_owned(), Clock::manual(Timestamp(0)));
        let one = shelf.take(Area::Firmware, "snom", "big.bin").await.unwrap().body;
        let two = shelf.take(Area::Firmware, "snom", "big.bin").await.unwrap().body;
        assert_eq!(one.bytes.as_ptr(), two.bytes.as_ptr(), "the same memory");
        let entry = shelf.list.read().unwrap().entries.values().next().cloned().unwrap();
        drop((one, two));
        assert!(entry.content().is_none());
    }

    #[tokio::test]
    async fn a_large_file_that_many_want_at_once_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("firmware/snom")).unwrap();
        std::fs::write(folder.path().join("firmware/snom/big.bin"), vec![7; 300_000]).unwrap();
        let shelf = Shelf::new(folder.path().to_owned(), Clock::manual(Timestamp(0)));
        let asked = (0..50).map(|_| shelf.take(Area::Firmware, "snom", "big.bin"));
        let taken = futures_util::future::join_all(asked).await;
        let places: std::collections::BTreeSet<_> =
            taken.iter().map(|body| body.as_ref().unwrap().body.bytes.as_ptr().addr()).collect();
        assert_eq!(places.len(), 1, "the same memory for all");
    }
}
