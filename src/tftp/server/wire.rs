//! One transfer's packets: carries out what [`Transfer`] decides, and tells it what came back. What was promised is
//! released here, at the first acknowledgement, while packets go on being read.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::PoisonError;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse, FusedFuture};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tracing::debug;

use super::{REQUEST_BYTES_MAX, Shared, without_flow};
use crate::net::udp::{Datagram, UdpEndpoint, Via};
use crate::provision::{Answer, FileRequest, Promise, Receipt, SENDING_MAX};
use crate::tftp::decide::{Blocks, Command, Input, Outcome, Transfer};
use crate::tftp::message::{self, ErrorCode, Message};
use crate::tftp::refusal;

/// The most segments the kernel sends with one call, and the most octets.
const SEGMENTS_MAX: usize = 64;
const SEGMENTED_BYTES_MAX: usize = 65_507;
/// The largest datagram payload that leaves as one Ethernet frame, and so can be a segment.
const SEGMENT_BYTES_MAX: usize = 1472;

/// What a transfer carries for whom.
pub(super) struct Errand {
    pub(super) request: FileRequest,
    /// What is to be released once the client's address is proven.
    pub(super) promise: Option<Promise>,
    /// What was released, or given without that.
    pub(super) receipt: Option<Receipt>,
}

/// A transfer's own socket: its port is the server's transfer identifier, drawn by the kernel at random.
pub(super) struct Wire<'a> {
    socket: UdpEndpoint,
    peer: SocketAddr,
    via: Via,
    shared: &'a Shared,
}

impl<'a> Wire<'a> {
    /// A socket at the address that the request came to.
    pub(super) fn new(
        request: &Datagram,
        peer: SocketAddr,
        via: Via,
        shared: &'a Shared,
    ) -> io::Result<Self> {
        Ok(Self { socket: UdpEndpoint::bind_small(own_address(request))?, peer, via, shared })
    }

    /// Sends and receives until the transfer has ended. A release that has begun is awaited even then, so that it is
    /// known what was released.
    pub(super) async fn carry_out(
        &self,
        transfer: &mut Transfer,
        errand: &mut Errand,
        turn: OwnedSemaphorePermit,
        asked_again: &Notify,
    ) -> Outcome {
        let Errand { request, promise, receipt } = errand;
        let mut turn = Some(turn);
        let mut datagrams = Vec::new();
        let mut buffer = [0; REQUEST_BYTES_MAX];
        let mut armed = self.shared.clock.instant();
        let mut alarm = Box::pin(tokio::time::sleep_until(armed.into()));
        let mut release: Fuse<BoxFuture<'_, Answer>> = Fuse::terminated();
        let mut locked = self.take_custody(transfer, receipt.as_ref());
        let mut withheld = Some(refusal::LATER);
        loop {
            while let Some(command) = transfer.next_command() {
                match command {
                    Command::Opened => {
                        turn = None;
                        if let Some(promise) = promise.take() {
                            release = self.shared.desk.open(request, promise).boxed().fuse();
                        }
                    }
                    Command::SendOptions => self.send(&transfer.options()).await,
                    Command::SendBlocks(blocks) => self.send_blocks(transfer, blocks, &mut datagrams).await,
                    Command::Finish(outcome) => {
                        if !release.is_terminated() {
                            *receipt = receipt_of((&mut release).await);
                        }
                        if let Some((code, text)) = refusal::farewell(outcome, withheld) {
                            self.send(&message::error(code, text)).await;
                        }
                        return outcome;
                    }
                }
            }
            let deadline = transfer.poll_timeout();
            // The timer is moved only when it would ring too late: in lockstep every packet sets a new deadline.
            if let Some(deadline) = deadline
                && (deadline < armed || self.shared.clock.instant() >= armed)
            {
                armed = deadline;
                alarm.as_mut().reset(armed.into());
            }
            tokio::select! {
                biased;
                () = &mut locked => transfer.handle(Input::Locked, self.shared.clock.instant()),
                answer = &mut release => {
                    let now = self.shared.clock.instant();
                    match answer {
                        Answer::File(body) => {
                            *receipt = body.receipt;
                            transfer.release(body.bytes, now);
                            locked = self.take_custody(transfer, receipt.as_ref());
                        }
                        other => {
                            withheld = refusal::withheld(&other);
                            transfer.handle(Input::Withheld, now);
                        }
                    }
                }
                received = self.socket.recv(&mut buffer) => {
                    let message = buffer.get(..received.as_ref().map_or(0, |datagram| datagram.len));
                    if let Some(input) = self.read(received, message.unwrap_or_default()).await {
                        transfer.handle(input, self.shared.clock.instant());
                    }
                }
                () = asked_again.notified() => {
                    transfer.handle(Input::AskedAgain, self.shared.clock.instant());
                }
                () = &mut alarm, if deadline.is_some() => {
                    let now = self.shared.clock.instant();
                    transfer.handle_timeout(now);
                    if turn.is_some() && transfer.is_waiting_in_vain() {
                        turn = None;
                    }
                }
            }
        }
    }

    /// A file with passwords has an end that its client cannot put off, and is aborted once an operator locks its device:
    /// what is returned is done then.
    fn take_custody(
        &self,
        transfer: &mut Transfer,
        receipt: Option<&Receipt>,
    ) -> Fuse<BoxFuture<'static, ()>> {
        let Some(receipt) = receipt.filter(|receipt| receipt.is_secret()) else { return Fuse::terminated() };
        let now = self.shared.clock.instant();
        transfer.limit(now + SENDING_MAX);
        if receipt.revoked().is_cancelled() {
            transfer.handle(Input::Locked, now);
        }
        receipt.revoked().clone().cancelled_owned().boxed().fuse()
    }

    /// What a datagram at the transfer's port means. One of another peer gets ERROR 5 and disturbs nothing
    /// (RFC 1350: "an error packet should be sent to the source of the incorrect packet").
    async fn read(&self, received: io::Result<Datagram>, bytes: &[u8]) -> Option<Input> {
        let from = match received {
            Ok(datagram) => without_flow(datagram.from),
            Err(error) => {
                debug!("Cannot receive from {}: {error}", self.peer);
                return Some(Input::Aborted);
            }
        };
        if from != self.peer {
            if self.may_answer_stray(from.ip()) {
                let datagram = message::error(ErrorCode::UnknownTransfer, "Unknown transfer ID");
                let _ = self.socket.send(&datagram, from, Some(self.via)).await;
            }
            return None;
        }
        match Message::try_from(bytes).ok()? {
            Message::Acknowledgement(block) => Some(Input::Acknowledged(block)),
            Message::Error(_) => Some(Input::Aborted),
            Message::Read(_) | Message::Write => None,
        }
    }

    fn may_answer_stray(&self, from: IpAddr) -> bool {
        let now = self.shared.clock.instant();
        self.shared.strays.lock().unwrap_or_else(PoisonError::into_inner).allows(from, now)
    }

    /// A datagram that cannot be sent is one that was lost: the timer sends it again, or gives up.
    async fn send(&self, datagram: &[u8]) {
        if let Err(error) = self.socket.send(datagram, self.peer, Some(self.via)).await {
            debug!("Cannot send to {}: {error}", self.peer);
        }
    }

    /// A window leaves with as few calls as the kernel's segmentation allows, or block by block where it does not.
    async fn send_blocks(&self, transfer: &Transfer, blocks: Blocks, datagrams: &mut Vec<u8>) {
        let together = transfer.datagram_bytes();
        let segments = if together > SEGMENT_BYTES_MAX { 1 } else { SEGMENTED_BYTES_MAX / together };
        let mut left = blocks;
        while left.count > 0 {
            let count = left.count.min(u16::try_from(segments.min(SEGMENTS_MAX)).unwrap_or(1));
            let batch = Blocks { count, ..left };
            left = Blocks { first: left.first + u64::from(count), count: left.count - count };
            datagrams.clear();
            transfer.write(batch, datagrams);
            match u16::try_from(together) {
                Ok(segment) if count > 1 => self.send_segments(datagrams, segment).await,
                _ => self.send(datagrams).await,
            }
        }
    }

    async fn send_segments(&self, datagrams: &[u8], segment: u16) {
        if self.socket.send_segments(datagrams, segment, self.peer, Some(self.via)).await.is_ok() {
            return;
        }
        // No segmentation on this path (a smaller MTU, or a driver without it).
        for datagram in datagrams.chunks(usize::from(segment)) {
            self.send(datagram).await;
        }
    }
}

fn receipt_of(answer: Answer) -> Option<Receipt> {
    if let Answer::File(body) = answer { body.receipt } else { None }
}

/// The address that was asked, with a port that the kernel chooses.
fn own_address(datagram: &Datagram) -> SocketAddr {
    match datagram.local {
        IpAddr::V6(local) if local.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(local, 0, 0, datagram.interface))
        }
        local => SocketAddr::new(local, 0),
    }
}
