//! What people do one at a time: approve, block, remove, replace, set, and move accounts; and what they may be shown.

use crate::device::{Approval, Channel, Way};
use crate::secret::{Secret, SecretKind};
use crate::store::testing::{Bench, identity, mac, on_both, pool, sheet, sighting};
use crate::store::{Give, ImportOptions, NewAccount, StoreError};

on_both! {
    async fn approving_gives_an_account_if_there_is_one(bench) {
        let store = bench.store().await;
        store.import(&pool(2), ImportOptions::default()).await.unwrap();
        store.record(&[sighting(1, Channel::Pnp, 1)], &[identity(1), identity(2)]).await.unwrap();
        let approved = store.approve(mac(1), &Give::NextFree).await.unwrap();
        assert_eq!((approved.device.approval, approved.given.as_deref()), (Approval::Approved, Some("1000")));
        let generation = store.inventory().generation();
        assert_eq!(store.approve(mac(1), &Give::NextFree).await.unwrap().given, None);
        assert_eq!(store.inventory().generation(), generation, "approved is approved");
        let named = store.approve(mac(2), &Give::Account("1001".to_owned())).await.unwrap();
        assert_eq!(named.given.as_deref(), Some("1001"));
        assert!(matches!(store.approve(mac(3), &Give::Account("1001".to_owned())).await, Err(StoreError::Conflict(_))));
        assert!(matches!(store.approve(mac(3), &Give::Account("9".to_owned())).await, Err(StoreError::NoAccount(_))));
        let none = store.approve(mac(3), &Give::NextFree).await.unwrap();
        assert_eq!((none.device.approval, none.given), (Approval::Approved, None));
        bench.assert_settled(&store).await;
    }

    async fn a_blocked_phone_is_not_adopted(bench) {
        let store = bench.store().await;
        store.import(&pool(1), ImportOptions::default()).await.unwrap();
        store.block(mac(1)).await.unwrap();
        assert!(store.adopt(&identity(1), Way::ZeroTouch).await.unwrap().is_none());
        assert_eq!(store.inventory().pool_size(), 1);
        store.approve(mac(1), &Give::Nothing).await.unwrap();
        assert!(store.adopt(&identity(1), Way::ZeroTouch).await.unwrap().is_some());
        bench.assert_settled(&store).await;
    }

    async fn accounts_of_a_removed_device_are_the_pools_or_gone(bench) {
        let store = bench.store().await;
        store.import(&pool(2), ImportOptions::default()).await.unwrap();
        for last in [1, 2] {
            store.adopt(&identity(last), Way::ZeroTouch).await.unwrap().unwrap();
        }
        assert_eq!(store.remove(mac(1), false).await.unwrap(), ["1000"]);
        assert_eq!(store.inventory().pool_size(), 1);
        assert_eq!(store.remove(mac(2), true).await.unwrap(), ["1001"]);
        assert_eq!((store.inventory().pool_size(), store.inventory().accounts().len()), (1, 1));
        assert!(matches!(store.remove(mac(2), true).await, Err(StoreError::NoDevice(_))));
        bench.assert_settled(&store).await;
    }

    async fn a_new_phone_takes_the_old_ones_place_with_credentials_of_its_own(bench) {
        let store = bench.store().await;
        let office = "mac,vendor,model,username,password\n805e00000001,yealink,T46U,101,geheim\n\nmac,key,kind,value\n805e00000001,1,blf,102\n";
        store.import(&sheet(office), ImportOptions::default()).await.unwrap();
        store.set(mac(1), &[("ringer".to_owned(), Some("3".to_owned()))]).await.unwrap();
        let old = store.inventory().device(mac(1)).unwrap();
        let old_token = store.bootstrap_token(&old).unwrap();
        store.record(&[sighting(2, Channel::Pnp, 1)], &[identity(2)]).await.unwrap();
        let new = store.replace(mac(1), mac(2)).await.unwrap();
        assert_eq!((&new.lines, &new.keys, &new.settings), (&old.lines, &old.keys, &old.settings));
        assert_eq!((new.approval, new.model.as_deref()), (Approval::Approved, Some("T46U")));
        assert_eq!(store.reveal(&new, SecretKind::Sip, None).unwrap().unwrap().expose(), "geheim");
        for kind in [SecretKind::Webui, SecretKind::Menu, SecretKind::Prov] {
            assert_ne!(store.reveal(&new, kind, None).unwrap(), store.reveal(&old, kind, None).unwrap());
        }
        assert_eq!(store.inventory().device(mac(1)), None);
        assert_eq!(store.inventory().by_token(old_token.expose()), None);
        assert!(matches!(store.replace(mac(2), mac(2)).await, Err(StoreError::Conflict(_))));
        assert!(matches!(store.replace(mac(1), mac(3)).await, Err(StoreError::NoDevice(_))));
        bench.assert_settled(&store).await;
    }

    async fn settings_of_a_device_are_a_layer_of_its_own(bench) {
        let store = bench.store().await;
        store.approve(mac(1), &Give::Nothing).await.unwrap();
        let set = |name: &str, value: Option<&str>| [(name.to_owned(), value.map(str::to_owned))];
        let one = store.set(mac(1), &set("a", Some("1"))).await.unwrap();
        let two = store.set(mac(1), &set("a", Some("2"))).await.unwrap();
        assert!(two.revision > one.revision);
        assert_eq!(two.settings.get("a").map(String::as_str), Some("2"));
        assert_eq!(store.set(mac(1), &set("a", Some("2"))).await.unwrap(), two, "the same is no change");
        assert!(store.set(mac(1), &set("a", None)).await.unwrap().settings.is_empty());
        bench.assert_settled(&store).await;
    }

    async fn an_accounts_change_is_its_devices_change(bench) {
        let store = bench.store().await;
        let new = NewAccount { username: "101".to_owned(), ..NewAccount::default() };
        let added = store.add_account(&new, Some(&Secret::new("eins"))).await.unwrap();
        assert_eq!((added.on, added.account.password_version), (None, 1));
        assert!(matches!(store.add_account(&new, None).await, Err(StoreError::Conflict(_))));
        store.approve(mac(1), &Give::Nothing).await.unwrap();
        store.approve(mac(2), &Give::Nothing).await.unwrap();
        let moved = store.move_account("101", Some((mac(1), None))).await.unwrap();
        assert_eq!(moved.on, Some((mac(1), 1)));
        let before = store.inventory().device(mac(1)).unwrap();
        store.set_password("101", &Secret::new("zwei")).await.unwrap();
        let after = store.inventory().device(mac(1)).unwrap();
        assert!(after.revision > before.revision);
        assert_eq!(store.reveal(&after, SecretKind::Sip, Some(1)).unwrap().unwrap().expose(), "zwei");
        store.move_account("101", Some((mac(2), Some(3)))).await.unwrap();
        assert!(store.inventory().device(mac(1)).unwrap().lines.is_empty());
        assert_eq!(store.inventory().device(mac(2)).unwrap().lines[0].number, 3);
        bench.assert_settled(&store).await;
        let other = NewAccount { username: "102".to_owned(), ..NewAccount::default() };
        store.add_account(&other, None).await.unwrap();
        assert!(matches!(store.move_account("102", Some((mac(2), Some(3)))).await, Err(StoreError::Conflict(_))));
        store.remove_account("101").await.unwrap();
        assert!(store.inventory().device(mac(2)).unwrap().lines.is_empty());
        assert_eq!(store.move_account("102", None).await.unwrap().on, None);
        bench.assert_settled(&store).await;
    }

    async fn who_is_shown_a_secret_is_written_down(bench) {
        let store = bench.store().await.acting_as("ada");
        store.import(&sheet("mac,username,password\n805e00000001,101,geheim\n"), ImportOptions::default()).await.unwrap();
        let generation = store.inventory().generation();
        let shown = store.reveal_to_person(mac(1), SecretKind::Sip, Some(1)).await.unwrap().unwrap();
        assert_eq!(shown.expose(), "geheim");
        assert_eq!(store.inventory().generation(), generation, "nothing of the phone has changed");
        let rows = store.audit(Some(mac(1)), 10).await.unwrap();
        assert_eq!((rows[0].event.as_str(), rows[0].actor.as_str()), ("revealed", "ada"));
        assert_eq!(rows[0].detail["kind"], "sip");
        let events: Vec<String> = store.audit(None, 10).await.unwrap().into_iter().map(|row| row.event).collect();
        assert_eq!(events.len(), 3, "shown, imported, staged: {events:?}");
        assert!(matches!(store.reveal_to_person(mac(2), SecretKind::Sip, None).await, Err(StoreError::NoDevice(_))));
    }

    async fn a_way_in_can_be_corrected(bench) {
        let store = bench.store().await;
        store.record(&[sighting(1, Channel::Http, 1)], &[identity(1)]).await.unwrap();
        assert_eq!(store.inventory().device(mac(1)).unwrap().way, Some(Way::OneTouchManual));
        store.came_in(mac(1), Way::Cloud).await.unwrap();
        assert_eq!(store.inventory().device(mac(1)).unwrap().way, Some(Way::Cloud));
        bench.assert_settled(&store).await;
    }
}
