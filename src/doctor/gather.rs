//! Gathers what the judgements judge, and puts their findings into the order in which they are to be put right. The only
//! reader of the doctor's: /proc and /sys, the installation's files, the store, the packet filter's tools.

mod files;
mod kernel;
mod rules;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::host::{Limits, Rights, Time};
use super::links::Listened;
use super::ports::Agent;
use super::{Finding, Report, ask, disk, firewall, host, lan, links, phones, ports};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Places};
use crate::net::interfaces::{self, Interface, Table};
use crate::profile::Catalog;
use crate::store::Store;
use crate::tls;
use kernel::Kernel;

/// Who is looked at.
pub(crate) struct Patient<'a> {
    pub(crate) config: &'a Config,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) places: &'a Places,
    pub(crate) store: Result<&'a Store, Unopened>,
    /// This process is the agent.
    pub(crate) is_agent: bool,
    pub(crate) clock: Clock,
}

/// Why there is no store to look into.
#[derive(Debug, Clone)]
pub(crate) enum Unopened {
    /// Nobody has made one yet.
    Absent(String),
    /// It is not this user's: what was said, and what to do.
    Denied(String, String),
    /// It cannot be opened: what was said, and what to do.
    Broken(String, String),
}

/// What shall be done beside looking.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// How long to listen for IGMP queries.
    pub(crate) wait: Option<Duration>,
    /// Whether registrars and the time server are asked.
    pub(crate) probe: bool,
}

/// Looks at everything.
pub(crate) async fn examine(patient: &Patient<'_>, wishes: Wishes) -> Report {
    let Patient { config, places, .. } = patient;
    let (socket, is_agent) = (places.socket(), patient.is_agent);
    let kernel =
        tokio::task::spawn_blocking(move || Kernel::read(&socket, is_agent)).await.unwrap_or_default();
    let agent = &kernel.agent;
    let mut findings = vec![configuration(patient), host::agent(agent, &places.data.display().to_string())];
    let (ports, found) = ports::table(config, agent, &kernel.tables(config));
    findings.extend(found);
    findings.extend(network(patient, wishes, &kernel).await);
    findings.extend(of_host(patient, wishes, &kernel).await);
    findings.extend(of_data(patient, wishes, &kernel).await);
    Report::new(ports, findings)
}

/// Looks at what can be looked at without a configuration.
pub(crate) async fn examine_host(config: Finding, clock: &Clock) -> Report {
    let kernel = tokio::task::spawn_blocking(|| Kernel::read(std::path::Path::new("/"), false))
        .await
        .unwrap_or_default();
    let every = interfaces::every().unwrap_or_default();
    let time = Time { now: clock.now(), synchronised: kernel::synchronised().await, ..Time::default() };
    let mut findings = vec![config, links::container(&kernel.marks, &every, &kernel::links(&every))];
    findings.extend(host::clock(&time));
    Report::new(Vec::new(), findings)
}

fn configuration(patient: &Patient<'_>) -> Finding {
    let text = match &patient.config_file {
        Some(file) => format!("the configuration {} is understood", file.display()),
        None if patient.is_agent => "the agent's configuration is understood".to_owned(),
        None => "there is no configuration file: every key has its default".to_owned(),
    };
    Finding::ok("config", text)
}

/// The host's links, and whether phones' packets come through.
async fn network(patient: &Patient<'_>, wishes: Wishes, kernel: &Kernel) -> Vec<Finding> {
    let Patient { config, clock, .. } = patient;
    let every = match interfaces::every() {
        Ok(every) => every,
        Err(error) => {
            let text = format!("the interfaces were not checked: {error}");
            return vec![Finding::unknown("interfaces", text, "offhook runs on Linux with netlink")];
        }
    };
    let used = used(config);
    let sys = kernel::links(&every);
    let mut findings = links::joins(config, &kernel.agent, &every, &kernel.members);
    findings.push(links::container(&kernel.marks, &every, &sys));
    findings.push(firewall::judged(config, &used, &rules::read().await));
    let listened = match wishes.wait {
        Some(time) => ask::listen(&used, time, clock).await,
        None => Listened::No,
    };
    findings.extend(links::snooping(&used, &kernel.members, &sys, &listened));
    if kernel.agent.runs == Some(true) && !kernel.agent.observes {
        findings.extend(ask::urls(config, &used, &patient.places.tls()).await);
    }
    findings
}

/// The interfaces that phones are heard on.
fn used(config: &Config) -> Vec<Interface> {
    Table::read(&config.agent.interfaces).map(|table| table.interfaces().to_vec()).unwrap_or_default()
}

/// Rights, limits, time, and what starts the service.
async fn of_host(patient: &Patient<'_>, wishes: Wishes, kernel: &Kernel) -> Vec<Finding> {
    let Patient { config, clock, store, .. } = patient;
    let rights: &Rights = &kernel.rights;
    let phones = store.as_ref().map_or(0, |store| store.inventory().count().0);
    let mut findings = vec![host::capabilities(config, &kernel.agent, rights)];
    let limits = Limits { may_force: rights.may_force(&kernel.agent), ..kernel.limits.clone() };
    findings.extend(host::limits(&limits, phones));
    let server = match &config.site.ntp {
        Some(server) if wishes.probe => Some((server.clone(), ask::time_of(server, clock).await)),
        Some(_) | None => None,
    };
    let time = Time {
        now: clock.now(),
        latest: latest(store.as_ref().ok().copied()).await,
        synchronised: kernel::synchronised().await,
        server,
    };
    findings.extend(host::clock(&time));
    findings.push(host::time_server(config, &kernel.sockets));
    if *patient.places == Places::usual(true, |_| None) {
        findings.push(host::service(&files::unit()));
    }
    findings
}

/// When something was written down last.
async fn latest(store: Option<&Store>) -> Option<Timestamp> {
    store?.audit(None, 1).await.ok()?.first().map(|row| row.at)
}

/// The installation's files, and what is in the database.
async fn of_data(patient: &Patient<'_>, wishes: Wishes, kernel: &Kernel) -> Vec<Finding> {
    let Patient { config, places, store, clock, .. } = patient;
    let folder = files::entry(&places.data).ok();
    let within = files::within(&places.data);
    let is_used = store.is_ok() || matches!(store, Err(Unopened::Broken(..)));
    let mut findings = match files::denied(&places.data) {
        Some(finding) => vec![finding],
        None => disk::data(folder.as_ref(), &within, kernel.agent.uid),
    };
    findings.push(disk::key(&files::key(places), folder.as_ref(), is_used));
    findings.push(disk::room(files::room(&places.data), &places.data.display().to_string()));
    let (catalog, broken) = Catalog::load(config.profiles.dir.as_deref());
    let missing = config.profiles.dir.as_deref().filter(|folder| !folder.is_dir());
    let profiles = phones::profiles(&broken, missing, catalog.profiles().count());
    let listed = tls::listing(&places.tls(), &config.https);
    let used = used(config);
    let own: Vec<IpAddr> =
        used.iter().flat_map(|one| &one.addresses).map(|(address, _)| IpAddr::V4(*address)).collect();
    let certificates = lan::certificates(config, &listed, &used, clock.now());
    match store {
        Ok(store) => {
            findings.extend(database(store, &within).await);
            findings.extend(profiles);
            let inventory = store.inventory();
            let accounts = inventory.accounts();
            findings.extend(phones::inventory(&inventory.devices(), &accounts, &catalog));
            findings.extend(certificates);
            findings.extend(registrars(config, &accounts, kernel, wishes).await);
            findings.extend(recorded(store, &own, clock.now()).await);
        }
        Err(unopened) => {
            findings.push(unopened.told());
            findings.extend(profiles);
            findings.extend(certificates);
            findings.extend(registrars(config, &[], kernel, wishes).await);
        }
    }
    findings
}

async fn registrars(
    config: &Config,
    accounts: &[crate::store::Holding],
    kernel: &Kernel,
    wishes: Wishes,
) -> Vec<Finding> {
    let all = lan::registrars(config, accounts);
    if all.is_empty() {
        return vec![lan::own_registrar(&kernel.sockets)];
    }
    ask::registrars(&all, config.sip.transport, wishes.probe).await
}

async fn database(store: &Store, within: &[disk::Entry]) -> Vec<Finding> {
    if let Err(error) = store.check().await {
        return vec![Finding::broken("database", error.to_string(), error.remedy())];
    }
    let (devices, pending) = store.inventory().count();
    let generation = store.inventory().generation();
    let text = format!("the database is whole: {devices} phones, {pending} wait for approval");
    let size: u64 = within.iter().filter(|one| is_database(one)).map(|one| one.size).sum();
    let size = if size > 0 { format!(", {} KiB", size.div_ceil(1024)) } else { String::new() };
    vec![Finding::ok("database", text).seen(format!("generation {generation}{size}"))]
}

fn is_database(entry: &disk::Entry) -> bool {
    entry.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("offhook.db"))
}

/// What agents have written down of the LAN.
async fn recorded(store: &Store, own: &[IpAddr], now: Timestamp) -> Vec<Finding> {
    let read = async {
        Ok::<_, crate::store::StoreError>((store.alarms(false).await?, store.dhcp_servers().await?))
    };
    match read.await {
        Ok((alarms, servers)) => {
            let mut findings = lan::alarms(&alarms, now);
            findings.extend(lan::dhcp_servers(&servers, own, now));
            findings
        }
        Err(error) => vec![Finding::broken("database", error.to_string(), error.remedy())],
    }
}

impl Unopened {
    fn told(&self) -> Finding {
        match self {
            Self::Absent(file) => {
                let text = format!("there is no database yet: {file}");
                Finding::warn("database", text, "offhook run, or offhook import, makes it")
            }
            Self::Denied(why, needs) => {
                Finding::unknown("database", format!("the database was not checked: {why}"), needs.clone())
            }
            Self::Broken(why, fix) => Finding::broken("database", why.clone(), fix.clone()),
        }
    }
}

impl Rights {
    /// Whether receive buffers may be larger than the kernel grants everybody.
    fn may_force(&self, agent: &Agent) -> bool {
        const NET_ADMIN: u64 = 1 << 12;
        let effective = if agent.runs == Some(true) { self.agents } else { self.own };
        effective.is_some_and(|effective| effective & NET_ADMIN != 0)
    }
}
