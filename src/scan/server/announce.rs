//! Hears what hosts announce of themselves by multicast DNS while a scan runs, and asks for it once at its beginning.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::net::udp::{UdpEndpoint, Via};
use crate::profile::Clue;
use crate::scan::announce::{DATAGRAM_BYTES_MAX, GROUP, announced, question};
use crate::scan::plan::Link;

/// How long answers take: up to 120 ms, so that not all speak at once (RFC 6762, 6), and the time of a slow phone.
const ANSWERED_WITHIN: Duration = Duration::from_millis(400);
/// Hosts whose words are kept; a link has fewer.
const HOSTS_MAX: usize = 16_384;
/// Words of one host.
const CLUES_MAX: usize = 16;

/// What was heard so far. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Announced(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    heard: Mutex<HashMap<Ipv4Addr, Vec<Clue>>>,
    /// Whoever answers has had the time for it.
    settled: CancellationToken,
}

impl Announced {
    /// What a host says of itself, once it has had the time to.
    pub(super) async fn of(&self, address: Ipv4Addr) -> Vec<Clue> {
        self.0.settled.cancelled().await;
        self.heard().get(&address).cloned().unwrap_or_default()
    }

    /// Asks on these links, and hears what is said there until it is dropped.
    pub(super) async fn listen(self, links: Vec<Link>) {
        if let Err(error) = self.hear(&links).await {
            tracing::debug!("Cannot hear what hosts announce by multicast DNS: {error}");
            self.0.settled.cancel();
        }
    }

    async fn hear(&self, links: &[Link]) -> io::Result<()> {
        if links.is_empty() {
            self.0.settled.cancel();
            return Ok(());
        }
        // Beside a responder of this host, as it lets us (RFC 6762, 15.1).
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, GROUP.port()));
        let socket = UdpEndpoint::bind_with(any, |socket| {
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)
        })?;
        for Link { interface, name, ourselves } in links {
            let via = Via { interface: *interface, source: Some(IpAddr::V4(ourselves.address)) };
            let asked = async {
                socket.join(*GROUP.ip(), *interface)?;
                socket.send(&question(), GROUP.into(), Some(via)).await
            };
            if let Err(error) = asked.await {
                tracing::debug!("Cannot ask for announcements on {name}: {error}");
            }
        }
        let settle = async {
            tokio::time::sleep(ANSWERED_WITHIN).await;
            self.0.settled.cancel();
        };
        let hear = async {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                let datagram = socket.recv(&mut buffer).await?;
                let is_on_link = links.iter().any(|link| link.interface == datagram.interface);
                if let SocketAddr::V4(from) = datagram.from
                    && is_on_link
                {
                    self.take(*from.ip(), announced(buffer.get(..datagram.len).unwrap_or_default()));
                }
            }
        };
        tokio::join!(settle, hear).1
    }

    fn take(&self, address: Ipv4Addr, clues: Vec<Clue>) {
        let mut heard = self.heard();
        if clues.is_empty() || (heard.len() >= HOSTS_MAX && !heard.contains_key(&address)) {
            return;
        }
        let known = heard.entry(address).or_default();
        for clue in clues {
            if known.len() < CLUES_MAX && !known.contains(&clue) {
                known.push(clue);
            }
        }
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, Vec<Clue>>> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
