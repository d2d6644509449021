//! Web interfaces of phones that stay up, visited over loopback with requests written by hand: who they say they are, whom
//! they let in, what a form does. A URL that is set is fetched from a server of files, for real.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::scripted::{phone, spec};
use super::visits::{Staying, word_behind};
use super::*;
use crate::clock::Timestamp;
use crate::hex::hex;
use crate::secret::Secret;

mod told;

const MAC: &str = "805ec0aabbcc";
const GIVEN: &str = "hunter2";

/// A vendor's phone with its web page, on a loopback address of its own.
#[derive(Clone)]
struct Guest {
    spec: PhoneSpec,
    web: Web,
}

fn guest(vendor: &str, model: &str, interface: Option<&str>, last: u8) -> Guest {
    let base = spec("yealink", last, Target::Nobody);
    let spec = PhoneSpec {
        profile: phone(vendor, MAC).profile,
        model: model.to_owned(),
        register: RegisterAt::Nowhere,
        ..base
    };
    let interface = interface.map(str::to_owned);
    Guest { spec, web: Web { port: 0, interface, password: None, remote_control: false } }
}

impl Guest {
    fn with_password(mut self) -> Self {
        self.web.password = Some(Secret::new(GIVEN));
        self
    }

    fn under_remote_control(mut self) -> Self {
        self.web.remote_control = true;
        self
    }

    async fn up(self) -> (Staying, Browser) {
        let stay = Stay { sip_port: 0, notify: Notified::AsSold, web: Some(self.web) };
        let phone = Staying::start(self.spec, stay).await;
        let at = word_behind(&phone.up, "http://");
        (phone, Browser { at, cookies: BTreeMap::new() })
    }
}

/// What came back.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: String,
}

/// A client that keeps cookies and follows nothing.
struct Browser {
    at: SocketAddr,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut text = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.at,
            body.len()
        );
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            let _ = write!(text, "Cookie: {}\r\n", cookies.join("; "));
        }
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let got = raw(self.at, format!("{text}\r\n{body}").as_bytes()).await;
        let set = got.head.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie").then_some(value)?.split(';').next()?.split_once('=')
        });
        let set: Vec<(String, String)> =
            set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.cookies.extend(set);
        got
    }

    async fn get(&mut self, target: &str) -> Got {
        self.ask("GET", target, &[], "").await
    }

    async fn post(&mut self, target: &str, body: &str) -> Got {
        self.ask("POST", target, &[], body).await
    }

    async fn basic(&mut self, target: &str, password: &str) -> Got {
        self.ask("GET", target, &[("Authorization", &basic(password))], "").await
    }
}

async fn raw(at: SocketAddr, request: &[u8]) -> Got {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // A phone that refuses to read on closes while we write.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Got { status, head: head.to_owned(), body: body.to_owned() }
}

fn basic(password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("admin:{password}")))
}

fn encoded(url: &str) -> String {
    form_urlencoded::byte_serialize(url.as_bytes()).collect()
}

#[tokio::test]
async fn everybody_is_told_who_the_phone_is() {
    for (vendor, model, interface, target, status, mark) in [
        ("snom", "D385", None, "/", 200, "Server: snom embedded"),
        ("snom", "D385", None, "/", 200, "<TITLE>snom D385</TITLE>"),
        ("snom", "D385", None, "/no.htm", 404, "snom VoIP phone: Error"),
        ("yealink", "T28P", None, "/", 401, "Basic realm=\"Enterprise IP phone SIP-T28P\""),
        ("yealink", "T28P", None, "/", 401, "Server: mini_httpd/1.19"),
        ("yealink", "T46U", None, "/", 200, "<title>Yealink T46U</title>"),
        (
            "yealink",
            "T46U",
            None,
            "/api/common/info",
            200,
            "\"phoneName\":\"T46U\",\"firmware\":\"108.86.0.90\"",
        ),
        (
            "yealink",
            "T46S",
            Some("yealink-servlet"),
            "/servlet?p=login&q=loginForm",
            200,
            "g_phonetype=\"T46S\"",
        ),
        (
            "yealink",
            "T46S",
            Some("yealink-servlet"),
            "/servlet?p=login&q=loginForm",
            200,
            "Set-Cookie: JSESSIONID=",
        ),
        ("grandstream", "GXP2000", None, "/", 200, "Welcome to Grandstream IP Phone"),
        ("grandstream", "GXP2000", None, "/", 200, "Server: Grandstream GXP2000 "),
        ("grandstream", "GXP2135", Some("grandstream-cgi"), "/", 200, "Grandstream Device Configuration"),
        (
            "grandstream",
            "HT801",
            None,
            "/cgi-bin/api.values.get?request=phone_model:1395",
            200,
            "\"phone_model\":\"HT801\"",
        ),
        ("grandstream", "GXV3350", None, "/manager?action=product&time=0", 200, "Product=GXV3350"),
        ("grandstream", "GXP2135", None, "/", 403, ""),
        ("fanvil", "X5U-V2", None, "/", 200, "Server: Rapid Logic/1.1"),
        ("fanvil", "X5U-V2", None, "/", 200, "<title>Login</title>"),
        ("fanvil", "X5U-V2", None, "/title.htm", 200, "please log in again"),
        ("gigaset", "N510 IP PRO", None, "/", 302, "Location: /login.html?id=1"),
        ("gigaset", "N510 IP PRO", None, "/scripts/navnodes.js", 200, "'N510 IP PRO'"),
        ("mitel", "6757i", None, "/", 401, "Basic realm=\"Aastra 6757i\""),
        ("mitel", "6757i", None, "/sysinfo.html", 401, "Server: Aragorn"),
    ] {
        let (phone, mut browser) = guest(vendor, model, interface, 71).up().await;
        let got = browser.get(target).await;
        assert_eq!(got.status, status, "{vendor} {model} {target}: {got:?}");
        let all = format!("{}\r\n{}", got.head, got.body).to_lowercase();
        assert!(all.contains(&mark.to_lowercase()), "{vendor} {model} {target} without {mark}: {all}");
        phone.off().await;
    }
}

type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// The request that logs in with a password, and the words of what comes back when it is right and when it is wrong.
const LOGINS: [Row; 8] = [
    (
        "yealink",
        "T46U",
        None,
        "/api/auth/login?p=Login",
        "username=admin&pwd=PW",
        "\"ret\":\"ok\"",
        "error_username_or_password_is_wrong",
    ),
    (
        "grandstream",
        "GXP2000",
        None,
        "/dologin.htm",
        "Login=Login&P2=PW&gnkey=0b82",
        "Device Configuration",
        "dologin.htm",
    ),
    (
        "grandstream",
        "GXP2135",
        Some("grandstream-cgi"),
        "/cgi-bin/dologin",
        "Login=Login&P2=PW&gnkey=0b82",
        "Product Model",
        "dologin",
    ),
    ("grandstream", "HT801", None, "/cgi-bin/dologin", "password=PW", "\"sid\":\"", "\"response\":\"error\""),
    (
        "grandstream",
        "HT801",
        None,
        "/cgi-bin/dologin",
        "username=admin&password=PW",
        "\"sid\":\"",
        "\"response\":\"error\"",
    ),
    (
        "gigaset",
        "N510 IP PRO",
        None,
        "/login.html",
        "language=1&password=PW",
        "Location: /home.html",
        "ETag: /login.html",
    ),
    (
        "snom",
        "300",
        Some("snom-m9"),
        "/index.htm",
        "username=admin&password=PW&link=index.htm&submit=Login",
        "name=\"eula\"",
        "invalid username",
    ),
    (
        "yealink",
        "T46S",
        Some("yealink-servlet"),
        "/servlet?p=login&q=login",
        "username=admin&pwd=PW",
        "",
        "\"authstatus\":\"none\"",
    ),
];

#[tokio::test]
async fn a_form_lets_in_who_knows_the_password() {
    for (vendor, model, interface, target, form, right, wrong) in &LOGINS {
        let (phone, mut browser) = guest(vendor, model, *interface, 72).with_password().up().await;
        let got = browser.post(target, &form.replace("PW", "nonsense")).await;
        let all = format!("{}\r\n{}", got.head, got.body).to_lowercase();
        assert!(all.contains(&wrong.to_lowercase()), "{vendor} {target}: {all}");
        assert!(!all.contains("set-cookie"), "a wrong password got a session: {all}");
        let got = browser.post(target, &form.replace("PW", GIVEN)).await;
        let all = format!("{}\r\n{}", got.head, got.body).to_lowercase();
        assert!(all.contains(&right.to_lowercase()), "{vendor} {target}: {all}");
        phone.off().await;
    }
}

#[tokio::test]
async fn basic_lets_in_who_knows_the_password() {
    for (vendor, model, target, sold) in [
        ("yealink", "T28P", "/", "admin"),
        ("mitel", "6757i", "/sysinfo.html", "22222"),
        ("snom", "D385", "/", ""),
    ] {
        let guest = guest(vendor, model, None, 73);
        let (phone, mut browser) = guest.clone().up().await;
        assert_eq!(browser.basic(target, sold).await.status, 200, "{vendor}, as sold");
        phone.off().await;
        let (phone, mut browser) = guest.with_password().up().await;
        let got = browser.get(target).await;
        assert_eq!(got.status, 401, "{vendor}, without a password");
        assert!(got.head.to_lowercase().contains("www-authenticate: basic realm="), "{got:?}");
        assert_eq!(browser.basic(target, sold).await.status, 401, "{vendor}, with that of the factory");
        assert_eq!(browser.basic(target, GIVEN).await.status, 200, "{vendor}, with its own");
        phone.off().await;
    }
}

#[tokio::test]
async fn wrong_passwords_lock_where_that_is_known() {
    let clock = crate::clock::Clock::manual(Timestamp(1_700_000_000_000));
    let mut guest = guest("yealink", "T46U", None, 74);
    guest.spec.clock = clock.clone();
    let (phone, mut browser) = guest.up().await;
    let login = "/api/auth/login?p=Login";
    for number in 1..5 {
        let got = browser.post(login, "username=admin&pwd=x").await;
        assert!(got.body.contains("password_is_wrong"), "try {number}: {got:?}");
    }
    for password in ["x", "admin"] {
        let got = browser.post(login, &format!("username=admin&pwd={password}")).await;
        assert!(got.body.contains("\"webStatus\":\"lock\",\"lockTime\":\"3\""), "{got:?}");
    }
    clock.advance(Duration::from_secs(181));
    let got = browser.post(login, "username=admin&pwd=admin").await;
    assert!(got.body.contains("\"ret\":\"ok\""), "{got:?}");
    phone.off().await;
}

const OWN: [(&str, &str); 2] = [("Origin", "http://h"), ("Referer", "http://h/")];

async fn access(browser: &mut Browser, password: &str) -> Got {
    let got = browser.ask("POST", "/cgi-bin/access", &OWN, "access=x").await;
    let token = got.body.split('"').nth(7).unwrap().to_owned();
    let proof = hex(&Sha256::digest(format!("{password}{token}").as_bytes()));
    browser.ask("POST", "/cgi-bin/dologin", &OWN, &format!("username=admin&password={proof}")).await
}

#[tokio::test]
async fn a_grandstream_that_wants_a_proof_counts_wrong_ones() {
    let (phone, mut browser) = guest("grandstream", "GXP2135", None, 75).up().await;
    assert_eq!(browser.post("/cgi-bin/access", "access=x").await.status, 403, "without Origin and Referer");
    for left in ["wrong4", "wrong3", "wrong2", "wrong1", "locked", "locked"] {
        let got = access(&mut browser, "nonsense").await;
        assert!(got.body.contains(left), "{left}: {got:?}");
    }
    assert!(access(&mut browser, "admin").await.body.contains("locked"));
    phone.off().await;
}

#[tokio::test]
async fn remote_control_is_refused_until_somebody_allows_it() {
    for (model, target) in [
        ("T28P", "/cgi-bin/ConfigManApp.com?key=Reboot"),
        ("T28P", "/servlet?key=Reboot"),
        ("T46U", "/servlet?key=Reboot"),
    ] {
        let guest = guest("yealink", model, None, 89);
        let (phone, mut browser) = guest.clone().up().await;
        assert_eq!(browser.basic(target, "admin").await.status, 403, "{model} {target}");
        phone.off().await;
        let (mut phone, mut browser) = guest.under_remote_control().up().await;
        assert_eq!(browser.basic(target, "x").await.status, 401, "{model} {target}");
        assert_eq!(browser.basic(target, "admin").await.status, 200, "{model} {target}");
        phone.told("reboots").await;
        phone.told("stays up").await;
        phone.off().await;
    }
}

#[tokio::test]
async fn nothing_that_comes_stops_the_page() {
    let (phone, mut browser) = guest("yealink", "T46U", None, 90).up().await;
    let long = "x".repeat(2 << 20);
    let at = browser.at;
    let big = format!(
        "POST /api/inner/writeconfig HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{long}",
        long.len()
    );
    assert_eq!(raw(at, big.as_bytes()).await.status, 413);
    for request in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", &long[..200_000]),
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n".to_owned(),
        "POST /api/auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\n\u{fffd}"
            .to_owned(),
    ] {
        let got = raw(at, request.as_bytes()).await;
        assert!(got.status >= 200 || got.head.is_empty(), "{got:?}");
    }
    let deep = "{\"a\":".repeat(100) + "1" + &"}".repeat(100);
    for (target, cookie, authorization, body) in [
        ("/servlet?%zz=%", "=;=;;", "Basic ====", deep.as_str()),
        ("/api/auth/login", "JSESSIONID", "Digest nonce", "username&pwd=&&=%"),
        ("/api/inner/writeconfig", "JSESSIONID=\"", "x", "{\"formData\":[]}"),
    ] {
        let headers = [("Cookie", cookie), ("Authorization", authorization)];
        let got = browser.ask("POST", target, &headers, body).await;
        assert!((200..500).contains(&got.status), "{target}: {got:?}");
    }
    assert_eq!(browser.get("/").await.status, 200);
    phone.off().await;
}

#[test]
fn every_profile_names_an_interface_that_there_is() {
    let known: Vec<&str> = interfaces().collect();
    for spec in super::scripted::families() {
        let habits = Habits::of(&spec);
        if let Some(name) = &habits.sheet.web {
            assert!(known.contains(&name.as_str()), "{} {}: {name}", spec.vendor(), spec.model);
        }
    }
}
