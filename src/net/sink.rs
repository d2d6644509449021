//! Holds a UDP port of one interface and hears nothing: who sends there is not told that nobody listens, and no other
//! program can take the port.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// A port that is held as long as this value lives.
#[derive(Debug)]
pub struct Sink {
    _socket: Socket,
}

impl Sink {
    /// Holds the port on every address of this interface. `AddrInUse` when another program has it there, or everywhere;
    /// `PermissionDenied` below 1024 without `CAP_NET_BIND_SERVICE`.
    pub fn hold(interface: &str, port: u16) -> io::Result<Self> {
        const RETURN: u16 = 0x06;
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        Ok(Self { _socket: socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_held_port_is_taken_and_silent() {
        let held = Sink::hold("lo", 45_167).unwrap();
        assert_eq!(Sink::hold("lo", 45_167).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(UdpSocket::bind("0.0.0.0:45167").unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:45167").unwrap();
        for _ in 0..3 {
            // With nobody there, the second one would fail with ECONNREFUSED.
            client.send(b"renew").unwrap();
        }
        drop(held);
        assert!(UdpSocket::bind("0.0.0.0:45167").is_ok());
    }
}
