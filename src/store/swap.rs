//! One SQLite file takes another one's place: at every moment there is a whole database of that name, and the one before
//! is kept under another. Nobody else may have it open, because a journal belongs to a name.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use sqlx::{AnyConnection, Connection as _};

use super::db;
use super::error::{StoreError, failed};
use super::key_file;

/// What SQLite puts beside a database file.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The name under which a database is made that will take the place of `file`. What a process that was killed left
/// there is removed.
pub(super) fn draft(file: &Path) -> Result<PathBuf, StoreError> {
    let draft = beside(file, ".restoring");
    remove(&draft).map_err(|error| StoreError::file("remove", &draft, error))?;
    Ok(draft)
}

/// Removes a draft that is not needed any more.
pub(super) fn discard(draft: &Path) {
    // It is removed before the next one at the latest.
    let _ = remove(draft);
}

/// Puts the database `draft`, which nobody has open, in the place of `file`, and `file` under the name `aside`. Gives
/// back that name, if there was anything.
pub(super) async fn exchange(file: &Path, draft: &Path, aside: &Path) -> Result<Option<PathBuf>, StoreError> {
    let failed = |error| StoreError::file("put the restored database in the place of", file, error);
    if beside(draft, "-wal").exists() {
        return Err(StoreError::Conflict(format!("{} is still in use", draft.display())));
    }
    File::open(draft).and_then(|draft| draft.sync_all()).map_err(failed)?;
    let exists = file.exists();
    // SQLite takes away a journal that it cannot read; a damaged database keeps its own, under a second name.
    let journal = beside(file, "-wal");
    let kept = beside(aside, "-wal");
    if_there(fs::hard_link(&journal, &kept)).map_err(failed)?;
    let settled = if exists { settle(file).await } else { Ok(None) };
    if !matches!(settled, Ok(None)) {
        // What was in it is in the database, or the database stays where it is.
        if_there(fs::remove_file(&kept)).map_err(failed)?;
    }
    let held = settled?;
    let moved = || {
        if_there(fs::remove_file(&journal))?;
        for companion in ["-shm", "-journal"] {
            if_there(fs::rename(beside(file, companion), beside(aside, companion)))?;
        }
        if exists {
            // A second name first: the file is never without a name, and its name never without a file.
            fs::hard_link(file, aside)?;
        }
        fs::rename(draft, file)?;
        key_file::sync(&key_file::folder(file))
    };
    let moved = moved();
    if let Some(connection) = held {
        // It holds the file that was put aside, and has written nothing.
        let _ = connection.close().await;
    }
    moved.map_err(failed)?;
    Ok(exists.then(|| aside.to_owned()))
}

/// Takes a database for itself, with everything in its one file. `None`: it is damaged, and stays as it is.
async fn settle(file: &Path) -> Result<Option<AnyConnection>, StoreError> {
    let in_use = || {
        let shown = file.display();
        StoreError::Conflict(format!("another process has {shown} open: let it finish, then try again"))
    };
    let mut connection = db::connect_file(file).await?;
    let settled = async {
        let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode = DELETE")
            .fetch_one(&mut connection)
            .await
            .map_err(failed("close the journal"))?;
        sqlx::raw_sql("BEGIN EXCLUSIVE")
            .execute(&mut connection)
            .await
            .map_err(failed("lock the database"))?;
        Ok::<_, StoreError>(mode)
    };
    let refused = match settled.await {
        Ok(mode) if mode == "delete" => return Ok(Some(connection)),
        Ok(_) => Err(in_use()),
        Err(StoreError::Database { error, .. }) if db::is_locked(&error) => Err(in_use()),
        Err(StoreError::Database { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    // Waited for: what its thread takes away later by the journal's name would be the next database's.
    let _ = connection.close().await;
    refused
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(database: &Path) -> io::Result<()> {
    let files = COMPANIONS.iter().map(|companion| beside(database, companion));
    for file in files.chain([database.to_owned()]) {
        if_there(fs::remove_file(&file))?;
    }
    Ok(())
}

/// What there was nothing to do for is done.
fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
