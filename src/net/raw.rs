//! Sends datagrams by this host's own IP stack from a port that nobody has bound (`CAP_NET_RAW`): along its routes, and
//! what is for everybody also to this host itself, which a packet socket's frames never reach.

use std::io;
use std::net::SocketAddrV4;

use socket2::{Domain, Protocol, Socket, Type};

use super::wire;

/// A raw socket.
#[derive(Debug)]
pub struct Raw {
    socket: Socket,
}

impl Raw {
    /// Opens one. What is sent to everybody goes out by `interface`; without it, datagrams go where the routes lead.
    pub fn open(interface: Option<&str>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(nix::libc::IPPROTO_RAW)))?;
        socket.set_nonblocking(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(interface.map(str::as_bytes))?;
        Ok(Self { socket })
    }

    /// Sends one datagram; `from` is one of this host's addresses.
    pub fn send(&self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let datagram = wire::wrap(from, to, payload).ok_or(io::ErrorKind::InvalidInput)?;
        self.socket.send_to(&datagram, &SocketAddrV4::new(*to.ip(), 0).into()).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_datagram_comes_from_the_port_that_it_names() {
        let raw = match Raw::open(Some("lo")) {
            Ok(raw) => raw,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        };
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let std::net::SocketAddr::V4(to) = server.local_addr().unwrap() else { panic!("bound to IPv4") };
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 68);
        raw.send(from, to, b"a question").unwrap();
        let mut heard = [0; 64];
        let (length, sender) = server.recv_from(&mut heard).unwrap();
        assert_eq!((&heard[..length], sender), (&b"a question"[..], from.into()));
    }
}
