//! The shell of a survey: sends its questions, hears the answers on a packet socket, and sees to it that the rarer ones
//! stay rare. Needs `CAP_NET_RAW`.

mod turn;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use socket2::{Domain, Socket, Type};

pub use turn::Turn;

use super::Packet;
use super::message::Message;
use super::probe::{Asker, Responder, Sending, Survey};
use crate::clock::{Clock, Entropy};
use crate::net::raw::Raw;
use crate::net::wire::{Receiver, Wire};

/// A server's port and a client's.
const PORTS: [u16; 2] = [67, 68];
/// How a question is written: what one frame holds.
const QUESTION_BYTES_MAX: usize = 1472;

/// Asks until the survey is over.
pub async fn ask(survey: &mut Survey, clock: &Clock) -> io::Result<()> {
    let mouth = Mouth::open(survey)?;
    let mut buffer = Vec::new();
    loop {
        while let Some(sending) = survey.next_command() {
            mouth.say(&sending)?;
        }
        let Some(at) = survey.poll_timeout() else { return Ok(()) };
        tokio::select! {
            heard = mouth.wire.recv(&mut buffer) => {
                let frame = heard?;
                if let Ok(message) = Message::read(&buffer) {
                    let (interface, sender, is_own_hosts) = (frame.interface, frame.sender, frame.is_own_hosts);
                    survey.handle(&Packet { interface, sender, is_own_hosts, from: frame.from, to: frame.to, message });
                }
            }
            () = tokio::time::sleep_until(at.into()) => survey.handle_timeout(clock.instant()),
        }
    }
}

/// Looks for DHCP servers on a network: half a minute of silence, or who answered. A server on this host that listens by
/// an ordinary socket does not hear it; its socket is what shows it. `is_candidate`: to answer there as well.
pub async fn search(
    asker: Asker,
    is_candidate: bool,
    clock: &Clock,
    entropy: &Entropy,
) -> io::Result<BTreeSet<Responder>> {
    let mut survey = Survey::search(asker, is_candidate, number(entropy)?, clock.instant());
    ask(&mut survey, clock).await?;
    Ok(survey.responders())
}

/// A number for a survey's exchanges.
pub fn number(entropy: &Entropy) -> io::Result<u32> {
    entropy.bytes().map(u32::from_be_bytes).map_err(io::Error::other)
}

/// What questions leave by.
struct Mouth {
    interface: u32,
    wire: Wire,
    /// Along the routes, to one server.
    routed: Raw,
    /// To everybody on the link, this host included.
    broadcast: Raw,
    /// While somebody has the client's port, the kernel does not tell the server that nobody has it.
    _port: Option<UdpSocket>,
}

impl Mouth {
    fn open(survey: &Survey) -> io::Result<Self> {
        let Asker { interface, address, .. } = survey.asker();
        let name = nix::net::if_::if_indextoname(interface)?;
        let name = name.to_str().map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Self {
            interface,
            wire: Wire::open(PORTS)?,
            routed: Raw::open(None)?,
            broadcast: Raw::open(Some(name))?,
            // In use: the host's own DHCP client has it. Not allowed: then the server is told, and does not mind.
            _port: hold(address).ok(),
        })
    }

    fn say(&self, sending: &Sending) -> io::Result<()> {
        let bytes = sending.draft.write(QUESTION_BYTES_MAX).bytes;
        let (from, to) = (sending.from, sending.to);
        if from.ip().is_unspecified() {
            self.wire.send(self.interface, Receiver::Everybody, from, to, &bytes)
        } else if to.ip().is_broadcast() {
            self.broadcast.send(from, to, &bytes)
        } else {
            self.routed.send(from, to, &bytes)
        }
    }
}

/// Takes the client's port of an address if it is free, and lets others have it as well from then on.
fn hold(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.bind(&std::net::SocketAddrV4::new(address, PORTS[1]).into())?;
    socket.set_reuse_address(true)?;
    Ok(socket.into())
}
