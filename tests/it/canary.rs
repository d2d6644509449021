//! Every password, token and key of a whole life is looked for in everything that is written or shown: logs at their
//! most talkative, listings, error pages, the database, backups, the mark, the pins. What the phone itself is sent is
//! the one exception.

use std::path::Path;

use offhook::secret::SecretKind;

use crate::agent::{Agent, Setup};
use crate::lab::{self, Host, Lab};
use crate::phone::{Phone, Vendor};
use crate::release::{SERVER, curl};
use crate::rest;

const SNOM: &str = "00:04:13:00:00:01";
const YEALINK: &str = "80:5e:c0:aa:bb:cc";
const ACCOUNTS: &str = "mac,vendor,model,username,password,web_password,menu_password\n\
     00:04:13:00:00:01,snom,D785,201,kSip-201-canary,kWeb-201-canary,70416253\n\
     80:5e:c0:aa:bb:cc,yealink,T46U,202,kSip-202-canary,kWeb-202-canary,\n\
     ,,,203,kPool-203-canary,,\n";
/// A file that cannot be imported, with a password in each of the rows that are wrong.
const WRONG: &str = "mac,vendor,model,username,password,web_password,menu_password\n\
     00:04:13:00:00:03,snom,D785,204,kBad-204-canary,kBad-web-canary,81527364\n\
     00:04:13:00:00:03,snom,D785,205,kBad-205-canary,,\n\
     not a mac,snom,D785,206,kBad-206-canary,,\n\
     00:04:13:00:00:04,snom,D785,,kBad-207-canary,,\n";
const GIVEN: [&str; 15] = [
    "kSip-201-canary",
    "kWeb-201-canary",
    "70416253",
    "kSip-202-canary",
    "kWeb-202-canary",
    "kPool-203-canary",
    "kNew-203-canary",
    "kBad-204-canary",
    "kBad-web-canary",
    "81527364",
    "kBad-205-canary",
    "kBad-206-canary",
    "kBad-207-canary",
    "kCut-208-canary",
    "kDhcp-209-canary",
];
/// What a careless administrator lets a DHCP server give to phones.
const BY_DHCP: &[u8] = b"http://admin:kDhcp-209-canary@192.168.1.9/";

/// Files in which they are meant to be: what was imported, and the keys, of which the old one is kept for old backups.
const GIVEN_IN: &[&str] = &["accounts.csv", "wrong.csv", "cut.csv", "offhook.key"];

/// What was written or shown, and where.
#[derive(Default)]
struct Shown(Vec<(String, Vec<u8>)>);

impl Shown {
    fn text(&mut self, place: &str, text: impl Into<Vec<u8>>) {
        self.0.push((place.to_owned(), text.into()));
    }

    /// A command of the program, whether it succeeds or not; one word of its output says that it did something.
    fn command(&mut self, agent: &Agent<'_>, arguments: &[&str], says: &str) {
        let (_, text) = agent.attempt(arguments);
        assert!(text.contains(says), "{arguments:?} does not say '{says}': {text}");
        self.text(&arguments.join(" "), text);
    }

    /// Every file of a folder and the folders in it.
    fn folder(&mut self, folder: &Path, except: &[&str]) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                self.folder(&path, except);
            } else if kind.is_file() && !except.iter().any(|name| is_named(&path, name)) {
                self.text(&path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }

    /// Where one of these stands, as it is or as hexadecimal digits.
    fn hits(&self, secrets: &[String]) -> Vec<String> {
        let mut hits = Vec::new();
        for (place, bytes) in &self.0 {
            let text = String::from_utf8_lossy(bytes).to_lowercase();
            for secret in secrets.iter().map(|secret| secret.to_lowercase()) {
                let digits = hexadecimal(&secret);
                if text.contains(&secret) || text.contains(&digits) {
                    hits.push(format!("{secret} in {place}"));
                }
            }
        }
        hits
    }
}

fn hexadecimal(text: &str) -> String {
    text.bytes().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

/// Whether it is this file, or one that was kept from before.
fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(name))
}

/// What the store seals for its phones: their tokens, and the passwords that it made itself.
fn made(agent: &Agent<'_>) -> Vec<String> {
    agent.with_store(async |store| {
        let mut made = Vec::new();
        for device in store.inventory().devices() {
            made.push(store.bootstrap_token(&device).unwrap().expose().to_owned());
            for kind in [SecretKind::Prov, SecretKind::Webui, SecretKind::Menu] {
                made.extend(
                    store.reveal(&device, kind, None).unwrap().map(|secret| secret.expose().to_owned()),
                );
            }
        }
        made
    })
}

/// The keys that lie in the key file.
fn keys(lab: &Lab) -> Vec<String> {
    let text = std::fs::read_to_string(lab.folder().join("offhook.key")).unwrap();
    let keys: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() >= 40)
        .map(str::to_owned)
        .collect();
    assert!(!keys.is_empty(), "no key in its file");
    keys
}

/// Both phones by PnP, HTTP and TFTP; strangers and mistakes beside them.
fn traffic(shown: &mut Shown, phones: &[Phone; 2], other: &Host) {
    for phone in phones {
        let notify = phone.provisioned();
        let own = phone.settings_url(&notify.url);
        let (status, body) = phone.get(&own);
        assert!(status == 200 && body.contains("canary"), "{own}: {body}");
        assert!(phone.tftp(SERVER, &phone.file()).1.contains("canary"));
        let head = curl(&phone.host, &own, &["-I"]);
        shown.text("HEAD", head.head);
        let plain = format!("http://{SERVER}:8480/{}", phone.file());
        for (url, options) in [
            (own.as_str(), &[][..]),
            (plain.as_str(), &[]),
            (plain.as_str(), &["-H", "If-None-Match: \"x\""]),
            (plain.as_str(), &["-X", "POST", "-d", "x"]),
        ] {
            let denied = curl(other, url, options);
            assert_ne!(denied.status, 200, "{url}");
            shown.text("a refusal by HTTP", format!("{}{}", denied.head, denied.body));
        }
        shown.text(
            "a refusal by TFTP",
            other.attempt(&["curl", "-sS", "-m", "5", &format!("tftp://{SERVER}/{}", phone.file())]).1,
        );
    }
    for guess in 0..6 {
        let page = curl(other, &format!("http://{SERVER}:8480/0004130001{guess:02x}.xml"), &["-m", "2"]);
        shown.text("a 404", format!("{}{}", page.head, page.body));
    }
}

/// A DHCP server gives a phone a URL with a password in it, as a text and as a sub-option, for everybody to hear.
fn dhcp(shown: &mut Shown, agent: &Agent<'_>, server: &Host) {
    let mut ack = vec![0; 236];
    ack[..4].copy_from_slice(&[2, 1, 6, 0]);
    ack[16..20].copy_from_slice(&[192, 168, 1, 100]);
    ack[28..34].copy_from_slice(&[0x00, 0x04, 0x13, 0, 0, 1]);
    ack.extend([99, 130, 83, 99, 53, 1, 5, 54, 4, 192, 168, 1, 50]);
    let length = u8::try_from(BY_DHCP.len()).unwrap();
    ack.extend([&[66, length][..], BY_DHCP, &[43, length + 2, 66, length], BY_DHCP, &[255]].concat());
    let socket = server.udp("0.0.0.0:67");
    socket.set_broadcast(true).unwrap();
    socket.send_to(&ack, "192.168.1.255:68").unwrap();
    let heard = lab::poll("what DHCP gave", || {
        let (_, text) = agent.attempt(&["device", "show", SNOM]);
        text.contains("192.168.1.50 gave it 192.168.1.100").then_some(text)
    });
    assert!(heard.contains("66 \"http://***@192.168.1.9/\""), "{heard}");
    shown.text(
        "the servers",
        agent.with_store(async |store| format!("{:?}", store.dhcp_servers().await.unwrap())),
    );
}

fn commands(shown: &mut Shown, agent: &Agent<'_>, lab: &Lab) {
    for arguments in [
        &["audit", "--limit", "1000"][..],
        &["audit", "--json"],
        &["audit", "--jsonl"],
        &["audit", SNOM],
        &["alarm", "list"],
        &["--json", "alarm", "list"],
        &["device", "list"],
        &["--json", "device", "list"],
        &["device", "show", SNOM],
        &["--json", "device", "show", SNOM],
        &["device", "show", YEALINK],
        &["--json", "device", "show", YEALINK],
        &["account", "list"],
        &["--json", "account", "list"],
        &["export"],
        &["--json", "export"],
        &["audit", "verify"],
        &["key", "show"],
        &["device", "show", "00:04:13:00:00:ff"],
        &["device", "lock", YEALINK],
        &["--json", "device", "confirm", YEALINK],
        &["--json", "rearm", "--all", "--reason", "revoked"],
        &["account", "set-password", "999"],
    ] {
        shown.command(agent, arguments, "");
    }
    let wrong = lab.file("wrong.csv", WRONG);
    shown.command(agent, &["import", wrong.to_str().unwrap()], "");
    let cut = lab.file(
        "cut.csv",
        "mac,vendor,model,username,password\n00:04:13:00:00:05,snom,D785,208,\"kCut-208-canary\n",
    );
    shown.command(agent, &["--json", "import", cut.to_str().unwrap()], "");
    let backup = lab.folder().join("saved/offhook.backup");
    std::fs::create_dir(backup.parent().unwrap()).unwrap();
    shown.command(agent, &["backup", backup.to_str().unwrap()], "devices");
    shown.command(agent, &["key", "rotate"], "");
    let after = lab.folder().join("saved/after.backup");
    shown.command(agent, &["backup", after.to_str().unwrap()], "devices");
}

/// Everything that the REST API answers, and the tokens that it was asked with.
fn api(shown: &mut Shown, agent: &Agent<'_>) -> Vec<String> {
    let tokens = [rest::token(agent, "admin,secrets:reveal"), rest::token(agent, "devices:read")];
    let [admin, reader] = [0, 1].map(|n| format!("Authorization: Bearer {}", tokens[n]));
    let mut ask = |path: &str, options: &[&str]| {
        let (status, body) = rest::ask(agent.host(), path, options);
        shown.text(
            &format!("{path} {options:?}").replace(&tokens[0], "").replace(&tokens[1], ""),
            body.to_string(),
        );
        status
    };
    for phone in [SNOM, YEALINK] {
        let own = format!("/api/v1/devices/{phone}");
        assert_eq!(ask(&own, &["-H", &admin]), 200);
        for (deed, body) in [
            ("arm", "{\"mode\":\"now\"}"),
            ("arm", "{\"kinds\":[\"kBad-204-canary\"]}"),
            ("lock", "{}"),
            ("confirm", "{}"),
            ("block", "{}"),
            ("approve", "{}"),
        ] {
            let deed = format!("{own}/{deed}");
            ask(&deed, &["-H", &admin, "-H", "Idempotency-Key: canary", "--json", body]);
            ask(&deed, &["-H", &reader, "--json", body]);
        }
    }
    for path in
        ["/api/v1/devices", "/api/v1/audit?limit=1000", "/api/v1/alarms?all=true", "/api/openapi.json"]
    {
        assert_eq!(ask(path, &["-H", &admin]), 200, "{path}");
    }
    let wrong = format!("{admin}0");
    assert_eq!(ask("/api/v1/devices", &["-H", &wrong]), 401);
    shown.command(agent, &["token", "list", "--all"], "admin");
    shown.command(agent, &["--json", "token", "list"], "admin");
    tokens.iter().map(|token| token.rsplit('_').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn no_password_token_or_key_is_written_or_shown() {
    lab::run("canary::no_password_token_or_key_is_written_or_shown", |lab| {
        let server = lab.host("agent", &format!("{SERVER}/24"));
        let config = "[sip]\nregistrar = \"pbx\"\n[adopt]\npolicy = \"approve\"\n".to_owned();
        let mut agent = Agent::start(lab, &server, &Setup { accounts: ACCOUNTS.to_owned(), config });
        agent.end();
        agent.begin(&["env", "OFFHOOK_LOG=trace"]);
        let phones = [
            Phone::plug(lab, "snom", Vendor::Snom, SNOM, "lan", "192.168.1.100/24"),
            Phone::plug(lab, "yealink", Vendor::Yealink, YEALINK, "lan", "192.168.1.101/24"),
        ];
        let other = lab.host("other", "192.168.1.50/24");
        let mut shown = Shown::default();
        let mut secrets: Vec<String> = GIVEN.map(str::to_owned).to_vec();
        secrets.extend(made(&agent));
        secrets.extend(keys(lab));
        traffic(&mut shown, &phones, &other);
        dhcp(&mut shown, &agent, &other);
        agent.audited("acked");
        secrets.extend(api(&mut shown, &agent));
        commands(&mut shown, &agent, lab);
        shown.command(&agent, &["device", "rearm", SNOM], SNOM);
        secrets.extend(made(&agent));
        secrets.extend(keys(lab));
        shown.folder(lab.folder(), GIVEN_IN);
        shown.text("the log", agent.process().output());
        agent.end();
        shown.folder(lab.folder(), GIVEN_IN);
        secrets.sort();
        secrets.dedup();
        let (places, found) = (shown.0.len(), shown.hits(&secrets));
        println!("{} secrets in {places} places: {found:?}", secrets.len());
        assert!(found.is_empty(), "{found:#?}");
        let log = shown
            .0
            .iter()
            .find(|(place, _)| place == "the log")
            .map(|(_, text)| String::from_utf8_lossy(text));
        assert!(log.is_some_and(|log| log.contains("TRACE") && log.contains("DEBUG")), "a talkative log");
        assert!(
            shown.0.iter().any(|(place, _)| place.ends_with("-wal")),
            "{:?}",
            shown.0.iter().map(|one| &one.0).collect::<Vec<_>>()
        );
    });
}
