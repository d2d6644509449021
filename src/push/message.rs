//! Writes the NOTIFY that tells a phone something, and reads the answer to it. Decides nothing, sends nothing.

use std::fmt::{self, Write};
use std::net::SocketAddrV4;

use crate::net::sip::{self, PRODUCT, Start, Wire, plain};
use crate::profile::Means;

/// Bytes of a datagram that is looked at: an answer has about 400.
pub const DATAGRAM_BYTES_MAX: usize = 4096;
/// There is one request in each of our calls.
const CSEQ: u32 = 1;
/// What a message usually takes, so that its text is not moved while it grows.
const MESSAGE_BYTES: usize = 640;
/// Characters of a word of the answer that people are shown.
const WORD_CHARS_MAX: usize = 80;

/// Whom a NOTIFY is for: `sip:USER@HOST`, or `sip:HOST` where no user is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// As the account has it; written with what SIP wants escaped.
    pub user: Option<String>,
    /// Host, or `host:port`.
    pub host: String,
}

/// The names of one exchange: nobody who did not hear the NOTIFY can guess them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    call_id: u64,
    tag: u64,
    branch: u64,
}

/// A NOTIFY, as it is sent each time.
#[derive(Debug, Clone)]
pub struct Notify<'a> {
    /// Whom it is for.
    pub to: &'a Uri,
    /// Our own end of the exchange, where the answer is awaited.
    pub ours: SocketAddrV4,
    /// The names of the exchange.
    pub names: Names,
    /// Its event, and the body that belongs to it.
    pub means: &'a Means,
    /// A URL for the phone, with its media type, in place of the body.
    pub url: Option<(&'a str, &'a str)>,
}

/// What a phone, or a proxy before it, answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 699.
    pub status: u16,
    /// Who asks for a password, in its own words.
    pub realm: Option<String>,
}

impl Names {
    /// Made of random bytes.
    pub fn new(random: [u8; 24]) -> Self {
        let mut numbers = random
            .chunks_exact(8)
            .map(|chunk| chunk.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)));
        let mut next = || numbers.next().unwrap_or_default();
        Self { call_id: next(), tag: next(), branch: next() }
    }

    fn call_id(&self, ours: SocketAddrV4) -> String {
        format!("{:016x}@{}", self.call_id, ours.ip())
    }
}

impl Notify<'_> {
    /// The message (RFC 3261 section 8.1.1; RFC 6665 section 4.2.2 for the two headers of a NOTIFY). It ends a
    /// subscription that there never was: so it has been since RFC 3265, and phones look at nothing but the event.
    pub fn bytes(&self) -> Vec<u8> {
        let Self { to, ours, names, means, url } = self;
        let (content_type, body) = match (url, &means.body) {
            (Some((url, content_type)), _) => (Some(plain(content_type)), plain(url).into_owned()),
            (None, Some(body)) => (Some(plain(&body.content_type)), body.text.replace('\n', "\r\n")),
            (None, None) => (None, String::new()),
        };
        let mut message = String::with_capacity(MESSAGE_BYTES);
        let (Names { tag, branch, .. }, call_id) = (names, names.call_id(*ours));
        let event = plain(&means.event);
        let _ = write!(
            message,
            "NOTIFY {to} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {ours};branch=z9hG4bK{branch:016x};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:offhook@{host}>;tag={tag:016x}\r\n\
             To: <{to}>\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {CSEQ} NOTIFY\r\n\
             Contact: <sip:offhook@{ours}>\r\n\
             Event: {event}\r\n\
             Subscription-State: terminated\r\n\
             User-Agent: {PRODUCT}\r\n",
            host = ours.ip(),
        );
        if let Some(content_type) = content_type {
            let _ = write!(message, "Content-Type: {content_type}\r\n");
        }
        let _ = write!(message, "Content-Length: {}\r\n\r\n{body}", body.len());
        message.into_bytes()
    }

    /// Reads an answer; `None` for whatever else arrives, or answers something else.
    pub fn answer(&self, datagram: &[u8]) -> Option<Answer> {
        let (text, _) = sip::text(datagram.get(..datagram.len().min(DATAGRAM_BYTES_MAX))?);
        let wire = Wire::read(&text).ok()?;
        let Start::Response { status } = wire.start else { return None };
        let is_ours = wire.header("Call-ID") == Some(&self.names.call_id(self.ours))
            && wire.header("CSeq").and_then(sip::number) == Some(CSEQ);
        let challenge = wire.header("WWW-Authenticate").or_else(|| wire.header("Proxy-Authenticate"));
        is_ours.then(|| Answer { status, realm: challenge.and_then(realm) })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sip:")?;
        if let Some(user) = &self.user {
            for byte in user.bytes() {
                // RFC 3261 section 25.1, user: what needs no escape.
                if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
                    f.write_char(char::from(byte))?;
                } else {
                    write!(f, "%{byte:02X}")?;
                }
            }
            f.write_char('@')?;
        }
        f.write_str(&plain(&self.host))
    }
}

/// `Digest realm="Yealink", nonce=…`: who asks.
fn realm(challenge: &str) -> Option<String> {
    let (_, parameters) = challenge.split_once(' ')?;
    let mut pieces = sip::split_top(parameters, ',').filter_map(|piece| piece.split_once('='));
    let (_, realm) = pieces.find(|(name, _)| name.trim().eq_ignore_ascii_case("realm"))?;
    Some(sip::unquote(realm).chars().take(WORD_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
    use rsip::{Method, Request};

    use super::*;
    use crate::profile::Body;

    const OURS: &str = "192.0.2.1:40000";

    fn means(event: &str) -> Means {
        format!("sip-notify:{event}").parse().unwrap()
    }

    fn uri(user: Option<&str>, host: &str) -> Uri {
        Uri { user: user.map(str::to_owned), host: host.to_owned() }
    }

    fn with<T>(to: &Uri, means: &Means, url: Option<(&str, &str)>, look: impl FnOnce(&Notify<'_>) -> T) -> T {
        look(&Notify { to, ours: OURS.parse().unwrap(), names: Names::new([7; 24]), means, url })
    }

    #[test]
    fn another_parser_understands_every_notify() {
        let check = |to: &Uri, means: &Means, url: Option<(&str, &str)>, body: &str| {
            let text = with(to, means, url, |notify| String::from_utf8(notify.bytes()).unwrap());
            let read = Request::try_from(text.clone().into_bytes()).unwrap();
            assert_eq!((read.method, read.uri.to_string()), (Method::Notify, to.to_string()));
            let via = read.via_header().unwrap().typed().unwrap();
            assert_eq!(via.uri.to_string(), OURS);
            assert!(via.branch().unwrap().value().starts_with("z9hG4bK"));
            assert_eq!(read.to_header().unwrap().value(), format!("<{to}>"));
            assert!(read.from_header().unwrap().typed().unwrap().tag().is_some());
            assert_eq!(read.cseq_header().unwrap().method().unwrap(), Method::Notify);
            assert_eq!(read.body, body.as_bytes());
            for line in [
                format!("Event: {}", means.event),
                "Subscription-State: terminated".to_owned(),
                format!("Content-Length: {}", body.len()),
                "Max-Forwards: 70".to_owned(),
            ] {
                assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
            }
            assert_eq!(text.contains("Content-Type:"), !body.is_empty());
        };
        let phone = uri(Some("201"), "192.0.2.7:5060");
        check(&phone, &means("check-sync;reboot=false"), None, "");
        check(&uri(None, "192.0.2.7:5060"), &means("resync"), None, "");
        let url = "http://192.0.2.1:8480/d/00112233445566778899aabbccddeeff/";
        check(&phone, &means("ua-profile"), Some((url, "application/url")), url);
        let body = Body { content_type: "text/plain".to_owned(), text: "action=restart\n".to_owned() };
        check(&phone, &Means { body: Some(body), ..means("service-control") }, None, "action=restart\r\n");
    }

    #[test]
    fn a_name_becomes_no_header_and_no_other_host() {
        let check = |user: &str, expected: &str| {
            assert_eq!(uri(Some(user), "192.0.2.7").to_string(), format!("sip:{expected}@192.0.2.7"));
        };
        check("201", "201");
        check("anna.meier+1", "anna.meier+1");
        check("a@b", "a%40b");
        check("a b:c>", "a%20b%3Ac%3E");
        check("ä", "%C3%A4");
        check("1\r\nEvil: yes", "1%0D%0AEvil%3A%20yes");
        let text = with(&uri(None, "pbx\r\nEvil: yes"), &means("resync"), None, |notify| {
            String::from_utf8(notify.bytes()).unwrap()
        });
        assert!(!text.contains("\nEvil"), "{text}");
    }

    #[test]
    fn only_the_answer_to_this_notify_is_one() {
        let names = Names::new([7; 24]);
        let ours: SocketAddrV4 = OURS.parse().unwrap();
        let call = names.call_id(ours);
        let check = |message: String, expected: Option<(u16, Option<&str>)>| {
            let read =
                with(&uri(None, "x"), &means("resync"), None, |notify| notify.answer(message.as_bytes()));
            let expected = expected.map(|(status, realm)| Answer { status, realm: realm.map(str::to_owned) });
            assert_eq!(read, expected, "{message}");
        };
        let answer = |status: u16, more: &str| {
            format!("SIP/2.0 {status} x\r\nCall-ID: {call}\r\nCSeq: 1 NOTIFY\r\n{more}\r\n")
        };
        check(answer(200, ""), Some((200, None)));
        check(answer(481, ""), Some((481, None)));
        let asks = "WWW-Authenticate: Digest realm=\"Yealink, T46\", nonce=\"a\"\r\n";
        check(answer(401, asks), Some((401, Some("Yealink, T46"))));
        check(answer(407, "Proxy-Authenticate: Digest nonce=\"a\",realm=pbx\r\n"), Some((407, Some("pbx"))));
        check(answer(401, "WWW-Authenticate: Digest\r\n"), Some((401, None)));
        check(format!("SIP/2.0 200 OK\ni:{call}\nCSeq: 1 NOTIFY"), Some((200, None)));
        check(answer(200, "").replace("CSeq: 1", "CSeq: 2"), None);
        check(answer(200, "").replace(&call, "other"), None);
        check(format!("NOTIFY sip:x SIP/2.0\r\nCall-ID: {call}\r\nCSeq: 1 NOTIFY\r\n\r\n"), None);
        check("\0\r\n".to_owned(), None);
    }
}
