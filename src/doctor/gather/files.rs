//! The files of the installation, as they are on the disk. Never opens one.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Uid, User};

use super::super::Finding;
use super::super::disk::{Entry, KeyFile, Room};
use super::super::host::Unit;
use crate::config::Places;

/// Where systemd keeps the credentials of the service, for root and its user.
const CREDENTIAL: &str = "/run/credentials/offhook.service/offhook-key";
/// Where units lie.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
const UNIT: &str = "offhook.service";

pub(super) fn entry(path: &Path) -> io::Result<Entry> {
    let of = fs::metadata(path)?;
    let owner = match User::from_uid(Uid::from_raw(of.uid())) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("user {}", of.uid()),
    };
    let mode = of.permissions().mode();
    Ok(Entry { path: path.to_owned(), uid: of.uid(), owner, mode, size: of.size() })
}

/// What lies directly in the data folder, and in that of the agent's socket.
pub(super) fn within(folder: &Path) -> Vec<Entry> {
    let of = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let all = of(folder.to_owned()).chain(of(folder.join("run")));
    all.filter_map(|one| entry(&one.path()).ok()).collect()
}

/// What is to be said where this user may not look into the folder.
pub(super) fn denied(folder: &Path) -> Option<Finding> {
    let is_denied =
        |looked: io::Result<()>| looked.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    let seen = fs::read_dir(folder).map(drop);
    is_denied(seen).then(|| {
        let text =
            format!("the data folder {} was not checked: this user may not look into it", folder.display());
        Finding::unknown("data", text, "run the command as root, or as the user of the service")
    })
}

pub(super) fn key(places: &Places) -> KeyFile {
    let path = places.key_file();
    let own =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join("offhook-key"));
    let service = (places.config == Path::new("/etc/offhook")).then(|| PathBuf::from(CREDENTIAL));
    match entry(&path) {
        Ok(entry) => KeyFile::There(entry),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => KeyFile::Unseen(path),
        Err(_) => match own.into_iter().chain(service).find(|file| file.exists()) {
            Some(given) => KeyFile::Given(given),
            None => KeyFile::None(path),
        },
    }
}

/// Room on the disk of the folder, or of the nearest one above it that there is.
pub(super) fn room(folder: &Path) -> Option<Room> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let of = statvfs(there).ok()?;
    let is_fixed = of.flags().contains(FsFlags::ST_RDONLY);
    let free_bytes = if is_fixed { 0 } else { of.blocks_available() * of.fragment_size() };
    let free_files = (of.files() > 0).then(|| of.files_available());
    Some(Room { free_bytes, free_files })
}

pub(super) fn unit() -> Unit {
    let file = UNITS.iter().map(|folder| Path::new(folder).join(UNIT)).find(|file| file.exists());
    let wants = Path::new("/etc/systemd/system/multi-user.target.wants").join(UNIT);
    Unit {
        has_systemd: Path::new("/run/systemd/system").is_dir(),
        file: file.map(|file| file.display().to_string()),
        enabled: wants.symlink_metadata().is_ok(),
    }
}
