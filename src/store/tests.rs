//! The store on both databases: what people and phones do to it, what races and failures leave behind.

mod backups;
mod common;
mod deeds;
mod firmware;
mod imports;
mod keys;
mod latency;
mod mutants;
mod phones;
mod releases;

use super::testing::{Bench, identity, mac, on_both, pool, sheet};
use super::*;
use crate::device::Way;

on_both! {
    async fn another_process_sees_what_was_written(bench) {
        let (one, other) = (bench.store().await, bench.store().await);
        one.import(&pool(2), ImportOptions::default()).await.unwrap();
        assert_eq!(other.inventory().pool_size(), 0);
        assert!(other.refresh().await.unwrap());
        assert_eq!(other.inventory().pool_size(), 2);
        assert!(!other.refresh().await.unwrap());

        let adopted = other.adopt(&identity(1), Way::ZeroTouch).await.unwrap().unwrap();
        assert!(one.refresh().await.unwrap());
        assert_eq!(one.inventory().device(mac(1)), Some(adopted));
        one.remove(mac(1), false).await.unwrap();
        assert!(other.refresh().await.unwrap());
        assert_eq!(other.inventory().device(mac(1)), None);
        assert_eq!(other.inventory().pool_size(), 2);
        bench.assert_settled(&other).await;
    }

    async fn a_write_first_reads_what_another_process_wrote(bench) {
        let (one, other) = (bench.store().await, bench.store().await);
        one.import(&pool(1), ImportOptions::default()).await.unwrap();
        let adopted = other.adopt(&identity(1), Way::ZeroTouch).await.unwrap();
        assert!(adopted.is_some(), "the account was written by another process, and not refreshed");
        assert!(one.adopt(&identity(2), Way::ZeroTouch).await.unwrap().is_none());
        bench.assert_settled(&one).await;
    }

    async fn thirty_two_racers_for_one_account_have_one_winner(bench) {
        let stores = [bench.store().await, bench.store().await];
        stores[0].import(&pool(1), ImportOptions::default()).await.unwrap();
        let racers: Vec<_> = (0..32_u32)
            .map(|racer| {
                let store = stores[racer as usize % 2].clone();
                tokio::spawn(async move { store.adopt(&identity(racer), Way::ZeroTouch).await.unwrap() })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            winners.extend(racer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        for store in &stores {
            store.refresh().await.unwrap();
            assert_eq!(store.inventory().devices().len(), 1);
            bench.assert_settled(store).await;
        }
    }

    async fn a_wrong_key_is_refused_and_changes_nothing(bench) {
        bench.store().await.close().await;
        let error = bench.store_with([8; 32]).await.unwrap_err();
        assert!(matches!(error, StoreError::Vault(VaultError::Wrong(_))), "{error}");
        bench.store().await.close().await;
    }

    async fn an_abandoned_write_changes_nothing(bench) {
        let store = bench.store().await;
        store.import(&pool(1), ImportOptions::default()).await.unwrap();
        let before = store.inventory().generation();
        let mut abandoned = write::Write::begin(&store).await.unwrap();
        abandoned.remove_account(1).await.unwrap();
        drop(abandoned);
        assert_eq!(store.inventory().generation(), before);
        assert!(store.adopt(&identity(1), Way::ZeroTouch).await.unwrap().is_some());
        bench.assert_settled(&store).await;
    }

    async fn a_database_that_is_being_written_can_be_opened_and_read(bench) {
        let one = bench.store().await;
        one.import(&pool(1), ImportOptions::default()).await.unwrap();
        let mut writing = write::Write::begin(&one).await.unwrap();
        writing.remove_account(1).await.unwrap();
        let other = bench.store().await;
        assert_eq!(other.inventory().pool_size(), 1);
        assert!(!other.refresh().await.unwrap());
        writing.commit().await.unwrap();
        assert!(other.refresh().await.unwrap());
        assert_eq!(other.inventory().pool_size(), 0);
    }

    async fn nothing_shows_a_secret(bench) {
        let store = bench.store().await;
        let row = "mac,username,password,web_password,menu_password\n805e00000001,101,geheim1,geheim2,geheim3\n";
        let plan = store.import(&sheet(row), ImportOptions::default()).await.unwrap();
        store.set_password("101", &Secret::new("geheim4")).await.unwrap();
        let device = store.inventory().device(mac(1)).unwrap();
        let audit = store.audit(None, 100).await.unwrap();
        let shown = format!("{store:?} {:?} {plan:?} {device:?} {audit:?}", store.inventory());
        let json = serde_json::to_string(&(&plan, &audit)).unwrap();
        assert!(!shown.contains("geheim") && !json.contains("geheim"), "{shown} {json}");
        for token in [store.bootstrap_token(&device).unwrap(), store.reveal(&device, SecretKind::Prov, None).unwrap().unwrap()] {
            assert!(!shown.contains(token.expose()));
        }
    }
}

#[tokio::test]
async fn the_database_files_hold_no_secret_and_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::sqlite();
    let store = bench.store().await;
    let row = "mac,username,password,web_password\n805e00000001,101,geheim1,geheim2\n";
    store.import(&sheet(row), ImportOptions::default()).await.unwrap();
    let device = store.inventory().device(mac(1)).unwrap();
    let token = store.bootstrap_token(&device).unwrap();
    let files: Vec<_> = std::fs::read_dir(bench.folder.path().join("data")).unwrap().collect();
    assert!(files.len() >= 3, "the database, its journal and its index: {files:?}");
    for file in files {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for secret in ["geheim", token.expose()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{path:?}");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{path:?}");
    }
}

#[tokio::test]
async fn a_missing_key_file_is_not_replaced_by_a_new_key() {
    let bench = Bench::sqlite();
    let file = bench.folder.path().join("etc/offhook.key");
    let open = || Store::open(&bench.url, Vault::at(&file), bench.clock.clone(), Entropy::System);
    open().await.unwrap().close().await;
    assert!(file.exists());
    open().await.unwrap().close().await;
    std::fs::remove_file(&file).unwrap();
    let error = open().await.unwrap_err();
    assert!(matches!(error, StoreError::Vault(VaultError::Missing(_))), "{error}");
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_may_open_a_new_database_at_once() {
    let bench = Bench::sqlite();
    let file = bench.folder.path().join("offhook.key");
    let openers: Vec<_> = (0..8)
        .map(|_| {
            let (url, vault, clock) = (bench.url.clone(), Vault::at(&file), bench.clock.clone());
            tokio::spawn(async move { Store::open(&url, vault, clock, Entropy::System).await.map(drop) })
        })
        .collect();
    for opener in openers {
        opener.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_poke_reaches_the_agent_and_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    poke(&socket);
    let agent = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    poke(&socket);
    assert!(agent.recv(&mut [0; 16]).unwrap() > 0);
}
