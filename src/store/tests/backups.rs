//! Backups: whole or refused, from either database into either, and nothing that was there before is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::super::db::SCHEMA;
use super::*;
use crate::device::Channel;
use crate::store::testing::sighting;

const ROWS: &str = "mac,vendor,model,username,password,web_password,menu_password\n\
                    805e00000001,yealink,T46U,101,geheim-sip-1,geheim-web-1,73519284\n\
                    805e00000002,yealink,T46U,102,geheim-sip-2,geheim-web-2,84629173\n\
                    mac,key,kind,value,label\n805e00000001,1,blf,102,\"Ödön \"\"102\"\"\"\n";

/// What a host has: a database, a key file, and a place for backups.
struct Host<'a> {
    bench: &'a Bench,
    key: PathBuf,
}

impl<'a> Host<'a> {
    fn new(bench: &'a Bench) -> Self {
        Self { bench, key: bench.folder.path().join("etc/offhook.key") }
    }

    async fn open(&self) -> Store {
        let vault = Vault::at(&self.key);
        Store::open(&self.bench.url, vault, self.bench.clock.clone(), Entropy::System).await.unwrap()
    }

    async fn filled(&self) -> Store {
        let store = self.open().await;
        store.import(&sheet(ROWS), ImportOptions::default()).await.unwrap();
        store.record(&[sighting(1, Channel::Pnp, 5)], &[identity(9)]).await.unwrap();
        // One has arrived, one is open, the rest waits; the stranger's never left.
        for sql in [
            "UPDATE release_grant SET state = 'locked', reason = 'delivered', staged_until_ms = NULL \
             WHERE mac = '805e00000001' AND kind = 'menu'",
            "UPDATE release_grant SET state = 'open', staged_until_ms = NULL, opened_boot = 'manual boot 1', \
             opened_boot_ms = 0, opened_wall_ms = 1, opened_by = 'agent', bound = 'mac 80:5e:00:00:00:01', \
             bound_level = 2 WHERE mac = '805e00000001' AND kind = 'sip'",
        ] {
            self.bench.run_sql(sql).await;
        }
        store.close().await;
        self.open().await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.bench.folder.path().join(name)
    }

    async fn save(&self, name: &str) -> PathBuf {
        let file = self.file(name);
        let store = self.open().await;
        store.save(&file, false, &mut |_, _| {}).await.unwrap();
        store.close().await;
        file
    }

    fn options(&self) -> Restore {
        Restore {
            url: self.bench.url.clone(),
            vault: Vault::at(&self.key),
            key: None,
            aside: self.file("data"),
            actor: "ada".to_owned(),
            clock: self.bench.clock.clone(),
            entropy: Entropy::System,
        }
    }

    async fn restore(&self, file: &Path) -> Result<Restored, StoreError> {
        let backup = Backup::open(file)?;
        restore(&self.options(), &backup, &mut |_, _| {}).await
    }

    /// Of each phone's password: state, reason, until when, bound to whom.
    async fn grants(&self) -> Vec<(String, String, Option<String>, Option<i64>, Option<String>)> {
        let store = self.open().await;
        let sql =
            "SELECT mac || ' ' || kind, state, reason, staged_until_ms, bound FROM release_grant ORDER BY 1";
        sqlx::query_as(sql).fetch_all(store.inner.db.reader()).await.unwrap()
    }
}

/// Everything a store has, its secrets opened, without what a restore changes by itself.
fn contents(store: &Store) -> Vec<String> {
    let mut texts = Vec::new();
    for device in store.inventory().devices() {
        let mut shown = Device::clone(&device);
        shown.secrets.clear();
        shown.bootstrap_token = crate::secret::Sealed(String::new());
        for line in &mut shown.lines {
            line.account.password = None;
        }
        texts.push(format!("{shown:?}"));
        for kind in SecretKind::ALL {
            let secret = store.reveal(&device, kind, None).unwrap();
            texts.push(secret.map_or_else(String::new, |secret| secret.expose().to_owned()));
        }
        let token = store.bootstrap_token(&device).unwrap();
        assert!(store.inventory().by_token(token.expose()).is_some());
        texts.push(token.expose().to_owned());
    }
    texts
}

on_both! {
    async fn a_backup_from_yesterday_is_restored_and_every_password_is_locked(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let before = contents(&store);
        let yesterday = host.save("yesterday").await;
        assert_eq!(fs::metadata(&yesterday).unwrap().permissions().mode() & 0o777, 0o600);
        store.remove(mac(1), true).await.unwrap();
        let mark = store.mark().await.unwrap();
        store.import(&pool(3), ImportOptions::default()).await.unwrap();
        store.close().await;

        let restored = host.restore(&yesterday).await.unwrap();
        assert_eq!((restored.locked, restored.head.devices, restored.head.accounts), (3 + 4, 3, 2));
        let store = host.open().await;
        assert_eq!(contents(&store), before);
        let grants = host.grants().await;
        assert_eq!(grants.len(), 4 + 4 + 3);
        for (password, state, reason, until, bound) in grants {
            let expected = match password.as_str() {
                "805e00000001 menu" => "delivered",
                password if password.starts_with("805e00000009") => "never",
                _ => "restored",
            };
            let found = (state.as_str(), reason.as_deref(), until, bound);
            assert_eq!(found, ("locked", Some(expected), None, None), "{password}");
        }
        let audit = store.audit(None, 100).await.unwrap();
        assert!(audit.iter().any(|row| row.event == "restored" && row.actor == "ada"), "{audit:?}");
        assert!(store.verify_audit(Some(&mark)).await.unwrap().broken.is_none());
        let alarms = store.alarms(false).await.unwrap();
        assert_eq!(alarms.iter().map(|alarm| alarm.kind.as_str()).collect::<Vec<_>>(), ["rollback"]);
        assert_eq!(store.notice_rollback(&mark).await.unwrap(), None, "that it was put back is known");
        assert_eq!(store.sightings(Some(mac(1))).await.unwrap().len(), 1);

        // What was replaced can be had back.
        let replaced = restored.replaced.unwrap();
        assert_eq!(fs::metadata(&replaced).unwrap().permissions().mode() & 0o777, 0o600);
        if bench.url.starts_with("sqlite") {
            let url = format!("sqlite:{}", replaced.display());
            let vault = Vault::at(&host.key);
            let store = Store::open(&url, vault, bench.clock.clone(), Entropy::System).await.unwrap();
            assert_eq!(store.inventory().pool_size(), 3);
        } else {
            store.close().await;
            host.restore(&replaced).await.unwrap();
            assert_eq!(host.open().await.inventory().pool_size(), 3);
        }
    }

    async fn whoever_follows_the_database_reads_everything_anew(bench) {
        let host = Host::new(bench);
        host.filled().await.close().await;
        let file = host.save("backup").await;
        let follower = host.open().await;
        let removed = follower.remove(mac(1), false).await;
        assert!(removed.is_ok());
        if bench.url.starts_with("sqlite") {
            follower.close().await;
        }
        host.restore(&file).await.unwrap();
        if !bench.url.starts_with("sqlite") {
            assert!(follower.refresh().await.unwrap());
            bench.assert_same(&follower, &host.open().await);
            assert!(follower.set_password("101", &Secret::new("geheim9")).await.is_ok());
        }
    }

    async fn a_backup_can_be_made_while_others_write(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let writing = write::Write::begin(&store).await.unwrap();
        let file = host.save("backup").await;
        drop(writing);
        assert_eq!(Backup::open(&file).unwrap().head().devices, 3);
    }

    async fn a_backup_of_one_database_is_restored_into_another_kind(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let file = host.save("backup").await;
        let others = if bench.url.starts_with("sqlite") { Bench::postgres().await } else { Some(Bench::sqlite()) };
        let Some(other) = others else { return };
        // A new host: no key, no database.
        let new = Host::new(&other);
        let missing = new.restore(&file).await.unwrap_err();
        assert!(matches!(missing, StoreError::Vault(VaultError::Missing(_))), "{missing}");
        assert!(!new.key.exists());
        let options = Restore { key: Some(host.key.clone()), ..new.options() };
        let backup = Backup::open(&file).unwrap();
        restore(&options, &backup, &mut |_, _| {}).await.unwrap();
        assert_eq!(contents(&new.open().await), contents(&store));
        assert_eq!(fs::read(&new.key).unwrap(), fs::read(&host.key).unwrap());
    }

    async fn a_backup_from_before_a_change_of_keys_is_opened_with_the_key_that_was_kept(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let before = contents(&store);
        let file = host.save("backup").await;
        let rotation = store.rotate_key(false, &mut |_, _| {}).await.unwrap();
        store.close().await;
        host.restore(&file).await.unwrap();
        let store = host.open().await;
        assert_eq!((contents(&store), store.keys().id()), (before.clone(), Some(rotation.from)));
        assert_eq!(store.waiting_key().unwrap(), Some(rotation.to.clone()));
        let again = store.rotate_key(false, &mut |_, _| {}).await.unwrap();
        assert_eq!((again.to, contents(&store)), (rotation.to, before));
    }

    async fn a_backup_with_its_key_needs_nothing_else(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let before = contents(&store);
        let file = host.file("all");
        let saved = store.save(&file, true, &mut |_, _| {}).await.unwrap();
        assert!(saved.with_key);
        assert_eq!(store.audit(None, 1).await.unwrap()[0].event, "key_exported");
        store.close().await;
        // Another key is here meanwhile; it stays.
        fs::remove_file(&host.key).unwrap();
        let other = format!("{}\n", "ab".repeat(32));
        fs::write(&host.key, &other).unwrap();
        fs::set_permissions(&host.key, fs::Permissions::from_mode(0o400)).unwrap();
        host.restore(&file).await.unwrap();
        assert_eq!(fs::read_to_string(&host.key).unwrap(), other);
        assert_eq!(contents(&host.open().await), before);
    }

    async fn a_damaged_or_newer_backup_changes_nothing(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let before = contents(&store);
        let generation = store.inventory().generation();
        store.close().await;
        let whole = fs::read(host.save("backup").await).unwrap();
        let mut bad = vec![
            Vec::new(),
            b"{}\n".to_vec(),
            b"SQLite format 3\0".repeat(10_000),
            whole.repeat(2),
            [b" ".as_slice(), &whole].concat(),
            replaced(&whole, "\"offhook_backup\":1", "\"offhook_backup\":2"),
            replaced(&whole, &format!("\"schema\":{SCHEMA}"), &format!("\"schema\":{}", SCHEMA + 1)),
            replaced(&whole, "T46U", "T48U"),
        ];
        for part in 1..40 {
            bad.push(whole[..whole.len() * part / 40].to_vec());
            let mut flipped = whole.clone();
            flipped[whole.len() * part / 40] ^= 1;
            bad.push(flipped);
        }
        for (number, bytes) in bad.iter().enumerate() {
            let file = host.file("bad");
            fs::write(&file, bytes).unwrap();
            let error = host.restore(&file).await.unwrap_err();
            assert!(matches!(error, StoreError::Backup { .. }), "{number}: {error}");
        }
        let store = host.open().await;
        assert_eq!((contents(&store), store.inventory().generation()), (before, generation));
        let left: Vec<_> = fs::read_dir(host.file("data")).into_iter().flatten().flatten().collect();
        assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains("rep")), "{left:?}");
    }

    async fn a_whole_backup_that_does_not_fit_is_refused_and_changes_nothing(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let before = contents(&store);
        store.close().await;
        let file = host.save("backup").await;
        let text = fs::read_to_string(&file).unwrap();
        for (from, to) in [("\"table\":\"line\"", "\"table\":\"head\""), ("\"number\"", "\"nonsense\""), ("\"T46U\"", "46")] {
            fs::write(&file, signed(&text.replacen(from, to, 1))).unwrap();
            let error = host.restore(&file).await.unwrap_err();
            assert!(matches!(error, StoreError::Backup { .. } | StoreError::Database { .. }), "{from}: {error}");
        }
        assert_eq!(contents(&host.open().await), before);
    }

    async fn a_backup_of_an_older_version_is_brought_up_to_date(bench) {
        let host = Host::new(bench);
        let store = host.filled().await;
        let before = contents(&store);
        store.close().await;
        let file = host.save("backup").await;
        let text = older(&fs::read_to_string(&file).unwrap());
        fs::write(&file, signed(&text)).unwrap();
        let restored = host.restore(&file).await.unwrap();
        assert_eq!((restored.head.schema, restored.locked), (1, 8), "what had no grants is locked too");
        assert_eq!(contents(&host.open().await), before);
        assert!(host.grants().await.iter().all(|(_, state, ..)| state == "locked"));
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(bytes.to_vec()).unwrap().replacen(from, to, 1).into_bytes()
}

/// The text with a last line that fits it.
fn signed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("{\"end\"")).collect();
    let body = format!("{}\n", lines.join("\n"));
    let digest = crate::hex::hex(&sha2::Sha256::digest(body.as_bytes()));
    format!("{body}{{\"end\":{},\"sha256\":\"{digest}\"}}\n", lines.len())
}

/// The tables of the first version.
const FIRST: &str = include_str!("../migrations/0001_inventory.sql");

/// A backup as the first version would have written it: without what later migrations brought.
fn older(text: &str) -> String {
    let news = [
        "epoch",
        "audit_seq",
        "audit_hash",
        "anchor_seq",
        "anchor_hash",
        "database_id",
        "wall_ms",
        "boot_ms",
        "boot",
        "agent",
        "release_id",
        "prev_hash",
        "hash",
        "common",
        "line",
    ];
    let mut kept: Vec<usize> = Vec::new();
    let mut skipping = false;
    let mut lines = Vec::new();
    for line in text.replacen(&format!("\"schema\":{SCHEMA}"), "\"schema\":1", 1).lines() {
        if let Ok(mut head) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) {
            if let Some(columns) = head.get("columns").and_then(serde_json::Value::as_array).cloned() {
                let table = head["table"].as_str().unwrap().to_owned();
                skipping = !FIRST.contains(&format!("CREATE TABLE {table} "));
                // A device has had a firmware from the beginning.
                let is_new = |name: &str| news.contains(&name) || (&*table, name) == ("head", "firmware");
                kept = (0..columns.len()).filter(|n| !is_new(columns[*n].as_str().unwrap())).collect();
                let columns: Vec<_> = kept.iter().map(|n| columns[*n].clone()).collect();
                head.insert("columns".to_owned(), columns.into());
                if !skipping {
                    lines.push(serde_json::Value::from(head).to_string());
                }
            } else {
                lines.push(line.to_owned());
            }
        } else if !skipping {
            let row: Vec<serde_json::Value> = serde_json::from_str(line).unwrap();
            let row: Vec<_> = kept.iter().map(|n| row[*n].clone()).collect();
            lines.push(serde_json::Value::from(row).to_string());
        }
    }
    lines.join("\n")
}

#[tokio::test]
async fn no_secret_is_in_a_backup_or_in_a_database_that_was_replaced() {
    let bench = Bench::sqlite();
    let host = Host::new(&bench);
    let store = host.filled().await;
    let devices = store.inventory().devices();
    let mut secrets: Vec<Secret> =
        devices.iter().map(|device| store.bootstrap_token(device).unwrap()).collect();
    for kind in SecretKind::ALL {
        secrets.extend(devices.iter().filter_map(|device| store.reveal(device, kind, None).unwrap()));
    }
    assert_eq!(secrets.len(), 2 + 3 + 3 + 3 + 3);
    let backup = host.save("data/backup").await;
    store.rotate_key(false, &mut |_, _| {}).await.unwrap();
    host.save("data/backup-2").await;
    for file in fs::read_dir(host.file("data")).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = fs::read(&file).unwrap();
        for secret in &secrets {
            let secret = secret.expose().as_bytes();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file:?}");
        }
    }
    assert!(backup.exists());
}

#[tokio::test]
async fn a_backup_takes_the_place_of_nothing_but_a_backup() {
    let bench = Bench::sqlite();
    let host = Host::new(&bench);
    let store = host.filled().await;
    for file in [host.key.clone(), host.file("data/offhook.db"), host.file("data")] {
        let before = fs::read(&file).ok();
        let error = store.save(&file, false, &mut |_, _| {}).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_) | StoreError::File { .. }), "{error}");
        assert_eq!(fs::read(&file).ok(), before);
    }
    host.save("backup").await;
    store.import(&pool(1), ImportOptions::default()).await.unwrap();
    let file = host.save("backup").await;
    assert_eq!(Backup::open(&file).unwrap().head().accounts, 3);
    let nowhere = store.save(&host.file("no/such/folder"), false, &mut |_, _| {}).await.unwrap_err();
    assert!(matches!(nowhere, StoreError::File { .. }), "{nowhere}");
}

#[tokio::test]
async fn a_damaged_database_is_kept_as_it_is() {
    let bench = Bench::sqlite();
    let host = Host::new(&bench);
    let store = host.filled().await;
    let before = contents(&store);
    store.close().await;
    let file = host.save("backup").await;
    let database = host.file("data/offhook.db");
    // SQLite's own thread closes a file a little after the store has let go of it, and takes the journal away.
    while host.file("data/offhook.db-wal").exists() {
        tokio::task::yield_now().await;
    }
    fs::write(&database, b"no database at all".repeat(1000)).unwrap();
    fs::write(host.file("data/offhook.db-wal"), b"no journal either").unwrap();
    let replaced = host.restore(&file).await.unwrap().replaced.unwrap();
    assert_eq!(fs::read(&replaced).unwrap(), b"no database at all".repeat(1000));
    let journal = PathBuf::from(format!("{}-wal", replaced.display()));
    assert_eq!(fs::read(journal).unwrap(), b"no journal either");
    assert_eq!(contents(&host.open().await), before);
}

#[tokio::test]
async fn a_database_that_somebody_has_open_is_not_replaced() {
    let bench = Bench::sqlite();
    let host = Host::new(&bench);
    let store = host.filled().await;
    let file = host.save("backup").await;
    let error = host.restore(&file).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    assert!(store.add_account(&NewAccount::default(), None).await.is_ok(), "it goes on");
    store.close().await;
    assert!(host.restore(&file).await.unwrap().replaced.is_some());
    let names: Vec<_> =
        fs::read_dir(host.file("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the database and the one before: {names:?}");
}

#[tokio::test]
async fn both_databases_have_the_same_tables() {
    let Some(postgres) = Bench::postgres().await else { return };
    let mut seen = Vec::new();
    for bench in [Bench::sqlite(), postgres] {
        let store = bench.store().await;
        let mut snapshot = store.inner.db.snapshot().await.unwrap();
        seen.push(db::tables(&mut snapshot, store.inner.db.is_postgres()).await.unwrap());
    }
    assert_eq!(seen[0], seen[1]);
    let names: Vec<&str> = seen[0].iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names[..3], ["head", "device", "account"]);
    assert!(names.contains(&"release_grant") && names.contains(&"sighting"), "{names:?}");
}
