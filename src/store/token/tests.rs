//! Tokens on both databases.

use super::super::testing::{Bench, on_both};
use super::*;

const SCOPES: [Scope; 2] = [Scope::ReleaseArm, Scope::DevicesRead];

async fn made(store: &Store, life: Duration) -> (ApiToken, Secret) {
    store.create_token(" pbx ", &SCOPES, life).await.unwrap()
}

on_both! {
    async fn a_token_is_good_until_it_expires_or_is_revoked(bench) {
        let store = bench.store().await.acting_as("ada");
        let (token, text) = made(&store, Duration::from_hours(24)).await;
        assert_eq!((token.name.as_str(), token.created_by.as_str()), ("pbx", "ada"));
        assert_eq!(token.scopes, [Scope::DevicesRead, Scope::ReleaseArm]);
        let text = text.expose().to_owned();
        assert!(regex::Regex::new("^oh_[0-9a-z]{8}_[0-9a-f]{64}$").unwrap().is_match(&text), "{}", text.len());
        let present = async |store: &Store, text: &str| store.present_token(&Secret::new(text)).await.unwrap();
        let other = bench.store().await;
        assert_eq!(present(&other, &text).await, Presented::Valid(token.clone()));
        let altered = format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { '1' } else { '0' });
        for wrong in [altered.as_str(), "", "oh_", "oh_abcdefgh_", &text[..text.len() - 1], &text.to_uppercase()] {
            assert_eq!(present(&store, wrong).await, Presented::Unknown, "{wrong}");
        }
        bench.clock.advance(Duration::from_hours(24));
        assert_eq!(present(&store, &text).await, Presented::Over(token));
        let (token, text) = made(&store, TOKEN_LIFE_MAX).await;
        let revoked = other.revoke_token(&token.id).await.unwrap();
        assert_eq!(present(&store, text.expose()).await, Presented::Over(revoked.clone()));
        assert_eq!(other.revoke_token(&token.id).await.unwrap(), revoked, "once is enough");
        assert!(matches!(store.revoke_token("nonesuch").await, Err(StoreError::NoToken(_))));
        let events: Vec<String> = store.audit(None, 9).await.unwrap().into_iter().map(|row| row.event).collect();
        assert_eq!(events, ["token_revoked", "token_created", "token_created"]);
    }

    async fn a_token_is_not_in_the_database(bench) {
        let store = bench.store().await;
        let (token, text) = made(&store, Duration::from_hours(1)).await;
        let file = bench.folder.path().join("saved");
        store.save(&file, false, &mut |_, _| {}).await.unwrap();
        let saved = std::fs::read_to_string(&file).unwrap();
        let (_, random) = text.expose().rsplit_once('_').unwrap();
        assert!(saved.contains(&token.id) && !saved.contains(random));
        assert!(!format!("{token:?} {store:?} {text:?}").contains(random));
    }

    async fn when_it_was_used_is_known_to_the_minute(bench) {
        let store = bench.store().await;
        let (token, _) = made(&store, Duration::from_hours(1)).await;
        let now = async || store.tokens().await.unwrap().remove(0);
        store.token_used(&token).await.unwrap();
        let first = now().await;
        assert_eq!(first.last_used, Some(bench.clock.now()));
        bench.clock.advance(Duration::from_secs(59));
        store.token_used(&first).await.unwrap();
        assert_eq!(now().await, first);
        bench.clock.advance(Duration::from_secs(1));
        store.token_used(&first).await.unwrap();
        assert_eq!(now().await.last_used, Some(bench.clock.now()));
    }

    async fn a_database_that_was_put_back_knows_no_token(bench) {
        let store = bench.store().await;
        let (_, text) = made(&store, Duration::from_hours(1)).await;
        store.lock_restored().await.unwrap();
        assert!(matches!(store.present_token(&text).await.unwrap(), Presented::Over(_)));
        let row = store.audit(None, 1).await.unwrap().remove(0);
        assert_eq!((row.event.as_str(), &row.detail["count"]), ("tokens_revoked", &1.into()));
    }

    async fn what_cannot_be_a_token_is_not_made(bench) {
        let store = bench.store().await;
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        for name in ["", " ", "a\nb", &long] {
            assert!(store.create_token(name, &SCOPES, Duration::from_hours(1)).await.is_err(), "{name:?}");
        }
        for life in [Duration::ZERO, TOKEN_LIFE_MAX + Duration::from_secs(1)] {
            assert!(store.create_token("a", &SCOPES, life).await.is_err(), "{life:?}");
        }
        assert!(store.tokens().await.unwrap().is_empty());
    }

    async fn tokens_and_requests_that_are_over_are_forgotten(bench) {
        let store = bench.store().await;
        made(&store, Duration::from_hours(1)).await;
        let once = crate::store::Once::new("a", b"key", &[b"x"]);
        store.remember(&once, &(200, "{}".to_owned())).await.unwrap();
        bench.clock.advance(Duration::from_hours(23));
        store.prune_api().await.unwrap();
        assert!(store.done_before(&once).await.unwrap().is_some());
        bench.clock.advance(Duration::from_hours(1));
        assert!(store.done_before(&once).await.unwrap().is_none());
        bench.clock.advance(KEPT);
        store.prune_api().await.unwrap();
        assert!(store.tokens().await.unwrap().is_empty());
        let (rows,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM api_deed").fetch_one(store.inner.db.reader()).await.unwrap();
        assert_eq!(rows, 0);
    }
}

#[test]
fn an_admin_may_everything_but_see_passwords() {
    let token = |scopes: &[Scope]| ApiToken {
        id: "a".to_owned(),
        name: "a".to_owned(),
        scopes: scopes.to_vec(),
        created: Timestamp(0),
        created_by: "a".to_owned(),
        expires: Timestamp(1),
        last_used: None,
        revoked: None,
    };
    for scope in Scope::ALL {
        assert_eq!(token(&[Scope::Admin]).may(scope), scope != Scope::SecretsReveal, "{scope}");
        assert!(token(&[scope]).may(scope) && !token(&[]).may(scope));
        assert_eq!(scope.as_str().parse(), Ok(scope));
    }
    assert!(!token(&[Scope::DevicesWrite]).may(Scope::DevicesRead));
    assert_eq!((token(&[]).state(Timestamp(0)), token(&[]).state(Timestamp(1))), ("valid", "expired"));
}
