//! The walk with a real store under it and a neighbour table that is written by hand: what a phone, and somebody
//! else, gets when. Numbers are those of the specification's cases.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::alarm::AlarmKind;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::net::Prefix;
use crate::net::interfaces::{Interface, Table};
use crate::provision::{FileBody, Want};
use crate::release::{GrantId, Mode, Policies, Reason, Rule, State, without};
use crate::secret::{Secret, SecretKind};
use crate::store::{Give, NewAccount, Store, Vault};
use crate::tls::PhoneCertificate;

const PHONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const FILE: &str = "805ec0aabbcc.cfg";
const PASSWORD: &str = "geheim-101";
const WINDOW: Duration = Duration::from_mins(10);

struct Bench {
    desk: Desk,
    store: Store,
    clock: Clock,
    deeds: mpsc::Receiver<Deed>,
    alarms: Alarms,
    _folder: tempfile::TempDir,
}

fn mac() -> Mac {
    "805ec0aabbcc".parse().unwrap()
}

async fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let url = format!("sqlite:{}", folder.path().join("offhook.db").display());
    let store = Store::open(&url, Vault::with_key([7; 32]), clock.clone(), Entropy::System).await.unwrap();
    let account = NewAccount { username: "101".to_owned(), ..NewAccount::default() };
    store.add_account(&account, Some(&Secret::new(PASSWORD))).await.unwrap();
    store.approve(mac(), &Give::Account("101".to_owned())).await.unwrap();
    let (sightings, _) = mpsc::channel(1);
    let (sender, deeds) = mpsc::channel(100);
    let alarms = Alarms::default();
    let site = Site { registrar: Some("pbx.lan".to_owned()), ..Site::default() };
    let ours = Ipv4Addr::LOCALHOST;
    let interface = Interface {
        index: 1,
        name: "lo".to_owned(),
        mac: None,
        addresses: vec![(ours, Prefix::new(ours, 8).unwrap())],
        up: true,
        multicast: true,
        loopback: true,
    };
    let known = HashMap::from([(PHONE, mac()), (OTHER, "020000000001".parse().unwrap())]);
    let desk = Desk::new(DeskParts {
        agent: "here".into(),
        adopt: AdoptConfig::default(),
        release: ReleaseConfig::default(),
        expired_certificates: ExpiredCertificates::default(),
        site,
        menu: MenuConfig::default(),
        firmware: FirmwareConfig::default(),
        catalog: Arc::new(Catalog::builtin().unwrap()),
        store: store.clone(),
        interfaces: Interfaces::fixed(Table::of(vec![interface])),
        neighbours: Neighbours::declared(known),
        clock: clock.clone(),
        files: folder.path().join("files"),
        roots: Roots { http: Some(SocketAddr::from(([0_u16; 8], 8480))), ..Roots::default() },
        sightings,
        deeds: sender,
        again: mpsc::channel(1).0,
        alarms: alarms.clone(),
    });
    Bench { desk, store, clock, deeds, alarms, _folder: folder }
}

fn request(peer: IpAddr) -> FileRequest {
    FileRequest {
        path: format!("/{FILE}"),
        user_agent: None,
        peer,
        local: IpAddr::V4(Ipv4Addr::LOCALHOST),
        interface: Some(1),
        channel: Channel::Http,
        certificate: None,
        want: Want::Whole,
        known: None,
    }
}

impl Bench {
    async fn ask(&self) -> Answer {
        self.desk.answer(&request(PHONE)).await
    }

    /// The file that the phone gets.
    async fn file(&self) -> FileBody {
        match self.ask().await {
            Answer::File(body) => body,
            other => panic!("{other:?}"),
        }
    }

    /// The phone has fetched everything and acknowledged it, and its window is over.
    async fn deliver(&mut self) {
        let body = self.file().await;
        self.acknowledge(body).await;
        self.clock.advance(WINDOW);
        self.store.expire().await.unwrap();
    }

    async fn acknowledge(&mut self, body: FileBody) {
        self.desk.delivered(&request(PHONE), body.receipt.unwrap());
        while let Ok(deed) = self.deeds.try_recv() {
            if let Deed::Delivery(delivery) = deed {
                self.store.write_deliveries(std::slice::from_ref(&delivery), &[], &[]).await.unwrap();
            }
        }
    }

    async fn arm(&self) {
        let policies = Policies::with_window(WINDOW);
        self.store.arm(mac(), |_| true, Mode::OnContact, None, &policies, "test").await.unwrap();
    }

    fn releases(&self) -> u32 {
        let grants = self.store.inventory().grants(mac()).unwrap();
        grants.grants.iter().map(|grant| grant.releases).max().unwrap()
    }
}

fn has_password(body: &FileBody) -> bool {
    let text = std::str::from_utf8(&body.bytes).unwrap();
    text.contains(PASSWORD)
}

/// Whether the file has a line for a password at all.
fn names_password(body: &FileBody) -> bool {
    std::str::from_utf8(&body.bytes).unwrap().contains("account.1.password")
}

#[tokio::test]
async fn cases_01_to_03_everything_once_the_same_again_and_then_nothing() {
    let mut bench = bench().await;
    let first = bench.file().await;
    assert!(has_password(&first));
    bench.clock.advance(Duration::from_mins(1));
    let second = bench.file().await;
    assert_eq!((&first.bytes, &first.etag), (&second.bytes, &second.etag));
    bench.acknowledge(second).await;
    bench.clock.advance(WINDOW);
    let later = bench.file().await;
    assert!(!names_password(&later), "absent, not empty");
    assert_ne!(later.etag, first.etag);
}

#[tokio::test]
async fn case_04_who_comes_too_late_is_refused() {
    let bench = bench().await;
    bench.clock.advance(Duration::from_hours(31 * 24));
    assert!(matches!(bench.ask().await, Answer::Forbidden));
    bench.arm().await;
    assert!(has_password(&bench.file().await));
}

#[tokio::test]
async fn cases_11_and_12_somebody_else_gets_what_nobody_has() {
    let bench = bench().await;
    for _ in 0..2 {
        assert!(matches!(bench.desk.answer(&request(OTHER)).await, Answer::NotFound));
    }
    assert_eq!(bench.releases(), 0);
    assert!(has_password(&bench.file().await));
}

#[tokio::test]
async fn cases_20_and_22_asking_about_a_file_releases_nothing() {
    let bench = bench().await;
    let head = FileRequest { want: Want::Head, ..request(PHONE) };
    assert!(matches!(bench.desk.answer(&head).await, Answer::Head(head) if head.etag.is_none()));
    assert_eq!(bench.releases(), 0);
    let tag = bench.file().await.etag;
    let known = FileRequest { known: Some(tag.clone()), ..request(PHONE) };
    assert!(matches!(bench.desk.answer(&known).await, Answer::Known(_)));
    assert_eq!(bench.releases(), 1);
    bench.arm().await;
    let Answer::File(again) = bench.desk.answer(&known).await else { panic!() };
    assert!(has_password(&again) && again.etag != tag, "case 24: armed again is another body");
}

#[tokio::test]
async fn case_23_the_tag_of_the_file_with_passwords_is_not_the_plain_ones() {
    let mut bench = bench().await;
    let tag = bench.file().await.etag;
    bench.deliver().await;
    let known = FileRequest { known: Some(tag), ..request(PHONE) };
    let Answer::File(plain) = bench.desk.answer(&known).await else { panic!() };
    assert!(!names_password(&plain));
}

/// What a failing database may be answered with.
async fn a_failure_is_unavailable() -> Result<(), String> {
    let bench = bench().await;
    bench.store.close().await;
    match bench.ask().await {
        Answer::Unavailable => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn case_29_a_database_that_fails_is_no_reason_to_leave_passwords_out() {
    assert_eq!(a_failure_is_unavailable().await, Ok(()));
}

#[tokio::test]
async fn m08_a_failure_answered_with_a_plain_file_is_noticed() {
    let _without = without(Rule::FailureIsNotPlain);
    println!("{}", a_failure_is_unavailable().await.unwrap_err());
}

#[tokio::test]
async fn case_31_a_phone_whose_windows_are_closed_needs_no_database() {
    let mut bench = bench().await;
    bench.deliver().await;
    bench.store.close().await;
    assert!(!names_password(&bench.file().await));
}

#[tokio::test]
async fn case_45_a_promise_made_before_a_change_gives_the_new_password_or_none() {
    let bench = bench().await;
    let request = request(PHONE);
    let Offer::Due(promise) = bench.desk.offer(&request).await else { panic!() };
    assert_eq!(bench.releases(), 0, "an offer opens nothing");
    bench.store.set_password("101", &Secret::new("geheim-neu")).await.unwrap();
    let Answer::File(body) = bench.desk.open(&request, promise).await else { panic!() };
    let text = std::str::from_utf8(&body.bytes).unwrap();
    assert!(text.contains("geheim-neu") && !text.contains(PASSWORD));
}

#[tokio::test]
async fn case_46_a_lock_stops_what_is_on_its_way() {
    let bench = bench().await;
    let body = bench.file().await;
    let receipt = body.receipt.as_ref().unwrap();
    bench.desk.stop_revoked();
    assert!(receipt.is_secret() && !receipt.revoked().is_cancelled());
    bench.store.lock(mac(), |_| true).await.unwrap();
    bench.desk.stop_revoked();
    assert!(receipt.revoked().is_cancelled());
    assert!(matches!(bench.ask().await, Answer::Forbidden));
}

#[tokio::test]
async fn a_promise_made_before_a_lock_gives_nothing() {
    let bench = bench().await;
    let request = request(PHONE);
    let Offer::Due(promise) = bench.desk.offer(&request).await else { panic!() };
    bench.store.lock(mac(), |_| true).await.unwrap();
    assert!(matches!(bench.desk.open(&request, promise).await, Answer::Forbidden));
}

#[tokio::test]
async fn what_was_never_acknowledged_is_refused_after_its_window() {
    let bench = bench().await;
    drop(bench.file().await);
    bench.clock.advance(WINDOW);
    assert!(matches!(bench.ask().await, Answer::Forbidden));
    bench.store.expire().await.unwrap();
    let grants = bench.store.inventory().grants(mac()).unwrap();
    assert_eq!(grants.get(GrantId::device(SecretKind::Webui)).unwrap().state, State::Locked(Reason::Expired));
}

#[tokio::test]
async fn case_44_a_file_with_an_account_that_goes_elsewhere_is_stopped() {
    let bench = bench().await;
    let body = bench.file().await;
    bench.store.move_account("101", None).await.unwrap();
    bench.desk.stop_revoked();
    assert!(body.receipt.unwrap().revoked().is_cancelled());
}

/// The phone asks by the URL that only its delivered file contains.
async fn ask_by_steady_token(bench: &mut Bench) -> bool {
    let device = bench.store.inventory().device(mac()).unwrap();
    let token = bench.store.reveal(&device, SecretKind::Prov, None).unwrap().unwrap();
    let path = format!("/d/{}/{FILE}", token.expose());
    drop(bench.desk.answer(&FileRequest { path, ..request(PHONE) }).await);
    let mut applied = false;
    while let Ok(deed) = bench.deeds.try_recv() {
        applied |= matches!(deed, Deed::Delivery(delivery) if delivery.evidence == crate::release::Evidence::Applied);
    }
    applied
}

#[tokio::test]
async fn a_token_from_before_an_arming_proves_nothing_about_it() {
    let mut bench = bench().await;
    let body = bench.file().await;
    bench.acknowledge(body).await;
    bench.arm().await;
    assert!(!ask_by_steady_token(&mut bench).await, "nothing of this arming has left");
    assert!(!ask_by_steady_token(&mut bench).await, "it may have broken off; the token is an older one");
    let body = bench.file().await;
    bench.acknowledge(body).await;
    assert!(ask_by_steady_token(&mut bench).await);
}

#[tokio::test]
async fn case_44_a_promise_made_before_a_line_changed_gives_no_file_without_the_new_password() {
    let bench = bench().await;
    let request = request(PHONE);
    let Offer::Due(promise) = bench.desk.offer(&request).await else { panic!() };
    let account = NewAccount { username: "102".to_owned(), ..NewAccount::default() };
    bench.store.add_account(&account, Some(&Secret::new("geheim-102"))).await.unwrap();
    bench.store.move_account("101", None).await.unwrap();
    bench.store.move_account("102", Some((mac(), None))).await.unwrap();
    assert!(matches!(bench.desk.open(&request, promise).await, Answer::Unavailable));
    let text = bench.file().await;
    assert!(std::str::from_utf8(&text.bytes).unwrap().contains("geheim-102"));
}

#[tokio::test]
async fn a_phone_on_our_link_is_itself_whatever_old_token_its_url_holds() {
    let bench = bench().await;
    let path = format!("/d/{}/{FILE}", "0".repeat(32));
    let ask = async |peer| bench.desk.answer(&FileRequest { path: path.clone(), ..request(peer) }).await;
    assert!(matches!(ask(OTHER).await, Answer::NotFound));
    let Answer::File(body) = ask(PHONE).await else { panic!() };
    assert!(has_password(&body));
}

#[tokio::test]
async fn a_phone_gets_the_file_of_its_firmware_from_the_first_time_on() {
    let bench = bench().await;
    let user_agent = Some("Yealink SIP-T28P 2.73.0.50 80:5e:c0:aa:bb:cc".to_owned());
    let asked = FileRequest { user_agent, ..request(PHONE) };
    let Answer::File(first) = bench.desk.answer(&asked).await else { panic!() };
    let text = std::str::from_utf8(&first.bytes).unwrap().to_owned();
    assert!(text.contains("\nsecurity.user_password") && !text.contains("static."), "{text}");
    let at = bench.clock.now();
    let identity = first.receipt.as_ref().unwrap().identity.clone();
    let sighting = Sighting {
        identity,
        addr: PHONE,
        channel: Channel::Http,
        at,
        step: Life::Served,
        outcome: "served".to_owned(),
        detail: serde_json::Value::Null,
    };
    bench.store.record(&[sighting], &[]).await.unwrap();
    let device = bench.store.inventory().device(mac()).unwrap();
    assert_eq!(device.firmware.as_deref(), Some("2.73.0.50"));
    let Answer::File(second) = bench.desk.answer(&asked).await else { panic!() };
    assert_eq!(first.bytes, second.bytes);
}

/// A request inside TLS, from behind a router, with this certificate.
fn certified(mac: &str, expired: bool) -> FileRequest {
    let certificate = Some(PhoneCertificate { mac: mac.parse().unwrap(), expired });
    FileRequest { peer: ROUTED, interface: None, channel: Channel::Https, certificate, ..request(PHONE) }
}

const ROUTED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 7, 0, 9));

#[tokio::test]
async fn case_38_a_certificate_proves_its_phone_from_anywhere() {
    let bench = bench().await;
    let own = certified("805ec0aabbcc", false);
    let plain = FileRequest { certificate: None, ..own.clone() };
    assert!(
        matches!(bench.desk.answer(&plain).await, Answer::NotFound),
        "case 40: by TLS alone nothing is proven"
    );
    let Answer::File(body) = bench.desk.answer(&own).await else { panic!() };
    assert!(has_password(&body));
    // Who has the MAC, and no certificate, is somebody else in this window.
    assert!(matches!(bench.ask().await, Answer::Forbidden));
    // On our link, where the neighbour table says another MAC: a certificate is worth more.
    let wireless = FileRequest { peer: OTHER, interface: Some(1), ..own };
    let Answer::File(again) = bench.desk.answer(&wireless).await else { panic!() };
    assert_eq!(again.bytes, body.bytes);
}

#[tokio::test]
async fn case_39_another_phones_certificate_gets_a_404_and_an_alarm() {
    let bench = bench().await;
    let other = certified("805ec0aabbcd", false);
    assert!(matches!(bench.desk.answer(&other).await, Answer::NotFound));
    let (raised, _) = bench.alarms.take();
    let alarm = &raised[0].alarm;
    assert_eq!((alarm.kind, alarm.mac, alarm.peer), (AlarmKind::Impostor, Some(mac()), Some(ROUTED)));
    assert!(alarm.text.contains("80:5e:c0:aa:bb:cd"), "{}", alarm.text);
    // Not even where the neighbour table, or a token, is on its side.
    let neighbour = FileRequest { peer: PHONE, interface: Some(1), ..other.clone() };
    assert!(matches!(bench.desk.answer(&neighbour).await, Answer::NotFound));
    let device = bench.store.inventory().device(mac()).unwrap();
    let token = bench.store.bootstrap_token(&device).unwrap();
    let by_token = FileRequest { path: format!("/d/{}/{FILE}", token.expose()), ..other };
    assert!(matches!(bench.desk.answer(&by_token).await, Answer::NotFound));
    assert_eq!(bench.releases(), 0);
}

#[tokio::test]
async fn a_certificate_whose_time_is_over_counts_on_our_link() {
    let bench = bench().await;
    let routed = certified("805ec0aabbcc", true);
    assert!(matches!(bench.desk.answer(&routed).await, Answer::NotFound));
    let near = FileRequest { peer: OTHER, interface: Some(1), ..routed };
    assert!(matches!(bench.desk.answer(&near).await, Answer::File(_)));
}

#[tokio::test]
async fn who_came_by_mac_goes_on_by_certificate() {
    let bench = bench().await;
    assert!(has_password(&bench.file().await));
    let Answer::File(body) = bench.desk.answer(&certified("805ec0aabbcc", false)).await else { panic!() };
    assert!(has_password(&body));
    assert!(has_password(&bench.file().await));
    assert_eq!(bench.releases(), 3);
}
