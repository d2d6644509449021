//! The boot storm: every phone begins at the same instant, with DHCP where there is a server. It subscribes when it has its
//! lease, and fetches its files, each on a new connection, as soon as it has its URL. Whatever address the lease gives,
//! it goes on from the one that the servers' neighbour table knows it by.

use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::dhcp::{self, Dhcp};
use crate::http::{Connection, interest};
use crate::phones::Phones;
use crate::pnp::{Pnp, Received};
use crate::{StormArgs, quantiles};

/// The PnP and the relay's socket among the events; phones count from 0.
const PNP: u64 = u64::MAX;
const RELAY: u64 = u64::MAX - 1;

struct Storm<'a> {
    args: &'a StormArgs,
    phones: Phones,
    epoll: Epoll,
    fetches: Vec<Option<Fetch>>,
    buffer: Vec<u8>,
    bytes: usize,
    refused: u64,
    gets: u64,
    fetched: Vec<Duration>,
}

/// A phone on its way through its files.
struct Fetch {
    connection: Connection,
    url: String,
    number: usize,
}

pub(crate) fn run(args: &StormArgs) -> serde_json::Value {
    let phones = Phones::new(&args.phones);
    let mut pnp = Pnp::new(phones, args.server, args.interface);
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    epoll.add(pnp.socket().as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, PNP)).unwrap();
    let mut relay = args.dhcp.zip(args.relay).map(|(server, relay)| Dhcp::new(phones, server, relay, true));
    if let Some(relay) = &relay {
        epoll.add(relay.socket().as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, RELAY)).unwrap();
    }
    let mut storm = Storm {
        args,
        phones,
        epoll,
        fetches: (0..phones.count).map(|_| None).collect(),
        buffer: vec![0; 262_144],
        bytes: 0,
        refused: 0,
        gets: 0,
        fetched: Vec::new(),
    };
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs_f64(args.patience);
    let mut done = Vec::new();
    let (mut leased, mut notified) = (Vec::new(), Vec::new());
    let mut events = vec![EpollEvent::empty(); 4096];
    (0..phones.count).for_each(|phone| match &mut relay {
        Some(relay) => relay.ask(phone, Instant::now()),
        None => pnp.subscribe(phone, Instant::now()),
    });
    while done.len() < phones.count as usize && Instant::now() < deadline {
        let ready = storm.epoll.wait(&mut events, EpollTimeout::from(5u8)).unwrap();
        for event in &events[..ready] {
            if let (RELAY, Some(relay)) = (event.data(), &mut relay) {
                loop {
                    match relay.receive() {
                        dhcp::Received::Nothing => break,
                        dhcp::Received::Part => {}
                        dhcp::Received::Leased(phone, took) => {
                            leased.push(took);
                            pnp.subscribe(phone, Instant::now());
                        }
                    }
                }
            } else if event.data() == PNP {
                loop {
                    match pnp.receive() {
                        Received::Nothing => break,
                        Received::Part => {}
                        Received::Served(served) => {
                            notified.push(served.took);
                            storm.fetch(served.phone, served.url, 0);
                        }
                    }
                }
            } else if storm.advance(u32::try_from(event.data()).unwrap()) {
                done.push(begun.elapsed());
            }
        }
        pnp.repeat_due(Instant::now());
        if let Some(relay) = &mut relay {
            relay.repeat_due(Instant::now());
        }
    }
    let asked_again = relay.as_ref().map_or(0, |relay| relay.resent);
    serde_json::json!({
        "phones": phones.count,
        "done": done.len(),
        "lost": phones.count as usize - done.len(),
        "resent": pnp.resent + asked_again,
        "dhcp_resent": asked_again,
        "notified_again": pnp.notified_again,
        "late": notified.iter().filter(|took| took.as_secs() >= 5).count(),
        "gets": storm.gets,
        "refused": storm.refused + relay.map_or(0, |relay| relay.refused),
        "bytes": storm.bytes,
        "last_s": done.last().map(Duration::as_secs_f64),
        "lease_ms": quantiles(leased),
        "notify_ms": quantiles(notified),
        "get_ms": quantiles(storm.fetched),
    })
}

impl Storm<'_> {
    /// Begins the phone's file `number` on a new connection.
    fn fetch(&mut self, phone: u32, url: String, number: usize) {
        let (host, _) = split(&url);
        let base = format!("http://{host}/");
        let target = self.args.get[number]
            .replace("{url}", &url)
            .replace("{base}", &base)
            .replace("{mac}", &Phones::mac(phone));
        let (host, path) = split(&target);
        let server: SocketAddrV4 = host.parse().unwrap_or_else(|_| panic!("no address and port in {target}"));
        let mut connection = Connection::open(self.phones.address(phone), server);
        connection.ask(server, path, &Phones::user_agent(phone), false);
        self.epoll.add(connection.socket.as_fd(), interest(phone as usize)).unwrap();
        self.fetches[phone as usize] = Some(Fetch { connection, url, number });
    }

    /// Goes on with the phone's file; whether that was its last.
    fn advance(&mut self, phone: u32) -> bool {
        let Some(fetch) = self.fetches[phone as usize].as_mut() else { return false };
        let Some(answer) = fetch.connection.advance(&mut self.buffer) else { return false };
        self.gets += 1;
        self.bytes += answer.bytes;
        self.refused += u64::from(answer.status != 200);
        self.fetched.push(answer.took);
        let (url, next) = (std::mem::take(&mut fetch.url), fetch.number + 1);
        self.fetches[phone as usize] = None;
        if next == self.args.get.len() {
            return true;
        }
        self.fetch(phone, url, next);
        false
    }
}

/// `http://HOST:PORT/path` as host with port and path.
fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not an http URL: {url}"));
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}
