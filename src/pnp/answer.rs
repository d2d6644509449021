//! Writes what goes to a phone: the 200 OK to its SUBSCRIBE, and the NOTIFY with its URL. Decides nothing; every value
//! that a phone wrote has lost its control characters before it comes here, so that none can become a header.
//!
//! The messages are few and fixed, so they are written straight into one text; rsip, which makes a string of every
//! header first, reads them back in the tests.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddrV4};

use super::decide::Offer;
use super::message::Subscribe;
use super::names::{Names, Peer};
use crate::net::sip::{self, PRODUCT, plain};

/// Our own sequence in the dialog. RFC 6665 lets it begin anywhere; the servers that phones were built against begin
/// at 3 (snom's own, and five that followed it).
pub(crate) const NOTIFY_CSEQ: u32 = 3;

/// What a message usually takes, so that its text is not moved while it grows.
const MESSAGE_BYTES: usize = 768;

/// The 200 OK (RFC 3261 section 8.2.6.2): Via, From, Call-ID and `CSeq` come back as they came, To with our tag.
/// `Expires: 0` grants what every phone asks for: one answer, no subscription.
pub fn ok(subscribe: &Subscribe, peer: &Peer, names: &Names) -> Vec<u8> {
    let mut message = String::with_capacity(MESSAGE_BYTES);
    message.push_str("SIP/2.0 200 OK\r\n");
    for (place, via) in subscribe.vias().enumerate() {
        message.push_str("Via: ");
        if place == 0 {
            fill_via(&mut message, via, peer.phone);
        } else {
            message.push_str(via);
        }
        message.push_str("\r\n");
    }
    let (from, to, call_id, cseq) = (subscribe.from(), subscribe.to(), subscribe.call_id(), subscribe.cseq());
    let (tag, ours) = (names.tag, peer.ours);
    let _ = write!(
        message,
        "From: {from}\r\n\
         To: {to};tag={tag}\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: {cseq} SUBSCRIBE\r\n\
         Contact: <sip:{ours}>\r\n\
         Expires: 0\r\n\
         Server: {PRODUCT}\r\n\
         Content-Length: 0\r\n\
         \r\n"
    );
    sip::to_bytes(message, subscribe.is_latin1())
}

/// The NOTIFY: the dialog that the SUBSCRIBE began, seen from our side (RFC 3261 section 12.2.1.1, RFC 6665 section
/// 4.2.2), with one URL and nothing else in its body, and the end of the subscription.
pub fn notify(subscribe: &Subscribe, peer: &Peer, names: &Names, offer: &Offer) -> Vec<u8> {
    let mut message = String::with_capacity(MESSAGE_BYTES);
    message.push_str("NOTIFY ");
    push_request_uri(&mut message, subscribe, peer);
    let (from, to, call_id, event) =
        (subscribe.from(), subscribe.to(), subscribe.call_id(), subscribe.event());
    let (Names { tag, branch, .. }, ours) = (names, peer.ours);
    let (url, content_type) = (plain(&offer.url), plain(&offer.content_type));
    let length = url.len();
    let _ = write!(
        message,
        " SIP/2.0\r\n\
         Via: SIP/2.0/UDP {ours};branch={branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: {to};tag={tag}\r\n\
         To: {from}\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: {NOTIFY_CSEQ} NOTIFY\r\n\
         Contact: <sip:{ours}>\r\n\
         Event: {event}\r\n\
         Subscription-State: terminated;reason=timeout\r\n\
         User-Agent: {PRODUCT}\r\n\
         Content-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\
         \r\n\
         {url}"
    );
    sip::to_bytes(message, subscribe.is_latin1())
}

/// The Contact if it names the datagram's own source, else the source: a NOTIFY never names a third party.
fn push_request_uri(message: &mut String, subscribe: &Subscribe, peer: &Peer) {
    let contact = subscribe.contact().map(|contact| contact.split('?').next().unwrap_or(contact));
    match contact.filter(|contact| names_the_source(contact, peer)) {
        Some(contact) => message.push_str(contact),
        None => {
            let _ = write!(message, "sip:{}", peer.phone);
        }
    }
}

/// Whether a URI is one by which the phone itself is reached by SIP over UDP. rsip reads it where it can.
fn names_the_source(uri: &str, peer: &Peer) -> bool {
    let source = IpAddr::V4(*peer.phone.ip());
    let is_sip = uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:"));
    let is_plain = !uri.contains([' ', '<', '>', '"', ',']);
    let typed = rsip::Uri::try_from(uri).map(|uri| uri.host_with_port.host);
    is_sip
        && is_plain
        && host(uri).parse() == Ok(source)
        && !typed.is_ok_and(|host| host != rsip::Host::IpAddr(source))
}

/// The host of a SIP URI, without user, port and parameters.
fn host(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or("", |(_, rest)| rest);
    // A user part may hold a ';' but nothing may hold a second '@', so the first one decides.
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split([':', ';']).next().unwrap_or(rest)
}

/// Notes in the first Via where the request really came from (RFC 3261 section 18.2.1, RFC 3581 section 4):
/// 1. `rport` gets the source port where the phone asked for it, and then `received` is always there;
/// 2. otherwise `received` is added when the host in the Via is not the source.
fn fill_via(filled: &mut String, value: &str, phone: SocketAddrV4) {
    let mut hops = sip::split_top(value, ',');
    let first = hops.next().unwrap_or_default();
    let asks_rport = sip::parameter(first, "rport").is_some();
    let is = |piece: &str, name: &str| {
        piece.split('=').next().is_some_and(|have| have.trim().eq_ignore_ascii_case(name))
    };
    for (place, piece) in sip::split_top(first, ';').enumerate() {
        if place == 0 {
            filled.push_str(piece.trim());
        } else if is(piece, "rport") {
            let _ = write!(filled, ";rport={}", phone.port());
        } else if !is(piece, "received") && !piece.trim().is_empty() {
            filled.push(';');
            filled.push_str(piece.trim());
        }
    }
    if asks_rport || sent_by(first).parse() != Ok(*phone.ip()) {
        let _ = write!(filled, ";received={}", phone.ip());
    }
    for hop in hops {
        filled.push_str(", ");
        filled.push_str(hop.trim());
    }
}

/// The host in `SIP/2.0/UDP host:port;…`, also where blanks stand around the slashes.
fn sent_by(via: &str) -> &str {
    let head = via.split(';').next().unwrap_or(via).trim();
    let host = head.rsplit([' ', '\t', '/']).next().unwrap_or(head);
    host.split(':').next().unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use rsip::headers::UntypedHeader;
    use rsip::prelude::{HeadersExt, ToTypedHeader};
    use rsip::{Method, Request, Response, SipMessage, StatusCode};

    use super::*;

    const URL: &str = "http://192.0.2.1:8480/d/00112233445566778899aabbccddeeff/";
    const PLAIN: &str = "SUBSCRIBE sip:MAC001565aabbcc@224.0.1.75 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK7\r\n\
        From: <sip:MAC001565aabbcc@224.0.1.75>;tag=7\r\n\
        To: <sip:MAC001565aabbcc@224.0.1.75>\r\n\
        Call-ID: 7@192.0.2.7\r\n\
        CSeq: 20000 SUBSCRIBE\r\n\
        Contact: <sip:MAC001565aabbcc@192.0.2.7:5062>\r\n\
        Event: ua-profile;profile-type=\"device\";vendor=\"Yealink\";model=\"T46U\";version=\"108.86.0.90\"\r\n\
        Expires: 0\r\n\
        \r\n";

    fn peer(phone: &str) -> Peer {
        Peer { phone: phone.parse().unwrap(), ours: "192.0.2.1:5065".parse().unwrap(), interface: 2 }
    }

    fn offer(url: &str) -> Offer {
        Offer { url: url.to_owned(), content_type: "application/url".to_owned() }
    }

    /// Both messages for PLAIN with one text replaced by another, asked from 192.0.2.7:5062.
    fn answers(old: &str, new: &str) -> (String, String) {
        let subscribe = Subscribe::parse(PLAIN.replace(old, new).as_bytes()).unwrap();
        let peer = peer("192.0.2.7:5062");
        let names = Names::new(&[7; 16], &peer, &subscribe);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(ok(&subscribe, &peer, &names)), text(notify(&subscribe, &peer, &names, &offer(URL))))
    }

    fn captures() -> Vec<(String, Vec<u8>)> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let mut all: Vec<(String, Vec<u8>)> = files
            .filter(|path| name(path).contains("subscribe"))
            .map(|path| (name(&path), std::fs::read(&path).unwrap()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn every_capture_gets_a_200_and_a_notify_that_another_parser_understands() {
        for (name, bytes) in captures() {
            let subscribe = Subscribe::parse(&bytes).unwrap();
            let sent_by = sent_by(subscribe.vias().next().unwrap());
            let phone: SocketAddrV4 = format!("{sent_by}:5060").parse().unwrap();
            let peer = Peer { phone, ..peer("192.0.2.7:1") };
            let names = Names::new(&[7; 16], &peer, &subscribe);

            let ok = Response::try_from(ok(&subscribe, &peer, &names)).unwrap();
            assert_eq!(ok.status_code, StatusCode::OK, "{name}");
            assert_eq!(ok.call_id_header().unwrap().value(), subscribe.call_id(), "{name}");
            assert_eq!(ok.from_header().unwrap().value(), subscribe.from(), "{name}");
            assert_eq!(
                ok.to_header().unwrap().value(),
                format!("{};tag={}", subscribe.to(), names.tag),
                "{name}"
            );
            assert_eq!(ok.cseq_header().unwrap().seq().unwrap(), subscribe.cseq(), "{name}");
            assert_eq!(ok.cseq_header().unwrap().method().unwrap(), Method::Subscribe, "{name}");

            let notify = Request::try_from(notify(&subscribe, &peer, &names, &offer(URL))).unwrap();
            assert_eq!(notify.method, Method::Notify, "{name}");
            assert_eq!(Some(notify.uri.to_string().as_str()), subscribe.contact(), "{name}");
            assert_eq!(notify.to_header().unwrap().value(), subscribe.from(), "{name}");
            let from = notify.from_header().unwrap().typed().unwrap();
            assert_eq!(from.tag().unwrap().value(), names.tag.to_string(), "{name}");
            let via = notify.via_header().unwrap().typed().unwrap();
            assert_eq!(via.uri.to_string(), "192.0.2.1:5065", "{name}");
            assert_eq!(via.branch().unwrap().value(), names.branch.to_string(), "{name}");
            assert_eq!(notify.contact_header().unwrap().value(), "<sip:192.0.2.1:5065>", "{name}");
            assert_eq!(notify.body, URL.as_bytes(), "{name}");
            let text = notify.to_string();
            for line in [
                "Content-Type: application/url".to_owned(),
                "Subscription-State: terminated;reason=timeout".to_owned(),
                format!("Content-Length: {}", URL.len()),
                format!("Event: {}", subscribe.event()),
            ] {
                assert!(text.contains(&format!("\r\n{line}\r\n")), "{name}: {line}");
            }
        }
    }

    #[test]
    fn the_via_says_where_the_request_came_from() {
        let check = |via: &str, expected: &str| {
            let mut filled = String::new();
            fill_via(&mut filled, via, "192.0.2.7:1053".parse().unwrap());
            assert_eq!(filled, expected, "{via}");
        };
        check("SIP/2.0/UDP 192.0.2.7:5060", "SIP/2.0/UDP 192.0.2.7:5060");
        check("SIP/2.0/UDP 192.0.2.7:5062.;branch=z", "SIP/2.0/UDP 192.0.2.7:5062.;branch=z");
        check("SIP/2.0/UDP 192.0.2.7;rport", "SIP/2.0/UDP 192.0.2.7;rport=1053;received=192.0.2.7");
        check(
            "SIP/2.0/UDP 192.0.2.7:5060;rport=9;branch=z;received=9.9.9.9",
            "SIP/2.0/UDP 192.0.2.7:5060;rport=1053;branch=z;received=192.0.2.7",
        );
        check("SIP / 2.0 / UDP phone.local", "SIP / 2.0 / UDP phone.local;received=192.0.2.7");
        check("SIP/2.0/UDP [2001:db8::1]:5060;;x", "SIP/2.0/UDP [2001:db8::1]:5060;x;received=192.0.2.7");
        check(
            "SIP/2.0/UDP 192.0.2.7;a=\"b,c\",SIP/2.0/UDP h;rport",
            "SIP/2.0/UDP 192.0.2.7;a=\"b,c\", SIP/2.0/UDP h;rport",
        );
    }

    #[test]
    fn the_request_uri_never_names_a_third_party() {
        let check = |contact: &str, expected: &str| {
            let (_, notify) = answers("Contact: <sip:MAC001565aabbcc@192.0.2.7:5062>", contact);
            assert_eq!(notify.lines().next().unwrap(), format!("NOTIFY {expected} SIP/2.0"), "{contact}");
        };
        let source = "sip:192.0.2.7:5062";
        check("Contact: <sip:1@192.0.2.7:5060>;expires=0", "sip:1@192.0.2.7:5060");
        check("Contact: <sip:1@192.0.2.7>", "sip:1@192.0.2.7");
        check("Contact: sip:192.0.2.7:5059", "sip:192.0.2.7:5059");
        check("Contact: <SIP:a%20b@192.0.2.7;line=x;ob?h=v>", "SIP:a%20b@192.0.2.7;line=x;ob");
        check("Contact: <sip:192.0.2.8:5060>", source);
        check("Contact: <sip:phone.example>", source);
        check("Contact: <sips:192.0.2.7>", source);
        check("Contact: <sip:evil.example;x=y@192.0.2.7@evil.example>", source);
        check("Contact: <sip:a b@192.0.2.7>", source);
        check("Contact: *", source);
        check("X: y", source);
    }

    #[test]
    fn nothing_that_a_phone_writes_becomes_a_header() {
        let (ok, notify) = answers("tag=7", "tag=7\0\u{b}\u{85}Evil: yes");
        for message in [&ok, &notify] {
            assert!(!message.contains("\nEvil") && message.contains("tag=7Evil: yes\r\n"), "{message}");
        }
        let subscribe = Subscribe::parse(PLAIN.as_bytes()).unwrap();
        let peer = peer("192.0.2.7:5062");
        let names = Names::new(&[7; 16], &peer, &subscribe);
        let message = super::notify(&subscribe, &peer, &names, &offer("http://192.0.2.1/\r\nEvil: yes"));
        assert!(String::from_utf8(message).unwrap().ends_with("\r\n\r\nhttp://192.0.2.1/Evil: yes"));
    }

    #[test]
    fn latin_1_comes_back_as_the_same_byte() {
        let raw: Vec<u8> =
            PLAIN.replace("From: <", "From: ~ <").bytes().map(|b| if b == b'~' { 0xfc } else { b }).collect();
        let subscribe = Subscribe::parse(&raw).unwrap();
        let peer = peer("192.0.2.7:5062");
        let ok = ok(&subscribe, &peer, &Names::new(&[7; 16], &peer, &subscribe));
        assert!(ok.windows(9).any(|window| window == b"From: \xfc <"));
    }

    /// A repeatable stream of numbers (splitmix64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) >> 33).unwrap() % sides.max(1)
        }

        /// Changes one to four places of a message: bytes, ranges, or a piece of another message.
        fn mutate(&mut self, message: &mut Vec<u8>, other: &[u8]) {
            const ODD: &[u8] = b"\r\n\0\t \":;<>@=,%?/\\*[]\xff\xc3\x85\x7f9aZ";
            for _ in 0..=self.roll(4) {
                let at = self.roll(message.len());
                let to = (at + self.roll(24)).min(message.len());
                match self.roll(7) {
                    0 => message[at] = u8::try_from(self.roll(256)).unwrap(),
                    1 => message[at] = ODD[self.roll(ODD.len())],
                    2 => message.insert(at, ODD[self.roll(ODD.len())]),
                    3 => drop(message.drain(at..to)),
                    4 => drop(message.splice(at..at, message[at..to].to_vec())),
                    5 => {
                        let from = self.roll(other.len());
                        let piece = other[from..(from + self.roll(40)).min(other.len())].to_vec();
                        drop(message.splice(at..to, piece));
                    }
                    _ if self.roll(8) == 0 => message.truncate(at),
                    _ => {}
                }
                if message.is_empty() {
                    message.push(b'S');
                }
            }
        }
    }

    /// Every line end in an answer is one that we wrote.
    fn assert_well_formed(message: &[u8], headers: usize, body: &str) {
        let head = message.strip_suffix(body.as_bytes()).unwrap();
        let lines = head.strip_suffix(b"\r\n\r\n").unwrap();
        let ends = head.windows(2).filter(|pair| pair == b"\r\n").count();
        let controls = head.iter().filter(|byte| byte.is_ascii_control()).count();
        assert!(ends == headers + 2 && controls == 2 * ends, "{}", String::from_utf8_lossy(lines));
    }

    #[test]
    fn a_million_damaged_messages_do_no_harm() {
        const EACH: usize = 500_000;
        let real = captures();
        let run = |seed: u64| {
            let (mut dice, mut understood) = (Dice(seed), 0);
            let mut message = Vec::new();
            let peer = peer("192.168.10.67:5060");
            let names = Names::new(&[7; 16], &peer, &Subscribe::parse(PLAIN.as_bytes()).unwrap());
            for round in 0..EACH {
                message.clear();
                message.extend_from_slice(&real[dice.roll(real.len())].1);
                let other = dice.roll(real.len());
                dice.mutate(&mut message, &real[other].1);
                let Ok(subscribe) = Subscribe::parse(&message) else { continue };
                understood += 1;
                let _ = subscribe.claimed_mac();
                let (ok, notify) =
                    (ok(&subscribe, &peer, &names), notify(&subscribe, &peer, &names, &offer(URL)));
                // Looking at every byte takes longer than writing it; every eighth message will do.
                if round % 8 == 0 {
                    assert_well_formed(&ok, subscribe.vias().count() + 8, "");
                    assert_well_formed(&notify, 12, URL);
                }
                if round % 64 == 0 {
                    let _ = (subscribe.clues(), Names::new(&[7; 16], &peer, &subscribe));
                    // rsip refuses some damaged values that are echoed; what it reads must have every header.
                    if let Ok(SipMessage::Request(read)) = SipMessage::try_from(notify) {
                        assert_eq!((read.headers.iter().count(), read.body), (12, URL.as_bytes().to_vec()));
                    }
                }
            }
            understood
        };
        let understood: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = [1, 2].map(|seed| scope.spawn(move || run(seed))).into();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // A mutator that breaks everything would prove nothing.
        assert!(understood.iter().all(|count| *count > EACH / 4), "{understood:?}");
    }
}
