//! The least that a DHCP server can cost here: it answers the four packets, makes each lease durable where it is told to,
//! and decides nothing. It asks no inventory, keeps no pool, reads no options but the message type, and tells nobody.
//! What a server needs above this is its own work.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::FloorArgs;
use crate::message::{ACK, DISCOVER, OFFER};

/// Where the options begin, and where the message type of the generator's questions stands.
const OPTIONS: usize = 240;
const KIND: usize = OPTIONS + 2;
/// BOOTP's size.
const SIZE: usize = 300;
/// Questions that are taken before what they lead to is done.
const BATCH: usize = 256;

/// Answers until it is killed.
pub(crate) fn run(args: &FloorArgs) -> ! {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let bytes = 16 << 20;
    if setsockopt(&socket, sockopt::RcvBufForce, &bytes).is_err() {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    socket.set_nonblocking(true).unwrap();
    socket.bind(&args.listen.into()).expect("the port is free");
    let mut journal = args.journal.as_ref().map(|file| File::create(file).unwrap());
    let mut question = [0; 2048];
    let (mut records, mut waiting) = (Vec::new(), Vec::new());
    loop {
        crate::wait(&socket, Duration::from_secs(1));
        for _ in 0..BATCH {
            let len = match std::io::Read::read(&mut &socket, &mut question) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("receiving: {error}"),
            };
            if len <= KIND {
                continue;
            }
            let is_discover = question[KIND] == DISCOVER;
            let (answer, relay) = answer(
                &question[..len],
                if is_discover { OFFER } else { ACK },
                args.first,
                *args.listen.ip(),
            );
            if is_discover || journal.is_none() {
                send(&socket, &answer, &relay);
            } else {
                records.extend_from_slice(&answer[16..34]);
                waiting.push((answer, relay));
            }
        }
        if let Some(journal) = journal.as_mut().filter(|_| !waiting.is_empty()) {
            journal.write_all(&records).unwrap();
            journal.sync_data().unwrap();
            records.clear();
            waiting.drain(..).for_each(|(answer, relay)| send(&socket, &answer, &relay));
        }
    }
}

/// The phone's number is its exchange's, and says which address it gets.
fn answer(question: &[u8], kind: u8, first: Ipv4Addr, server: Ipv4Addr) -> ([u8; SIZE], SockAddr) {
    let mut answer = [0; SIZE];
    answer[..OPTIONS].copy_from_slice(&question[..OPTIONS]);
    answer[0] = 2;
    let number = u32::from_be_bytes(question[4..8].try_into().unwrap());
    answer[16..20].copy_from_slice(&(u32::from(first) + number).to_be_bytes());
    answer[OPTIONS..OPTIONS + 3].copy_from_slice(&[53, 1, kind]);
    answer[OPTIONS + 3..OPTIONS + 5].copy_from_slice(&[54, 4]);
    answer[OPTIONS + 5..OPTIONS + 9].copy_from_slice(&server.octets());
    answer[OPTIONS + 9..OPTIONS + 15].copy_from_slice(&[51, 4, 0, 0, 14, 16]);
    answer[OPTIONS + 15] = 255;
    let relay: [u8; 4] = question[24..28].try_into().unwrap();
    (answer, SocketAddrV4::new(relay.into(), 67).into())
}

fn send(socket: &Socket, answer: &[u8], to: &SockAddr) {
    while let Err(error) = socket.send_to(answer, to) {
        assert!(error.kind() == ErrorKind::WouldBlock, "sending: {error}");
        std::thread::yield_now();
    }
}
