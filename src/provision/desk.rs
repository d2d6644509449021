//! The desk's walk: a request comes in, and the decisions of [`super`] are walked in their order until there is an
//! answer. Waits for the neighbour table, for adoption, for a static file's bytes; [`super::handout`] has what is
//! particular to files with passwords.

mod supply;
mod who;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::cache::{Cache, Kept, Key, Place};
use super::evidence::Deed;
use super::firmware::{Parts, Places, upgrading};
use super::handout::Step;
use super::menu::Menu;
use super::notice::Watched;
use super::pinned::Pinned;
use super::running::Running;
use super::suspects::{Suspects, Treatment};
use super::{
    Admission, Answer, Asked, FileRequest, Handed, Heard, Offer, Promise, Proof, ProvisionAgain, Receipt,
    Roots, Shelf, Votes, Want,
};
use super::{admission, asker, is_known};
use crate::alarm::Alarms;
use crate::clock::Clock;
use crate::config::{AdoptConfig, ExpiredCertificates, FirmwareConfig, MenuConfig, ReleaseConfig};
use crate::device::{Channel, Device, Identity, Mac, Sighting, Step as Life, Way};
use crate::net::interfaces::Interfaces;
use crate::net::limit::Limiter;
use crate::net::neighbours::Neighbours;
use crate::profile::{Catalog, Requested, Scope, Site, Subject, Supplied};
use crate::release::Evidence;
use crate::store::{Store, Token};

pub(super) use supply::Loading;

/// One line about a peer that is refused a device's files, and no other for this time: a phone asks again and again.
const NEWS_EVERY: Duration = Duration::from_mins(1);
/// Peers and devices that are remembered for that; beyond, nothing is said until the minute is over.
const NEWS_MAX: usize = 4_096;

/// What the desk needs from its agent.
pub struct DeskParts {
    /// The agent's name, for the windows that it opens.
    pub agent: Arc<str>,
    /// `[adopt]`
    pub adopt: AdoptConfig,
    /// `[release]`
    pub release: ReleaseConfig,
    /// Whether a phone's certificate that has expired still proves it.
    pub expired_certificates: ExpiredCertificates,
    /// The site as templates see it.
    pub site: Site,
    /// `[menu]`
    pub menu: MenuConfig,
    /// `[firmware]`
    pub firmware: FirmwareConfig,
    /// The vendor profiles.
    pub catalog: Arc<Catalog>,
    /// The inventory.
    pub store: Store,
    /// For which peers are on a link.
    pub interfaces: Interfaces,
    /// Who is behind an address.
    pub neighbours: Neighbours,
    /// The time.
    pub clock: Clock,
    /// The folder of firmware and language files.
    pub files: PathBuf,
    /// What goes into URLs, for each phone what answers at the address that it sees.
    pub roots: Roots,
    /// Where sightings go, to be written in batches; dropped when nobody takes them.
    pub sightings: mpsc::Sender<Heard>,
    /// Where deliveries and refusals go, to be written in batches.
    pub deeds: mpsc::Sender<Deed>,
    /// Where it goes that somebody at a phone wants it to be provisioned once more.
    pub again: mpsc::Sender<ProvisionAgain>,
    /// Where an administrator is told of what needs one.
    pub alarms: Alarms,
}

/// The desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) parts: DeskParts,
    shelf: Shelf,
    cache: Cache,
    votes: Mutex<Votes>,
    news: Mutex<Limiter<(IpAddr, Mac)>>,
    suspects: Mutex<Suspects>,
    watched: Mutex<Watched>,
    pub(super) pinned: Pinned,
    pub(super) running: Arc<Running>,
    pub(super) menu: Menu,
    places: Mutex<Places>,
    partial: Mutex<Parts>,
    /// Of which phones it was told that a release changes nothing, or that a language is not there.
    said: Mutex<HashSet<(Mac, String)>>,
}

/// A request for a file of a profile, and what was found out about it.
pub(super) struct Case<'a> {
    pub(super) request: &'a FileRequest,
    pub(super) name: &'a str,
    /// Whose file it is.
    pub(super) mac: Mac,
    /// Whether the path holds a token of the device.
    pub(super) has_token: bool,
    /// Whether it is the token that only a delivered file contains.
    pub(super) steady: bool,
    pub(super) identity: Identity,
    /// Whose certificate the peer holds.
    pub(super) certified: Option<Mac>,
    pub(super) proof: Proof,
    /// On whose link the peer is.
    pub(super) interface: Option<u32>,
    /// What this agent serves for it, by settings.
    pub(super) supplied: Arc<Supplied>,
}

impl Case<'_> {
    /// Whether the phone itself asks, on a link of ours. A certificate alone does not do: its vendor sells such phones to
    /// everybody, wherever they are.
    fn is_the_phone_here(&self) -> bool {
        self.proof == Proof::Neighbour(self.mac) && self.certified.is_none_or(|mac| mac == self.mac)
    }
}

impl Desk {
    /// A desk over these parts.
    pub fn new(parts: DeskParts) -> Self {
        let shelf = Shelf::new(parts.files.clone(), parts.clock.clone());
        let news = Mutex::new(Limiter::new(1, NEWS_EVERY, NEWS_MAX));
        let (told, clock) = (upgrading(parts.store.inventory()), &parts.clock);
        let places = Mutex::new(Places::resumed(told.into_iter(), clock.now(), clock.instant()));
        Self(Arc::new(Inner {
            parts,
            shelf,
            cache: Cache::default(),
            votes: Mutex::default(),
            news,
            suspects: Mutex::default(),
            watched: Mutex::default(),
            pinned: Pinned::default(),
            running: Arc::default(),
            menu: Menu::default(),
            places,
            partial: Mutex::default(),
            said: Mutex::default(),
        }))
    }

    /// What this peer gets. Everything that it may not have is the same [`Answer::NotFound`].
    pub async fn answer(&self, request: &FileRequest) -> Answer {
        match self.0.step(request).await {
            Step::Now(answer) => answer,
            Step::Due(due) => self.0.hand_out(request, *due).await,
        }
    }

    /// What this peer would get, with nothing released yet: the first step of a service that has yet to prove that the
    /// peer's address is its own.
    pub async fn offer(&self, request: &FileRequest) -> Offer {
        match self.0.step(request).await {
            Step::Now(answer) => Offer::Now(answer),
            Step::Due(due) => self.0.promise(request, due),
        }
    }

    /// Releases what was promised; the body is as long as the promise said, or the verdict has changed.
    pub async fn open(&self, request: &FileRequest, promise: Promise) -> Answer {
        self.0.hand_out(request, *promise.due).await
    }

    /// Tells of phones that seem to have lost their passwords, and forgets the files of windows that are over; to be
    /// called every few seconds.
    pub fn tidy(&self) {
        self.0.raise_lost();
        self.0.pinned.prune(|mac| self.0.parts.store.inventory().grants(mac));
    }

    /// Stops the files that are on their way to a device that was locked, blocked or removed since they left; to be
    /// called after every change of the inventory.
    pub fn stop_revoked(&self) {
        self.0.stop_revoked();
    }

    /// Records what became of a file that [`Self::answer`] gave: only the service that sends it knows.
    pub fn handed(&self, request: &FileRequest, receipt: &Receipt, handed: Handed) {
        if receipt.loading.is_some() {
            // Of firmware only a whole file is worth a line: some phones fetch hundreds of parts.
            return;
        }
        let Receipt { identity, name, .. } = receipt;
        let (step, outcome) = match handed {
            Handed::Sent => (Life::Served, format!("served {name}")),
            Handed::Head => (Life::Asked, format!("asked only about {name}")),
            Handed::Part => (Life::BrokenOff, format!("asked for {name}, did not take all of it")),
        };
        self.0.record(request, identity.clone(), step, outcome);
        if handed == Handed::Sent {
            self.0.proven(receipt, Evidence::Sent);
            if let Some((mac, kept)) = &receipt.fetched {
                self.0.fetched(*mac, name, kept);
            }
        }
    }

    /// [`Catalog::wants_dated`]
    pub fn wants_dated(&self, user_agent: &str) -> bool {
        self.0.parts.catalog.wants_dated(user_agent)
    }

    /// The peer has acknowledged the last byte.
    pub fn delivered(&self, request: &FileRequest, mut receipt: Receipt) {
        if let Some(loading) = receipt.loading.take() {
            return self.0.loaded(request, &receipt.identity, *loading);
        }
        debug!("{} has all of {}", request.peer, receipt.name);
        self.0.proven(&receipt, Evidence::Acked);
        drop(receipt);
    }
}

impl Inner {
    async fn step(&self, request: &FileRequest) -> Step {
        match Asked::parse(&request.path) {
            None => Step::Now(Answer::NotFound),
            Some(Asked::Static { area, vendor, name }) => {
                Step::Now(self.static_file(request, area, &vendor, &name).await)
            }
            Some(Asked::File { token, name }) => self.profile_file(request, token.as_deref(), &name).await,
        }
    }

    /// A name that some profile knows: find the device, ask whether this peer is it, render, and only then look what of
    /// its passwords may leave.
    async fn profile_file(&self, request: &FileRequest, token: Option<&str>, name: &str) -> Step {
        let fitting = self.parts.catalog.requested(name);
        if fitting.is_empty() {
            return Step::Now(self.unknown_name(request, token, name).await);
        }
        // A token that is none any more (it was renewed) proves nothing, and disproves nothing either.
        let by_token = token.and_then(|token| self.parts.store.inventory().by_token(token));
        let (proof, interface) = self.proof(request).await;
        let certified = self.certified(request, interface.is_some());
        let named = fitting.iter().find_map(|requested| requested.mac);
        let mac = match (&by_token, named, certified, proof) {
            (Some((device, _)), Some(named), ..) if device.mac != named => {
                return Step::Now(self.in_vain(request, named));
            }
            (Some((device, _)), ..) => device.mac,
            (None, Some(named), ..) => named,
            // A file without a MAC in its name: whoever its certificate, or the neighbour table, says it is.
            (None, None, Some(certified), _) => certified,
            (None, None, None, Proof::Neighbour(neighbour)) => neighbour,
            (None, None, None, Proof::Silent | Proof::OffLink) => return Step::Now(Answer::NotFound),
        };
        let steady = matches!(by_token, Some((_, Token::Steady)));
        let identity = self.identify(request, name, mac);
        let has_token = by_token.is_some();
        let case = Case {
            request,
            name,
            mac,
            has_token,
            steady,
            identity,
            certified,
            proof,
            interface,
            supplied: Arc::default(),
        };
        let device = match by_token {
            Some((device, _)) => Some(device),
            None => self.parts.store.inventory().device(mac),
        };
        match self.admit(&case, device, mac).await {
            Some(device) => self.serve(case, &device, &fitting).await,
            None => Step::Now(self.in_vain(request, mac)),
        }
    }

    /// The device, if it is served; a stranger is adopted or recorded, as the policy says.
    async fn admit(&self, case: &Case<'_>, device: Option<Arc<Device>>, mac: Mac) -> Option<Arc<Device>> {
        let known = is_known(&case.identity, &self.parts.catalog);
        match admission(&case.identity, device.as_deref(), &self.parts.adopt, known) {
            Admission::Serve => device,
            // Only the phone itself takes an account out of the pool.
            Admission::Adopt if case.is_the_phone_here() => {
                match self.parts.store.adopt(&case.identity, Way::OneTouchManual).await {
                    Ok(Some(adopted)) => {
                        info!(device.mac = %mac, "Adopted {mac} from {}", case.request.peer);
                        return Some(adopted);
                    }
                    Ok(None) => self.heard(case, Life::Pending, "pending: no account is free"),
                    Err(error) => warn!(device.mac = %mac, "Cannot adopt {mac}: {error}"),
                }
                None
            }
            Admission::Pending | Admission::Adopt => {
                let other = matches!(case.proof, Proof::Neighbour(other) if other != mac);
                let itself = case.certified.map_or(!other, |certified| certified == mac);
                let step = if itself { Life::Pending } else { Life::Refused };
                self.heard(case, step, &format!("pending: asked for {}", case.name));
                None
            }
            Admission::Ignore(reason) => {
                self.heard(case, Life::Ignored, &format!("{reason}: asked for {}", case.name));
                None
            }
        }
    }

    async fn serve(&self, mut case: Case<'_>, device: &Arc<Device>, fitting: &[Requested]) -> Step {
        let vendor = device.vendor.as_ref().or(case.identity.vendor.as_ref());
        // Two families may ask for files of one name, each with a content of its own.
        let own = || fitting.iter().filter(|requested| Some(requested.profile.vendor()) == vendor);
        let is_the_models = |requested: &&Requested| {
            requested.profile.is_for(requested.file, model_of(&case, device, requested))
        };
        let Some(requested) = own().find(is_the_models).or_else(|| own().next()) else {
            let outcome = format!("asked for {}, a file of another vendor", case.name);
            self.heard(&case, Life::UnknownFile, &outcome);
            return Step::Now(Answer::NotFound);
        };
        let asker = match asker(device.mac, case.certified, case.proof, case.has_token) {
            Ok(asker) => asker,
            Err(who) => return Step::Now(self.stranger(&case, &who)),
        };
        case.supplied = Arc::new(self.supply(&case, device, requested).await);
        let case = &case;
        let kept = match self.render(case, device, requested) {
            Ok(kept) => kept,
            Err(reason) => {
                if self.is_news(case.request.peer, device.mac) {
                    warn!(device.mac = %device.mac, "Cannot render {} for {}: {reason}", case.name, device.mac);
                }
                self.heard(case, Life::Unavailable, &format!("cannot render {}: {reason}", case.name));
                return Step::Now(Answer::Unavailable);
            }
        };
        if kept.rendered.slots().next().is_none() {
            return Step::Now(self.plain(case, &kept));
        }
        match self.look(case, device, requested, &kept, asker) {
            Step::Due(due) if case.request.want == Want::WithPreamble => self.with_preamble(case, due),
            step => step,
        }
    }

    /// Somebody else asks for a device's file.
    pub(super) fn stranger(&self, case: &Case<'_>, who: &str) -> Answer {
        let (peer, mac) = (case.request.peer, case.mac);
        self.note_refusal(case, who);
        self.heard(case, Life::Refused, &format!("{} refused: {who}", case.name));
        if let Some(other) = case.certified.filter(|certified| *certified != mac) {
            self.alarm_certificate(case, other);
        } else if let Proof::Neighbour(other) = case.proof
            && other != mac
        {
            debug!(device.mac = %mac, "{other} at {peer} asked for {}", case.name);
        }
        self.in_vain(case.request, mac)
    }

    /// The answer to who asks for a phone that it is not, or that is not served; after some of them, none.
    pub(super) fn in_vain(&self, request: &FileRequest, mac: Mac) -> Answer {
        let now = self.parts.clock.instant();
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        match suspects.asked_in_vain(request.peer, mac, now) {
            Treatment::Answered => Answer::NotFound,
            Treatment::Silenced => Answer::Silence,
            Treatment::SilencedNow => {
                self.alarm_enumeration(request.peer);
                Answer::Silence
            }
        }
    }

    /// The file with its slots, from the cache where nothing has changed.
    pub(super) fn render(
        &self,
        case: &Case<'_>,
        device: &Device,
        requested: &Requested,
    ) -> Result<Arc<Kept>, String> {
        let own = requested.profile.file(requested.file).scope() == Scope::Device;
        let model = model_of(case, device, requested).map(str::to_owned);
        // What the phone itself says counts until it is written down, half a second later: its first file is to be the
        // one that it would get then.
        let firmware = case.identity.firmware.clone().filter(|_| own && device.firmware.is_none());
        let key = Key {
            vendor: requested.profile.vendor().clone(),
            file: requested.file,
            mac: own.then_some(device.mac),
            model,
            firmware: firmware.clone(),
            host: case.request.local,
            by_tls: case.request.channel == Channel::Https,
            supplied: Arc::clone(&case.supplied),
        };
        let commons = self.parts.store.inventory().commons();
        let revision = if own { device.revision.max(commons.revision) } else { commons.revision };
        if let Some(kept) = self.cache.get(&key, revision) {
            return Ok(kept);
        }
        let host = key.host.to_string();
        let root = self.parts.roots.for_request(key.host, case.request.channel);
        let base = root.ok_or_else(|| format!("no service for files listens on {host}"))?.url(key.host);
        let learned = firmware.map(|firmware| Device { firmware: Some(firmware), ..device.clone() });
        let subject = Subject {
            device: own.then_some(learned.as_ref().unwrap_or(device)),
            model: key.model.as_deref(),
            site: &self.parts.site,
            commons: &commons,
            host: &host,
            base: &base,
            supplied: &case.supplied,
        };
        let rendered =
            requested.profile.render(requested.file, &subject).map_err(|error| error.to_string())?;
        let kept = Arc::new(Kept::new(revision, rendered, Place { host: host.clone(), base: base.clone() }));
        let (bytes, _) = kept.plain(self.parts.store.keys());
        self.cache.put(key, Arc::clone(&kept), bytes.len());
        Ok(kept)
    }

    pub(super) fn heard(&self, case: &Case<'_>, step: Life, outcome: &str) {
        self.record(case.request, case.identity.clone(), step, outcome.to_owned());
    }

    pub(super) fn heard_of(&self, request: &FileRequest, identity: &Identity, step: Life, outcome: &str) {
        self.record(request, identity.clone(), step, outcome.to_owned());
    }

    fn record(&self, request: &FileRequest, identity: Identity, step: Life, outcome: String) {
        let FileRequest { peer, channel, .. } = *request;
        let at = self.parts.clock.now();
        let detail = serde_json::Value::Null;
        let sighting = Sighting { identity, addr: peer, channel, at, step, outcome, detail };
        let pending = step == Life::Pending;
        if self.parts.sightings.try_send(Heard { sighting, pending }).is_err() {
            debug!("Nobody takes the sighting of {peer}");
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, HashSet<(Mac, String)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this peer's trouble with this device is worth a line: one in a minute, however often it asks.
    pub(super) fn is_news(&self, peer: IpAddr, mac: Mac) -> bool {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.allows((peer, mac), self.parts.clock.instant())
    }
}

/// The model of the phone that asks, by what is known, by the file's name, or by what it says of itself.
pub(super) fn model_of<'a>(
    case: &'a Case<'_>,
    device: &'a Device,
    requested: &'a Requested,
) -> Option<&'a str> {
    device.model.as_deref().or(requested.model.as_deref()).or(case.identity.model.as_deref())
}

#[cfg(test)]
mod tests;
