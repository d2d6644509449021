//! What the people's listener refuses, and how it says so.

use super::*;

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let site = Site::open(&Bench::sqlite()).await;
    let token = format!("Authorization: Bearer {}", site.token(&[Scope::Admin]).await);
    let arm = format!("/api/v1/devices/{SNOM}/arm");
    let check = async |method: &str, path: &str, heads: &[&str], body: &str, status: u16| {
        let told = site.ask(method, path, &[&[&*token], heads].concat(), body).await;
        assert_eq!(told.status, status, "{method} {path} {heads:?}: {told:?}");
        told
    };
    let json = "Content-Type: application/json";
    check("GET", "/", &[], "", 404).await;
    check("GET", "/api/v1/devices/", &[], "", 404).await;
    check("GET", "/api/v1/../v1/devices", &[], "", 404).await;
    assert!(check("DELETE", "/api/v1/devices", &[], "", 405).await.head("allow").unwrap().contains("GET"));
    check("POST", &arm, &[json], "{", 400).await;
    check("POST", &arm, &[json], "[]", 400).await;
    check("POST", &arm, &[json], "{\"kind\":[]}", 422).await;
    check("POST", &arm, &["Content-Type: text/plain"], "{}", 415).await;
    check("POST", &arm, &[], "{}", 415).await;
    check("POST", &arm, &[json], &" ".repeat(70_000), 413).await;
    check("POST", &arm, &["Idempotency-Key: a", "Idempotency-Key: b"], "", 400).await;
    check("POST", &arm, &[], "", 200).await;
    check("POST", &arm, &["Content-Type: Application/JSON; charset=utf-8"], "{}", 200).await;
    site.stop().await;
}

#[tokio::test]
async fn who_guesses_is_told_to_wait_and_who_has_a_token_is_not() {
    let site = Site::open(&Bench::sqlite()).await;
    let token = site.token(&[Scope::DevicesRead]).await;
    let (mut unknown, mut waiting) = (0, 0);
    for guess in 0..50 {
        let told = site.get(&format!("oh_aaaaaaaa_{guess:064}"), "/api/v1/devices").await;
        match told.status {
            401 => unknown += 1,
            429 => {
                assert_eq!(told.head("retry-after"), Some("3"));
                waiting += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((unknown, waiting), (20, 30), "by a clock that stands still");
    assert_eq!(site.get(&token, "/api/v1/devices").await.status, 200);
    let id = token.split('_').nth(1).unwrap().to_owned();
    site.store.revoke_token(&id).await.unwrap();
    assert_eq!(
        site.get(&token, "/api/v1/devices").await.status,
        429,
        "its last word is no better than a guess"
    );
    let store = site.stop().await;
    let rows = store.audit(None, 999).await.unwrap();
    let refused: Vec<_> = rows.iter().filter(|row| row.event == "api_refused").collect();
    assert!(refused.len() < 6, "{refused:?}");
    assert_eq!(refused.iter().map(|row| row.detail["count"].as_i64().unwrap()).sum::<i64>(), 51);
    assert!(store.tokens().await.unwrap()[0].last_used.is_some());
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_said_and_nothing_is_handed_out() {
    let site = Site::open(&Bench::sqlite()).await;
    let token = site.token(&[Scope::Admin]).await;
    assert_eq!(site.ask("GET", "/readyz", &[], "").await.body["status"], "ready");
    site.store.close().await;
    let told = site.get(&token, "/api/v1/devices").await;
    assert_eq!((told.status, told.head("retry-after")), (503, Some("1")), "{told:?}");
    assert_eq!(site.ask("GET", "/readyz", &[], "").await.status, 503);
    assert_eq!(site.ask("GET", "/healthz", &[], "").await.status, 200);
}

#[test]
fn only_loopback_is_listened_on_without_tls() {
    for here in ["127.0.0.1:8482", "[::1]:8482", "127.0.0.2:1"] {
        assert_eq!(AdminServer::objection(here.parse().unwrap()), None);
    }
    for elsewhere in ["0.0.0.0:8482", "192.168.1.35:8482", "[::]:8482"] {
        let objection = AdminServer::objection(elsewhere.parse().unwrap()).unwrap();
        assert!(
            objection.contains("ssh -L 8482:127.0.0.1:8482") && objection.contains("admin.hosts"),
            "{objection}"
        );
    }
}
