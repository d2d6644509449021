//! Opens the DHCP companion, and writes down the servers that it meets.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::chores::{Pace, in_batches};
use super::service::{self, Service};
use super::{Opened, Parts};
use crate::config::DhcpMode;
use crate::dhcp::server::{DhcpParts, DhcpServer};
use crate::provision::Roots;
use crate::store::{MetServer, Store};

/// The ports that are heard, and bound by nobody here.
const PORT: &str = "67-68/udp";
/// How soon a server that was met is in the database.
const PACE: Pace = Pace { wait: Duration::from_millis(500), most: 1_000 };

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
        let server = DhcpServer::open(DhcpParts {
            config: options.config.clone(),
            roots,
            interfaces: parts.interfaces.clone(),
            store: options.store.clone(),
            catalog: Arc::clone(&parts.catalog),
            clock: options.clock.clone(),
            sightings: parts.sightings.clone(),
            servers: parts.servers.clone(),
            reports: options.places.reports(),
            answers: None,
        });
        let port = PORT.to_owned();
        self.services.push(match server.wire() {
            Ok(wire) => {
                if wire.is_clamped() {
                    warn!(
                        "The kernel grants DHCP a small receive buffer; set net.core.rmem_max to 16777216, or give \
                         CAP_NET_ADMIN"
                    );
                }
                Service::on("DHCP", port, "heard beside any DHCP server by a packet socket; nothing is sent")
            }
            Err(error) => Service::off("DHCP", port, service::unheard(error)),
        });
        self.dhcp = Some(server);
    }
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
