//! Adoption: a stranger becomes a device with the next free account of the pool. Who waits for the right to write is
//! adopted together with whoever has it, in one transaction: ten thousand phones on one switch come at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{MutexGuard, oneshot};

use super::Store;
use super::error::StoreError;
use super::inventory::{Delta, Entry, Labelled};
use super::load;
use super::write::{Cell, Write, line_row};
use crate::device::{Approval, Device, Identity, Line, Mac, Way};

type Adopted = Result<Option<Arc<Device>>, StoreError>;

/// Who waits to be adopted.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Vec<Request>>);

#[derive(Debug)]
struct Request {
    mac: Mac,
    identity: Identity,
    way: Way,
    reply: oneshot::Sender<Adopted>,
}

impl Store {
    /// Makes the phone a device of ours with the next free account of the pool. `None`: the pool is empty, the phone is
    /// blocked, or its MAC is unknown. A device that has an account already is given back as it is.
    pub async fn adopt(&self, identity: &Identity, way: Way) -> Result<Option<Arc<Device>>, StoreError> {
        let Some(mac) = identity.mac else { return Ok(None) };
        loop {
            let (reply, mut answer) = oneshot::channel();
            self.inner.adoptions.push(Request { mac, identity: identity.clone(), way, reply });
            let right = tokio::select! {
                biased;
                adopted = &mut answer => match adopted {
                    Ok(adopted) => return adopted,
                    // Whoever had taken this request was cancelled; adoption is idempotent, so it is asked again.
                    Err(_) => continue,
                },
                right = self.inner.writer.lock() => right,
            };
            let requests = self.inner.adoptions.take();
            if !requests.is_empty() {
                self.adopt_all(requests, right).await;
            }
            if let Ok(adopted) = answer.await {
                return adopted;
            }
        }
    }

    async fn adopt_all(&self, requests: Vec<Request>, right: MutexGuard<'_, ()>) {
        match self.adopt_together(&requests, right).await {
            Ok(adopted) => {
                for request in requests {
                    // Nobody waits any more when a request was given up; the phone asks again.
                    let _ = request.reply.send(Ok(adopted.get(&request.mac).cloned()));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for request in requests {
                    let _ = request.reply.send(Err(StoreError::Shared(Arc::clone(&error))));
                }
            }
        }
    }

    async fn adopt_together(
        &self,
        requests: &[Request],
        right: MutexGuard<'_, ()>,
    ) -> Result<HashMap<Mac, Arc<Device>>, StoreError> {
        let mut write = Write::begin_with(self, right).await?;
        let mut free = self.inventory().read().next_free(requests.len()).into_iter();
        let mut adopted: HashMap<Mac, Arc<Device>> = HashMap::new();
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for request in requests {
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
                    let entry = with_account(&entry, request, account, write.generation);
                    changed.push(entry.clone());
                    entry
                }
                None => {
                    let Some(account) = free.next() else { continue };
                    let born = (write.generation, write.now);
                    let (identity, way) = (&request.identity, Some(request.way));
                    let entry =
                        self.inner.mint.device(request.mac, identity, Approval::Approved, way, born)?;
                    let entry = with_account(&entry, request, account, write.generation);
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
            write.commit_with(Delta { devices: new, accounts: Vec::new() }).await?;
        }
        Ok(adopted)
    }
}

impl Queue {
    fn push(&self, request: Request) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn has_account(device: &Device) -> bool {
    device.approval == Approval::Approved && !device.lines.is_empty()
}

/// The same device, approved, with the account on its first free line unless it has one already.
fn with_account(entry: &Entry, request: &Request, free: Labelled, generation: i64) -> Entry {
    let mut device = Device::clone(&entry.device);
    device.approval = Approval::Approved;
    device.way.get_or_insert(request.way);
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
