//! Asks on one network: as each vendor's phone; in this host's own name where nobody answers that; and by one DISCOVER
//! where nobody answers at all.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::network::Network;
use super::report::Whose;
use crate::cli::dhcp::vendors::Chosen;
use crate::cli::{Failure, open};
use crate::clock::{Clock, Entropy};
use crate::device::Mac;
use crate::dhcp::ask::{self, Turn};
use crate::dhcp::message::{Options, code};
use crate::dhcp::probe::{Answer, Pace, Question, Responder, Survey};
use crate::profile::{Catalog, Profile};

/// Ranges of one vendor in whose name is asked; a server that knows phones by their MAC must know each.
const RANGES_MAX: usize = 4;

/// Who asks whom about which vendors.
pub(super) struct Interview<'a> {
    pub(super) network: &'a Network,
    pub(super) chosen: &'a [Chosen],
    pub(super) catalog: &'a Catalog,
    pub(super) server: Option<Ipv4Addr>,
    pub(super) timeout: Duration,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
}

/// All that was heard.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) answers: Vec<Heard>,
    /// Whether a DISCOVER was sent, or when the next one may be.
    pub(super) discover: Option<Turn>,
}

/// An answer to a question as a vendor's phone.
#[derive(Debug)]
pub(super) struct Heard {
    /// Which of the vendors, by its place.
    pub(super) vendor: usize,
    /// Option 60 of the question.
    pub(super) class: Option<Vec<u8>>,
    /// In whose name.
    pub(super) mac: Mac,
    pub(super) way: Way,
    pub(super) by: Responder,
    pub(super) options: Options,
}

/// How a question differed from a phone's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// INFORM with a MAC address of the vendor.
    Phone,
    /// INFORM with this host's own: rules for MAC addresses do not show.
    OwnMac,
    /// DISCOVER as this vendor's phone.
    Discover,
    /// The same DISCOVER, sent as the first vendor's phone, read by another vendor's.
    DiscoverOfOther,
}

/// A phone as which is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guise {
    vendor: usize,
    class: Option<Vec<u8>>,
    mac: Mac,
}

impl Interview<'_> {
    /// Asks. `data`: where it is written down that a DISCOVER was sent; none is sent without it.
    pub(super) async fn heard(&self, data: Option<&Path>) -> Result<Outcome, Failure> {
        let guises = self.guises();
        let mut outcome = Outcome::default();
        let mut silent = self.inform(&guises, Way::Phone, &mut outcome).await?;
        // Some switches let nobody speak for another, and some servers answer to the hardware address that asked.
        let own = self.network.asker.mac;
        silent.retain(|guise| guise.mac != own);
        for guise in &mut silent {
            guise.mac = own;
        }
        silent.dedup();
        self.inform(&silent, Way::OwnMac, &mut outcome).await?;
        if let Some(data) = data {
            self.discover(&guises, data, &mut outcome).await?;
        }
        Ok(outcome)
    }

    /// Asks as these phones, and gives back those that nobody answered.
    async fn inform(&self, guises: &[Guise], way: Way, outcome: &mut Outcome) -> Result<Vec<Guise>, Failure> {
        let question =
            |guise: &Guise| Question::inform(guise.mac, guise.class.clone(), self.asked([guise.vendor]));
        let questions = guises.iter().map(question).collect();
        let answers = self.ask(questions, Pace::within(self.timeout)).await?;
        let silent = |at: usize| !answers.iter().any(|answer| answer.question == at && !self.is_ours(answer));
        let silent =
            guises.iter().enumerate().filter(|(at, _)| silent(*at)).map(|(_, guise)| guise.clone()).collect();
        for Answer { question, by, options } in answers {
            if let Some(Guise { vendor, class, mac }) = guises.get(question).cloned() {
                outcome.answers.push(Heard { vendor, class, mac, way, by, options });
            }
        }
        Ok(silent)
    }

    /// One DISCOVER for all vendors that nobody has answered, as a phone of the first of them. Servers that do not answer
    /// INFORM seldom tell vendors apart; that the others are only guessed is said.
    async fn discover(&self, guises: &[Guise], data: &Path, outcome: &mut Outcome) -> Result<(), Failure> {
        let is_lans = |heard: &Heard| self.network.whose(&heard.by, &heard.options) != Whose::OffhookInform;
        let answered = |guise: &&Guise| {
            outcome.answers.iter().any(|heard| heard.vendor == guise.vendor && is_lans(heard))
        };
        let mut silent: Vec<Guise> = guises.iter().filter(|guise| !answered(guise)).cloned().collect();
        silent.dedup_by_key(|guise| guise.vendor);
        let Some(first) = silent.first().cloned() else { return Ok(()) };
        let turn = Turn::take(data, &self.network.interface, &self.clock).map_err(|error| {
            let message = format!("cannot write down in {} that a DISCOVER is sent: {error}", data.display());
            Failure::failed("data_dir", message, "run it as root or as the agent's user")
        })?;
        outcome.discover = Some(turn);
        if turn != Turn::Ours {
            return Ok(());
        }
        let asked = self.asked(silent.iter().map(|guise| guise.vendor));
        let question = Question::discover(first.mac, first.class.clone(), asked);
        for Answer { by, options, .. } in self.ask(vec![question], Pace::once()).await? {
            outcome.answers.extend(silent.iter().map(|guise| {
                let is_first = guise.vendor == first.vendor;
                let way = if is_first { Way::Discover } else { Way::DiscoverOfOther };
                let (class, options) = (first.class.clone(), options.clone());
                Heard { vendor: guise.vendor, class, mac: first.mac, way, by, options }
            }));
        }
        Ok(())
    }

    /// Whether the agent itself answered, which says nothing about the LAN's server.
    fn is_ours(&self, answer: &Answer) -> bool {
        self.network.whose(&answer.by, &answer.options) == Whose::OffhookInform
    }

    async fn ask(&self, questions: Vec<Question>, pace: Pace) -> Result<Vec<Answer>, Failure> {
        let failed = |error: io::Error| failed(&error, &self.network.interface);
        let xid = ask::number(&self.entropy).map_err(failed)?;
        let mut survey =
            Survey::new(self.network.asker, questions, pace, xid, self.clock.instant()).only(self.server);
        ask::ask(&mut survey, &self.clock).await.map_err(failed)?;
        Ok(survey.answers().to_vec())
    }

    /// Option 55: what these vendors' phones ask for in all their questions, and the mask, by which a full DHCP server's
    /// answer is known.
    fn asked(&self, vendors: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let dhcp = vendors.into_iter().filter_map(|vendor| self.chosen.get(vendor)?.profile.dhcp());
        let codes = dhcp.flat_map(|dhcp| dhcp.ask().iter().chain(dhcp.inform_ask())).copied();
        let mut asked = Vec::new();
        for code in codes.chain([code::SUBNET_MASK]) {
            if !asked.contains(&code) {
                asked.push(code);
            }
        }
        asked
    }

    /// Each vendor's kinds of phones: with each option 60 that they send, in each of their ranges of addresses.
    fn guises(&self) -> Vec<Guise> {
        let mut guises = Vec::new();
        for (vendor, chosen) in self.chosen.iter().enumerate() {
            let Some(dhcp) = chosen.profile.dhcp() else { continue };
            let mut classes: Vec<Option<Vec<u8>>> = dhcp.vendor_classes().iter().cloned().map(Some).collect();
            if classes.is_empty() {
                classes.push(None);
            }
            for mac in self.macs(chosen) {
                guises.extend(classes.iter().map(|class| Guise { vendor, class: class.clone(), mac }));
            }
        }
        guises
    }

    /// A hardware address of each range that the vendor's phones here are of, or of its first one. The last octets are
    /// this host's own: nobody else asks in that name, and this host always does.
    fn macs(&self, chosen: &Chosen) -> Vec<Mac> {
        let (profile, own) = (&chosen.profile, self.network.asker.mac);
        let is_used = |mac: &Mac| {
            chosen.phones.iter().any(|phone| covering(profile, *phone) == covering(profile, *mac))
        };
        let made = profile.ranges().iter().filter_map(|range| range.address(own.as_u64()));
        // Another vendor's phones may live inside a range.
        let is_vendors = |mac: &Mac| {
            self.catalog.range_owner(*mac).is_some_and(|owner| owner.vendor() == profile.vendor())
        };
        let made: Vec<Mac> = made.filter(is_vendors).collect();
        let used: Vec<Mac> = made.iter().filter(|mac| is_used(mac)).take(RANGES_MAX).copied().collect();
        if used.is_empty() { vec![made.first().copied().unwrap_or(own)] } else { used }
    }
}

/// Which of a profile's ranges an address lies in.
fn covering(profile: &Profile, mac: Mac) -> Option<usize> {
    profile.ranges().iter().position(|range| range.covers(mac))
}

fn failed(error: &io::Error, interface: &str) -> Failure {
    open::link_failure(format!("cannot ask DHCP servers on {interface}: {error}"), error)
}
