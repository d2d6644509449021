//! Why the store did not do what it was asked, with what to do about it. Never holds a value that was bound to a query.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::vault::VaultError;
use crate::clock::EntropyError;
use crate::device::Mac;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `store.url` is not understood.
    #[error("store.url is not understood: {0}")]
    Url(String),
    /// The database could not be opened.
    #[error("cannot open the database {database}: {error}")]
    Open {
        /// Its file, or its URL without user and password.
        database: String,
        /// What the driver or the system said.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tables could not be made or brought up to date.
    #[error("cannot prepare the tables: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("cannot {operation}: {error}")]
    Database {
        /// What was to be done.
        operation: &'static str,
        /// What the driver said.
        error: sqlx::Error,
    },
    /// A commit took longer than a phone waits.
    #[error("the database did not commit in time")]
    Busy,
    /// A row holds something that no version of this program wrote.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A secret could not be sealed or opened, or the key does not fit.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// No randomness, no credentials.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// There is no such device.
    #[error("there is no device {0}")]
    NoDevice(Mac),
    /// There is no such account.
    #[error("there is no account '{0}'")]
    NoAccount(String),
    /// There is no such token.
    #[error("there is no token '{0}'")]
    NoToken(String),
    /// There is no such release of firmware.
    #[error("there is no release '{0}'")]
    NoRelease(String),
    /// What was to be done once was done before.
    #[error("this was done before, by a request with the same key")]
    Repeated,
    /// Two different requests have one key.
    #[error("another request had the same idempotency key")]
    KeyReused,
    /// The device is not as it was seen.
    #[error("{0} has changed since it was read")]
    Changed(Mac),
    /// A backup is not one, not whole, or newer than this program.
    #[error("{} is not restored: {reason}", file.display())]
    Backup {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is not the database could not be read or written.
    #[error("cannot {operation} {}: {error}", file.display())]
    File {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The address is another client's.
    #[error("{0} is kept for {1}")]
    Reserved(Ipv4Addr, Mac),
    /// Something else stands in the way.
    #[error("{0}")]
    Conflict(String),
    /// The failure of a write that several waited for.
    #[error(transparent)]
    Shared(std::sync::Arc<StoreError>),
}

impl StoreError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "store_url",
            Self::Open { .. } => "store_open",
            Self::Migrate(_) => "store_migrate",
            Self::Database { .. } | Self::Busy => "store_unavailable",
            Self::Damaged(_) => "store_damaged",
            Self::Vault(_) => "store_key",
            Self::Entropy(_) => "entropy",
            Self::NoDevice(_) | Self::NoAccount(_) | Self::NoToken(_) | Self::NoRelease(_) => "not_found",
            Self::Repeated => "repeated",
            Self::KeyReused => "idempotency_key_reused",
            Self::Changed(_) => "changed",
            Self::Backup { .. } => "backup",
            Self::File { .. } => "file",
            Self::Reserved(..) | Self::Conflict(_) => "conflict",
            Self::Shared(error) => error.code(),
        }
    }

    pub(super) fn file(operation: &'static str, file: &Path, error: std::io::Error) -> Self {
        Self::File { operation, file: file.to_owned(), error }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Url(_) => "write sqlite:/path/to/offhook.db, or postgres://user@host/database",
            Self::Open { .. } => {
                "run the command as the user of the service, or as root; where it is locked, another process is \
                 writing: try again; for PostgreSQL, check that the server runs and that the database exists"
            }
            Self::Migrate(_) => {
                "a database that a newer offhook has used is not opened by an older one: use the newer program"
            }
            Self::Database { .. } | Self::Busy => {
                "where it is locked, another process is writing: try again; else check free space and permissions \
                 of the data directory, or the PostgreSQL server"
            }
            Self::Damaged(_) => "restore the database from a backup",
            Self::Vault(error) => error.remedy(),
            Self::Entropy(_) => "the kernel gives no random numbers; no credentials can be made on this host",
            Self::NoDevice(_) => "offhook device list shows the phones of the inventory",
            Self::NoAccount(_) => "offhook account list shows the accounts",
            Self::NoToken(_) => "offhook token list shows the tokens",
            Self::NoRelease(_) => "offhook firmware list shows the releases",
            Self::Repeated => "read what has become of it",
            Self::KeyReused => "a new request has a new key; the same key is for the same request again",
            Self::Changed(_) => "read it again, and decide anew",
            Self::Backup { .. } => {
                "nothing was changed; take another backup, or the offhook that made this one where it is newer"
            }
            Self::File { .. } => "check the file's name, its permissions and the free space",
            Self::Reserved(..) => {
                "offhook dhcp status shows what is kept; choose another address, or give that one up by offhook dhcp \
                 unreserve MAC"
            }
            Self::Conflict(_) => "",
            Self::Shared(error) => error.remedy(),
        }
    }

    /// Whether the question was at fault, and not the database.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NoDevice(_)
            | Self::NoAccount(_)
            | Self::NoToken(_)
            | Self::NoRelease(_)
            | Self::Repeated
            | Self::KeyReused
            | Self::Changed(_)
            | Self::Backup { .. }
            | Self::Reserved(..)
            | Self::Conflict(_) => true,
            Self::Url(_)
            | Self::Open { .. }
            | Self::Migrate(_)
            | Self::Database { .. }
            | Self::Busy
            | Self::Damaged(_)
            | Self::Vault(_)
            | Self::File { .. }
            | Self::Entropy(_) => false,
            Self::Shared(error) => error.is_refusal(),
        }
    }
}

/// Names the operation that a driver's error belongs to.
pub(super) fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| StoreError::Database { operation, error }
}
