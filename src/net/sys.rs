//! What no safe wrapper offers, and nothing else: the one module with unsafe code.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

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
