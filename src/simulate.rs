//! Phones for people and tests: a phone as it behaves on the wire, from its SUBSCRIBE to its REGISTER. How a vendor's
//! phones call themselves, what they fetch and how they read it is data of its profile (`[simulate]`); nothing here knows
//! a vendor. Shares no parser, decision or transfer code with the servers, so that it can fail a broken one. [`registrar`] is a toy for demonstrations and tests, never part of the agent.

mod configure;
mod digest;
mod discovery;
mod ears;
mod fetch;
mod habits;
mod http;
mod meaning;
mod memory;
mod names;
mod notify;
mod read;
mod register;
pub mod registrar;
mod report;
mod settings;
mod sip;
mod spec;
mod stay;
mod subscribe;
mod tftp;
mod url;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod visits;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use memory::{Keep, KeepError, Memory};
pub use register::Registration;
pub use report::{AccountReport, Failure, FileReport, Report, Step, StepKind};
pub use spec::{
    Patience, PhoneSpec, RegisterAt, Target, Transfer, asks_by_multicast, random_mac, usual_model,
};
pub use stay::{Notified, Stay};

use discovery::Discovery;
use fetch::Fetcher;
use habits::Habits;
use report::Diary;
use settings::{Absent, Settings};
use url::Url;

/// Names of parameters in one line for people; a report has them all.
const NAMES_TOLD_MAX: usize = 12;

/// What sends a phone to its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// It is plugged in.
    Boot,
    /// It starts again: one that was started by a URL goes by its own now.
    Reboot,
    /// It looks again while it is up.
    Again,
    /// The same, by this URL.
    By(String),
}

/// One phone, about to be plugged in.
#[derive(Debug, Clone)]
pub struct Phone {
    spec: PhoneSpec,
    habits: Habits,
}

impl Phone {
    /// A phone of this make; what is particular to its model comes from the vendor's profile.
    pub fn new(spec: PhoneSpec) -> Self {
        let habits = Habits::of(&spec);
        Self { spec, habits }
    }

    /// What it is, for a person: `snom D785`.
    pub fn name(&self) -> String {
        format!("{} {}", self.spec.vendor(), self.spec.model)
    }

    /// The firmware it claims to run.
    pub fn firmware(&self) -> &str {
        &self.habits.firmware
    }

    /// Lives the phone's life once, out of the box: asks for its URL, fetches, reads, registers. Each step is told as it
    /// happens; the report holds them all together and says which one failed, if one did.
    pub async fn run(&self, on_step: impl FnMut(Step) + Send) -> Report {
        self.live_on(&mut Memory::default(), on_step).await
    }

    /// Lives another life with what the phone remembers, and remembers what it learns.
    pub async fn live_on(&self, memory: &mut Memory, on_step: impl FnMut(Step) + Send) -> Report {
        self.live_by(Way::Boot, memory, on_step).await
    }

    async fn live_by(&self, way: Way, memory: &mut Memory, mut on_step: impl FnMut(Step) + Send) -> Report {
        if matches!(way, Way::Boot | Way::Reboot) {
            memory.lives = memory.lives.saturating_add(1);
        }
        let report = Report { life: memory.lives, ..Report::new(&self.spec, &self.habits) };
        let mut diary = Diary::new(self.spec.clock.clone(), report, &mut on_step);
        if let Err(failure) = self.live(way, memory, &mut diary).await {
            diary.fail(failure);
        }
        diary.finish()
    }

    async fn live(&self, way: Way, memory: &mut Memory, diary: &mut Diary<'_>) -> Result<(), Failure> {
        let address = match self.spec.address {
            Some(address) => address,
            None => own_address(&self.spec.against).await?,
        };
        diary.report.address = Some(address);
        let own = self.own_url(&memory.settings);
        let text = match (way, &self.spec.against, &own) {
            (Way::By(url), ..) => Some(url),
            (Way::Again, _, Some(own)) | (Way::Reboot, Target::Nobody | Target::Url(_), Some(own)) => {
                Some(own.expose().to_owned())
            }
            (Way::Again, Target::Url(text), None) => Some(text.clone()),
            (Way::Again, _, None) => return Err(Failure::new(StepKind::Again, "it knows no URL")),
            (Way::Boot | Way::Reboot, ..) => None,
        };
        if let Some(text) = text {
            diary.note(StepKind::Again, "looks at its configuration");
            return self.provision(&text, address, memory, diary).await;
        }
        diary.note(
            StepKind::Start,
            format!("{} {}, firmware {}, at {address}", self.name(), self.spec.mac, self.firmware()),
        );
        if memory.lives > 1 {
            let known = memory.settings.len();
            diary.note(
                StepKind::Memory,
                format!("life {}: it knows {known} settings from before", memory.lives),
            );
        }
        match &self.spec.against {
            Target::Url(text) => self.provision(text, address, memory, diary).await,
            Target::Multicast { group, port } => {
                self.ask(SocketAddr::from((*group, *port)), address, memory, diary).await
            }
            Target::Server(server) => self.ask(*server, address, memory, diary).await,
            Target::Nobody => match own {
                Some(own) => self.provision(own.expose(), address, memory, diary).await,
                None => Err(Failure::new(StepKind::Start, "it knows no URL, and asks nobody")),
            },
        }
    }

    /// Multicast plug and play, then the rest of the life while the phone keeps answering repeated NOTIFYs. A phone that
    /// nobody answers goes by the URL it has.
    async fn ask(
        &self,
        to: SocketAddr,
        address: Ipv4Addr,
        memory: &mut Memory,
        diary: &mut Diary<'_>,
    ) -> Result<(), Failure> {
        let mut discovery = Discovery::open(&self.spec, &self.habits, address, to)?;
        let url = match discovery.url(diary).await {
            Ok(url) => url,
            Err(failure) => {
                let own = self.own_url(&memory.settings).ok_or(failure)?;
                diary.note(StepKind::Again, "nobody gives it a URL: it looks at its own, which it kept");
                return self.provision(own.expose(), address, memory, diary).await;
            }
        };
        tokio::select! {
            end = self.provision(&url, address, memory, diary) => end,
            never = discovery.keep_answering() => match never {},
        }
    }

    /// From a URL to a registered phone, and once more through its own URL where that was asked for.
    async fn provision(
        &self,
        text: &str,
        address: Ipv4Addr,
        memory: &mut Memory,
        diary: &mut Diary<'_>,
    ) -> Result<(), Failure> {
        let settings = &mut memory.settings;
        let url = self.read_url(text)?;
        self.look(&url, address, settings, diary).await?;
        if self.spec.again {
            let own = self.own_url(settings);
            let url = own.as_ref().map_or(Ok(url), |own| self.read_url(own.expose()))?;
            let way = if own.is_some() {
                "its own URL"
            } else {
                "the first URL; the configuration gave it no other"
            };
            diary.note(StepKind::Again, format!("looks at its configuration again, by {way}"));
            self.look(&url, address, settings, diary).await?;
        }
        Ok(())
    }

    /// One look at the configuration, and a REGISTER for each account. A phone that gets no configuration registers with
    /// what it knows; that it got none is its failure all the same.
    async fn look(
        &self,
        url: &Url,
        address: Ipv4Addr,
        settings: &mut Settings,
        diary: &mut Diary<'_>,
    ) -> Result<(), Failure> {
        match self.configure(url, address, settings, diary).await {
            Ok(()) => self.register_all(settings, address, diary).await,
            Err(failure) if failure.step == StepKind::Fetch && settings.len() > 0 => {
                diary.note(StepKind::Memory, format!("{}: it goes on with what it knows", failure.reason));
                self.account_for(settings, diary)?;
                self.register_all(settings, address, diary).await?;
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    fn read_url(&self, text: &str) -> Result<Url, Failure> {
        let expanded = self.habits.expand(text);
        Url::read(&expanded).map_err(|reason| Failure::new(StepKind::Notify, reason))
    }

    async fn configure(
        &self,
        url: &Url,
        address: Ipv4Addr,
        settings: &mut Settings,
        diary: &mut Diary<'_>,
    ) -> Result<(), Failure> {
        let mut fetcher = Fetcher::new(&self.spec, &self.habits, address);
        settings.begin_look();
        if configure::configure(&mut fetcher, &self.habits, url, settings, diary).await == 0 {
            let reason = format!("no configuration at {}", url.for_people());
            return Err(Failure::new(StepKind::Fetch, reason));
        }
        let absent = settings.end_look(self.habits.forgets);
        self.compare(&absent, diary);
        self.account_for(settings, diary)
    }

    /// Tells what the files no longer name; by names, never by values.
    fn compare(&self, absent: &Absent, diary: &mut Diary<'_>) {
        let told = |names: &[String]| {
            let mut told: Vec<String> = names.iter().map(|name| self.habits.told(name).to_owned()).collect();
            told.dedup();
            told
        };
        let (kept, lost) = (told(&absent.kept), told(&absent.lost));
        for (names, end) in [(&kept, "the phone keeps what it has"), (&lost, "the phone has lost it")] {
            if !names.is_empty() {
                diary.note(StepKind::Memory, format!("absent now: {}; {end}", in_short(names)));
            }
        }
        diary.report.absent = kept.iter().chain(&lost).cloned().collect();
        (diary.report.kept, diary.report.lost) = (kept, lost);
    }

    /// Writes down what the configuration gave the phone, without a value that must not be seen.
    fn account_for(&self, settings: &Settings, diary: &mut Diary<'_>) -> Result<(), Failure> {
        let sheet = &self.habits.sheet;
        let (web_password, menu_password) =
            (meaning::has(&sheet.webui, settings), meaning::has(&sheet.menu, settings));
        diary.report.settings = settings.len();
        (diary.report.web_password, diary.report.menu_password) = (web_password, menu_password);
        diary.report.own_url = self.own_url(settings).is_some();
        diary.report.keys = meaning::keys(sheet, settings).len();
        diary.report.language = meaning::language(sheet, settings);
        let accounts = meaning::accounts(sheet, settings);
        diary.report.accounts = accounts.iter().map(AccountReport::new).collect();
        for account in &accounts {
            diary.note(StepKind::Settings, account.for_people());
        }
        let without = accounts.iter().filter(|account| account.password.is_none());
        diary.report.missing =
            without.filter_map(|account| meaning::password_name(sheet, account.line)).collect();
        if !diary.report.missing.is_empty() {
            let missing = diary.report.missing.join(", ");
            diary.note(
                StepKind::Memory,
                format!(
                    "missing: {missing}; neither the files nor the phone have it: an operator must let it leave once more \
                     (offhook device rearm {})",
                    self.spec.mac
                ),
            );
        }
        let protection = match (web_password, menu_password) {
            (true, true) => "web page and menu protected",
            (true, false) => "web page protected",
            (false, true) => "menu protected",
            (false, false) => "no password for its own pages",
        };
        diary.note(
            StepKind::Settings,
            format!("{} settings, {} function keys, {protection}", settings.len(), diary.report.keys),
        );
        if accounts.is_empty() {
            return Err(Failure::new(StepKind::Settings, "the configuration holds no account"));
        }
        Ok(())
    }

    async fn register_all(
        &self,
        settings: &Settings,
        address: Ipv4Addr,
        diary: &mut Diary<'_>,
    ) -> Result<(), Failure> {
        if self.spec.register == RegisterAt::Nowhere {
            return Ok(());
        }
        let mut refused = None;
        for (position, account) in meaning::accounts(&self.habits.sheet, settings).iter().enumerate() {
            let outcome = register::register(account, &self.spec, &self.habits, address).await;
            diary.note(StepKind::Register, format!("{}: {outcome}", account.address_of_record()));
            if !outcome.is_registered() && refused.is_none() {
                let reason = format!("{}: {outcome}", account.address_of_record());
                refused = Some(Failure::new(StepKind::Register, reason));
            }
            if let Some(told) = diary.report.accounts.get_mut(position) {
                told.registration = Some(outcome);
            }
        }
        diary.report.registered = refused.is_none();
        refused.map_or(Ok(()), Err)
    }

    fn own_url(&self, settings: &Settings) -> Option<crate::secret::Secret> {
        meaning::own_url(&self.habits.sheet, settings)
    }
}

/// The first names of a list, and how many more there are.
fn in_short(names: &[String]) -> String {
    let told = names.iter().take(NAMES_TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_TOLD_MAX) {
        0 => told,
        more => format!("{told}, and {more} more"),
    }
}

/// The address the kernel would use towards the target; nothing is sent.
async fn own_address(target: &Target) -> Result<Ipv4Addr, Failure> {
    let cannot = |error: String| {
        Failure::new(
            StepKind::Start,
            format!("cannot tell this phone's address: {error}; give one with --address"),
        )
    };
    let towards = match target {
        Target::Multicast { group, port } => SocketAddr::from((*group, *port)),
        Target::Server(server) => *server,
        // What faces the LAN, as the multicast would.
        Target::Nobody => SocketAddr::from((Ipv4Addr::new(224, 0, 1, 75), 5060)),
        Target::Url(text) => {
            let url = Url::read(text).map_err(|reason| Failure::new(StepKind::Start, reason))?;
            url.resolve().await.map_err(cannot)?.into()
        }
    };
    let socket =
        tokio::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(|e| cannot(e.to_string()))?;
    socket.connect(towards).await.map_err(|e| cannot(e.to_string()))?;
    match socket.local_addr().map_err(|e| cannot(e.to_string()))?.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(cannot(format!("{address} is not IPv4"))),
    }
}
