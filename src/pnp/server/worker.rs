//! The one task that answers: it takes datagrams in, asks the decisions, and sends what they say. Never waits for the
//! store or the neighbour table on behalf of one phone while another one could be answered.

mod rivals;
mod sender;

pub(super) use self::rivals::events;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, trace, warn};

use super::ear::{Ear, Membership};
use super::{Arrival, Counters, Origin, PnpParts, count};
use crate::device::{Approval, Channel, Device, Identity, Mac, Sighting, Source, Step, Way};
use crate::net::interfaces::Table;
use crate::net::neighbours::Behind;
use crate::net::udp::{UdpEndpoint, Via};
use crate::pnp::decide::{self, Memory, Offer, Question, Standing};
use crate::pnp::message::{Message, Subscribe};
use crate::pnp::names::{Names, Peer};
use crate::pnp::notifier::{self, Input, Notifier, Outcome};
use crate::pnp::rival::{Rivals, Sign};
use crate::profile::Clue;
use crate::provision::{self, Admission, Heard, Votes};
use crate::store::StoreError;

/// Datagrams taken in before their answers are sent. After a full batch everybody else has a turn: some milliseconds of
/// SIP, because a phone repeats what is not answered within 500, and then what the phones fetch.
const BATCH: usize = 256;
/// Phones that wait for the neighbour table or for adoption at a time, some 2 KB each: a fleet of 10,000 that boots at
/// once beside an agent that has just started itself, and knows no neighbour yet. More have to ask again.
const WAITING_MAX: usize = 16_384;

/// Said of one that may be anybody on a link where all neighbours look alike.
const UNSURE: &str = "which phone asks cannot be told on this link";

pub(super) struct Worker {
    parts: PnpParts,
    voice: Arc<UdpEndpoint>,
    reply_port: u16,
    secret: [u8; 16],
    counters: Arc<Counters>,
    table: Arc<Table>,
    membership: Membership,
    votes: Votes,
    memory: Memory,
    notifier: Notifier,
    rivals: Rivals,
    outbox: Vec<(Peer, Bytes)>,
    waiting: JoinSet<Waited>,
    /// Who waits, so that a phone that asks again while it waits does not wait twice.
    busy: HashSet<Busy>,
}

/// A SUBSCRIBE on its way.
#[derive(Debug)]
struct Case {
    subscribe: Box<Subscribe>,
    peer: Peer,
    names: Names,
}

/// What a phone waited for.
#[derive(Debug)]
enum Waited {
    Resolved(Case, Option<Mac>),
    /// What the link says about the MAC that the phone writes, and whether its turn has been taken already.
    Checked(Case, Mac, Behind, bool),
    Adopted(Case, Arc<Identity>, Result<Option<Arc<Device>>, StoreError>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Busy {
    Resolving(SocketAddrV4),
    Checking(Mac, SocketAddrV4),
    Adopting(Mac),
}

impl Worker {
    pub(super) fn new(
        parts: PnpParts,
        ear: Ear,
        voice: Arc<UdpEndpoint>,
        reply_port: u16,
        secret: [u8; 16],
        counters: Arc<Counters>,
    ) -> Self {
        let table = parts.interfaces.current();
        let rivals = rivals::of(&parts);
        let mut membership = Membership::new(ear);
        membership.follow(&table);
        Self {
            parts,
            voice,
            reply_port,
            secret,
            counters,
            table,
            membership,
            votes: Votes::default(),
            memory: Memory::default(),
            notifier: Notifier::default(),
            rivals,
            outbox: Vec::with_capacity(2 * BATCH),
            waiting: JoinSet::new(),
            busy: HashSet::new(),
        }
    }

    pub(super) async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>, cancel: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.look_for_rivals();
            self.send().await;
            let now = self.parts.clock.instant();
            let due = [self.notifier.poll_timeout(), self.rivals.poll_timeout()].into_iter().flatten().min();
            let due = due.map(|due| due.saturating_duration_since(now));
            tokio::select! {
                () = cancel.cancelled() => break,
                count = arrivals.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    for arrival in batch.drain(..) {
                        self.take_in(&arrival);
                    }
                    self.send().await;
                    if count == BATCH {
                        yield_now().await;
                    }
                }
                Some(waited) = self.waiting.join_next() => match waited {
                    Ok(waited) => self.go_on(waited),
                    Err(failed) => error!("A task of PnP ended early: {failed}"),
                },
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {
                    self.notifier.handle_timeout(self.parts.clock.instant());
                }
                () = self.parts.interfaces.changed() => {
                    self.table = self.parts.interfaces.current();
                    self.membership.follow(&self.table);
                }
            }
        }
    }

    /// A datagram that breaks one of our promises must not end the service for everybody else.
    fn take_in(&mut self, arrival: &Arrival) {
        trace!("{} bytes from {} on interface {}", arrival.bytes.len(), arrival.from, arrival.interface);
        if catch_unwind(AssertUnwindSafe(|| self.hear(arrival))).is_err() {
            error!("A datagram of {} made the agent fail; it was dropped", arrival.from);
        }
    }

    fn hear(&mut self, arrival: &Arrival) {
        match Message::parse(&arrival.bytes) {
            Ok(Message::Subscribe(subscribe)) if arrival.origin == Origin::Group => {
                match self.rivals.asked_by_other(subscribe.user_agent()) {
                    None => self.question(subscribe, arrival),
                    Some(other) => self.heard_a_probe(arrival, other),
                }
            }
            Ok(Message::Response(response)) if self.rivals.is_answer(&response.call_id) => {
                // A PBX that knows nothing of phones' configurations says so.
                if (200..300).contains(&response.status) {
                    self.heard_a_rival(arrival, Sign::Answer);
                }
            }
            Ok(Message::Response(response)) if arrival.origin == Origin::Voice => {
                let now = self.parts.clock.instant();
                self.notifier.handle(Input::Answer(*arrival.from.ip(), response), now);
            }
            Ok(Message::Other) if arrival.origin == Origin::Voice => self.heard_a_notify(arrival),
            Ok(_) => trace!("Nothing of ours from {}", arrival.from),
            Err(error) => {
                count(&self.counters.unread);
                debug!(reason = error.reason(), "Dropped a datagram of {}: {error}", arrival.from);
            }
        }
    }

    fn question(&mut self, subscribe: Box<Subscribe>, arrival: &Arrival) {
        let phone = arrival.from;
        let Some((_, ours)) =
            self.table.on_link(*phone.ip(), Some(arrival.interface)).filter(|_| phone.port() != 0)
        else {
            count(&self.counters.off_link);
            debug!("Dropped a SUBSCRIBE of {phone}: not on the subnet of interface {}", arrival.interface);
            return;
        };
        let peer =
            Peer { phone, ours: SocketAddrV4::new(ours, self.reply_port), interface: arrival.interface };
        let names = Names::new(&self.secret, &peer, &subscribe);
        let case = Case { subscribe, peer, names };
        match case.subscribe.claimed_mac() {
            Some(mac) => self.look_at_sender(case, mac),
            None => self.resolve(case),
        }
    }

    /// A phone that does not write its MAC is asked for by ARP.
    fn resolve(&mut self, case: Case) {
        if !self.may_wait(Busy::Resolving(case.peer.phone)) {
            return;
        }
        let neighbours = self.parts.neighbours.clone();
        self.waiting.spawn(async move {
            let address = IpAddr::V4(*case.peer.phone.ip());
            let mac = neighbours.mac_of(address, case.peer.interface).await;
            Waited::Resolved(case, mac)
        });
    }

    /// Whether the phone may be considered now; if so, it has used its turn.
    fn admits(&mut self, case: &Case, mac: Mac) -> bool {
        let (caller, now) = ((mac, *case.peer.phone.ip()), self.parts.clock.instant());
        let device = self.parts.store.inventory().device(mac);
        let allowed = if device.is_some_and(|device| device.approval == Approval::Approved) {
            self.memory.answers_known(caller, now)
        } else {
            self.memory.hears_stranger(caller, now)
        };
        if !allowed {
            count(&self.counters.limited);
            debug!(device.mac = %mac, "Dropped a SUBSCRIBE of {mac}: it, or the LAN, asks too often");
        }
        allowed
    }

    /// `is_sure`: the sender is the phone, and not only uncontradicted. `admitted`: its turn has been taken already.
    fn consider(&mut self, case: Case, mac: Mac, is_sure: bool, admitted: bool) {
        let inventory = self.parts.store.inventory();
        let device = inventory.device(mac);
        // What was answered to another phone is not this one's, however alike their SUBSCRIBEs are.
        let served = |answered| {
            is_sure
                && answered == mac
                && device.as_ref().is_some_and(|device| device.approval == Approval::Approved)
        };
        if let Some(commands) = self.memory.again(&case.names, served, self.parts.clock.instant()) {
            count(&self.counters.repeated);
            debug!("Answered a repeated SUBSCRIBE of {} as before", case.peer.phone);
            return self.perform(commands);
        }
        if !admitted && !self.admits(&case, mac) {
            return;
        }
        let device = device.as_deref();
        let identity = self.identify(&case, mac);
        if self.parts.observe {
            self.answer(&case, &identity, &Standing::Ignored("only observed"));
            return;
        }
        match provision::admission(
            &identity,
            device,
            &self.parts.adopt,
            self.knows(&identity, mac, *case.peer.ours.ip()),
        ) {
            // Whoever gets the URL gets the token in it, and with the token the passwords.
            Admission::Serve if !is_sure => self.answer(&case, &identity, &Standing::Ignored(UNSURE)),
            Admission::Serve => match device {
                Some(device) => self.serve(&case, &identity, device),
                None => self.answer(&case, &identity, &Standing::Ignored("not in the inventory")),
            },
            Admission::Pending => self.answer(&case, &identity, &Standing::Pending("pending")),
            Admission::Ignore(reason) => self.answer(&case, &identity, &Standing::Ignored(reason)),
            Admission::Adopt if is_sure => match self.rivals.withholds(self.parts.clock.instant()) {
                Some(why) => self.answer(&case, &identity, &Standing::Pending(why)),
                None => self.adopt(case, mac, identity),
            },
            // Only the phone itself takes an account out of the pool.
            Admission::Adopt => self.answer(&case, &identity, &Standing::Ignored(UNSURE)),
        }
    }

    /// The vote of the profiles, for the phone of this MAC.
    fn identify(&mut self, case: &Case, mac: Mac) -> Arc<Identity> {
        let subscribe = &case.subscribe;
        let catalog = &self.parts.catalog;
        let range_owner = catalog.range_owner(mac).map(|profile| profile.vendor());
        let written = [Some(subscribe.event()), subscribe.user_agent()].into_iter().flatten();
        let identity = self.votes.identity(subscribe.users().chain(written), mac, range_owner, || {
            let mut clues = subscribe.clues();
            clues.push(Clue::new(Source::Oui, mac.to_string()));
            catalog.identify(&clues).identity
        });
        Arc::new(identity)
    }

    /// Whether a profile has a URL for this phone: only then may a stranger take an account without a person.
    fn knows(&self, identity: &Identity, mac: Mac, ours: Ipv4Addr) -> bool {
        let profile = identity.vendor.as_ref().and_then(|vendor| self.parts.catalog.get(vendor));
        let reached =
            profile.filter(|profile| self.parts.roots.for_phone(IpAddr::V4(ours), profile).is_some());
        let url = reached.and_then(|profile| profile.provisioning_url("", mac, identity.model.as_deref()));
        url.is_some() && provision::is_known(identity, &self.parts.catalog)
    }

    fn adopt(&mut self, case: Case, mac: Mac, identity: Arc<Identity>) {
        if !self.may_wait(Busy::Adopting(mac)) {
            return;
        }
        let store = self.parts.store.clone();
        self.waiting.spawn(async move {
            let adopted = store.adopt(&identity, Way::ZeroTouch).await;
            Waited::Adopted(case, identity, adopted)
        });
    }

    fn may_wait(&mut self, who: Busy) -> bool {
        if self.busy.contains(&who) {
            return false;
        }
        if self.busy.len() >= WAITING_MAX {
            count(&self.counters.limited);
            debug!("Dropped a SUBSCRIBE: {WAITING_MAX} phones wait already");
            return false;
        }
        self.busy.insert(who)
    }

    fn go_on(&mut self, waited: Waited) {
        match waited {
            Waited::Resolved(case, mac) => {
                self.busy.remove(&Busy::Resolving(case.peer.phone));
                let phone = case.peer.phone;
                let Some(mac) = mac else {
                    return debug!("Dropped a SUBSCRIBE of {phone}: no MAC in it, none by ARP");
                };
                self.consider(case, mac, true, false);
            }
            Waited::Checked(case, mac, behind, admitted) => {
                self.busy.remove(&Busy::Checking(mac, case.peer.phone));
                self.go_on_as(case, mac, behind, admitted);
            }
            Waited::Adopted(case, identity, adopted) => {
                let Some(mac) = identity.mac else { return };
                self.busy.remove(&Busy::Adopting(mac));
                match adopted {
                    Ok(Some(device))
                        if self
                            .memory
                            .answers_known((mac, *case.peer.phone.ip()), self.parts.clock.instant()) =>
                    {
                        info!(device.mac = %mac, "Adopted {mac} from {}", case.peer.phone);
                        self.serve(&case, &identity, &device);
                    }
                    Ok(Some(_)) => count(&self.counters.limited),
                    Ok(None) => {
                        warn!(device.mac = %mac, "No account is free for {mac} from {}", case.peer.phone);
                        self.answer(&case, &identity, &Standing::Pending("pending: no account is free"));
                    }
                    Err(error) => warn!(device.mac = %mac, "Cannot adopt {mac}: {error}"),
                }
            }
        }
    }

    fn serve(&mut self, case: &Case, identity: &Arc<Identity>, device: &Device) {
        let standing = self.offer(case, identity, device).map_or_else(|none| none, Standing::Served);
        self.answer(case, identity, &standing);
    }

    /// The device's own URL, as its phone reaches us.
    fn offer(&self, case: &Case, identity: &Identity, device: &Device) -> Result<Offer, Standing> {
        let vendor = device.vendor.as_ref().or(identity.vendor.as_ref());
        let vendor = vendor.ok_or(Standing::Ignored("no profile knows it"))?;
        let profile = self.parts.catalog.get(vendor).ok_or(Standing::Ignored("its vendor has no profile"))?;
        let ours = IpAddr::V4(*case.peer.ours.ip());
        let root = self.parts.roots.for_phone(ours, profile).ok_or(Standing::Unreachable)?;
        let token = self.parts.store.bootstrap_token(device).map_err(|error| {
            warn!(device.mac = %device.mac, "Cannot make the URL of {}: {error}", device.mac);
            Standing::Ignored("its token cannot be opened")
        })?;
        let base = root.own_url(ours, &token);
        let model = device.model.as_deref().or(identity.model.as_deref());
        let url = profile.provisioning_url(&base, device.mac, model);
        let url = url.ok_or(Standing::Ignored("its model takes no URL by PnP"))?;
        Ok(Offer { url, content_type: profile.pnp_content_type().to_owned() })
    }

    fn answer(&mut self, case: &Case, identity: &Arc<Identity>, standing: &Standing) {
        let Case { subscribe, peer, names } = case;
        let at = self.parts.clock.now();
        let commands = decide::decide(&Question { subscribe, peer, names, identity, at }, standing);
        self.memory.remember(&commands, self.parts.clock.instant());
        let Some(mac) = identity.mac else { return };
        match standing {
            Standing::Served(_) => {
                count(&self.counters.answered);
                info!(device.mac = %mac, "Sent {mac} at {} its URL", peer.phone);
            }
            Standing::Pending(outcome) => {
                count(&self.counters.unserved);
                info!(device.mac = %mac, "Heard {mac} at {}: {outcome}", peer.phone);
            }
            Standing::Unreachable => {
                count(&self.counters.unserved);
                info!(device.mac = %mac, "No service for files listens on {}, where {mac} sees us", peer.ours.ip());
            }
            Standing::Ignored(reason) => {
                count(&self.counters.unserved);
                debug!(device.mac = %mac, "Did not answer {mac} at {}: {reason}", peer.phone);
            }
        }
        self.perform(commands);
    }

    fn perform(&mut self, commands: Vec<decide::Command>) {
        for command in commands {
            match command {
                decide::Command::Record(seen) => self.record(seen),
                decide::Command::Respond { peer, bytes } => self.outbox.push((peer, bytes)),
                decide::Command::Notify(notice) => {
                    self.notifier.handle(Input::Notify(notice), self.parts.clock.instant());
                    // Behind its 200, not behind those of the whole batch.
                    self.collect();
                }
            }
        }
    }

    /// Takes over what the notifier wants done.
    fn collect(&mut self) {
        while let Some(command) = self.notifier.next_command() {
            match command {
                notifier::Command::Send { peer, bytes } => self.outbox.push((peer, bytes)),
                notifier::Command::Report { identity, peer, outcome } => {
                    self.report(&identity, peer, outcome);
                }
            }
        }
    }

    fn report(&self, identity: &Identity, peer: Peer, outcome: Outcome) {
        let Some(mac) = identity.mac else { return };
        let (step, outcome) = match outcome {
            Outcome::Taken => {
                count(&self.counters.taken);
                debug!(device.mac = %mac, "{mac} at {} took its URL", peer.phone);
                return;
            }
            Outcome::Refused(status) => {
                count(&self.counters.refused);
                (Step::Declined, format!("refused its URL with {status}"))
            }
            Outcome::Unanswered => {
                count(&self.counters.unanswered);
                (Step::Silent, "did not answer the NOTIFY".to_owned())
            }
        };
        info!(device.mac = %mac, "{mac} at {} {outcome}", peer.phone);
        let sighting = Sighting {
            identity: identity.clone(),
            addr: IpAddr::V4(*peer.phone.ip()),
            channel: Channel::Pnp,
            at: self.parts.clock.now(),
            step,
            outcome,
            detail: serde_json::Value::Null,
        };
        self.record(Heard { sighting, pending: false });
    }

    fn record(&self, seen: Heard) {
        if self.parts.sightings.try_send(seen).is_err() {
            count(&self.counters.unrecorded);
            debug!("A sighting was dropped: too many wait to be written");
        }
    }

    async fn send(&mut self) {
        self.collect();
        for (peer, bytes) in self.outbox.drain(..) {
            let via = Via { interface: peer.interface, source: Some(IpAddr::V4(*peer.ours.ip())) };
            trace!("{} bytes to {}", bytes.len(), peer.phone);
            if let Err(error) = self.voice.send(&bytes, SocketAddr::V4(peer.phone), Some(via)).await {
                debug!("Cannot send to {}: {error}", peer.phone);
            }
        }
    }
}
