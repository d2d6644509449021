//! A file with passwords on its way. It is in our custody until the phone has acknowledged its last byte; however its
//! connection ends before that, the kernel is to forget what it has not sent, because nobody knows who will be behind
//! the phone's address by the time it does.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tracing::debug;

use super::Connection;
use crate::net::sys::unacknowledged_bytes;
use crate::provision::{FileRequest, Handed, Receipt, SENDING_MAX};

/// Between two looks at what the peer has acknowledged, which the kernel does not announce: at first, because a phone
/// acknowledges within a millisecond, and at last, because one that does not has lost packets.
const LOOK_EVERY_FIRST: Duration = Duration::from_millis(1);
const LOOK_EVERY_LAST: Duration = Duration::from_millis(250);

/// A file that is on its way, or out and not known to have arrived.
pub(super) struct Delivery {
    pub(super) file: FileRequest,
    pub(super) receipt: Receipt,
    /// Whether the kernel has all of it.
    pub(super) is_out: bool,
    /// Whether the peer was seen to have acknowledged all of it. What is written after it (TLS says that it ends) may
    /// find a peer that is gone.
    has_arrived: bool,
    /// Whether the desk was told that.
    is_told: bool,
    begun: Instant,
}

/// What became of a file in custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The peer has acknowledged all of it.
    Arrived,
    /// An operator has locked the device.
    Locked,
    /// It took too long.
    Overdue,
    /// The connection is gone.
    Gone,
}

impl Connection {
    /// Begins to send a file. With passwords in it, the socket is told first to send nothing after its end: that holds
    /// for whatever ends it, a panic and the end of this process among them.
    pub(super) fn begin(&self, file: FileRequest, receipt: Receipt) -> io::Result<()> {
        let is_secret = receipt.is_secret();
        if is_secret {
            SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        }
        let begun = self.now();
        let delivery =
            Delivery { file, receipt, is_out: false, has_arrived: false, is_told: !is_secret, begun };
        let mut progress = self.progress();
        progress.body_taken = false;
        progress.delivery = Some(delivery);
        drop(progress);
        if is_secret {
            self.begun.notify_one();
        }
        Ok(())
    }

    /// Whether the present delivery has passwords in it; `None` without one.
    pub(super) fn has_secrets(&self) -> Option<bool> {
        self.progress().delivery.as_ref().map(|delivery| delivery.receipt.is_secret())
    }

    /// Waits until it is known what becomes of the file in custody.
    pub(super) async fn fate(self: Arc<Self>) -> Fate {
        let known = |delivery: &Delivery| (delivery.receipt.revoked().clone(), delivery.begun + SENDING_MAX);
        let Some((revoked, end)) = self.progress().delivery.as_ref().map(known) else { return Fate::Arrived };
        let mut pause = LOOK_EVERY_FIRST;
        loop {
            if tokio::time::timeout(pause, revoked.cancelled()).await.is_ok() {
                return Fate::Locked;
            }
            pause = (pause * 2).min(LOOK_EVERY_LAST);
            if self.is_out() && self.is_acknowledged() {
                return Fate::Arrived;
            }
            // Without a peer's address there is no connection any more, and nothing that could be sent.
            if self.stream.peer_addr().is_err() {
                return Fate::Gone;
            }
            if end <= self.now() {
                return Fate::Overdue;
            }
        }
    }

    /// Ends the custody. A file that has not arrived stays where it is: dropping the connection closes the socket
    /// first, which resets it, and gives the receipt back after that.
    pub(super) fn release(&self, fate: Fate) {
        if fate == Fate::Arrived {
            return self.arrived();
        }
        debug!("Reset the connection of {}: {fate:?}", self.peer);
        if let Some(delivery) = &self.progress().delivery {
            self.shared.desk.handed(&delivery.file, &delivery.receipt, Handed::Part);
        }
    }

    fn arrived(&self) {
        let Some(delivery) = self.progress().delivery.take() else { return };
        let _ = SockRef::from(&self.stream).set_linger(None);
        if !delivery.is_told {
            self.shared.desk.handed(&delivery.file, &delivery.receipt, Handed::Sent);
        }
        self.shared.desk.delivered(&delivery.file, delivery.receipt);
        self.settled.notify_one();
    }

    /// A new request shows that the response before it has arrived; one that was sent before that waits until it has:
    /// of files with passwords there is one at a time.
    pub(super) async fn settle_earlier(&self) {
        self.progress().pace.asked(self.now());
        while self.has_secrets() == Some(true) {
            self.settled.notified().await;
        }
        let earlier = self.progress().delivery.take();
        if let Some(plain) = earlier.filter(|plain| plain.is_out) {
            self.shared.desk.delivered(&plain.file, plain.receipt);
        }
    }

    /// Whether the kernel has all of the file; the desk hears of it once.
    fn is_out(&self) -> bool {
        let mut progress = self.progress();
        let Some(delivery) = progress.delivery.as_mut().filter(|delivery| delivery.is_out) else {
            return false;
        };
        if !delivery.is_told {
            delivery.is_told = true;
            self.shared.desk.handed(&delivery.file, &delivery.receipt, Handed::Sent);
        }
        true
    }

    /// Whether the peer has acknowledged everything.
    pub(super) fn is_acknowledged(&self) -> bool {
        let mut progress = self.progress();
        let arrived = progress.delivery.as_ref().is_some_and(|delivery| delivery.has_arrived);
        let all = arrived || unacknowledged_bytes(self.stream.as_fd()).is_ok_and(|octets| octets == 0);
        if let Some(delivery) = progress.delivery.as_mut().filter(|delivery| delivery.is_out) {
            delivery.has_arrived = all;
        }
        all
    }

    /// The peer has said something, if only that it has nothing more to say: its acknowledgement came with it.
    pub(super) fn heard(&self) {
        if self.progress().delivery.as_ref().is_some_and(|delivery| delivery.is_out) {
            self.is_acknowledged();
        }
    }
}
