//! What happened to one simulated phone: step by step as it happens, and as a whole at the end. No value that must not
//! be seen gets in here: passwords and the phone's own URL are told by their presence.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::habits::Habits;
use super::register::Registration;
use super::settings::Account;
use super::spec::PhoneSpec;
use crate::clock::Clock;
use crate::device::{Mac, Transport, Vendor};

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Since the phone started; seconds in JSON.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// What.
    pub kind: StepKind,
    /// In words.
    pub text: String,
}

/// What a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// The phone starts.
    Start,
    /// A SUBSCRIBE leaves, for the first time or again.
    Subscribe,
    /// Somebody answered the SUBSCRIBE.
    Answer,
    /// A NOTIFY came.
    Notify,
    /// A file was asked for.
    Fetch,
    /// What the configuration says.
    Settings,
    /// What the phone remembers from before, and what became of it.
    Memory,
    /// An account was registered, or not.
    Register,
    /// The phone looks at its configuration again.
    Again,
    /// Somebody comes to the phone that stays up, or it waits for somebody.
    Visit,
    /// Something a real phone tolerates, and the other side should mend.
    Remark,
    /// The phone's way ends here.
    Failed,
    /// It came up.
    Up,
}

impl StepKind {
    /// The step's name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Subscribe => "subscribe",
            Self::Answer => "answer",
            Self::Notify => "notify",
            Self::Fetch => "fetch",
            Self::Settings => "settings",
            Self::Memory => "memory",
            Self::Register => "register",
            Self::Again => "again",
            Self::Visit => "visit",
            Self::Remark => "remark",
            Self::Failed => "failed",
            Self::Up => "up",
        }
    }
}

/// The first step that broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Which.
    pub step: StepKind,
    /// Why.
    pub reason: String,
}

impl Failure {
    pub(super) fn new(step: StepKind, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into() }
    }
}

/// One file that the phone asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name, without folders and query.
    pub name: String,
    /// `http` or `tftp`.
    pub channel: &'static str,
    /// The HTTP status. By TFTP: 200 for a file, 404 for ERROR 1, 403 for ERROR 2, 500 for another ERROR. 0 when there was
    /// no answer that could be read.
    pub status: u16,
    /// The answer in words, where there is more to say than the status.
    pub detail: String,
    /// Length of the body.
    pub bytes: usize,
    /// Its SHA-256, hexadecimal.
    pub sha256: Option<String>,
}

/// One account that the configuration holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountReport {
    /// The line's number, from 1.
    pub line: u16,
    /// `host` or `host:port`.
    pub registrar: String,
    /// How SIP travels.
    pub transport: Transport,
    /// The user part of its address.
    pub username: String,
    /// The name in the digest.
    pub auth_id: String,
    /// The name that the other side is shown.
    pub display_name: Option<String>,
    /// What stands on the phone's own display.
    pub label: Option<String>,
    /// Whether the phone has its password.
    pub has_password: bool,
    /// Whether it has it from earlier: the files of its last look did not name it.
    pub password_kept: bool,
    /// What became of its REGISTER; none where the phone was not asked to.
    pub registration: Option<Registration>,
}

impl AccountReport {
    pub(super) fn new(account: &Account) -> Self {
        Self {
            line: account.line,
            registrar: account.registrar(),
            transport: account.transport,
            username: account.username.clone(),
            auth_id: account.auth_id.clone(),
            display_name: account.display_name.clone(),
            label: account.label.clone(),
            has_password: account.password.is_some(),
            password_kept: account.password_kept,
            registration: None,
        }
    }
}

/// A phone's whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its vendor.
    pub vendor: Vendor,
    /// Its model.
    pub model: String,
    /// Its address on the wire.
    pub mac: Mac,
    /// Its firmware.
    pub firmware: String,
    /// Its IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Which of its lives this is: 1 out of the box, or after a factory reset.
    pub life: u32,
    /// Whether its SUBSCRIBE got a success.
    pub subscribed: bool,
    /// The URL of the NOTIFY, as it came.
    pub url: Option<String>,
    /// Every file it asked for, in order.
    pub files: Vec<FileReport>,
    /// How many settings it knows.
    pub settings: usize,
    /// Parameters that it knew before its last look, and that no file of that look named.
    pub absent: Vec<String>,
    /// Those of them that it still has.
    pub kept: Vec<String>,
    /// Those of them that it has no more.
    pub lost: Vec<String>,
    /// Passwords of its accounts that it neither got nor had: somebody must let them leave once more.
    pub missing: Vec<String>,
    /// The accounts of its configuration as it was last read.
    pub accounts: Vec<AccountReport>,
    /// Whether it has a password for its web page.
    pub web_password: bool,
    /// Whether it has a credential for its menu.
    pub menu_password: bool,
    /// Whether it has a URL of its own for later looks.
    pub own_url: bool,
    /// How many function keys it got.
    pub keys: usize,
    /// The language of its display, in the vendor's words.
    pub language: Option<String>,
    /// Whether every account is registered.
    pub registered: bool,
    /// What a real phone tolerates, and the other side should mend.
    pub remarks: Vec<String>,
    /// The step that broke; none: it came up as far as asked.
    pub failure: Option<Failure>,
    /// From start to end; seconds in JSON.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
}

impl Report {
    pub(super) fn new(spec: &PhoneSpec, habits: &Habits) -> Self {
        Self {
            vendor: spec.vendor().clone(),
            model: spec.model.clone(),
            mac: spec.mac,
            firmware: habits.firmware.clone(),
            address: spec.address,
            life: 1,
            subscribed: false,
            url: None,
            files: Vec::new(),
            settings: 0,
            absent: Vec::new(),
            kept: Vec::new(),
            lost: Vec::new(),
            missing: Vec::new(),
            accounts: Vec::new(),
            web_password: false,
            menu_password: false,
            own_url: false,
            keys: 0,
            language: None,
            registered: false,
            remarks: Vec::new(),
            failure: None,
            took: Duration::ZERO,
        }
    }

    /// Whether it came up as far as asked.
    pub fn is_up(&self) -> bool {
        self.failure.is_none()
    }

    /// The file of this name as it was last asked for.
    pub fn file(&self, name: &str) -> Option<&FileReport> {
        self.files.iter().rev().find(|file| file.name == name)
    }
}

/// Writes steps down and tells them.
pub(super) struct Diary<'a> {
    pub(super) report: Report,
    clock: Clock,
    start: Instant,
    tell: &'a mut (dyn FnMut(Step) + Send),
}

impl<'a> Diary<'a> {
    pub(super) fn new(clock: Clock, report: Report, tell: &'a mut (dyn FnMut(Step) + Send)) -> Self {
        let start = clock.instant();
        Self { report, clock, start, tell }
    }

    pub(super) fn note(&mut self, kind: StepKind, text: impl Into<String>) {
        let at = self.elapsed();
        (self.tell)(Step { at, kind, text: text.into() });
    }

    /// Something the phone tolerates; the same one is told once.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.report.remarks.contains(&text) {
            self.note(StepKind::Remark, text.clone());
            self.report.remarks.push(text);
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.note(StepKind::Failed, format!("{}: {}", failure.step.as_str(), failure.reason));
        self.report.failure = Some(failure);
    }

    pub(super) fn finish(mut self) -> Report {
        if self.report.is_up() {
            let text = if self.report.registered { "up, and registered" } else { "up" };
            self.note(StepKind::Up, text);
        }
        self.report.took = self.elapsed();
        self.report
    }

    /// The monotonic clock.
    pub(super) fn now(&self) -> Instant {
        self.clock.instant()
    }

    fn elapsed(&self) -> Duration {
        self.clock.instant().saturating_duration_since(self.start)
    }
}

/// Seconds with three decimals.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}
