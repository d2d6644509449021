//! Asks hosts behind a router whether they are there: by ICMP echo (RFC 792), along this host's routes. On a link of our
//! own ARP knows more.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes, checksum};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::{FromPacket as _, Packet};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

/// How long an answer is waited for: a site's routers take milliseconds.
const WAIT: Duration = Duration::from_millis(500);
/// How often who is silent is asked: what comes first may be lost while a router looks for who has the address.
const TIMES: usize = 3;
/// A host answers with what it was asked; more of a packet is not read.
const PACKET_BYTES_MAX: usize = 128;
/// The head of an echo, and what follows it: the token and which address was asked.
const HEAD_BYTES: usize = 8;
const ECHO_BYTES: usize = HEAD_BYTES + 8 + 4;

/// Which of these addresses answer. `token` tells our questions from everybody else's. `PermissionDenied` without
/// `CAP_NET_RAW`.
pub async fn answering(addresses: &[Ipv4Addr], token: [u8; 8]) -> io::Result<BTreeSet<Ipv4Addr>> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_nonblocking(true)?;
    #[expect(deprecated, reason = "sound for a socket that this value owns and never lends out")]
    let socket = AsyncFd::new(socket)?;
    let mut there = BTreeSet::new();
    for _ in 0..TIMES {
        for address in addresses.iter().filter(|address| !there.contains(*address)) {
            let to = SocketAddrV4::new(*address, 0).into();
            // Where no route leads nobody answers.
            let _ = socket.get_ref().send_to(&question(token, *address), &to);
        }
        timeout(WAIT, listen(&socket, addresses, token, &mut there)).await.unwrap_or(Ok(()))?;
    }
    Ok(there)
}

/// Hears who answers, until all have.
async fn listen(
    socket: &AsyncFd<Socket>,
    addresses: &[Ipv4Addr],
    token: [u8; 8],
    there: &mut BTreeSet<Ipv4Addr>,
) -> io::Result<()> {
    let mut buffer = [0; PACKET_BYTES_MAX];
    while there.len() < addresses.len() {
        let read = |socket: &Socket| io::Read::read(&mut &*socket, &mut buffer);
        let len = socket.async_io(Interest::READABLE, read).await?;
        let packet = buffer.get(..len).unwrap_or_default();
        there.extend(answer(packet, token).filter(|address| addresses.contains(address)));
    }
    Ok(())
}

fn question(token: [u8; 8], address: Ipv4Addr) -> [u8; ECHO_BYTES] {
    let mut question = [0; ECHO_BYTES];
    if let Some(mut echo) = MutableEchoRequestPacket::new(&mut question) {
        echo.set_icmp_type(IcmpTypes::EchoRequest);
        echo.set_payload(&[&token[..], &address.octets()].concat());
        let sum = IcmpPacket::new(echo.packet()).map_or(0, |packet| checksum(&packet));
        echo.set_checksum(sum);
    }
    question
}

/// Who answers one of our questions: the host itself, with the address that it was asked by.
fn answer(packet: &[u8], token: [u8; 8]) -> Option<Ipv4Addr> {
    let ip =
        Ipv4Packet::new(packet).filter(|ip| ip.get_next_level_protocol() == IpNextHeaderProtocols::Icmp)?;
    let icmp = IcmpPacket::new(packet.get(usize::from(ip.get_header_length()) * 4..)?)?.from_packet();
    // Behind the type and the checksum of any ICMP: an echo's identifier and number.
    let said = icmp.payload.get(4..)?.strip_prefix(&token)?;
    let asked = Ipv4Addr::from(<[u8; 4]>::try_from(said).ok()?);
    (icmp.icmp_type == IcmpTypes::EchoReply && asked == ip.get_source()).then_some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: [u8; 8] = *b"offhook!";

    #[tokio::test]
    async fn whoever_is_there_answers() {
        let here = Ipv4Addr::LOCALHOST;
        // Of the network that is kept for examples nobody answers, wherever the routes lead.
        let nobody = Ipv4Addr::new(192, 0, 2, 77);
        match answering(&[nobody, here], TOKEN).await {
            Ok(there) => assert_eq!(there, BTreeSet::from([here])),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }

    #[test]
    fn only_the_answer_of_who_was_asked_counts() {
        let asked = Ipv4Addr::new(10, 64, 0, 10);
        let packet = |kind: u8, from: Ipv4Addr, token| {
            let mut packet = vec![0; 20];
            (packet[0], packet[9]) = (0x45, 1);
            packet[12..16].copy_from_slice(&from.octets());
            packet.extend(question(token, asked));
            packet[20] = kind;
            packet
        };
        let good = packet(0, asked, TOKEN);
        assert_eq!(answer(&good, TOKEN), Some(asked));
        assert_eq!(answer(&packet(8, asked, TOKEN), TOKEN), None, "a question, as loopback has it");
        assert_eq!(answer(&packet(3, asked, TOKEN), TOKEN), None, "unreachable");
        assert_eq!(answer(&packet(0, Ipv4Addr::new(10, 64, 0, 1), TOKEN), TOKEN), None, "for somebody else");
        assert_eq!(answer(&packet(0, asked, [0; 8]), TOKEN), None, "to another question");
        for cut in 0..good.len() {
            assert_eq!(answer(&good[..cut], TOKEN), None, "{cut} octets");
        }
    }

    #[test]
    fn a_question_is_an_echo_with_a_right_checksum() {
        let question = question(TOKEN, Ipv4Addr::new(10, 64, 0, 10));
        assert_eq!((question[0], question[1]), (8, 0));
        let sum =
            question.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
