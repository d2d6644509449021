//! The release of passwords made durable: what [`crate::release`] decides is committed, with its row in the audit,
//! before anybody is told. Requests that come together share one commit.

mod deeds;
mod rows;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

pub use deeds::{Armed, Delivery, Refused};
pub(super) use rows::changed_after;

use super::Store;
use super::error::StoreError;
use super::fresh::BOOTSTRAP;
use super::load;
use super::queue::{self, Waiting};
use super::write::{Cell, Write};
use crate::clock::{BootInstant, Timestamp};
use crate::device::{Approval, Channel, Device, Mac};
use crate::hex::hex;
use crate::release::{
    Ask, Asker, Change, GrantId, Grants, Now, Policies, Refusal, Released, Rule, Standing, State, Subject,
    Verdict, What, holds,
};
use crate::secret::SecretKind;

/// Releases of one commit. More wait for the next one: the first of them should not wait for ten thousand.
const TOGETHER_MAX: usize = 256;
/// How long a phone waits for a commit; then it is told to come again.
const COMMIT_WAIT: Duration = Duration::from_millis(2_300);

/// Who this process is, in what it writes about releases.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The agent's name.
    pub agent: Arc<str>,
    /// How long a phone that was seen waits for its first contact.
    pub staged_discovered: Duration,
    /// How long a phone that was entered before it was ever seen waits.
    pub staged_registered: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            agent: "offhook".into(),
            staged_discovered: crate::release::STAGED_DISCOVERED,
            staged_registered: crate::release::STAGED_REGISTERED,
        }
    }
}

/// A request for a file with passwords.
#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    /// Whose file.
    pub mac: Mac,
    /// The passwords that it has slots for.
    pub wanted: Vec<GrantId>,
    /// Who asks.
    pub asker: Asker,
    /// Whether the phone loses what is missing from its file.
    pub replaces: bool,
    /// The rules for this device.
    pub policies: Policies,
    /// The file's name, for the audit.
    pub file: String,
    /// By which service.
    pub channel: Channel,
    /// From which address.
    pub peer: IpAddr,
    /// Whether the neighbour entry is pinned while the file leaves.
    pub pinned: bool,
}

/// What was decided, and is durable.
#[derive(Debug, Clone)]
pub struct Decided {
    /// What the phone gets.
    pub verdict: Verdict,
    /// The device as the decision saw it: its passwords are of the versions that were released.
    pub device: Option<Arc<Device>>,
    /// Names the release in the audit.
    pub release_id: String,
    /// What ran out, or was closed, on the way.
    pub changes: Vec<Change>,
}

pub(super) type Queue = queue::Queue<ReleaseRequest, Decided>;

impl Store {
    /// The same store, writing under these terms.
    #[must_use]
    pub fn under(mut self, terms: Terms) -> Self {
        self.terms = Arc::new(terms);
        self
    }

    /// What time it is for a release: no earlier, on the wall clock, than anything that was ever written.
    pub fn release_now(&self) -> Now {
        Now { wall: self.inventory().wall().max(self.inner.clock.now()), boot: self.inner.clock.boot() }
    }

    /// Decides about a request, and returns when that is durable. An error means that nothing was handed out and
    /// nothing may be: the phone is to come again.
    pub async fn release(&self, request: ReleaseRequest) -> Result<Decided, StoreError> {
        let (answer, idle) = self.inner.releases.push(request);
        if idle {
            // On a task of its own: a phone that hangs up must not take the others' commit with it.
            tokio::spawn(self.clone().serve_releases());
        }
        match tokio::time::timeout(COMMIT_WAIT, answer).await {
            Ok(Ok(decided)) => decided,
            Ok(Err(_)) | Err(_) => Err(StoreError::Busy),
        }
    }

    async fn serve_releases(self) {
        let serving = self.inner.releases.serving();
        loop {
            let unseen = (!holds(Rule::DecideInTransaction)).then(|| self.inventory().all_grants());
            let right = self.inner.writer.lock().await;
            let mut waiting = self.inner.releases.take(TOGETHER_MAX);
            if waiting.is_empty() {
                return serving.done();
            }
            let outcome = match Write::begin_with(&self, right).await {
                Err(error) => Err(error),
                Ok(write) => {
                    // Waiting for another process may have taken longer than a phone waits: its window stays shut.
                    waiting.retain(Waiting::is_wanted);
                    self.release_together(write, &waiting, unseen.as_ref()).await
                }
            };
            match outcome {
                Ok(decided) => waiting.into_iter().zip(decided).for_each(|(one, all)| one.answer(Ok(all))),
                Err(error) => queue::fail(waiting, error),
            }
        }
    }

    async fn release_together(
        &self,
        mut write: Write<'_>,
        waiting: &[Waiting<ReleaseRequest, Decided>],
        unseen: Option<&std::collections::HashMap<Mac, Arc<Grants>>>,
    ) -> Result<Vec<Decided>, StoreError> {
        let now = write.release_now();
        let mut touched: Vec<(Mac, Arc<Grants>, Grants)> = Vec::new();
        let mut decided = Vec::with_capacity(waiting.len());
        for one in waiting {
            let request = &one.question;
            let device = self.inventory().device(request.mac);
            let approved = device.as_ref().is_some_and(|device| device.approval == Approval::Approved);
            let place = touched.iter().position(|(mac, ..)| *mac == request.mac).unwrap_or_else(|| {
                let before = match unseen {
                    Some(unseen) => unseen.get(&request.mac).cloned(),
                    None => self.inventory().grants(request.mac),
                };
                let before = before.unwrap_or_default();
                touched.push((request.mac, Arc::clone(&before), Grants::clone(&before)));
                touched.len() - 1
            });
            let Some((_, _, grants)) = touched.get_mut(place) else { continue };
            let ask = Ask {
                wanted: &request.wanted,
                asker: &request.asker,
                replaces: request.replaces,
                policies: &request.policies,
                agent: &self.terms.agent,
            };
            let (verdict, changes) = if approved {
                grants.authorise(&ask, &now)
            } else {
                (Verdict::Refuse(Refusal::Unproven), Vec::new())
            };
            let release_id = format!("{}-{}", write.generation, decided.len());
            self.write_down(&mut write, request, &release_id, &verdict, &changes).await?;
            decided.push(Decided { verdict, device, release_id, changes });
        }
        write.set_grants_of_many(touched).await?;
        if !holds(Rule::CommitBeforeSend) {
            drop(write);
            return Ok(decided);
        }
        write.commit_with(super::inventory::Delta::default()).await?;
        Ok(decided)
    }

    async fn write_down(
        &self,
        write: &mut Write<'_>,
        request: &ReleaseRequest,
        release_id: &str,
        verdict: &Verdict,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        self.write_changes(write, request.mac, changes).await?;
        let ReleaseRequest { mac, asker, file, channel, peer, pinned, .. } = request;
        match verdict {
            Verdict::Plain => Ok(()),
            Verdict::Secret(released) => {
                let epoch = released.iter().map(|one| one.epoch).max().unwrap_or(0);
                let detail = json!({
                    "file": file, "channel": channel, "peer": peer, "to": asker.key, "identity": asker.level.number(),
                    "pinned": pinned, "plaintext": true, "passwords": self.named(*mac, released),
                });
                write.audit_release("released", *mac, epoch, Some(release_id), &detail).await
            }
            Verdict::Refuse(refusal) => {
                let detail = json!({
                    "file": file, "channel": channel, "peer": peer, "asker": asker.key,
                    "identity": asker.level.number(), "why": refusal.as_str(),
                });
                let event = if *refusal == Refusal::Contention { "contention" } else { "refused" };
                write.audit(event, Some(*mac), &detail).await
            }
        }
    }

    /// A row of the audit for each change.
    pub(super) async fn write_changes(
        &self,
        write: &mut Write<'_>,
        mac: Mac,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let device = self.inventory().device(mac);
        self.write_changes_of(write, mac, device.as_deref(), changes).await
    }

    /// The same for a device that memory does not hold as it is.
    async fn write_changes_of(
        &self,
        write: &mut Write<'_>,
        mac: Mac,
        device: Option<&Device>,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        for change in changes {
            let names: Vec<String> = change.ids.iter().map(|id| name_in(device, *id)).collect();
            let detail = json!({ "passwords": names });
            write.audit_release(change.what.as_str(), mac, change.epoch, None, &detail).await?;
        }
        Ok(())
    }

    fn named(&self, mac: Mac, released: &[Released]) -> Vec<serde_json::Value> {
        let named = released.iter().map(|one| {
            json!({ "password": self.name_of(mac, one.id), "epoch": one.epoch, "version": one.version })
        });
        named.collect()
    }

    /// A password's name for people: `sip 1001`, `menu`.
    pub fn name_of(&self, mac: Mac, id: GrantId) -> String {
        name_in(self.inventory().device(mac).as_deref(), id)
    }
}

fn name_in(device: Option<&Device>, id: GrantId) -> String {
    let Subject::Account(account) = id.subject else { return id.kind.to_string() };
    let line = device.and_then(|device| device.lines.iter().find(|line| line.account.id == account));
    line.map_or_else(
        || format!("{} account {account}", id.kind),
        |line| format!("{} {}", id.kind, line.account.username),
    )
}

impl Write<'_> {
    /// What time it is for a release, as this transaction sees it.
    pub(super) fn release_now(&self) -> Now {
        Now { wall: self.wall, boot: self.boot.clone() }
    }

    /// Brings the grants of these devices in line with what they are now. Says whether a device's row was changed
    /// with them.
    pub(super) async fn reconcile(&mut self, devices: &[Arc<Device>]) -> Result<bool, StoreError> {
        let now = self.release_now();
        let store = self.store;
        let mut touched = Vec::new();
        let mut renewed = false;
        for device in devices {
            let before = self.grants_of(device.mac);
            let mut after = Grants::clone(&before);
            let standing = standing(device, &store.terms);
            let changes = after.reconcile(&held(device), standing, &now);
            store.write_changes_of(self, device.mac, Some(device), &changes).await?;
            if changes.iter().any(|change| change.what == What::SecretChanged) {
                renewed |= self.renew_bootstrap(&before, device.mac).await?;
            }
            touched.push((device.mac, before, after));
        }
        self.set_grants_of_many(touched).await?;
        Ok(renewed)
    }

    /// A new token for the URL that is handed out, so that whoever still has the last one does not open the next window
    /// with it. A phone that is not known to have its own URL has no other one, and keeps it: an interrupted first
    /// provisioning can then go on.
    pub(super) async fn renew_bootstrap(&mut self, before: &Grants, mac: Mac) -> Result<bool, StoreError> {
        let own_url = before.get(GrantId::device(SecretKind::Prov));
        if own_url.is_none_or(|grant| grant.delivered.is_none()) {
            return Ok(false);
        }
        let (sealed, digest) = self.store.inner.mint.bootstrap(mac)?;
        let cells = [
            Cell::Text(sealed.0),
            Cell::Text(hex(&digest)),
            Cell::Text(load::key(mac)),
            Cell::text(BOOTSTRAP),
        ];
        let sql = "UPDATE device_secret SET sealed = $1, digest = $2 WHERE mac = $3 AND kind = $4";
        self.change("renew the token", sql, cells).await?;
        let cells = [Cell::Number(self.generation), Cell::Text(load::key(mac))];
        self.change("mark the device", "UPDATE device SET changed = $1 WHERE mac = $2", cells).await?;
        Ok(true)
    }
}

impl Store {
    /// Gives grants to devices that have none: those of a database from before there were any.
    pub(super) async fn adopt_grants(&self) -> Result<(), StoreError> {
        if self.without_grants().is_empty() {
            return Ok(());
        }
        let mut write = Write::begin(self).await?;
        write.reconcile(&self.without_grants()).await?;
        write.commit_with(super::inventory::Delta::default()).await
    }

    /// Devices that have no grants yet.
    pub(super) fn without_grants(&self) -> Vec<Arc<Device>> {
        let grants = self.inventory().all_grants();
        let devices = self.inventory().devices().into_iter();
        devices.filter(|device| !grants.contains_key(&device.mac)).collect()
    }
}

fn standing(device: &Device, terms: &Terms) -> Standing {
    match device.approval {
        Approval::Pending => Standing::Pending,
        Approval::Blocked => Standing::Blocked,
        Approval::Approved => {
            let seen = device.way.is_some() || device.last_seen.is_some();
            let wait = if seen { terms.staged_discovered } else { terms.staged_registered };
            Standing::Approved { wait }
        }
    }
}

/// The passwords that a device has, with their versions.
fn held(device: &Device) -> Vec<(GrantId, i64)> {
    let own = device
        .secrets
        .iter()
        .map(|(kind, sealed)| (GrantId::device(*kind), super::vault::Keys::version_of(sealed)));
    let accounts = device.lines.iter().filter(|line| line.account.password.is_some());
    let sip = accounts.map(|line| (GrantId::sip(line.account.id), line.account.password_version));
    own.chain(sip).collect()
}

/// The passwords of a device that a file's slot asks for.
pub fn wanted_by(device: &Device, kind: SecretKind, line: Option<u16>) -> Option<GrantId> {
    if kind != SecretKind::Sip {
        return Some(GrantId::device(kind));
    }
    let number = line.unwrap_or(1);
    device.lines.iter().find(|line| line.number == number).map(|line| GrantId::sip(line.account.id))
}

/// What [`Rule::MomentIsKept`] forbids: windows that begin anew, by the wall clock, whenever they are read.
pub(super) fn rebase(all: &mut super::inventory::Delta, boot: &BootInstant, wall: Timestamp) {
    for (_, grants) in &mut all.grants {
        for grant in &mut Arc::make_mut(grants).grants {
            if let State::Open(opening) = &mut grant.state {
                opening.at = BootInstant { boot: boot.boot.clone(), ms: boot.ms - (wall.0 - opening.wall.0) };
            }
        }
    }
}
