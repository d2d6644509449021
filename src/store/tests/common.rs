//! What phones have in common: written once, seen by every process, taken over by an import, kept by a backup.

use super::*;
use crate::device::{Group, Key, KeyKind};

fn group(vendor: &str, model: &str) -> Group {
    Group::of(vendor, model)
}

fn key(number: u16, kind: KeyKind, value: &str) -> Key {
    Key { number, kind, value: value.to_owned(), label: String::new(), line: None }
}

fn set(name: &str, value: Option<&str>) -> Vec<(String, Option<String>)> {
    vec![(name.to_owned(), value.map(str::to_owned))]
}

on_both! {
    async fn what_is_common_is_seen_by_every_process(bench) {
        let (one, other) = (bench.store().await, bench.store().await);
        one.set_common(&group("", ""), &set("language", Some("de"))).await.unwrap();
        let first = one.inventory().commons();
        assert!(other.refresh().await.unwrap());
        assert_eq!(other.inventory().commons(), first);
        other.set_common(&group("yealink", "T46U"), &set("raw:a.b", Some("1"))).await.unwrap();
        one.set_common(&group("", ""), &set("language", None)).await.unwrap();
        let commons = one.inventory().commons();
        assert!(commons.revision > first.revision);
        let groups: Vec<String> = commons.groups.keys().map(ToString::to_string).collect();
        assert_eq!(groups, ["yealink/T46U"], "a group with nothing is none");
        let generation = one.inventory().generation();
        one.set_common(&group("yealink", "T46U"), &set("raw:a.b", Some("1"))).await.unwrap();
        assert_eq!(one.inventory().generation(), generation, "what is there already changes nothing");
        bench.assert_settled(&one).await;
    }

    async fn keys_of_plans_and_phones_come_and_go(bench) {
        let store = bench.store().await;
        store.import(&sheet("mac,username\n805e00000001,101\n"), ImportOptions::default()).await.unwrap();
        let phone = Owner::Device(mac(1));
        let before = store.inventory().device(mac(1)).unwrap().revision;
        store.set_keys(&phone, &[(2, Some(Key { line: Some(3), ..key(2, KeyKind::Blf, "202") }))]).await.unwrap();
        let device = store.inventory().device(mac(1)).unwrap();
        assert!(device.revision > before);
        assert_eq!((device.keys.len(), device.keys[0].line), (1, Some(3)));
        let site = Owner::Group(Group::Site);
        store.set_keys(&site, &[(1, Some(key(1, KeyKind::Line, "")))]).await.unwrap();
        store.set_keys(&site, &[(1, Some(key(1, KeyKind::Dnd, ""))), (9, None)]).await.unwrap();
        let plan = store.inventory().commons();
        assert_eq!(plan.of(&Group::Site).unwrap().keys[&1].kind, KeyKind::Dnd);
        store.set_keys(&phone, &[(2, None)]).await.unwrap();
        assert!(store.inventory().device(mac(1)).unwrap().keys.is_empty());
        let missing = store.set_keys(&Owner::Device(mac(9)), &[]).await;
        assert!(matches!(missing, Err(StoreError::NoDevice(_))), "{missing:?}");
        assert_eq!(store.audit(None, 99).await.unwrap().iter().filter(|row| row.event == "keys_changed").count(), 4);
        bench.assert_settled(&store).await;
    }

    async fn plans_are_imported_twice_and_pruned(bench) {
        let store = bench.store().await;
        let table = "mac,username\n805e00000001,101\n\nmac,vendor,model,key,kind,value,label,line\n\
                     ,,,1,line,,,\n,yealink,,2,dnd,,,\n,yealink,T46U,3,blf,202,Ada,2\n805e00000001,,,3,none,,,\n";
        let plan = store.import(&sheet(table), ImportOptions::default()).await.unwrap();
        assert_eq!((plan.added.keys, plan.problems.len()), (4, 0), "{plan:?}");
        let names: Vec<&str> = plan.changes.iter().filter(|change| change.what == "key").map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["80:5e:00:00:00:01 key 3", "site key 1", "yealink key 2", "yealink/T46U key 3"]);
        let again = store.import(&sheet(table), ImportOptions::default()).await.unwrap();
        assert_eq!((again.is_empty(), again.unchanged.keys), (true, 4), "{again:?}");
        let commons = store.inventory().commons();
        assert_eq!(commons.of(&group("yealink", "T46U")).unwrap().keys[&3].line, Some(2));
        let prune = ImportOptions { prune: true, ..ImportOptions::default() };
        let less = store.import(&sheet("key,kind\n1,line\n"), prune).await.unwrap();
        assert_eq!((less.removed.keys, less.unchanged.keys), (3, 1), "{less:?}");
        assert_eq!(store.inventory().commons().groups.len(), 1);
        bench.assert_settled(&store).await;
    }
}
