//! The agent's mark: how far the audit of a database had come, in a small file that does not lie beside the database.
//! A database that is behind it, or has another row where it points, was put back to an earlier state: passwords may
//! have left that it knows nothing of, so nothing may leave until a person arms it again.
//!
//! The file has a line for each database, so that an agent that is pointed at another one raises no alarm.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::audit::{self, Ends};
use super::error::{StoreError, failed};
use super::write::Write;
use super::{Store, key_file};

/// Databases that a mark file remembers.
const DATABASES_MAX: usize = 16;
const HEADING: &str =
    "# How far the audit of each database has come; offhook notices by it that one was put back.";

/// How far the audit of a database has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which database: a random text of its own.
    pub database: String,
    /// The last row.
    pub seq: i64,
    /// Its hash; empty where it has none.
    pub hash: String,
}

/// The file with the mark.
#[derive(Debug, Clone)]
pub struct MarkFile {
    path: PathBuf,
    like: Option<PathBuf>,
}

/// A database that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// The row that was written once.
    pub marked: i64,
    /// The last row of the database as it was found.
    pub found: i64,
    /// How many passwords could have left and are locked now.
    pub locked: usize,
}

impl MarkFile {
    /// The file of this name.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), like: None }
    }

    /// The same; when root makes the file, it shall belong to the owner of `folder` (the service's data).
    #[must_use]
    pub fn owned_like(self, folder: &Path) -> Self {
        Self { like: Some(folder.to_owned()), ..self }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of this database.
    pub fn read(&self, database: &str) -> io::Result<Option<Mark>> {
        Ok(self.marks()?.into_iter().find(|mark| mark.database == database))
    }

    /// Writes a mark, whole or not at all. Those of other databases stay.
    pub fn write(&self, mark: &Mark) -> io::Result<()> {
        let mut marks = self.marks()?;
        marks.retain(|other| other.database != mark.database);
        marks.insert(0, mark.clone());
        marks.truncate(DATABASES_MAX);
        let mut text = format!("{HEADING}\n");
        for Mark { database, seq, hash } in &marks {
            let _ = writeln!(text, "{database} {seq} {hash}");
        }
        let draft = self.path.with_extension(format!("mark.{}", std::process::id()));
        let written = self.write_draft(&draft, &text).and_then(|()| fs::rename(&draft, &self.path));
        written.inspect_err(|_| drop(fs::remove_file(&draft)))
    }

    fn write_draft(&self, draft: &Path, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
        file.write_all(text.as_bytes())?;
        File::sync_data(&file)?;
        self.like.as_ref().map_or(Ok(()), |like| key_file::give_to_owner(draft, like))
    }

    /// A line that is no mark is passed over: a file that was cut off by a power failure marks nothing.
    fn marks(&self) -> io::Result<Vec<Mark>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mark = |line: &str| {
            let mut words = line.split(' ');
            let (database, seq, hash) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
            let whole = !database.is_empty() && words.next().is_none() && [0, 64].contains(&hash.len());
            whole.then(|| Mark { database: database.to_owned(), seq, hash: hash.to_owned() })
        };
        Ok(text.lines().filter_map(mark).collect())
    }
}

impl Store {
    /// How far the audit has come.
    pub async fn mark(&self) -> Result<Mark, StoreError> {
        let mut connection = self.inner.db.reader().acquire().await.map_err(failed("read the audit"))?;
        let Ends { database, seq, hash, .. } = audit::ends(&mut connection).await?;
        Ok(Mark { database, seq, hash })
    }

    /// What the agent wrote down when it last saw this database; an agent asks before it opens a socket. Whether this is the
    /// database that it left behind: if not, every password that could leave is locked, and that is written down.
    /// [`MarkFile::write`] with [`Store::mark`] then lets the mark follow.
    pub async fn notice_rollback(&self, mark: &Mark) -> Result<Option<Rollback>, StoreError> {
        let mut connection = self.inner.db.reader().acquire().await.map_err(failed("read the audit"))?;
        let ends = audit::ends(&mut connection).await?;
        if mark.database != ends.database || mark.seq < ends.anchor_seq {
            return Ok(None);
        }
        let there = if mark.seq == ends.anchor_seq {
            Some(ends.anchor_hash.clone())
        } else {
            let row: Option<(Option<String>,)> = sqlx::query_as("SELECT hash FROM audit WHERE seq = $1")
                .bind(mark.seq)
                .fetch_optional(&mut *connection)
                .await
                .map_err(failed("read the audit"))?;
            row.map(|(hash,)| hash.unwrap_or_default())
        };
        drop(connection);
        if mark.seq <= ends.seq && there.as_deref() == Some(&mark.hash) {
            return Ok(None);
        }
        let locked = self.lock_after_rollback(mark, &ends).await?;
        Ok(Some(Rollback { marked: mark.seq, found: ends.seq, locked }))
    }

    /// A process that ends between the two writes locks, and writes that down, when it starts again.
    async fn lock_after_rollback(&self, mark: &Mark, ends: &Ends) -> Result<usize, StoreError> {
        let changes = self.lock_restored().await?;
        let locked = changes.iter().flat_map(|(_, changes)| changes).map(|change| change.ids.len()).sum();
        let mut write = Write::begin(self).await?;
        let detail = serde_json::json!({ "marked": mark.seq, "found": ends.seq, "locked": locked });
        write.audit("rollback_noticed", None, &detail).await?;
        write.commit().await?;
        Ok(locked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, mac, on_both, pool, sheet};
    use super::*;
    use crate::release::{Reason, State};
    use crate::store::ImportOptions;

    /// A file in the bench's folder.
    fn file(bench: &Bench) -> MarkFile {
        MarkFile::at(&bench.folder.path().join("offhook.mark"))
    }

    /// A device whose passwords may leave.
    async fn armed(store: &Store) -> usize {
        let row = "mac,username,password\n805e00000001,101,x\n";
        store.import(&sheet(row), ImportOptions::default()).await.unwrap();
        let staged = staged(store);
        assert!(staged > 1);
        staged
    }

    fn staged(store: &Store) -> usize {
        let grants = store.inventory().grants(mac(1)).unwrap();
        grants.grants.iter().filter(|grant| !matches!(grant.state, State::Locked(_))).count()
    }

    on_both! {
        async fn a_database_that_went_on_is_no_rollback(bench) {
            let store = bench.store().await;
            let file = file(bench);
            let count = armed(&store).await;
            let mark = store.mark().await.unwrap();
            file.write(&mark).unwrap();
            let read = file.read(&mark.database).unwrap().unwrap();
            assert_eq!(read, mark);
            assert_eq!(store.notice_rollback(&read).await.unwrap(), None);
            store.import(&pool(1), ImportOptions::default()).await.unwrap();
            assert_eq!(store.notice_rollback(&read).await.unwrap(), None);
            assert_eq!(staged(&store), count);
        }

        async fn a_database_that_is_behind_its_mark_is_locked(bench) {
            let store = bench.store().await;
            let count = armed(&store).await;
            let now = store.mark().await.unwrap();
            let mark = Mark { seq: now.seq + 3, ..now.clone() };
            let rollback = store.notice_rollback(&mark).await.unwrap().unwrap();
            assert_eq!(rollback, Rollback { marked: now.seq + 3, found: now.seq, locked: count });
            let grants = store.inventory().grants(mac(1)).unwrap();
            let restored = |state: &State| *state == State::Locked(Reason::Restored);
            assert_eq!(grants.grants.iter().filter(|grant| restored(&grant.state)).count(), count);
            let rows = store.audit(None, 1).await.unwrap();
            assert_eq!((rows[0].event.as_str(), &rows[0].detail["locked"]), ("rollback_noticed", &count.into()));
            let next = store.mark().await.unwrap();
            assert_eq!(store.notice_rollback(&next).await.unwrap(), None, "the mark has followed");
            assert_eq!(store.verify_audit(Some(&next)).await.unwrap().broken, None);
            bench.assert_settled(&store).await;
        }

        async fn a_database_with_another_past_is_locked(bench) {
            let store = bench.store().await;
            armed(&store).await;
            let now = store.mark().await.unwrap();
            store.import(&pool(1), ImportOptions::default()).await.unwrap();
            let mark = Mark { hash: "0".repeat(64), ..now };
            assert!(store.notice_rollback(&mark).await.unwrap().is_some());
            assert_eq!(staged(&store), 0);
        }

        async fn another_database_is_no_rollback(bench) {
            let store = bench.store().await;
            armed(&store).await;
            let mark = Mark { database: "another".to_owned(), seq: 1_000, hash: String::new() };
            assert_eq!(store.notice_rollback(&mark).await.unwrap(), None);
            assert_ne!(store.mark().await.unwrap().database, "");
            let same = bench.store().await;
            assert_eq!(same.mark().await.unwrap(), store.mark().await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_copy_put_back_is_noticed_by_the_file_that_stayed() {
        let bench = Bench::sqlite();
        let file = file(&bench);
        let store = bench.store().await;
        let count = armed(&store).await;
        store.close().await;
        let [database, copy] = ["data/offhook.db", "copy.db"].map(|name| bench.folder.path().join(name));
        fs::copy(&database, &copy).unwrap();
        let store = bench.store().await;
        store.import(&pool(1), ImportOptions::default()).await.unwrap();
        let mark = store.mark().await.unwrap();
        file.write(&mark).unwrap();
        store.close().await;
        fs::copy(&copy, &database).unwrap();
        let store = bench.store().await;
        let mark = file.read(&store.mark().await.unwrap().database).unwrap().unwrap();
        assert_eq!(store.notice_rollback(&mark).await.unwrap().map(|rollback| rollback.locked), Some(count));
    }

    #[test]
    fn a_mark_file_holds_several_databases_and_survives_damage() {
        let folder = tempfile::tempdir().unwrap();
        let file = MarkFile::at(&folder.path().join("offhook.mark"));
        let mark = |database: &str, seq| Mark { database: database.to_owned(), seq, hash: String::new() };
        assert_eq!(file.read("a").unwrap(), None);
        for n in 0..30 {
            file.write(&mark(&format!("d{n}"), n)).unwrap();
        }
        file.write(&mark("d29", 31)).unwrap();
        assert_eq!(file.read("d29").unwrap(), Some(mark("d29", 31)));
        assert_eq!((file.read("d28").unwrap(), file.read("d3").unwrap()), (Some(mark("d28", 28)), None));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays behind");
        fs::write(file.path(), "garbage\nd1 x y\nd2 5 \nd3 6 ab\nd4 7 \n").unwrap();
        assert_eq!((file.read("d2").unwrap(), file.read("d3").unwrap()), (Some(mark("d2", 5)), None));
        assert!(MarkFile::at(Path::new("/nonexistent/offhook.mark")).write(&mark("a", 1)).is_err());
    }
}
