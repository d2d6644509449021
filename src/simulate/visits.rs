//! Phones that stay up, visited over loopback: by datagrams of SIP, and by a server of files that they fetch again from.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::scripted::{SNOM, YEALINK, registrar, snom_settings, spec, udp, web_server, yealink_settings};
use super::*;
use crate::secret::Secret;

/// A phone that stays up, and where it is.
pub(super) struct Staying {
    pub(super) sip: SocketAddr,
    steps: mpsc::UnboundedReceiver<Step>,
    off: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<Report, Failure>>,
}

impl Staying {
    pub(super) async fn start(spec: PhoneSpec, stay: Stay) -> Self {
        let (tell, steps) = mpsc::unbounded_channel();
        let (off, until) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let until = async {
                let _ = until.await;
            };
            let on_step = move |step| {
                let _ = tell.send(step);
            };
            Phone::new(spec).stay(&stay, &mut Memory::default(), on_step, until).await
        });
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut phone = Self { sip: nowhere, steps, off: Some(off), task };
        let up = phone.told("stays up").await;
        phone.sip = word_behind(&up, "SIP at ");
        phone
    }

    /// The next step whose text has this in it.
    pub(super) async fn told(&mut self, part: &str) -> String {
        loop {
            let step = self.steps.recv().await.unwrap_or_else(|| panic!("it ended without '{part}'"));
            if step.text.contains(part) {
                return step.text;
            }
        }
    }

    /// Switches it off.
    pub(super) async fn off(mut self) -> Report {
        let _ = self.off.take().unwrap().send(());
        self.task.await.unwrap().unwrap()
    }
}

pub(super) fn word_behind(text: &str, before: &str) -> SocketAddr {
    let (_, rest) = text.split_once(before).unwrap();
    rest.split([' ', ',']).next().unwrap().parse().unwrap()
}

const ANY_PORT: Stay = Stay { sip_port: 0, notify: Notified::AsSold };

/// Somebody who sends SIP to a phone.
struct Caller(UdpSocket, u32);

impl Caller {
    async fn new() -> Self {
        Self(udp().await, 0)
    }

    fn request(&self, method: &str, more: &str) -> String {
        let (here, number) = (self.0.local_addr().unwrap(), self.1);
        format!(
            "{method} sip:phone SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKq{number};rport\r\nFrom: <sip:x@{here}>;tag=a\r\n\
             To: <sip:phone>\r\nCall-ID: c{number}\r\nCSeq: {number} {method}\r\nMax-Forwards: 70\r\n{more}"
        )
    }

    async fn send(&mut self, phone: SocketAddr, method: &str, more: &str) {
        self.1 += 1;
        self.0.send_to(self.request(method, more).as_bytes(), phone).await.unwrap();
    }

    async fn answer(&self) -> String {
        let mut buffer = [0; 4096];
        let (length, _) = self.0.recv_from(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    async fn ask(&mut self, phone: SocketAddr, method: &str, more: &str) -> String {
        self.send(phone, method, more).await;
        self.answer().await
    }

    async fn notify(&mut self, phone: SocketAddr, event: &str) -> String {
        self.ask(phone, "NOTIFY", &format!("Event: {event}\r\nContent-Length: 0\r\n\r\n")).await
    }

    async fn status(&mut self, phone: SocketAddr, event: &str) -> u16 {
        let answer = self.notify(phone, event).await;
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// What a Grandstream of one account reads.
fn grandstream_settings(registrar: SocketAddr) -> String {
    format!(
        "<?xml version=\"1.0\"?><gs_provision version=\"1\"><config version=\"1\"><P271>1</P271><P47>{registrar}</P47>\
         <P35>101</P35><P36>a101</P36><P34>right</P34></config></gs_provision>"
    )
}

fn at(vendor: &str, last: u8, against: Target) -> PhoneSpec {
    PhoneSpec { register: RegisterAt::Nowhere, ..spec(vendor, last, against) }
}

#[tokio::test]
async fn options_are_answered_with_the_vendors_name() {
    for (vendor, agent) in [
        (SNOM, "User-Agent: snomD785/10.1.169.16"),
        (YEALINK, "User-Agent: Yealink SIP-T46U 108.86.0.90"),
        ("grandstream", "User-Agent: Grandstream GXP2135 "),
    ] {
        let phone = Staying::start(at(vendor, 41, Target::Nobody), ANY_PORT).await;
        let mut caller = Caller::new().await;
        let answer = caller.ask(phone.sip, "OPTIONS", "Content-Length: 0\r\n\r\n").await;
        assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("\r\n{agent}")), "{answer}");
        assert!(answer.contains(";tag="), "the answer's To has no tag: {answer}");
        let other = caller.ask(phone.sip, "INVITE", "Content-Length: 0\r\n\r\n").await;
        assert!(other.starts_with("SIP/2.0 405 "), "{other}");
        phone.off().await;
    }
}

#[tokio::test]
async fn an_event_makes_the_phone_fetch_again_or_is_refused() {
    let registrar = registrar("right").await;
    let with = snom_settings(registrar.address(), "<user_pass idx=\"1\">right</user_pass>");
    let web = web_server(&[("/p/x.xml", with.clone()), ("/own/x.xml", with)]).await;
    let url = format!("http://{}/p/x.xml", web.0);
    let mut phone = Staying::start(at(SNOM, 42, Target::Url(url)), ANY_PORT).await;
    let mut caller = Caller::new().await;
    assert_eq!(caller.status(phone.sip, "message-summary").await, 489);
    assert_eq!(caller.status(phone.sip, "check-sync;reboot=false").await, 200);
    phone.told("200 OK").await;
    phone.told("looks at its configuration").await;
    phone.told("x.xml").await;
    // A reboot: everything is closed, and comes back at the same place.
    assert_eq!(caller.status(phone.sip, "check-sync;reboot=true").await, 200);
    phone.told("reboots").await;
    phone.told("x.xml").await;
    let up = phone.told("stays up").await;
    assert_eq!(word_behind(&up, "SIP at "), phone.sip);
    let report = phone.off().await;
    assert_eq!((report.life, report.is_up()), (2, true), "{:?}", report.failure);
}

#[tokio::test]
async fn a_repeated_notify_is_answered_and_obeyed_once() {
    let registrar = registrar("right").await;
    let common = "#!version:1.0.0.1\nlang.gui = German\n".to_owned();
    let files =
        [("/p/y000000000108.cfg", common), ("/p/805ec0aabbcc.cfg", yealink_settings(registrar.address(), 0))];
    let web = web_server(&files).await;
    let url = format!("http://{}/p/", web.0);
    let mut phone = Staying::start(at(YEALINK, 43, Target::Url(url)), ANY_PORT).await;
    let mut caller = Caller::new().await;
    let more = "Event: check-sync\r\nContent-Length: 0\r\n\r\n";
    let first = caller.ask(phone.sip, "NOTIFY", more).await;
    phone.told("stays up").await;
    let same = caller.request("NOTIFY", more);
    caller.0.send_to(same.as_bytes(), phone.sip).await.unwrap();
    let again = caller.answer().await;
    assert!(first.starts_with("SIP/2.0 200 ") && again.starts_with("SIP/2.0 200 "), "{again}");
    let report = phone.off().await;
    // By its vendor's default, any check-sync reboots it: of the two copies, at most one each time it is up.
    assert!((2..=3).contains(&report.life), "{}", report.life);
}

#[tokio::test]
async fn a_url_in_a_notify_is_looked_at() {
    let registrar = registrar("right").await;
    let web = web_server(&[("/g/cfg805ec0aabbcc.xml", grandstream_settings(registrar.address()))]).await;
    let mut phone = Staying::start(at("grandstream", 44, Target::Nobody), ANY_PORT).await;
    let mut caller = Caller::new().await;
    let notify = |kind: &str, url: &str| {
        let length = url.len();
        format!("Event: ua-profile\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{url}")
    };
    // Acknowledged, and not fetched: as real ones do with a type of another maker.
    let url = format!("http://{}/g/", web.0);
    let other = caller.ask(phone.sip, "NOTIFY", &notify("application/x-gs-ucm-url", &url)).await;
    assert!(other.starts_with("SIP/2.0 200 "), "{other}");
    let right = caller.ask(phone.sip, "NOTIFY", &notify("application/url", &url)).await;
    assert!(right.starts_with("SIP/2.0 200 "), "{right}");
    phone.told("cfg805ec0aabbcc.xml").await;
    phone.told("up").await;
    let report = phone.off().await;
    assert_eq!(report.accounts.len(), 1);
}

#[tokio::test]
async fn a_challenge_is_met_with_an_accounts_password() {
    let registrar = registrar("right").await;
    let web = web_server(&[("/g/cfg805ec0aabbcc.xml", grandstream_settings(registrar.address()))]).await;
    let url = format!("http://{}/g/", web.0);
    let mut phone = Staying::start(at("grandstream", 45, Target::Url(url)), ANY_PORT).await;
    let mut caller = Caller::new().await;
    for (password, status) in [("wrong", 401), ("right", 200)] {
        let challenge = caller.notify(phone.sip, "check-sync").await;
        assert!(challenge.starts_with("SIP/2.0 401 "), "{challenge}");
        let header = challenge.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: ")).unwrap();
        let answer = digest::Challenge::read(header).unwrap().answer(&digest::Request {
            username: "a101",
            password: &Secret::new(password),
            method: "NOTIFY",
            uri: "sip:phone",
            cnonce: "c",
            count: 1,
        });
        let more = format!("Authorization: {answer}\r\nEvent: check-sync\r\nContent-Length: 0\r\n\r\n");
        let answer = caller.ask(phone.sip, "NOTIFY", &more).await;
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{password}: {answer}");
    }
    phone.told("looks at its configuration").await;
    phone.told("cfg805ec0aabbcc.xml").await;
    phone.off().await;
}

#[tokio::test]
async fn a_phone_can_be_told_whom_to_hear() {
    for (notify, status) in [(Notified::Refuse, 403), (Notified::Challenge, 401), (Notified::Accept, 200)] {
        let phone = Staying::start(at(SNOM, 46, Target::Nobody), Stay { notify, ..ANY_PORT }).await;
        let mut caller = Caller::new().await;
        assert_eq!(caller.status(phone.sip, "check-sync;reboot=false").await, status);
        phone.off().await;
    }
    for notify in [Notified::Silent, Notified::Registrar] {
        let mut phone = Staying::start(at(SNOM, 47, Target::Nobody), Stay { notify, ..ANY_PORT }).await;
        let mut caller = Caller::new().await;
        let more = "Event: check-sync\r\nContent-Length: 0\r\n\r\n";
        caller.send(phone.sip, "NOTIFY", more).await;
        phone.told("no answer").await;
        // Its next answer is that to the next request.
        let answer = caller.ask(phone.sip, "OPTIONS", "Content-Length: 0\r\n\r\n").await;
        assert!(answer.contains("CSeq: 2 OPTIONS"), "{answer}");
        phone.off().await;
    }
}

#[tokio::test]
async fn garbage_gets_no_answer_and_does_no_harm() {
    let phone = Staying::start(at(SNOM, 48, Target::Nobody), ANY_PORT).await;
    let mut caller = Caller::new().await;
    let long = "x".repeat(60_000);
    let event = format!("NOTIFY sip:x SIP/2.0\r\nEvent: {long}\r\n\r\n");
    for bytes in
        [&b""[..], b"\0\0\0\0", b"SIP/2.0 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", long.as_bytes()]
    {
        caller.0.send_to(bytes, phone.sip).await.unwrap();
    }
    caller.0.send_to(event.as_bytes(), phone.sip).await.unwrap();
    assert!(caller.answer().await.starts_with("SIP/2.0 489 "));
    let answer = caller.ask(phone.sip, "OPTIONS", "Content-Length: 0\r\n\r\n").await;
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    phone.off().await;
}
