//! The files with passwords: what would be released, its release, and what becomes of it. A decision is durable before
//! a password is taken out of the vault, and a database that does not answer is a reason to wait, never one to send a
//! file without them.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::cache::Kept;
use super::desk::{Case, Inner, model_of};
use super::evidence::same_phone;
use super::notice::{clone_alarm, raise_changes};
use super::pinned::{PinnedKey, Shape};
use super::running::Underway;
use super::{
    Answer, FileBody, FileHead, FileRequest, Offer, PREAMBLE_BYTES, Promise, Proof, Receipt, Want, knows,
    terms,
};
use crate::device::{Device, Identity, Mac, Step as Life};
use crate::net::neighbours::{Held, Proved};
use crate::profile::{Requested, Retention, Supplied};
use crate::release::{Ask, Asker, GrantId, Grants, Level, Policies, Refusal, Released, Rule, Verdict, holds};
use crate::secret::{Secret, SecretKind};
use crate::store::{Decided, ReleaseRequest, wanted_by};

/// A file whose passwords are due.
#[derive(Debug)]
pub(crate) struct Due {
    requested: Requested,
    /// The file, and the device that it was rendered from: of an open window, as it left the first time.
    shape: Shape,
    device: Arc<Device>,
    replaces: bool,
    identity: Identity,
    name: String,
    certified: Option<Mac>,
    proof: Proof,
    interface: Option<u32>,
    asker: Asker,
    wanted: Vec<GrantId>,
    policies: Policies,
    /// What this agent serves beside the file, which tells of it.
    supplied: Arc<Supplied>,
    /// What would be released in this moment.
    preview: Vec<Released>,
}

/// What was released with a file, for as long as it is on its way.
#[derive(Debug)]
pub(crate) struct HandedOut {
    pub(super) release_id: String,
    pub(super) released: Vec<Released>,
    pub(super) policies: Policies,
    pub(super) device: Arc<Device>,
    _underway: Underway,
    /// The phone's neighbour entry stays as it is while this lives.
    _held: Option<DropGuard>,
}

/// The first step: an answer that releases nothing, or a file that is due.
#[expect(
    clippy::large_enum_variant,
    reason = "an answer is moved once; a box would cost every request an allocation"
)]
pub(super) enum Step {
    Now(Answer),
    Due(Box<Due>),
}

/// A filled file's text, wiped when its last byte has been sent.
struct Wiped(Zeroizing<String>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Inner {
    /// Decides, by what is in memory, what a request for a file with slots would get. Writes nothing.
    pub(super) fn look(
        &self,
        case: &Case<'_>,
        device: &Arc<Device>,
        requested: &Requested,
        kept: &Arc<Kept>,
        asker: Asker,
    ) -> Step {
        let model = model_of(case, device, requested);
        let replaces = requested.profile.retention(model) == Retention::Replace;
        let wanted = wanted(kept, device);
        let policies =
            terms::policies(&self.parts.release, Some(requested.profile.release()), &device.settings);
        let grants = self.parts.store.inventory().grants(device.mac).unwrap_or_default();
        self.notice_use(case, device, &requested.profile, &grants, &policies);
        let asker = same_phone(asker, case, &grants);
        let ask =
            Ask { wanted: &wanted, asker: &asker, replaces, policies: &policies, agent: &self.parts.agent };
        let (verdict, _) = Grants::clone(&grants).authorise(&ask, &self.parts.store.release_now());
        match verdict {
            Verdict::Plain => {
                self.notice_reset(case, device, &grants);
                Step::Now(self.plain(case, kept))
            }
            Verdict::Refuse(refusal) => Step::Now(self.refuse(case, device, refusal)),
            Verdict::Secret(_) if case.request.want == Want::Head => {
                self.heard(case, Life::Asked, &format!("asked only about {}", case.name));
                let content_type = kept.rendered.content_type.clone();
                Step::Now(Answer::Head(FileHead { content_type, etag: None }))
            }
            Verdict::Secret(preview) => {
                let key = PinnedKey::of(requested, device, case.request, &case.supplied);
                let now = || Shape { kept: Arc::clone(kept), device: Arc::clone(device) };
                let pinned = self.pinned.get(&key, &wanted, &preview).filter(|_| !replaces);
                let due = Due {
                    requested: requested.clone(),
                    shape: pinned.unwrap_or_else(now),
                    device: Arc::clone(device),
                    replaces,
                    identity: case.identity.clone(),
                    name: case.name.to_owned(),
                    certified: case.certified,
                    proof: case.proof,
                    interface: case.interface,
                    asker,
                    wanted,
                    policies,
                    supplied: Arc::clone(&case.supplied),
                    preview,
                };
                self.known(case.request, &due).map_or_else(|| Step::Due(Box::new(due)), Step::Now)
            }
        }
    }

    /// A phone that has this very body already is told so, and nothing is released. Its tag names the epoch: after an
    /// arming the same password is a new body. That it knows the tag proves that the body has arrived.
    fn known(&self, request: &FileRequest, due: &Due) -> Option<Answer> {
        let tags = request.known.as_deref()?;
        let (_, etag) = self.fill(request, due, &due.shape, &due.device, &due.preview).ok()?;
        let head =
            FileHead { content_type: due.shape.kept.rendered.content_type.clone(), etag: Some(etag.clone()) };
        if !knows(tags, &etag) {
            return None;
        }
        self.has_it(due.device.mac, &due.preview, due.policies);
        let outcome = format!("asked for {}, has it already", due.name);
        self.heard_of(request, &due.identity, Life::Known, &outcome);
        Some(Answer::Known(head))
    }

    /// The file without its passwords: the phone has them.
    pub(super) fn plain(&self, case: &Case<'_>, kept: &Arc<Kept>) -> Answer {
        let (bytes, etag) = kept.plain(self.parts.store.keys());
        let content_type = kept.rendered.content_type.clone();
        if case.request.known.as_deref().is_some_and(|tags| knows(tags, &etag)) {
            self.heard(case, Life::Known, &format!("asked for {}, has it already", case.name));
            self.fetched(case.mac, case.name, kept);
            return Answer::Known(FileHead { content_type, etag: Some(etag) });
        }
        let receipt = Receipt {
            identity: case.identity.clone(),
            name: case.name.to_owned(),
            revoked: CancellationToken::new(),
            secret: false,
            handed_out: None,
            fetched: Some((case.mac, Arc::clone(kept))),
            loading: None,
        };
        debug!(device.mac = %case.mac, "Sending {} to {}", case.name, case.request.peer);
        Answer::File(FileBody { bytes, content_type, etag, ranges: false, receipt: Some(receipt) })
    }

    /// The same file, beginning with octets that say nothing.
    pub(super) fn with_preamble(&self, case: &Case<'_>, mut due: Box<Due>) -> Step {
        match due.shape.kept.with_preamble() {
            Ok(kept) => {
                due.shape.kept = kept;
                Step::Due(due)
            }
            Err(reason) => {
                self.heard(case, Life::Unavailable, &format!("{} not sent: {reason}", case.name));
                Step::Now(Answer::NeedsOptions)
            }
        }
    }

    /// What a service that has yet to prove the peer's address is told of a file that is due.
    pub(super) fn promise(&self, request: &FileRequest, due: Box<Due>) -> Offer {
        match self.fill(request, &due, &due.shape, &due.device, &due.preview) {
            Ok((bytes, _)) => {
                let preamble = request.want == Want::WithPreamble;
                let head = bytes.get(..PREAMBLE_BYTES).filter(|_| preamble).unwrap_or_default();
                Offer::Due(Promise { size: bytes.len(), head: Bytes::copy_from_slice(head), due })
            }
            Err(reason) => Offer::Now(self.cannot_fill(request, &due, &reason)),
        }
    }

    /// Proves who asks, commits, and only then opens the passwords.
    pub(super) async fn hand_out(&self, request: &FileRequest, due: Due) -> Answer {
        let held = match self.hold(request, &due).await {
            Ok(held) => held,
            Err(answer) => return answer,
        };
        let question = ReleaseRequest {
            mac: due.device.mac,
            wanted: due.wanted.clone(),
            asker: due.asker.clone(),
            replaces: due.replaces,
            policies: due.policies,
            file: due.name.clone(),
            channel: request.channel,
            peer: request.peer,
            pinned: held.as_ref().is_some_and(|held| held.pinned),
        };
        let decided = match self.parts.store.release(question).await {
            Ok(decided) => decided,
            Err(error) => {
                let mac = due.device.mac;
                if self.is_news(request.peer, mac) {
                    warn!(device.mac = %mac, "Cannot release {} to {}: {error}", due.name, request.peer);
                }
                let outcome = format!("{} is not available: {error}", due.name);
                self.heard_of(request, &due.identity, Life::Unavailable, &outcome);
                if holds(Rule::FailureIsNotPlain) {
                    return Answer::Unavailable;
                }
                Decided {
                    verdict: Verdict::Plain,
                    device: None,
                    release_id: String::new(),
                    changes: Vec::new(),
                }
            }
        };
        let (mac, changes) = (due.device.mac, &decided.changes);
        raise_changes(&self.parts.store, &self.parts.catalog, &self.parts.alarms, mac, changes);
        self.send(request, &due, decided, held)
    }

    /// The body that was decided about.
    fn send(&self, request: &FileRequest, due: &Due, decided: Decided, held: Option<Held>) -> Answer {
        let case = due.case(request);
        let device = decided.device.unwrap_or_else(|| Arc::clone(&due.device));
        let present = self.render(&case, &device, &due.requested);
        if present.as_ref().is_ok_and(|kept| wanted(kept, &device) != due.wanted) {
            // It was decided about other passwords than its file has places for by now: a file without the new ones is
            // not what this phone is to get.
            self.heard_of(
                request,
                &due.identity,
                Life::Unavailable,
                &format!("{} has to wait: its lines have changed", due.name),
            );
            return Answer::Unavailable;
        }
        let released = match decided.verdict {
            Verdict::Secret(released) => released,
            Verdict::Plain => return self.plain(&case, &due.shape.kept),
            Verdict::Refuse(refusal) => return self.refuse(&case, &due.device, refusal),
        };
        let filled = self.shape(request, due, &device, &released, present).and_then(|shape| {
            let (bytes, etag) = self.fill(request, due, &shape, &device, &released)?;
            Ok((shape.kept, bytes, etag))
        });
        let (kept, bytes, etag) = match filled {
            Ok(filled) => filled,
            Err(reason) => return self.cannot_fill(request, due, &reason),
        };
        let mac = device.mac;
        if released.iter().any(|one| !one.again) {
            info!(device.mac = %mac, "Released the passwords of {mac} in {} to {}", due.name, request.peer);
        } else {
            debug!(device.mac = %mac, "Released the passwords of {mac} again in {}", due.name);
        }
        let (underway, revoked) = self.running.leaves(mac, released.clone());
        // A lock that came between the commit and this line has looked for this file in vain.
        if self.is_revoked(mac, &released) {
            return self.refuse(&case, &device, Refusal::Locked);
        }
        let handed_out = HandedOut {
            release_id: decided.release_id,
            released,
            policies: due.policies,
            device,
            _underway: underway,
            _held: held.map(|held| self.guard(held, mac, request.peer, revoked.clone())),
        };
        let receipt = Receipt {
            identity: due.identity.clone(),
            name: due.name.clone(),
            revoked,
            secret: true,
            handed_out: Some(Box::new(handed_out)),
            fetched: Some((mac, Arc::clone(&kept))),
            loading: None,
        };
        let content_type = kept.rendered.content_type.clone();
        Answer::File(FileBody { bytes, content_type, etag, ranges: false, receipt: Some(receipt) })
    }

    /// The file that these passwords go into: in an open window the one that left before, else the present one, which
    /// is pinned for the rest of the window.
    fn shape(
        &self,
        request: &FileRequest,
        due: &Due,
        device: &Arc<Device>,
        released: &[Released],
        present: Result<Arc<Kept>, String>,
    ) -> Result<Shape, String> {
        let key = PinnedKey::of(&due.requested, device, request, &due.supplied);
        let pinned = self.pinned.get(&key, &due.wanted, released).filter(|_| !due.replaces);
        let mut shape = if let Some(pinned) = pinned {
            pinned
        } else {
            let shape = Shape { kept: present?, device: Arc::clone(device) };
            if !due.replaces {
                self.pinned.put(key, &due.wanted, released, shape.clone());
            }
            shape
        };
        if request.want == Want::WithPreamble {
            shape.kept = shape.kept.with_preamble()?;
        }
        Ok(shape)
    }

    /// Keeps the neighbour entry pinned until the guard is dropped; somebody who claims the address meanwhile ends the
    /// transfer.
    fn guard(&self, held: Held, mac: Mac, peer: IpAddr, revoked: CancellationToken) -> DropGuard {
        let done = CancellationToken::new();
        let (over, alarms) = (done.clone(), self.parts.alarms.clone());
        tokio::spawn(async move {
            let contest = async {
                match &held.pin {
                    Some(pin) => pin.contest().await,
                    None => std::future::pending().await,
                }
            };
            if let Some(sign) = over.run_until_cancelled(contest).await {
                revoked.cancel();
                alarms.raise(clone_alarm(mac, peer, &sign));
                over.cancelled().await;
            }
        });
        done.drop_guard()
    }

    /// Puts what was released into its slots; the others are gone. Which password a slot wants, says the device that the
    /// file was rendered from; the passwords are the device's as it is now. The tag covers the epochs.
    fn fill(
        &self,
        request: &FileRequest,
        due: &Due,
        shape: &Shape,
        device: &Device,
        released: &[Released],
    ) -> Result<(Bytes, String), String> {
        let mut failed = None;
        let filled = shape.kept.rendered.fill(|slot| {
            let id = wanted_by(&shape.device, slot.kind, slot.line)?;
            released.iter().find(|one| one.id == id)?;
            let line = device.lines.iter().find(|line| GrantId::sip(line.account.id) == id);
            match self.parts.store.reveal(device, slot.kind, line.map(|line| line.number)) {
                Ok(opened) if slot.kind == SecretKind::Prov => {
                    let root = self.parts.roots.for_request(request.local, request.channel)?;
                    let base = root.own_url(request.local, &opened?);
                    let model = shape.device.model.as_deref().or(due.identity.model.as_deref());
                    due.requested.profile.provisioning_url(&base, device.mac, model).map(Secret::new)
                }
                Ok(opened) => opened,
                Err(error) => {
                    failed = Some(error.to_string());
                    None
                }
            }
        });
        match (filled, failed) {
            (Ok(filled), None) => {
                let bytes = Bytes::from_owner(Wiped(filled));
                let mut epochs: Vec<i64> = released.iter().map(|one| one.epoch).collect();
                epochs.sort_unstable();
                epochs.dedup();
                let etag = self.parts.store.keys().etag(&bytes, &epochs);
                Ok((bytes, etag))
            }
            (_, Some(reason)) => Err(reason),
            (Err(error), None) => Err(error.to_string()),
        }
    }

    fn cannot_fill(&self, request: &FileRequest, due: &Due, reason: &str) -> Answer {
        warn!(device.mac = %due.device.mac, "Cannot put the passwords into {}: {reason}", due.name);
        let outcome = format!("cannot put the passwords into {}", due.name);
        self.heard_of(request, &due.identity, Life::Unavailable, &outcome);
        Answer::Unavailable
    }

    /// Holds on to who asks for as long as the file leaves: a proven neighbour is proven once more, by its own answer,
    /// and its entry is pinned.
    async fn hold(&self, request: &FileRequest, due: &Due) -> Result<Option<Held>, Answer> {
        let Some(interface) = due.interface.filter(|_| due.asker.level == Level::I2) else { return Ok(None) };
        let (peer, mac) = (request.peer, due.device.mac);
        let proved = self.parts.neighbours.prove(peer, interface, mac).await;
        let case = due.case(request);
        match proved {
            Proved::Yes(held) if !held.pinned && self.parts.release.require_pin => {
                let why =
                    "its neighbour entry cannot be pinned (release.require_pin; CAP_NET_ADMIN is missing)";
                Err(self.withhold(&case, why))
            }
            Proved::Yes(held) => {
                if let Some(before) = held.moved_from {
                    self.heard_of(request, &due.identity, Life::Moved, &format!("moved from {before}"));
                    self.note_move(&due.device, before, peer);
                }
                Ok(Some(held))
            }
            Proved::Other(other) => Err(self.stranger(&case, &format!("{other} asked"))),
            Proved::Silent => {
                // Its entry was there a moment ago: it may be busy with its boot.
                let outcome = format!("{} has to wait: nobody answers ARP there", due.name);
                self.heard(&case, Life::Unavailable, &outcome);
                Err(Answer::Unavailable)
            }
            Proved::Unable => {
                self.heard_of(
                    request,
                    &due.identity,
                    Life::Unavailable,
                    &format!("{} has to wait: too many are being proven", due.name),
                );
                Err(Answer::Unavailable)
            }
            Proved::Indistinct => Err(self.stranger(&case, "every neighbour looks alike there")),
            Proved::Clone(sign) => {
                self.parts.alarms.raise(clone_alarm(mac, peer, &sign));
                Err(self.withhold(&case, &format!("its MAC is there twice: {sign}")))
            }
        }
    }

    /// The device itself, and nothing may be handed out to it.
    fn refuse(&self, case: &Case<'_>, device: &Device, refusal: Refusal) -> Answer {
        if refusal == Refusal::Unproven {
            return self.stranger(case, "it is not proven to be this phone");
        }
        self.alarm_refusal(device, case.request.peer, refusal);
        self.withhold(case, refusal.as_str())
    }

    /// 403, a line once a minute, and a row in the audit with it.
    pub(super) fn withhold(&self, case: &Case<'_>, why: &str) -> Answer {
        self.note_refusal(case, why);
        self.heard(case, Life::Withheld, &format!("{} withheld: {why}", case.name));
        Answer::Forbidden
    }
}

/// The passwords that a file has places for.
fn wanted(kept: &Kept, device: &Device) -> Vec<GrantId> {
    let slots = kept.rendered.slots();
    let mut wanted: Vec<GrantId> = slots.filter_map(|slot| wanted_by(device, slot.kind, slot.line)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

impl Due {
    fn case<'a>(&'a self, request: &'a FileRequest) -> Case<'a> {
        Case {
            request,
            name: &self.name,
            mac: self.device.mac,
            has_token: self.asker.level == Level::I3,
            steady: false,
            identity: self.identity.clone(),
            certified: self.certified,
            proof: self.proof,
            interface: self.interface,
            supplied: Arc::clone(&self.supplied),
        }
    }
}
