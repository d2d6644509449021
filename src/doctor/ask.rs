//! Asks: our own services by this host's own addresses, as a phone of each subnet would; and, only where that is wanted,
//! the time server and the registrars, and links for IGMP queries. Every question has its time, and none names a phone.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Finding;
use super::lan::Registrar;
use super::links::Listened;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::device::Transport;
use crate::net::interfaces::Interface;
use crate::tls;

/// How long anything may take to answer: it is this host, or a server on the same site.
const PATIENCE: Duration = Duration::from_secs(3);
/// From the beginning of time on the network (1900) to that of Unix, in seconds (RFC 5905).
const SINCE_1900: i64 = 2_208_988_800;

async fn patiently<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Whether what is advertised can be fetched from the address of each subnet.
pub(super) async fn urls(
    config: &Config,
    interfaces: &[Interface],
    folder: &std::path::Path,
) -> Vec<Finding> {
    let visitor = tls::visitor(folder);
    let mut findings = Vec::new();
    for interface in interfaces.iter().filter(|one| !one.loopback) {
        for (address, _) in &interface.addresses {
            let at = |listen: Option<SocketAddr>| {
                let listen = listen?;
                let reached = listen.ip().is_unspecified() || listen.ip() == IpAddr::V4(*address);
                reached.then_some(SocketAddr::from((*address, listen.port())))
            };
            let mut asked = Vec::new();
            if let Some(at) = at(config.http.listen.address()) {
                asked.push((format!("http://{at}/"), patiently(http(at)).await, "http.listen"));
            }
            if let Some(at) = at(config.https.listen.address()) {
                asked.push((format!("https://{at}/"), shaken(at, visitor.as_ref()).await, "https.listen"));
            }
            if let Some(at) = at(config.tftp.listen.address()) {
                asked.push((format!("tftp://{at}/"), patiently(tftp(*address, at)).await, "tftp.listen"));
            }
            findings.extend(asked.into_iter().map(|(url, answer, key)| match answer {
                Ok(()) => Finding::ok("urls", format!("{url} answers on {}", interface.name)),
                Err(why) => Finding::broken(
                    "urls",
                    format!("{url}, which phones on {} are given, does not answer: {why}", interface.name),
                    format!("see the ports above, the packet filter, and {key}"),
                ),
            }));
        }
    }
    findings
}

/// A path that leads to the certificate of our authority, or nowhere: whichever, it is an answer.
async fn http(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    let question = format!("GET /ca.crt HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head.starts_with(b"HTTP/1.1 ") { Ok(()) } else { Err(io::Error::other("it speaks no HTTP")) }
}

/// A handshake; who trusts our authority looks at name and time as well.
async fn shaken(at: SocketAddr, visitor: Result<&Arc<tls::ClientConfig>, &String>) -> Result<(), String> {
    let visit = async {
        let stream = TcpStream::connect(at).await?;
        // Without our authority's certificate nobody can look at what is shown.
        let Ok(visitor) = visitor else { return Ok(()) };
        TlsConnector::from(Arc::clone(visitor)).connect(ServerName::from(at.ip()), stream).await.map(drop)
    };
    match patiently(visit).await {
        // Of another authority: whether phones trust it is not known here.
        Err(why) if why.contains("UnknownIssuer") => Ok(()),
        answer => answer,
    }
}

/// Asks for a file that there is not; the refusal is the answer (RFC 1350).
async fn tftp(from: Ipv4Addr, at: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((from, 0)).await?;
    let mut answer = [0; 516];
    // The first may be lost; a phone asks again as well.
    for _ in 0..2 {
        socket.send_to(b"\0\x01offhook-doctor\0octet\0", at).await?;
        if let Ok(heard) = tokio::time::timeout(PATIENCE / 3, socket.recv_from(&mut answer)).await {
            heard?;
            let is_refusal = answer.starts_with(b"\0\x05");
            return if is_refusal { Ok(()) } else { Err(io::Error::other("it speaks no TFTP")) };
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// Whether registrars have an address; with `probe`, whether they answer as SIP servers do.
pub(super) async fn registrars(all: &[Registrar], transport: Transport, probe: bool) -> Vec<Finding> {
    let asked = all.iter().map(|one| registrar(one, transport, probe));
    futures_util::future::join_all(asked).await
}

async fn registrar(one: &Registrar, transport: Transport, probe: bool) -> Finding {
    let usual = if transport == Transport::Tls { 5061 } else { 5060 };
    let port = one.port.unwrap_or(usual);
    let found = patiently(tokio::net::lookup_host((one.host.as_str(), port))).await;
    let address = found.map(|mut found| found.next());
    let Registrar { host, .. } = one;
    match address {
        Err(why) => Finding::broken(
            "registrar",
            format!("{host}, where phones are to register, has no address: {why}"),
            "correct the name (sip.registrar, or the accounts'), or the host's name server",
        ),
        Ok(None) => Finding::broken(
            "registrar",
            format!("{host}, where phones are to register, has no address"),
            "correct the name (sip.registrar, or the accounts'), or the host's name server",
        ),
        Ok(Some(at)) if !probe => Finding::ok("registrar", format!("{host} is {}", at.ip()))
            .seen("offhook doctor --probe asks whether it answers"),
        Ok(Some(at)) => match patiently(answers_sip(at, transport)).await {
            Ok(()) => Finding::ok("registrar", format!("{host} answers at {at}")),
            Err(why) => Finding::broken(
                "registrar",
                format!(
                    "{host}, where phones are to register, does not answer at {at} by {}: {why}",
                    transport.as_str()
                ),
                "look at the PBX, its firewall, sip.registrar and sip.transport",
            ),
        },
    }
}

/// OPTIONS by UDP; by TCP and TLS a connection is enough.
async fn answers_sip(at: SocketAddr, transport: Transport) -> io::Result<()> {
    if transport != Transport::Udp {
        return TcpStream::connect(at).await.map(drop);
    }
    let any =
        if at.is_ipv4() { SocketAddr::from(([0, 0, 0, 0], 0)) } else { SocketAddr::from(([0_u16; 8], 0)) };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(at).await?;
    let own = socket.local_addr()?;
    let question = format!(
        "OPTIONS sip:{at} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bKdoctor{port}\r\n\
         From: <sip:doctor@{own}>;tag={port}\r\nTo: <sip:{at}>\r\nCall-ID: doctor-{port}@{ip}\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:doctor@{own}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        port = own.port(),
        ip = own.ip(),
    );
    let mut answer = [0; 2048];
    loop {
        socket.send(question.as_bytes()).await?;
        if let Ok(heard) = tokio::time::timeout(PATIENCE / 4, socket.recv(&mut answer)).await {
            heard?;
            return if answer.starts_with(b"SIP/2.0 ") {
                Ok(())
            } else {
                Err(io::Error::other("it speaks no SIP"))
            };
        }
    }
}

/// The time of a server, less ours, in milliseconds (SNTP, RFC 4330).
pub(super) async fn time_of(server: &str, clock: &Clock) -> Result<i64, String> {
    patiently(async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect((server, 123)).await?;
        // Version 4, as a client.
        let question: Vec<u8> = std::iter::once(0x23).chain([0; 47]).collect();
        let asked = clock.now();
        socket.send(&question).await?;
        let mut answer = [0; 48];
        socket.recv(&mut answer).await?;
        sent_at(&answer)
            .map(|theirs| theirs.0 - i64::midpoint(asked.0, clock.now().0))
            .ok_or_else(|| io::Error::other("it does not know the time itself"))
    })
    .await
}

/// When a server sent its answer; `None` where it is none, or the server knows no time (stratum 0 or 16).
fn sent_at(answer: &[u8; 48]) -> Option<Timestamp> {
    let [first, stratum, ..] = answer;
    let is_servers = first & 7 == 4 && (1..=15).contains(stratum);
    let word = |at: usize| Some(i64::from(u32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?)));
    let (seconds, fraction) = (word(40)?, word(44)?);
    let ms = (seconds - SINCE_1900) * 1_000 + ((fraction * 1_000) >> 32);
    is_servers.then_some(Timestamp(ms))
}

/// Listens on each link whether somebody asks who is a member of groups. Sends nothing.
pub(super) async fn listen(interfaces: &[Interface], time: Duration, clock: &Clock) -> Listened {
    let links = interfaces.iter().filter(|one| one.up && !one.loopback && !one.addresses.is_empty());
    let mut ears = Vec::new();
    for link in links {
        match ear(&link.name) {
            Ok(socket) => ears.push((link.name.clone(), socket)),
            Err(error) => return Listened::Denied(error.to_string()),
        }
    }
    let end = clock.instant() + time;
    let mut listening = Vec::new();
    for (name, mut socket) in ears {
        let clock = clock.clone();
        listening.push(tokio::task::spawn_blocking(move || {
            while clock.instant() < end {
                let mut bytes = [0; 128];
                match io::Read::read(&mut socket, &mut bytes) {
                    Ok(len) if is_query(bytes.get(..len).unwrap_or_default()) => return Some(name),
                    Ok(_) | Err(_) => {}
                }
            }
            None
        }));
    }
    let mut heard = Vec::new();
    for one in listening {
        heard.extend(one.await.ok().flatten());
    }
    Listened::For(time.as_secs(), heard)
}

/// Hears IGMP on one link, and wakes now and then.
fn ear(interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(2)))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_read_timeout(Some(Duration::from_millis(250)))?;
    Ok(socket)
}

/// Whether an IPv4 packet is an IGMP membership query (RFC 2236, RFC 3376: type 0x11).
fn is_query(packet: &[u8]) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    packet.get(header) == Some(&0x11)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_from_a_report() {
        let packet = |kind: u8| [&[0x46, 0, 0, 32][..], &[0; 20], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(is_query(&packet(0x11)) && !is_query(&packet(0x16)) && !is_query(&[]) && !is_query(&[0x4f]));
    }

    #[test]
    fn the_time_of_a_server_is_read() {
        let mut answer = [0; 48];
        (answer[0], answer[1]) = (0x24, 2);
        answer[40..44].copy_from_slice(&u32::try_from(SINCE_1900 + 1_000).unwrap().to_be_bytes());
        answer[44] = 0x80;
        assert_eq!(sent_at(&answer), Some(Timestamp(1_000_500)));
        answer[1] = 0;
        assert_eq!(sent_at(&answer), None, "a kiss of death");
    }

    #[tokio::test]
    async fn who_is_not_there_does_not_answer() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(patiently(http(free)).await.is_err());
        let registrar = Registrar { host: "127.0.0.1".to_owned(), port: Some(free.port()) };
        let found = registrars(std::slice::from_ref(&registrar), Transport::Tcp, true).await;
        assert!(
            found[0].text.starts_with("127.0.0.1, where phones are to register, does not answer"),
            "{found:?}"
        );
        let found = registrars(&[registrar], Transport::Udp, false).await;
        assert_eq!(found[0].text, "127.0.0.1 is 127.0.0.1");
    }

    #[tokio::test]
    async fn a_pbx_is_known_by_its_answer() {
        let pbx = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let registrar =
            Registrar { host: "127.0.0.1".to_owned(), port: Some(pbx.local_addr().unwrap().port()) };
        let answering = async {
            let mut bytes = [0; 2048];
            let (len, from) = pbx.recv_from(&mut bytes).await.unwrap();
            assert!(bytes[..len].starts_with(b"OPTIONS sip:127.0.0.1:"));
            pbx.send_to(b"SIP/2.0 200 OK\r\n\r\n", from).await.unwrap();
        };
        let all = [registrar];
        let (found, ()) = tokio::join!(registrars(&all, Transport::Udp, true), answering);
        assert!(found[0].text.contains("answers at 127.0.0.1:"), "{found:?}");
    }
}
