//! Opens the DHCP companion, and writes down the servers that it meets, and where it answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::chores::{Pace, in_batches};
use super::service::{self, Service};
use super::{AgentOptions, Opened, Parts};
use crate::clock::{Clock, Entropy};
use crate::config::DhcpMode;
use crate::dhcp::Packet;
use crate::dhcp::ask::{self, Turn};
use crate::dhcp::probe::Asker;
use crate::dhcp::server::answer::{AnswerParts, Answerer};
use crate::dhcp::server::{DhcpParts, DhcpServer};
use crate::net::interfaces::{Interface, Interfaces};
use crate::provision::Roots;
use crate::store::{MetServer, Store, StoreError, SwitchState};

/// The ports that are heard, and bound by nobody here.
const PORT: &str = "67-68/udp";
/// Messages between who hears and who answers: a fleet of 10,000 that boots at once.
const PACKETS_MAX: usize = 16_384;
/// How soon a server that was met is in the database.
const PACE: Pace = Pace { wait: Duration::from_millis(500), most: 1_000 };

/// How often the LAN's servers are looked for where `dhcp.probe` says so.
const PROBED_EVERY: Duration = Duration::from_hours(1);

/// What hears, and what answers or asks where an administrator says so.
pub(super) struct Dhcp {
    server: DhcpServer,
    prober: Option<Prober>,
    answers: Option<(Answerer, mpsc::Receiver<Packet>, watch::Receiver<i64>)>,
}

impl Dhcp {
    pub(super) fn serve(self, serving: &mut JoinSet<()>, cancel: &CancellationToken) {
        if let Some((answerer, packets, changes)) = self.answers {
            serving.spawn(answerer.run(packets, changes, cancel.clone()));
        }
        if let Some(prober) = self.prober {
            serving.spawn(prober.run(cancel.clone()));
        }
        serving.spawn(self.server.run(cancel.clone()));
    }
}

/// Looks for the LAN's servers now and then. Who answers is heard like every other answer, and written down by who hears.
struct Prober {
    interfaces: Interfaces,
    store: Store,
    /// Changes whenever a command has written something.
    changes: watch::Receiver<i64>,
    data: PathBuf,
    clock: Clock,
    entropy: Entropy,
}

impl Prober {
    async fn run(self, cancel: CancellationToken) {
        let rounds = async {
            loop {
                for interface in self.interfaces.current().interfaces() {
                    self.look(interface).await;
                }
                tokio::time::sleep(PROBED_EVERY).await;
            }
        };
        cancel.run_until_cancelled(rounds).await;
    }

    async fn look(&self, interface: &Interface) {
        let (Some(mac), Some((address, _))) = (interface.mac, interface.addresses.first()) else { return };
        if self.is_off(&interface.name).await {
            return;
        }
        match Turn::take(&self.data, &interface.name, &self.clock) {
            Ok(Turn::Ours) => {}
            Ok(Turn::In(_)) => return,
            Err(error) => return warn!("Cannot write down when {} is searched: {error}", interface.name),
        }
        let asker = Asker { interface: interface.index, address: *address, mac };
        let found = tokio::select! {
            found = ask::search(asker, false, &self.clock, &self.entropy) => found,
            () = self.switched_off(&interface.name) => return,
        };
        match found {
            Ok(found) => info!("{} DHCP server(s) answer on {}", found.len(), interface.name),
            Err(error) => warn!("Cannot look for DHCP servers on {}: {error}", interface.name),
        }
    }

    /// Until a person switches off.
    async fn switched_off(&self, interface: &str) {
        let mut changes = self.changes.clone();
        while changes.changed().await.is_ok() {
            if self.is_off(interface).await {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Without the database nobody knows; then nothing is sent.
    async fn is_off(&self, interface: &str) -> bool {
        let switches = self.store.dhcp_switches().await;
        switches.map_or(true, |switches| switches.state(interface) == SwitchState::Off)
    }
}

impl Opened {
    /// Hearing takes no port, so it disturbs nobody; it comes last, because it tells phones' verdicts by the ports of the
    /// files.
    pub(super) fn open_dhcp(&mut self, parts: &Parts) {
        let options = &parts.options;
        if options.config.dhcp.mode == DhcpMode::Off {
            return self.services.push(Service::off("DHCP", PORT.to_owned(), "dhcp.mode is off"));
        }
        // Who only observes serves nothing, and tells what phones will make of it when it does.
        let roots = if options.observe { Roots::of(&options.config) } else { self.roots() };
        let config = &options.config.dhcp;
        let mut server = DhcpServer::open(DhcpParts {
            config: options.config.clone(),
            roots,
            interfaces: parts.interfaces.clone(),
            store: options.store.clone(),
            catalog: Arc::clone(&parts.catalog),
            clock: options.clock.clone(),
            sightings: parts.sightings.clone(),
            servers: parts.servers.clone(),
            reports: options.places.reports(),
        });
        let answers = (config.mode.answers() && !options.observe).then(|| {
            let (to, packets) = mpsc::channel(PACKETS_MAX);
            let mouth = server.answered_by(to)?;
            Some((Answerer::new(answer_parts(parts, roots), mouth), packets, parts.changes.clone()))
        });
        let answers = answers.flatten();
        let port = PORT.to_owned();
        self.services.push(match server.wire() {
            Ok(wire) => {
                if wire.is_clamped() {
                    service::warn_of_small_buffer("DHCP");
                }
                Service::on("DHCP", port, note(options, answers.is_some()))
            }
            Err(error) => Service::off("DHCP", port, service::unheard(error, "dhcp.mode")),
        });
        let prober = (config.probe && !options.observe).then(|| Prober {
            interfaces: parts.interfaces.clone(),
            store: options.store.clone(),
            changes: parts.changes.clone(),
            data: options.places.data.clone(),
            clock: options.clock.clone(),
            entropy: options.entropy.clone(),
        });
        self.dhcp = Some(Dhcp { server, prober, answers });
    }
}

fn answer_parts(parts: &Parts, roots: Roots) -> AnswerParts {
    let options = &parts.options;
    AnswerParts {
        config: Arc::new(options.config.clone()),
        roots,
        data: options.places.data.clone(),
        interfaces: parts.interfaces.clone(),
        neighbours: parts.neighbours.clone(),
        store: options.store.clone(),
        catalog: Arc::clone(&parts.catalog),
        clock: options.clock.clone(),
        entropy: options.entropy.clone(),
        sightings: parts.sightings.clone(),
        alarms: parts.alarms.clone(),
    }
}

/// The line of the port table.
fn note(options: &AgentOptions, answers: bool) -> String {
    let config = &options.config.dhcp;
    let heard = "heard beside any DHCP server by a packet socket";
    if options.observe || !answers {
        let asks = config.probe && !options.observe;
        return format!(
            "{heard}; {}",
            if asks { "servers are looked for once an hour" } else { "nothing is sent" }
        );
    }
    let dry = if config.dry_run { "; a dry run: nothing is sent" } else { "" };
    let on = config.interfaces.join(", ");
    match config.mode {
        DhcpMode::Off | DhcpMode::Observe => format!("{heard}; nothing is sent"),
        DhcpMode::Inform => format!("{heard}; INFORM of phones is answered on {on}{dry}"),
        DhcpMode::Server if config.pool.is_empty() => {
            format!(
                "{heard}; no leases, because there is no dhcp.pool; INFORM of phones is answered on {on}{dry}"
            )
        }
        DhcpMode::Server => {
            let pools: Vec<String> =
                config.pool.iter().map(|pool| format!("{} on {}", pool.range, pool.interface)).collect();
            format!("leases of {}{dry}; offhook dhcp status says how they are doing", pools.join(", "))
        }
    }
}

/// Whether this agent is somebody's DHCP server.
pub(super) fn gives_leases(options: &AgentOptions) -> bool {
    let config = &options.config.dhcp;
    config.mode == DhcpMode::Server && !config.pool.is_empty() && !config.dry_run && !options.observe
}

/// Writes down, once, that an interface leaves or enters the mode in which nothing is sent.
pub(super) async fn note_modes(options: &AgentOptions) -> Result<(), StoreError> {
    let config = &options.config.dhcp;
    let dry = if config.dry_run { " (dry run)" } else { "" };
    let answering = config.interfaces.iter().filter(|_| config.mode.answers() && !options.observe);
    let modes: Vec<(String, String)> =
        answering.map(|name| (name.clone(), format!("{}{dry}", config.mode))).collect();
    let user = User::from_uid(Uid::effective()).ok().flatten();
    let user = user.map_or_else(|| Uid::effective().to_string(), |user| user.name);
    let by = format!("the configuration in {}, started by {user}", options.places.config.display());
    let changed = options.store.note_dhcp_modes(&modes, &by).await?;
    if changed > 0 {
        info!("DHCP answers on other interfaces, or in another mode, than before; offhook audit shows it");
    }
    Ok(())
}

/// Writes down the servers that were met; after `last` is cancelled, what is left, and ends.
pub(super) async fn record_servers(store: Store, met: mpsc::Receiver<MetServer>, last: CancellationToken) {
    let store = &store;
    in_batches(met, PACE, last, |batch| async move {
        if let Err(error) = store.record_dhcp_servers(&batch).await {
            warn!("Cannot write down the DHCP servers that were met: {error}");
        }
        Vec::new()
    })
    .await;
}
