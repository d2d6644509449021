//! The folder in which hooks of DHCP servers leave their reports. Whoever may write there is believed to be a DHCP server
//! of this host, and nothing more: a report is small, read once, and removed.

use std::ffi::OsString;
use std::fs::{DirBuilder, DirEntry, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::libc;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Arrival;
use crate::clock::Clock;
use crate::dhcp::report::{REPORT_BYTES_MAX, Report};

/// How soon a report is read.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Reports that are read at a time; more wait for the next look.
const TOGETHER_MAX: usize = 1_000;
/// A file whose name begins with a dot is being written, unless it is as old as this: then its writer died.
const WRITTEN_WITHIN: Duration = Duration::from_mins(10);
/// A report is so old when it is read: by then the answer that it is about has been heard, if it can be heard here.
const READ_AFTER: Duration = Duration::from_secs(1);
/// Its group may leave reports, and not see those of others; only the agent reads and removes.
const MODE: u32 = 0o1730;

/// The folder.
pub(super) struct Spool {
    folder: PathBuf,
    clock: Clock,
}

impl Spool {
    pub(super) fn new(folder: PathBuf, clock: Clock) -> Self {
        Self { folder, clock }
    }

    /// Makes the folder, then reads what comes into it for ever.
    pub(super) async fn read(self, queue: mpsc::Sender<Arrival>) {
        if let Err(error) = make(&self.folder) {
            return warn!(
                "Cannot make {}: {error}; reports of DHCP servers are not read",
                self.folder.display()
            );
        }
        loop {
            let (folder, now) = (self.folder.clone(), wall(&self.clock));
            let taken = tokio::task::spawn_blocking(move || take(&folder, now)).await;
            match taken {
                Ok(Ok(reports)) => {
                    for report in reports {
                        if queue.send(Arrival::Report(report)).await.is_err() {
                            return;
                        }
                    }
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    info!("{} was removed; it is made anew", self.folder.display());
                    if make(&self.folder).is_err() {
                        return;
                    }
                }
                Ok(Err(error)) => debug!("Cannot read {}: {error}", self.folder.display()),
                Err(error) => debug!("A look into {} ended early: {error}", self.folder.display()),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(MODE))
}

/// The present moment, as files have theirs.
fn wall(clock: &Clock) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.now().0).unwrap_or(0))
}

/// The reports that lie there, the oldest first; all that was looked at is removed.
fn take(folder: &Path, now: SystemTime) -> io::Result<Vec<Report>> {
    let mut names: Vec<OsString> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // Nobody reports by a folder; one that is not empty would be in the way of reports for ever.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = std::fs::remove_dir(folder.join(name));
            continue;
        }
        let rest = if name.as_encoded_bytes().starts_with(b".") { WRITTEN_WITHIN } else { READ_AFTER };
        if is_older(&entry, rest, now) {
            names.push(name);
        }
        if names.len() >= TOGETHER_MAX {
            break;
        }
    }
    let mut reports = Vec::new();
    for name in names {
        let file = folder.join(&name);
        let read = read_one(&file);
        if let Err(error) = std::fs::remove_file(&file) {
            debug!("Cannot remove {}: {error}", file.display());
        }
        match read {
            Ok(report) => reports.push(report),
            Err(error) => debug!("Dropped the report {}: {error}", file.display()),
        }
    }
    reports.sort_by_key(|(written, _)| *written);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

/// One from a time that has not come yet is old: somebody has set the clock.
fn is_older(entry: &DirEntry, rest: Duration, now: SystemTime) -> bool {
    let written = entry.metadata().and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| now.duration_since(written).map_or(true, |age| age >= rest))
}

/// Reads a report that may be anything: a link, a pipe, a gigabyte.
fn read_one(file: &Path) -> io::Result<(SystemTime, Report)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"));
    }
    let mut text = Vec::new();
    let limit = u64::try_from(REPORT_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut text)?;
    if text.len() > REPORT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    let report: Report = serde_json::from_slice(&text)?;
    Ok((metadata.modified()?, report.tidied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"by":"kea","event":"new","mac":"80:5e:c0:00:00:01","address":"10.9.0.7"}"#;

    #[test]
    fn a_report_is_read_once_and_whatever_else_lies_there_goes() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run/reports");
        make(&folder).unwrap();
        make(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o7777, MODE);
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("one", REPORT);
        write(".half", REPORT);
        write("none", "{}");
        write("large", &format!("{REPORT}{}", " ".repeat(REPORT_BYTES_MAX)));
        std::fs::write(parent.path().join("elsewhere"), REPORT).unwrap();
        std::os::unix::fs::symlink(parent.path().join("elsewhere"), folder.join("link")).unwrap();
        nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::fs::create_dir(folder.join("folder")).unwrap();
        for number in 0..=TOGETHER_MAX {
            std::fs::create_dir_all(folder.join(format!("full{number}/within"))).unwrap();
        }
        let written = folder.join("one").metadata().unwrap().modified().unwrap();
        assert!(take(&folder, written + READ_AFTER / 2).unwrap().is_empty(), "it is too new");
        // All of them were written after the first.
        let later = written + READ_AFTER * 30;
        let taken = take(&folder, later).unwrap();
        assert_eq!(taken.iter().map(|report| report.by.as_str()).collect::<Vec<_>>(), ["kea"]);
        let left = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| !name.as_encoded_bytes().starts_with(b"full")).collect();
        assert_eq!(left, [".half"]);
        assert!(parent.path().join("elsewhere").exists());
        assert!(take(&folder, later).unwrap().is_empty());
        assert_eq!(take(&folder, written + WRITTEN_WITHIN * 2).unwrap().len(), 1, "its writer is gone");
        assert!(!folder.join(".half").exists());
        write("later", REPORT);
        assert_eq!(take(&folder, SystemTime::UNIX_EPOCH).unwrap().len(), 1, "the clock was set back");
    }
}
