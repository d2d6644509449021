//! Which DHCP servers are on which link, and what they give to phones, told now and then. Never sends, never waits.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::device::Mac;

/// Servers that are remembered; a link has one or two. Beyond, the one that was silent for the longest is forgotten.
const SERVERS_MAX: usize = 256;
/// How often one is told of: its row is for people.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The memory of servers.
#[derive(Debug, Default)]
pub struct Servers(HashMap<(u32, Ipv4Addr), Server>);

/// A server, as far as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// On which interface.
    pub interface: u32,
    /// As it names itself.
    pub address: Ipv4Addr,
    /// Who puts its answers on the link; `None` while only phones have named it.
    pub mac: Option<Mac>,
    /// By vendor (empty: unknown), the options that its phones were given, as they may be shown.
    pub gives: BTreeMap<String, BTreeMap<u8, String>>,
    /// How often it was heard or named since it was told of.
    pub count: i64,
    /// When it was heard or named the last time.
    pub at: Instant,
    told: Option<Instant>,
}

impl Servers {
    /// A server answered somebody (then with the sender of the answer), or was named by somebody.
    pub fn met(&mut self, interface: u32, address: Ipv4Addr, sender: Option<Mac>, now: Instant) {
        let server = self.server(interface, address, now);
        server.count += 1;
        server.mac = sender.or(server.mac);
    }

    /// A server gave these options to a phone of this vendor.
    pub fn gave(
        &mut self,
        (interface, address): (u32, Ipv4Addr),
        vendor: &str,
        options: BTreeMap<u8, String>,
        now: Instant,
    ) {
        self.server(interface, address, now).gives.insert(vendor.to_owned(), options);
    }

    /// A server that is to be told of: at once when it is new, later now and then.
    pub fn next_told(&mut self, now: Instant) -> Option<Server> {
        let is_due = |server: &&mut Server| server.count > 0 && server.is_due(now);
        let server = self.0.values_mut().find(is_due)?;
        server.told = Some(now);
        Some(Server { count: std::mem::take(&mut server.count), ..server.clone() })
    }

    /// When the next one is to be told of.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|server| server.count > 0);
        waiting.map(|server| server.told.map_or(server.at, |told| told + TOLD_EVERY)).min()
    }

    fn server(&mut self, interface: u32, address: Ipv4Addr, now: Instant) -> &mut Server {
        let key = (interface, address);
        if !self.0.contains_key(&key) && self.0.len() >= SERVERS_MAX {
            let silent = self.0.iter().min_by_key(|(_, server)| server.at).map(|(key, _)| *key);
            silent.and_then(|key| self.0.remove(&key));
        }
        let server = self.0.entry(key).or_insert_with(|| Server {
            interface,
            address,
            mac: None,
            gives: BTreeMap::new(),
            count: 0,
            at: now,
            told: None,
        });
        server.at = now;
        server
    }
}

impl Server {
    fn is_due(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn a_server_is_told_at_once_and_then_now_and_then() {
        let clock = Clock::manual(Timestamp(0));
        let mut servers = Servers::default();
        let mac = "001565010203".parse().ok();
        servers.met(2, ADDRESS, None, clock.instant());
        let told = servers.next_told(clock.instant()).unwrap();
        assert_eq!((told.address, told.mac, told.count), (ADDRESS, None, 1));
        assert_eq!(servers.poll_timeout(), None);
        for _ in 0..1_000 {
            servers.met(2, ADDRESS, mac, clock.instant());
        }
        let options = BTreeMap::from([(66, "http://192.0.2.9/".to_owned())]);
        servers.gave((2, ADDRESS), "snom", options.clone(), clock.instant());
        assert_eq!(servers.next_told(clock.instant()), None);
        let due = servers.poll_timeout().unwrap();
        clock.advance(TOLD_EVERY);
        assert_eq!(due, clock.instant());
        let told = servers.next_told(clock.instant()).unwrap();
        assert_eq!((told.mac, told.count, &told.gives["snom"]), (mac, 1_000, &options));
        assert_eq!(servers.next_told(clock.instant()), None);
    }

    #[test]
    fn invented_servers_do_not_grow_the_memory() {
        let clock = Clock::manual(Timestamp(0));
        let mut servers = Servers::default();
        for n in 0..10_000_u32 {
            servers.met(2, Ipv4Addr::from(n), None, clock.instant());
        }
        assert_eq!(servers.0.len(), SERVERS_MAX);
    }
}
