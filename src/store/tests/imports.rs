//! Imports: twice is once, a failure is nothing, and what goes where.

use crate::device::{Approval, Device, KeyKind, Way};
use crate::secret::SecretKind;
use crate::store::testing::{Bench, identity, mac, on_both, pool, sheet, sighting};
use crate::store::{Give, ImportOptions, Plan, Store, Tally};

const OFFICE: &str = "mac,vendor,model,line,username,password,display_name,label,web_password\n\
                      805e00000001,yealink,T46U,1,101,geheim1,Ada,Front desk,webgeheim\n\
                      805e00000001,,,2,102,geheim2,Ada 2,,\n\
                      805e00000002,snom,D785,,103,geheim3,Bea,,\n\
                      ,,,,201,geheim4,Pool,,\n\
                      \n\
                      mac,key,kind,value,label\n\
                      805e00000001,1,blf,103,Bea\n\
                      805e00000001,2,dnd,,\n";

const PRUNE: ImportOptions = ImportOptions { dry_run: false, partial: false, prune: true };

fn tally(devices: usize, accounts: usize, keys: usize) -> Tally {
    Tally { devices, accounts, keys }
}

async fn import(store: &Store, text: &str) -> Plan {
    store.import(&sheet(text), ImportOptions::default()).await.unwrap()
}

fn users(device: &Device) -> Vec<(u16, &str)> {
    device.lines.iter().map(|line| (line.number, line.account.username.as_str())).collect()
}

on_both! {
    async fn importing_twice_changes_nothing(bench) {
        let store = bench.store().await;
        let plan = import(&store, OFFICE).await;
        assert!(plan.applied && plan.problems.is_empty(), "{plan:?}");
        assert_eq!((plan.added, plan.changed, plan.removed, plan.unchanged), (tally(2, 4, 2), tally(0, 0, 0), tally(0, 0, 0), tally(0, 0, 0)));
        let device = store.inventory().device(mac(1)).unwrap();
        assert_eq!(users(&device), [(1, "101"), (2, "102")]);
        assert_eq!((device.approval, device.lines[0].label.as_deref(), device.keys[0].kind), (Approval::Approved, Some("Front desk"), KeyKind::Blf));
        assert_eq!(store.reveal(&device, SecretKind::Sip, Some(2)).unwrap().unwrap().expose(), "geheim2");
        assert_eq!(store.reveal(&device, SecretKind::Webui, None).unwrap().unwrap().expose(), "webgeheim");
        bench.assert_settled(&store).await;

        let generation = store.inventory().generation();
        let again = import(&store, OFFICE).await;
        assert!(again.is_empty() && !again.applied, "{again:?}");
        assert_eq!(again.unchanged, tally(2, 4, 2));
        assert_eq!(store.inventory().generation(), generation);
        assert_eq!(store.inventory().device(mac(1)), Some(device));
    }

    async fn an_account_that_was_adopted_stays_where_it_is(bench) {
        let store = bench.store().await;
        import(&store, OFFICE).await;
        store.adopt(&identity(7), Way::ZeroTouch).await.unwrap().unwrap();
        assert!(import(&store, OFFICE).await.is_empty());
        let pruned = store.import(&sheet(OFFICE), PRUNE).await.unwrap();
        assert!(pruned.is_empty(), "{pruned:?}");
    }

    async fn a_dry_run_tells_and_does_nothing(bench) {
        let store = bench.store().await;
        let dry = ImportOptions { dry_run: true, ..ImportOptions::default() };
        let plan = store.import(&sheet(OFFICE), dry).await.unwrap();
        assert_eq!((plan.applied, plan.added), (false, tally(2, 4, 2)));
        assert_eq!((store.inventory().generation(), store.inventory().devices().len()), (0, 0));
    }

    async fn only_what_differs_changes(bench) {
        let store = bench.store().await;
        import(&store, OFFICE).await;
        let untouched = store.inventory().device(mac(2)).unwrap();
        let before = store.inventory().device(mac(1)).unwrap();
        let changed = OFFICE.replace("geheim2,Ada 2", "neu2,Ada Zwei").replace("webgeheim", "webneu").replace("Bea\n805e00000001,2", "Beate\n805e00000001,2");
        let plan = import(&store, &changed).await;
        let told: Vec<String> = plan.changes.iter().map(|change| {
            let fields: Vec<_> = change.fields.iter().map(|field| format!("{} {:?}>{:?}", field.field, field.from, field.to)).collect();
            format!("{} {}: {}", change.what, change.name, fields.join(", "))
        }).collect();
        assert_eq!(told, [
            "device 80:5e:00:00:00:01: web_password None>Some(\"changed\")",
            "account 102: display_name Some(\"Ada 2\")>Some(\"Ada Zwei\"), password None>Some(\"changed\")",
            "key 80:5e:00:00:00:01 key 1: label Some(\"Bea\")>Some(\"Beate\")",
        ]);
        let device = store.inventory().device(mac(1)).unwrap();
        assert!(device.revision > before.revision);
        assert_eq!(device.lines[1].account.password_version, 2);
        assert_eq!(store.reveal(&device, SecretKind::Sip, Some(2)).unwrap().unwrap().expose(), "neu2");
        assert_eq!(store.reveal(&device, SecretKind::Webui, None).unwrap().unwrap().expose(), "webneu");
        assert_eq!(store.inventory().device(mac(2)), Some(untouched));
        assert!(import(&store, &changed).await.is_empty());
        bench.assert_settled(&store).await;
    }

    async fn accounts_change_places_and_who_is_displaced_goes_to_the_pool(bench) {
        let store = bench.store().await;
        import(&store, OFFICE).await;
        import(&store, "mac,line,username\n805e00000002,1,101\n805e00000001,1,103\n").await;
        assert_eq!(users(&store.inventory().device(mac(1)).unwrap()), [(1, "103"), (2, "102")]);
        assert_eq!(users(&store.inventory().device(mac(2)).unwrap()), [(1, "101")]);
        import(&store, "mac,line,username\n805e00000001,1,201\n").await;
        assert_eq!(users(&store.inventory().device(mac(1)).unwrap()), [(1, "201"), (2, "102")]);
        let pool: Vec<_> = store.inventory().accounts().into_iter().filter(|holding| holding.on.is_none()).collect();
        assert_eq!(pool.len(), 1);
        assert_eq!(pool[0].account.username, "103");
        bench.assert_settled(&store).await;
    }

    async fn absent_columns_and_empty_cells_are_not_the_same(bench) {
        let store = bench.store().await;
        import(&store, OFFICE).await;
        let generation = store.inventory().generation();
        assert!(import(&store, "mac,username,password\n805e00000001,101,\n").await.is_empty(), "an empty password stays");
        assert_eq!(store.inventory().generation(), generation);
        import(&store, "mac,vendor,model,username,display_name\n805e00000001,,,101,\n").await;
        let device = store.inventory().device(mac(1)).unwrap();
        assert_eq!((device.lines[0].account.display_name.as_deref(), device.lines[0].label.as_deref()), (None, Some("Front desk")));
        assert_eq!(device.model.as_deref(), Some("T46U"));
    }

    async fn a_registrar_that_comes_later_is_the_same_accounts(bench) {
        let store = bench.store().await;
        import(&store, "mac,username\n805e00000001,101\n").await;
        let plan = import(&store, "mac,username,registrar\n805e00000001,101,pbx.lan\n").await;
        assert_eq!((plan.added.accounts, plan.changed.accounts), (0, 1));
        let both = "mac,line,username,registrar\n805e00000001,1,101,pbx.lan\n805e00000001,2,101,other.lan\n";
        assert_eq!(import(&store, both).await.added.accounts, 1);
        assert!(import(&store, both).await.is_empty());
        assert!(store.remove_account("101").await.is_err(), "there are two of that name");
        store.remove_account("101@other.lan").await.unwrap();
        bench.assert_settled(&store).await;
    }

    async fn a_bad_row_stops_all_or_with_partial_only_itself(bench) {
        let store = bench.store().await;
        let text = format!("{OFFICE}805e00000099,1,dnd,,\n805e00000002,1,nothing,,\n");
        let plan = import(&store, &text).await;
        let told: Vec<_> = plan.problems.iter().map(|problem| (problem.place.line, problem.reason.as_str())).collect();
        assert!(told[0].0 == 10 && told[0].1 == "there is no device 80:5e:00:00:00:99", "{told:?}");
        assert!(told[1].0 == 11 && told[1].1.starts_with("kind: "), "{told:?}");
        assert_eq!((plan.applied, store.inventory().devices().len()), (false, 0));
        let partial = ImportOptions { partial: true, ..ImportOptions::default() };
        let plan = store.import(&sheet(&text), partial).await.unwrap();
        assert_eq!((plan.applied, plan.problems.len(), store.inventory().devices().len()), (true, 2, 2));
        bench.assert_settled(&store).await;
    }

    async fn pruning_removes_what_the_sheet_does_not_name(bench) {
        let store = bench.store().await;
        import(&store, OFFICE).await;
        store.record(&[sighting(5, crate::device::Channel::Pnp, 1)], &[identity(5)]).await.unwrap();
        store.block(mac(6)).await.unwrap();
        let keys_only = "mac,key,kind,value,label\n805e00000001,2,dnd,,\n";
        let plan = store.import(&sheet(keys_only), PRUNE).await.unwrap();
        assert_eq!(plan.removed, tally(0, 0, 1), "a table of keys says nothing about devices");
        let plan = store.import(&sheet("mac,username\n805e00000001,101\n"), PRUNE).await.unwrap();
        assert_eq!(plan.removed, tally(1, 3, 0));
        let left: Vec<_> = store.inventory().devices().iter().map(|device| device.mac).collect();
        assert_eq!(left, [mac(1), mac(5), mac(6)], "who waits and who is blocked stays");
        assert_eq!(users(&store.inventory().device(mac(1)).unwrap()), [(1, "101")]);
        bench.assert_settled(&store).await;
    }

    async fn a_failing_import_leaves_nothing(bench) {
        let store = bench.store().await;
        import(&store, "mac,username\n805e00000009,900\n").await;
        let before = (store.inventory().generation(), store.inventory().devices(), store.inventory().accounts());
        bench.run_sql("ALTER TABLE device_key RENAME TO away").await;
        let error = store.import(&sheet(OFFICE), ImportOptions::default()).await.unwrap_err();
        assert!(!error.is_refusal(), "{error}");
        bench.run_sql("ALTER TABLE away RENAME TO device_key").await;
        let after = (store.inventory().generation(), store.inventory().devices(), store.inventory().accounts());
        assert_eq!(before, after);
        bench.assert_settled(&store).await;
        assert!(import(&store, OFFICE).await.applied, "and it can be done again");
        bench.assert_settled(&store).await;
    }

    async fn a_pending_phone_in_the_sheet_is_approved_and_a_blocked_one_stays_blocked(bench) {
        let store = bench.store().await;
        store.record(&[sighting(1, crate::device::Channel::Pnp, 1)], &[identity(1)]).await.unwrap();
        store.block(mac(2)).await.unwrap();
        let plan = import(&store, OFFICE).await;
        assert_eq!(plan.notes, ["80:5e:00:00:00:02 is blocked, and stays so"]);
        let approval = |last| store.inventory().device(mac(last)).unwrap().approval;
        assert_eq!((approval(1), approval(2)), (Approval::Approved, Approval::Blocked));
        assert!(import(&store, OFFICE).await.is_empty());
        bench.assert_settled(&store).await;
    }

    async fn hundreds_of_rows_go_in_together(bench) {
        let store = bench.store().await;
        store.import(&pool(250), ImportOptions::default()).await.unwrap();
        assert_eq!(store.inventory().pool_size(), 250);
        store.approve(mac(1), &Give::NextFree).await.unwrap();
        assert_eq!(store.inventory().pool_size(), 249);
        bench.assert_settled(&store).await;
    }
}
