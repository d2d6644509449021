//! What hosts announce of themselves by multicast DNS (RFC 6762): the question for it, and what an answer says. A name is
//! the host's own word: it is shown, and is a clue where a profile knows it. Never sends, never waits.

use std::net::{Ipv4Addr, SocketAddrV4};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::device::Source;
use crate::profile::Clue;

/// Where everybody hears it (RFC 6762, 3).
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
/// Octets of a message that are looked at (RFC 6762, 17).
pub const DATAGRAM_BYTES_MAX: usize = 9_000;
/// What is asked for: services of phones, and which services there are at all (RFC 6763, 9).
const SERVICES: [&str; 4] =
    ["_sip._udp.local.", "_sip._tcp.local.", "_http._tcp.local.", "_services._dns-sd._udp.local."];
/// Words that are kept of one message; a host announces a few services.
const CLUES_MAX: usize = 12;
/// Characters of one of them.
const CHARS_MAX: usize = 200;

/// Who is there? Every host that announces something answers to the group.
pub fn question() -> Vec<u8> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    for service in SERVICES {
        if let Ok(name) = Name::from_ascii(service) {
            message.add_query(Query::query(name, RecordType::PTR));
        }
    }
    message.to_vec().unwrap_or_default()
}

/// What a datagram says of its sender; nothing for a question, and for what is no DNS.
pub fn announced(datagram: &[u8]) -> Vec<Clue> {
    let datagram = datagram.get(..DATAGRAM_BYTES_MAX).unwrap_or(datagram);
    let Ok(message) = Message::from_vec(datagram) else { return Vec::new() };
    if message.metadata.message_type != MessageType::Response {
        return Vec::new();
    }
    let mut clues: Vec<Clue> = Vec::new();
    for clue in message.answers.iter().chain(&message.additionals).filter_map(read) {
        if clues.len() < CLUES_MAX && !clues.contains(&clue) {
            clues.push(clue);
        }
    }
    clues
}

fn read(record: &Record) -> Option<Clue> {
    let (source, text) = match &record.data {
        RData::A(_) => (Source::MdnsHost, words(&record.name)),
        // Who offers a service: `Name._sip._udp.local`, which is not what there is (`_services`).
        RData::PTR(name) if !words(&record.name).starts_with("_services.") => {
            (Source::MdnsService, words(name))
        }
        RData::TXT(txt) => {
            let said: Vec<String> = txt.txt_data.iter().map(|text| tidy(text)).collect();
            let said = said.join(" ");
            if said.trim().is_empty() {
                return None;
            }
            (Source::MdnsService, format!("{} {said}", words(&record.name)))
        }
        _ => return None,
    };
    let text: String = text.chars().take(CHARS_MAX).collect();
    (!text.is_empty()).then(|| Clue::new(source, text))
}

/// A name as a person reads it, without the domain that all of them have.
fn words(name: &Name) -> String {
    let labels: Vec<String> = name.iter().map(tidy).collect();
    let text = labels.join(".");
    text.strip_suffix(".local").unwrap_or(&text).to_owned()
}

fn tidy(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, PTR, TXT};
    use proptest::prelude::*;

    use super::*;

    /// As a host writes it that offers a web page, with a name that has a blank.
    fn answer() -> Vec<u8> {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let instance = Name::from_labels([&b"Acme X1 (5d)"[..], b"_http", b"_tcp", b"local"]).unwrap();
        let mut add = |owner: Name, data: RData| message.answers.push(Record::from_rdata(owner, 120, data));
        add(name("_services._dns-sd._udp.local."), RData::PTR(PTR(name("_http._tcp.local."))));
        add(name("_http._tcp.local."), RData::PTR(PTR(instance.clone())));
        add(instance, RData::TXT(TXT::new(vec!["path=/".to_owned(), "model=X1\r\n".to_owned()])));
        add(name("acme-x1.local."), RData::A(A(Ipv4Addr::new(192, 0, 2, 7))));
        message.to_vec().unwrap()
    }

    #[test]
    fn a_host_tells_its_name_and_its_services() {
        let said: Vec<(&str, String)> =
            announced(&answer()).into_iter().map(|clue| (clue.source.as_str(), clue.text)).collect();
        let expected = [
            ("mdns.service", "Acme X1 (5d)._http._tcp"),
            ("mdns.service", "Acme X1 (5d)._http._tcp path=/ model=X1"),
            ("mdns.host", "acme-x1"),
        ];
        assert_eq!(said, expected.map(|(source, text)| (source, text.to_owned())));
    }

    #[test]
    fn the_question_asks_for_phones_and_says_nothing_itself() {
        let asked = Message::from_vec(&question()).unwrap();
        let names: Vec<String> = asked.queries.iter().map(|query| words(query.name())).collect();
        assert_eq!(names, ["_sip._udp", "_sip._tcp", "_http._tcp", "_services._dns-sd._udp"]);
        assert_eq!(announced(&question()), []);
    }

    #[test]
    fn a_loop_of_names_ends_and_a_cut_message_says_nothing_new() {
        let whole = answer();
        let said = announced(&whole);
        for cut in 0..whole.len() {
            assert!(announced(&whole[..cut]).iter().all(|clue| said.contains(clue)));
        }
        // One answer whose name is a pointer to itself.
        let looped =
            [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12];
        assert_eq!(announced(&looped), []);
    }

    proptest! {
        #[test]
        fn nothing_that_a_host_sends_breaks_it(mut octets in proptest::collection::vec(any::<u8>(), 0..300), at in 0..200_usize, with: u8) {
            announced(&octets);
            let mut mangled = answer();
            if let Some(octet) = mangled.get_mut(at) {
                *octet = with;
            }
            let clues = announced(&mangled);
            prop_assert!(clues.len() <= CLUES_MAX);
            prop_assert!(clues.iter().all(|clue| clue.text.chars().count() <= CHARS_MAX && !clue.text.contains(char::is_control)));
            octets.splice(0..0, mangled);
            announced(&octets);
        }
    }
}
