//! The file with the vault's key: read, and made once. It appears whole or not at all, and an existing one is never
//! replaced: a lost race, a full disk or a power cut leaves the old key or none.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::vault::{VaultError, hex, unhex};
use crate::clock::Entropy;

type Key = Zeroizing<[u8; 32]>;

/// The key in this file; `None` where there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Key>, VaultError> {
    let failed = |error| VaultError::File { operation: "read", path: path.to_owned(), error };
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o044 != 0 {
        return Err(VaultError::Exposed(path.to_owned()));
    }
    let bytes = unhex(text.trim()).map(Zeroizing::new);
    let key: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.as_slice().try_into().ok());
    key.map(|key| Some(Zeroizing::new(key))).ok_or_else(|| VaultError::NotAKey(path.to_owned()))
}

/// Makes a key and its file (mode 0400, in a folder of mode 0700). If another process was faster, the key is that
/// one's. When root makes it, it belongs to the owner of the folder `like`.
pub(super) fn create(path: &Path, like: Option<&Path>, entropy: &Entropy) -> Result<Key, VaultError> {
    let key = Zeroizing::new(entropy.bytes::<32>()?);
    let unique = hex(&entropy.bytes::<8>()?);
    let failed = |error| VaultError::File { operation: "create", path: path.to_owned(), error };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    create_folder(&folder).map_err(failed)?;
    let draft = folder.join(format!(".{unique}.key"));
    let written = write_draft(&draft, like, &key);
    // A hard link, unlike a rename, fails if the name is taken.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return read(path)?.ok_or_else(|| VaultError::Missing(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(key)
}

/// Makes a folder that only its owner may enter; an existing one stays as it is.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Gives a file that root made to the owner of the folder `like`, so that the service's user can read it.
pub(super) fn give_to_owner(file: &Path, like: &Path) -> io::Result<()> {
    let Ok(owner) = fs::metadata(like) else { return Ok(()) };
    if nix::unistd::Uid::effective().is_root() && owner.uid() != 0 {
        std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn write_draft(draft: &Path, like: Option<&Path>, key: &Key) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(draft)?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex(key.as_slice()))));
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    like.map_or(Ok(()), |like| give_to_owner(draft, like))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/offhook.key");
        assert!(read(&path).unwrap().is_none());
        let made = create(&path, Some(folder.path()), &Entropy::System).unwrap();
        assert_eq!(read(&path).unwrap(), Some(made.clone()));
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
        fs::write(&path, "ab".repeat(32)).unwrap();
        assert!(read(&path).unwrap().is_some());
        for mode in [0o644, 0o640, 0o440, 0o404] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path), Err(VaultError::Exposed(_))), "{mode:o}");
        }
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
