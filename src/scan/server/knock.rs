//! Asks one host what it is by SIP: OPTIONS from a socket of its own, repeated until something is said.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::clock::Entropy;
use crate::scan::message::{DATAGRAM_BYTES_MAX, Marks, SipAnswer, options};

/// Where phones hear SIP.
const PORT: u16 = 5060;
/// How long each question waits for an answer: T1 of RFC 3261, doubled once, and what is left of two seconds.
const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_millis(500)];

/// What the host answers; `None` for silence, and at once where it says that nobody listens. `from` is our address
/// there; unspecified: the route's.
pub(super) async fn knock(to: Ipv4Addr, from: Ipv4Addr, entropy: &Entropy) -> Option<SipAnswer> {
    knock_at(SocketAddrV4::new(to, PORT), from, entropy).await.unwrap_or_else(|error| {
        tracing::debug!("Cannot ask {to} by SIP: {error}");
        None
    })
}

async fn knock_at(to: SocketAddrV4, from: Ipv4Addr, entropy: &Entropy) -> io::Result<Option<SipAnswer>> {
    let socket = UdpSocket::bind((from, 0)).await?;
    // A connected socket hears nobody else, and is told when the port is closed.
    socket.connect(to).await?;
    let SocketAddr::V4(from) = socket.local_addr()? else { return Ok(None) };
    let letters = "0123456789abcdef";
    let text = |length| entropy.text(letters, length).map_err(io::Error::other);
    let question = options(*to.ip(), from, &Marks { tag: text(8)?, call_id: text(24)? });
    let mut provisional = None;
    for wait in WAITS {
        socket.send(&question).await?;
        match timeout(wait, answer(&socket, &mut provisional)).await {
            Ok(answer) => return answer.map(Some),
            Err(_elapsed) => {}
        }
    }
    Ok(provisional)
}

/// Waits for the last word; what is said before it is kept.
async fn answer(socket: &UdpSocket, provisional: &mut Option<SipAnswer>) -> io::Result<SipAnswer> {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match SipAnswer::parse(buffer.get(..length).unwrap_or_default()) {
            Some(answer) if answer.is_provisional() => *provisional = Some(answer),
            Some(answer) => return Ok(answer),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(answers: &'static [&'static str]) -> (Option<SipAnswer>, usize) {
        let phone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(to) = phone.local_addr().unwrap() else { panic!("bound to IPv4") };
        let plays = tokio::spawn(async move {
            let (mut buffer, mut heard) = ([0; 2_000], 0);
            for answer in answers {
                let (_, from) = phone.recv_from(&mut buffer).await.unwrap();
                heard += 1;
                for part in answer.split('|').filter(|part| !part.is_empty()) {
                    phone.send_to(part.as_bytes(), from).await.unwrap();
                }
            }
            heard
        });
        let answer = knock_at(to, Ipv4Addr::UNSPECIFIED, &Entropy::seeded(7)).await.unwrap();
        (answer, plays.await.unwrap())
    }

    #[tokio::test]
    async fn a_lost_question_is_repeated_and_garbage_is_no_answer() {
        let (answer, heard) =
            asked(&["", "NOTIFY sip:x SIP/2.0\r\n\r\n|\0\0|SIP/2.0 404 Nobody\r\nServer: a b\r\n\r\n"]).await;
        assert_eq!((answer.unwrap().names, heard), (vec!["a b".to_owned()], 2));
    }

    #[tokio::test]
    async fn a_phone_that_only_tries_has_said_who_it_is() {
        let trying = "SIP/2.0 100 Trying\r\nUser-Agent: a\r\n\r\n";
        let (answer, _) = asked(&["SIP/2.0 100 Trying\r\nUser-Agent: a\r\n\r\n", "", ""]).await;
        assert_eq!(answer, SipAnswer::parse(trying.as_bytes()));
    }

    #[tokio::test]
    async fn a_closed_port_is_told_at_once() {
        let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(to) = gone.local_addr().unwrap() else { panic!("bound to IPv4") };
        drop(gone);
        let entropy = Entropy::seeded(7);
        let refused = timeout(Duration::from_millis(400), knock_at(to, Ipv4Addr::LOCALHOST, &entropy));
        assert_eq!(refused.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
