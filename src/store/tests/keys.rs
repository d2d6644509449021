//! The key of everything that is sealed: where it comes from, and a new one beside running agents and over sudden deaths.

use std::path::PathBuf;

use super::*;

/// A database whose key lies in a file, and that file.
struct Safe<'a> {
    bench: &'a Bench,
    file: PathBuf,
}

const ROW: &str = "mac,username,password,web_password,menu_password\n805e00000001,101,geheim1,geheim2,1234\n";

impl<'a> Safe<'a> {
    fn new(bench: &'a Bench) -> Self {
        Self { bench, file: bench.folder.path().join("etc/offhook.key") }
    }

    fn vault(&self) -> Vault {
        Vault::at(&self.file)
    }

    async fn open_with(&self, vault: Vault) -> Result<Store, StoreError> {
        Store::open(&self.bench.url, vault, self.bench.clock.clone(), Entropy::System).await
    }

    async fn open(&self) -> Store {
        self.open_with(self.vault()).await.unwrap()
    }

    async fn filled(&self) -> Store {
        let store = self.open().await;
        store.import(&sheet(ROW), ImportOptions::default()).await.unwrap();
        store.import(&pool(20), ImportOptions::default()).await.unwrap();
        store
    }
}

/// Every secret of every device and account, opened.
fn opened(store: &Store) -> Vec<String> {
    let mut texts = Vec::new();
    for device in store.inventory().devices() {
        for kind in SecretKind::ALL {
            let secret = store.reveal(&device, kind, None).unwrap();
            texts.push(secret.map_or_else(String::new, |secret| secret.expose().to_owned()));
        }
        texts.push(store.bootstrap_token(&device).unwrap().expose().to_owned());
    }
    for holding in store.inventory().accounts() {
        texts.push(store.account_password(&holding.account).unwrap().unwrap().expose().to_owned());
    }
    texts
}

/// A file as systemd gives it to a service: its group's bits are the mask of an access list.
fn credential(path: &std::path::Path, keys: &[&str]) {
    use std::os::unix::fs::PermissionsExt as _;
    let lines: Vec<String> = keys.iter().map(|digits| digits.repeat(32)).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o440)).unwrap();
}

async fn rotate(store: &Store) -> Rotation {
    store.rotate_key(false, &mut |_, _| {}).await.unwrap()
}

on_both! {
    async fn a_new_key_seals_everything_and_the_old_one_is_put_aside(bench) {
        let safe = Safe::new(bench);
        let store = safe.filled().await;
        let before = opened(&store);
        let mut heard = Vec::new();
        let rotation = store.rotate_key(false, &mut |done, total| heard.push((done, total))).await.unwrap();
        assert_eq!((rotation.values, rotation.broken.len()), (4 + 1 + 20, 0));
        assert_eq!(heard.last(), Some(&(25, 25)));
        assert_ne!(rotation.from, rotation.to);
        assert_eq!(rotation.kept, [safe.file.with_file_name(format!("offhook.key.{}", rotation.from))]);
        assert_eq!(opened(&store), before);
        let other = safe.open().await;
        assert_eq!(opened(&other), before);
        bench.assert_same(&store, &other);
        let keys = store.vault_keys().await.unwrap();
        let shown: Vec<_> = keys.iter().map(|key| (key.id.as_str(), key.state, key.values)).collect();
        assert_eq!(shown, [
            (rotation.to.as_str(), KeyUse::Current, 25),
            (rotation.from.as_str(), KeyUse::Old, 0),
        ]);
        let audit = &store.audit(None, 1).await.unwrap()[0];
        assert_eq!((audit.event.as_str(), &audit.detail["to"]), ("key_rotated", &rotation.to.clone().into()));
        assert_eq!(std::fs::read_to_string(&safe.file).unwrap().lines().count(), 1);
    }

    async fn a_running_agent_reads_the_new_key_and_seals_with_it(bench) {
        let safe = Safe::new(bench);
        let agent = safe.filled().await;
        let before = opened(&agent);
        let (told, untold) = (safe.open().await, safe.open().await);
        let rotation = rotate(&safe.open().await).await;
        assert_eq!(opened(&agent), before, "what it has in memory it still opens");
        assert!(told.refresh().await.unwrap());
        assert_eq!(opened(&told), before);
        // This one has not looked since, and writes first.
        let adopted = untold.adopt(&identity(7), Way::ZeroTouch).await.unwrap().unwrap();
        assert_eq!(Keys::key_of(&adopted.bootstrap_token), Some(&*rotation.to));
        let keys = safe.open().await.vault_keys().await.unwrap();
        assert_eq!((keys[0].values, keys[1].values), (25 + 4, 0), "{keys:?}");
    }

    async fn without_the_new_key_an_agent_goes_on_with_what_it_has(bench) {
        let safe = Safe::new(bench);
        let store = safe.filled().await;
        let elsewhere = bench.folder.path().join("elsewhere.key");
        std::fs::copy(&safe.file, &elsewhere).unwrap();
        let agent = safe.open_with(Vault::at(&elsewhere)).await.unwrap();
        let before = opened(&agent);
        rotate(&store).await;
        let error = agent.refresh().await.unwrap_err();
        assert!(matches!(error, StoreError::Vault(VaultError::Wrong(_))), "{error}");
        assert!(agent.adopt(&identity(7), Way::ZeroTouch).await.is_err(), "nothing is sealed with a key that is gone");
        assert_eq!(opened(&agent), before);
        std::fs::remove_file(&elsewhere).unwrap();
        std::fs::copy(&safe.file, &elsewhere).unwrap();
        assert!(agent.refresh().await.unwrap());
        assert_eq!(opened(&agent), before);
    }

    async fn a_change_that_was_cut_short_is_taken_up_again(bench) {
        let safe = Safe::new(bench);
        let store = safe.filled().await;
        let before = opened(&store);
        let first = store.keys().id().unwrap();

        // Both keys are in the file, nothing is sealed with the new one.
        let next = store.prepare_key().await.unwrap();
        assert_eq!(store.prepare_key().await.unwrap(), next, "one is enough");
        assert_eq!(safe.open().await.keys().id().unwrap(), first);
        assert_eq!(safe.open().await.waiting_key().unwrap(), Some(next.clone()));

        // Everything is sealed with the new one, and both are still in the file.
        let rotation = store.reseal(&mut |_, _| {}).await.unwrap();
        assert_eq!((&rotation.from, &rotation.to), (&first, &next));
        let other = safe.open().await;
        assert_eq!((opened(&other), other.keys().id()), (before.clone(), Some(next)));
        assert_eq!(other.waiting_key().unwrap(), None);

        let last = rotate(&other).await;
        assert_eq!(last.kept.len(), 2, "both old ones: {last:?}");
        assert_eq!(opened(&safe.open().await), before);
    }

    async fn two_changes_at_once_are_one(bench) {
        let safe = Safe::new(bench);
        let store = safe.filled().await;
        let _alone = store.keys().vault().lock().unwrap();
        let error = safe.open().await.rotate_key(false, &mut |_, _| {}).await.unwrap_err();
        assert!(matches!(error, StoreError::Vault(VaultError::Busy(_))), "{error}");
    }

    async fn a_value_that_no_key_opens_is_named_and_left(bench) {
        let safe = Safe::new(bench);
        let store = safe.filled().await;
        bench.run_sql("UPDATE device_secret SET sealed = '1.00000000.1.00.00' WHERE kind = 'menu'").await;
        let store = { store.close().await; safe.open().await };
        let rotation = rotate(&store).await;
        assert_eq!(rotation.broken, ["device_secret 805e00000001 (menu)"]);
        let keys = store.vault_keys().await.unwrap();
        assert_eq!(keys.last().map(|key| (key.state, key.values)), Some((KeyUse::Missing, 1)));
    }

    async fn an_empty_database_gets_a_new_key_too(bench) {
        let safe = Safe::new(bench);
        let store = safe.open().await;
        let agent = safe.open().await;
        let rotation = rotate(&store).await;
        assert_eq!(rotation.values, 0);
        agent.import(&pool(1), ImportOptions::default()).await.unwrap();
        assert_eq!(agent.keys().id(), Some(rotation.to));
    }

    async fn a_key_of_systemds_is_preferred_and_never_changed_here(bench) {
        let safe = Safe::new(bench);
        let file = bench.folder.path().join("offhook-key");
        credential(&file, &["ab"]);
        let vault = || safe.vault().with_credentials([file.clone()]);
        let store = safe.open_with(vault()).await.unwrap();
        store.import(&sheet(ROW), ImportOptions::default()).await.unwrap();
        assert!(!safe.file.exists(), "no key file is made");
        let before = opened(&store);
        let error = store.rotate_key(false, &mut |_, _| {}).await.unwrap_err();
        assert!(matches!(error, StoreError::Vault(VaultError::Credential(_))), "{error}");

        credential(&file, &["cd", "ab"]);
        let rotation = rotate(&safe.open_with(vault()).await.unwrap()).await;
        assert_eq!(rotation.kept, Vec::<PathBuf>::new());
        credential(&file, &["cd"]);
        assert_eq!(opened(&safe.open_with(vault()).await.unwrap()), before);
    }

    async fn from_a_key_file_to_a_key_of_systemds(bench) {
        let safe = Safe::new(bench);
        let before = opened(&safe.filled().await);
        let file = bench.folder.path().join("offhook-key");
        credential(&file, &["ab"]);
        let vault = || safe.vault().with_credentials([file.clone()]);
        let store = safe.open_with(vault()).await.unwrap();
        let waiting = store.waiting_key().unwrap();
        assert!(waiting.is_some() && waiting != store.keys().id());
        assert_eq!(Some(rotate(&store).await.to), waiting);
        std::fs::remove_file(&safe.file).unwrap();
        assert_eq!(opened(&safe.open_with(vault()).await.unwrap()), before);
    }

    async fn without_its_key_a_database_is_read_and_nothing_is_sealed_or_opened(bench) {
        let safe = Safe::new(bench);
        safe.filled().await.close().await;
        std::fs::remove_file(&safe.file).unwrap();
        assert!(safe.open_with(safe.vault()).await.is_err());
        let store = safe.open_with(safe.vault().or_locked()).await.unwrap();
        let device = store.inventory().device(mac(1)).unwrap();
        store.block(mac(1)).await.unwrap();
        let missing = |error: StoreError| assert!(matches!(error, StoreError::Vault(VaultError::Missing(_))), "{error}");
        missing(store.reveal(&device, SecretKind::Webui, None).unwrap_err());
        missing(store.set_password("101", &Secret::new("geheim9")).await.unwrap_err());
        missing(store.import(&sheet(ROW), ImportOptions { dry_run: true, ..ImportOptions::default() }).await.unwrap_err());
        missing(store.rotate_key(false, &mut |_, _| {}).await.unwrap_err());
        assert_eq!(store.vault_keys().await.unwrap().last().map(|key| key.state), Some(KeyUse::Missing));
        assert!(!safe.file.exists(), "no new key is made");
    }
}

#[tokio::test]
async fn a_new_database_gets_a_key_also_where_it_could_do_without() {
    let bench = Bench::sqlite();
    let safe = Safe::new(&bench);
    safe.open_with(safe.vault().or_locked())
        .await
        .unwrap()
        .import(&pool(1), ImportOptions::default())
        .await
        .unwrap();
    assert!(safe.file.exists());
}

#[tokio::test]
async fn a_forgotten_key_is_gone() {
    let bench = Bench::sqlite();
    let safe = Safe::new(&bench);
    let store = safe.filled().await;
    let rotation = store.rotate_key(true, &mut |_, _| {}).await.unwrap();
    assert_eq!(rotation.kept, Vec::<PathBuf>::new());
    assert_eq!(std::fs::read_dir(safe.file.parent().unwrap()).unwrap().count(), 1);
}
