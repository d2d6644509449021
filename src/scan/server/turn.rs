//! One scan at a time on this host: a lock on a file, which the kernel lets go of whatever becomes of its holder.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// The right to scan; ends with the value.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: File,
}

impl Turn {
    /// `None` while another process has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // One that another user made (root, by hand) can be locked without the right to write to it.
        let own = File::options().write(true).create(true).truncate(false).open(path);
        let file = own.or_else(|error| File::open(path).map_err(|_| error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_turn_and_it_is_free_when_its_holder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/scan.lock");
        let turn = Turn::take(&path).unwrap();
        assert!(turn.is_some());
        assert!(Turn::take(&path).unwrap().is_none());
        drop(turn);
        assert!(Turn::take(&path).unwrap().is_some());
    }
}
