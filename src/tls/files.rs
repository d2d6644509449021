//! The files of certificates and keys: read as they are, written whole or not at all. Keys are readable by their owner
//! only, and wiped from memory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// Larger files are no certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Files of a folder that are looked at.
const FOLDER_FILES_MAX: usize = 512;

/// A text with a key in it; `None` where there is no file.
pub(super) fn read_secret(path: &Path) -> io::Result<Option<Secret>> {
    let octets = match read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    String::from_utf8(octets).map(|text| Some(Secret::new(text))).map_err(|_| ErrorKind::InvalidData.into())
}

/// All octets of a file, unless it is far too large.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > FILE_BYTES_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut octets = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Writes a file that its owner may read, and nobody else.
pub(super) fn write_secret(path: &Path, text: &Secret) -> io::Result<()> {
    write(path, text.expose().as_bytes(), 0o600)
}

/// Writes a file that everybody may read who may enter its folder.
pub(super) fn write_public(path: &Path, text: &str) -> io::Result<()> {
    write(path, text.as_bytes(), 0o644)
}

fn write(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = path.with_extension("draft");
    // One that an agent left which died: a file of this name is ours.
    let _ = fs::remove_file(&draft);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).and_then(|mut file| {
            file.write_all(octets)?;
            file.sync_all()
        });
    let renamed = written.and_then(|()| fs::rename(&draft, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&draft);
    }
    renamed.and_then(|()| File::open(folder)?.sync_all())
}

/// The files of a folder that may hold certificates, in the order of their names.
pub(super) fn certificates_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_one = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        ["pem", "crt", "cer", "der"].contains(&extension.to_ascii_lowercase().as_str())
    };
    let entries = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(is_one).take(FOLDER_FILES_MAX).collect();
    files.sort();
    Ok(files)
}

/// What a file looks like from outside; another one whenever it was written. `None` without a file.
pub(super) type Stamp = Option<[i64; 6]>;

/// The stamps of files.
pub(super) fn stamps<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<(PathBuf, Stamp)> {
    let stamp = |path: &PathBuf| {
        let of = fs::metadata(path).ok()?;
        let (inode, size) = (of.ino().cast_signed(), of.size().cast_signed());
        Some([inode, size, of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()])
    };
    paths.into_iter().map(|path| (path.clone(), stamp(path))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_its_owners_and_no_draft_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls/ca.pem");
        assert!(read_secret(&path).unwrap().is_none());
        for text in ["one", "two"] {
            write_secret(&path, &Secret::new(text)).unwrap();
            assert_eq!(read_secret(&path).unwrap().unwrap().expose(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_was_written_again_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        let before = stamps([&path]);
        fs::write(&path, "a").unwrap();
        let first = stamps([&path]);
        assert_eq!((before[0].1, stamps([&path])), (None, first.clone()));
        write_public(&path, "b").unwrap();
        assert_ne!(stamps([&path]), first);
        fs::write(folder.path().join("README.txt"), "not one").unwrap();
        assert_eq!(certificates_in(folder.path()).unwrap(), [path]);
    }
}
