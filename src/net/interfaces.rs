//! The host's interfaces and IPv4 addresses as they are now, and a signal when they change.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures_util::StreamExt;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use rtnetlink::MulticastGroup;
use tokio::sync::watch;

use super::Prefix;
use crate::device::Mac;

/// An interface with its IPv4 addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number; what a packet's arrival is told by.
    pub index: u32,
    /// `eth0`
    pub name: String,
    /// Its own hardware address, where it has one.
    pub mac: Option<Mac>,
    /// Addresses and the subnets they stand in.
    pub addresses: Vec<(Ipv4Addr, Prefix)>,
    /// Up and running.
    pub up: bool,
    /// Can send and receive multicast.
    pub multicast: bool,
    /// This host talking to itself.
    pub loopback: bool,
}

/// All usable interfaces at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    interfaces: Vec<Interface>,
    left_out: Vec<Interface>,
}

impl Table {
    /// Reads the kernel's table. `only` names the interfaces to use; when it is empty, every interface that is up,
    /// can multicast and is not loopback is used.
    pub fn read(only: &[String]) -> io::Result<Self> {
        let wanted = |interface: &Interface| match only {
            [] => interface.multicast && !interface.loopback,
            names => names.contains(&interface.name),
        };
        let (mut interfaces, mut left_out) = (Vec::new(), Vec::new());
        for interface in every()?.into_iter().filter(|one| one.up && !one.addresses.is_empty()) {
            if wanted(&interface) {
                interfaces.push(interface);
            } else if !only.is_empty() && !interface.loopback {
                left_out.push(interface);
            }
        }
        Ok(Self { interfaces, left_out })
    }

    /// The table of these interfaces: for tests of decisions.
    pub fn of(interfaces: Vec<Interface>) -> Self {
        Self { interfaces, left_out: Vec::new() }
    }

    /// The same beside interfaces that are not to be used.
    #[must_use]
    pub fn leaving_out(self, left_out: Vec<Interface>) -> Self {
        Self { left_out, ..self }
    }

    /// The usable interfaces, by name.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Interfaces that could be used and that nobody named: what is on their links is no business of ours.
    pub fn left_out(&self) -> &[Interface] {
        &self.left_out
    }

    /// The interface on whose subnet the address lies, and our own address in that subnet. `index` narrows the search
    /// to the interface a packet arrived on: two interfaces may have the same subnet.
    pub fn on_link(&self, address: Ipv4Addr, index: Option<u32>) -> Option<(&Interface, Ipv4Addr)> {
        let arrived = |interface: &&Interface| index.is_none_or(|index| interface.index == index);
        self.interfaces.iter().filter(arrived).find_map(|interface| {
            let ours = interface.addresses.iter().find(|(_, prefix)| prefix.contains(address))?;
            Some((interface, ours.0))
        })
    }

    /// Whether this address is one of our own.
    pub fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.interfaces.iter().flat_map(|interface| &interface.addresses).any(|(ours, _)| *ours == address)
    }
}

/// Every interface, by name, whether anything can be done with it or not.
pub fn every() -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs()? {
        let interface = found.entry(entry.interface_name.clone()).or_insert_with(|| named(&entry));
        if let Some(link) = entry.address.as_ref().and_then(|address| address.as_link_addr()) {
            interface.index = u32::try_from(link.ifindex()).unwrap_or(0);
            interface.mac = link.addr().and_then(Mac::new);
        }
        interface.addresses.extend(ipv4(&entry));
    }
    Ok(found.into_values().collect())
}

fn named(entry: &InterfaceAddress) -> Interface {
    Interface {
        index: nix::net::if_::if_nametoindex(entry.interface_name.as_str()).unwrap_or(0),
        name: entry.interface_name.clone(),
        mac: None,
        addresses: Vec::new(),
        up: entry.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING),
        multicast: entry.flags.contains(InterfaceFlags::IFF_MULTICAST),
        loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
    }
}

fn ipv4(entry: &InterfaceAddress) -> Option<(Ipv4Addr, Prefix)> {
    let address = entry.address.as_ref()?.as_sockaddr_in()?.ip();
    let mask = entry.netmask.as_ref()?.as_sockaddr_in()?.ip();
    let bits = u8::try_from(u32::from(mask).count_ones()).ok()?;
    Some((address, Prefix::new(address, bits)?))
}

/// The live table.
#[derive(Debug, Clone)]
pub struct Interfaces {
    current: watch::Receiver<Arc<Table>>,
}

impl Interfaces {
    /// Reads the table, and again whenever the kernel says that a link or an address changed. The watcher ends with
    /// the last `Interfaces`.
    pub fn watch(only: Vec<String>) -> io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let (connection, handle, mut changes) = rtnetlink::new_multicast_connection(&groups)?;
        let (publish, current) = watch::channel(Arc::new(Table::read(&only)?));
        let connection = tokio::spawn(connection);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = publish.closed() => break,
                    change = changes.next() => if change.is_none() { break },
                }
                match Table::read(&only) {
                    Ok(table) => {
                        publish.send_if_modified(|known| {
                            let differs = **known != table;
                            if differs {
                                *known = Arc::new(table);
                            }
                            differs
                        });
                    }
                    Err(error) => tracing::warn!("Cannot read the interfaces again: {error}"),
                }
            }
            drop(handle);
            connection.abort();
        });
        Ok(Self { current })
    }

    /// A table that never changes: for tests and the demonstration.
    pub fn fixed(table: Table) -> Self {
        Self { current: watch::channel(Arc::new(table)).1 }
    }

    /// The table as it is now.
    pub fn current(&self) -> Arc<Table> {
        self.current.borrow().clone()
    }

    /// Waits for the next change. Never returns when there can be none.
    pub async fn changed(&mut self) {
        if self.current.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, address: [u8; 4], bits: u8) -> Interface {
        let address = Ipv4Addr::from(address);
        Interface {
            index,
            name: name.to_owned(),
            mac: None,
            addresses: vec![(address, Prefix::new(address, bits).unwrap())],
            up: true,
            multicast: true,
            loopback: false,
        }
    }

    #[test]
    fn the_same_subnet_on_two_interfaces_is_told_apart_by_arrival() {
        let table = Table::of(vec![
            interface(2, "eth0", [192, 168, 1, 1], 24),
            interface(3, "eth1", [192, 168, 1, 2], 24),
        ]);
        let phone = Ipv4Addr::new(192, 168, 1, 50);
        assert_eq!(table.on_link(phone, Some(3)).unwrap().1, Ipv4Addr::new(192, 168, 1, 2));
        assert_eq!(table.on_link(phone, None).unwrap().1, Ipv4Addr::new(192, 168, 1, 1));
        assert!(table.on_link(Ipv4Addr::new(10, 0, 0, 1), None).is_none());
        assert!(table.is_ours(Ipv4Addr::new(192, 168, 1, 2)));
    }

    #[test]
    fn loopback_is_used_only_by_name() {
        let named = Table::read(&["lo".to_owned()]).unwrap();
        assert!(named.on_link(Ipv4Addr::new(127, 0, 0, 9), None).is_some());
        assert!(Table::read(&[]).unwrap().interfaces().iter().all(|interface| !interface.loopback));
    }
}
