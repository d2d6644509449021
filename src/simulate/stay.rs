//! A phone that stays up after its life: it answers SIP and shows its web page until it is told to stop. What comes there
//! sends it back to its configuration, for real: a resync while everything stays up, a reboot with nothing up meanwhile.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::ears::Ears;
use super::read::Contents;
use super::report::{Failure, Report, Step, StepKind};
use super::settings::{Account, Settings};
use super::url::{host_and_port, resolve};
use super::web::{Site, Web};
use super::{Memory, Phone, Target, Way, meaning, own_address};
use crate::clock::Clock;
use crate::secret::Secret;

/// Further calls while the phone is busy; one look serves them all.
const CALLS_MAX: usize = 16;

/// How a phone behaves that stays up.
#[derive(Debug, Clone)]
pub struct Stay {
    /// The port that it answers SIP on; 0: any free one.
    pub sip_port: u16,
    /// What it does on a NOTIFY.
    pub notify: Notified,
    /// Its web page, if it shows one.
    pub web: Option<Web>,
}

impl Default for Stay {
    fn default() -> Self {
        Self { sip_port: 5060, notify: Notified::AsSold, web: None }
    }
}

/// What a phone does on a NOTIFY of an Event that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Notified {
    /// As its vendor sells it.
    #[default]
    AsSold,
    /// Does as it is told, by whomever.
    Accept,
    /// Asks for the password of one of its accounts, by digest.
    Challenge,
    /// Hears nobody but its registrars.
    Registrar,
    /// Says 403.
    Refuse,
    /// Says nothing.
    Silent,
}

/// What somebody made the phone do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// Look at its configuration again.
    Resync,
    /// Start again.
    Reboot,
    /// Look at this URL.
    Url(String),
    /// Know these settings.
    Set(Vec<(String, Secret)>),
    /// Read this as a file that was fetched.
    File(Vec<u8>),
}

/// What the phone's ears and page know of what its last look taught it.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Lessons>);

#[derive(Debug, Default)]
pub(super) struct Lessons {
    pub(super) accounts: Vec<Account>,
    pub(super) registrars: Vec<IpAddr>,
    /// The password of the web page that a configuration gave.
    pub(super) web_password: Option<Secret>,
    settings: Settings,
}

impl Lessons {
    /// The value of a setting that holds a password, unless it is empty.
    pub(super) fn password_at(&self, setting: &str) -> Option<Secret> {
        self.settings.secret(setting).filter(|value| !value.is_empty()).cloned()
    }
}

impl Known {
    pub(super) fn lessons(&self) -> MutexGuard<'_, Lessons> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where steps are told from several sides at once.
pub(super) struct Log<'a> {
    tell: Mutex<&'a mut (dyn FnMut(Step) + Send)>,
    clock: Clock,
    start: Instant,
}

impl<'a> Log<'a> {
    fn new(clock: Clock, tell: &'a mut (dyn FnMut(Step) + Send)) -> Self {
        let start = clock.instant();
        Self { tell: Mutex::new(tell), clock, start }
    }

    pub(super) fn note(&self, kind: StepKind, text: impl Into<String>) {
        let at = self.clock.instant().saturating_duration_since(self.start);
        let mut tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        tell(Step { at, kind, text: text.into() });
    }
}

impl Phone {
    /// Lives, and stays up until `until` is over; the report is that of its last look. A phone that asks
    /// [`Target::Nobody`] and knows no URL waits for its first one.
    pub async fn stay(
        &self,
        stay: &Stay,
        memory: &mut Memory,
        mut on_step: impl FnMut(Step) + Send,
        until: impl Future<Output = ()> + Send,
    ) -> Result<Report, Failure> {
        let log = Log::new(self.spec.clock.clone(), &mut on_step);
        let mut last = Report { life: memory.lives(), ..Report::new(&self.spec, &self.habits) };
        tokio::select! {
            ended = Box::pin(self.stay_up(stay.clone(), memory, &log, &mut last)) => match ended? {},
            () = until => {}
        }
        log.note(StepKind::Visit, "switched off");
        Ok(last)
    }

    async fn stay_up(
        &self,
        mut stay: Stay,
        memory: &mut Memory,
        log: &Log<'_>,
        last: &mut Report,
    ) -> Result<Infallible, Failure> {
        let address = match self.spec.address {
            Some(address) => address,
            None => own_address(&self.spec.against).await?,
        };
        let known = Known::default();
        let mut way = Way::Boot;
        loop {
            let waits = self.spec.against == Target::Nobody && self.own_url(&memory.settings).is_none();
            if !waits {
                *last = self.look_by(way, memory, log).await;
            }
            self.learn(&stay, &known, &memory.settings).await;
            let (calls, mut called) = mpsc::channel(CALLS_MAX);
            let ears = Ears::open(self, &stay, address, &known, log, calls.clone())?;
            let shown = stay.web.clone();
            let site = match &shown {
                Some(web) => Some(Site::open(self, web, address, &known, log, calls)?),
                None => None,
            };
            // After a reboot the phone is found where it was.
            stay.sip_port = ears.local().port();
            let mut page = String::new();
            if let (Some(site), Some(web)) = (&site, &mut stay.web) {
                web.port = site.local().port();
                page = format!(", web page at http://{}/", site.local());
            }
            log.note(StepKind::Visit, format!("stays up, SIP at {}{page}", ears.local()));
            let serve = async {
                match &site {
                    Some(site) => site.serve().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                never = ears.listen() => match never {},
                never = serve => match never {},
                () = self.act(&mut called, &stay, memory, &known, log, last) => {}
            }
            log.note(StepKind::Again, "reboots");
            way = Way::Reboot;
        }
    }

    /// Does what somebody makes the phone do, until that is a reboot.
    async fn act(
        &self,
        called: &mut mpsc::Receiver<Call>,
        stay: &Stay,
        memory: &mut Memory,
        known: &Known,
        log: &Log<'_>,
        last: &mut Report,
    ) {
        while let Some(call) = called.recv().await {
            let way = match call {
                Call::Reboot => return,
                Call::Resync => match last.url.clone().filter(|_| self.own_url(&memory.settings).is_none()) {
                    Some(url) => Way::By(url),
                    None => Way::Again,
                },
                Call::Url(url) => Way::By(url),
                Call::Set(values) => {
                    for (name, value) in &values {
                        memory.settings.set(name, value.expose());
                    }
                    self.learn(stay, known, &memory.settings).await;
                    continue;
                }
                Call::File(body) => {
                    log.note(StepKind::Settings, self.take(&body, &mut memory.settings));
                    self.learn(stay, known, &memory.settings).await;
                    continue;
                }
            };
            *last = self.look_by(way, memory, log).await;
            self.learn(stay, known, &memory.settings).await;
        }
    }

    /// Reads a file that came through the web page; says what became of it.
    fn take(&self, body: &[u8], settings: &mut Settings) -> String {
        let Some(reading) = &self.habits.sheet.read else { return "it reads no files".to_owned() };
        match Contents::read(body, reading) {
            Ok(contents) => {
                contents.apply(reading, settings);
                "takes in the file that was uploaded".to_owned()
            }
            Err(reason) => format!("ignores the file that was uploaded: {reason}"),
        }
    }

    async fn look_by(&self, way: Way, memory: &mut Memory, log: &Log<'_>) -> Report {
        self.live_by(way, memory, |step| log.note(step.kind, step.text)).await
    }

    async fn learn(&self, stay: &Stay, known: &Known, settings: &Settings) {
        let accounts = meaning::accounts(&self.habits.sheet, settings);
        let mut registrars = Vec::new();
        for account in accounts.iter().filter(|_| stay.notify == Notified::Registrar) {
            let proxy = account.proxy.iter().map(|(host, port)| (host.clone(), *port));
            for (host, port) in proxy.chain(host_and_port(&account.host, account.port.unwrap_or(5060))) {
                registrars.extend(resolve(&host, port).await.map(|found| IpAddr::from(*found.ip())));
            }
        }
        let mut passwords = self.habits.sheet.webui.iter().filter_map(|name| settings.secret(name));
        let web_password = passwords.find(|value| !value.is_empty()).cloned();
        *known.lessons() = Lessons { accounts, registrars, web_password, settings: settings.clone() };
    }
}
