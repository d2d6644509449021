//! Adoption: a stranger becomes a device with the next free account of the pool. Who waits for the right to write is
//! adopted together with whoever has it, in one transaction: ten thousand phones on one switch come at once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::Store;
use super::error::StoreError;
use super::inventory::{Delta, Entry, Labelled};
use super::load;
use super::queue::{self, Waiting};
use super::write::{Cell, Write, line_row};
use crate::device::{Approval, Device, Identity, Line, Mac, Way};

/// Adoptions of one transaction.
const TOGETHER_MAX: usize = 16_384;

pub(super) type Queue = queue::Queue<Request, Option<Arc<Device>>>;

/// A stranger that may be adopted.
#[derive(Debug)]
pub(super) struct Request {
    mac: Mac,
    identity: Identity,
    way: Way,
}

impl Store {
    /// Makes the phone a device of ours with the next free account of the pool. `None`: the pool is empty, the phone is
    /// blocked, or its MAC is unknown. A device that has an account already is given back as it is.
    pub async fn adopt(&self, identity: &Identity, way: Way) -> Result<Option<Arc<Device>>, StoreError> {
        let Some(mac) = identity.mac else { return Ok(None) };
        let request = Request { mac, identity: identity.clone(), way };
        let (answer, idle) = self.inner.adoptions.push(request);
        if idle {
            // On a task of its own: a phone that hangs up must not take the others' commit with it.
            tokio::spawn(self.clone().serve_adoptions());
        }
        answer.await.unwrap_or(Err(StoreError::Busy))
    }

    async fn serve_adoptions(self) {
        let serving = self.inner.adoptions.serving();
        loop {
            let right = self.inner.writer.lock().await;
            let waiting = self.inner.adoptions.take(TOGETHER_MAX);
            if waiting.is_empty() {
                return serving.done();
            }
            match self.adopt_together(&waiting, right).await {
                Ok(adopted) => {
                    for one in waiting {
                        let device = adopted.get(&one.question.mac).cloned();
                        one.answer(Ok(device));
                    }
                }
                Err(error) => queue::fail(waiting, error),
            }
        }
    }

    async fn adopt_together(
        &self,
        waiting: &[Waiting<Request, Option<Arc<Device>>>],
        right: MutexGuard<'_, ()>,
    ) -> Result<HashMap<Mac, Arc<Device>>, StoreError> {
        let mut write = Write::begin_with(self, right).await?;
        let by_hand = waiting.iter().map(|one| &one.question).filter(|one| one.way == Way::OneTouchManual);
        let by_hand: Vec<Mac> = by_hand.map(|one| one.mac).collect();
        let led_here = self.led_here(write.connection(), &by_hand).await?;
        let mut free = self.inventory().read().next_free(waiting.len()).into_iter();
        let mut adopted: HashMap<Mac, Arc<Device>> = HashMap::new();
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for request in waiting.iter().map(|one| &one.question) {
            let way = if led_here.contains(&request.mac) { Way::OneTouchAuto } else { request.way };
            if adopted.contains_key(&request.mac) {
                continue;
            }
            let known = self.inventory().read().entry(request.mac).cloned();
            let entry = match known {
                Some(entry) if entry.device.approval == Approval::Blocked => continue,
                Some(entry) if has_account(&entry.device) => {
                    adopted.insert(request.mac, entry.device);
                    continue;
                }
                Some(entry) => {
                    let Some(account) = free.next() else { continue };
                    let entry = with_account(&entry, way, account, write.generation);
                    changed.push(entry.clone());
                    entry
                }
                None => {
                    let Some(account) = free.next() else { continue };
                    let born = (write.generation, write.now);
                    let identity = &request.identity;
                    let entry =
                        self.inner.mint.device(request.mac, identity, Approval::Approved, Some(way), born)?;
                    let entry = with_account(&entry, way, account, write.generation);
                    new.push(entry.clone());
                    entry
                }
            };
            adopted.insert(request.mac, entry.device);
        }
        if !new.is_empty() || !changed.is_empty() {
            write.insert_devices(&new).await?;
            write_adopted(&mut write, &changed).await?;
            for entry in new.iter().chain(&changed) {
                let line = entry.device.lines.first();
                let account = line.map(|line| line.account.username.as_str());
                let detail = serde_json::json!({ "account": account });
                write.audit("adopted", Some(entry.device.mac), &detail).await?;
            }
            new.append(&mut changed);
            write.commit_with(Delta { devices: new, ..Delta::default() }).await?;
        }
        Ok(adopted)
    }
}

fn has_account(device: &Device) -> bool {
    device.approval == Approval::Approved && !device.lines.is_empty()
}

/// The same device, approved, with the account on its first free line unless it has one already.
fn with_account(entry: &Entry, way: Way, free: Labelled, generation: i64) -> Entry {
    let mut device = Device::clone(&entry.device);
    device.approval = Approval::Approved;
    device.way.get_or_insert(way);
    device.revision = generation;
    if device.lines.is_empty() {
        let account = (*free.account).clone();
        device.lines.push(Line { number: 1, label: free.label, account });
    }
    Entry { device: Arc::new(device), digests: entry.digests }
}

/// Writes devices that were there before: waiting ones, and ones without an account.
async fn write_adopted(write: &mut Write<'_>, changed: &[Entry]) -> Result<(), StoreError> {
    for entry in changed {
        let device = &entry.device;
        let cells = [
            Cell::text(device.approval.as_str()),
            Cell::Maybe(device.way.map(|way| way.as_str().to_owned())),
            Cell::Number(write.generation),
            Cell::Text(load::key(device.mac)),
        ];
        let sql = "UPDATE device SET approval = $1, way = $2, revision = $3, changed = $3 WHERE mac = $4";
        write.change("adopt the device", sql, cells).await?;
        let lines = device.lines.iter();
        let rows = lines.map(|line| line_row(&load::key(device.mac), line.number, line.account.id)).collect();
        let nothing_new = "ON CONFLICT (mac, number) DO NOTHING";
        write.insert("give the account", "line (mac, number, account_id)", rows, nothing_new).await?;
    }
    Ok(())
}
