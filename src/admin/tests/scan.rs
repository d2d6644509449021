//! Scans and rounds by REST, as far as nothing needs to be sent for it: `tests/it/scan_rest.rs` has the rest.

use super::*;
use crate::clock::Timestamp;
use crate::store::{FoundRow, ScanRow, ScanState};

const LAN: &str = "192.0.2.1-192.0.2.254 on eth0";

fn found(last: u8, kind: &str) -> FoundRow {
    FoundRow {
        address: [192, 0, 2, last].into(),
        mac: None,
        kind: kind.to_owned(),
        vendor: Some("yealink".to_owned()),
        model: None,
        firmware: None,
        confidence: 70,
        evidence: vec!["http.title Yealink".to_owned()],
        first: Timestamp(7),
    }
}

async fn scanned(store: &Store, found: &[FoundRow]) -> i64 {
    let begun = store.begin_scan(LAN, 508, None).await.unwrap();
    let remarks = "{\"duplicates\":[],\"proxies\":[\"00:15:65:00:00:01\"]}".to_owned();
    let ended = ScanRow { position: 508, answered: 9, remarks, ..begun };
    store.keep_scan(&ended, ScanState::Complete, found, &[]).await.unwrap();
    ended.id
}

on_both! {
    async fn a_scan_is_read_with_whom_it_found_and_what_has_changed(bench) {
        let site = Site::open(bench).await;
        let token = site.token(&[Scope::DevicesRead]).await;
        assert_eq!(site.get(&token, "/api/v1/scans").await.body, json!([]));
        let store = site.store.in_agent("host");
        let first = scanned(&store, &[found(1, "phone"), found(2, "phone"), found(10, "other")]).await;
        let second = scanned(&store, &[found(9, "phone"), found(2, "phone"), found(10, "guess"), found(11, "hint")]).await;
        let told = site.get(&token, &format!("/api/v1/scans/{second}")).await;
        for (key, value) in [("state", json!("complete")), ("asked", json!(508)), ("answered", json!(9)), ("phones", json!(2)),
            ("guesses", json!(1)), ("hints", json!(1)), ("proxies", json!([YEALINK]))] {
            assert_eq!(told.body[key], value, "{key}");
        }
        let page = site.get(&token, "/api/v1/scans?limit=1").await;
        assert_eq!(page.body[0]["id"], second);
        assert!(page.head("link").unwrap().contains(&format!("cursor={second}")), "{page:?}");
        assert_eq!(site.get(&token, &format!("/api/v1/scans?cursor={second}")).await.body[0]["id"], first);
        let addresses = |told: &Told| -> Vec<String> {
            told.body.as_array().unwrap().iter().map(|row| row["address"].as_str().unwrap().to_owned()).collect()
        };
        let all = site.get(&token, &format!("/api/v1/scans/{second}/found?all=true")).await;
        assert_eq!(addresses(&all), ["192.0.2.2", "192.0.2.9", "192.0.2.10", "192.0.2.11"], "by address, not by its text");
        let page = site.get(&token, &format!("/api/v1/scans/{second}/found?limit=2")).await;
        assert_eq!(addresses(&page), ["192.0.2.2", "192.0.2.9"]);
        assert!(page.head("link").unwrap().contains("all=false&limit=2&cursor=192.0.2.9"), "{page:?}");
        let rest = site.get(&token, &format!("/api/v1/scans/{second}/found?limit=2&cursor=192.0.2.9")).await;
        assert_eq!((addresses(&rest), rest.head("link")), (vec!["192.0.2.10".to_owned()], None));
        let difference = site.get(&token, &format!("/api/v1/scans/{second}/difference")).await.body;
        let changes = |key: &str| difference["difference"][key].as_array().unwrap().len();
        assert_eq!((changes("new"), changes("gone"), changes("moved")), (2, 1, 0));
        let none = site.get(&token, &format!("/api/v1/scans/{first}/difference")).await;
        assert_eq!(none.body, json!({ "difference": null }), "the first is compared with none");
        // One that says that it runs, and has not written for long, was cut off.
        let cut = store.begin_scan(LAN, 508, None).await.unwrap().id;
        assert_eq!(site.get(&token, &format!("/api/v1/scans/{cut}")).await.body["state"], "running");
        bench.clock.advance(Duration::from_secs(31));
        assert_eq!(site.get(&token, &format!("/api/v1/scans/{cut}")).await.body["state"], "interrupted");
        site.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_scanned_or_told_says_why() {
    let bench = Bench::sqlite();
    let site = Site::open(&bench).await;
    let token = site.token(&[Scope::DevicesRead, Scope::DevicesWrite]).await;
    let start = async |body: Value| {
        let told = site.post(&token, "/api/v1/scans", &[], &body).await;
        (told.status, told.code().to_owned())
    };
    assert_eq!(start(json!({})).await, (422, "no_interface".to_owned()));
    assert_eq!(start(json!({ "networks": ["127.0.0.0/8"] })).await, (422, "no_hosts".to_owned()));
    assert_eq!(start(json!({ "networks": ["10.0.0.0/16"] })).await, (422, "unconfirmed".to_owned()));
    assert_eq!(start(json!({ "networks": ["here"] })).await, (422, "body".to_owned()));
    assert_eq!(start(json!({ "rate": 0 })).await, (422, "rate".to_owned()));
    let get = async |path: &str| {
        let told = site.get(&token, path).await;
        (told.status, told.code().to_owned())
    };
    assert_eq!(get("/api/v1/scans/77").await, (404, "not_found".to_owned()));
    assert_eq!(get("/api/v1/scans/here").await, (422, "id".to_owned()));
    assert_eq!(get("/api/v1/scans/77/found?cursor=x").await, (422, "cursor".to_owned()));
    assert_eq!(get("/api/v1/scans/plan?networks=here").await, (422, "networks".to_owned()));
    let plan = site.get(&token, "/api/v1/scans/plan?networks=10.9.0.0/24,10.9.1.7&rate=100").await;
    assert_eq!(
        (plan.status, &plan.body["addresses"], &plan.body["seconds"]),
        (200, &255.into(), &6.into()),
        "{plan:?}"
    );
    let tell = async |body: Value| site.post(&token, "/api/v1/rounds", &[], &body).await;
    for (body, code) in [
        (json!({ "told": "resync" }), "phones"),
        (json!({ "told": "resync", "all": true, "macs": [YEALINK] }), "phones"),
        (json!({ "told": "resync", "macs": [YEALINK], "vendor": "yealink" }), "phones"),
        (json!({ "told": "resync", "all": true, "rate": 0 }), "rate"),
        (json!({ "told": "resync", "all": true, "wait_s": 100_000 }), "wait_s"),
        (json!({ "told": "dance", "all": true }), "body"),
    ] {
        let told = tell(body.clone()).await;
        assert_eq!((told.status, told.code()), (422, code), "{body}");
    }
    let unknown = tell(json!({ "told": "reboot", "macs": ["00:15:65:99:99:99"] })).await;
    assert_eq!((unknown.status, unknown.code()), (404, "not_found"));
    site.stop().await;
}

#[tokio::test]
async fn a_round_is_planned_begun_once_and_read() {
    let bench = Bench::sqlite();
    let site = Site::open(&bench).await;
    let token = site.token(&[Scope::DevicesRead, Scope::DevicesWrite]).await;
    let body = json!({ "told": "resync", "all": true, "dry_run": true });
    let plan = site.post(&token, "/api/v1/rounds", &[], &body).await;
    assert_eq!((plan.status, &plan.body["state"], &plan.body["phones"]), (200, &"planned".into(), &2.into()));
    assert_eq!(plan.body["plan"][0]["result"], "not_sent", "nobody knows where it is: {plan:?}");
    let body = json!({ "told": "resync", "all": true });
    let begin = async || site.post(&token, "/api/v1/rounds", &["Idempotency-Key: once"], &body).await;
    let begun = begin().await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let id = begun.body["id"].as_str().unwrap().to_owned();
    assert_eq!(begun.head("location"), Some(&*format!("/api/v1/rounds/{id}")));
    assert_eq!(begin().await.body["id"], id.as_str(), "asked twice with one key, it is one round");
    assert_eq!(site.audit("round_begun").await.len(), 1);
    let ended = loop {
        let told = site.get(&token, &format!("/api/v1/rounds/{id}")).await;
        if told.body["state"] != "running" {
            break told;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (&ended.body["state"], &ended.body["results"]),
        (&"complete".into(), &json!({ "not_sent": 2 }))
    );
    let page = site.get(&token, &format!("/api/v1/rounds/{id}/phones?limit=1")).await;
    assert_eq!(page.body[0]["mac"], SNOM);
    assert!(page.head("link").unwrap().contains("cursor=000413000002"), "{page:?}");
    assert_eq!(site.get(&token, "/api/v1/rounds").await.body.as_array().unwrap().len(), 1);
    site.stop().await;
}
