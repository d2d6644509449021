//! A backup: every table of one moment in one file, as lines of JSON, the same from SQLite and from PostgreSQL. What is
//! sealed stays sealed; a key is in it only when asked for. Its last line tells whether it is whole.
//!
//! ```text
//! {"offhook_backup":1,"schema":2,"program":"0.1.0",…}      what it is
//! {"table":"device","columns":["mac",…],"rows":2}
//! ["0004132ff900",null,…]                                  so many rows, in the order of the columns
//! {"end":12,"sha256":"…"}                                  lines before this one, and their digest
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use zeroize::Zeroizing;

use super::db::{self, Db, Table};
use super::error::{StoreError, failed};
use super::key_file;
use super::vault::{Key, Keys};
use super::{Store, load};
use crate::clock::{Entropy, Timestamp};
use crate::hex::hex;
use crate::secret::{Sealed, Secret};

/// The format that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// The first line is short; what has none is no backup, and is not read to its end.
const FIRST_LINE_BYTES_MAX: u64 = 64 * 1024;
/// What a backup's first line begins with.
const MARK: &str = "{\"offhook_backup\":";

/// What the first line of a backup says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHead {
    /// The format's number.
    offhook_backup: u32,
    /// How many migrations its tables had seen.
    pub schema: i64,
    /// The version of the program that wrote it.
    pub program: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// When it was made.
    pub at: String,
    /// The name of the key that its values are sealed with.
    pub key: String,
    /// Devices in it.
    pub devices: i64,
    /// Accounts in it.
    pub accounts: i64,
    /// A known text, sealed: tells whether a key opens this backup.
    check: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Where.
    pub file: PathBuf,
    /// What its first line says.
    #[serde(flatten)]
    pub head: BackupHead,
    /// Rows of all tables.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Whether the key is in it.
    pub with_key: bool,
}

/// A backup that was read to its end and found whole.
#[derive(Debug)]
pub struct Backup {
    pub(super) file: PathBuf,
    pub(super) head: BackupHead,
    pub(super) keys: Vec<Key>,
    pub(super) rows: u64,
}

impl Store {
    /// Writes a backup of this moment, while others go on reading and writing. The file has its name only when it is
    /// whole and durable; a file of this name is replaced only if it is a backup too.
    pub async fn save(
        &self,
        file: &Path,
        include_key: bool,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Saved, StoreError> {
        let key = if include_key { Some(self.sealing_key()?) } else { None };
        if let Some(key) = &key {
            let mut write = super::write::Write::begin(self).await?;
            write.audit("key_exported", None, &json!({ "key": key.id() })).await?;
            write.commit().await?;
        }
        save(&self.inner.db, file, key.as_ref(), self.inner.clock.now(), &self.inner.mint.entropy, progress)
            .await
    }

    fn sealing_key(&self) -> Result<Key, StoreError> {
        let (vault, id) = (self.keys().vault(), self.keys().id());
        let found = vault.find()?.into_iter().chain(vault.find_retired()?);
        let key = found.map(|found| found.key).find(|key| Some(key.id()) == id);
        key.ok_or_else(|| StoreError::Vault(vault.missing()))
    }
}

/// Writes every table as one moment has it.
pub(super) async fn save(
    db: &Db,
    file: &Path,
    key: Option<&Key>,
    now: Timestamp,
    entropy: &Entropy,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Saved, StoreError> {
    let unwritten = |error| StoreError::file("write the backup", file, error);
    may_take(file)?;
    let folder = key_file::folder(file);
    let draft = folder.join(format!(".offhook-backup-{}", hex(&entropy.bytes::<8>()?)));
    let mut snapshot = db.snapshot().await?;
    let written = async {
        let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        let mut lines = Lines::new(out.map_err(unwritten)?, file);
        let (head, rows) = write_all(&mut snapshot, db, key, now, &mut lines, progress).await?;
        let bytes = lines.finish().map_err(unwritten)?;
        fs::rename(&draft, file).and_then(|()| key_file::sync(&folder)).map_err(unwritten)?;
        Ok(Saved { file: file.to_owned(), head, rows, bytes, with_key: key.is_some() })
    };
    let saved = written.await;
    if saved.is_err() {
        let _ = fs::remove_file(&draft);
    }
    saved
}

async fn write_all(
    snapshot: &mut AnyConnection,
    db: &Db,
    key: Option<&Key>,
    now: Timestamp,
    lines: &mut Lines,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(BackupHead, u64), StoreError> {
    let tables = db::tables(snapshot, db.is_postgres()).await?;
    let mut counts = Vec::new();
    for table in &tables {
        counts.push(count(snapshot, table).await?);
    }
    let count_of = |name: &str| {
        let counted = tables.iter().zip(&counts).find(|(table, _)| table.name == name);
        counted.map_or(0, |(_, count)| *count)
    };
    let unchecked = || StoreError::Damaged("the key's check is gone".to_owned());
    let check = load::head(&mut *snapshot).await?.check.ok_or_else(unchecked)?;
    let head = BackupHead {
        offhook_backup: FORMAT,
        schema: db::SCHEMA,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        database: if db.is_postgres() { "postgres" } else { "sqlite" }.to_owned(),
        at: now.to_string(),
        key: Keys::key_of(&check).unwrap_or_default().to_owned(),
        devices: count_of("device"),
        accounts: count_of("account"),
        check: check.0,
    };
    lines.write(&head)?;
    if let Some(key) = key {
        let line = key.line();
        lines.write_text(&Zeroizing::new(format!("{{\"keys\":[\"{}\"]}}\n", line.trim())))?;
    }
    let total = counts.iter().sum::<i64>().unsigned_abs();
    let mut done = 0;
    for (table, rows) in tables.iter().zip(counts) {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        lines.write(&json!({ "table": table.name, "columns": columns, "rows": rows }))?;
        // Only names of this program's own tables go in.
        let sql = AssertSqlSafe(format!("SELECT {} FROM {}", columns.join(", "), table.name));
        let mut stream = sqlx::query(sql).fetch(&mut *snapshot);
        while let Some(row) = stream.try_next().await.map_err(failed("read the tables"))? {
            lines.write(&values(&row, table)?)?;
            done += 1;
            if done % PROGRESS_ROWS == 0 {
                progress(done, total);
            }
        }
    }
    progress(done, total);
    Ok((head, done))
}

/// So many rows between two words about the progress.
pub(super) const PROGRESS_ROWS: u64 = 1_000;

async fn count(snapshot: &mut AnyConnection, table: &Table) -> Result<i64, StoreError> {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", table.name));
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(snapshot).await.map_err(failed("count the rows"))?;
    Ok(count)
}

fn values(row: &AnyRow, table: &Table) -> Result<Vec<Value>, StoreError> {
    let value = |(index, column): (usize, &db::Column)| {
        let value = if column.number {
            row.try_get::<Option<i64>, _>(index).map(|number| json!(number))
        } else {
            row.try_get::<Option<String>, _>(index).map(|text| json!(text))
        };
        value.map_err(failed("read the tables"))
    };
    table.columns.iter().enumerate().map(value).collect()
}

/// Refuses to put a backup in the place of anything else: a slip of the pen must not cost the key file.
fn may_take(file: &Path) -> Result<(), StoreError> {
    let mut begin = String::new();
    let read = File::open(file).and_then(|file| file.take(MARK.len() as u64).read_to_string(&mut begin));
    match read {
        Ok(_) if begin == MARK => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::InvalidData => {
            Err(StoreError::file("write the backup", file, error))
        }
        Ok(_) | Err(_) => {
            let shown = file.display();
            Err(StoreError::Conflict(format!("{shown} exists and is no backup; it is not replaced")))
        }
    }
}

/// Writes lines, and counts and digests them.
struct Lines {
    out: BufWriter<File>,
    file: PathBuf,
    digest: Sha256,
    count: u64,
    bytes: u64,
}

impl Lines {
    fn new(out: File, file: &Path) -> Self {
        let out = BufWriter::with_capacity(1 << 20, out);
        Self { out, file: file.to_owned(), digest: Sha256::new(), count: 0, bytes: 0 }
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_string(value).map_err(io::Error::from);
        let mut text = text.map_err(|error| StoreError::file("write the backup", &self.file, error))?;
        text.push('\n');
        self.write_text(&text)
    }

    fn write_text(&mut self, text: &str) -> Result<(), StoreError> {
        self.digest.update(text.as_bytes());
        self.count += 1;
        self.bytes += text.len() as u64;
        let written = self.out.write_all(text.as_bytes());
        written.map_err(|error| StoreError::file("write the backup", &self.file, error))
    }

    /// Writes the last line, and lets nothing of the file be lost any more. Gives back its size.
    fn finish(mut self) -> io::Result<u64> {
        let digest = hex(&self.digest.finalize());
        let last = format!("{}\n", json!({ "end": self.count, "sha256": digest }));
        self.out.write_all(last.as_bytes())?;
        self.out.into_inner()?.sync_all()?;
        Ok(self.bytes + last.len() as u64)
    }
}

impl Backup {
    /// Reads the whole file; fails if it is no backup, not whole, or newer than this program.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let mut reader = Reader::open(file)?;
        let mut rows = 0;
        while let Some(line) = reader.next_line()? {
            rows += u64::from(matches!(line, Line::Row(_)));
        }
        Ok(Self { file: file.to_owned(), head: reader.head, keys: reader.keys, rows })
    }

    /// What its first line says.
    pub fn head(&self) -> &BackupHead {
        &self.head
    }

    pub(super) fn check(&self) -> Sealed {
        Sealed(self.head.check.clone())
    }
}

/// A line between the first and the last.
pub(super) enum Line {
    Table { name: String, columns: Vec<String> },
    Row(Vec<Value>),
}

/// Reads a backup line by line. What it gave is to be believed only when it has come to its end without an error.
pub(super) struct Reader {
    input: BufReader<File>,
    file: PathBuf,
    head: BackupHead,
    keys: Vec<Key>,
    digest: Sha256,
    lines: u64,
    /// Rows that the present table still has.
    due: u64,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Marked {
    Keys { keys: Vec<Secret> },
    Table { table: String, columns: Vec<String>, rows: u64 },
    End { end: u64, sha256: String },
}

impl Reader {
    pub(super) fn open(file: &Path) -> Result<Self, StoreError> {
        let refused = |reason: String| StoreError::Backup { file: file.to_owned(), reason };
        let opened = File::open(file).map_err(|error| StoreError::file("read the backup", file, error))?;
        let mut input = BufReader::with_capacity(1 << 20, opened);
        let mut first = Vec::new();
        let read = input.by_ref().take(FIRST_LINE_BYTES_MAX).read_until(b'\n', &mut first);
        read.map_err(|error| StoreError::file("read the backup", file, error))?;
        if !first.starts_with(MARK.as_bytes()) {
            return Err(refused("it is no backup of offhook".to_owned()));
        }
        // A newer format may have another first line, but its number stands where it always stood.
        let number: Option<u32> = first
            .get(MARK.len()..)
            .and_then(|rest| std::str::from_utf8(rest).ok())
            .and_then(|rest| rest.split([',', '}']).next()?.trim().parse().ok());
        if number.is_some_and(|number| number > FORMAT) {
            return Err(refused("a newer offhook made it".to_owned()));
        }
        let head: BackupHead =
            serde_json::from_slice(&first).map_err(|_| refused("its first line is damaged".to_owned()))?;
        if head.schema > db::SCHEMA {
            return Err(refused(format!("a newer offhook made it ({})", head.program)));
        }
        let digest = Sha256::new_with_prefix(&first);
        Ok(Self { input, file: file.to_owned(), head, keys: Vec::new(), digest, lines: 1, due: 0 })
    }

    /// The next line; `None` at the end, if everything before was as it was written.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, StoreError> {
        let mut text = Zeroizing::new(Vec::new());
        let read = self.input.read_until(b'\n', &mut text);
        read.map_err(|error| StoreError::file("read the backup", &self.file, error))?;
        if !text.ends_with(b"\n") {
            return Err(self.damaged("it ends too early"));
        }
        if self.due > 0 {
            let row = serde_json::from_slice(&text).map_err(|_| self.damaged("a row is not readable"))?;
            self.due -= 1;
            self.count(&text);
            return Ok(Some(Line::Row(row)));
        }
        match serde_json::from_slice(&text).map_err(|_| self.damaged("a line is not readable"))? {
            Marked::Keys { keys } => {
                let keys: Option<Vec<_>> = keys.iter().map(|key| Key::parse_all(key.expose())).collect();
                self.keys = keys.ok_or_else(|| self.damaged("its key is not readable"))?.concat();
                self.count(&text);
                self.next_line()
            }
            Marked::Table { table, columns, rows } => {
                self.due = rows;
                self.count(&text);
                Ok(Some(Line::Table { name: table, columns }))
            }
            Marked::End { end, sha256 } => {
                let digest = hex(&std::mem::take(&mut self.digest).finalize());
                let more = self.input.fill_buf().is_ok_and(|rest| !rest.is_empty());
                if end != self.lines || sha256 != digest || more {
                    return Err(self.damaged("it is not as it was written"));
                }
                Ok(None)
            }
        }
    }

    fn count(&mut self, text: &[u8]) {
        self.digest.update(text);
        self.lines += 1;
    }

    pub(super) fn damaged(&self, how: &str) -> StoreError {
        let reason = format!("it is damaged: {how} (line {})", self.lines + 1);
        StoreError::Backup { file: self.file.clone(), reason }
    }
}
