//! The steps of a phone's life, each judged by what is written down of it. Pure.
//!
//! What went well later speaks for what came before it: a phone that fetches its file was led here, however it was, and
//! an unanswered NOTIFY of before is no trouble any more.

use std::time::Duration;

use super::{Case, LifeStep, State};
use crate::alarm::AlarmKind;
use crate::clock::Timestamp;
use crate::config::{AdoptPolicy, distance};
use crate::device::{Approval, Channel, Device, Mac, Step as Sign};
use crate::profile::{FileId, Profile};
use crate::store::AlarmRow;
use crate::timeline::Moment;

/// A phone that was told its URL has begun to fetch within this; some look at it only after their display is up.
const FETCHES_WITHIN: Duration = Duration::from_mins(3);
/// What a phone asks for in vain around a file that it gets is no trouble.
const SAME_BOOT: Duration = Duration::from_mins(15);
/// File names that are offered as what may have been meant.
const NEAREST_MAX: usize = 3;

/// Every step, in the order of a phone's life.
pub(super) fn all(case: &Case<'_>) -> Vec<LifeStep> {
    vec![
        agent(case),
        heard(case),
        admitted(case),
        profile(case),
        account(case),
        led(case),
        came(case),
        served(case),
        passwords(case),
        applied(case),
        registered(case),
    ]
}

fn agent(case: &Case<'_>) -> LifeStep {
    if case.agent_runs {
        return done("agent", "an agent runs here");
    }
    broken("agent", "agent_down", "no agent runs on this data")
        .with_remedy("start it (systemctl start offhook, or offhook run), then offhook doctor")
}

fn heard(case: &Case<'_>) -> LifeStep {
    let Some(last) = case.timeline.last() else {
        let step = broken("heard", "never_heard", format!("{} was never heard here", case.mac));
        return step.with_remedy(format!(
            "is it plugged into this LAN and its VLAN? offhook scan asks every address; offhook doctor checks what this host \
             hears; offhook url {} prints what to type into it",
            case.mac
        ));
    };
    let mut by: Vec<&str> = case.timeline.iter().map(|moment| moment.stage.as_str()).collect();
    by.sort_unstable();
    by.dedup();
    done("heard", format!("by {}", by.join(", "))).at(last.last)
}

fn admitted(case: &Case<'_>) -> LifeStep {
    let mac = case.mac;
    match case.device.map(|device| device.approval) {
        Some(Approval::Approved) => done("admitted", "approved"),
        Some(Approval::Blocked) => broken("admitted", "blocked", "it is blocked, and gets nothing")
            .with_remedy(format!("offhook device approve {mac}, if it shall be served")),
        Some(Approval::Pending) => pending(case),
        None => stranger(case),
    }
}

/// Nobody has approved it: with the policy `auto` it would not wait without a reason.
fn pending(case: &Case<'_>) -> LifeStep {
    let mac = case.mac;
    if case.adopt.policy == AdoptPolicy::Auto {
        if let Some(rival) = case.alarms.iter().find(|alarm| alarm.kind == AlarmKind::Rival.as_str()) {
            return broken("admitted", "rival", rival.text.clone())
                .at(rival.last)
                .with_remedy(format!("{}; or offhook device approve {mac}", rival.remedy));
        }
        if case.pool == 0 {
            return broken("admitted", "no_account_free", "no account of the pool is free for it")
                .with_remedy(format!("offhook account add NAME, then offhook device approve {mac}"));
        }
    }
    waiting("admitted", "pending", "it waits for somebody to approve it")
        .with_remedy(format!("offhook device approve {mac}"))
}

fn stranger(case: &Case<'_>) -> LifeStep {
    let mac = case.mac;
    let approve = format!("offhook device approve {mac}, or bring it with offhook import");
    let adopt = case.adopt;
    if adopt.deny.iter().any(|prefix| prefix.covers(mac)) {
        return broken("admitted", "denied", "it is not in the inventory, and its prefix is on adopt.deny")
            .with_remedy(approve);
    }
    if !adopt.allow.is_empty() && !adopt.allow.iter().any(|prefix| prefix.covers(mac)) {
        return broken(
            "admitted",
            "denied",
            "it is not in the inventory, and its prefix is not on adopt.allow",
        )
        .with_remedy(approve);
    }
    if adopt.policy == AdoptPolicy::Known {
        return broken(
            "admitted",
            "not_in_inventory",
            "it is not in the inventory, and adopt.policy is known",
        )
        .with_remedy(approve);
    }
    let ignored = case.newest(|moment| moment.step == Sign::Ignored && is_ask(moment.stage));
    match ignored {
        Some(ignored) => {
            broken("admitted", "ignored", ignored.text.clone()).at(ignored.last).with_remedy(approve)
        }
        None => waiting(
            "admitted",
            "not_in_inventory",
            "it is not in the inventory, and has not asked for anything",
        )
        .with_remedy(approve),
    }
}

fn profile(case: &Case<'_>) -> LifeStep {
    let Some(profile) = case.profile else {
        if case.timeline.is_empty() {
            return unseen("profile", "what it is shows when it is heard");
        }
        return broken("profile", "no_profile", "no profile knows what it is").with_remedy(
            "offhook profile identify says what its words tell; offhook profile list shows the vendors; set its vendor and \
             model by offhook import",
        );
    };
    let name = profile.display_name();
    match case.device.and_then(|device| device.model.as_deref()) {
        Some(model) => done("profile", format!("{name} {model}")),
        None => done("profile", format!("{name}, model not known")),
    }
}

fn account(case: &Case<'_>) -> LifeStep {
    let Some(device) = case.device.filter(|device| device.approval == Approval::Approved) else {
        return unseen("account", "it gets one when it is approved");
    };
    let mac = case.mac;
    if device.lines.is_empty() {
        return broken("account", "no_account", "it has no SIP account, so it has nothing to register")
            .with_remedy(format!("offhook account move NAME {mac} gives it one"));
    }
    let without = device.lines.iter().find(|line| line.account.password.is_none());
    if let Some(line) = without {
        let name = &line.account.username;
        return broken(
            "account",
            "no_password",
            format!("account {name} on line {} has no password", line.number),
        )
        .with_remedy(format!("offhook account set-password {name}"));
    }
    let names: Vec<&str> = device.lines.iter().map(|line| line.account.username.as_str()).collect();
    done("account", names.join(", "))
}

/// Whether it knows where its files are.
fn led(case: &Case<'_>) -> LifeStep {
    if let Some(asked) = case.newest(|moment| is_file(moment.stage)) {
        let way = case.device.and_then(|device| device.way);
        let way = way.map(|way| format!(", {}", way.as_str())).unwrap_or_default();
        let newer = case.trouble_after(asked.last);
        return newer
            .unwrap_or_else(|| done("led", format!("it asks here by {}{way}", asked.stage.as_str())));
    }
    if let Some(trouble) = case.trouble_after(Timestamp(i64::MIN)) {
        return trouble;
    }
    let told = case.newest(|moment| {
        matches!(
            (moment.stage, moment.step),
            (Channel::Pnp, Sign::Answered)
                | (Channel::Dhcp, Sign::Given)
                | (Channel::Push, Sign::Accepted | Sign::Came)
        )
    });
    if let Some(told) = told {
        return done("led", format!("by {}", told.stage.as_str())).at(told.last);
    }
    if !case.is_admitted() {
        return unseen("led", "it gets its URL when it is approved");
    }
    let (mac, there) = (case.mac, case.timeline.last());
    let Some(there) = there else { return unseen("led", "it was not heard yet") };
    if there.step == Sign::Bare {
        return broken("led", "no_server_by_dhcp", there.text.clone()).at(there.last).with_remedy(format!(
            "offhook dhcp snippet SERVER makes the LAN's DHCP server name this host; or offhook url {mac} prints what to type"
        ));
    }
    broken("led", "not_led", "it is there, and does not know where its files are").at(there.last).with_remedy(format!(
        "restart it, if it can multicast; offhook device resync {mac} tells it, if it is bound here already; offhook dhcp \
         snippet SERVER, or offhook url {mac} prints what to type"
    ))
}

fn came(case: &Case<'_>) -> LifeStep {
    let asked = case.newest(|moment| is_file(moment.stage));
    let told = case.newest(|moment| {
        matches!(
            (moment.stage, moment.step),
            (Channel::Pnp, Sign::Answered) | (Channel::Push, Sign::Accepted)
        )
    });
    let since = asked.map_or(Timestamp(i64::MIN), |asked| asked.last);
    if let Some(told) = told.filter(|told| told.last.0 > after(since, FETCHES_WITHIN)) {
        let text = format!("it was told its URL by {} and asked for nothing since", told.stage.as_str());
        if case.now.0 <= after(told.last, FETCHES_WITHIN) {
            return waiting("came", "just_told", text).at(told.last);
        }
        return broken("came", "never_came", text).at(told.last).with_remedy(
            "can it reach the port of the files on this host (firewall, another VLAN)? offhook doctor fetches from each \
             address; a phone that was told an https URL must trust our authority",
        );
    }
    match asked {
        Some(asked) => done("came", asked.text.clone()).at(asked.last),
        None => unseen("came", "it has not asked for a file yet"),
    }
}

/// Whether it got the file that it asked for last.
fn served(case: &Case<'_>) -> LifeStep {
    let got =
        case.newest(|moment| is_file(moment.stage) && matches!(moment.step, Sign::Served | Sign::Known));
    let since = got.map_or(Timestamp(i64::MIN), |got| got.last);
    let failed = |signs: &[Sign], grace: Duration| {
        case.newest(|moment| is_file(moment.stage) && signs.contains(&moment.step))
            .filter(|moment| moment.last.0 > after(since, grace))
    };
    let now = Duration::ZERO;
    let own = [Sign::Withheld, Sign::Unavailable, Sign::BrokenOff].map(|sign| failed(&[sign], now));
    let by_others = failed(&[Sign::Refused, Sign::UnknownFile, Sign::Ignored, Sign::Pending], SAME_BOOT);
    let newest = own.into_iter().flatten().max_by_key(|moment| moment.last).or(by_others);
    let Some(failed) = newest else {
        return match got {
            Some(got) => done("served", got.text.clone()).at(got.last),
            None => unseen("served", "nothing was sent yet"),
        };
    };
    let text = failed.text.clone();
    let (code, remedy) = match failed.step {
        Sign::Withheld => withheld(case),
        Sign::Refused => ("wrong_phone", wrong_phone(case.mac)),
        Sign::UnknownFile => ("unknown_file", unknown_file(case, &failed.text)),
        Sign::BrokenOff => (
            "broken_off",
            "a firewall, an MTU or a cable that drops large answers? tftp: does another block size pass? offhook doctor"
                .to_owned(),
        ),
        Sign::Unavailable => ("unavailable", "the agent's log says why; offhook doctor checks database and key".to_owned()),
        _ => ("not_served", format!("offhook device approve {}", case.mac)),
    };
    broken("served", code, text).at(failed.last).with_remedy(remedy)
}

/// Why it may not have its file: what an alarm says of it, or how its passwords stand.
fn withheld(case: &Case<'_>) -> (&'static str, String) {
    let telling = [AlarmKind::Clone, AlarmKind::Contention, AlarmKind::Budget, AlarmKind::Impostor];
    for kind in telling {
        if let Some(alarm) = case.alarm(kind) {
            return (kind.as_str(), alarm.remedy.replace("MAC", &case.mac.to_string()));
        }
    }
    let mac = case.mac;
    match case.passwords {
        Some(short) if short.word == "locked" => {
            ("locked", format!("offhook device rearm {mac} lets its passwords leave again"))
        }
        Some(short) if short.alarming => ("window_closed", rearm(mac)),
        _ => {
            ("withheld", format!("offhook device show {mac} tells how each password stands; {}", rearm(mac)))
        }
    }
}

fn wrong_phone(mac: Mac) -> String {
    format!(
        "who asked is not this phone: is it behind a router or a proxy? then give it its own URL (offhook url {mac}); was \
         the file name of another phone typed into it?"
    )
}

/// Which of its files may have been meant.
fn unknown_file(case: &Case<'_>, text: &str) -> String {
    let asked = text.strip_prefix("asked for ").and_then(|rest| rest.split(", which").next());
    let (Some(asked), Some(profile)) = (asked, case.profile) else {
        return "offhook url prints what to type".to_owned();
    };
    let nearest = nearest(asked, profile, case.mac, case.device);
    if nearest.is_empty() {
        return format!("offhook url {} prints what to type", case.mac);
    }
    format!("its files are named like {}; offhook url {} prints what to type", nearest.join(", "), case.mac)
}

fn nearest(asked: &str, profile: &Profile, mac: Mac, device: Option<&Device>) -> Vec<String> {
    let model = device.and_then(|device| device.model.as_deref());
    let name = |(id, _): (FileId, _)| profile.file_name(id, Some(mac), model);
    let mut names: Vec<String> = profile.files_for(model).filter_map(name).collect();
    names.sort_by_cached_key(|name| distance(&asked.to_ascii_lowercase(), &name.to_ascii_lowercase()));
    names.dedup();
    names.truncate(NEAREST_MAX);
    names
}

fn passwords(case: &Case<'_>) -> LifeStep {
    let mac = case.mac;
    if let Some(reset) = case.alarm(AlarmKind::ResetPhone) {
        return broken("passwords", "reset", reset.text.clone()).at(reset.last).with_remedy(rearm(mac));
    }
    let Some(short) = case.passwords else { return unseen("passwords", "it has none that could leave") };
    match short.word {
        "delivered" | "every_time" => done("passwords", "it has them"),
        "locked" => done("passwords", "it has them, and they leave no more: an operator locked them"),
        "open" => done("passwords", "its window is open"),
        "staged" => waiting("passwords", "staged", "they leave with its next request"),
        word if short.alarming => {
            let why = match word {
                "never" => "they were never armed",
                "interrupted" => "this host was started anew while its window was open",
                "restored" => "the database was put back to an earlier state",
                "budget" => "it asked for them too often in one window",
                _ => "its window has ended",
            };
            broken("passwords", "window_closed", format!("it is not known to have its passwords: {why}"))
                .with_remedy(rearm(mac))
        }
        word => done("passwords", word.replace('_', " ")),
    }
}

fn applied(case: &Case<'_>) -> LifeStep {
    if case.applied {
        return done("applied", "it asks by the URL that only its own file holds");
    }
    unseen("applied", "whether it uses its file shows when it asks again by the URL in it")
}

fn registered(case: &Case<'_>) -> LifeStep {
    let accounts = case.device.map(|device| device.lines.len()).unwrap_or_default();
    if accounts == 0 {
        return unseen("registered", "there is no account to register");
    }
    let Some(newest) = case.newest(|moment| moment.stage == Channel::Sip) else {
        return unseen("registered", "not seen from here: the PBX tells");
    };
    let text = newest.text.clone();
    let (code, remedy) = match newest.step {
        Sign::Registered => return done("registered", text).at(newest.last),
        Sign::Rejected => (
            "registrar_refuses",
            format!(
                "do account and password at the PBX agree with those here? offhook device reveal {} --kind sip shows ours",
                case.mac
            ),
        ),
        Sign::Unanswered => (
            "registrar_silent",
            "does the registrar run, and is it the one in sip.registrar or the account's own?".to_owned(),
        ),
        _ => return unseen("registered", text).at(newest.last),
    };
    broken("registered", code, text).at(newest.last).with_remedy(remedy)
}

impl Case<'_> {
    fn newest(&self, is_meant: impl Fn(&Moment) -> bool) -> Option<&Moment> {
        self.timeline.iter().filter(|moment| is_meant(moment)).max_by_key(|moment| moment.last)
    }

    fn alarm(&self, kind: AlarmKind) -> Option<&AlarmRow> {
        self.alarms.iter().find(|alarm| alarm.mac == Some(self.mac) && alarm.kind == kind.as_str())
    }

    fn is_admitted(&self) -> bool {
        self.device.is_some_and(|device| device.approval == Approval::Approved)
    }

    /// The newest trouble of a phone that looks for its files, if nothing better came after it.
    fn trouble_after(&self, since: Timestamp) -> Option<LifeStep> {
        let on_the_way = |moment: &Moment| {
            matches!(moment.stage, Channel::Pnp | Channel::Dhcp | Channel::Push) && moment.step != Sign::Sent
        };
        let newest_of = |stage| self.newest(|moment| moment.stage == stage && on_the_way(moment));
        // Who is told its URL by PnP does not need DHCP for it.
        let by_pnp = newest_of(Channel::Pnp);
        let newest = by_pnp.or_else(|| newest_of(Channel::Dhcp)).or_else(|| newest_of(Channel::Push))?;
        if newest.last.0 <= after(since, FETCHES_WITHIN) && since.0 != i64::MIN {
            return None;
        }
        let mac = self.mac;
        let snippet =
            "offhook dhcp verify asks the LAN's server; offhook dhcp snippet SERVER prints what it shall say";
        let (code, remedy) = match (newest.stage, newest.step) {
            (Channel::Pnp, Sign::Silent) => (
                "notify_unanswered",
                "does a firewall drop what comes from port 5065, or is IGMP snooping in the way? offhook doctor; a phone that \
                 waits for its user may ask on its display"
                    .to_owned(),
            ),
            (Channel::Pnp, Sign::Declined) => (
                "notify_refused",
                format!("it does not take a URL by PnP: offhook url {mac} prints what to type, or use DHCP"),
            ),
            (Channel::Pnp, Sign::Unreachable) => {
                ("no_service", "http.listen and tftp.listen say where files are served; offhook doctor".to_owned())
            }
            (Channel::Pnp, Sign::Ignored) if self.is_admitted() => {
                ("not_answered", format!("offhook device show {mac} tells how it stands; offhook doctor"))
            }
            (Channel::Dhcp, Sign::Misled) => ("misled", snippet.to_owned()),
            (Channel::Dhcp, Sign::Unanswered | Sign::NotTaken | Sign::Nak) => {
                ("no_lease", "does a DHCP server serve this VLAN? offhook dhcp verify asks".to_owned())
            }
            (Channel::Dhcp, Sign::Conflict) => {
                ("address_conflict", "find the other host with its address: offhook scan shows both".to_owned())
            }
            _ => return None,
        };
        Some(broken("led", code, newest.text.clone()).at(newest.last).with_remedy(remedy))
    }
}

fn rearm(mac: Mac) -> String {
    format!("offhook device rearm {mac}, then restart the phone, or offhook device resync {mac}")
}

fn is_file(stage: Channel) -> bool {
    matches!(stage, Channel::Http | Channel::Https | Channel::Tftp)
}

fn is_ask(stage: Channel) -> bool {
    stage == Channel::Pnp || is_file(stage)
}

fn after(at: Timestamp, length: Duration) -> i64 {
    at.0.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
}

fn made(step: &'static str, state: State, text: impl Into<String>) -> LifeStep {
    LifeStep { step, state, code: None, text: text.into(), at: None, remedy: None }
}

fn done(step: &'static str, text: impl Into<String>) -> LifeStep {
    made(step, State::Done, text)
}

fn unseen(step: &'static str, text: impl Into<String>) -> LifeStep {
    made(step, State::Unseen, text)
}

fn waiting(step: &'static str, code: &'static str, text: impl Into<String>) -> LifeStep {
    LifeStep { code: Some(code), ..made(step, State::Waiting, text) }
}

fn broken(step: &'static str, code: &'static str, text: impl Into<String>) -> LifeStep {
    LifeStep { code: Some(code), ..made(step, State::Broken, text) }
}

impl LifeStep {
    fn at(self, at: Timestamp) -> Self {
        Self { at: Some(at), ..self }
    }

    fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
