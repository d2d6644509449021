//! Conditions on both databases, with two processes on each.

use super::super::testing::{Bench, mac, on_both, sheet};
use super::*;
use crate::release::{CloseOn, Mode, Policies, Window};
use crate::store::{Armed, Give, ImportOptions};

const OFFICE: &str = "mac,vendor,model,username,password\n805e00000001,yealink,T46U,101,geheim\n";

fn keyed(key: &str, request: &str) -> Once {
    Once::new("token", key.as_bytes(), &[request.as_bytes()])
}

async fn office(bench: &Bench) -> Store {
    let store = bench.store().await;
    store.import(&sheet(OFFICE), ImportOptions::default()).await.unwrap();
    store
}

async fn arm(store: &Store) -> Result<Armed, StoreError> {
    let policies = Policies::all(Window::Of(Duration::from_mins(10)), CloseOn::Window, 100);
    store.arm(mac(1), |_| true, Mode::OnContact, None, &policies, "test").await
}

fn under(store: &Store, deed: &Once) -> Store {
    store.on_condition(Condition { once: Some(deed.clone()), unchanged: None })
}

on_both! {
    async fn case_55_a_deed_with_a_key_is_done_once_by_whoever_is_asked(bench) {
        let [one, two] = [office(bench).await, bench.store().await];
        let deed = keyed("a", "arm");
        assert!(one.done_before(&deed).await.unwrap().is_none());
        let asked: Vec<_> = (0..8)
            .map(|n| {
                let store = under(if n % 2 == 0 { &one } else { &two }, &deed);
                tokio::spawn(async move { arm(&store).await.map(|armed| armed.grants.epoch) })
            })
            .collect();
        let mut done = Vec::new();
        for asked in asked {
            match asked.await.unwrap() {
                Ok(epoch) => done.push(epoch),
                Err(error) => assert!(matches!(error, StoreError::Repeated), "{error}"),
            }
        }
        assert_eq!(done, [2], "the first epoch is that of the import");
        let armed = one.audit(Some(mac(1)), 99).await.unwrap();
        assert_eq!(armed.iter().filter(|row| row.event == "armed").count(), 1);
        let three = bench.store().await;
        assert_eq!(three.done_before(&deed).await.unwrap(), Some(Earlier(None)), "another process knows it");
        assert!(matches!(arm(&under(&three, &deed)).await, Err(StoreError::Repeated)));
        for (status, body) in [(200, "{\"epoch\":2}"), (200, "another")] {
            three.remember(&deed, &(status, body.to_owned())).await.unwrap();
        }
        let answer = Some(Earlier(Some((200, "{\"epoch\":2}".to_owned()))));
        assert_eq!(one.done_before(&deed).await.unwrap(), answer, "the first answer stays");
    }

    async fn a_key_is_of_one_request_of_one_token_for_a_day(bench) {
        let store = office(bench).await;
        let first = keyed("a", "arm");
        arm(&under(&store, &first)).await.unwrap();
        for other in [keyed("a", "lock"), Once::new("token", b"a", &[b"ar", b"m"])] {
            assert!(matches!(store.done_before(&other).await, Err(StoreError::KeyReused)));
            assert!(matches!(arm(&under(&store, &other)).await, Err(StoreError::KeyReused)));
        }
        for free in [keyed("b", "arm"), Once::new("other", b"a", &[b"arm"])] {
            assert!(store.done_before(&free).await.unwrap().is_none());
            arm(&under(&store, &free)).await.unwrap();
        }
        bench.clock.advance(REMEMBERED);
        assert!(store.done_before(&first).await.unwrap().is_none());
        assert_eq!(arm(&under(&store, &first)).await.unwrap().grants.epoch, 5);
        assert_eq!(store.done_before(&first).await.unwrap(), Some(Earlier(None)));
    }

    async fn a_deed_that_fails_leaves_its_key_free(bench) {
        let store = office(bench).await;
        let deed = keyed("a", "arm");
        store.block(mac(1)).await.unwrap();
        assert!(matches!(arm(&under(&store, &deed)).await, Err(StoreError::Conflict(_))));
        store.approve(mac(1), &Give::NextFree).await.unwrap();
        arm(&under(&store, &deed)).await.unwrap();
    }

    async fn a_device_is_changed_only_as_it_was_seen(bench) {
        let [store, other] = [office(bench).await, bench.store().await];
        let version = || store.version_of(mac(1)).unwrap();
        let seen = version();
        let only = |versions: &[&str]| {
            let versions = versions.iter().map(|version| (*version).to_owned()).collect();
            store.on_condition(Condition { once: None, unchanged: Some((mac(1), Versions::OneOf(versions))) })
        };
        assert_eq!(other.version_of(mac(1)).unwrap(), seen);
        assert_eq!(store.version_of(mac(9)), None);
        arm(&only(&["x", &seen])).await.unwrap();
        let armed = version();
        assert_ne!(armed, seen);
        assert!(matches!(arm(&only(&[&seen])).await, Err(StoreError::Changed(_))));
        other.set(mac(1), &[("language".to_owned(), Some("de".to_owned()))]).await.unwrap();
        assert_eq!(version(), armed, "not read yet");
        assert!(matches!(arm(&only(&[&armed])).await, Err(StoreError::Changed(_))), "what another process wrote counts");
        assert_ne!(version(), armed);
        let before = version();
        bench.clock.advance(Duration::from_hours(25));
        assert_ne!(version(), before, "what has run out is another state");
        let any = |mac| store.on_condition(Condition { once: None, unchanged: Some((mac, Versions::Any)) });
        any(mac(1)).block(mac(1)).await.unwrap();
        let outcome = any(mac(9)).approve(mac(9), &Give::Nothing).await;
        assert!(matches!(outcome, Err(StoreError::Changed(_))), "{outcome:?}");
        assert!(store.inventory().device(mac(9)).is_none());
    }
}
