//! The files with the vault's keys: read, made once, and exchanged when the key changes. A file appears whole or not at
//! all: a lost race, a full disk or a power cut leaves what was there before.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::vault::{Key, VaultError};
use crate::clock::Entropy;
use crate::hex::{hex, unhex};

/// Group and others may not read a key file.
const PRIVATE: u32 = 0o044;
/// Systemd grants the service's user access by an access list, whose mask stands where the group's rights do.
const PRIVATE_CREDENTIAL: u32 = 0o004;

/// The keys in this file, one on a line: the one to seal with first. None where there is no file.
pub(super) fn read(path: &Path) -> Result<Vec<Key>, VaultError> {
    read_private(path, PRIVATE)
}

/// The same of a file that systemd gives a service.
pub(super) fn read_credential(path: &Path) -> Result<Vec<Key>, VaultError> {
    read_private(path, PRIVATE_CREDENTIAL)
}

/// The same of a copy that somebody brings: on what it was brought, nobody may be able to keep others out.
pub(super) fn read_copy(path: &Path) -> Result<Vec<Key>, VaultError> {
    let keys = read_private(path, 0)?;
    if keys.is_empty() { Err(VaultError::Missing(path.to_owned())) } else { Ok(keys) }
}

fn read_private(path: &Path, forbidden: u32) -> Result<Vec<Key>, VaultError> {
    let failed = |error| VaultError::File { operation: "read", path: path.to_owned(), error };
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(VaultError::NotAKey(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    if fs::metadata(path).map_err(failed)?.permissions().mode() & forbidden != 0 {
        return Err(VaultError::Exposed(path.to_owned()));
    }
    Key::parse_all(&text).ok_or_else(|| VaultError::NotAKey(path.to_owned()))
}

/// Makes a key and its file (mode 0400, in a folder of mode 0700). If another process was faster, the key is that
/// one's. When root makes it, it belongs to the owner of the folder `like`.
pub(super) fn create(path: &Path, like: Option<&Path>, entropy: &Entropy) -> Result<Key, VaultError> {
    let key = Key::draw(entropy)?;
    match write_new(path, like, &key, entropy) {
        Ok(()) => Ok(key),
        Err(VaultError::File { error, .. }) if error.kind() == ErrorKind::AlreadyExists => {
            let first = read(path)?.into_iter().next();
            first.ok_or_else(|| VaultError::Missing(path.to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Makes a file with this key; an existing one stays as it is, and that is an error.
pub(super) fn write_new(
    path: &Path,
    like: Option<&Path>,
    key: &Key,
    entropy: &Entropy,
) -> Result<(), VaultError> {
    let failed = |error| VaultError::File { operation: "create", path: path.to_owned(), error };
    let folder = folder(path);
    create_folder(&folder).map_err(failed)?;
    let draft = folder.join(format!(".{}.key", hex(&entropy.bytes::<8>()?)));
    let written = write_draft(&draft, std::slice::from_ref(key))
        .and_then(|()| like.map_or(Ok(()), |like| give_to_owner(&draft, like)));
    // A hard link, unlike a rename, fails if the name is taken.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    linked.and_then(|()| sync(&folder)).map_err(failed)
}

/// Exchanges the keys of a file. It keeps its owner; what it held before is gone when this returns, and not sooner.
pub(super) fn replace(path: &Path, keys: &[Key]) -> Result<(), VaultError> {
    exchange(path, path, keys)
}

/// Puts a key that `beside` held into a file of its own, with the same owner.
pub(super) fn keep(path: &Path, beside: &Path, key: &Key) -> Result<(), VaultError> {
    exchange(path, beside, std::slice::from_ref(key))
}

/// The folder is locked, so that a draft here is that of a process which is gone.
fn exchange(path: &Path, like: &Path, keys: &[Key]) -> Result<(), VaultError> {
    let failed = |error| VaultError::File { operation: "replace", path: path.to_owned(), error };
    let folder = folder(path);
    let draft = folder.join(".offhook.key.draft");
    let _ = fs::remove_file(&draft);
    let written = write_draft(&draft, keys)
        .and_then(|()| give_to_owner(&draft, like))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.and_then(|()| sync(&folder)).map_err(failed)
}

/// Where the key of this name is kept when everything was sealed with another one.
pub(super) fn retired(path: &Path, id: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{id}"));
    PathBuf::from(name)
}

/// The files of all such keys.
pub(super) fn all_retired(path: &Path) -> Vec<PathBuf> {
    let prefix = retired(path, "");
    let is_one = |file: &PathBuf| {
        let name = file.as_os_str().to_string_lossy();
        let id = name.strip_prefix(&*prefix.as_os_str().to_string_lossy());
        id.and_then(unhex).is_some_and(|id| !id.is_empty())
    };
    let entries = fs::read_dir(folder(path)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_one).collect();
    files.sort();
    files
}

/// A lock on the folder of the key file, held as long as the file given back.
pub(super) fn lock_folder(path: &Path) -> Result<Option<File>, VaultError> {
    let folder = folder(path);
    let opened = match File::open(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(TryLockError::Error),
    };
    match opened.and_then(|folder| folder.try_lock().map(|()| folder)) {
        Ok(locked) => Ok(Some(locked)),
        Err(TryLockError::WouldBlock) => Err(VaultError::Busy(folder)),
        Err(TryLockError::Error(error)) => {
            Err(VaultError::File { operation: "lock the folder of", path: path.to_owned(), error })
        }
    }
}

/// Makes a folder that only its owner may enter; an existing one stays as it is.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Gives a file that root made to the owner of `like`, so that the service's user can read it.
pub(crate) fn give_to_owner(file: &Path, like: &Path) -> io::Result<()> {
    let Ok(owner) = fs::metadata(like) else { return Ok(()) };
    if nix::unistd::Uid::effective().is_root() && owner.uid() != 0 {
        std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Makes what happened to the names in a folder durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all())
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn write_draft(draft: &Path, keys: &[Key]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(draft)?;
    for key in keys {
        file.write_all(key.line().as_bytes())?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/offhook.key");
        assert!(read(&path).unwrap().is_empty());
        let made = create(&path, Some(folder.path()), &Entropy::System).unwrap();
        assert_eq!(read(&path).unwrap(), std::slice::from_ref(&made));
        assert_eq!(create(&path, None, &Entropy::System).unwrap(), made, "the first key stays");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn what_is_not_a_private_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offhook.key");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(read(&path), Err(VaultError::NotAKey(_))));
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(matches!(read(&path), Err(VaultError::NotAKey(_))));
        fs::write(&path, "ab".repeat(32)).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        for mode in [0o644, 0o640, 0o440, 0o404] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path), Err(VaultError::Exposed(_))), "{mode:o}");
        }
    }

    #[test]
    fn a_file_takes_several_keys_and_gives_them_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offhook.key");
        let old = create(&path, None, &Entropy::System).unwrap();
        let new = Key::draw(&Entropy::System).unwrap();
        replace(&path, &[new.clone(), old.clone()]).unwrap();
        assert_eq!(read(&path).unwrap(), [new, old.clone()]);
        let aside = retired(&path, &old.id());
        keep(&aside, &path, &old).unwrap();
        assert_eq!(read(&aside).unwrap(), [old]);
        for file in [&path, &aside] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o400);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft stays behind");
    }

    #[test]
    fn one_process_at_a_time_changes_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offhook.key");
        let held = lock_folder(&path).unwrap();
        assert!(matches!(lock_folder(&path), Err(VaultError::Busy(_))));
        drop(held);
        assert!(lock_folder(&path).unwrap().is_some());
    }

    #[test]
    fn sixteen_racers_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offhook.key");
        let keys: Vec<Key> = std::thread::scope(|scope| {
            let racers: Vec<_> =
                (0..16).map(|_| scope.spawn(|| create(&path, None, &Entropy::System).unwrap())).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}
