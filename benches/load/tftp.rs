//! TFTP from the phones' side (RFC 1350, 2347-2349, 7440): one socket per transfer, timers as phones have them,
//! every block compared with the file it should be.

use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use crate::phones::Phones;
use crate::{TftpArgs, quantiles};

const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// One phone's transfer.
struct Transfer {
    socket: Socket,
    begun: Instant,
    repeat_at: Instant,
    server: Option<SocketAddrV4>,
    blksize: usize,
    window: u64,
    /// Blocks received in order.
    blocks: u64,
    /// Of those, the ones already acknowledged.
    acknowledged: u64,
    last_sent: Vec<u8>,
}

enum Step {
    Going,
    Done,
}

/// What all transfers share.
struct Run<'a> {
    args: &'a TftpArgs,
    expected: Vec<u8>,
    resent: u64,
    duplicates: u64,
}

pub(crate) fn run(args: &TftpArgs) -> serde_json::Value {
    let phones = Phones::new(&args.phones);
    let expected = std::fs::read(&args.compare).expect("the file to compare with");
    let mut run = Run { args, expected, resent: 0, duplicates: 0 };
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let mut transfers: Vec<Option<Transfer>> = Vec::new();
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs_f64(args.patience);
    let mut times = Vec::new();
    let mut last = begun;
    let start = |run: &Run<'_>, slot: usize, number: u32| {
        let transfer = run.start(phones, number);
        epoll.add(transfer.socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, slot as u64)).unwrap();
        transfer
    };
    for number in 0..args.clients.min(args.count) {
        let transfer = start(&run, transfers.len(), number);
        transfers.push(Some(transfer));
    }
    let mut next = args.clients.min(args.count);
    let mut buffer = vec![0; 65_536];
    let mut events = vec![EpollEvent::empty(); 1024];
    let mut next_look = begun;
    while times.len() < args.count as usize && last < deadline {
        let ready =
            epoll.wait(&mut events, EpollTimeout::try_from(Duration::from_millis(10)).unwrap()).unwrap();
        for event in &events[..ready] {
            let slot = usize::try_from(event.data()).unwrap();
            let Some(transfer) = transfers[slot].as_mut() else { continue };
            while let Some(step) = run.receive(transfer, &mut buffer) {
                if matches!(step, Step::Done) {
                    last = Instant::now();
                    times.push(last - transfer.begun);
                    transfers[slot] = (next < args.count).then(|| start(&run, slot, next));
                    next += 1;
                    break;
                }
            }
        }
        let now = Instant::now();
        if now >= next_look {
            next_look = now + Duration::from_millis(10);
            transfers.iter_mut().flatten().for_each(|transfer| run.repeat_due(transfer, now));
            if now >= deadline {
                break;
            }
        }
    }
    let span = (last - begun).as_secs_f64();
    serde_json::json!({
        "count": args.count,
        "done": times.len(),
        "lost": args.count as usize - times.len(),
        "resent": run.resent,
        "duplicates": run.duplicates,
        "last_s": span,
        "per_s": times.len() as f64 / span,
        "mbit_s": times.len() as f64 * run.expected.len() as f64 * 8.0 / span / 1e6,
        "ms": quantiles(times),
    })
}

impl Run<'_> {
    fn start(&self, phones: Phones, number: u32) -> Transfer {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.set_recv_buffer_size(4 << 20);
        socket.bind(&SocketAddrV4::new(phones.address(number % phones.count), 0).into()).unwrap();
        let mut request = vec![0, 1];
        let mut fields = vec![self.args.file.clone(), "octet".to_owned()];
        if self.args.blksize != 512 {
            fields.extend(["blksize".to_owned(), self.args.blksize.to_string()]);
        }
        if self.args.window > 1 {
            fields.extend(["windowsize".to_owned(), self.args.window.to_string()]);
        }
        for field in fields {
            request.extend(field.as_bytes());
            request.push(0);
        }
        let now = Instant::now();
        let mut transfer = Transfer {
            socket,
            begun: now,
            repeat_at: now,
            server: None,
            blksize: 512,
            window: 1,
            blocks: 0,
            acknowledged: 0,
            last_sent: request,
        };
        self.send(&mut transfer, now);
        transfer
    }

    fn send(&self, transfer: &mut Transfer, now: Instant) {
        let to = transfer.server.unwrap_or(self.args.server);
        transfer.socket.send_to(&transfer.last_sent, &to.into()).expect("sending");
        transfer.repeat_at = now + Duration::from_secs_f64(self.args.timer);
    }

    fn repeat_due(&mut self, transfer: &mut Transfer, now: Instant) {
        if now >= transfer.repeat_at {
            self.resent += 1;
            self.send(transfer, now);
        }
    }

    fn acknowledge(&self, transfer: &mut Transfer) {
        let block = u16::try_from(transfer.blocks & 0xffff).unwrap();
        transfer.acknowledged = transfer.blocks;
        transfer.last_sent = [ACK.to_be_bytes(), block.to_be_bytes()].concat();
        self.send(transfer, Instant::now());
    }

    /// Takes one packet; `None` when there is none.
    fn receive(&mut self, transfer: &mut Transfer, buffer: &mut [u8]) -> Option<Step> {
        let (length, from) = transfer_read(&transfer.socket, buffer)?;
        let packet = &buffer[..length];
        let from = *transfer.server.get_or_insert(from);
        assert_eq!(Some(from), transfer.server, "one transfer, one port");
        match u16::from_be_bytes([packet[0], packet[1]]) {
            OACK => {
                transfer.read_options(&packet[2..]);
                self.acknowledge(transfer);
            }
            DATA => {
                return Some(self.block(transfer, u16::from_be_bytes([packet[2], packet[3]]), &packet[4..]));
            }
            ERROR => panic!("TFTP error: {}", String::from_utf8_lossy(&packet[4..])),
            other => panic!("TFTP opcode {other}"),
        }
        Some(Step::Going)
    }

    fn block(&mut self, transfer: &mut Transfer, number: u16, data: &[u8]) -> Step {
        let due = u16::try_from((transfer.blocks + 1) & 0xffff).unwrap();
        if number != due {
            self.duplicates += 1;
            // A gap in a window: the server goes on after the last block we have (RFC 7440).
            if number.wrapping_sub(due) < 0x8000 && transfer.acknowledged != transfer.blocks {
                self.acknowledge(transfer);
            }
            return Step::Going;
        }
        let at = usize::try_from(transfer.blocks).unwrap() * transfer.blksize;
        assert!(self.expected.get(at..at + data.len()) == Some(data), "block {number} differs from the file");
        transfer.blocks += 1;
        let last = data.len() < transfer.blksize;
        if last {
            assert_eq!(at + data.len(), self.expected.len(), "the file ended early");
        }
        if last || transfer.blocks - transfer.acknowledged >= transfer.window {
            self.acknowledge(transfer);
        }
        if last { Step::Done } else { Step::Going }
    }
}

impl Transfer {
    fn read_options(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        let fields: Vec<&str> = text.split('\0').collect();
        for pair in fields.chunks_exact(2) {
            match pair[0] {
                "blksize" => self.blksize = pair[1].parse().unwrap(),
                "windowsize" => self.window = pair[1].parse().unwrap(),
                _ => {}
            }
        }
    }
}

fn transfer_read(socket: &Socket, buffer: &mut [u8]) -> Option<(usize, SocketAddrV4)> {
    use std::os::fd::AsRawFd;
    let received = nix::sys::socket::recvfrom::<nix::sys::socket::SockaddrIn>(socket.as_raw_fd(), buffer);
    match received {
        Ok((length, from)) => Some((length, from.unwrap().into())),
        Err(nix::errno::Errno::EAGAIN) => None,
        Err(error) => panic!("receiving: {error}"),
    }
}
