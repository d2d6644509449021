//! Writes the OPTIONS that a host is asked with, and reads what SIP and HTTP servers answer. Decides nothing, and takes
//! nothing that a host wrote for true.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::device::Source;
use crate::net::sip::{self, PRODUCT, Start, Wire};
use crate::profile::Clue;

/// Octets of a SIP answer that are looked at; a phone's has about 500.
pub const DATAGRAM_BYTES_MAX: usize = 8_192;
/// Characters of a name that a host gives itself.
const NAME_CHARS_MAX: usize = 200;

/// What tells our question from another one (RFC 3261, 8.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Of the From header.
    pub tag: String,
    /// Unique, and part of the branch.
    pub call_id: String,
}

/// The question for a host's abilities (RFC 3261, 11), which rings no phone.
pub fn options(to: Ipv4Addr, from: SocketAddrV4, marks: &Marks) -> Vec<u8> {
    let Marks { tag, call_id } = marks;
    format!(
        "OPTIONS sip:{to}:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bK{call_id};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:offhook@{from}>;tag={tag}\r\n\
         To: <sip:{to}:5060>\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:offhook@{from}>\r\n\
         User-Agent: {PRODUCT}\r\n\
         Accept: application/sdp\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// What a host says of itself by SIP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SipAnswer {
    /// 100 to 699.
    pub status: u16,
    /// The headers User-Agent and Server.
    pub names: Vec<String>,
}

impl SipAnswer {
    /// Reads a datagram; `None` for what is no answer. Every form that phones write is taken.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (text, _) = sip::text(datagram.get(..DATAGRAM_BYTES_MAX).unwrap_or(datagram));
        let wire = Wire::read(&text).ok()?;
        let Start::Response { status } = wire.start else { return None };
        let names = ["User-Agent", "Server"].into_iter().flat_map(|name| wire.all(name)).map(tidy);
        Some(Self { status, names: names.filter(|name| !name.is_empty()).collect() })
    }

    /// Whether another answer follows (RFC 3261, 7.2).
    pub fn is_provisional(&self) -> bool {
        self.status < 200
    }

    /// What it says, for the profiles.
    pub fn clues(&self) -> Vec<Clue> {
        self.names.iter().map(|name| Clue::new(Source::SipUserAgent, name)).collect()
    }
}

/// One blank between two words, and of bounded length.
fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(NAME_CHARS_MAX).collect()
}

/// The question for a page, without any credential; the connection ends with its answer.
pub fn get(host: Ipv4Addr, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {PRODUCT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_one_that_a_phone_answers() {
        let marks = Marks { tag: "t".to_owned(), call_id: "c".to_owned() };
        let from = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 35), 40_000);
        let text = String::from_utf8(options(Ipv4Addr::new(192, 0, 2, 7), from, &marks)).unwrap();
        let request = rsip::Request::try_from(text.as_bytes()).unwrap();
        assert_eq!(request.method, rsip::Method::Options);
        assert!(text.contains("Via: SIP/2.0/UDP 192.0.2.35:40000;branch=z9hG4bKc;rport\r\n"), "{text}");
    }

    #[test]
    fn answers_are_read_as_phones_write_them() {
        let check = |text: &str, status: u16, names: &[&str]| {
            let answer = SipAnswer::parse(text.as_bytes()).unwrap();
            assert_eq!(
                (answer.status, answer.names),
                (status, names.iter().map(|n| (*n).to_owned()).collect()),
                "{text}"
            );
        };
        check("SIP/2.0 200 OK\r\nUser-Agent: snom370/8.7.5.35\r\n\r\n", 200, &["snom370/8.7.5.35"]);
        check("SIP/2.0 405 Method Not Allowed\nserver :  X\tY \nUSER-AGENT:Z\n\n", 405, &["Z", "X Y"]);
        check("\r\n\r\nsip/2.0 486\r\n", 486, &[]);
        check("SIP/2.0 200 OK\r\nUser-Agent:\r\n\r\nv=0\r\ns=Server: no\r\n", 200, &[]);
    }

    #[test]
    fn nothing_that_a_host_sends_is_more_than_no_answer() {
        for text in [
            "",
            "\r\n",
            "SIP/2.0",
            "SIP/2.0 OK",
            "SIP/2.0 99 Low",
            "HTTP/1.1 200 OK",
            "OPTIONS sip:x SIP/2.0",
        ] {
            assert_eq!(SipAnswer::parse(text.as_bytes()), None, "{text}");
        }
        let whole = b"SIP/2.0 200 OK\r\nUser-Agent: Yealink SIP-T46U 108.86.0.20\r\nServer: \xff\xfe\r\n\r\n";
        for cut in 0..whole.len() {
            let _ = SipAnswer::parse(&whole[..cut]);
        }
        for at in 0..whole.len() {
            for octet in [0, b'\n', b':', 0x80, 0xff] {
                let mut mutant = whole.to_vec();
                mutant[at] = octet;
                let _ = SipAnswer::parse(&mutant);
            }
        }
        let long = format!("SIP/2.0 200 OK\r\nServer: {}\r\n", "x".repeat(20_000));
        assert_eq!(SipAnswer::parse(long.as_bytes()).unwrap().names[0].len(), NAME_CHARS_MAX);
    }
}
