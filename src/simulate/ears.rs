//! SIP of a phone that stays up: OPTIONS, and NOTIFYs that come by themselves. What an Event makes the phone do is its
//! profile's `[simulate.notify]`; one that it does not know gets 489. A digest challenge for a NOTIFY asks for an account's
//! own password (snom `challenge_checksync`, Grandstream "SIP NOTIFY authentication", Cisco `Auth_Resync-Reboot`); its
//! realm is the account's registrar, which no vendor says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Mutex, PoisonError};

use subtle::ConstantTimeEq;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::Phone;
use super::digest;
use super::notify::body_url;
use super::report::{Failure, StepKind};
use super::sip::{DATAGRAM_BYTES_MAX, Message, Start, respond};
use super::stay::{Call, Known, Log, Notified, Stay};
use super::url::{Url, shorten};
use crate::profile::OnNotify;

/// Nonces that are still good, and requests whose repetitions are told from new ones.
const KEPT_MAX: usize = 32;
/// Where a vendor's Events are not known better: the one that nearly all know.
const USUAL: [(&str, bool); 2] = [("check-sync", false), ("check-sync;reboot=true", true)];

/// The phone's ears.
pub(super) struct Ears<'a, 'l> {
    socket: UdpSocket,
    local: SocketAddrV4,
    phone: &'a Phone,
    notified: Notified,
    events: OnNotify,
    known: &'a Known,
    log: &'a Log<'l>,
    calls: mpsc::Sender<Call>,
    heard: Mutex<Heard>,
}

/// What a phone remembers of requests.
#[derive(Debug, Default)]
struct Heard {
    nonces: VecDeque<String>,
    answered: VecDeque<(String, Vec<u8>)>,
}

/// An answer, and what follows it.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    bytes: Option<Vec<u8>>,
    call: Option<Call>,
    told: String,
}

impl<'a, 'l> Ears<'a, 'l> {
    /// Listens on this address.
    pub(super) fn open(
        phone: &'a Phone,
        stay: Stay,
        address: Ipv4Addr,
        known: &'a Known,
        log: &'a Log<'l>,
        calls: mpsc::Sender<Call>,
    ) -> Result<Self, Failure> {
        let at = SocketAddrV4::new(address, stay.sip_port);
        let cannot = |error: std::io::Error| {
            Failure::new(StepKind::Visit, format!("cannot answer SIP on {at}: {error}"))
        };
        let socket = std::net::UdpSocket::bind(at).map_err(cannot)?;
        socket.set_nonblocking(true).map_err(cannot)?;
        let socket = UdpSocket::from_std(socket).map_err(cannot)?;
        let port = socket.local_addr().map_err(cannot)?.port();
        let events = phone.habits.sheet.notify.clone().unwrap_or_else(usual);
        let notified = match stay.notify {
            Notified::AsSold if events.challenge => Notified::Challenge,
            Notified::AsSold => Notified::Accept,
            told => told,
        };
        let local = SocketAddrV4::new(address, port);
        Ok(Self { socket, local, phone, notified, events, known, log, calls, heard: Mutex::default() })
    }

    /// Where it listens.
    pub(super) fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// Answers as long as it is polled.
    pub(super) async fn listen(&self) -> Infallible {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error is an ICMP refusal of an earlier answer: its asker is gone, others come.
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let Some(request) = Message::read(buffer.get(..length).unwrap_or_default()) else { continue };
            let Start::Request { method, .. } = &request.start else { continue };
            let Ok(nonce) = self.phone.spec.entropy.text("0123456789abcdef", 32) else { continue };
            if let Some(bytes) = self.answered(&request) {
                let _ = self.socket.send_to(&bytes, from).await;
                continue;
            }
            let answer = self.decide(method, &request, from, &nonce);
            self.log.note(StepKind::Visit, format!("{method} from {from}: {}", answer.told));
            if let Some(bytes) = answer.bytes {
                let _ = self.socket.send_to(&bytes, from).await;
                self.remember(&request, bytes);
            }
            if let Some(call) = answer.call {
                // A full queue: the looks that it holds serve this call as well.
                let _ = self.calls.try_send(call);
            }
        }
    }

    fn decide(&self, method: &str, request: &Message, from: SocketAddr, nonce: &str) -> Answer {
        match method {
            "OPTIONS" => self.say(request, "200 OK", nonce, &[("Accept", "application/sdp")], None),
            "NOTIFY" => self.decide_notify(request, from, nonce),
            "ACK" => Answer { bytes: None, call: None, told: "no answer".to_owned() },
            _ => self.say(request, "405 Method Not Allowed", nonce, &[("Allow", "OPTIONS, NOTIFY")], None),
        }
    }

    fn decide_notify(&self, request: &Message, from: SocketAddr, nonce: &str) -> Answer {
        let event = request.header("event").unwrap_or_default();
        let Some(call) = self.meant(event, request) else {
            return self.say(request, "489 Bad Event", nonce, &[], None);
        };
        let silent =
            |why: &str| Answer { bytes: None, call: None, told: format!("{}: {why}", shorten(event)) };
        match self.notified {
            Notified::Silent => silent("no answer"),
            Notified::Registrar if !self.known.lessons().registrars.contains(&from.ip()) => {
                silent("not from a registrar, no answer")
            }
            Notified::Refuse => self.say(request, "403 Forbidden", nonce, &[], None),
            Notified::Challenge if !matches!(call, Call::Url(_)) && !self.is_right(request) => {
                self.challenge(request, nonce)
            }
            _ => match call {
                // A body that is no URL is acknowledged and left.
                Call::Url(url) if Url::read(&url).is_err() => self.say(request, "200 OK", nonce, &[], None),
                call => self.say(request, "200 OK", nonce, &[], Some(call)),
            },
        }
    }

    /// What this Event makes the phone do; `None`: it does not know it.
    fn meant(&self, event: &str, request: &Message) -> Option<Call> {
        let rows = [(&self.events.resync, 0), (&self.events.reboot, 1), (&self.events.url, 2)];
        let fitting = rows.iter().flat_map(|(patterns, does)| patterns.iter().map(move |p| (p, does)));
        let (_, does) = fitting
            .filter(|(pattern, _)| fits(pattern, event, &request.body))
            .max_by_key(|(pattern, _)| pattern.len())?;
        Some(match does {
            0 => Call::Resync,
            1 => Call::Reboot,
            _ => Call::Url(body_url(request, &mut Vec::new()).unwrap_or_default()),
        })
    }

    fn challenge(&self, request: &Message, nonce: &str) -> Answer {
        let challenge =
            format!("Digest realm=\"{}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"", self.realm());
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.nonces.push_back(nonce.to_owned());
        if heard.nonces.len() > KEPT_MAX {
            heard.nonces.pop_front();
        }
        drop(heard);
        self.say(request, "401 Unauthorized", nonce, &[("WWW-Authenticate", &challenge)], None)
    }

    fn realm(&self) -> String {
        let first = self.known.lessons().accounts.first().map(|account| account.host.clone());
        first.unwrap_or_else(|| self.local.ip().to_string())
    }

    /// Whether the request proves that its sender knows an account's password.
    fn is_right(&self, request: &Message) -> bool {
        let Some(parameters) = request.header("authorization").and_then(digest::parameters) else {
            return false;
        };
        let get = |name: &str| {
            parameters.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value.as_str())
        };
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if !heard.nonces.iter().any(|nonce| nonce == get("nonce")) {
            return false;
        }
        let quality = (get("qop") == "auth").then(|| (get("nc"), get("cnonce")));
        let lessons = self.known.lessons();
        let accounts = lessons.accounts.iter().filter(|account| account.auth_id == get("username"));
        accounts.filter_map(|account| account.password.as_ref()).any(|password| {
            let request = ("NOTIFY", get("uri"));
            let expected =
                digest::response(get("username"), get("realm"), password, request, get("nonce"), quality);
            !password.is_empty() && expected.as_bytes().ct_eq(get("response").as_bytes()).into()
        })
    }

    fn say(
        &self,
        request: &Message,
        status: &str,
        tag: &str,
        more: &[(&str, &str)],
        call: Option<Call>,
    ) -> Answer {
        let contact = format!("<sip:{}>", self.local);
        let mut headers = vec![("Contact", contact.as_str())];
        let habits = &self.phone.habits;
        headers.extend(habits.sip_user_agent.as_deref().map(|agent| ("User-Agent", agent)));
        headers.extend(habits.sip_server.as_deref().map(|server| ("Server", server)));
        headers.extend(more);
        let event = request.header("event").map(|event| format!("{}: ", shorten(event)));
        Answer {
            bytes: Some(respond(request, status, tag, &headers)),
            call,
            told: format!("{}{status}", event.unwrap_or_default()),
        }
    }

    /// The answer that a repetition of an earlier request gets again.
    fn answered(&self, request: &Message) -> Option<Vec<u8>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let which = transaction(request);
        heard.answered.iter().find(|(known, _)| *known == which).map(|(_, bytes)| bytes.clone())
    }

    fn remember(&self, request: &Message, bytes: Vec<u8>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.answered.push_back((transaction(request), bytes));
        if heard.answered.len() > KEPT_MAX {
            heard.answered.pop_front();
        }
    }
}

/// What two copies of one request have in common, and two requests have not.
fn transaction(request: &Message) -> String {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let authorized = request.header("authorization").unwrap_or_default();
    [header("via"), header("call-id"), header("cseq"), header("from"), authorized].join("\n")
}

fn usual() -> OnNotify {
    let of = |reboots: bool| {
        USUAL.iter().filter(|(_, reboot)| *reboot == reboots).map(|(event, _)| (*event).to_owned()).collect()
    };
    OnNotify { resync: of(false), reboot: of(true), url: Vec::new(), challenge: false }
}

/// Whether an Event, and a body, are what a profile's pattern `EVENT;NAME=VALUE LINE` says.
fn fits(pattern: &str, event: &str, body: &[u8]) -> bool {
    let (pattern, line) = pattern.split_once(' ').unwrap_or((pattern, ""));
    let parts = |text: &str| -> Vec<String> {
        text.split(';').map(|part| part.trim().replace('"', "").to_ascii_lowercase()).collect()
    };
    let (wanted, found) = (parts(pattern), parts(event));
    let (Some((name, wanted)), Some((own, found))) = (wanted.split_first(), found.split_first()) else {
        return false;
    };
    let body = String::from_utf8_lossy(body);
    name == own
        && wanted.iter().all(|part| found.contains(part))
        && (line.is_empty() || body.lines().any(|held| held.trim() == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_known_by_its_name_its_parameters_and_its_body() {
        for (pattern, event, body, expected) in [
            ("check-sync", "check-sync", "", true),
            ("check-sync", "Check-Sync;reboot=true", "", true),
            ("check-sync;reboot=true", "check-sync; reboot=true", "", true),
            ("check-sync;reboot=true", "check-sync;reboot=false", "", false),
            ("check-sync", "check-sync2", "", false),
            ("check-sync", "", "", false),
            ("service-control action=reset", "service-control", "action=reset\r\nx={}\r\n", true),
            ("service-control action=reset", "service-control", "action=restart", false),
        ] {
            assert_eq!(fits(pattern, event, body.as_bytes()), expected, "{pattern} {event} {body}");
        }
    }
}
