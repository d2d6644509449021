//! The ear: hears the group on every usable interface, and follows the interfaces as they come, go and change.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use tracing::{info, warn};

use super::PnpError;
use crate::config::PnpReceive;
use crate::net::interfaces::{Interface, Table};
use crate::net::packet::GroupTap;
use crate::net::udp::{Datagram, UdpEndpoint};
use crate::pnp::message::DATAGRAM_BYTES_MAX;

/// The socket that hears the group. Cheap to clone: one clone reads, another joins and leaves.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    socket: Socket,
    group: SocketAddrV4,
}

#[derive(Debug, Clone)]
enum Socket {
    Udp(Arc<UdpEndpoint>),
    Packet(Arc<GroupTap>),
}

impl Ear {
    /// Opens the socket that is configured; where a PBX holds the port for itself, a packet socket instead.
    pub(super) fn open(group: SocketAddrV4, receive: PnpReceive) -> Result<Self, PnpError> {
        let failed = |source| PnpError::Ear { group, source };
        let socket = match receive {
            PnpReceive::Udp => match udp(group) {
                Ok(endpoint) => Socket::Udp(Arc::new(endpoint)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => match GroupTap::open(group) {
                    Ok(tap) => {
                        info!(
                            "UDP port {} is held by another program; hearing {group} by a packet socket beside it",
                            group.port()
                        );
                        Socket::Packet(Arc::new(tap))
                    }
                    Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => {
                        return Err(PnpError::Held { group });
                    }
                    Err(error) => return Err(failed(error)),
                },
                Err(error) => return Err(failed(error)),
            },
            PnpReceive::Packet => match GroupTap::open(group) {
                Ok(tap) => Socket::Packet(Arc::new(tap)),
                Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(PnpError::PacketDenied { group });
                }
                Err(error) => return Err(failed(error)),
            },
        };
        let group = match &socket {
            Socket::Udp(endpoint) => {
                SocketAddrV4::new(*group.ip(), endpoint.local_addr().map_err(failed)?.port())
            }
            Socket::Packet(_) => group,
        };
        Ok(Self { socket, group })
    }

    /// What it hears; the port is the one the kernel gave when 0 was asked for.
    pub(super) fn group(&self) -> SocketAddrV4 {
        self.group
    }

    /// How it hears.
    pub(super) fn receive(&self) -> PnpReceive {
        match self.socket {
            Socket::Udp(_) => PnpReceive::Udp,
            Socket::Packet(_) => PnpReceive::Packet,
        }
    }

    /// Whether the kernel granted less receive buffer than was asked.
    pub(super) fn is_clamped(&self) -> bool {
        match &self.socket {
            Socket::Udp(endpoint) => endpoint.is_clamped(),
            Socket::Packet(tap) => tap.is_clamped(),
        }
    }

    /// Waits for the next datagram; its bytes stand at the beginning of `buffer`.
    pub(super) async fn recv(&self, buffer: &mut Vec<u8>) -> io::Result<Datagram> {
        match &self.socket {
            Socket::Udp(endpoint) => {
                buffer.resize(DATAGRAM_BYTES_MAX + 1, 0);
                endpoint.recv(buffer).await
            }
            Socket::Packet(tap) => tap.recv(buffer).await,
        }
    }

    fn join(&self, interface: u32) -> io::Result<()> {
        match &self.socket {
            Socket::Udp(endpoint) => endpoint.join(*self.group.ip(), interface),
            Socket::Packet(tap) => tap.join(interface),
        }
    }

    fn leave(&self, interface: u32) -> io::Result<()> {
        match &self.socket {
            Socket::Udp(endpoint) => endpoint.leave(*self.group.ip(), interface),
            Socket::Packet(tap) => tap.leave(interface),
        }
    }
}

/// Bound to the group's own address and shared: datagrams for other addresses of this port stay with whoever has them,
/// and groups that other programs join do not come here.
fn udp(group: SocketAddrV4) -> io::Result<UdpEndpoint> {
    UdpEndpoint::bind_with(SocketAddr::V4(group), |socket| {
        socket.set_reuse_address(true)?;
        socket.set_multicast_all_v4(false)
    })
}

/// On which interfaces the group is heard.
#[derive(Debug)]
pub(super) struct Membership {
    ear: Ear,
    joined: BTreeMap<u32, Interface>,
}

impl Membership {
    /// Of an ear that hears nothing yet.
    pub(super) fn new(ear: Ear) -> Self {
        Self { ear, joined: BTreeMap::new() }
    }

    /// Joins where an interface is new or has changed, and leaves where it is gone. An interface that changed is left
    /// and joined again, so that its switch hears of it, and because the kernel may have forgotten.
    pub(super) fn follow(&mut self, table: &Table) {
        let now: BTreeMap<u32, &Interface> =
            table.interfaces().iter().map(|interface| (interface.index, interface)).collect();
        let stale: Vec<u32> = self
            .joined
            .iter()
            .filter(|(index, known)| now.get(index).is_none_or(|interface| interface != known))
            .map(|(index, _)| *index)
            .collect();
        for index in stale {
            // An interface that is gone has taken its membership with it, except for the kernel's count of them.
            let _ = self.ear.leave(index);
            if let Some(gone) = self.joined.remove(&index).filter(|_| !now.contains_key(&index)) {
                info!("No longer hearing {} on {}", self.ear.group, gone.name);
            }
        }
        for (index, interface) in now {
            if self.joined.contains_key(&index) {
                continue;
            }
            match self.ear.join(index) {
                Ok(()) => info!("Hearing {} on {}", self.ear.group, interface.name),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    warn!(
                        "Cannot hear {} on {}: {error}; the kernel's limit is net.ipv4.igmp_max_memberships",
                        self.ear.group, interface.name
                    );
                    continue;
                }
            }
            self.joined.insert(index, interface.clone());
        }
    }
}
