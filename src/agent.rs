//! The agent: built from its configuration, it binds every socket, starts every service, and stops them again. A port
//! or a right that is missing switches off that one service, with a line that says what to do; the rest runs.

mod again;
mod alarms;
mod certificates;
mod chores;
mod dhcp;
mod ledger;
mod opened;
mod people;
mod release;
mod scan;
mod service;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use chores::{claim_without_serving, host_timezone};
use opened::Opened;
pub(crate) use release::terms as release_terms;
pub use service::{Service, State};

use crate::alarm::Alarms;
use crate::clock::{Clock, Entropy};
use crate::config::{Config, Places};
use crate::device::Mac;
use crate::net::interfaces::{Interfaces, Table};
use crate::net::neighbours::{INHERITED_PINS_KEPT, NeighbourOptions, Neighbours};
use crate::profile::{Catalog, ProfileError, Site};
use crate::provision::{Deed, Desk, DeskParts, Heard, ProvisionAgain, Roots};
use crate::store::{MarkFile, MetServer, Store, StoreError};

/// Sightings between the services and the store's next batch; a storm of 10,000 phones with their files fits.
const SIGHTINGS_MAX: usize = 65_536;
/// Deliveries and refusals between the desk and the store's next batch.
const DEEDS_MAX: usize = 65_536;
/// Wishes of people at their phones that wait to be carried out; beyond, the menu says to try later.
const AGAIN_MAX: usize = 256;
/// DHCP servers between the service that meets them and the store's next batch; a link has one or two.
const SERVERS_MAX: usize = 1_024;
/// Why a service is off that was told to be quiet.
const OBSERVING: &str = "only observing (--observe)";

/// What an agent is built from.
pub struct AgentOptions {
    /// Everything that can be set.
    pub config: Config,
    /// Its folders.
    pub places: Places,
    /// Its inventory, opened.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Hear and record only: nothing is answered, no file is served.
    pub observe: bool,
    /// A neighbour table written by hand, which proves nothing. The demonstration on loopback needs it, because
    /// loopback has no hardware addresses; `offhook run` has no way to set it.
    pub declared_neighbours: Option<HashMap<IpAddr, Mac>>,
}

/// Why there is no agent. A service that cannot be opened is not among these, unless it is the last.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kernel does not tell about interfaces or neighbours.
    #[error("cannot read the interfaces and neighbours from the kernel: {0}")]
    Network(io::Error),
    /// The database does not answer, and nothing may be handed out without it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another agent has this data.
    #[error("another agent is running on this data: it holds {0}")]
    Running(String),
    /// The database is damaged, or cannot be read whole: nothing that it says of passwords can be relied on.
    #[error("{0}; no phone is served from it, and it is left as it is")]
    Damaged(StoreError),
    /// What an earlier boot left open could not be closed.
    #[error("cannot close the windows of passwords that an earlier boot left open: {0}")]
    Release(StoreError),
    /// Nobody can tell whether an agent runs.
    #[error("cannot find out whether an agent runs: cannot lock {}: {error}", path.display())]
    Claim {
        /// The lock beside the agent's socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Nothing could be opened.
    #[error("no service could be opened")]
    Nothing(Vec<Service>),
}

/// Where a running agent is heard; `None` for what is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The phones' HTTP listener.
    pub http: Option<SocketAddr>,
    /// The phones' TLS listener.
    pub https: Option<SocketAddr>,
    /// TFTP.
    pub tftp: Option<SocketAddr>,
    /// The multicast group and its port.
    pub pnp: Option<SocketAddrV4>,
    /// The people's listener.
    pub admin: Option<SocketAddr>,
}

/// A running agent.
pub struct Agent {
    services: Vec<Service>,
    addresses: Addresses,
    broken_profiles: Vec<ProfileError>,
    interfaces: Interfaces,
    neighbours: Neighbours,
    store: Store,
    alarms: Alarms,
    written: watch::Receiver<u64>,
    stop_serving: CancellationToken,
    serving: JoinSet<()>,
    stop_chores: CancellationToken,
    chores: JoinSet<()>,
}

impl Agent {
    /// Closes what an earlier boot left open, opens every socket, then starts every service. Must be called inside the
    /// runtime.
    pub async fn start(mut options: AgentOptions) -> Result<Self, AgentError> {
        chores::raise_open_files();
        let claim = chores::claim(&options.places.socket())?;
        let name = options.config.agent.name();
        options.store = options.store.in_agent(&name).under(release::terms(&options.config));
        let (catalog, broken_profiles) = Catalog::load(options.config.profiles.dir.as_deref());
        let catalog = Arc::new(catalog);
        let alarms = Alarms::default();
        options.store.check().await.map_err(AgentError::Damaged)?;
        let mark = MarkFile::at(&options.places.mark_file()).owned_like(&options.places.data);
        ledger::compare_with_mark(&options.store, &mark, &alarms).await?;
        release::begin(&options.store, &catalog, &alarms).await.map_err(AgentError::Release)?;
        let only = options.config.agent.interfaces.clone();
        let interfaces = Interfaces::watch(only).map_err(AgentError::Network)?;
        let neighbours = match &options.declared_neighbours {
            Some(entries) => Neighbours::declared(entries.clone()),
            None => Neighbours::kernel(NeighbourOptions {
                interfaces: interfaces.clone(),
                clock: options.clock.clone(),
                may_send: !options.observe,
                pin_list: Some(options.places.pin_list()),
                inherited_kept: INHERITED_PINS_KEPT,
            })
            .map_err(AgentError::Network)?,
        };
        let (sightings, heard) = mpsc::channel(SIGHTINGS_MAX);
        let (deeds, done) = mpsc::channel(DEEDS_MAX);
        let (servers, met) = mpsc::channel(SERVERS_MAX);
        let (again, wished) = mpsc::channel(AGAIN_MAX);
        dhcp::note_modes(&options).await?;
        let gives_leases = dhcp::gives_leases(&options);
        options.store.begin_leases(&options.places.lease_journal(), gives_leases).await?;
        let (news, changes) = watch::channel(0);
        let parts = Parts {
            options,
            interfaces,
            neighbours,
            catalog,
            sightings,
            servers,
            deeds,
            again,
            alarms,
            changes,
        };
        let mut opened = Opened::open(&parts);
        if !opened.services.iter().any(|service| service.state == State::On) {
            return Err(AgentError::Nothing(opened.services));
        }
        let (scanner, rounds) = (parts.scanner(), parts.rounds());
        opened.open_admin(&parts, scanner.clone(), rounds.clone());
        chores::check_neighbour_table(parts.options.store.inventory().count().0);
        opened.services.extend(parts.neighbours.abilities().map(Service::proof));

        let mut chores = JoinSet::new();
        let (stop_serving, stop_chores) = (CancellationToken::new(), CancellationToken::new());
        let desk = parts.desk(opened.roots());
        let store = parts.options.store.clone();
        chores.spawn(chores::follow(store.clone(), desk.clone(), claim, news, stop_chores.clone()));
        chores.spawn(release::write_down(store.clone(), done, stop_chores.clone()));
        chores.spawn(dhcp::record_servers(store.clone(), met, stop_chores.clone()));
        chores.spawn(store.clone().follow_leases(stop_chores.clone()));
        chores.spawn(release::watch(
            desk.clone(),
            parts.catalog.clone(),
            parts.alarms.clone(),
            store,
            stop_chores.clone(),
        ));
        chores.spawn(again::Teller::of(&parts).run(wished, stop_serving.clone()));
        if let Some(tls) = opened.tls.take() {
            let names = parts.options.config.https.names.clone();
            let interfaces = parts.interfaces.clone();
            chores.spawn(certificates::keep(tls, interfaces, names, stop_chores.clone()));
        }
        let (batches, written) = watch::channel(0);
        chores.spawn(chores::record(parts.options.store.clone(), heard, batches, stop_chores.clone()));
        let (store, clock) = (parts.options.store.clone(), parts.options.clock.clone());
        chores.spawn(ledger::keep(
            store.clone(),
            mark,
            parts.alarms.clone(),
            clock.clone(),
            stop_chores.clone(),
        ));
        let config = parts.options.config.alarm.clone();
        chores.spawn(alarms::keep(
            store,
            parts.alarms.clone(),
            config,
            name.into(),
            clock,
            stop_chores.clone(),
        ));
        if let Some(schedule) = scan::Schedule::of(&parts, scanner.clone()) {
            chores.spawn(schedule.run(stop_serving.clone()));
        }
        let stop = stop_serving.clone();
        chores.spawn(async move {
            stop.cancelled().await;
            tokio::join!(scanner.close(), rounds.close());
        });
        Ok(Self {
            services: opened.services.clone(),
            addresses: opened.addresses,
            broken_profiles,
            interfaces: parts.interfaces.clone(),
            neighbours: parts.neighbours.clone(),
            store: parts.options.store.clone(),
            alarms: parts.alarms.clone(),
            written,
            serving: opened.serve(desk, &stop_serving),
            stop_serving,
            stop_chores,
            chores,
        })
    }

    /// The port table.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Where it is heard.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Profiles that were refused; the built-in ones of their names are used instead.
    pub fn broken_profiles(&self) -> &[ProfileError] {
        &self.broken_profiles
    }

    /// The interfaces in use now.
    pub fn interfaces(&self) -> Arc<Table> {
        self.interfaces.current()
    }

    /// The inventory.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where alarms are raised.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Changes whenever a batch of sightings has been written.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.clone()
    }

    /// Stops listening, lets what is under way finish within the services' grace, lets go of the neighbours' entries,
    /// writes what is left, and closes.
    pub async fn stop(mut self) {
        self.stop_serving.cancel();
        while self.serving.join_next().await.is_some() {}
        self.neighbours.settle().await;
        self.stop_chores.cancel();
        while self.chores.join_next().await.is_some() {}
        self.store.close().await;
    }
}

/// What the services share.
struct Parts {
    options: AgentOptions,
    interfaces: Interfaces,
    neighbours: Neighbours,
    catalog: Arc<Catalog>,
    sightings: mpsc::Sender<Heard>,
    servers: mpsc::Sender<MetServer>,
    deeds: mpsc::Sender<Deed>,
    again: mpsc::Sender<ProvisionAgain>,
    alarms: Alarms,
    /// The store's generation, whenever it is another one.
    changes: watch::Receiver<i64>,
}

impl Parts {
    /// The site as templates see it.
    fn site(&self) -> Site {
        let config = &self.options.config;
        let site = Site::new(&config.site, &config.sip, &host_timezone());
        Site { menu: config.menu.enabled, ..site }
    }

    /// The desk for services that are heard at `roots`.
    fn desk(&self, roots: Roots) -> Desk {
        let options = &self.options;
        Desk::new(DeskParts {
            agent: options.config.agent.name().into(),
            adopt: options.config.adopt.clone(),
            release: options.config.release.clone(),
            expired_certificates: options.config.https.expired_certificates,
            site: self.site(),
            menu: options.config.menu.clone(),
            firmware: options.config.firmware.clone(),
            catalog: Arc::clone(&self.catalog),
            store: options.store.clone(),
            interfaces: self.interfaces.clone(),
            neighbours: self.neighbours.clone(),
            clock: options.clock.clone(),
            files: options.places.files(),
            roots,
            sightings: self.sightings.clone(),
            deeds: self.deeds.clone(),
            again: self.again.clone(),
            alarms: self.alarms.clone(),
        })
    }
}
