//! A fleet of DHCP clients on one cable, each with a MAC of its own: PCs, phones, whatever an office has. They live from
//! DISCOVER to renewal with the timers of RFC 2131 and remember what each heard, and from whom. No code of the product.

mod crowd;
mod flood;
#[expect(dead_code, reason = "the benches' phones, who speak by this file as well, are behind a relay")]
pub(crate) mod message;
pub(crate) mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

pub(crate) use crowd::{Client, office, phones, sheet, text};
pub(crate) use flood::{Flood, invented_phone, mutated};
use message::{ACK, Answer, DISCOVER, NAK, OFFER, Question, REQUEST};
use wire::{EVERYBODY, Heard, Wire, arp_answer, datagram};

use crate::lab::Host;

const INFORM: u8 = 8;
/// RFC 2131, section 4.1: 4 s, doubling.
const RESEND_FIRST: Duration = Duration::from_secs(4);
/// How long a client listens for answers to its INFORM, from whomever.
const INFORMED_AFTER: Duration = Duration::from_millis(700);

/// What a client does after it has its lease.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Nothing.
    Lease,
    /// It asks by INFORM, as far as its kind does, and renews.
    Whole,
}

/// The clients of one host of the lab.
pub(crate) struct Fleet {
    wire: Wire,
    next_xid: u32,
    /// Who is where, for whoever asks by ARP.
    addresses: HashMap<Ipv4Addr, [u8; 6]>,
}

/// An answer as one client heard it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) at: Instant,
    /// The hardware address of who sent it.
    pub(crate) sender: [u8; 6],
    /// Option 53.
    pub(crate) kind: u8,
    /// What the client was doing.
    pub(crate) step: Step,
    /// The address in it.
    pub(crate) yiaddr: Ipv4Addr,
    /// Everything else.
    pub(crate) options: BTreeMap<u8, Vec<u8>>,
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not switched on.
    Off,
    /// It has sent DISCOVER.
    Selecting,
    /// It has sent REQUEST for what it was offered.
    Requesting,
    /// It has sent INFORM.
    Informing,
    /// It has sent REQUEST for what it has.
    Renewing,
    /// It wants nothing more.
    Done,
}

/// What became of a client.
#[derive(Debug, Clone)]
pub(crate) struct Lived {
    pub(crate) client: Client,
    /// What it got, and from whom (option 54).
    pub(crate) lease: Option<Lease>,
    /// From the first DISCOVER to the ACK.
    pub(crate) took: Duration,
    /// Questions that had to be repeated.
    pub(crate) resent: u32,
    /// Whether its renewal was acknowledged.
    pub(crate) renewed: bool,
    /// Everything it heard.
    pub(crate) replies: Vec<Reply>,
}

/// What an ACK gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) server_mac: [u8; 6],
    /// Option 51.
    pub(crate) seconds: u32,
}

impl Lived {
    /// The `share` of the fleet that had its lease fastest took at most this long.
    pub(crate) fn quantile(lived: &[Self], share: f64) -> Duration {
        let mut times: Vec<Duration> = lived.iter().map(|one| one.took).collect();
        times.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        times[index]
    }

    /// What it heard from this host.
    pub(crate) fn from(&self, sender: [u8; 6]) -> impl Iterator<Item = &Reply> {
        self.replies.iter().filter(move |reply| reply.sender == sender)
    }
}

struct Alive {
    lived: Lived,
    step: Step,
    xid: u32,
    begun: Instant,
    tries: u32,
    offer: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Fleet {
    /// On `eth0` of the host, which needs no address.
    pub(crate) fn on(host: &Host) -> Self {
        Self { wire: Wire::open(host), next_xid: 0x0ff1_0000, addresses: HashMap::new() }
    }

    /// All of them live, the first at once and the last after `spread`; ends when all are done, or patience is.
    pub(crate) fn live(
        &mut self,
        clients: &[Client],
        life: Life,
        spread: Duration,
        patience: Duration,
    ) -> Vec<Lived> {
        let begun = Instant::now();
        let count = u32::try_from(clients.len()).expect("a fleet");
        let mut timers: Timers = BinaryHeap::new();
        let mut alive: Vec<Alive> = clients.iter().map(Alive::new).collect();
        for number in 0..count {
            timers.push(Reverse((begun + spread * number / count.max(1), number, 0)));
        }
        let by_mac: HashMap<[u8; 6], u32> = clients.iter().map(|client| client.mac).zip(0..count).collect();
        let mut buffer = vec![0; 2048];
        while alive.iter().any(|one| one.step != Step::Done) && begun.elapsed() < patience {
            let now = Instant::now();
            while let Some(Reverse((at, number, xid))) = timers.peek().copied() {
                if at > now {
                    break;
                }
                timers.pop();
                let one = &mut alive[number as usize];
                if one.xid == xid {
                    one.expired(life);
                    self.ask(one, number, &mut timers);
                }
            }
            while let Some(heard) = self.wire.hear(&mut buffer) {
                match heard {
                    Heard::Arp(asker, at, wanted) => {
                        if let Some(owner) = self.addresses.get(&wanted) {
                            self.wire.send(&arp_answer(*owner, wanted, asker, at));
                        }
                    }
                    Heard::Answer(sender, bytes) => {
                        let Some(answer) = Answer::read(bytes) else { continue };
                        let Some(number) = by_mac.get(&answer.mac()).copied() else { continue };
                        let one = &mut alive[number as usize];
                        if one.xid == answer.xid() && one.answered(answer, sender, life) {
                            self.ask(one, number, &mut timers);
                        }
                        if let Some(lease) = one.lived.lease {
                            self.addresses.insert(lease.address, one.lived.client.mac);
                        }
                    }
                }
            }
            let next = timers.peek().map_or(now, |Reverse((at, ..))| *at);
            self.wire.wait(next.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
        }
        alive.into_iter().map(|one| one.lived).collect()
    }

    /// Sends the question of the step that the client is in, and sets its timer.
    fn ask(&mut self, one: &mut Alive, number: u32, timers: &mut Timers) {
        let Some(question) = one.question(self.next_xid) else { return };
        one.xid = self.next_xid;
        self.next_xid = self.next_xid.wrapping_add(1);
        let wait = match one.step {
            Step::Informing => INFORMED_AFTER,
            _ => RESEND_FIRST * 2_u32.pow(one.tries.min(3)),
        };
        timers.push(Reverse((Instant::now() + wait, number, one.xid)));
        let mac = one.lived.client.mac;
        let none = Ipv4Addr::UNSPECIFIED;
        let (receiver, from, to) = match (one.step, one.lived.lease) {
            (Step::Renewing, Some(lease)) => (lease.server_mac, lease.address, lease.server),
            (Step::Informing, Some(lease)) => (EVERYBODY, lease.address, Ipv4Addr::BROADCAST),
            _ => (EVERYBODY, none, Ipv4Addr::BROADCAST),
        };
        let (from, to) = (SocketAddrV4::new(from, 68), SocketAddrV4::new(to, 67));
        self.wire.send(&datagram([mac, receiver], from, to, &question.bytes()));
    }
}

type Timers = BinaryHeap<Reverse<(Instant, u32, u32)>>;

impl Alive {
    fn new(client: &Client) -> Self {
        let lived = Lived {
            client: client.clone(),
            lease: None,
            took: Duration::ZERO,
            resent: 0,
            renewed: false,
            replies: Vec::new(),
        };
        Self { lived, step: Step::Off, xid: 0, begun: Instant::now(), tries: 0, offer: None }
    }

    /// Nobody has answered in time, or the time to listen is over.
    fn expired(&mut self, life: Life) {
        match self.step {
            Step::Off => {
                self.begun = Instant::now();
                self.step = Step::Selecting;
            }
            Step::Informing => self.enter(after_inform(life)),
            // Without an answer to its REQUEST a client begins anew (RFC 2131, section 3.1.5).
            Step::Selecting | Step::Requesting | Step::Renewing => {
                self.lived.resent += 1;
                self.tries += 1;
                if self.step == Step::Requesting {
                    self.step = Step::Selecting;
                }
            }
            Step::Done => {}
        }
    }

    /// Takes an answer to its last question; whether it has something to ask now.
    fn answered(&mut self, answer: Answer<'_>, sender: [u8; 6], life: Life) -> bool {
        let kind = answer.kind();
        self.lived.replies.push(Reply {
            at: Instant::now(),
            sender,
            kind,
            step: self.step,
            yiaddr: answer.yiaddr(),
            options: answer.options().map(|(code, value)| (code, value.to_vec())).collect(),
        });
        let Some(server) = answer.server() else { return false };
        match (self.step, kind) {
            (Step::Selecting, OFFER) => {
                self.offer = Some((answer.yiaddr(), server));
                self.enter(Step::Requesting);
            }
            (Step::Requesting, ACK) => {
                let seconds =
                    answer.option(51).and_then(|octets| octets.try_into().ok()).map(u32::from_be_bytes);
                self.lived.lease = Some(Lease {
                    address: answer.yiaddr(),
                    server,
                    server_mac: sender,
                    seconds: seconds.unwrap_or(0),
                });
                self.lived.took = self.begun.elapsed();
                let informs = life == Life::Whole && self.lived.client.informs;
                self.enter(if informs { Step::Informing } else { after_inform(life) });
            }
            (Step::Requesting, NAK) => self.enter(Step::Selecting),
            (Step::Renewing, ACK) => {
                self.lived.renewed = true;
                self.enter(Step::Done);
            }
            _ => return false,
        }
        true
    }

    fn enter(&mut self, step: Step) {
        (self.step, self.tries) = (step, 0);
    }

    fn question(&self, xid: u32) -> Option<Question> {
        let client = &self.lived.client;
        let held = self.lived.lease.map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.address);
        let question = match self.step {
            Step::Off | Step::Done => return None,
            Step::Selecting => Question::new(DISCOVER, client.mac, xid),
            Step::Requesting => {
                let (address, server) = self.offer?;
                Question::new(REQUEST, client.mac, xid).with(50, &address.octets()).with(54, &server.octets())
            }
            Step::Informing => Question::new(INFORM, client.mac, xid).at(held),
            Step::Renewing => Question::new(REQUEST, client.mac, xid).at(held),
        };
        Some(client.options(question))
    }
}

fn after_inform(life: Life) -> Step {
    if life == Life::Whole { Step::Renewing } else { Step::Done }
}
