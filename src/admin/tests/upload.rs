//! A release that comes by REST: in the catalog as a whole, or not at all.

use super::*;

const PATH: &str = "/api/v1/firmware?name=T46U.rom&vendor=yealink&version=108.86.0.90&models=T46U,T48*";
const FILE: &str = "Content-Type: application/octet-stream";

impl Site {
    async fn send(&self, token: &str, path: &str, heads: &[&str], file: &str) -> Told {
        let token = format!("Authorization: Bearer {token}");
        self.ask("POST", path, &[&[&*token], heads].concat(), file).await
    }

    /// Of the catalog, and of what is on its way.
    async fn releases(&self, token: &str, bench: &Bench) -> Vec<Value> {
        assert!(!bench.folder.path().join("files/.coming").exists());
        self.get(token, "/api/v1/firmware").await.body.as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_whole_is_a_release() {
    let bench = Bench::sqlite();
    let site = Site::open(&bench).await;
    let token = site.token(&[Scope::FirmwareWrite, Scope::DevicesRead]).await;
    let file = "firmware".repeat(400_000);
    let digest = crate::hex::hex(&<sha2::Sha256 as sha2::Digest>::digest(&file));
    let told =
        site.send(&token, &format!("{PATH}&sha256={digest}"), &[FILE, "Idempotency-Key: a"], &file).await;
    assert_eq!(told.status, 200, "{told:?}");
    let brought = &told.body["release"];
    assert_eq!(brought["release"], "yealink/108.86.0.90/T46U.rom");
    assert_eq!(brought["models"], json!(["T46U", "T48*"]));
    assert_eq!(brought["files"], json!([{ "name": "T46U.rom", "size": file.len(), "sha256": digest }]));
    let place = bench.folder.path().join("files/firmware/yealink/108.86.0.90/T46U.rom");
    assert_eq!(std::fs::read_to_string(place).unwrap(), file);
    let again =
        site.send(&token, &format!("{PATH}&sha256={digest}"), &[FILE, "Idempotency-Key: a"], &file).await;
    assert_eq!(again.body, told.body, "once per key");
    assert_eq!(site.releases(&token, &bench).await.len(), 1);
    let added = site.audit("firmware_added").await;
    assert_eq!(added.len(), 1, "{added:?}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_release_leaves_nothing() {
    let bench = Bench::sqlite();
    let site = Site::open(&bench).await;
    let token = site.token(&[Scope::FirmwareWrite, Scope::DevicesRead]).await;
    let json = "Content-Type: application/json";
    for (path, kind, file, status, code) in [
        (PATH.to_owned(), json, "{}", 415, "body"),
        (PATH.replace("T46U.rom", "..%2FT46U.rom"), FILE, "x", 422, "name"),
        (PATH.replace("T46U.rom", ".hidden"), FILE, "x", 422, "name"),
        (PATH.replace("yealink", "acme"), FILE, "x", 404, "not_found"),
        (PATH.replace("108.86.0.90", "none"), FILE, "x", 422, "release"),
        (PATH.replace("&models=T46U,T48*", ""), FILE, "x", 422, "query"),
        (format!("{PATH}&sha256=00"), FILE, "x", 422, "sha256"),
        (format!("{PATH}&colour=red"), FILE, "x", 422, "query"),
        (PATH.to_owned(), FILE, "", 422, "body"),
    ] {
        let told = site.send(&token, &path, &[kind], file).await;
        assert_eq!((told.status, told.code()), (status, code), "{path}: {told:?}");
        assert_eq!(site.releases(&token, &bench).await, Vec::<Value>::new(), "{path}");
    }
    // Whoever hangs up in the middle has sent no file.
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost:1\r\nAuthorization: Bearer {token}\r\n{FILE}\r\n\
         Content-Length: 1000000\r\n\r\nhalf"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let coming = bench.folder.path().join("files/.coming/T46U.rom");
    while !coming.exists() {
        tokio::task::yield_now().await;
    }
    // While it comes, another one waits outside.
    let told = site.send(&token, PATH, &[FILE], "x").await;
    assert_eq!((told.status, told.code()), (409, "busy"), "{told:?}");
    drop(stream);
    // It is noticed a little later.
    let mut told = site.send(&token, PATH, &[FILE], "x").await;
    while told.code() == "busy" {
        told = site.send(&token, PATH, &[FILE], "x").await;
    }
    assert_eq!(told.status, 200, "the next one comes: {told:?}");
    assert!(!bench.folder.path().join("files/.coming").exists());
    site.stop().await;
}
