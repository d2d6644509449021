//! Looks, before anybody is given an address, which of a pool's free addresses somebody uses already: by ARP, and behind a
//! router by ping. Every offer on a link is probed all the same: this is so that the first phones need not wait for it,
//! and that an administrator hears of it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info};

use super::{Done, Worker};
use crate::alarm::AlarmKind;
use crate::device::Mac;
use crate::dhcp::lease::Input;
use crate::net::neighbours::{Neighbours, Occupied};
use crate::net::ping;

/// Addresses that are asked for at a time, in half a second: 256 small broadcasts a second, which no LAN notices. Those of
/// a whole /22 are known before the search for other servers is over.
const TOGETHER: usize = 64;

/// A task that ends with this value.
#[derive(Debug)]
pub(super) struct Ending(AbortHandle);

impl Ending {
    pub(super) fn of(task: AbortHandle) -> Self {
        Self(task)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A sweep, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Not asked for yet; the next one last.
    rest: Vec<Ipv4Addr>,
    /// Found with the last questions.
    found: Vec<(Ipv4Addr, Option<Mac>)>,
    /// How many were found in all, and the first.
    count: usize,
    first: Option<(Ipv4Addr, Option<Mac>)>,
}

impl Worker {
    /// Begins to ask for the pool's free addresses. A dry run asks nobody.
    pub(super) fn sweep(&mut self, house: usize) {
        let is_dry = self.parts.config.dhcp.dry_run;
        let Some((up, _, epoch)) = self.up(house) else { return };
        if is_dry || up.sweep.is_some() {
            return;
        }
        let mut rest = up.server.to_sweep();
        rest.reverse();
        self.sweep_on(house, epoch, Swept { rest, ..Swept::default() });
    }

    fn sweep_on(&mut self, house: usize, epoch: u64, mut swept: Swept) {
        let (neighbours, table) = (self.parts.neighbours.clone(), Arc::clone(&self.table));
        // Tells our pings from other programs'; a guess of it gets nobody more than an address that rests.
        let token = self.parts.entropy.bytes::<8>().unwrap_or_default();
        let Some((up, ..)) = self.up(house) else { return };
        let (interface, is_relayed) = (up.place.interface, up.server.settings().relay.is_some());
        let task = self.tasks.spawn(async move {
            let mut asked = swept.rest.split_off(swept.rest.len().saturating_sub(TOGETHER));
            swept.found = if is_relayed {
                // On a link of ours a ping for nobody leaves an entry in the kernel's neighbour table, which is small.
                asked.retain(|address| table.on_link(*address, None).is_none());
                pinged(&asked, token).await
            } else {
                probed(asked, &neighbours, interface).await
            };
            Done::Swept { house, epoch, swept }
        });
        if let Some((up, ..)) = self.up(house) {
            up.sweep = Some(Ending::of(task));
        }
    }

    /// The next of its addresses were asked for.
    pub(super) fn swept(&mut self, house: usize, epoch: u64, mut swept: Swept, now: Instant) {
        let Some((up, name, now_at)) = self.up(house) else { return };
        if now_at != epoch || up.sweep.take().is_none() {
            return;
        }
        swept.found.sort_unstable();
        for (address, by) in swept.found.drain(..) {
            if up.server.is_strange(address, by) {
                let who = who(by);
                info!("{who} uses {address} of the pool on {name} without a lease; it rests for an hour");
                up.server.handle(Input::Swept { address, by }, now);
                swept.first.get_or_insert((address, by));
                swept.count += 1;
            }
        }
        if !swept.rest.is_empty() {
            return self.sweep_on(house, epoch, swept);
        }
        if let Some((address, by)) = swept.first {
            let others = match swept.count - 1 {
                0 => String::new(),
                more => format!(", and {more} more of its addresses are in use"),
            };
            let who = who(by);
            let text = format!(
                "on {name}: {who} uses {address} of the pool without a lease{others}; what is in use rests for an hour, \
                 and the log names it"
            );
            self.raise(AlarmKind::DhcpConflict, None, text);
        }
    }
}

/// Who says on the link that he has one of these addresses.
async fn probed(
    addresses: Vec<Ipv4Addr>,
    neighbours: &Neighbours,
    interface: u32,
) -> Vec<(Ipv4Addr, Option<Mac>)> {
    let mut asked = JoinSet::new();
    for address in addresses {
        let neighbours = neighbours.clone();
        asked.spawn(async move { (address, neighbours.probe(address, interface).await) });
    }
    let mut found = Vec::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok((address, Occupied::By(mac))) = answer {
            found.push((address, Some(mac)));
        }
    }
    found
}

/// Which of these addresses answer a ping; who that is nobody can tell behind a router.
async fn pinged(addresses: &[Ipv4Addr], token: [u8; 8]) -> Vec<(Ipv4Addr, Option<Mac>)> {
    let there = ping::answering(addresses, token).await.unwrap_or_else(|error| {
        debug!("Cannot ping the addresses of a pool: {error}");
        BTreeSet::new()
    });
    there.into_iter().map(|address| (address, None)).collect()
}

fn who(mac: Option<Mac>) -> String {
    mac.map_or_else(|| "somebody".to_owned(), |mac| mac.to_string())
}
