//! What the store's tests stand on: a database of their own on each kind of server, and a few words to write rows with.

use std::io::Write as _;
use std::sync::Once;

use super::{Scope, Sheet, Store, Vault};
use crate::accounts::read_csv;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::device::{Channel, Identity, Mac, Sighting, Step, Vendor};

/// The URL of a PostgreSQL that the tests may make schemas in.
const POSTGRES_VARIABLE: &str = "OFFHOOK_TEST_POSTGRES";

/// A database of one test.
pub(crate) struct Bench {
    pub(crate) url: String,
    pub(crate) clock: Clock,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("data/offhook.db").display());
        Self { url, clock: Clock::manual(Timestamp(1_700_000_000_000)), folder }
    }

    /// `None`, and a line that says so, where no PostgreSQL is given.
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var(POSTGRES_VARIABLE) else {
            static TOLD: Once = Once::new();
            // Past the test runner's capture, which would hide it, and on a line of its own.
            TOLD.call_once(|| {
                let _ = writeln!(std::io::stderr(), "\nskipped: postgres: {POSTGRES_VARIABLE} is not set");
            });
            return None;
        };
        sqlx::any::install_default_drivers();
        let schema = format!("t{}", Entropy::System.text("abcdefghijklmnopqrstuvwxyz", 16).unwrap());
        let pool = sqlx::AnyPool::connect(&server).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::raw_sql(create).execute(&pool).await.unwrap();
        pool.close().await;
        let and = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{and}options[search_path]={schema}");
        Some(Self { url, ..Self::sqlite() })
    }

    /// A process's store: what another one of these writes is another process's.
    pub(crate) async fn store(&self) -> Store {
        self.store_with([7; 32]).await.unwrap()
    }

    pub(crate) async fn store_with(&self, key: [u8; 32]) -> Result<Store, super::StoreError> {
        Store::open(&self.url, Vault::with_key(key), self.clock.clone(), Entropy::System).await
    }

    /// What is in memory is what a new process reads from the tables.
    pub(crate) async fn assert_settled(&self, store: &Store) {
        let other = self.store().await;
        self.assert_same(store, &other);
        other.close().await;
    }

    /// Two stores have the same in memory.
    #[expect(clippy::unused_self, reason = "reads as the other assertion of the bench")]
    pub(crate) fn assert_same(&self, one: &Store, other: &Store) {
        assert_eq!(one.inventory().devices(), other.inventory().devices());
        assert_eq!(one.inventory().accounts(), other.inventory().accounts());
        assert_eq!(one.inventory().commons(), other.inventory().commons());
        assert_eq!(one.inventory().stock(), other.inventory().stock());
        assert_eq!(one.inventory().generation(), other.inventory().generation());
        assert_eq!(one.inventory().pool_size(), other.inventory().pool_size());
    }

    pub(crate) async fn run_sql(&self, sql: &str) {
        let pool = sqlx::AnyPool::connect(&self.url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

/// The same test on both databases, as two tests of its name.
macro_rules! on_both {
    ($(async fn $name:ident($bench:ident) $body:block)*) => { $(
        mod $name {
            use super::*;

            async fn run($bench: &Bench) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                run(&Bench::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                let Some(bench) = Bench::postgres().await else { return };
                run(&bench).await;
            }
        }
    )* };
}
pub(crate) use on_both;

pub(crate) fn mac(last: u32) -> Mac {
    let [a, b, c, d] = last.to_be_bytes();
    Mac::new([0x80, 0x5e, a, b, c, d]).unwrap()
}

pub(crate) fn identity(last: u32) -> Identity {
    Identity {
        mac: Some(mac(last)),
        vendor: Some(Vendor::new("yealink")),
        model: Some("T46U".to_owned()),
        firmware: Some("108.86.0.90".to_owned()),
    }
}

pub(crate) fn sighting(last: u32, channel: Channel, at: i64) -> Sighting {
    Sighting {
        identity: identity(last),
        addr: "192.168.1.35".parse().unwrap(),
        channel,
        at: Timestamp(at),
        step: Step::Answered,
        outcome: "answered".to_owned(),
        detail: serde_json::Value::Null,
    }
}

pub(crate) fn sheet(text: &str) -> Sheet {
    let mut sheet = Sheet::default();
    read_csv("a.csv", text.as_bytes(), &mut sheet);
    sheet
}

/// A token of the REST API with these scopes, in the clear.
pub(crate) async fn token(store: &Store, scopes: &[Scope]) -> String {
    let life = std::time::Duration::from_hours(48);
    store.create_token("test", scopes, life).await.unwrap().1.expose().to_owned()
}

/// A table with this many accounts of the pool.
pub(crate) fn pool(count: u32) -> Sheet {
    let rows: Vec<String> = (0..count).map(|n| format!("{},geheim{n}", 1000 + n)).collect();
    sheet(&format!("username,password\n{}\n", rows.join("\n")))
}
