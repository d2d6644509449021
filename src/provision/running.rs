//! The files with passwords that are on their way now, so that locking a device stops them. Never waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::device::Mac;
use crate::release::Released;

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    files: HashMap<u64, File>,
}

#[derive(Debug)]
struct File {
    mac: Mac,
    released: Vec<Released>,
    revoked: CancellationToken,
}

/// One file on its way; dropped when it is not any more.
#[derive(Debug)]
pub(crate) struct Underway {
    running: Arc<Running>,
    number: u64,
}

impl Running {
    /// A file leaves; the token is cancelled when it must not go on.
    pub(super) fn leaves(
        self: &Arc<Self>,
        mac: Mac,
        released: Vec<Released>,
    ) -> (Underway, CancellationToken) {
        let revoked = CancellationToken::new();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.next += 1;
        let number = state.next;
        state.files.insert(number, File { mac, released, revoked: revoked.clone() });
        (Underway { running: Arc::clone(self), number }, revoked)
    }

    /// Stops what must not go on; says how many files that are.
    pub(super) fn stop_where(&self, must_stop: impl Fn(Mac, &[Released]) -> bool) -> usize {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = state.files.values().filter(|file| must_stop(file.mac, &file.released));
        stopped.map(|file| file.revoked.cancel()).count()
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&self.number);
    }
}
