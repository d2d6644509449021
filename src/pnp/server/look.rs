//! One search for other servers that answer phones, for whoever is no agent: asks on a link as phones would, and hears who
//! answers.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::worker::events;
use crate::clock::Clock;
use crate::config::PnpConfig;
use crate::net::interfaces::Interface;
use crate::net::udp::{UdpEndpoint, Via};
use crate::pnp::message::DATAGRAM_BYTES_MAX;
use crate::pnp::rival::{self, Rivals};
use crate::profile::Catalog;

/// How long answers are awaited; a server on the link answers within milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Who answers a phone on this link. `name` is that of our database, whose agents stay silent.
pub async fn look(
    link: &Interface,
    config: &PnpConfig,
    catalog: &Catalog,
    name: &str,
    clock: &Clock,
) -> io::Result<BTreeSet<Ipv4Addr>> {
    let Some((address, prefix)) = link.addresses.first() else { return Ok(BTreeSet::new()) };
    let voice = UdpEndpoint::bind_small(SocketAddr::from((*address, 0)))?;
    let ours = SocketAddrV4::new(*address, voice.local_addr()?.port());
    let group = SocketAddrV4::new(config.group, config.port);
    let mut rivals = Rivals::new(events(catalog), name.to_owned(), true, true, clock.instant());
    rivals.handle_timeout(clock.instant());
    let via = Some(Via { interface: link.index, source: Some((*address).into()) });
    for question in rivals.questions(ours, group) {
        voice.send(&question, group.into(), via).await?;
    }
    let mut found = BTreeSet::new();
    let hearing = async {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
        loop {
            let heard = voice.recv(&mut buffer).await?;
            let Some((call_id, answer)) = rival::notified(buffer.get(..heard.len).unwrap_or_default()) else {
                continue;
            };
            let SocketAddr::V4(from) = heard.from else { continue };
            if rivals.is_answer(&call_id) && prefix.contains(*from.ip()) {
                voice.send(&answer, heard.from, via).await?;
                found.insert(*from.ip());
            }
        }
    };
    match tokio::time::timeout(ANSWERED_WITHIN, hearing).await {
        Ok(Err::<(), io::Error>(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(found),
    }
}
