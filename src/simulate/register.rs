//! Registers one account as a phone does: REGISTER, the challenge, REGISTER with the answer. UDP, or TCP where the
//! configuration says so.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::digest::{self, Challenge};
use super::habits::Habits;
use super::settings::Account;
use super::sip::{DATAGRAM_BYTES_MAX, Message, parameter};
use super::spec::{PhoneSpec, RegisterAt};
use super::url::{host_and_port, resolve, shorten};
use crate::device::Transport;
use crate::secret::Secret;

/// A REGISTER is asked for at most this often: without an answer, with one, and with one to a fresh nonce.
const ATTEMPTS_MAX: u32 = 3;
/// RFC 3261 timer E.
const REPEAT_FIRST: Duration = Duration::from_millis(500);
const REPEAT_LAST: Duration = Duration::from_secs(4);
/// What a phone asks for; the registrar may shorten it.
const EXPIRES_S: u32 = 3600;

/// What became of a REGISTER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Registration {
    /// 200.
    Registered {
        /// For how many seconds.
        expires_s: u32,
    },
    /// The registrar said no.
    Refused {
        /// Its last answer.
        status: u16,
        /// In words, with what the phone lacked.
        reason: String,
    },
    /// Nobody there.
    Unreachable {
        /// In words.
        reason: String,
    },
    /// Not something this phone can do.
    NotTried {
        /// In words.
        reason: String,
    },
}

impl Registration {
    /// Whether the account can be called.
    pub fn is_registered(&self) -> bool {
        matches!(self, Self::Registered { .. })
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { expires_s } => write!(f, "registered for {expires_s} s"),
            Self::Refused { status, reason } => write!(f, "refused: {status} {reason}"),
            Self::Unreachable { reason } => write!(f, "no registrar: {reason}"),
            Self::NotTried { reason } => write!(f, "not registered: {reason}"),
        }
    }
}

/// Registers one account from this address.
pub(super) async fn register(
    account: &Account,
    spec: &PhoneSpec,
    habits: &Habits,
    address: Ipv4Addr,
) -> Registration {
    let patience = spec.patience.register;
    match tokio::time::timeout(patience, Dialog::run(account, spec, habits, address)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(reason)) => Registration::Unreachable { reason },
        Err(_) => {
            Registration::Unreachable { reason: format!("no answer within {} s", patience.as_secs_f32()) }
        }
    }
}

/// Where the REGISTER goes: `--registrar`, the outbound proxy, the registrar itself.
fn next_hop(account: &Account, at: &RegisterAt) -> Result<(String, u16), String> {
    match (at, &account.proxy) {
        (RegisterAt::Instead(text), _) => {
            host_and_port(text, 5060).ok_or_else(|| format!("'{}' is not a registrar", shorten(text)))
        }
        (_, Some(proxy)) => Ok(proxy.clone()),
        (_, None) => host_and_port(&account.host, account.port.unwrap_or(5060))
            .ok_or_else(|| format!("'{}' is not a registrar", shorten(&account.host))),
    }
}

/// One REGISTER dialog.
struct Dialog<'a> {
    account: &'a Account,
    user_agent: &'a str,
    local: SocketAddrV4,
    tag: String,
    call_id: String,
    cnonce: String,
}

impl<'a> Dialog<'a> {
    async fn run(
        account: &'a Account,
        spec: &'a PhoneSpec,
        habits: &'a Habits,
        address: Ipv4Addr,
    ) -> Result<Registration, String> {
        if account.transport == Transport::Tls {
            return Ok(Registration::NotTried {
                reason: "the simulated phone does not speak TLS".to_owned(),
            });
        }
        let (host, port) = next_hop(account, &spec.register)?;
        let to = resolve(&host, port).await?;
        let mut line = Line::open(account.transport, address, to).await?;
        let draw = || spec.entropy.text("0123456789abcdef", 16).map_err(|error| error.to_string());
        let dialog = Dialog {
            account,
            user_agent: habits.sip_user_agent.as_deref().unwrap_or(&habits.user_agent),
            local: line.local()?,
            tag: draw()?,
            call_id: format!("{}@{address}", draw()?),
            cnonce: draw()?,
        };
        dialog.talk(&mut line, &draw).await
    }

    async fn talk(
        &self,
        line: &mut Line,
        draw: &impl Fn() -> Result<String, String>,
    ) -> Result<Registration, String> {
        let mut authorization: Option<(&str, String)> = None;
        for attempt in 1..=ATTEMPTS_MAX {
            let branch = format!("z9hG4bK{}", draw()?);
            let request = self.request(attempt, &branch, authorization.as_ref());
            let answer = line.ask(request.as_bytes(), &self.call_id, attempt).await?;
            let status = answer.responds_to(&self.call_id, "REGISTER").unwrap_or_default();
            let header = match status {
                200..300 => return Ok(Registration::Registered { expires_s: granted(&answer) }),
                401 => ("www-authenticate", "Authorization"),
                407 => ("proxy-authenticate", "Proxy-Authorization"),
                _ => return Ok(refused(status, "")),
            };
            let Some(password) = &self.account.password else {
                return Ok(refused(status, "the phone has no password"));
            };
            let challenge = match Challenge::read(answer.header(header.0).unwrap_or_default()) {
                Ok(challenge) => challenge,
                Err(reason) => return Ok(refused(status, &reason)),
            };
            if authorization.is_some() && !challenge.stale {
                return Ok(refused(status, "the password is not this account's"));
            }
            authorization = Some((header.1, self.authorize(&challenge, password)));
        }
        Ok(refused(401, "one challenge after another"))
    }

    fn authorize(&self, challenge: &Challenge, password: &Secret) -> String {
        challenge.answer(&digest::Request {
            username: &self.account.auth_id,
            password,
            method: "REGISTER",
            uri: &self.uri().to_string(),
            cnonce: &self.cnonce,
            count: 1,
        })
    }

    /// The registrar as request-URI: the account's domain.
    fn uri(&self) -> rsip::Uri {
        rsip::Uri {
            scheme: Some(rsip::Scheme::Sip),
            host_with_port: rsip::HostWithPort {
                host: self.account.host.as_str().into(),
                port: self.account.port.map(Into::into),
            },
            ..rsip::Uri::default()
        }
    }

    fn request(&self, cseq: u32, branch: &str, authorization: Option<&(&str, String)>) -> String {
        let user = escape_user(&self.account.username);
        let transport = self.account.transport.as_str();
        let person = format!("<sip:{user}@{}>", self.account.registrar());
        let contact = format!("<sip:{user}@{};transport={transport}>", self.local);
        let via = format!("SIP/2.0/{} {};branch={branch};rport", transport.to_ascii_uppercase(), self.local);
        let mut headers: rsip::Headers = vec![
            rsip::Header::Via(via.into()),
            rsip::Header::From(format!("{person};tag={}", self.tag).into()),
            rsip::Header::To(person.into()),
            rsip::Header::CallId(self.call_id.clone().into()),
            rsip::Header::CSeq(format!("{cseq} REGISTER").into()),
            rsip::Header::Contact(contact.into()),
            rsip::Header::MaxForwards(70u32.into()),
            rsip::Header::UserAgent(self.user_agent.into()),
            rsip::Header::Expires(EXPIRES_S.into()),
        ]
        .into();
        if let Some((name, value)) = authorization {
            headers.push(rsip::Header::Other((*name).to_owned(), value.clone()));
        }
        headers.push(rsip::Header::ContentLength(0u32.into()));
        let request = rsip::Request {
            method: rsip::Method::Register,
            uri: self.uri(),
            version: rsip::Version::V2,
            headers,
            body: Vec::new(),
        };
        request.to_string()
    }
}

fn refused(status: u16, reason: &str) -> Registration {
    Registration::Refused { status, reason: reason.to_owned() }
}

/// The seconds granted: in our Contact, else in Expires.
fn granted(answer: &Message) -> u32 {
    let contact = answer.header("contact").and_then(|contact| parameter(contact, "expires"));
    contact
        .or_else(|| answer.header("expires"))
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(EXPIRES_S)
}

/// A user name as it may stand in a URI (RFC 3261 25.1), whatever a configuration put into it.
fn escape_user(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&crate::hex::hex(&[byte]).to_ascii_uppercase());
        }
    }
    text
}

/// A datagram socket or a stream towards the registrar.
enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Line {
    async fn open(transport: Transport, from: Ipv4Addr, to: SocketAddrV4) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot reach {to}: {error}");
        let from = SocketAddr::from((from, 0));
        if transport == Transport::Udp {
            let socket = UdpSocket::bind(from).await.map_err(cannot)?;
            socket.connect(to).await.map_err(cannot)?;
            return Ok(Self::Udp(socket));
        }
        let socket = TcpSocket::new_v4().map_err(cannot)?;
        socket.bind(from).map_err(cannot)?;
        Ok(Self::Tcp(socket.connect(to.into()).await.map_err(cannot)?))
    }

    fn local(&self) -> Result<SocketAddrV4, String> {
        let local = match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(stream) => stream.local_addr(),
        };
        match local {
            Ok(SocketAddr::V4(local)) => Ok(local),
            Ok(SocketAddr::V6(local)) => Err(format!("{local} is not IPv4")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends a request (UDP: again and again) until its final response is there.
    async fn ask(&mut self, request: &[u8], call_id: &str, cseq: u32) -> Result<Message, String> {
        let fits = |message: &Message| {
            let status = message.responds_to(call_id, "REGISTER");
            status.is_some_and(|status| status >= 200)
                && message.cseq().is_some_and(|(number, _)| number == cseq)
        };
        match self {
            Self::Udp(socket) => ask_udp(socket, request, fits).await,
            Self::Tcp(stream) => ask_tcp(stream, request, fits).await,
        }
    }
}

async fn ask_udp(
    socket: &UdpSocket,
    request: &[u8],
    fits: impl Fn(&Message) -> bool,
) -> Result<Message, String> {
    let gone = |error: std::io::Error| format!("nobody listens there ({error})");
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut repeat = REPEAT_FIRST;
    loop {
        socket.send(request).await.map_err(gone)?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await.map_err(gone)?;
                let message = Message::read(buffer.get(..length).unwrap_or_default());
                if let Some(message) = message.filter(&fits) {
                    return Ok(message);
                }
            }
        };
        if let Ok(answer) = tokio::time::timeout(repeat, answer).await {
            return answer;
        }
        repeat = (repeat * 2).min(REPEAT_LAST);
    }
}

async fn ask_tcp(
    stream: &mut TcpStream,
    request: &[u8],
    fits: impl Fn(&Message) -> bool,
) -> Result<Message, String> {
    let gone = |error: std::io::Error| format!("the connection broke ({error})");
    stream.write_all(request).await.map_err(gone)?;
    let mut received = Vec::new();
    loop {
        while let Some(end) = message_end(&received) {
            let message = Message::read(&received.drain(..end).collect::<Vec<u8>>());
            if let Some(message) = message.filter(&fits) {
                return Ok(message);
            }
        }
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.map_err(gone)?;
        if length == 0 || received.len() > DATAGRAM_BYTES_MAX {
            return Err("the connection ended without an answer".to_owned());
        }
        received.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
}

/// Where the first message of a stream ends, once it is whole.
fn message_end(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let message = Message::read(received.get(..head)?);
    let length =
        message.and_then(|message| message.header("content-length")?.parse::<usize>().ok()).unwrap_or(0);
    let end = head.checked_add(length)?;
    (received.len() >= end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_cannot_leave_its_place() {
        assert_eq!(escape_user("10.1_a"), "10.1_a");
        assert_eq!(escape_user("a@b>\r\nX: y é"), "a%40b%3E%0D%0AX%3A%20y%20%C3%A9");
    }

    #[test]
    fn a_stream_is_cut_into_messages() {
        assert_eq!(message_end(b"SIP/2.0 100 Trying\r\nContent-Length: 0\r\n\r\nSIP/2.0 2"), Some(41));
        assert_eq!(message_end(b"SIP/2.0 100 Trying\r\nContent-Length: 5\r\n\r\nabc"), None);
        assert_eq!(message_end(b"SIP/2.0 100 Trying\r\n"), None);
    }

    #[test]
    fn the_registrar_of_the_lab_comes_first() {
        let account = Account {
            line: 1,
            host: "pbx.example".to_owned(),
            port: Some(5070),
            proxy: None,
            transport: Transport::Udp,
            username: "101".to_owned(),
            auth_id: "101".to_owned(),
            display_name: None,
            label: None,
            password: None,
            password_kept: false,
        };
        let proxied = Account { proxy: Some(("10.0.0.9".to_owned(), 5080)), ..account.clone() };
        let lab = RegisterAt::Instead("127.0.0.1:5099".to_owned());
        for (account, at, host, port) in [
            (&account, &RegisterAt::Configured, "pbx.example", 5070),
            (&proxied, &RegisterAt::Configured, "10.0.0.9", 5080),
            (&proxied, &lab, "127.0.0.1", 5099),
        ] {
            assert_eq!(next_hop(account, at), Ok((host.to_owned(), port)));
        }
    }
}
