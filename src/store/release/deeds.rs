//! What changes grants beside a request: operators arm and lock, transports prove deliveries, time runs out, a host
//! boots, a database is put back. Each deed is one transaction with its rows in the audit.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;

use crate::device::{Channel, Mac};
use crate::release::{Change, Evidence, GrantId, Grants, Mode, Now, Policies, Released, Window};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::inventory::Delta;
use crate::store::write::Write;

/// Devices whose windows are closed in one transaction: a fleet that came at once ends at once, and a phone that asks
/// meanwhile waits for no more than these.
const EXPIRED_TOGETHER: usize = 256;

/// How far a release has come, as its transport knows.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whose.
    pub mac: Mac,
    /// Names it in the audit.
    pub release_id: String,
    /// What was in it.
    pub released: Vec<Released>,
    /// How far.
    pub evidence: Evidence,
    /// The rules of the device, for what ends a window.
    pub policies: Policies,
}

/// Somebody was refused; one row for all of a minute.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Whose file.
    pub mac: Mac,
    /// Its name.
    pub file: String,
    /// Who asked.
    pub peer: IpAddr,
    /// By which service.
    pub channel: Channel,
    /// In a few words.
    pub why: String,
}

/// What an operator armed.
#[derive(Debug, Clone)]
pub struct Armed {
    /// The grants after it.
    pub grants: Arc<Grants>,
    /// What was armed; nothing where nothing was chosen.
    pub changes: Vec<Change>,
}

impl Store {
    /// Arms passwords of a device anew: a new epoch, bound to nobody, and a new bootstrap token where the old one has
    /// been used. `why` goes into the audit.
    pub async fn arm(
        &self,
        mac: Mac,
        chosen: impl Fn(GrantId) -> bool,
        mode: Mode,
        window: Option<Window>,
        policies: &Policies,
        why: &str,
    ) -> Result<Armed, StoreError> {
        let mut write = Write::begin(self).await?;
        let device = self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))?;
        if device.approval != crate::device::Approval::Approved {
            let reason = format!("{mac} is {}; approve it first", device.approval.as_str());
            return Err(StoreError::Conflict(reason));
        }
        let now = write.release_now();
        let before = write.grants_of(mac);
        let mut after = Grants::clone(&before);
        let changes = after.arm(chosen, mode, window, policies, &self.terms.agent, &now);
        if !changes.is_empty() {
            let names: Vec<String> = changes
                .iter()
                .flat_map(|change| change.ids.iter().map(|id| self.name_of(mac, *id)))
                .collect();
            let when = if mode == Mode::Now { "now" } else { "on_contact" };
            let detail = json!({ "passwords": names, "when": when, "why": why });
            write.audit_release("armed", mac, after.epoch, None, &detail).await?;
            write.renew_bootstrap(&before, mac).await?;
        }
        // As this arming leaves them, whatever follows it.
        let grants = Arc::new(after.clone());
        write.set_grants(mac, before, after).await?;
        write.commit().await?;
        Ok(Armed { grants, changes })
    }

    /// Locks passwords of a device that could leave.
    pub async fn lock(&self, mac: Mac, chosen: impl Fn(GrantId) -> bool) -> Result<Vec<Change>, StoreError> {
        self.alter(mac, |grants, now| grants.lock(&chosen, now)).await
    }

    /// An operator says that the phone has these passwords.
    pub async fn confirm(
        &self,
        mac: Mac,
        chosen: impl Fn(GrantId) -> bool,
    ) -> Result<Vec<Change>, StoreError> {
        self.alter(mac, |grants, _| grants.confirm(&chosen)).await
    }

    async fn alter(
        &self,
        mac: Mac,
        deed: impl Fn(&mut Grants, &Now) -> Vec<Change>,
    ) -> Result<Vec<Change>, StoreError> {
        let write = Write::begin(self).await?;
        self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))?;
        let mut all = self.alter_all(write, &[mac], deed).await?;
        Ok(all.pop().map(|(_, changes)| changes).unwrap_or_default())
    }

    /// Closes what has run out; a chore of the agent. Reads memory only, where nothing has.
    pub async fn expire(&self) -> Result<Vec<(Mac, Vec<Change>)>, StoreError> {
        let now = self.release_now();
        let over = self
            .inventory()
            .macs_where(|grants| grants.is_armed() && !grants.clone().expire(&now).is_empty());
        let mut altered = Vec::new();
        for some in over.chunks(EXPIRED_TOGETHER) {
            let closed = async { self.alter_all(Write::begin(self).await?, some, Grants::expire).await };
            match closed.await {
                Ok(more) => altered.extend(more),
                Err(error) if altered.is_empty() => return Err(error),
                // What is closed is told; the rest has its turn next time.
                Err(_) => break,
            }
        }
        Ok(altered)
    }

    /// The agent starts: what it had open on another boot of this host is over. To be called before any socket opens.
    pub async fn start_release(&self) -> Result<Vec<(Mac, Vec<Change>)>, StoreError> {
        let write = Write::begin(self).await?;
        let open = self.inventory().macs_where(Grants::is_armed);
        let (agent, alone) = (Arc::clone(&self.terms.agent), self.inner.db.is_embedded());
        self.alter_all(write, &open, |grants, now| grants.start(&agent, alone, &now.boot.boot, now)).await
    }

    /// The database is known to be an old one: nothing that it lets go counts.
    pub async fn lock_restored(&self) -> Result<Vec<(Mac, Vec<Change>)>, StoreError> {
        let write = Write::begin(self).await?;
        self.lock_restored_with(write, &[]).await
    }

    /// The same together with what `write` has done, and for these devices whatever memory says; commits it.
    pub(in crate::store) async fn lock_restored_with(
        &self,
        mut write: Write<'_>,
        also: &[Mac],
    ) -> Result<Vec<(Mac, Vec<Change>)>, StoreError> {
        write.revoke_all_tokens().await?;
        let mut armed = self.inventory().macs_where(Grants::is_armed);
        armed.extend(also.iter().filter(|mac| self.inventory().grants(**mac).is_none()));
        self.alter_all(write, &armed, Grants::restored).await
    }

    async fn alter_all(
        &self,
        mut write: Write<'_>,
        macs: &[Mac],
        deed: impl Fn(&mut Grants, &Now) -> Vec<Change>,
    ) -> Result<Vec<(Mac, Vec<Change>)>, StoreError> {
        let now = write.release_now();
        let mut altered = Vec::new();
        let mut touched = Vec::new();
        for mac in macs {
            let before = write.grants_of(*mac);
            let mut after = Grants::clone(&before);
            let changes = deed(&mut after, &now);
            self.write_changes(&mut write, *mac, &changes).await?;
            touched.push((*mac, before, after));
            if !changes.is_empty() {
                altered.push((*mac, changes));
            }
        }
        write.set_grants_of_many(touched).await?;
        write.commit_with(Delta::default()).await?;
        Ok(altered)
    }

    /// Writes down how far releases have come, and who was refused: a batch, behind the phones' backs.
    pub async fn write_deliveries(
        &self,
        deliveries: &[Delivery],
        refused: &[Refused],
        moved: &[(Mac, IpAddr, IpAddr)],
    ) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        let now = write.release_now();
        for delivery in deliveries {
            let Delivery { mac, release_id, released, evidence, policies } = delivery;
            let before = write.grants_of(*mac);
            let mut after = Grants::clone(&before);
            let changes = after.prove(released, *evidence, policies, &now);
            let epoch = released.iter().map(|one| one.epoch).max().unwrap_or(0);
            let detail = json!({ "passwords": self.named(*mac, released) });
            write.audit_release(evidence.as_str(), *mac, epoch, Some(release_id), &detail).await?;
            self.write_changes(&mut write, *mac, &changes).await?;
            write.set_grants(*mac, before, after).await?;
        }
        for Refused { mac, file, peer, channel, why } in refused {
            let detail = json!({ "file": file, "peer": peer, "channel": channel, "why": why });
            write.audit("refused", Some(*mac), &detail).await?;
        }
        for (mac, before, now_at) in moved {
            let detail = json!({ "from": before, "to": now_at });
            write.audit("ip_change", Some(*mac), &detail).await?;
        }
        write.commit_with(Delta::default()).await
    }
}
