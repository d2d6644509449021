//! What an exchange comes to, for people: a word, a sentence, and what else is known. Never sends, never waits. Nothing
//! that it says holds a password or a token.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::hear::{Answer, Exchange, Question, Relay};
use super::message::{Kind, Options, code};
use crate::device::Step;
use crate::profile::{DhcpPlace, DhcpVerdict, Judgement, Profile, class_text, colons, redacted};

/// The options in which some vendor's phones look for their server, or for what leads them to it.
const LEADING: [u8; 11] = [43, 66, 67, 114, 120, 125, 132, 150, 159, 160, 242];
/// Characters of one option's value.
const VALUE_CHARS_MAX: usize = 255;
/// Characters of an option 60 in a sentence.
const CLASS_CHARS_MAX: usize = 60;
/// Said where something was not heard.
const HIDDEN: &str = "what it was given was not heard here, because a switch hides what is sent to one host; `offhook \
                      dhcp verify` asks the server itself";

/// What an exchange comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// In a word.
    pub step: Step,
    /// In a sentence.
    pub sentence: String,
    /// What else is known.
    pub data: Value,
    /// The address that the phone has now, as far as was heard.
    pub address: Option<Ipv4Addr>,
}

/// Tells of an exchange on the interface of this name. With the phone's profile, and where the agent is on that link, it
/// also says what the phone makes of what it was given.
pub fn tell(
    exchange: &Exchange,
    interface: &str,
    profile: Option<&Profile>,
    place: Option<&DhcpPlace>,
) -> Told {
    let taken = taken(exchange);
    let verdict = taken.and_then(|answer| {
        let profile = profile.filter(|profile| profile.dhcp().is_some())?;
        Some(profile.judge(&answer.options.to_map(), place?))
    });
    let (step, happened) = match (&exchange.answer, &exchange.asked, taken) {
        (Some(answer), asked, _) if answer.kind == Kind::Nak => (Step::Nak, denied(answer, asked.as_ref())),
        (_, asked, Some(answer)) => {
            let (step, judged) = judged(verdict.as_ref());
            (step, format!("{}{judged}", given(answer, asked.as_ref(), exchange.answer.is_none())))
        }
        (_, Some(asked), None) => unheard(asked, &exchange.offers),
        (_, None, None) => (Step::Unheard, HIDDEN.to_owned()),
    };
    let asked = exchange.asked.as_ref();
    let sentence = format!("{}{happened}{}", asked.map(introduced).unwrap_or_default(), by_relay(asked));
    let address = taken.and_then(|answer| answer.address).or_else(|| asked.and_then(chosen));
    let data = json!({
        "interface": interface,
        "question": asked.map(question_data),
        "offers": exchange.offers.iter().map(answer_data).collect::<Vec<_>>(),
        "answer": exchange.answer.as_ref().map(answer_data),
        "verdict": verdict,
    });
    Told { step, sentence: veiled(&sentence), data: veiled_data(data), address }
}

/// The options that lead a phone somewhere, as they may be shown.
pub fn leading(options: &Options) -> BTreeMap<u8, String> {
    let leading = options.iter().filter(|(code, _)| LEADING.contains(code));
    leading.map(|(code, octets)| (code, veiled(&shown(code, octets)))).collect()
}

/// What the phone took: the ACK, else the offer of the server that it chose.
fn taken(exchange: &Exchange) -> Option<&Answer> {
    let asked = exchange.asked.as_ref().filter(|asked| asked.kind == Kind::Request);
    let chosen = asked.and_then(|asked| asked.server);
    let offer = || exchange.offers.iter().find(|offer| chosen == Some(offer.server));
    exchange.answer.as_ref().filter(|answer| answer.kind == Kind::Ack).or_else(offer)
}

fn introduced(asked: &Question) -> String {
    let mut words = String::new();
    if let Some(class) = &asked.class {
        let class: String = redacted(&class_text(class)).chars().take(CLASS_CHARS_MAX).collect();
        let _ = write!(words, "as \"{class}\"");
    }
    let leading = || asked.options.iter().filter(|code| LEADING.contains(code));
    if leading().next().is_some() {
        let codes: Vec<String> = leading().map(u8::to_string).collect();
        let comma = if words.is_empty() { "" } else { ", " };
        let _ = write!(words, "{comma}asking for {}", codes.join(", "));
    }
    if words.is_empty() { words } else { format!("{words}: ") }
}

fn given(answer: &Answer, asked: Option<&Question>, only_offered: bool) -> String {
    let mut words = answer.server.to_string();
    let informed = asked.is_some_and(|asked| asked.kind == Kind::Inform);
    words.push_str(match (informed, only_offered) {
        (true, _) => " answered its INFORM",
        (false, true) => " offered it",
        (false, false) => " gave it",
    });
    if let Some(address) = answer.address.filter(|_| !informed) {
        let _ = write!(words, " {address}");
    }
    if let Some(seconds) = answer.options.number::<u32>(code::LEASE_TIME).filter(|_| !informed) {
        let _ = write!(words, " for {}", duration(seconds));
    }
    let options: Vec<String> =
        leading(&answer.options).iter().map(|(code, value)| format!("{code} \"{value}\"")).collect();
    match options.as_slice() {
        [] => words.push_str(", without an option that leads a phone anywhere"),
        options => {
            let _ = write!(words, " with {}", options.join(", "));
        }
    }
    if only_offered {
        words.push_str(", and it took that");
    }
    words
}

/// What the phone makes of it.
fn judged(verdict: Option<&DhcpVerdict>) -> (Step, String) {
    let Some(verdict) = verdict else { return (Step::Answered, String::new()) };
    if verdict.is_right() {
        return (Step::Given, ": that leads it here".to_owned());
    }
    let is_missing = |judgement: &Judgement| matches!(judgement, Judgement::Missing);
    let wrong = verdict.findings.iter().filter(|finding| finding.judgement != Judgement::Right);
    let wrong: Vec<_> = wrong.collect();
    let step = if verdict.reaches_us {
        Step::Given
    } else if wrong.iter().all(|finding| is_missing(&finding.judgement)) {
        Step::Bare
    } else {
        Step::Misled
    };
    let sentences: Vec<&str> = wrong.iter().map(|finding| finding.sentence.as_str()).collect();
    let mut words = if verdict.reaches_us { ": that leads it here, but " } else { ": " }.to_owned();
    words.push_str(&sentences.join("; "));
    if let Some(remedy) =
        wrong.iter().map(|finding| finding.remedy.as_str()).find(|remedy| !remedy.is_empty())
    {
        let _ = write!(words, "; {remedy}");
    }
    (step, words)
}

fn denied(answer: &Answer, asked: Option<&Question>) -> String {
    let address = asked.and_then(|asked| asked.address);
    let address = address.map_or_else(|| "its address".to_owned(), |address| address.to_string());
    format!("{} does not let it have {address}", answer.server)
}

fn unheard(asked: &Question, offers: &[Answer]) -> (Step, String) {
    let address = asked.address.map_or_else(|| "an address".to_owned(), |address| address.to_string());
    match asked.kind {
        Kind::Decline => (Step::Conflict, format!("found {address} in use by another host")),
        Kind::Release => {
            let server = asked.server.map(|server| format!(" to {server}")).unwrap_or_default();
            (Step::Released, format!("gave {address} back{server}"))
        }
        Kind::Inform => (Step::Unheard, format!("asked by INFORM; {HIDDEN}")),
        Kind::Request => match asked.server {
            Some(server) => (Step::Unheard, format!("took {address} from {server}; {HIDDEN}")),
            None => (Step::Unheard, format!("asked to go on with {address}; {HIDDEN}")),
        },
        Kind::Discover | Kind::Offer | Kind::Ack | Kind::Nak | Kind::ForceRenew => {
            let servers: Vec<String> = offers.iter().map(|offer| offer.server.to_string()).collect();
            if servers.is_empty() {
                let words = "asked for an address: no answer was heard here, and it took none";
                (Step::Unanswered, words.to_owned())
            } else {
                (
                    Step::NotTaken,
                    format!("was offered an address by {}, and took none", servers.join(" and ")),
                )
            }
        }
    }
}

/// The address that the phone takes by its REQUEST.
fn chosen(asked: &Question) -> Option<Ipv4Addr> {
    let takes = matches!(asked.kind, Kind::Request) && asked.server.is_some() || asked.kind == Kind::Inform;
    asked.address.filter(|_| takes)
}

fn by_relay(asked: Option<&Question>) -> String {
    let Some(relay) = asked.and_then(|asked| asked.relay.as_ref()) else { return String::new() };
    let mut words = format!(" (by relay {}", relay.address);
    for (name, octets) in [("circuit", &relay.circuit), ("remote", &relay.remote)] {
        if let Some(octets) = octets {
            let _ = write!(words, ", {name} {}", identifier(octets));
        }
    }
    words.push(')');
    words
}

fn question_data(asked: &Question) -> Value {
    json!({
        "kind": asked.kind.as_str(),
        "server": asked.server,
        "address": asked.address,
        "class": asked.class.as_deref().map(|class| redacted(&class_text(class))),
        "options": asked.options,
        "host_name": asked.host_name.as_deref().map(redacted),
        "client_id": asked.client_id.as_deref().map(colons),
        "relay": asked.relay.as_ref().map(relay_data),
    })
}

fn relay_data(relay: &Relay) -> Value {
    json!({
        "address": relay.address,
        "circuit_id": relay.circuit.as_deref().map(identifier),
        "remote_id": relay.remote.as_deref().map(identifier),
    })
}

fn answer_data(answer: &Answer) -> Value {
    let addresses = |code| answer.options.addresses(code).collect::<Vec<_>>();
    json!({
        "kind": answer.kind.as_str(),
        "server": answer.server,
        "sender": answer.sender,
        "address": answer.address,
        "next_server": answer.next_server,
        "lease_s": answer.options.number::<u32>(code::LEASE_TIME),
        "routers": addresses(code::ROUTER),
        "name_servers": addresses(code::DNS),
        "options": leading(&answer.options),
    })
}

/// An option's value as it may be shown.
fn shown(code: u8, octets: &[u8]) -> String {
    let is_text = octets.iter().all(|octet| (0x20..0x7f).contains(octet));
    if code == code::TFTP_ADDRESSES && octets.len().is_multiple_of(4) && !is_text {
        let addresses = octets.chunks_exact(4).filter_map(|octets| <[u8; 4]>::try_from(octets).ok());
        return addresses.map(|octets| Ipv4Addr::from(octets).to_string()).collect::<Vec<_>>().join(", ");
    }
    let text = String::from_utf8_lossy(octets);
    redacted(text.trim_end_matches('\0')).chars().take(VALUE_CHARS_MAX).collect()
}

/// A circuit's or client's number: as text where it is one.
fn identifier(octets: &[u8]) -> String {
    let is_text = !octets.is_empty() && octets.iter().all(|octet| (0x20..0x7f).contains(octet));
    if is_text { redacted(&String::from_utf8_lossy(octets)) } else { colons(octets) }
}

fn duration(seconds: u32) -> String {
    match seconds {
        u32::MAX => "ever".to_owned(),
        s if s >= 86_400 && s.is_multiple_of(86_400) => format!("{} d", s / 86_400),
        s if s >= 3_600 && s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s >= 60 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A text without the token of a phone's own URL, which somebody may have put into an option.
pub(super) fn veiled(text: &str) -> String {
    let mut veiled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("/d/") {
        let digits = behind.bytes().take_while(u8::is_ascii_hexdigit).count();
        veiled.push_str(before);
        veiled.push_str("/d/");
        rest = behind;
        if digits >= 32 {
            veiled.push_str("***");
            rest = behind.get(digits..).unwrap_or_default();
        }
    }
    veiled.push_str(rest);
    veiled
}

fn veiled_data(data: Value) -> Value {
    match data {
        Value::String(text) => Value::String(veiled(&text)),
        Value::Array(values) => values.into_iter().map(veiled_data).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, veiled_data(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::device::Vendor;
    use crate::profile::Catalog;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const PHONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

    fn asked(kind: Kind, server: Option<Ipv4Addr>) -> Question {
        Question {
            kind,
            server,
            address: Some(PHONE),
            class: Some(b"yealink\0".to_vec()),
            options: vec![1, 3, 66, 43],
            host_name: None,
            client_id: None,
            relay: None,
        }
    }

    fn answer(kind: Kind, options: &[(u8, &[u8])]) -> Answer {
        let lease = (code::LEASE_TIME, 7_200_u32.to_be_bytes().to_vec());
        let options = options.iter().map(|(code, octets)| (*code, octets.to_vec()));
        Answer {
            kind,
            server: SERVER,
            sender: None,
            address: Some(PHONE),
            next_server: None,
            options: options.chain([lease]).collect(),
        }
    }

    fn told(asked: Option<Question>, offers: Vec<Answer>, answer: Option<Answer>) -> Told {
        let at = Clock::manual(Timestamp(0)).instant();
        let mac = "805ec0000001".parse().unwrap();
        let mut exchange = Exchange::of(mac, at);
        (exchange.asked, exchange.offers, exchange.answer) = (asked, offers, answer);
        let catalog = Catalog::builtin().unwrap();
        let profile = catalog.get(&Vendor::new("yealink")).unwrap();
        let base_http = Some("http://192.0.2.9:8480/".to_owned());
        let place = DhcpPlace { base_http, ..DhcpPlace::at(Ipv4Addr::new(192, 0, 2, 9)) };
        tell(&exchange, "eth0", Some(profile), Some(&place))
    }

    #[test]
    fn what_was_given_is_judged_as_the_phone_reads_it() {
        let check = |options: &[(u8, &[u8])], step: Step, says: &str| {
            let told =
                told(Some(asked(Kind::Request, Some(SERVER))), vec![], Some(answer(Kind::Ack, options)));
            assert_eq!((told.step, told.address), (step, Some(PHONE)), "{}", told.sentence);
            assert!(
                told.sentence.starts_with("as \"yealink\", asking for 66, 43: 192.0.2.1 gave it"),
                "{told:?}"
            );
            assert!(told.sentence.contains(says), "{}", told.sentence);
        };
        check(
            &[(66, b"http://192.0.2.9:8480/")],
            Step::Given,
            "192.0.2.100 for 2 h with 66 \"http://192.0.2.9:8480/\": that leads it here",
        );
        check(&[(66, b"http://192.0.2.7/")], Step::Misled, "which is another server");
        check(&[(66, b"\"http://192.0.2.9:8480/\"")], Step::Misled, "option 66");
        check(&[(3, &[192, 0, 2, 1])], Step::Bare, "is missing");
        check(&[(66, b"http://u:kPw@192.0.2.9:8480/")], Step::Given, "that leads it here, but ");
    }

    #[test]
    fn what_was_not_heard_is_said_and_not_guessed() {
        let check = |kind, server, step: Step, says: &str| {
            let told = told(Some(asked(kind, server)), vec![], None);
            assert_eq!(told.step, step, "{}", told.sentence);
            assert!(told.sentence.contains(says), "{}", told.sentence);
            assert_eq!(told.data["answer"], Value::Null);
        };
        check(Kind::Discover, None, Step::Unanswered, "no answer was heard here, and it took none");
        check(
            Kind::Request,
            Some(SERVER),
            Step::Unheard,
            "took 192.0.2.100 from 192.0.2.1; what it was given was not",
        );
        check(Kind::Request, None, Step::Unheard, "`offhook dhcp verify` asks the server itself");
        check(Kind::Inform, None, Step::Unheard, "asked by INFORM");
        check(Kind::Decline, None, Step::Conflict, "in use by another host");
        check(Kind::Release, Some(SERVER), Step::Released, "gave 192.0.2.100 back to 192.0.2.1");
    }

    #[test]
    fn an_offer_that_is_taken_counts_and_one_that_is_not_does_not() {
        let offer = || answer(Kind::Offer, &[(66, b"http://192.0.2.9:8480/")]);
        let taken = told(Some(asked(Kind::Request, Some(SERVER))), vec![offer()], None);
        assert_eq!(taken.step, Step::Given);
        assert!(taken.sentence.contains("offered it 192.0.2.100 for 2 h with 66"), "{}", taken.sentence);
        let left = told(Some(asked(Kind::Discover, None)), vec![offer()], None);
        assert_eq!((left.step, left.address), (Step::NotTaken, None));
        let denied = told(Some(asked(Kind::Request, None)), vec![], Some(answer(Kind::Nak, &[])));
        assert_eq!((denied.step, denied.address), (Step::Nak, None));
        assert!(
            denied.sentence.ends_with("192.0.2.1 does not let it have 192.0.2.100"),
            "{}",
            denied.sentence
        );
    }

    #[test]
    fn no_password_and_no_token_is_said() {
        let token = "0123456789abcdef0123456789abcdef";
        let own = format!("http://192.0.2.9:8480/d/{token}/");
        let options: [(u8, &[u8]); 5] = [
            (43, b"\x42\x20http://admin:kCanary@192.0.2.7/\0"),
            (66, b"https://admin:kCanary@192.0.2.9/"),
            (67, b"admin:kCanary@192.0.2.9"),
            (160, own.as_bytes()),
            (242, b"HTTPSRVR=192.0.2.7,ADMIN_PASSWORD=kCanary"),
        ];
        let question =
            Question { class: Some(b"http://a:kCanary@x".to_vec()), ..asked(Kind::Request, Some(SERVER)) };
        let told =
            told(Some(question), vec![answer(Kind::Offer, &options)], Some(answer(Kind::Ack, &options)));
        let text = format!("{} {} {told:?}", told.sentence, told.data);
        assert!(text.contains("***@192.0.2.7") && text.contains("/d/***/"), "{text}");
        for secret in ["kCanary", token] {
            assert!(!text.contains(secret), "{text}");
        }
        let gives = format!("{:?}", leading(&answer(Kind::Ack, &options).options));
        assert!(gives.contains("***") && !gives.contains("kCanary") && !gives.contains(token), "{gives}");
    }

    #[test]
    fn a_relay_and_addresses_are_readable() {
        let relay = Relay {
            address: [10, 9, 0, 1].into(),
            circuit: Some(b"eth7".to_vec()),
            remote: Some(vec![0, 1]),
        };
        let question = Question { relay: Some(relay), ..asked(Kind::Discover, None) };
        let told = told(Some(question), vec![], None);
        assert!(
            told.sentence.ends_with("(by relay 10.9.0.1, circuit eth7, remote 00:01)"),
            "{}",
            told.sentence
        );
        assert_eq!(told.data["question"]["relay"]["circuit_id"], "eth7");
        assert_eq!(shown(150, &[192, 0, 2, 1, 192, 0, 2, 2]), "192.0.2.1, 192.0.2.2");
        assert_eq!(shown(150, b"192.0.2.123."), "192.0.2.123.");
        assert_eq!(
            [duration(90), duration(120), duration(86_400), duration(u32::MAX)],
            ["90 s", "2 min", "1 d", "ever"]
        );
    }
}
