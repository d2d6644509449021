//! Whole lives of simulated phones against servers made of hand-written bytes: nothing of the agent takes part.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::read::Contents;
use super::registrar::Registrar;
use super::*;
use crate::clock::Entropy;
use crate::device::Vendor;
use crate::profile::{Catalog, Model, Simulate};
use crate::secret::{Secret, SecretKind};

/// The profiles of the source tree over those that were built in, so that a change is tried without a build.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-profiles");
    let (catalog, errors) = Catalog::load(Some(&folder));
    assert_eq!(errors, []);
    catalog
});

pub(super) const SNOM: &str = "snom";
pub(super) const YEALINK: &str = "yealink";
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A phone of a built-in vendor.
pub(super) fn phone(vendor: &str, mac: &str) -> PhoneSpec {
    PhoneSpec::new(CATALOG.get(&Vendor::new(vendor)).unwrap().clone(), mac.parse().unwrap())
}

/// Every built-in vendor whose phones can be simulated.
pub(super) fn vendors() -> Vec<String> {
    let played = CATALOG.profiles().filter(|profile| profile.simulate().is_some_and(|s| s.read.is_some()));
    played.map(|profile| profile.vendor().to_string()).collect()
}

/// One phone of each family that gets passwords; of an extended profile's, only the heir's usual one.
pub(super) fn families() -> Vec<PhoneSpec> {
    let mut phones = Vec::new();
    for vendor in vendors() {
        let profile = CATALOG.get(&Vendor::new(&vendor)).unwrap();
        let usual = |model: &Model| model.family == profile.table("").family;
        let gets = |model: &&Model| {
            let mut files =
                profile.files_for(Some(&model.name)).filter(|(_, file)| !file.is_inherited() || usual(model));
            files.any(|(id, _)| profile.secret_kinds(id).contains(&SecretKind::Sip))
        };
        let mut models = BTreeMap::new();
        profile.models().filter(gets).for_each(|model| {
            models.entry(model.family.clone()).or_insert(model.name.clone());
        });
        phones.extend(
            models.into_values().map(|model| PhoneSpec { model, ..phone(&vendor, "00:04:13:aa:bb:cc") }),
        );
    }
    phones
}

/// How phones of a built-in vendor read.
pub(super) fn sheet(vendor: &str, family: &str) -> Simulate {
    CATALOG.get(&Vendor::new(vendor)).unwrap().simulate().unwrap().played(Some(family), None)
}

/// What a phone knows that has read one file.
pub(super) fn take(sheet: &Simulate, text: &str) -> Settings {
    let reading = sheet.read.as_ref().unwrap();
    let mut settings = Settings::default();
    let contents = Contents::read(text.as_bytes(), reading).unwrap();
    assert_eq!(contents.remarks, [""; 0]);
    contents.apply(reading, &mut settings);
    settings
}

/// A script's tasks end with the test.
pub(super) struct Scripted<T>(pub(super) T, JoinHandle<()>);

impl<T> Drop for Scripted<T> {
    fn drop(&mut self) {
        self.1.abort();
    }
}

pub(super) async fn udp() -> UdpSocket {
    UdpSocket::bind((HOST, 0)).await.unwrap()
}

/// A header's value, by plain text search.
fn value<'m>(message: &'m str, name: &str) -> &'m str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// A plug-and-play server that does not hear the first `deaf` SUBSCRIBEs, and sends its NOTIFY from another port.
async fn pnp_server(url: String, deaf: usize) -> Scripted<SocketAddr> {
    let (socket, notifier) = (udp().await, udp().await);
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        for _ in 0..deaf {
            socket.recv_from(&mut buffer).await.unwrap();
        }
        let (length, phone) = socket.recv_from(&mut buffer).await.unwrap();
        let subscribe = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (from, to) = (value(&subscribe, "From"), value(&subscribe, "To"));
        let (via, call_id) = (value(&subscribe, "Via"), value(&subscribe, "Call-ID"));
        let contact = value(&subscribe, "Contact").trim_matches(['<', '>']);
        let here = notifier.local_addr().unwrap();
        let answer = format!(
            "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=srv\r\nCall-ID: {call_id}\r\nCSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:{here}>\r\nExpires: 0\r\nContent-Length: 0\r\n\r\n"
        );
        socket.send_to(answer.as_bytes(), phone).await.unwrap();
        let notify = format!(
            "NOTIFY {contact} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKx1;rport\r\nMax-Forwards: 70\r\n\
             From: {to};tag=srv\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: 2 NOTIFY\r\nContact: <sip:{here}>\r\n\
             Event: ua-profile\r\nSubscription-State: terminated;reason=timeout\r\nContent-Type: application/url\r\n\
             Content-Length: {}\r\n\r\n{url}",
            url.len()
        );
        // Twice, as a server does whose first answer was lost: the phone answers both.
        for _ in 0..2 {
            notifier.send_to(notify.as_bytes(), phone).await.unwrap();
            let (length, _) = notifier.recv_from(&mut buffer).await.unwrap();
            let ok = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(ok.starts_with("SIP/2.0 200 OK\r\n"), "{ok}");
            assert_eq!((value(&ok, "CSeq"), value(&ok, "Call-ID")), ("2 NOTIFY", call_id));
        }
    });
    Scripted(address, task)
}

/// A web server that knows these paths.
pub(super) async fn web_server(files: &[(&str, String)]) -> Scripted<SocketAddr> {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let files: BTreeMap<String, String> = files
        .iter()
        .map(|(path, body)| ((*path).to_owned(), body.replace("HERE", &address.to_string())))
        .collect();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 2048];
            let length = stream.read(&mut buffer).await.unwrap();
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let answer = match files.get(path) {
                Some(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Scripted(address, task)
}

/// RFC 1350 and nothing more: no options, 512 bytes a block, a port of its own for the transfer.
async fn tftp_server(name: &'static str, body: String) -> Scripted<SocketAddr> {
    let socket = udp().await;
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, phone) = socket.recv_from(&mut buffer).await.unwrap();
            let request = String::from_utf8_lossy(&buffer[2..length]).into_owned();
            let transfer = udp().await;
            if request.split('\0').next() != Some(name) {
                transfer.send_to(b"\0\x05\0\x01no such file\0", phone).await.unwrap();
                continue;
            }
            let bytes = body.as_bytes();
            for (index, block) in
                bytes.chunks(512).chain(bytes.len().is_multiple_of(512).then_some(&[][..])).enumerate()
            {
                let number = u16::try_from(index + 1).unwrap().to_be_bytes();
                transfer.send_to(&[&[0, 3], &number[..], block].concat(), phone).await.unwrap();
                let (length, _) = transfer.recv_from(&mut buffer).await.unwrap();
                assert_eq!(buffer[..length], [&[0, 4], &number[..]].concat());
            }
        }
    });
    Scripted(address, task)
}

pub(super) async fn registrar(password: &str) -> Registrar {
    let passwords = [("a101".to_owned(), Secret::new(password))];
    Registrar::start((HOST, 0).into(), passwords, Entropy::seeded(3)).await.unwrap()
}

pub(super) fn snom_settings(registrar: SocketAddr, password: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><settings><phone-settings><user_active idx=\"1\">on</user_active>\
         <user_name idx=\"1\">101</user_name><user_pname idx=\"1\">a101</user_pname>{password}\
         <user_host idx=\"1\">{registrar}</user_host><setting_server>http://HERE/own/x.xml</setting_server>\
         </phone-settings></settings>"
    )
}

pub(super) fn yealink_settings(registrar: SocketAddr, transport: u8) -> String {
    format!(
        "#!version:1.0.0.1\naccount.1.enable = 1\naccount.1.user_name = 101\naccount.1.auth_name = a101\n\
         account.1.password = right\naccount.1.sip_server.1.address = {}\naccount.1.sip_server.1.port = {}\n\
         account.1.sip_server.1.transport_type = {transport}\nstatic.security.user_password = admin:web\n",
        registrar.ip(),
        registrar.port()
    )
}

pub(super) fn spec(vendor: &str, address: u8, against: Target) -> PhoneSpec {
    let mac = if vendor == SNOM { "00041396d9b4" } else { "805ec0aabbcc" };
    PhoneSpec {
        address: Some(Ipv4Addr::new(127, 0, 7, address)),
        against,
        entropy: Entropy::seeded(u64::from(address)),
        patience: Patience { subscribe: Duration::from_secs(5), ..Patience::default() },
        ..phone(vendor, mac)
    }
}

async fn live(spec: PhoneSpec) -> (Report, Vec<Step>) {
    let mut steps = Vec::new();
    let report = Phone::new(spec).run(|step| steps.push(step)).await;
    (report, steps)
}

fn statuses(report: &Report) -> Vec<(&str, u16)> {
    report.files.iter().map(|file| (file.name.as_str(), file.status)).collect()
}

#[tokio::test]
async fn a_snom_comes_up_and_looks_again_through_its_own_url() {
    let registrar = registrar("right").await;
    let with = snom_settings(registrar.address(), "<user_pass idx=\"1\">right</user_pass>");
    let without = snom_settings(registrar.address(), "");
    let web = web_server(&[("/d/snomD785-00041396D9B4.htm", with), ("/own/x.xml", without)]).await;
    let pnp = pnp_server(format!("http://{}/d/snomD785-{{mac}}.htm", web.0), 1).await;
    let (report, steps) = live(PhoneSpec { again: true, ..spec(SNOM, 1, Target::Server(pnp.0)) }).await;
    assert_eq!(report.failure, None, "{steps:#?}");
    assert_eq!(report.remarks, Vec::<String>::new());
    assert!(report.subscribed && report.registered && report.own_url);
    let asked = [("snomD785-00041396D9B4.htm", 200), ("x.xml", 200), ("x-00041396D9B4.xml", 404)];
    assert_eq!(statuses(&report), asked);
    assert!(report.accounts[0].has_password, "the second file has none, so the phone keeps what it had");
    assert_eq!(registrar.registered(), ["101"]);
    let kinds: Vec<_> = steps.iter().map(|step| step.kind.as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "subscribe").count(), 2, "the first was not heard");
    assert_eq!(kinds.last(), Some(&"up"));
    let told = format!("{steps:?} {report:?} {}", serde_json::to_string(&report).unwrap());
    assert!(!told.contains("right"), "a password was told: {told}");
}

#[tokio::test]
async fn a_snom_follows_a_list_of_files() {
    let registrar = registrar("right").await;
    let with = snom_settings(registrar.address(), "<user_pass idx=\"1\">right</user_pass>");
    let list =
        "<setting-files><file url=\"http://HERE/f/{mac}.xml\"/><file url=\"lang.xml\"/></setting-files>";
    let web = web_server(&[("/f/snomD785.htm", list.to_owned()), ("/f/00041396D9B4.xml", with)]).await;
    let (report, _) = live(spec(SNOM, 2, Target::Url(format!("http://{}/f/", web.0)))).await;
    assert!(report.is_up() && report.registered, "{:?}", report.failure);
    let asked = [
        ("snomD785.htm", 200),
        ("00041396D9B4.xml", 200),
        ("lang.xml", 404),
        ("snomD785-00041396D9B4.htm", 404),
        ("snomD785-firmware.htm", 404),
    ];
    assert_eq!(statuses(&report), asked);
}

#[tokio::test]
async fn a_yealink_comes_up_by_multicast_on_loopback() {
    let registrar = registrar("right").await;
    let common = "#!version:1.0.0.1\nlang.gui = German\n".to_owned();
    let own = yealink_settings(registrar.address(), 0);
    let web = web_server(&[("/p/y000000000108.cfg", common), ("/p/805ec0aabbcc.cfg", own)]).await;
    let group = Ipv4Addr::new(224, 0, 1, 75);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.bind(&SocketAddr::from((group, 0)).into()).unwrap();
    let loopback = nix::net::if_::if_nametoindex("lo").unwrap();
    socket.join_multicast_v4_n(&group, &socket2::InterfaceIndexOrAddress::Index(loopback)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = UdpSocket::from_std(socket.into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let url = format!("http://{}/p/", web.0);
    let server = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let (length, phone) = socket.recv_from(&mut buffer).await.unwrap();
        let subscribe = String::from_utf8_lossy(&buffer[..length]).into_owned();
        // As several servers in the field do it: no 200, headers copied, from an ephemeral port.
        let notify = format!(
            "NOTIFY sip:{phone} SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 3 NOTIFY\r\n\
             Content-Type: application/url\r\nEvent: {}\r\nContent-Length: {}\r\n\r\n{url}",
            value(&subscribe, "Via"),
            value(&subscribe, "From"),
            value(&subscribe, "To"),
            value(&subscribe, "Call-ID"),
            value(&subscribe, "Event"),
            url.len()
        );
        udp().await.send_to(notify.as_bytes(), phone).await.unwrap();
    });
    let (report, _) = live(spec(YEALINK, 3, Target::Multicast { group, port })).await;
    server.await.unwrap();
    assert!(report.is_up() && report.registered, "{:?}", report.failure);
    let asked = [
        ("805ec0aabbcc.boot", 404),
        ("y000000000000.boot", 404),
        ("y000000000108.cfg", 200),
        ("805ec0aabbcc.cfg", 200),
    ];
    assert_eq!(statuses(&report), asked);
    assert_eq!((report.language.as_deref(), report.web_password), (Some("German"), true));
    assert!(report.remarks.contains(&"NOTIFY before any 200".to_owned()), "{:?}", report.remarks);
}

#[tokio::test]
async fn a_yealink_comes_up_by_tftp() {
    let registrar = registrar("right").await;
    let padding = "# padding\n".repeat(100);
    let body = format!("{}{padding}", yealink_settings(registrar.address(), 0));
    let tftp = tftp_server("p/805ec0aabbcc.cfg", body.clone()).await;
    let transfer = Transfer::Tftp { port: tftp.0.port() };
    let against = Target::Url("http://127.0.0.1/p/".to_owned());
    let (report, _) = live(PhoneSpec { transfer, ..spec(YEALINK, 4, against) }).await;
    assert!(report.is_up() && report.registered, "{:?}", report.failure);
    let file = report.file("805ec0aabbcc.cfg").unwrap();
    assert_eq!((file.channel, file.status, file.bytes), ("tftp", 200, body.len()));
    assert_eq!(report.file("805ec0aabbcc.boot").unwrap().detail, "ERROR 1 no such file");
}

#[tokio::test]
async fn a_boot_file_replaces_the_usual_names_and_what_was_known() {
    let registrar = registrar("right").await;
    let boot = "#!version:1.0.0.1\ninclude:config <own.cfg>\noverwrite_mode = 1\n".to_owned();
    let own = yealink_settings(registrar.address(), 0);
    let web = web_server(&[("/805ec0aabbcc.boot", boot), ("/own.cfg", own)]).await;
    let (report, _) = live(spec(YEALINK, 5, Target::Url(format!("http://{}", web.0)))).await;
    assert!(report.is_up(), "{:?}", report.failure);
    assert_eq!(statuses(&report), [("805ec0aabbcc.boot", 200), ("own.cfg", 200)]);
}

#[tokio::test]
async fn a_registrar_is_spoken_to_by_tcp() {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let own = yealink_settings(listener.local_addr().unwrap(), 1);
    let web = web_server(&[("/805ec0aabbcc.cfg", own)]).await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        for more in [
            "SIP/2.0 100 Trying\r\nCALL\r\nContent-Length: 0\r\n\r\nSIP/2.0 407 Proxy Authentication Required\r\nCALL\r\n\
             Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth-int,auth\"\r\nContent-Length: 3\r\n\r\nabc",
            "SIP/2.0 200 OK\r\nCALL\r\nContact: <sip:x@y>;expires=120\r\nContent-Length: 0\r\n\r\n",
        ] {
            let length = stream.read(&mut buffer).await.unwrap();
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(request.starts_with("REGISTER sip:127.0.0.1:"), "{request}");
            assert!(value(&request, "Via").starts_with("SIP/2.0/TCP 127.0.7.6:"), "{request}");
            if more.contains("200 OK") {
                let answer = value(&request, "Proxy-Authorization");
                assert!(
                    answer.starts_with(
                        "Digest username=\"a101\", realm=\"r\", nonce=\"n\", uri=\"sip:127.0.0.1:"
                    )
                );
            }
            let copied =
                format!("Call-ID: {}\r\nCSeq: {}", value(&request, "Call-ID"), value(&request, "CSeq"));
            for byte in more.replace("CALL", &copied).bytes() {
                stream.write_all(&[byte]).await.unwrap();
            }
        }
    });
    let (report, _) = live(spec(YEALINK, 6, Target::Url(format!("http://{}/", web.0)))).await;
    server.await.unwrap();
    assert_eq!(report.accounts[0].registration, Some(Registration::Registered { expires_s: 120 }));
}

#[tokio::test]
async fn the_step_that_broke_is_named() {
    let silent = udp().await;
    let patience = Patience { subscribe: Duration::from_millis(700), ..Patience::default() };
    let target = Target::Server(silent.local_addr().unwrap());
    let (report, steps) = live(PhoneSpec { patience, ..spec(SNOM, 7, target) }).await;
    assert_eq!(report.failure.map(|failure| failure.step), Some(StepKind::Subscribe));
    assert_eq!(steps.iter().filter(|step| step.kind == StepKind::Subscribe).count(), 2);

    let empty = web_server(&[]).await;
    let (report, _) = live(spec(YEALINK, 8, Target::Url(format!("http://{}/", empty.0)))).await;
    assert_eq!(report.failure.map(|failure| failure.step), Some(StepKind::Fetch));

    let bare = web_server(&[("/x.cfg", "#!version:1.0.0.1\nlang.gui = German\n".to_owned())]).await;
    let (report, _) = live(spec(YEALINK, 9, Target::Url(format!("http://{}/x.cfg", bare.0)))).await;
    assert_eq!(report.failure.map(|failure| failure.step), Some(StepKind::Settings));

    let registrar = registrar("another").await;
    let own = web_server(&[("/805ec0aabbcc.cfg", yealink_settings(registrar.address(), 0))]).await;
    let target = Target::Url(format!("http://{}/805ec0aabbcc.cfg", own.0));
    let (report, _) = live(spec(YEALINK, 10, target.clone())).await;
    assert_eq!(report.failure.map(|failure| failure.step), Some(StepKind::Register));
    assert!(matches!(report.accounts[0].registration, Some(Registration::Refused { status: 403, .. })));

    let unregistered = PhoneSpec { register: RegisterAt::Nowhere, ..spec(YEALINK, 11, target) };
    let (report, _) = live(unregistered).await;
    assert!(report.is_up() && !report.registered && report.accounts[0].registration.is_none());
}
