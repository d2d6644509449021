//! What no safe wrapper offers, and nothing else: the one module with unsafe code.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use socket2::{SockAddr, SockAddrStorage};

use crate::device::Mac;

/// How many octets of a TCP connection the peer has not acknowledged yet (`SIOCOUTQ`, tcp(7)); an unacknowledged FIN
/// counts as one.
#[expect(unsafe_code, reason = "neither std, socket2 nor nix wrap this ioctl")]
pub fn unacknowledged_bytes(stream: BorrowedFd<'_>) -> io::Result<usize> {
    let mut queued: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel writes one int, and `queued` is one.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(queued).unwrap_or(0))
}

/// A packet socket's address (packet(7)): this host on an interface's link, or everybody there; `protocol` is the Ethernet
/// type. Interface 0 is all of them.
#[expect(unsafe_code, reason = "neither socket2 nor nix make a packet socket's address")]
pub fn on_link(interface: u32, protocol: u16, host: Option<Mac>) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: `sockaddr_ll` is one of the addresses that the storage is made for; any bytes of it are valid numbers.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(interface).unwrap_or_default();
    address.sll_halen = 6;
    for (octet, of_host) in address.sll_addr.iter_mut().zip(host.map_or([0xff; 6], Mac::octets)) {
        *octet = of_host;
    }
    // SAFETY: the storage holds an address of this family, and `length` is its type's.
    unsafe { SockAddr::new(storage, length) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn an_address_on_a_link_is_a_packet_sockets() {
        let address = on_link(7, 0x0806, None);
        assert_eq!(i32::from(address.family()), libc::AF_PACKET);
        assert_eq!(usize::try_from(address.len()).unwrap(), size_of::<libc::sockaddr_ll>());
    }

    #[test]
    fn what_a_full_peer_has_not_taken_is_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        far.write_all(b"y").unwrap();
        near.read_exact(&mut [0]).unwrap(); // What comes back carries the acknowledgement.
        assert_eq!(unacknowledged_bytes(near.as_fd()).unwrap(), 0);
        near.set_nonblocking(true).unwrap();
        let plenty = vec![0; 65_536];
        while near.write(&plenty).is_ok() {}
        assert!(unacknowledged_bytes(near.as_fd()).unwrap() > 0);
    }
}
