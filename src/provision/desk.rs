//! The desk's walk: a request comes in, and the decisions of [`super`] are walked in their order until there is an
//! answer. The only file of this room that waits: for the neighbour table, for adoption, for a static file's bytes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::cache::{Cache, Kept, Key};
use super::{
    Admission, Answer, Asked, FileBody, FileRequest, Handed, Heard, Offer, Permission, Promise, Proof,
    Receipt, Roots, Shelf, Votes,
};
use super::{admission, basis, is_known, permission};
use crate::clock::Clock;
use crate::config::AdoptConfig;
use crate::device::{Approval, Channel, Device, Identity, Mac, Sighting, Source, Way};
use crate::net::interfaces::Interfaces;
use crate::net::limit::Limiter;
use crate::net::neighbours::Neighbours;
use crate::profile::{Catalog, Clue, Requested, Scope, Site, Subject};
use crate::secret::{Secret, SecretKind};
use crate::store::Store;

/// One line about a peer that is refused a device's files, and no other for this time: a phone asks again and again.
const NEWS_EVERY: Duration = Duration::from_mins(1);
/// Peers and devices that are remembered for that; beyond, nothing is said until the minute is over.
const NEWS_MAX: usize = 4_096;

/// What the desk needs from its agent.
pub struct DeskParts {
    /// `[adopt]`
    pub adopt: AdoptConfig,
    /// The site as templates see it.
    pub site: Site,
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
}

/// The desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    parts: DeskParts,
    shelf: Shelf,
    cache: Cache,
    votes: Mutex<Votes>,
    news: Mutex<Limiter<(IpAddr, Mac)>>,
}

/// A filled file's text, wiped when its last byte has been sent.
struct Wiped(Zeroizing<String>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A request for a file of a profile, and what was found out about it.
struct Case<'a> {
    request: &'a FileRequest,
    name: &'a str,
    has_token: bool,
    identity: Identity,
    proof: Proof,
}

impl Desk {
    /// A desk over these parts.
    pub fn new(parts: DeskParts) -> Self {
        let shelf = Shelf::new(parts.files.clone(), parts.clock.clone());
        let news = Mutex::new(Limiter::new(1, NEWS_EVERY, NEWS_MAX));
        Self(Arc::new(Inner { parts, shelf, cache: Cache::default(), votes: Mutex::default(), news }))
    }

    /// What this peer gets. Everything that it may not have is the same [`Answer::NotFound`].
    pub async fn answer(&self, request: &FileRequest) -> Answer {
        let inner = &*self.0;
        match Asked::parse(&request.path) {
            None => Answer::NotFound,
            Some(Asked::Static { area, vendor, name }) => {
                inner.shelf.take(area, &vendor, &name).await.map_or(Answer::NotFound, Answer::File)
            }
            Some(Asked::File { token, name }) => inner.profile_file(request, token.as_deref(), &name).await,
        }
    }

    /// What this peer would get, with nothing released yet: the first step of a service that has yet to prove that the
    /// peer's address is its own.
    pub async fn offer(&self, request: &FileRequest) -> Offer {
        Offer::Now(self.answer(request).await)
    }

    /// Releases what was promised; the body is as long as the promise said, or the verdict has changed.
    pub async fn open(&self, request: &FileRequest, promise: Promise) -> Answer {
        drop(promise);
        self.answer(request).await
    }

    /// Records what became of a file that [`Self::answer`] gave: only the service that sends it knows.
    pub fn handed(&self, request: &FileRequest, receipt: &Receipt, handed: Handed) {
        let Receipt { identity, name, .. } = receipt;
        let outcome = match handed {
            Handed::Sent => format!("served {name}"),
            Handed::Known => format!("asked for {name}, has it already"),
            Handed::Head => format!("asked only about {name}"),
            Handed::Part => format!("asked for {name}, did not take all of it"),
        };
        self.0.record(request, identity.clone(), outcome, false);
    }

    /// The peer has acknowledged the last byte.
    pub fn delivered(&self, request: &FileRequest, receipt: Receipt) {
        debug!("{} has all of {}", request.peer, receipt.name);
    }
}

impl Inner {
    /// A name that some profile knows: find the device, ask whether this peer is it, render, and only then open secrets.
    async fn profile_file(&self, request: &FileRequest, token: Option<&str>, name: &str) -> Answer {
        let fitting = self.parts.catalog.requested(name);
        if fitting.is_empty() {
            self.unknown_name(request, token, name).await;
            return Answer::NotFound;
        }
        let by_token = match token {
            None => None,
            Some(token) => match self.parts.store.inventory().by_token(token) {
                Some((device, _)) => Some(device),
                None => return Answer::NotFound,
            },
        };
        let proof = self.proof(request).await;
        let named = fitting.iter().find_map(|requested| requested.mac);
        let mac = match (&by_token, named, proof) {
            (Some(device), Some(named), _) if device.mac != named => return Answer::NotFound,
            (Some(device), _, _) => device.mac,
            (None, Some(named), _) => named,
            // A file without a MAC in its name: whoever the neighbour table says it is.
            (None, None, Proof::Neighbour(neighbour)) => neighbour,
            (None, None, Proof::Silent | Proof::OffLink) => return Answer::NotFound,
        };
        let identity = self.identify(request, name, mac);
        let case = Case { request, name, has_token: by_token.is_some(), identity, proof };
        let device = by_token.or_else(|| self.parts.store.inventory().device(mac));
        match self.admit(&case, device, mac).await {
            Some(device) => self.serve(&case, &device, &fitting),
            None => Answer::NotFound,
        }
    }

    /// The device, if it is served; a stranger is adopted or recorded, as the policy says.
    async fn admit(&self, case: &Case<'_>, device: Option<Arc<Device>>, mac: Mac) -> Option<Arc<Device>> {
        let known = is_known(&case.identity, &self.parts.catalog);
        match admission(&case.identity, device.as_deref(), &self.parts.adopt, known) {
            Admission::Serve => device,
            // Only the phone itself takes an account out of the pool.
            Admission::Adopt if case.proof == Proof::Neighbour(mac) => {
                match self.parts.store.adopt(&case.identity, Way::OneTouchManual).await {
                    Ok(Some(adopted)) => {
                        info!(device.mac = %mac, "Adopted {mac} from {}", case.request.peer);
                        return Some(adopted);
                    }
                    Ok(None) => self.heard(case, "pending: no account is free", true),
                    Err(error) => warn!(device.mac = %mac, "Cannot adopt {mac}: {error}"),
                }
                None
            }
            Admission::Pending | Admission::Adopt => {
                let itself = !matches!(case.proof, Proof::Neighbour(other) if other != mac);
                self.heard(case, &format!("pending: asked for {}", case.name), itself);
                None
            }
            Admission::Ignore(reason) => {
                self.heard(case, &format!("{reason}: asked for {}", case.name), false);
                None
            }
        }
    }

    fn serve(&self, case: &Case<'_>, device: &Device, fitting: &[Requested]) -> Answer {
        let vendor = device.vendor.as_ref().or(case.identity.vendor.as_ref());
        let Some(requested) = fitting.iter().find(|requested| Some(requested.profile.vendor()) == vendor)
        else {
            self.heard(case, &format!("asked for {}, a file of another vendor", case.name), false);
            return Answer::NotFound;
        };
        let kept = match self.render(case, device, requested) {
            Ok(kept) => kept,
            Err(reason) => {
                if self.is_news(case.request.peer, device.mac) {
                    warn!(device.mac = %device.mac, "Cannot render {} for {}: {reason}", case.name, device.mac);
                }
                self.heard(case, &format!("cannot render {}: {reason}", case.name), false);
                return Answer::Unavailable;
            }
        };
        match permission(device.mac, case.proof, case.has_token, kept.whole.is_none()) {
            Permission::Granted => {}
            Permission::Withheld => {
                self.heard(case, &format!("{} withheld: not proven to be on this link", case.name), false);
                return Answer::Forbidden;
            }
            Permission::Stranger => {
                let who = match case.proof {
                    Proof::Neighbour(other) => format!("{other} asked"),
                    Proof::Silent => "nobody answers ARP there".to_owned(),
                    Proof::OffLink => "asked from another subnet".to_owned(),
                };
                let peer = case.request.peer;
                if self.is_news(peer, device.mac) {
                    warn!(device.mac = %device.mac, "Refused {} to {peer}: {who}", case.name);
                }
                self.heard(case, &format!("{} refused: {who}", case.name), false);
                return Answer::NotFound;
            }
        }
        let Some((bytes, etag)) = kept.whole.clone().or_else(|| self.fill(case, device, requested, &kept))
        else {
            return Answer::Unavailable;
        };
        debug!(device.mac = %device.mac, "Sending {} to {}", case.name, case.request.peer);
        let content_type = kept.rendered.content_type.clone();
        let receipt = Receipt {
            identity: case.identity.clone(),
            name: case.name.to_owned(),
            revoked: CancellationToken::new(),
            secret: kept.whole.is_none(),
        };
        Answer::File(FileBody { bytes, content_type, etag, ranges: false, receipt: Some(receipt) })
    }

    /// The file with its slots, from the cache where nothing has changed.
    fn render(&self, case: &Case<'_>, device: &Device, requested: &Requested) -> Result<Arc<Kept>, String> {
        let own = requested.profile.file(requested.file).scope() == Scope::Device;
        let model =
            device.model.clone().or_else(|| requested.model.clone()).or_else(|| case.identity.model.clone());
        let key = Key {
            vendor: requested.profile.vendor().clone(),
            file: requested.file,
            mac: own.then_some(device.mac),
            model,
            host: case.request.local,
        };
        let revision = if own { device.revision } else { 0 };
        if let Some(kept) = self.cache.get(&key, revision) {
            return Ok(kept);
        }
        let host = key.host.to_string();
        let root = self.parts.roots.at(key.host);
        let base = root.ok_or_else(|| format!("no service for files listens on {host}"))?.url(key.host);
        let subject = Subject {
            device: own.then_some(device),
            model: key.model.as_deref(),
            site: &self.parts.site,
            host: &host,
            base: &base,
        };
        let rendered =
            requested.profile.render(requested.file, &subject).map_err(|error| error.to_string())?;
        let plain = rendered.plain();
        let bytes = plain.len();
        let whole = rendered.slots().next().is_none().then(|| {
            let etag = self.parts.store.keys().etag(plain.as_bytes());
            (Bytes::from(plain), etag)
        });
        let kept = Arc::new(Kept { revision, rendered, whole });
        self.cache.put(key, Arc::clone(&kept), bytes);
        Ok(kept)
    }

    /// Opens the secrets and puts them into their slots. The release of the passwords has its place here: it decides
    /// which kinds may leave, and commits that before a slot is opened.
    fn fill(
        &self,
        case: &Case<'_>,
        device: &Device,
        requested: &Requested,
        kept: &Kept,
    ) -> Option<(Bytes, String)> {
        let mut failed = None;
        let filled = kept.rendered.fill(|slot| {
            let opened = match self.parts.store.reveal(device, slot.kind, slot.line) {
                Ok(opened) => opened?,
                Err(error) => {
                    failed = Some(error.to_string());
                    return None;
                }
            };
            if slot.kind != SecretKind::Prov {
                return Some(opened);
            }
            let base = self.parts.roots.at(case.request.local)?.own_url(case.request.local, &opened);
            let model = device.model.as_deref().or(case.identity.model.as_deref());
            requested.profile.provisioning_url(&base, device.mac, model).map(Secret::new)
        });
        let reason = match (filled, failed) {
            (Ok(filled), None) => {
                let bytes = Bytes::from_owner(Wiped(filled));
                let etag = self.parts.store.keys().etag(&bytes);
                return Some((bytes, etag));
            }
            (_, Some(reason)) => reason,
            (Err(error), None) => error.to_string(),
        };
        warn!(device.mac = %device.mac, "Cannot put the passwords into {}: {reason}", case.name);
        self.heard(case, &format!("cannot put the passwords into {}", case.name), false);
        None
    }

    /// What the neighbour table says about the peer.
    async fn proof(&self, request: &FileRequest) -> Proof {
        let table = self.parts.interfaces.current();
        let Some(interface) = basis(request, &table) else { return Proof::OffLink };
        self.parts.neighbours.mac_of(request.peer, interface).await.map_or(Proof::Silent, Proof::Neighbour)
    }

    fn identify(&self, request: &FileRequest, name: &str, mac: Mac) -> Identity {
        let path = if request.channel == Channel::Tftp { Source::TftpPath } else { Source::HttpPath };
        let mut clues = vec![Clue::new(path, name), Clue::new(Source::Oui, mac.to_string())];
        clues
            .extend(request.user_agent.as_ref().map(|agent| Clue::new(Source::HttpUserAgent, agent.clone())));
        let catalog = &self.parts.catalog;
        let range_owner = catalog.range_owner(mac).map(|profile| profile.vendor());
        let mut votes = self.votes.lock().unwrap_or_else(PoisonError::into_inner);
        let written = clues.iter().map(|clue| clue.text.as_str());
        votes.identity(written, mac, range_owner, || catalog.identify(&clues).identity)
    }

    /// A name that no profile knows is worth a line in the life of a phone of ours.
    async fn unknown_name(&self, request: &FileRequest, token: Option<&str>, name: &str) {
        let inventory = self.parts.store.inventory();
        let device = match (token.and_then(|token| inventory.by_token(token)), self.proof(request).await) {
            (Some((device, _)), _) => Some(device),
            (None, Proof::Neighbour(mac)) => inventory.device(mac),
            (None, Proof::Silent | Proof::OffLink) => None,
        };
        let Some(device) = device.filter(|device| device.approval == Approval::Approved) else { return };
        let identity = Identity { mac: Some(device.mac), ..Identity::default() };
        let case = Case { request, name, has_token: false, identity, proof: Proof::OffLink };
        self.heard(&case, &format!("asked for {name}, which no profile knows"), false);
    }

    fn heard(&self, case: &Case<'_>, outcome: &str, pending: bool) {
        self.record(case.request, case.identity.clone(), outcome.to_owned(), pending);
    }

    fn record(&self, request: &FileRequest, identity: Identity, outcome: String, pending: bool) {
        let FileRequest { peer, channel, .. } = *request;
        let sighting = Sighting { identity, addr: peer, channel, at: self.parts.clock.now(), outcome };
        if self.parts.sightings.try_send(Heard { sighting, pending }).is_err() {
            debug!("Nobody takes the sighting of {peer}");
        }
    }

    /// Whether this peer's trouble with this device is worth a line: one in a minute, however often it asks.
    fn is_news(&self, peer: IpAddr, mac: Mac) -> bool {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.allows((peer, mac), self.parts.clock.instant())
    }
}
