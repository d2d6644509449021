//! Leases that are durable and not in the database yet: a file that is written from its beginning on, each batch with one
//! `fdatasync`, and begun anew when the database has all of it.
//!
//! Its octets are there before the first lease: what is written over costs the disk a third of what makes a file longer,
//! and a full disk is noticed at the start. A batch is a head (round, number, length, digest) and a line of JSON. What
//! does not follow from the batch before it was written in an earlier round, or was torn by the end of its process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::super::key_file;
use super::{LeaseRow, LeaseState, millis};
use crate::clock::{BootId, BootInstant, Timestamp};
use crate::device::Mac;

/// Room for some 25,000 leases: two fleets of 10,000 within the second that the database is behind.
const BYTES: usize = 4 << 20;
/// Octets of most leases.
const LEASE_USUAL: usize = 192;
/// Round, number and length, and what the digest is cut to.
const FACTS: usize = 16;
const HEAD: usize = 32;

/// The file, open for one agent.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// How often it was begun.
    round: u64,
    /// The next batch's number and place.
    number: u32,
    at: usize,
}

/// Leases of one agent that were given together.
type Batch = (String, Vec<LeaseRow>);
type ReadLine = Line<String, Option<Vec<u8>>>;
/// A row, in the order of its fields.
type Line<T, O> = (T, Ipv4Addr, Option<Mac>, O, Option<T>, Option<T>, T, i64, T, i64, i64);

impl Journal {
    /// Makes an empty one that only its owner reads, in place of what was there.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let (folder, draft) = (key_file::folder(path), path.with_extension("new"));
        key_file::create_folder(&folder)?;
        remove(&draft)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(&vec![0; BYTES])?;
        file.sync_all()?;
        key_file::give_to_owner(&draft, &folder)?;
        fs::rename(&draft, path)?;
        key_file::sync(&folder)?;
        Ok(Self { file, path: path.to_owned(), round: 1, number: 0, at: 0 })
    }

    /// Makes these leases of an agent durable. `false`: there is no room for them.
    pub(super) fn append(&mut self, agent: &str, rows: &[LeaseRow]) -> io::Result<bool> {
        let lines: Vec<Line<&str, Option<&[u8]>>> = rows.iter().map(line).collect();
        let mut batch = Vec::with_capacity(HEAD + rows.len() * LEASE_USUAL);
        batch.resize(HEAD, 0);
        serde_json::to_writer(&mut batch, &(agent, lines))?;
        if self.at + batch.len() > BYTES {
            return Ok(false);
        }
        let (head, text) = batch.split_at_mut(HEAD);
        head.copy_from_slice(&make_head(self.round, self.number, text));
        self.file.write_all_at(&batch, self.at as u64)?;
        self.file.sync_data()?;
        self.at += batch.len();
        self.number += 1;
        Ok(true)
    }

    /// One whose disk has failed.
    #[cfg(test)]
    pub(super) fn unwritable(path: &Path) -> Self {
        Self { file: File::open(path).unwrap(), path: path.to_owned(), round: 1, number: 0, at: 0 }
    }

    /// Whether there is anything in it.
    pub(super) fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// Forgets what is in it: the database has it. A file that cannot be written any more is removed.
    pub(super) fn restart(mut self) -> Option<Self> {
        let emptied = self.file.write_all_at(&[0; HEAD], 0).and_then(|()| self.file.sync_data());
        if let Err(error) = emptied {
            tracing::warn!(
                "Cannot empty {}: {error}; leases go to the database at once",
                self.path.display()
            );
            let _ = fs::remove_file(&self.path);
            return None;
        }
        (self.round, self.number, self.at) = (self.round + 1, 0, 0);
        Some(self)
    }
}

/// Removes a journal; it is nothing that there is none.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What a journal holds, by agent, the oldest first; nothing where there is none.
pub(super) fn read(path: &Path) -> io::Result<Vec<Batch>> {
    let octets = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        octets => octets?,
    };
    let (mut batches, mut rest) = (Vec::new(), octets.as_slice());
    let round = rest.first_chunk().map_or(0, |round| u64::from_be_bytes(*round));
    while let Some((batch, behind)) = next(rest, round, batches.len()) {
        batches.push(batch);
        rest = behind;
    }
    Ok(batches)
}

/// The batch of this number, and what is behind it.
fn next(octets: &[u8], round: u64, number: usize) -> Option<(Batch, &[u8])> {
    let (head, behind) = octets.split_at_checked(HEAD)?;
    let len = u32::from_be_bytes(*head.get(12..)?.first_chunk()?);
    let (text, behind) = behind.split_at_checked(len as usize)?;
    if head != make_head(round, u32::try_from(number).ok()?, text) {
        return None;
    }
    let (agent, lines): (String, Vec<ReadLine>) = serde_json::from_slice(text).ok()?;
    let rows = lines.into_iter().map(row).collect::<Option<_>>()?;
    Some(((agent, rows), behind))
}

fn make_head(round: u64, number: u32, text: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let facts = round.to_be_bytes().into_iter().chain(number.to_be_bytes()).chain(len.to_be_bytes());
    head.iter_mut().zip(facts).for_each(|(place, octet)| *place = octet);
    let (facts, place) = head.split_at_mut(FACTS);
    let digest = Sha256::new().chain_update(&*facts).chain_update(text).finalize();
    place.iter_mut().zip(digest).for_each(|(place, octet)| *place = octet);
    head
}

fn line(row: &LeaseRow) -> Line<&str, Option<&[u8]>> {
    (
        &row.interface,
        row.address,
        row.mac,
        row.client_id.as_deref(),
        row.host_name.as_deref(),
        row.class.as_deref(),
        row.state.as_str(),
        row.granted.0,
        &row.granted_boot.boot.0,
        row.granted_boot.ms,
        millis(row.duration),
    )
}

fn row(line: ReadLine) -> Option<LeaseRow> {
    let (interface, address, mac, client_id, host_name, class, state, granted, boot, ms, duration) = line;
    Some(LeaseRow {
        interface,
        address,
        mac,
        client_id,
        host_name,
        class,
        state: LeaseState::of(&state)?,
        granted: Timestamp(granted),
        granted_boot: BootInstant { boot: BootId(boot.into()), ms },
        duration: Duration::from_millis(u64::try_from(duration).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::tests::lease;
    use super::*;

    fn rows(path: &Path) -> Vec<LeaseRow> {
        read(path).unwrap().into_iter().flat_map(|(_, rows)| rows).collect()
    }

    #[test]
    fn what_was_appended_is_read_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leases.journal");
        assert!(read(&path).unwrap().is_empty(), "there is none");
        let mut journal = Journal::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).unwrap().len(), BYTES as u64);
        assert!(journal.is_empty() && read(&path).unwrap().is_empty());
        let mut odd = lease(3, 9_000);
        (odd.mac, odd.client_id, odd.host_name) = (None, None, Some("\"desk\"\n".to_owned()));
        odd.state = LeaseState::Quarantined;
        let (first, second) = (vec![lease(1, 5_000), lease(2, 5_000)], vec![odd, lease(1, 6_000)]);
        assert!(journal.append("one", &first).unwrap() && journal.append("two", &second).unwrap());
        let both = [("one".to_owned(), first.clone()), ("two".to_owned(), second)];
        assert_eq!(read(&path).unwrap(), both);
        let mut journal = journal.restart().unwrap();
        assert!(read(&path).unwrap().is_empty());
        // Of the same length as before: the second batch of the round before follows it.
        assert!(journal.append("one", &first).unwrap());
        assert_eq!(rows(&path), first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn of_a_torn_batch_nothing_is_read_and_all_before_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leases.journal");
        let mut journal = Journal::create(&path).unwrap();
        assert!(journal.append("one", &[lease(1, 5_000)]).unwrap());
        let (begin, whole) = (journal.at, vec![lease(1, 5_000), lease(2, 5_000)]);
        assert!(journal.append("one", &whole[1..]).unwrap());
        let good = fs::read(&path).unwrap();
        for at in begin..journal.at {
            let mut torn = good.clone();
            torn[at] ^= 0x20;
            fs::write(&path, &torn).unwrap();
            assert_eq!(rows(&path), whole[..1], "octet {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(rows(&path), whole[..1], "cut at {at}");
        }
        fs::write(&path, &good).unwrap();
        assert_eq!(rows(&path), whole);
    }

    #[test]
    fn what_finds_no_room_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leases.journal");
        let mut journal = Journal::create(&path).unwrap();
        let many = vec![lease(1, 5_000); 8_000];
        let fitting = std::iter::from_fn(|| journal.append("one", &many).unwrap().then_some(())).count();
        assert!(fitting >= 2, "{fitting}");
        assert_eq!(rows(&path).len(), fitting * many.len());
        assert!(journal.append("one", &many[..1]).unwrap(), "a smaller one finds room still");
    }
}
