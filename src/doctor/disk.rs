//! The files of an installation: whose they are, who may read them, and whether there is room. Only judges what was read.

use std::path::PathBuf;

use super::{Finding, some_of};

/// Less free space is soon used up; with less still, nothing can be written down, and no password leaves.
const LOW_BYTES: u64 = 1 << 30;
const EMPTY_BYTES: u64 = 64 << 20;
/// Files (inodes) that are left.
const LOW_FILES: u64 = 1_000;

/// A file or folder as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    /// The owner's name.
    pub(super) owner: String,
    pub(super) mode: u32,
    pub(super) size: u64,
}

/// The data folder with what lies in it; `None`: there is none.
pub(super) fn data(folder: Option<&Entry>, within: &[Entry], agent_uid: Option<u32>) -> Vec<Finding> {
    let Some(folder) = folder else {
        let text = "there is no data folder yet";
        return vec![Finding::warn("data", text, "offhook run, or offhook import, makes it")];
    };
    let (path, owner) = (folder.path.display(), &folder.owner);
    let mut findings = Vec::new();
    if let Some(agent) = agent_uid.filter(|uid| *uid != 0 && *uid != folder.uid) {
        findings.push(
            Finding::broken(
                "data",
                format!("the data folder {path} belongs to {owner}, and the agent runs as user {agent}"),
                format!("stop the agent, then chown -R {agent} {path}"),
            )
            .seen(format!("mode {:04o}", folder.mode & 0o7777)),
        );
    }
    let foreign: Vec<String> = within
        .iter()
        .filter(|one| one.uid != folder.uid)
        .map(|one| format!("{} ({})", one.path.display(), one.owner))
        .collect();
    if !foreign.is_empty() {
        findings.push(Finding::broken(
            "data",
            format!("files in {path}, which belongs to {owner}, belong to others: {}", some_of(&foreign)),
            format!("stop the agent, then chown -R {} {path}", folder.uid),
        ));
    }
    if folder.mode & 0o022 != 0 {
        findings.push(
            Finding::broken(
                "data",
                format!("others than {owner} may write to the data folder {path}"),
                format!("chmod go-w {path}"),
            )
            .seen(format!("mode {:04o}", folder.mode & 0o7777)),
        );
    }
    if findings.is_empty() {
        let text = format!("the data folder {path} and what lies in it belong to {owner}");
        findings.push(Finding::ok("data", text));
    }
    findings
}

/// What became of looking at the key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyFile {
    There(Entry),
    /// Systemd gives the key; no file is needed.
    Given(PathBuf),
    /// There is none.
    None(PathBuf),
    Unseen(PathBuf),
}

/// The file whose key seals all passwords. `used`: there is a database that was sealed with one.
pub(super) fn key(file: &KeyFile, data: Option<&Entry>, used: bool) -> Finding {
    match file {
        KeyFile::Given(path) => Finding::ok("key", "the key of all passwords is given by systemd")
            .seen(path.display().to_string()),
        KeyFile::Unseen(path) => Finding::unknown(
            "key",
            format!("the key of all passwords ({}) was not checked", path.display()),
            "run the command as root, or as the user of the service",
        ),
        KeyFile::None(path) if used => Finding::broken(
            "key",
            format!("the key of all passwords is gone: {}", path.display()),
            "put it back from where it was kept; without it no password can be opened",
        ),
        KeyFile::None(_) => Finding::ok("key", "there is no key of passwords yet; the first start makes one"),
        KeyFile::There(entry) => {
            let path = entry.path.display();
            let mode = format!("mode {:04o}", entry.mode & 0o7777);
            if entry.mode & 0o077 != 0 {
                let text = format!("others than {} may read the key of all passwords, {path}", entry.owner);
                return Finding::broken("key", text, format!("chmod 0400 {path}; then offhook key rotate"))
                    .seen(mode);
            }
            match data.filter(|data| data.uid != entry.uid) {
                Some(data) => Finding::broken(
                    "key",
                    format!("the key {path} belongs to {}, and the data to {}", entry.owner, data.owner),
                    format!("chown {} {path}", data.uid),
                )
                .seen(mode),
                None => {
                    Finding::ok("key", format!("only {} may read the key {path}", entry.owner)).seen(mode)
                }
            }
        }
    }
}

/// Room on the file system of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) free_bytes: u64,
    /// `None`: the file system does not count files.
    pub(super) free_files: Option<u64>,
}

pub(super) fn room(room: Option<Room>, folder: &str) -> Finding {
    let Some(Room { free_bytes, free_files }) = room else {
        return Finding::unknown(
            "disk",
            format!("the free space of {folder} was not checked"),
            "df shows it",
        );
    };
    let free = format!("{} MiB", free_bytes >> 20);
    let fix = "make room: old backups, firmware that no phone gets any more, the system's logs";
    match free_files {
        Some(files) if files < LOW_FILES => {
            Finding::broken("disk", format!("only {files} more files fit on the disk of {folder}"), fix)
        }
        _ if free_bytes < EMPTY_BYTES => {
            let text = format!(
                "the disk of {folder} is full ({free} are free): nothing can be written down, and no \
                                password leaves"
            );
            Finding::broken("disk", text, fix)
        }
        _ if free_bytes < LOW_BYTES => {
            Finding::warn("disk", format!("only {free} are free on the disk of {folder}"), fix)
        }
        _ => Finding::ok("disk", format!("{free} are free on the disk of {folder}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn entry(path: &str, uid: u32, mode: u32) -> Entry {
        let owner = if uid == 0 { "root".to_owned() } else { format!("user {uid}") };
        Entry { path: path.into(), uid, owner, mode, size: 1 }
    }

    #[test]
    fn a_data_folder_of_others_is_told() {
        let folder = entry("/d", 998, 0o40_700);
        let own = entry("/d/offhook.db", 998, 0o100_600);
        assert_eq!(data(Some(&folder), std::slice::from_ref(&own), Some(998))[0].state, State::Ok);
        assert_eq!(data(Some(&folder), &[own], Some(0))[0].state, State::Ok, "root may everything");
        let roots = data(Some(&folder), &[entry("/d/offhook.db-wal", 0, 0o100_600)], None);
        assert_eq!(
            roots[0].text,
            "files in /d, which belongs to user 998, belong to others: /d/offhook.db-wal (root)"
        );
        assert_eq!(roots[0].fix, "stop the agent, then chown -R 998 /d");
        let of_other = data(Some(&folder), &[], Some(1000));
        assert_eq!(
            of_other[0].text,
            "the data folder /d belongs to user 998, and the agent runs as user 1000"
        );
        assert_eq!(data(Some(&entry("/d", 998, 0o40_777)), &[], None)[0].state, State::Broken);
        assert_eq!(data(None, &[], None)[0].state, State::Warn);
    }

    #[test]
    fn a_key_that_others_read_is_told() {
        let data = entry("/d", 998, 0o40_700);
        let check = |file: KeyFile, used, state| {
            let found = key(&file, Some(&data), used);
            assert_eq!(found.state, state, "{found:?}");
        };
        check(KeyFile::There(entry("/k", 998, 0o100_400)), true, State::Ok);
        check(KeyFile::There(entry("/k", 998, 0o100_600)), true, State::Ok);
        check(KeyFile::There(entry("/k", 998, 0o100_640)), true, State::Broken);
        check(KeyFile::There(entry("/k", 0, 0o100_400)), true, State::Broken);
        check(KeyFile::None("/k".into()), true, State::Broken);
        check(KeyFile::None("/k".into()), false, State::Ok);
        check(KeyFile::Given("/run/credentials/x".into()), true, State::Ok);
        check(KeyFile::Unseen("/k".into()), true, State::Unknown);
    }

    #[test]
    fn a_full_disk_is_told() {
        let of = |free_bytes, free_files| room(Some(Room { free_bytes, free_files }), "/d").state;
        assert_eq!(of(10 << 30, Some(1_000_000)), State::Ok);
        assert_eq!(of(10 << 30, None), State::Ok);
        assert_eq!(of(500 << 20, None), State::Warn);
        assert_eq!(of(1 << 20, None), State::Broken);
        assert_eq!(of(10 << 30, Some(3)), State::Broken);
        assert_eq!(room(None, "/d").state, State::Unknown);
    }
}
