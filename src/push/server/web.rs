//! One request to a phone's web server: after a look at who is behind the address, on a connection of its own, in one
//! write, with no redirect followed and no more read than a page.

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Parts, cannot};
use crate::device::Mac;
use crate::net::neighbours::{Held, Proved};
use crate::profile::{ANSWER_BYTES_MAX, WebAnswer, Whole};
use crate::push::decide::{Aim, NotSent, aim, may_send};
use crate::push::visit::{Heard, Request};

/// Where phones' pages are.
const PORT: u16 = 80;
/// From the first SYN on; a phone's slow web server takes one second.
const WITHIN: Duration = Duration::from_secs(3);

/// What came, not read yet.
#[derive(Debug)]
pub struct Octets(Option<Vec<u8>>);

impl Octets {
    /// What it is.
    pub fn heard(&self) -> Heard<'_> {
        match &self.0 {
            None => Heard::Nothing,
            Some(octets) => WebAnswer::read(octets).map_or(Heard::Dropped, Heard::Answer),
        }
    }
}

/// Where a phone is now, if it is there and nobody else.
pub async fn find(parts: &Parts, mac: Mac, address: IpAddr) -> Result<Aim, NotSent> {
    prove(parts, mac, address).await.map(|(aim, _)| aim)
}

/// Sends a request to the phone, and to nobody else.
pub async fn exchange(
    parts: &Parts,
    mac: Mac,
    address: IpAddr,
    request: &Request,
) -> Result<Octets, NotSent> {
    // As long as it is held, the kernel sends to that host, where it can be told to.
    let (place, _held) = prove(parts, mac, address).await?;
    let mut answer = Vec::new();
    match timeout(WITHIN, ask(&place, &request.bytes, &mut answer)).await {
        Err(_) | Ok(Err(Ended::Unopened)) if answer.is_empty() => Ok(Octets(None)),
        Ok(Err(Ended::Own(error))) => Err(cannot("open a socket", &error)),
        Ok(_) | Err(_) => Ok(Octets(Some(answer))),
    }
}

async fn prove(parts: &Parts, mac: Mac, address: IpAddr) -> Result<(Aim, Option<Held>), NotSent> {
    let place = aim(address, &parts.interfaces.current())?;
    let proved = parts.neighbours.prove(place.address.into(), place.interface, mac).await;
    may_send(&place, &proved)?;
    let held = match proved {
        Proved::Yes(held) => Some(held),
        _ => None,
    };
    Ok((place, held))
}

/// How a connection ended before its answer.
enum Ended {
    /// There was none.
    Unopened,
    /// This host could not even try.
    Own(io::Error),
    /// In the middle.
    Broken,
}

async fn ask(place: &Aim, bytes: &[u8], answer: &mut Vec<u8>) -> Result<(), Ended> {
    let socket = TcpSocket::new_v4().map_err(Ended::Own)?;
    socket.bind(SocketAddrV4::new(place.ours, 0).into()).map_err(Ended::Own)?;
    let connected = socket.connect(SocketAddrV4::new(place.address, PORT).into()).await;
    let mut stream = connected.map_err(|_| Ended::Unopened)?;
    stream.write_all(bytes).await.map_err(|_| Ended::Broken)?;
    read(&mut stream, answer).await.map_err(|_| Ended::Broken)
}

async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut whole = Whole::default();
    loop {
        let room = ANSWER_BYTES_MAX.saturating_sub(answer.len());
        let read = (&mut *stream).take(u64::try_from(room).unwrap_or_default()).read_buf(answer).await?;
        if read == 0 || whole.is_here(answer) {
            return Ok(());
        }
    }
}
