//! What is sent, or in a dry run would be: every packet is counted and logged with its reason.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::unseen::Unseen;
use crate::clock::Clock;
use crate::device::{Channel, Identity, Mac, Sighting, Step};
use crate::dhcp::Packet;
use crate::dhcp::message::{Kind, Message, Options, code};
use crate::dhcp::reply::{Because, Reply};
use crate::dhcp::server::Mouth;
use crate::dhcp::silence::Why;
use crate::dhcp::tell::leading;
use crate::provision::Heard;

/// A server's answer comes within this of ours, or there is none: longer than one that pings an address first.
const BESIDE: Duration = Duration::from_secs(4);
/// Leases between two reports that have a line each; of a whole fleet's there is one line.
const LEASES_SAID: u32 = 20;
/// Answers that wait for a server's beside them.
const BESIDE_MAX: usize = 4_096;

pub(super) struct Voice {
    mouth: Mouth,
    clock: Clock,
    sightings: mpsc::Sender<Heard>,
    tallies: HashMap<u32, Tally>,
    /// What a dry run would have answered, until the server's answer is heard.
    beside: HashMap<(Mac, u32, Kind), (Reply, Instant)>,
}

/// What was done on one interface.
#[derive(Debug, Default)]
struct Tally {
    /// By what became of them (nothing: they were sent), what they said, and what they answered.
    answers: BTreeMap<(&'static str, Kind, Because), u64>,
    silences: BTreeMap<&'static str, u64>,
    unseen: Unseen,
    /// Leases since the last report.
    leased: u32,
}

impl Tally {
    /// Counts a lease. Whether a line is said of it.
    fn is_said(&mut self) -> bool {
        self.leased += 1;
        self.leased <= LEASES_SAID
    }
}

impl Voice {
    pub(super) fn new(mouth: Mouth, clock: Clock, sightings: mpsc::Sender<Heard>) -> Self {
        let (tallies, beside) = Default::default();
        Self { mouth, clock, sightings, tallies, beside }
    }

    /// Sends an answer.
    pub(super) fn send(&mut self, reply: &Reply, interface: &str, now: Instant) {
        let (kind, mac, because) = (reply.draft.kind, reply.draft.mac, reply.because);
        let written = match self.mouth.say(reply) {
            Ok(written) => written,
            Err(error) => {
                // The client asks again.
                self.count(reply, "not sent: ");
                return warn!("Cannot send {kind} to {mac} on {interface}: {error}");
            }
        };
        self.count(reply, "");
        self.tally(reply.interface).unseen.answered(mac, reply.draft.xid, now);
        let address = reply.draft.yiaddr;
        match (kind, because) {
            (Kind::Ack, Because::Inform) => {
                let options = codes(reply);
                info!(device.mac = %mac, "Answered the INFORM of {mac} on {interface} with options {options}");
            }
            (Kind::Ack, Because::Selecting | Because::InitReboot)
                if self.tally(reply.interface).is_said() =>
            {
                info!(device.mac = %mac, "Leased {address} to {mac} on {interface} for {} s", seconds(reply));
            }
            _ => debug!(
                device.mac = %mac, "Sent {kind} ({}) to {mac} at {} on {interface}", because.as_str(), reply.target().1
            ),
        }
        if !written.left_out.is_empty() {
            debug!("Options {:?} found no room in the {kind} for {mac}", written.left_out);
        }
    }

    /// A dry run: says what would have been sent, as soon as the server's own answer is heard or does not come.
    pub(super) fn would(&mut self, reply: Reply, now: Instant) {
        self.count(&reply, "would ");
        if self.beside.len() < BESIDE_MAX {
            self.beside.insert((reply.draft.mac, reply.draft.xid, reply.draft.kind), (reply, now));
        }
    }

    /// Hears what a server answers.
    pub(super) fn hear(&mut self, packet: &Packet, interface: &str) {
        let Message { mac, xid, kind, options, .. } = &packet.message;
        if let Some((reply, _)) = self.beside.remove(&(*mac, *xid, *kind)) {
            let server = options.address(code::SERVER).unwrap_or(*packet.from.ip());
            let given = words(options);
            self.say_would(&reply, interface, &format!("beside {server}, which answered {given}"));
        }
    }

    /// Says what no server answered either.
    pub(super) fn handle_timeout(&mut self, names: &HashMap<u32, std::sync::Arc<str>>, now: Instant) {
        let over = |(_, (_, at)): &(&(Mac, u32, Kind), &(Reply, Instant))| {
            now.saturating_duration_since(*at) >= BESIDE
        };
        let due: Vec<_> = self.beside.iter().filter(over).map(|(key, _)| *key).collect();
        for key in due {
            let Some((reply, _)) = self.beside.remove(&key) else { continue };
            let name = names.get(&reply.interface).cloned().unwrap_or_else(|| "?".into());
            self.say_would(&reply, &name, "and no server was heard to answer");
        }
    }

    fn say_would(&self, reply: &Reply, interface: &str, beside: &str) {
        let draft = &reply.draft;
        let options: Options = draft.options.iter().map(|(code, value)| (code, value.to_vec())).collect();
        let address =
            if draft.yiaddr.is_unspecified() { String::new() } else { format!(" {}", draft.yiaddr) };
        let text = format!(
            "dry run: would answer its {} on {interface} with {}{address} and {}, {beside}",
            reply.because.as_str(),
            draft.kind,
            words(&options)
        );
        info!(device.mac = %draft.mac, "{}: {text}", draft.mac);
        let identity = Identity { mac: Some(draft.mac), ..Identity::default() };
        let (channel, at, step) = (Channel::Dhcp, self.clock.now(), Step::Ignored);
        let addr = IpAddr::V4(draft.ciaddr);
        let sighting = Sighting { identity, addr, channel, at, step, outcome: text, detail: Value::Null };
        if self.sightings.try_send(Heard { sighting, pending: false }).is_err() {
            debug!("A line of the timeline was lost");
        }
    }

    /// A question got no answer.
    pub(super) fn silent(&mut self, interface: u32, why: Why, mac: Mac) {
        self.silent_because(interface, why.as_str(), why.says(), mac);
    }

    /// The same for a reason of the shell's own.
    pub(super) fn silent_because(&mut self, interface: u32, word: &'static str, says: &str, mac: Mac) {
        debug!(device.mac = %mac, "Did not answer {mac}: {says}");
        let tally = self.tally(interface);
        *tally.silences.entry(word).or_default() += 1;
    }

    /// A client asks. Whether it is time to say that our answers seem to get lost.
    pub(super) fn asked(&mut self, packet: &Packet, now: Instant) -> bool {
        self.tally(packet.interface).unseen.asked(&packet.message, now)
    }

    /// What was counted on this interface.
    pub(super) fn report(&mut self, interface: u32, name: &str) -> Value {
        let tally = self.tally(interface);
        let more = std::mem::take(&mut tally.leased).saturating_sub(LEASES_SAID);
        if more > 0 {
            info!("Leased {more} more addresses on {name}; offhook dhcp leases lists them");
        }
        let word =
            |(became, kind, because): (&str, Kind, Because)| format!("{became}{kind} ({})", because.as_str());
        let answers: BTreeMap<String, u64> =
            tally.answers.iter().map(|(key, count)| (word(*key), *count)).collect();
        json!({ "answers": answers, "silences": tally.silences })
    }

    fn count(&mut self, reply: &Reply, became: &'static str) {
        let tally = self.tally(reply.interface);
        *tally.answers.entry((became, reply.draft.kind, reply.because)).or_default() += 1;
    }

    fn tally(&mut self, interface: u32) -> &mut Tally {
        self.tallies.entry(interface).or_default()
    }
}

fn seconds(reply: &Reply) -> u32 {
    let lease = reply.draft.options.get(code::LEASE_TIME);
    let octets = lease.and_then(|value| <[u8; 4]>::try_from(value).ok());
    octets.map_or(0, u32::from_be_bytes)
}

fn codes(reply: &Reply) -> String {
    let codes = reply.draft.options.iter().map(|(code, _)| code).filter(|code| *code != code::SERVER);
    codes.map(|code| code.to_string()).collect::<Vec<_>>().join(", ")
}

/// The options that lead a phone somewhere.
fn words(options: &Options) -> String {
    let words: Vec<String> =
        leading(options).iter().map(|(code, value)| format!("option {code} \"{value}\"")).collect();
    if words.is_empty() { "no option that leads a phone anywhere".to_owned() } else { words.join(", ") }
}
