//! The database behind the store: which one, how it is opened, and its two kinds of transaction.
//!
//! Both databases are driven through sqlx's `Any`: the tables hold only BIGINT and TEXT, which is all that `Any`
//! carries, and one text of SQL runs on both. What differs between them is in this file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{Any, AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, SqlSafeStr as _, Transaction};

use super::error::{StoreError, failed};
use super::key_file;
use crate::clock::{Clock, Timestamp};
use crate::release::{Rule, holds};

/// Readers beside the one writer: an agent reads from memory, a command needs one, the pages a few.
const READERS_MAX: u32 = 4;
/// How long a writer waits for another process before it gives up; the answer to a phone must not wait longer.
const BUSY_MS_MAX: u64 = 2_000;
/// How long a connection may take, for the same reason.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Two processes that open a new SQLite file at once can each be told "locked" without having waited; they try again
/// after this, as long as waiting for another writer takes.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// In this order, and never edited once released.
const MIGRATIONS: [(i64, &str, &str); 11] = [
    (1, "inventory", include_str!("migrations/0001_inventory.sql")),
    (2, "release", include_str!("migrations/0002_release.sql")),
    (3, "timeline", include_str!("migrations/0003_timeline.sql")),
    (4, "dhcp", include_str!("migrations/0004_dhcp.sql")),
    (5, "api", include_str!("migrations/0005_api.sql")),
    (6, "common", include_str!("migrations/0006_common.sql")),
    (7, "firmware", include_str!("migrations/0007_firmware.sql")),
    (8, "directory", include_str!("migrations/0008_directory.sql")),
    (9, "scan", include_str!("migrations/0009_scan.sql")),
    (10, "scan_report", include_str!("migrations/0010_scan_report.sql")),
    (11, "point", include_str!("migrations/0011_point.sql")),
];

/// The newest migration that this program knows.
pub(super) const SCHEMA: i64 = {
    let [.., (newest, _, _)] = MIGRATIONS;
    newest
};
/// Tables that others refer to; they are filled first.
const PARENTS: [&str; 3] = ["head", "device", "account"];

/// One of this program's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

/// One of its columns: a number or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) number: bool,
}

/// Which database a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Sqlite(PathBuf),
    Postgres(String),
}

/// An open database.
#[derive(Debug, Clone)]
pub(super) struct Db {
    /// One connection: the process's writers queue here, not at the database.
    write: AnyPool,
    read: AnyPool,
    postgres: bool,
}

impl Db {
    /// Opens the database of this URL, makes it if it is a file that does not exist, and brings its tables up to date.
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let target = Target::parse(url)?;
        let database = target.shown();
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
            database: database.clone(),
            error,
        };
        if let Target::Sqlite(file) = &target {
            create_file(file).map_err(|error| refused(Box::new(error)))?;
        }
        let options = target.options()?;
        let patience = tokio::time::sleep(Duration::from_millis(BUSY_MS_MAX));
        tokio::pin!(patience);
        loop {
            match Self::connect(&options, target.is_postgres()).await {
                Ok(db) => return Ok(db),
                Err(StoreError::Database { error, .. }) if is_locked(&error) && !patience.is_elapsed() => {
                    tokio::select! {
                        () = &mut patience => {}
                        () = tokio::time::sleep(OPEN_AGAIN_AFTER) => {}
                    }
                }
                Err(StoreError::Database { error, .. }) => return Err(refused(Box::new(error))),
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect(options: &AnyConnectOptions, postgres: bool) -> Result<Self, StoreError> {
        let write = pool(1, postgres).connect_with(options.clone()).await.map_err(failed("connect"))?;
        let mut connection = write.acquire().await.map_err(failed("connect"))?;
        migrate(&mut connection, postgres).await?;
        drop(connection);
        let read = pool(READERS_MAX, postgres).connect_lazy_with(options.clone());
        Ok(Self { write, read, postgres })
    }

    /// Whether it is a PostgreSQL server's.
    pub(super) fn is_postgres(&self) -> bool {
        self.postgres
    }

    /// A connection for one question.
    pub(super) fn reader(&self) -> &AnyPool {
        &self.read
    }

    /// A transaction that sees one moment, whatever is written meanwhile.
    pub(super) async fn snapshot(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = if self.postgres { "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY" } else { "BEGIN" };
        begin_with(&self.read, begin).await.map_err(failed("read the database"))
    }

    /// A transaction that may write. On SQLite it holds the only right to write from its first statement on, so that
    /// it never has to be repeated; on PostgreSQL the head row serves for that.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = if self.postgres { "BEGIN" } else { "BEGIN IMMEDIATE" };
        begin_with(&self.write, begin).await.map_err(failed("begin to write"))
    }

    /// Whether only this host can have it open.
    pub(super) fn is_embedded(&self) -> bool {
        !self.postgres
    }

    /// The wall clock that all who share this database have: the server's, where there is one.
    pub(super) async fn wall(
        &self,
        connection: &mut AnyConnection,
        clock: &Clock,
    ) -> Result<Timestamp, StoreError> {
        if !self.postgres || !clock.is_system() {
            return Ok(clock.now());
        }
        let (ms,): (i64,) =
            sqlx::query_as("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")
                .fetch_one(connection)
                .await
                .map_err(failed("read the server's clock"))?;
        Ok(Timestamp(ms))
    }

    /// Looks for damage. PostgreSQL looks after itself.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        if self.postgres {
            return Ok(());
        }
        let found: Vec<(String,)> = sqlx::query_as("PRAGMA quick_check")
            .fetch_all(&self.read)
            .await
            .map_err(failed("check the database"))?;
        match found.first() {
            Some((text,)) if text == "ok" => Ok(()),
            Some((text,)) => Err(StoreError::Damaged(text.clone())),
            None => Err(StoreError::Damaged("quick_check said nothing".to_owned())),
        }
    }

    /// Closes every connection, so that nothing of them is left when this returns.
    pub(super) async fn close(&self) {
        self.write.close().await;
        self.read.close().await;
    }
}

impl Target {
    fn parse(url: &str) -> Result<Self, StoreError> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(StoreError::Url("it names no kind of database".to_owned()));
        };
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.starts_with(':') || path.contains('?') {
                    return Err(StoreError::Url(
                        "sqlite: wants the path of a file, and nothing else".to_owned(),
                    ));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            "postgres" | "postgresql" if cfg!(feature = "postgres") => Ok(Self::Postgres(url.to_owned())),
            "postgres" | "postgresql" => {
                Err(StoreError::Url("this offhook was built without PostgreSQL".to_owned()))
            }
            other => Err(StoreError::Url(format!("'{other}:' is no database that offhook knows"))),
        }
    }

    fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// For messages: without user and password.
    fn shown(&self) -> String {
        match self {
            Self::Sqlite(file) => file.display().to_string(),
            Self::Postgres(url) => shown_url(url),
        }
    }

    fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        let options = match self {
            Self::Sqlite(file) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                AnyConnectOptions::from_url(&options.to_url_lossy())
            }
            Self::Postgres(url) => url.parse(),
        };
        // Statements are not logged: at DEBUG the agent's own sentences would drown in them.
        options
            .map(sqlx::ConnectOptions::disable_statement_logging)
            .map_err(|error| StoreError::Url(error.to_string()))
    }
}

/// The file of a `sqlite:` URL, for messages and for its owner.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    match Target::parse(url) {
        Ok(Target::Sqlite(file)) => Some(file),
        Ok(Target::Postgres(_)) | Err(_) => None,
    }
}

/// One connection to an SQLite file that exists, with no settings but its patience.
pub(super) async fn connect_file(file: &Path) -> Result<AnyConnection, StoreError> {
    sqlx::any::install_default_drivers();
    let options = Target::Sqlite(file.to_owned()).options()?;
    let mut connection = AnyConnection::connect_with(&options).await.map_err(failed("open the database"))?;
    let patience = sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {BUSY_MS_MAX}"));
    sqlx::raw_sql(patience).execute(&mut connection).await.map_err(failed("open the database"))?;
    Ok(connection)
}

fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", ""));
    let rest = rest.split('?').next().unwrap_or("");
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// Makes the database's file before SQLite does, readable by its owner only; SQLite gives its journal the same mode.
fn create_file(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        key_file::create_folder(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(_) => key_file::give_to_owner(file, folder.unwrap_or_else(|| Path::new("."))),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn pool(connections: u32, postgres: bool) -> AnyPoolOptions {
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(postgres);
    options.after_connect(move |connection, _| {
        Box::pin(async move {
            let settings = if postgres {
                // A server that is told to lose its last commits when it crashes is told otherwise here.
                format!(
                    "SET lock_timeout = {BUSY_MS_MAX}; SELECT set_config('synchronous_commit', 'on', false) \
                     WHERE current_setting('synchronous_commit') = 'off'"
                )
            } else {
                let synchronous = if holds(Rule::Synchronous) { "FULL" } else { "OFF" };
                format!(
                    "PRAGMA busy_timeout = {BUSY_MS_MAX}; PRAGMA journal_mode = WAL; \
                     PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                )
            };
            sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut *connection).await?;
            Ok(())
        })
    })
}

/// The tables that this program's migrations made, in an order in which they can be filled. Others in the same schema
/// are somebody else's.
pub(super) async fn tables(connection: &mut AnyConnection, postgres: bool) -> Result<Vec<Table>, StoreError> {
    let catalogue = if postgres {
        "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
         WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
    } else {
        "SELECT m.name, p.name, lower(p.type) FROM sqlite_master m, pragma_table_info(m.name) p \
         WHERE m.type = 'table' ORDER BY m.name, p.cid"
    };
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(catalogue).fetch_all(connection).await.map_err(failed("list the tables"))?;
    let made = MIGRATIONS.iter().flat_map(|(_, _, sql)| sql.lines());
    let made = made.filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split([' ', '(']).next());
    let made: std::collections::BTreeSet<&str> = made.collect();
    let children = made.iter().copied().filter(|name| !PARENTS.contains(name));
    let table = |name: &str| {
        let columns: Vec<Column> = rows
            .iter()
            .filter(|(table, _, _)| table == name)
            .map(|(_, column, kind)| Column { name: column.clone(), number: kind == "bigint" })
            .collect();
        (!columns.is_empty()).then(|| Table { name: name.to_owned(), columns })
    };
    Ok(PARENTS.into_iter().chain(children).filter_map(table).collect())
}

/// Drops every table, and makes them anew as they were after `schema` migrations, with no row in them.
pub(super) async fn make_anew(
    connection: &mut AnyConnection,
    postgres: bool,
    schema: i64,
) -> Result<(), StoreError> {
    let mut drops: Vec<String> =
        tables(connection, postgres).await?.iter().rev().map(|table| table.name.clone()).collect();
    drops.push("_sqlx_migrations".to_owned());
    for name in drops {
        let sql = sqlx::AssertSqlSafe(format!("DROP TABLE IF EXISTS {name}"));
        sqlx::query(sql).execute(&mut *connection).await.map_err(failed("empty the database"))?;
    }
    migrate_within(connection, Some(schema)).await?;
    sqlx::query("DELETE FROM head").execute(connection).await.map_err(failed("empty the database"))?;
    Ok(())
}

/// Brings the tables up to date, or as far as `target`, within a transaction that has begun.
pub(super) async fn migrate_within(
    connection: &mut AnyConnection,
    target: Option<i64>,
) -> Result<(), StoreError> {
    Ok(migrator().run_direct(target, connection, false).await?)
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.to_vec())
}

async fn migrate(connection: &mut AnyConnection, postgres: bool) -> Result<(), StoreError> {
    // `run` takes any kind of connection and is not Send for any lifetime; `run_direct` is what it calls.
    if postgres {
        // It takes an advisory lock of the server.
        return migrate_within(connection, None).await;
    }
    // Up to date: nothing will be written, so another process may be writing. The migrator only compares.
    if applied(connection).await >= MIGRATIONS.len() {
        return migrate_within(connection, None).await;
    }
    // SQLite has no such lock; a transaction that may write is one.
    let mut transaction =
        connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed("prepare the tables"))?;
    migrate_within(&mut transaction, None).await?;
    transaction.commit().await.map_err(failed("prepare the tables"))
}

/// How many migrations were applied; none where there is no table of them yet.
async fn applied(connection: &mut AnyConnection) -> usize {
    let versions: Result<Vec<(i64,)>, _> =
        sqlx::query_as("SELECT version FROM _sqlx_migrations").fetch_all(connection).await;
    versions.map_or(0, |versions| versions.len())
}

/// Begins on a connection of the pool. A commit that the disk refuses ends the transaction in SQLite, and sqlx goes on
/// counting it as begun: that connection begins nothing any more, so it is closed, and the next one is a new one.
async fn begin_with(pool: &AnyPool, begin: &'static str) -> Result<Transaction<'static, Any>, sqlx::Error> {
    match pool.begin_with(begin).await {
        Err(sqlx::Error::InvalidSavePointStatement | sqlx::Error::BeginFailed) => {
            for _ in 0..pool.size() {
                // Whatever it says at its end, it is gone.
                let _ = pool.acquire().await?.close().await;
            }
            pool.begin_with(begin).await
        }
        answer => answer,
    }
}

/// Whether somebody else had it.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message().contains("locked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_database() {
        assert_eq!(Target::parse("sqlite:/a b/c.db").unwrap(), Target::Sqlite("/a b/c.db".into()));
        assert_eq!(Target::parse("sqlite://c.db").unwrap(), Target::Sqlite("c.db".into()));
        for wrong in ["", "c.db", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "mysql://host/db"] {
            assert!(matches!(Target::parse(wrong), Err(StoreError::Url(_))), "{wrong}");
        }
    }

    #[test]
    fn a_shown_url_hides_user_and_password() {
        assert_eq!(shown_url("postgres://offhook:geheim@db.lan/phones?x=geheim"), "postgres://db.lan/phones");
        assert_eq!(shown_url("postgres:///phones?host=/run/postgresql"), "postgres:///phones");
    }
}
