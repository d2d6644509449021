//! Connections that come: how many each address has, and what to do when one cannot be accepted. A phone opens a few, a
//! whole site may stand behind one address, and a single host must not take the places of all others.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::libc;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep_until;
use tracing::warn;

use crate::clock::Clock;

/// After an error of accept that will not pass at once (no more descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that was gone before it was accepted is nobody's trouble; without descriptors or memory, trying
/// again at once would only burn time that others need to give some back.
pub async fn pause(error: &io::Error, clock: &Clock) {
    let scarce = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    if error.raw_os_error().is_some_and(|code| scarce.contains(&code)) {
        warn!("Cannot accept connections: {error}; raise LimitNOFILE of the service");
        sleep_until((clock.instant() + ACCEPT_PAUSE).into()).await;
    }
}

/// The connections of all addresses.
#[derive(Debug)]
pub struct Crowd {
    served_max: usize,
    present_max: usize,
    addresses: Mutex<HashMap<IpAddr, Arc<Address>>>,
}

#[derive(Debug)]
struct Address {
    turns: Semaphore,
    present: AtomicUsize,
    waiting: AtomicUsize,
}

/// A connection's place in the crowd, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    ip: IpAddr,
    address: Arc<Address>,
}

impl Crowd {
    /// At most `served_max` connections of one address are served at once; further ones wait for their turn, and
    /// beyond `present_max` of them there is no place.
    pub fn new(served_max: usize, present_max: usize) -> Self {
        let served_max = served_max.clamp(1, Semaphore::MAX_PERMITS);
        Self { served_max, present_max: present_max.max(served_max), addresses: Mutex::new(HashMap::new()) }
    }

    /// A place for a connection of this address, if there is one.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = addresses.entry(ip).or_insert_with(|| {
            Arc::new(Address {
                turns: Semaphore::new(self.served_max),
                present: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
            })
        });
        // Only ever changed under the lock.
        if address.present.load(Ordering::Relaxed) >= self.present_max {
            return None;
        }
        address.present.fetch_add(1, Ordering::Relaxed);
        Some(Place { crowd: Arc::clone(self), ip, address: Arc::clone(address) })
    }
}

impl Place {
    /// Waits until this connection may be served.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.address.turns.try_acquire() {
            return Some(turn);
        }
        self.address.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.address.waiting);
        let turn = self.address.turns.acquire().await.ok();
        drop(waiting);
        turn
    }

    /// Whether other connections of this address wait for this one to end.
    pub fn is_wanted(&self) -> bool {
        self.address.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts one down however the waiting ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.crowd.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if self.address.present.fetch_sub(1, Ordering::Relaxed) == 1 {
            addresses.remove(&self.ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_waits_while_another_is_served() {
        let crowd = Arc::new(Crowd::new(2, 3));
        let ip = |last| IpAddr::from([192, 168, 1, last]);
        let places: Vec<Place> = (0..3).map(|_| crowd.enter(ip(1)).unwrap()).collect();
        assert!(crowd.enter(ip(1)).is_none(), "no fourth");
        assert!(crowd.enter(ip(2)).is_some());
        let first = places[0].turn().await.unwrap();
        let _second = places[1].turn().await.unwrap();
        assert!(!places[0].is_wanted());
        let mut third = Box::pin(places[2].turn());
        assert!(futures_util::poll!(&mut third).is_pending());
        assert!(places[0].is_wanted());
        drop(first);
        assert!(third.await.is_some());
        assert!(!places[0].is_wanted());
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let crowd = Arc::new(Crowd::new(2, 3));
        for last in 0..=255 {
            drop(crowd.enter(IpAddr::from([10, 0, 0, last])));
        }
        assert!(crowd.addresses.lock().unwrap().is_empty());
    }
}
