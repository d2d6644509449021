//! Each trouble of a phone, told by what is written of it, and the words that name it.

use std::sync::LazyLock;

use super::steps::all;
use super::*;
use crate::alarm::AlarmKind;
use crate::config::AdoptPolicy;
use crate::device::{Approval, Channel, Step as Sign};
use crate::secret::Sealed;

const NOW: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::builtin().unwrap());

/// A phone, and what happened to it: minutes ago, by which service, what, in which words.
struct Told {
    device: Option<Device>,
    timeline: Vec<Moment>,
    alarms: Vec<AlarmRow>,
    passwords: Option<Short>,
    adopt: AdoptConfig,
    pool: usize,
}

fn mac() -> Mac {
    "001565010203".parse().unwrap()
}

impl Told {
    fn new() -> Self {
        Self {
            device: None,
            timeline: Vec::new(),
            alarms: Vec::new(),
            passwords: None,
            adopt: AdoptConfig::default(),
            pool: 3,
        }
    }

    /// In the inventory, with an account.
    fn phone(approval: Approval) -> Self {
        let mut told = Self::new();
        let profile = CATALOG.get(&Vendor::new("yealink")).unwrap();
        let mut device = profile.sample_device(mac(), Some("T46U"));
        device.approval = approval;
        for line in &mut device.lines {
            line.account.password = Some(Sealed("sealed".to_owned()));
        }
        told.device = Some(device);
        told.passwords = Some(Short { word: "delivered", closes_in_s: None, alarming: false });
        told
    }

    fn had(mut self, ago: i64, stage: Channel, step: Sign, text: &str) -> Self {
        let at = Timestamp(NOW - ago * MINUTE);
        let (data, agent) = (serde_json::Value::Null, String::new());
        let moment = Moment {
            mac: mac(),
            stage,
            step,
            text: text.to_owned(),
            data,
            agent,
            first: at,
            last: at,
            count: 1,
        };
        self.timeline.push(moment);
        self.timeline.sort_by_key(|moment| moment.last);
        self
    }

    fn alarm(mut self, kind: AlarmKind, text: &str) -> Self {
        let mac = (kind != AlarmKind::Rival).then(mac);
        let (first, last) = (Timestamp(NOW), Timestamp(NOW));
        self.alarms.push(AlarmRow {
            id: 7,
            kind: kind.as_str().to_owned(),
            mac,
            peer: None,
            text: text.to_owned(),
            first,
            last,
            seen: 1,
            done: None,
            remedy: kind.remedy(),
        });
        self
    }

    fn word(mut self, word: &'static str, alarming: bool) -> Self {
        self.passwords = Some(Short { word, closes_in_s: None, alarming });
        self
    }

    fn steps(&self) -> Vec<LifeStep> {
        all(&Case {
            mac: mac(),
            device: self.device.as_ref(),
            profile: CATALOG
                .get(&Vendor::new("yealink"))
                .map(Arc::as_ref)
                .filter(|_| !self.timeline.is_empty()),
            timeline: &self.timeline,
            passwords: self.passwords,
            applied: false,
            alarms: &self.alarms,
            adopt: &self.adopt,
            pool: self.pool,
            agent_runs: true,
            now: Timestamp(NOW),
        })
    }

    fn why(&self) -> Why {
        Why::of(mac(), self.steps())
    }

    /// Which step, what is wrong, and words of the sentence and of the remedy.
    #[track_caller]
    fn is(&self, step: &str, code: &str, words: &[&str]) {
        let why = self.why();
        assert_eq!((why.step, why.code), (Some(step), Some(code)), "{}", why.text());
        let said = format!("{} {}", why.text, why.remedy.as_deref().unwrap_or_default());
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[track_caller]
    fn is_up(&self) {
        let why = self.why();
        assert_eq!((why.verdict, why.step), ("up", None), "{}", why.text());
    }
}

#[test]
fn a_phone_that_nobody_serves_is_told_by_whom_it_is_refused() {
    Told::new().is(
        "heard",
        "never_heard",
        &["offhook scan", "offhook doctor", "offhook url 00:15:65:01:02:03"],
    );
    Told::phone(Approval::Approved).is("heard", "never_heard", &["VLAN"]);
    let asked = |told: Told| told.had(1, Channel::Pnp, Sign::Pending, "pending");
    asked(Told::phone(Approval::Pending)).is(
        "admitted",
        "pending",
        &["offhook device approve 00:15:65:01:02:03"],
    );
    asked(Told::phone(Approval::Blocked)).is("admitted", "blocked", &["offhook device approve"]);
    let mut known = asked(Told::new());
    known.adopt.policy = AdoptPolicy::Known;
    known.is("admitted", "not_in_inventory", &["adopt.policy is known", "offhook import"]);
    let mut denied = asked(Told::new());
    denied.adopt.deny = vec![serde_json::from_value("001565".into()).unwrap()];
    denied.is("admitted", "denied", &["adopt.deny"]);
    let mut missing = asked(Told::new());
    missing.adopt.allow = vec![serde_json::from_value("805ec0".into()).unwrap()];
    missing.is("admitted", "denied", &["adopt.allow"]);
    let mut auto =
        asked(Told::phone(Approval::Pending)).alarm(AlarmKind::Rival, "192.168.1.9 answers phones");
    auto.adopt.policy = AdoptPolicy::Auto;
    auto.is("admitted", "rival", &["192.168.1.9 answers", "offhook device approve"]);
    auto.alarms.clear();
    auto.pool = 0;
    auto.is("admitted", "no_account_free", &["offhook account add"]);
}

#[test]
fn a_phone_without_an_account_has_nothing_to_register() {
    let mut told =
        Told::phone(Approval::Approved).had(1, Channel::Http, Sign::Served, "served 001565010203.cfg");
    told.is_up();
    if let Some(line) = told.device.as_mut().and_then(|device| device.lines.first_mut()) {
        line.account.password = None;
    }
    told.is("account", "no_password", &["has no password", "offhook account set-password"]);
    if let Some(device) = told.device.as_mut() {
        device.lines.clear();
    }
    told.is("account", "no_account", &["offhook account move"]);
}

#[test]
fn who_does_not_find_its_files_was_led_elsewhere_or_told_in_vain() {
    let phone = || Told::phone(Approval::Approved);
    let pnp = |step, text| phone().had(5, Channel::Pnp, step, text);
    pnp(Sign::Silent, "did not answer the NOTIFY").is("led", "notify_unanswered", &["5065", "IGMP"]);
    pnp(Sign::Declined, "refused its URL with 489").is("led", "notify_refused", &["489", "offhook url"]);
    pnp(Sign::Unreachable, "no service for files listens on 10.0.0.1").is(
        "led",
        "no_service",
        &["http.listen"],
    );
    pnp(Sign::Ignored, "its model takes no URL by PnP").is("led", "not_answered", &["by PnP"]);
    pnp(Sign::Answered, "answered").is("came", "never_came", &["told its URL by pnp", "firewall"]);
    phone().had(1, Channel::Pnp, Sign::Answered, "answered").is("came", "just_told", &["told its URL"]);
    let dhcp = |step, text| phone().had(5, Channel::Dhcp, step, text);
    dhcp(Sign::Misled, "option 66 names 10.0.0.9, which is another server").is(
        "led",
        "misled",
        &["10.0.0.9", "dhcp snippet"],
    );
    dhcp(Sign::Unanswered, "no answer was heard").is("led", "no_lease", &["dhcp verify"]);
    dhcp(Sign::Bare, "option 66 is missing").is("led", "no_server_by_dhcp", &["option 66", "dhcp snippet"]);
    phone().had(5, Channel::Scan, Sign::Found, "found").is(
        "led",
        "not_led",
        &["does not know where its files are"],
    );
    // Who is told by PnP needs no option, and what went well later speaks for what came before.
    dhcp(Sign::Bare, "option 66 is missing").had(1, Channel::Pnp, Sign::Answered, "answered").is(
        "came",
        "just_told",
        &[],
    );
    pnp(Sign::Silent, "did not answer the NOTIFY")
        .had(4, Channel::Http, Sign::Served, "served a.cfg")
        .is_up();
    // A later boot that is led elsewhere is news.
    dhcp(Sign::Misled, "option 66 names 10.0.0.9").had(600, Channel::Http, Sign::Served, "served a.cfg").is(
        "led",
        "misled",
        &[],
    );
}

#[test]
fn a_file_that_did_not_leave_says_why() {
    let file = |step, text| Told::phone(Approval::Approved).had(1, Channel::Http, step, text);
    let served = |told: Told, ago| told.had(ago, Channel::Http, Sign::Served, "served 001565010203.cfg");
    let unknown = || file(Sign::UnknownFile, "asked for 001565010203.cgf, which no profile knows");
    unknown().is("served", "unknown_file", &["named like 001565010203.cfg", "offhook url"]);
    served(unknown(), 2).is_up();
    served(unknown(), 60).is("served", "unknown_file", &[]);
    file(Sign::Refused, "805ec0aabbcc asked for it").is("served", "wrong_phone", &["behind a router"]);
    served(file(Sign::Refused, "805ec0aabbcc asked for it"), 3).is_up();
    file(Sign::BrokenOff, "did not take all of it").is("served", "broken_off", &["MTU"]);
    served(file(Sign::BrokenOff, "did not take all of it"), 0).is_up();
    file(Sign::Unavailable, "is not available: the database is locked").is(
        "served",
        "unavailable",
        &["database"],
    );
    let withheld = || file(Sign::Withheld, "a.cfg withheld: its window is closed");
    let rearm = "offhook device rearm 00:15:65:01:02:03";
    withheld().word("expired", true).is("served", "window_closed", &["withheld", rearm]);
    withheld().word("locked", false).is("served", "locked", &[rearm]);
    withheld().alarm(AlarmKind::Clone, "not alone").is("served", "clone", &["switch ports"]);
    served(withheld(), 3).is("served", "withheld", &[rearm]);
}

#[test]
fn passwords_that_it_does_not_have_are_told_even_where_nothing_was_refused() {
    let served = || Told::phone(Approval::Approved).had(1, Channel::Http, Sign::Served, "served y.cfg");
    served().word("expired", true).is("passwords", "window_closed", &["its window has ended", "rearm"]);
    served().word("interrupted", true).is("passwords", "window_closed", &["started anew"]);
    served().word("staged", false).is("passwords", "staged", &["next request"]);
    served().alarm(AlarmKind::ResetPhone, "asks as if it had been reset").is(
        "passwords",
        "reset",
        &["rearm"],
    );
    served().word("open", false).is_up();
}

#[test]
fn a_person_reads_every_step_and_what_to_do() {
    let told =
        Told::phone(Approval::Approved).had(5, Channel::Pnp, Sign::Silent, "did not answer the NOTIFY");
    let text = told.why().text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "00:15:65:01:02:03");
    let led = lines.iter().find(|line| line.starts_with("BROKEN")).unwrap();
    assert!(led.contains("led") && led.ends_with("did not answer the NOTIFY"), "{led}");
    assert!(text.contains("\nbroken: did not answer the NOTIFY\nwhat to do: "), "{text}");
    assert_eq!(told.steps().len(), 11);
}
