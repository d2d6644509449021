//! Writes what goes to a phone: the 200 OK to its SUBSCRIBE, and the NOTIFY with its URL. Decides nothing; every value
//! that a phone wrote has lost its control characters before it comes here, so that none can become a header.

use std::net::{SocketAddr, SocketAddrV4};

use rsip::headers::UntypedHeader;
use rsip::{Header, Headers, HostWithPort, Method, Request, Scheme, StatusCode, Uri, Version};
use sha2::{Digest, Sha256};

use super::message::Subscribe;
use super::wire;

/// Our own sequence in the dialog. RFC 6665 lets it begin anywhere; the servers that phones were built against begin
/// at 3 (snom's own, and five that followed it).
const NOTIFY_CSEQ: u32 = 3;

/// We send on one link; a phone that forwards is none of ours.
const MAX_FORWARDS: u8 = 70;

/// Both ends of the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Where the SUBSCRIBE came from; everything goes there and nowhere else, whatever Via and Contact say.
    pub phone: SocketAddrV4,
    /// Our address on the phone's subnet, and the port where answers to a NOTIFY arrive.
    pub ours: SocketAddrV4,
    /// The interface the phone was heard on.
    pub interface: u32,
}

/// The names we give in one dialog. Made from what identifies a SUBSCRIBE and a secret of this process, so that the
/// same SUBSCRIBE gets the same names again even when it has been forgotten, and nobody else can guess them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Identifies the SUBSCRIBE among all others.
    pub key: u128,
    /// Our tag: in To of the 200, in From of the NOTIFY.
    pub tag: String,
    /// The branch of the NOTIFY.
    pub branch: String,
}

impl Names {
    /// A retransmission is a SUBSCRIBE from the same source with the same Call-ID, CSeq, From tag and branch
    /// (RFC 3261 sections 17.2.3 and 8.2.2.2; the last two as far as the phone writes them).
    pub fn new(secret: &[u8; 16], phone: SocketAddrV4, subscribe: &Subscribe) -> Self {
        let mut hash = Sha256::new();
        hash.update(secret);
        hash.update(phone.ip().octets());
        hash.update(phone.port().to_be_bytes());
        hash.update(subscribe.cseq.to_be_bytes());
        let texts = [
            subscribe.call_id.as_str(),
            subscribe.from_tag().unwrap_or_default(),
            subscribe.branch().unwrap_or_default(),
        ];
        for text in texts {
            // The length keeps "ab" + "c" and "a" + "bc" apart.
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let number = |half: &[u8]| half.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        let (key, names) = digest.split_at(16);
        let names = number(names);
        Self {
            key: number(key),
            tag: format!("{:016x}", names >> 64),
            branch: format!("z9hG4bK{:016x}", names & u128::from(u64::MAX)),
        }
    }
}

/// The 200 OK (RFC 3261 section 8.2.6.2): Via, From, Call-ID and CSeq come back as they came, To with our tag.
/// `Expires: 0` grants what every phone asks for: one answer, no subscription.
pub fn ok(subscribe: &Subscribe, peer: &Peer, names: &Names) -> Vec<u8> {
    let mut headers: Vec<Header> = Vec::with_capacity(subscribe.vias.len() + 8);
    for (place, via) in subscribe.vias.iter().enumerate() {
        let via = if place == 0 { fill_via(via, peer.phone) } else { via.clone() };
        headers.push(rsip::headers::Via::new(via).into());
    }
    headers.push(rsip::headers::From::new(subscribe.from.as_str()).into());
    headers.push(rsip::headers::To::new(tagged(&subscribe.to, &names.tag)).into());
    headers.push(rsip::headers::CallId::new(subscribe.call_id.as_str()).into());
    headers.push(rsip::headers::CSeq::new(format!("{} SUBSCRIBE", subscribe.cseq)).into());
    headers.push(contact(peer));
    headers.push(rsip::headers::Expires::new("0").into());
    headers.push(rsip::headers::Server::new(product()).into());
    headers.push(rsip::headers::ContentLength::new("0").into());
    let response =
        rsip::Response { status_code: StatusCode::OK, version: Version::V2, headers: headers.into(), body: vec![] };
    wire::to_bytes(response.to_string(), subscribe.latin1)
}

/// The NOTIFY: the dialog that the SUBSCRIBE began, seen from our side (RFC 3261 section 12.2.1.1, RFC 6665 section
/// 4.2.2), with one URL and nothing else in its body, and the end of the subscription.
pub fn notify(subscribe: &Subscribe, peer: &Peer, names: &Names, url: &str) -> Vec<u8> {
    let body: String = url.chars().filter(|c| !c.is_control()).collect();
    let via = format!("SIP/2.0/UDP {};branch={};rport", peer.ours, names.branch);
    let headers: Vec<Header> = vec![
        rsip::headers::Via::new(via).into(),
        rsip::headers::MaxForwards::new(MAX_FORWARDS.to_string()).into(),
        rsip::headers::From::new(tagged(&subscribe.to, &names.tag)).into(),
        rsip::headers::To::new(subscribe.from.as_str()).into(),
        rsip::headers::CallId::new(subscribe.call_id.as_str()).into(),
        rsip::headers::CSeq::new(format!("{NOTIFY_CSEQ} NOTIFY")).into(),
        contact(peer),
        rsip::headers::Event::new(subscribe.event.raw.as_str()).into(),
        rsip::headers::SubscriptionState::new("terminated;reason=timeout").into(),
        rsip::headers::UserAgent::new(product()).into(),
        rsip::headers::ContentType::new("application/url").into(),
        rsip::headers::ContentLength::new(body.len().to_string()).into(),
    ];
    let request = Request {
        method: Method::Notify,
        uri: request_uri(subscribe, peer),
        version: Version::V2,
        headers: Headers::from(headers),
        body: body.into_bytes(),
    };
    wire::to_bytes(request.to_string(), subscribe.latin1)
}

/// The Contact if it names the datagram's own source, else the source: a NOTIFY never names a third party.
fn request_uri(subscribe: &Subscribe, peer: &Peer) -> Uri {
    let source = || Uri { scheme: Some(Scheme::Sip), host_with_port: SocketAddr::from(peer.phone).into(), ..Uri::default() };
    let Some(contact) = subscribe.contact.as_deref() else { return source() };
    let text = contact.split('?').next().unwrap_or(contact);
    let fits = text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:"))
        && !text.contains([' ', '<', '>', '"', ','])
        && host(text).parse() == Ok(*peer.phone.ip());
    if !fits {
        return source();
    }
    // rsip drops or rewrites what it does not know; the phone's own spelling is worth more than a parsed one.
    match Uri::try_from(text) {
        Ok(uri) if uri.to_string() == text => uri,
        Ok(_) | Err(_) => Uri { scheme: None, host_with_port: verbatim(text), ..Uri::default() },
    }
}

/// The host of a SIP URI, without user, port and parameters.
fn host(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or("", |(_, rest)| rest);
    // A user part may hold a ';' but nothing may hold a second '@', so the first one decides.
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split([':', ';']).next().unwrap_or(rest)
}

fn verbatim(text: &str) -> HostWithPort {
    HostWithPort { host: rsip::Host::Domain(text.into()), port: None }
}

fn contact(peer: &Peer) -> Header {
    rsip::headers::Contact::new(format!("<sip:{}>", peer.ours)).into()
}

fn product() -> &'static str {
    concat!("offhook/", env!("CARGO_PKG_VERSION"))
}

fn tagged(value: &str, tag: &str) -> String {
    format!("{value};tag={tag}")
}

/// Notes in the first Via where the request really came from (RFC 3261 section 18.2.1, RFC 3581 section 4):
/// 1. `rport` gets the source port where the phone asked for it, and then `received` is always there;
/// 2. otherwise `received` is added when the host in the Via is not the source.
fn fill_via(value: &str, phone: SocketAddrV4) -> String {
    let mut hops = wire::split_top(value, ',');
    let first = hops.next().unwrap_or_default();
    let asks_rport = wire::parameter(first, "rport").is_some();
    let mut filled = String::with_capacity(value.len() + 32);
    let is = |piece: &str, name: &str| {
        piece.split('=').next().is_some_and(|have| have.trim().eq_ignore_ascii_case(name))
    };
    for (place, piece) in wire::split_top(first, ';').enumerate() {
        if place == 0 {
            filled.push_str(piece.trim());
        } else if is(piece, "rport") {
            filled.push_str(&format!(";rport={}", phone.port()));
        } else if !is(piece, "received") && !piece.trim().is_empty() {
            filled.push(';');
            filled.push_str(piece.trim());
        }
    }
    if asks_rport || sent_by(first).parse() != Ok(*phone.ip()) {
        filled.push_str(&format!(";received={}", phone.ip()));
    }
    for hop in hops {
        filled.push_str(", ");
        filled.push_str(hop.trim());
    }
    filled
}

/// The host in `SIP/2.0/UDP host:port;…`, also where blanks stand around the slashes.
fn sent_by(via: &str) -> &str {
    let head = via.split(';').next().unwrap_or(via).trim();
    let host = head.rsplit([' ', '\t', '/']).next().unwrap_or(head);
    host.split(':').next().unwrap_or(host)
}
