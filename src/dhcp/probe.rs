//! Asks DHCP servers without taking a lease: what to ask, when to ask again, and which answer belongs to which question.
//! Never sends, never waits, never reads the clock.
//!
//! A DHCPINFORM takes nothing (RFC 2131, section 3.4): who has an address asks for the rest. A DISCOVER that no REQUEST
//! follows may hold an address for about a minute in some servers, so it is rare, and always in the name of one and the
//! same client.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::Packet;
use super::message::{Draft, Kind, Listed, Message, Options, code};
use crate::device::Mac;

/// What every question of ours carries (option 77; RFC 3004: a length, a name): a server's log can name us, and an agent
/// that hears it takes nobody for a phone.
const USER_CLASS: &[u8] = b"\x07offhook";
/// The length of what follows it in the questions of an agent that wants to give leases: its address.
const CANDIDATE_LEN: u8 = 4;
/// How we take answers: one Ethernet frame, as most phones say. Without it, a server leaves out what a phone would get.
const SIZE_MAX: u16 = 1500;
/// Between two questions. Switches that guard DHCP commonly shut a port that sends more than ten in a second.
const GAP: Duration = Duration::from_millis(125);
/// Answers that are kept of one question. More servers than that are none.
const ANSWERS_MAX: usize = 16;
/// The first octets of the client that looks for other servers: locally administered, so nobody's; `6f 66` is `of`.
const SEARCHER: [u8; 3] = [0x02, 0x6f, 0x66];

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// This host on one of its networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The interface.
    pub interface: u32,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Its own hardware address.
    pub mac: Mac,
}

/// What a server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    kind: Kind,
    /// In whose name.
    pub mac: Mac,
    /// Option 60.
    pub class: Option<Vec<u8>>,
    /// Option 55.
    pub asked: Vec<u8>,
    /// As which server the asker wants to answer on this network, if it does.
    candidate: Option<Ipv4Addr>,
}

impl Question {
    /// What is there besides an address? Takes nothing.
    pub fn inform(mac: Mac, class: Option<Vec<u8>>, asked: Vec<u8>) -> Self {
        Self { kind: Kind::Inform, mac, class, asked, candidate: None }
    }

    /// What would a new client get?
    pub fn discover(mac: Mac, class: Option<Vec<u8>>, asked: Vec<u8>) -> Self {
        Self { kind: Kind::Discover, mac, class, asked, candidate: None }
    }

    fn draft(&self, asker: &Asker, xid: u32, secs: u16) -> Draft {
        let is_inform = self.kind == Kind::Inform;
        let mut options = Listed::new();
        options.extend(self.class.as_ref().map(|class| (code::VENDOR_CLASS, class)));
        options.push(code::ASKED, &self.asked);
        options.push(code::SIZE_MAX, &SIZE_MAX.to_be_bytes());
        let mut user_class = USER_CLASS.to_vec();
        if let Some(address) = self.candidate {
            user_class.push(CANDIDATE_LEN);
            user_class.extend(address.octets());
        }
        options.push(code::USER_CLASS, &user_class);
        Draft {
            secs,
            // What is sent to a hardware address that is not this host's would not arrive.
            broadcast: !is_inform || self.mac != asker.mac,
            ciaddr: if is_inform { asker.address } else { Ipv4Addr::UNSPECIFIED },
            options,
            ..Draft::question(self.kind, self.mac, xid)
        }
    }

    fn is_answered_by(&self, kind: Kind) -> bool {
        kind == if self.kind == Kind::Inform { Kind::Ack } else { Kind::Offer }
    }
}

/// Whether this is a question of ours or of another agent: it is no phone's.
pub fn is_probe(message: &Message) -> bool {
    let class = message.options.get(code::USER_CLASS).unwrap_or_default();
    !message.from_server && class.starts_with(USER_CLASS)
}

/// As which server another host's agent wants to give leases where it asks: it looks for other servers first.
pub fn candidate(packet: &Packet) -> Option<Ipv4Addr> {
    let Packet { message, is_own_hosts: false, .. } = packet else { return None };
    let class = message.options.get(code::USER_CLASS).filter(|_| message.kind == Kind::Discover)?;
    let (len, address) = class.strip_prefix(USER_CLASS)?.split_first()?;
    let address = <[u8; 4]>::try_from(address).ok().filter(|_| *len == CANDIDATE_LEN)?;
    Some(address.into())
}

/// The one client in whose name this host looks for other servers: always the same, so that it holds one address at most.
pub fn searcher(own: Mac) -> Mac {
    let mut octets = own.octets();
    if let Some(first) = octets.first_chunk_mut() {
        *first = SEARCHER;
    }
    Mac::new(octets).unwrap_or(own)
}

/// How often, and how long, is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How often one question is sent while somebody who is there has not answered it.
    pub tries: u8,
    /// Time between two of them.
    pub again_after: Duration,
    /// Time for the last answers.
    pub wait: Duration,
}

impl Pace {
    /// Three times within this time.
    pub fn within(timeout: Duration) -> Self {
        let third = timeout / 3;
        Self { tries: 3, again_after: third, wait: third }
    }

    /// Once. Some servers first look for four seconds whether the address that they offer is in use (dnsmasq pings it).
    pub fn once() -> Self {
        Self { tries: 1, again_after: Duration::ZERO, wait: Duration::from_secs(6) }
    }

    /// For other servers, before leases are given: three times, ten seconds apart.
    fn search() -> Self {
        Self { tries: 3, again_after: Duration::from_secs(10), wait: Duration::from_secs(6) }
    }
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Responder {
    /// What it calls itself (option 54), or its address.
    pub id: Ipv4Addr,
    /// The address that it sent from.
    pub from: Ipv4Addr,
    /// Who put the answer on the link: the server or the last router.
    pub mac: Option<Mac>,
    /// Whether it runs on this very host.
    pub is_own_hosts: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// To which question, by its place.
    pub question: usize,
    /// By whom.
    pub by: Responder,
    /// What it says.
    pub options: Options,
}

/// A message that is to be sent: from the unspecified address by broadcast on the asker's link, otherwise by the host's
/// own routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The message.
    pub draft: Draft,
    /// From where.
    pub from: SocketAddrV4,
    /// To where.
    pub to: SocketAddrV4,
}

/// Some questions on one network, until they are answered or given up.
#[derive(Debug)]
pub struct Survey {
    asker: Asker,
    /// Only this server is asked and listened to.
    server: Option<Ipv4Addr>,
    pace: Pace,
    asked: Vec<Asked>,
    answers: Vec<Answer>,
    started: Instant,
    last_sent: Instant,
    commands: VecDeque<Sending>,
    is_over: bool,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    xid: u32,
    tries: u8,
    /// When it may be sent (again).
    due: Option<Instant>,
}

impl Survey {
    /// Asks these questions. `xid` is drawn at random; each question has its own, counted from there.
    pub fn new(asker: Asker, questions: Vec<Question>, pace: Pace, xid: u32, now: Instant) -> Self {
        let numbers = std::iter::successors(Some(xid), |xid| Some(xid.wrapping_add(1)));
        let all = questions.into_iter().zip(numbers);
        let all: Vec<Asked> =
            all.map(|(question, xid)| Asked { question, xid, tries: 0, due: Some(now) }).collect();
        let is_over = all.is_empty();
        Self {
            asker,
            server: None,
            pace,
            asked: all,
            answers: Vec::new(),
            started: now,
            last_sent: now,
            commands: VecDeque::new(),
            is_over,
        }
    }

    /// Looks for DHCP servers: whether one may be started here (three DISCOVERs, ten seconds apart, none after an answer).
    /// `is_candidate`: the asker wants to be one, and says so to others that want it as well.
    pub fn search(asker: Asker, is_candidate: bool, xid: u32, now: Instant) -> Self {
        let codes = vec![code::SUBNET_MASK, code::ROUTER, code::DNS, code::DOMAIN_NAME];
        let question = Question::discover(searcher(asker.mac), None, codes);
        let question = Question { candidate: is_candidate.then_some(asker.address), ..question };
        Self::new(asker, vec![question], Pace::search(), xid, now)
    }

    /// Asks this server alone, wherever it is.
    #[must_use]
    pub fn only(self, server: Option<Ipv4Addr>) -> Self {
        Self { server, ..self }
    }

    /// Who asks.
    pub fn asker(&self) -> Asker {
        self.asker
    }

    /// The server that alone is asked.
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.server
    }

    /// What was answered so far.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Everybody who answered anything.
    pub fn responders(&self) -> BTreeSet<Responder> {
        self.answers.iter().map(|answer| answer.by).collect()
    }

    /// Takes in what was heard.
    pub fn handle(&mut self, packet: &Packet) {
        let message = &packet.message;
        let is_it = |asked: &Asked| {
            message.from_server
                && asked.tries > 0
                && (message.xid, message.mac) == (asked.xid, asked.question.mac)
                && asked.question.is_answered_by(message.kind)
        };
        let Some(question) = self.asked.iter().position(is_it) else { return };
        let from = *packet.from.ip();
        let by = Responder {
            id: message.options.address(code::SERVER).unwrap_or(from),
            from,
            mac: packet.sender,
            is_own_hosts: packet.is_own_hosts,
        };
        if self.server.is_some_and(|server| server != by.id && server != by.from) {
            return;
        }
        let before = || self.answers.iter().filter(|answer| answer.question == question);
        // A repeated question is answered again, and on loopback every frame is heard twice. Two servers of one host
        // have one address between them.
        let is_known = before().any(|answer| {
            (answer.by.id, answer.by.from) == (by.id, by.from) && answer.options == message.options
        });
        if !is_known && before().count() < ANSWERS_MAX {
            self.answers.push(Answer { question, by, options: message.options.clone() });
        }
    }

    /// What is to be sent next.
    pub fn next_command(&mut self) -> Option<Sending> {
        self.commands.pop_front()
    }

    /// When to call [`Survey::handle_timeout`]; `None` when it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over {
            return None;
        }
        let due = (0..self.asked.len()).filter_map(|at| self.due(at)).min();
        let is_first = self.asked.iter().all(|asked| asked.tries == 0);
        let free = if is_first { self.started } else { self.last_sent + GAP };
        Some(due.map_or(self.last_sent + self.pace.wait, |due| due.max(free)))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        let due = (0..self.asked.len()).filter_map(|at| Some((self.due(at)?, at))).min();
        match due {
            Some((_, at)) => self.send(at, now),
            None => self.is_over = true,
        }
    }

    /// When this question is to be sent, unless everybody who is known to be there has answered it.
    fn due(&self, at: usize) -> Option<Instant> {
        let due = self.asked.get(at)?.due?;
        let answered = |by: &Responder| {
            let here =
                |answer: &Answer| answer.question == at && (answer.by.id, answer.by.from) == (by.id, by.from);
            self.answers.iter().any(here)
        };
        let is_settled = !self.answers.is_empty() && self.answers.iter().all(|answer| answered(&answer.by));
        (!is_settled).then_some(due)
    }

    fn send(&mut self, at: usize, now: Instant) {
        let Some(asked) = self.asked.get_mut(at) else { return };
        asked.tries += 1;
        asked.due = (asked.tries < self.pace.tries).then(|| now + self.pace.again_after);
        self.last_sent = now;
        let secs = u16::try_from(now.saturating_duration_since(self.started).as_secs()).unwrap_or(u16::MAX);
        let draft = asked.question.draft(&self.asker, asked.xid, secs);
        // A server on this host is heard as everybody is; only another one is asked by itself.
        let server = self.server.filter(|server| draft.kind == Kind::Inform && *server != self.asker.address);
        self.commands.push_back(Sending {
            from: SocketAddrV4::new(draft.ciaddr, CLIENT_PORT),
            to: SocketAddrV4::new(server.unwrap_or(Ipv4Addr::BROADCAST), SERVER_PORT),
            draft,
        });
    }
}

#[cfg(test)]
mod tests;
