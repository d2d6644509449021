//! Hears the UDP datagrams of one multicast group on every interface with a packet socket (`CAP_NET_RAW`), whatever
//! else holds the port. It only listens: nothing that another program is to receive is taken away from it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use nix::libc;
use socket2::{InterfaceIndexOrAddress, SockFilter, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

use super::frame::{self, step};
use super::udp::Datagram;

/// The longest IPv4 header and the UDP header: what comes before a datagram's bytes.
const HEADER_BYTES_MAX: usize = 60 + 8;

/// A packet socket that hears one group and port.
#[derive(Debug)]
pub struct GroupTap {
    socket: AsyncFd<Socket>,
    /// Makes the host a member of the group where it shall be heard: a packet socket tells no switch and no network
    /// card that anybody is interested.
    membership: UdpSocket,
    group: SocketAddrV4,
    is_clamped: bool,
}

impl GroupTap {
    /// Listens to `group`. `PermissionDenied` without `CAP_NET_RAW`.
    pub fn open(group: SocketAddrV4) -> io::Result<Self> {
        let ipv4 = i32::from(u16::try_from(libc::ETH_P_IP).unwrap_or_default().to_be());
        let (socket, is_clamped) = frame::open(Type::DGRAM, ipv4, &filter(group))?;
        let membership = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        membership.set_nonblocking(true)?;
        #[expect(deprecated, reason = "sound for a socket that this value owns and never lends out")]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, membership: UdpSocket::from_std(membership)?, group, is_clamped })
    }

    /// Whether the kernel granted less receive buffer than a storm needs.
    pub fn is_clamped(&self) -> bool {
        self.is_clamped
    }

    /// Hears the group on this interface.
    pub fn join(&self, interface: u32) -> io::Result<()> {
        SockRef::from(&self.membership)
            .join_multicast_v4_n(self.group.ip(), &InterfaceIndexOrAddress::Index(interface))
    }

    /// Stops hearing the group on this interface.
    pub fn leave(&self, interface: u32) -> io::Result<()> {
        SockRef::from(&self.membership)
            .leave_multicast_v4_n(self.group.ip(), &InterfaceIndexOrAddress::Index(interface))
    }

    /// Waits for the next datagram to the group; its bytes come to the beginning of `buffer`.
    pub async fn recv(&self, buffer: &mut Vec<u8>) -> io::Result<Datagram> {
        loop {
            let bytes_max = buffer.capacity().max(HEADER_BYTES_MAX);
            let read = |socket: &Socket| frame::receive(socket, buffer, bytes_max);
            let link = self.socket.async_io(Interest::READABLE, read).await?;
            // Something else may have come in before the filter stood.
            let Some((from, to)) = frame::unwrap(buffer).filter(|(_, to)| *to == self.group) else {
                continue;
            };
            return Ok(Datagram {
                len: buffer.len(),
                from: from.into(),
                local: IpAddr::V4(*to.ip()),
                interface: frame::interface_of(link.as_ref()),
            });
        }
    }
}

/// A buffer for datagrams of up to this many bytes, with room for their headers.
pub fn buffer(datagram_bytes: usize) -> Vec<u8> {
    Vec::with_capacity(datagram_bytes + HEADER_BYTES_MAX)
}

/// The classic BPF program: unfragmented UDP to this group and port that is meant for this host. It runs on the IPv4
/// header, because the socket is a datagram one.
fn filter(group: SocketAddrV4) -> [SockFilter; 13] {
    use step::{
        JUMP_IF_ANY_BIT, JUMP_IF_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_HALF_BEHIND_HEADER, LOAD_HEADER_LENGTH,
        LOAD_WORD,
    };
    let step = SockFilter::new;
    let [kind, another, take, refuse] = frame::ending();
    [
        step(LOAD_BYTE, 0, 0, 9),
        step(JUMP_IF_EQUAL, 0, 10, 17),
        step(LOAD_WORD, 0, 0, 16),
        step(JUMP_IF_EQUAL, 0, 8, u32::from(*group.ip())),
        // More fragments to come, or not the first one.
        step(LOAD_HALF, 0, 0, 6),
        step(JUMP_IF_ANY_BIT, 6, 0, 0x3fff),
        step(LOAD_HEADER_LENGTH, 0, 0, 0),
        step(LOAD_HALF_BEHIND_HEADER, 0, 0, 2),
        step(JUMP_IF_EQUAL, 0, 3, u32::from(group.port())),
        kind,
        another,
        take,
        refuse,
    ]
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Protocol};

    use super::*;

    const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 1, 75), 45_060);

    fn loopback() -> u32 {
        nix::net::if_::if_nametoindex("lo").unwrap()
    }

    /// A socket whose multicasts go to this host itself.
    fn phone() -> std::net::UdpSocket {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.into()
    }

    #[tokio::test]
    async fn the_group_is_heard_while_another_program_holds_the_port_for_itself() {
        let holder = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GROUP.port())).unwrap();
        let tap = match GroupTap::open(GROUP) {
            Ok(tap) => tap,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        };
        tap.join(loopback()).unwrap();
        let phone = phone();
        let other_port = SocketAddrV4::new(*GROUP.ip(), GROUP.port() + 1);
        for (bytes, to) in [("not ours", other_port), ("", GROUP), ("heard", GROUP)] {
            phone.send_to(bytes.as_bytes(), to).unwrap();
        }
        phone.send_to(b"unicast", (Ipv4Addr::LOCALHOST, GROUP.port())).unwrap();
        phone.send_to(&[b'x'; 3000], GROUP).unwrap();
        phone.send_to(b"last", GROUP).unwrap();
        let mut heard = Vec::new();
        let mut bytes = buffer(2000);
        while heard.last().is_none_or(|last| last != "last") {
            let datagram = tap.recv(&mut bytes).await.unwrap();
            assert_eq!((datagram.interface, datagram.len), (loopback(), bytes.len()));
            assert_eq!(
                (datagram.from, datagram.local),
                (phone.local_addr().unwrap(), IpAddr::V4(*GROUP.ip()))
            );
            heard.push(String::from_utf8(bytes.clone()).unwrap());
        }
        assert_eq!(heard, ["", "heard", "last"]);
        let mut kept = [0; 64];
        let len = std::iter::repeat_with(|| holder.recv(&mut kept).unwrap());
        assert!(len.into_iter().any(|len| len == 7), "the other program still gets what is sent to it");
    }
}
