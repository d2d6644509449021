//! HTTP/1.1 GETs from the phones' side, on sockets that do not wait: one connection's state, and the closed loop
//! over kept connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use crate::phones::Phones;
use crate::{HttpArgs, quantiles};

/// One connection with one request on its way.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    request: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    begun: Instant,
}

/// A complete answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) took: Duration,
}

impl Connection {
    /// Begins to connect from the phone's own address.
    pub(crate) fn open(from: Ipv4Addr, to: SocketAddrV4) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        socket.bind(&SocketAddrV4::new(from, 0).into()).expect("the phone's address is ours");
        if let Err(error) = socket.connect(&to.into()) {
            assert_eq!(error.raw_os_error(), Some(nix::libc::EINPROGRESS), "connecting to {to}: {error}");
        }
        Self { socket, request: Vec::new(), sent: 0, received: Vec::new(), begun: Instant::now() }
    }

    pub(crate) fn ask(&mut self, host: SocketAddrV4, path: &str, user_agent: &str, keep: bool) {
        let connection = if keep { "keep-alive" } else { "close" };
        self.request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nConnection: {connection}\r\n\r\n"
        )
        .into_bytes();
        self.ask_again();
    }

    /// The same request once more, on the same connection.
    pub(crate) fn ask_again(&mut self) {
        self.sent = 0;
        self.received.clear();
        self.begun = Instant::now();
    }

    /// Goes as far as the socket lets it; a complete answer when there is one.
    pub(crate) fn advance(&mut self, buffer: &mut [u8]) -> Option<Answer> {
        while self.sent < self.request.len() {
            match self.socket.write(&self.request[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return None;
                }
                Err(error) => panic!("sending a request: {error}"),
            }
        }
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return self.answer(true),
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    if let Some(answer) = self.answer(false) {
                        return Some(answer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("reading an answer: {error}"),
            }
        }
    }

    fn answer(&self, ended: bool) -> Option<Answer> {
        let end = self.received.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            assert!(!ended, "the server closed without an answer");
            return None;
        };
        let head = String::from_utf8_lossy(&self.received[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let body = self.received.len() - end - 4;
        let complete = length.map_or(ended, |length| body >= length);
        assert!(complete || !ended, "the answer ended after {body} bytes");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        complete.then(|| Answer { status, bytes: body, took: self.begun.elapsed() })
    }
}

/// A connection's events: it can be written, read, or is over.
pub(crate) fn interest(slot: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, slot as u64)
}

/// `connections` phones ask for their own path, `repeat` times each, then the next phones do.
pub(crate) fn run(args: &HttpArgs) -> serde_json::Value {
    let phones = Phones::new(&args.phones);
    let paths: Vec<String> =
        std::fs::read_to_string(&args.paths).expect("the paths").lines().map(str::to_owned).collect();
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let mut next = 0;
    let mut open = |slot: usize| {
        let phone = next % phones.count;
        next += 1;
        let mut connection = Connection::open(phones.address(phone), args.server);
        let path = &paths[phone as usize % paths.len()];
        connection.ask(args.server, path, &Phones::user_agent(phone), true);
        epoll.add(connection.socket.as_fd(), interest(slot)).unwrap();
        (connection, args.repeat)
    };
    let mut slots: Vec<(Connection, u32)> = (0..args.connections as usize).map(&mut open).collect();
    let (mut times, mut bytes, mut refused) = (Vec::new(), 0, 0);
    let mut buffer = vec![0; 262_144];
    let mut events = vec![EpollEvent::empty(); 1024];
    let begun = Instant::now();
    while times.len() < args.count as usize {
        let ready = epoll.wait(&mut events, EpollTimeout::try_from(Duration::from_secs(5)).unwrap()).unwrap();
        assert!(ready > 0, "no answer within 5 s after {} of {}", times.len(), args.count);
        for event in &events[..ready] {
            let slot = usize::try_from(event.data()).unwrap();
            while let Some(answer) = slots[slot].0.advance(&mut buffer) {
                times.push(answer.took);
                bytes += answer.bytes;
                refused += u32::from(answer.status != 200);
                slots[slot].1 -= 1;
                if slots[slot].1 == 0 {
                    slots[slot] = open(slot);
                    break;
                }
                slots[slot].0.ask_again();
            }
        }
    }
    let span = begun.elapsed().as_secs_f64();
    serde_json::json!({
        "count": times.len(),
        "refused": refused,
        "bytes_each": bytes / times.len(),
        "last_s": span,
        "per_s": times.len() as f64 / span,
        "ms": quantiles(times),
    })
}
