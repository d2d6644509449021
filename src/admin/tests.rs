//! The people's listener as programs meet it: over a socket of its own, on both databases. Every answer is compared
//! with the description, and none holds a password.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::openapi;
use super::router::routes;
use super::server::AdminServer;
use super::*;
use crate::net::interfaces::Table;
use crate::operate::testing::{rounds, scanner};
use crate::store::testing::{self, Bench, on_both, sheet};
use crate::store::{AuditRow, ImportOptions, Scope};

mod refused;
mod scan;
mod upload;

const OFFICE: &str = "mac,vendor,model,username,password,web_password\n\
                      001565000001,yealink,T46U,101,geheim1,geheim2\n\
                      000413000002,snom,D785,102,geheim3,geheim4\n\
                      ,,,103,geheim5,\n";
const YEALINK: &str = "00:15:65:00:00:01";
const SNOM: &str = "00:04:13:00:00:02";

/// An agent's listener.
struct Site {
    store: Store,
    address: SocketAddr,
    cancel: CancellationToken,
    running: JoinHandle<()>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    status: u16,
    heads: String,
    body: Value,
}

impl Told {
    fn head(&self, name: &str) -> Option<&str> {
        let mut lines = self.heads.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Site {
    async fn open(bench: &Bench) -> Self {
        let store = bench.store().await;
        store.import(&sheet(OFFICE), ImportOptions::default()).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (catalog, interfaces) =
            (Arc::new(Catalog::builtin().unwrap()), Interfaces::fixed(Table::default()));
        let parts = AdminParts {
            scanner: scanner(
                bench.folder.path(),
                store.in_agent("host"),
                &catalog,
                &interfaces,
                &bench.clock,
            ),
            rounds: rounds(&catalog, &interfaces, &bench.clock),
            config: Config::default(),
            store: store.in_agent("host"),
            catalog,
            site: crate::profile::Site::default(),
            interfaces,
            files: bench.folder.path().join("files"),
            clock: bench.clock.clone(),
            poke: bench.folder.path().join("agent.sock"),
            places: Places::usual(true, |_| None).with_data(Some(bench.folder.path())),
        };
        let server = AdminServer::bind(address, parts).unwrap();
        let (address, cancel) = (server.local_addr().unwrap(), CancellationToken::new());
        let running = tokio::spawn(server.run(cancel.clone()));
        Self { store, address, cancel, running }
    }

    async fn token(&self, scopes: &[Scope]) -> String {
        testing::token(&self.store, scopes).await
    }

    /// A request with these lines in its head, and its answer.
    async fn ask(&self, method: &str, path: &str, heads: &[&str], body: &str) -> Told {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host =
            if heads.iter().any(|head| head.starts_with("Host:")) { "" } else { "Host: localhost:1\r\n" };
        let heads = heads.iter().fold(String::new(), |text, head| text + head + "\r\n");
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{heads}\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("geheim"), "{method} {path}: {answer}");
        let (heads, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = heads.split(' ').nth(1).unwrap().parse().unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let misfits = openapi::tests::misfits(method, path, status, &body);
        assert!(misfits.is_empty(), "{method} {path}: {misfits:#?}\n{body:#}");
        Told { status, heads: heads.to_owned(), body }
    }

    async fn get(&self, token: &str, path: &str) -> Told {
        self.ask("GET", path, &[&format!("Authorization: Bearer {token}")], "").await
    }

    async fn post(&self, token: &str, path: &str, heads: &[&str], body: &Value) -> Told {
        let token = format!("Authorization: Bearer {token}");
        let heads = [&[&*token, "Content-Type: application/json"], heads].concat();
        self.ask("POST", path, &heads, &body.to_string()).await
    }

    async fn arm(&self, token: &str, key: &str, body: &Value) -> Told {
        let path = format!("/api/v1/devices/{YEALINK}/arm");
        self.post(token, &path, &[&format!("Idempotency-Key: {key}")], body).await
    }

    fn epoch(&self) -> i64 {
        self.store.inventory().grants(YEALINK.parse().unwrap()).unwrap().epoch
    }

    async fn audit(&self, event: &str) -> Vec<AuditRow> {
        let rows = self.store.audit(None, 10_000).await.unwrap();
        rows.into_iter().filter(|row| row.event == event).collect()
    }

    /// Stops it: what was refused is written down then.
    async fn stop(self) -> Store {
        self.cancel.cancel();
        self.running.await.unwrap();
        self.store
    }
}

/// A path that the route serves.
fn path_of(route: &str) -> String {
    route.replace("{mac}", YEALINK).replace("{id}", "1")
}

#[tokio::test]
async fn every_route_wants_its_token_our_name_and_no_other_site() {
    let bench = Bench::sqlite();
    let site = Site::open(&bench).await;
    let all = site.token(&Scope::ALL).await;
    let mut checked = 0;
    for route in routes() {
        // There are more routes than wrong tokens that are answered at once.
        bench.clock.advance(Duration::from_secs(10));
        let (method, path) = (route.method.as_str(), path_of(route.path));
        let bearer = |token: &str| format!("Authorization: Bearer {token}");
        let check = async |heads: &[&str], status: u16, code: &str| {
            let told = site.ask(method, &path, heads, "").await;
            assert_eq!((told.status, told.code()), (status, code), "{method} {path} {heads:?}");
            assert_eq!(told.head("x-content-type-options"), Some("nosniff"));
            assert_eq!(told.head("cache-control"), Some("no-store"));
            assert!(told.head("content-security-policy").unwrap().contains("default-src 'self'"));
            assert!(told.head("access-control-allow-origin").is_none());
        };
        check(&["Host: rebound.example:8482", &bearer(&all)], 421, "host").await;
        if method != "GET" {
            for foreign in
                ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://evil.example"]
            {
                check(&[foreign, &bearer(&all)], 403, "cross_site").await;
            }
        }
        let Some(scope) = route.scope else {
            assert_eq!(site.ask(method, &path, &[], "").await.status, 200, "{path} is everybody's");
            continue;
        };
        checked += 1;
        let others: Vec<Scope> =
            Scope::ALL.into_iter().filter(|other| ![scope, Scope::Admin].contains(other)).collect();
        let (fitting, others) = (site.token(&[scope]).await, site.token(&others).await);
        check(&[], 401, "unauthorized").await;
        check(&["Authorization: Bearer oh_aaaaaaaa_00"], 401, "unauthorized").await;
        check(&["Authorization: Basic b2g6eA=="], 401, "unauthorized").await;
        check(&[&bearer(&others)], 403, "forbidden").await;
        for token in [fitting, all.clone()] {
            let told = site.ask(method, &path, &[&bearer(&token)], "").await;
            assert!(![401, 403, 421].contains(&told.status), "{method} {path}: {told:?}");
        }
    }
    assert_eq!(checked, 37, "routes with a scope");
    site.stop().await;
}

on_both! {
    async fn case_55_armed_twice_with_one_key_is_one_epoch(bench) {
        let [one, two] = [Site::open(bench).await, Site::open(bench).await];
        let token = one.token(&[Scope::ReleaseArm, Scope::DevicesRead]).await;
        let body = json!({ "kinds": ["sip"], "mode": "now", "window": "20m", "reason": "moved" });
        let first = one.arm(&token, "k1", &body).await;
        assert_eq!((first.status, &first.body["epoch"], &first.body["state"]), (200, &2.into(), &"open".into()), "{first:?}");
        assert_eq!((&first.body["closes_in_s"], &first.body["passwords"]), (&1_200.into(), &json!(["sip 101"])));
        bench.clock.advance(Duration::from_secs(5));
        for site in [&one, &two] {
            let again = site.arm(&token, "k1", &body).await;
            assert_eq!((again.status, &again.body), (200, &first.body), "the answer that was given");
        }
        let other = one.arm(&token, "k1", &json!({ "kinds": ["menu"] })).await;
        assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));

        let many: Vec<_> = (0..12).map(|n| if n % 2 == 0 { &one } else { &two }).map(|site| site.arm(&token, "k2", &body)).collect();
        for told in futures_util::future::join_all(many).await {
            assert_eq!((told.status, &told.body["epoch"]), (200, &3.into()), "{told:?}");
        }
        one.stop().await.close().await;
        let three = Site::open(bench).await;
        let after = three.arm(&token, "k1", &body).await;
        assert_eq!((after.status, after.body), (200, first.body), "a restart forgets nothing");
        assert_eq!(three.audit("armed").await.len(), 2);
        let row = three.audit("armed").await.remove(0);
        assert!(row.actor.starts_with("token ") && row.actor.ends_with("(test)"), "{row:?}");
        assert_eq!((row.agent.as_deref(), &row.detail["why"]), (Some("host"), &"moved".into()));
        let stranger = three.token(&[Scope::ReleaseArm]).await;
        assert_eq!(three.arm(&stranger, "k1", &body).await.body["epoch"], 4, "a key is its token's");
        assert_eq!(three.arm(&token, "k3", &body).await.body["epoch"], 5);
        two.stop().await;
        three.stop().await;
    }

    async fn case_56_who_may_not_arm_does_not_and_is_written_down(bench) {
        let site = Site::open(bench).await;
        let token = site.token(&[Scope::DevicesRead, Scope::DevicesWrite]).await;
        let before = site.epoch();
        for _ in 0..5 {
            let told = site.arm(&token, "k", &json!({})).await;
            assert_eq!((told.status, told.code()), (403, "forbidden"), "{told:?}");
        }
        assert_eq!(site.epoch(), before);
        let store = site.stop().await;
        let rows = store.audit(Some(YEALINK.parse().unwrap()), 99).await.unwrap();
        let rows: Vec<_> = rows.into_iter().filter(|row| row.event == "api_refused").collect();
        let count: i64 = rows.iter().map(|row| row.detail["count"].as_i64().unwrap()).sum();
        assert_eq!(count, 5, "{rows:?}");
        let detail = &rows[0].detail;
        assert_eq!((&detail["why"], &detail["peer"]), (&"scope".into(), &"127.0.0.1".into()));
        assert_eq!(detail["asked"], "POST /api/v1/devices/{mac}/arm");
        assert_eq!(detail["token"], token.split('_').nth(1).unwrap());
    }

    async fn phones_are_approved_blocked_locked_and_confirmed(bench) {
        let site = Site::open(bench).await;
        let token = site.token(&[Scope::Admin]).await;
        let post = async |path: &str, body: Value| site.post(&token, &format!("/api/v1/devices/{path}"), &[], &body).await;
        let new = "00:04:13:00:00:09";
        let told = post(&format!("{new}/approve"), json!({})).await;
        assert_eq!((told.status, &told.body["lines"][0]["username"]), (200, &"103".into()), "{told:?}");
        assert_eq!(post(&format!("{new}/block"), json!({})).await.body["state"], "blocked");
        let told = post(&format!("{new}/arm"), json!({})).await;
        assert_eq!((told.status, told.code()), (409, "conflict"));
        let told = post(&format!("{SNOM}/lock"), json!({ "kinds": ["sip"] })).await;
        assert_eq!((&told.body["passwords"], &told.body["release"][0]["state"]), (&json!(["sip 102"]), &"locked".into()));
        let told = post(&format!("{SNOM}/confirm"), json!({ "accounts": ["102"] })).await;
        assert_eq!(told.body["release"][0]["delivered_version"], 1);
        let told = post(&format!("{SNOM}/arm"), json!({ "mode": "on-contact", "accounts": ["102"] })).await;
        assert_eq!((told.status, &told.body["state"]), (200, &"staged".into()), "{told:?}");
        for (path, body, status, code) in [
            (format!("{SNOM}/arm"), json!({ "kinds": ["web"] }), 422, "body"),
            (format!("{SNOM}/arm"), json!({ "window": "2s" }), 422, "body"),
            (format!("{SNOM}/arm"), json!({ "window": "none" }), 422, "window"),
            (format!("{SNOM}/arm"), json!({ "reason": "a\nb" }), 422, "reason"),
            (format!("{SNOM}/arm"), json!({ "accounts": ["999"] }), 404, "not_found"),
            (format!("{SNOM}/approve"), json!({ "account": "101", "without_account": true }), 422, "account"),
            (format!("{SNOM}/approve"), json!({ "account": "101" }), 409, "conflict"),
            ("00:04:13:00:00:77/arm".to_owned(), json!({}), 404, "not_found"),
            ("phone/arm".to_owned(), json!({}), 422, "mac"),
        ] {
            let told = post(&path, body.clone()).await;
            assert_eq!((told.status, told.code()), (status, code), "{path} {body}: {told:?}");
            assert!(told.body["remedy"].is_string() && told.head("content-type") == Some("application/problem+json"));
        }
        site.stop().await;
    }

    async fn a_phone_is_changed_as_it_was_seen(bench) {
        let site = Site::open(bench).await;
        let token = site.token(&[Scope::Admin]).await;
        let path = format!("/api/v1/devices/{SNOM}");
        let seen = site.get(&token, &path).await.head("etag").unwrap().to_owned();
        let lock = async |tag: &str| {
            site.post(&token, &format!("{path}/lock"), &[&format!("If-Match: {tag}")], &json!({})).await
        };
        assert_eq!(lock("\"0123456789abcdef\"").await.status, 412);
        assert_eq!(lock(&format!("W/{seen}")).await.code(), "changed");
        assert_eq!(lock("x").await.status, 400);
        let done = lock(&format!("\"x\", {seen}")).await;
        assert_eq!(done.status, 200, "{done:?}");
        let now = site.get(&token, &path).await;
        assert_eq!(now.head("etag"), done.head("etag"));
        assert_ne!(now.head("etag"), Some(&*seen));
        assert_eq!(lock(&seen).await.status, 412);
        assert_eq!(lock("*").await.status, 200);
        // Nothing is there to be as it was seen; without the header it would be taken in, or is not found anyway.
        let stranger = "/api/v1/devices/00:04:13:00:00:77";
        for (deed, status) in [("approve", 412), ("block", 404), ("lock", 404)] {
            for tag in ["*", "\"0123456789abcdef\""] {
                let told = site
                    .post(&token, &format!("{stranger}/{deed}"), &[&format!("If-Match: {tag}")], &json!({}))
                    .await;
                assert_eq!(told.status, status, "{deed} {tag}: {told:?}");
            }
        }
        assert_eq!(site.get(&token, stranger).await.status, 404);
        site.stop().await;
    }

    async fn listings_come_in_pages(bench) {
        let site = Site::open(bench).await;
        let token = site.token(&[Scope::DevicesRead, Scope::AuditRead, Scope::DevicesWrite]).await;
        let follow = async |path: &str, rel: &str| {
            let (mut path, mut pages) = (path.to_owned(), Vec::new());
            loop {
                let told = site.get(&token, &path).await;
                assert_eq!(told.status, 200, "{told:?}");
                let links = told.head("link").unwrap_or_default().to_owned();
                let found = links.split(", ").find_map(|link| {
                    link.strip_suffix(&format!(">; rel=\"{rel}\""))?.strip_prefix('<').map(str::to_owned)
                });
                let rows = told.body.as_array().unwrap().clone();
                if !rows.is_empty() {
                    pages.push(rows);
                }
                match found.filter(|_| pages.len() < 99) {
                    Some(next) if !told.body.as_array().unwrap().is_empty() => path = next,
                    _ => return pages,
                }
            }
        };
        let pages = follow("/api/v1/devices?limit=1", "next").await;
        let macs: Vec<&Value> = pages.iter().flatten().map(|row| &row["mac"]).collect();
        assert_eq!((pages.len(), macs), (2, vec![&Value::from(SNOM), &YEALINK.into()]));
        assert_eq!(follow("/api/v1/devices?vendor=Snom&state=approved", "next").await[0].len(), 1);
        assert!(follow("/api/v1/devices?state=pending", "next").await.is_empty());
        let all = site.store.audit(None, 999).await.unwrap().len();
        let forward = follow("/api/v1/audit?after=0&limit=2", "next").await;
        assert_eq!(forward.iter().flatten().count(), all);
        let back = follow("/api/v1/audit?limit=2", "prev").await;
        assert_eq!((back.iter().flatten().count(), back.len()), (all, all.div_ceil(2)));
        assert_eq!(back[0].last(), forward.iter().flatten().last(), "the last page first, in its order");
        let made = follow("/api/v1/audit?event=token_created&since=2020-01-01T00:00:00Z", "next").await;
        assert_eq!(made[0].len(), 1);
        for wrong in ["devices?limit=0", "devices?limit=1001", "devices?cursor=x", "devices?colour=red",
                      "devices?state=odd", "audit?since=yesterday", "alarms?cursor=1", "audit?device=x"] {
            assert_eq!(site.get(&token, &format!("/api/v1/{wrong}")).await.status, 422, "{wrong}");
        }
        site.stop().await;
    }

    async fn settings_and_keys_lie_in_layers(bench) {
        let site = Site::open(bench).await;
        let token = site.token(&[Scope::DevicesRead, Scope::DevicesWrite]).await;
        let post = async |path: &str, body: Value| site.post(&token, &format!("/api/v1/{path}"), &[], &body).await;
        let told = post("site", json!({ "set": { "language": "fr", "vlan": "20" } })).await;
        assert_eq!((told.status, &told.body["of"]), (200, &"site".into()), "{told:?}");
        let told = post("site", json!({ "vendor": "yealink", "model": "t46u", "set": { "ntp": "ntp.lan", "language": "de" } })).await;
        assert_eq!((&told.body["of"], told.body["notes"].as_array().unwrap().len()), (&"yealink/T46U".into(), 1), "{told:?}");
        let phone = format!("devices/{YEALINK}");
        let told = post(&format!("{phone}/settings"), json!({ "set": { "vlan": "30", "raw:account.1.dnd.enable": "1" } })).await;
        assert_eq!((told.status, &told.body["settings"]["vlan"]), (200, &"30".into()), "{told:?}");
        let shown = site.get(&token, &format!("/api/v1/{phone}")).await;
        let layer = |name: &str| {
            let rows = shown.body["laid_settings"].as_array().unwrap();
            let row = rows.iter().find(|row| row["name"] == name).unwrap();
            format!("{} {}", row["value"].as_str().unwrap_or("-"), row["layer"].as_str().unwrap())
        };
        let found = ["language", "ntp", "vlan", "country", "raw:account.1.dnd.enable"].map(layer);
        assert_eq!(found, ["fr site", "ntp.lan model", "30 device", "us default", "1 device"]);
        let told = post("keys", json!({ "set": [{ "key": "1", "kind": "line" }, { "key": "99", "kind": "blf", "value": "2" }] })).await;
        assert_eq!((told.status, told.body["keys"].as_array().unwrap().len()), (200, 2), "{told:?}");
        assert!(told.body["notes"][0].as_str().unwrap().contains("key 99"), "{told:?}");
        let told = post("keys", json!({ "vendor": "yealink", "model": "T46U", "set": [{ "key": "module 1 key 5", "kind": "dnd" }] })).await;
        assert_eq!(told.body["keys"][0]["key"], "module 1 key 5", "{told:?}");
        let told = post(&format!("{phone}/keys"), json!({ "set": [{ "key": "1", "kind": "none" }], "remove": ["7"] })).await;
        let layers: Vec<_> = told.body["keys"].as_array().unwrap().iter().map(|key| key["layer"].as_str().unwrap()).collect();
        assert_eq!((told.status, layers), (200, vec!["device", "model", "site"]), "{told:?}");
        assert_eq!(site.get(&token, "/api/v1/keys?vendor=yealink&model=T46U").await.body.as_array().unwrap().len(), 1);
        assert_eq!(site.get(&token, "/api/v1/keys").await.body.as_array().unwrap().len(), 3);
        assert_eq!(site.get(&token, &format!("/api/v1/{phone}/keys")).await.body.as_array().unwrap().len(), 3);
        let plan = site.get(&token, &format!("/api/v1/{phone}/plan")).await;
        assert_eq!((plan.status, &plan.body["changes"]), (200, &true.into()), "{plan:?}");
        assert_eq!(plan.body["files"][0]["change"], "never_fetched");
        let why = site.get(&token, &format!("/api/v1/{phone}/why")).await;
        assert_eq!((why.status, &why.body["step"], &why.body["code"]), (200, &"heard".into(), &"never_heard".into()), "{why:?}");
        let told = post("site", json!({ "unset": ["language"] })).await;
        let language = &told.body["settings"][0];
        assert_eq!((&language["name"], &language["layer"]), (&"language".into(), &"default".into()));
        for (path, body, status, code) in [
            ("site".to_owned(), json!({ "set": { "vlan": "9999" } }), 422, "setting"),
            ("site".to_owned(), json!({ "set": { "nonsense": "1" } }), 422, "setting"),
            ("site".to_owned(), json!({ "set": { "release.window": "20m" } }), 422, "setting"),
            ("site".to_owned(), json!({ "vendor": "nobody" }), 404, "not_found"),
            (format!("{phone}/settings"), json!({ "set": { "raw:account.1.password": "x" } }), 422, "setting"),
            (format!("{phone}/settings"), json!({ "set": { "raw:a\nb": "x" } }), 422, "setting"),
            (format!("{phone}/keys"), json!({ "set": [{ "key": "0", "kind": "dnd" }] }), 422, "key"),
            (format!("{phone}/keys"), json!({ "set": [{ "key": "1", "kind": "blf" }] }), 422, "key"),
            (format!("{phone}/keys"), json!({ "set": [{ "key": "1", "kind": "dnd" }], "remove": ["1"] }), 422, "key"),
            ("keys".to_owned(), json!({ "set": [{ "key": "module 1 key 1", "kind": "dnd" }] }), 422, "key"),
            ("devices/00:04:13:00:00:77/keys".to_owned(), json!({}), 404, "not_found"),
            ("devices/00:04:13:00:00:77/settings".to_owned(), json!({}), 404, "not_found"),
        ] {
            let told = post(&path, body.clone()).await;
            assert_eq!((told.status, told.code()), (status, code), "{path} {body}: {told:?}");
        }
        assert_eq!(site.audit("common_settings_changed").await.len(), 3);
        assert_eq!(site.audit("keys_changed").await.len(), 3);
        site.stop().await;
    }

    async fn alarms_are_listed_and_dealt_with_once(bench) {
        let site = Site::open(bench).await;
        let token = site.token(&[Scope::DevicesRead, Scope::DevicesWrite]).await;
        for last in 1..=3_u8 {
            let peer = Some([192, 0, 2, last].into());
            let kind = crate::alarm::AlarmKind::Impostor;
            let alarm = crate::alarm::Alarm { kind, mac: None, peer, text: "it was".to_owned() };
            site.store.record_alarms(&[crate::alarm::Counted { alarm, seen: 1 }]).await.unwrap();
        }
        let ids = async |path: &str| {
            let told = site.get(&token, path).await;
            let ids: Vec<i64> = told.body.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
            (ids, told.head("link").map(str::to_owned))
        };
        let (first, next) = ids("/api/v1/alarms?limit=2").await;
        let next = next.unwrap();
        let (second, last) = ids(next.split(['<', '>']).nth(1).unwrap()).await;
        assert_eq!((first, second, last), (vec![3, 2], vec![1], None));
        let done = async |id: &str| site.post(&token, &format!("/api/v1/alarms/{id}/done"), &["Idempotency-Key: a"], &json!({})).await;
        assert_eq!(done("2").await.body, json!({ "done": 1 }));
        assert_eq!(done("2").await.body, json!({ "done": 1 }));
        assert_eq!(site.audit("alarms_done").await.len(), 1);
        assert_eq!(ids("/api/v1/alarms").await.0, [3, 1]);
        assert_eq!(ids("/api/v1/alarms?all=true").await.0.len(), 3);
        let told = site.post(&token, "/api/v1/alarms/99/done", &[], &json!({})).await;
        assert_eq!((told.status, told.code()), (404, "not_found"));
        assert_eq!(site.post(&token, "/api/v1/alarms/x/done", &[], &json!({})).await.status, 422);
        site.stop().await;
    }
}
