//! One transfer's packets: carries out what [`Transfer`] decides, and tells it what came back.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::PoisonError;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tracing::debug;

use super::{REQUEST_BYTES_MAX, Shared, without_flow};
use crate::net::udp::{Datagram, UdpEndpoint, Via};
use crate::tftp::decide::{Blocks, Command, Input, Outcome, Transfer};
use crate::tftp::message::{self, ErrorCode, Message};

/// The most segments the kernel sends with one call, and the most octets.
const SEGMENTS_MAX: usize = 64;
const SEGMENTED_BYTES_MAX: usize = 65_507;
/// The largest datagram payload that leaves as one Ethernet frame, and so can be a segment.
const SEGMENT_BYTES_MAX: usize = 1472;

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

    pub(super) async fn carry_out(
        &self,
        transfer: &mut Transfer,
        turn: OwnedSemaphorePermit,
        asked_again: &Notify,
    ) -> Outcome {
        let mut turn = Some(turn);
        let mut datagrams = Vec::new();
        let mut buffer = [0; REQUEST_BYTES_MAX];
        let mut armed = self.shared.clock.instant();
        let mut alarm = Box::pin(tokio::time::sleep_until(armed.into()));
        loop {
            while let Some(command) = transfer.next_command() {
                match command {
                    Command::Opened => turn = None,
                    Command::SendOptions => self.send(&transfer.options()).await,
                    Command::SendBlocks(blocks) => self.send_blocks(transfer, blocks, &mut datagrams).await,
                    Command::Finish(outcome) => return outcome,
                }
            }
            let Some(deadline) = transfer.poll_timeout() else { return Outcome::Silent };
            // The timer is moved only when it would ring too late: in lockstep every packet sets a new deadline.
            if deadline < armed || self.shared.clock.instant() >= armed {
                armed = deadline;
                alarm.as_mut().reset(armed.into());
            }
            tokio::select! {
                biased;
                received = self.socket.recv(&mut buffer) => {
                    let message = buffer.get(..received.as_ref().map_or(0, |datagram| datagram.len));
                    if let Some(input) = self.read(received, message.unwrap_or_default()).await {
                        transfer.handle(input, self.shared.clock.instant());
                    }
                }
                () = asked_again.notified() => {
                    transfer.handle(Input::AskedAgain, self.shared.clock.instant());
                }
                () = &mut alarm => {
                    let now = self.shared.clock.instant();
                    transfer.handle_timeout(now);
                    if turn.is_some() && transfer.is_waiting_in_vain() {
                        turn = None;
                    }
                }
            }
        }
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

/// The address that was asked, with a port that the kernel chooses.
fn own_address(datagram: &Datagram) -> SocketAddr {
    match datagram.local {
        IpAddr::V6(local) if local.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(local, 0, 0, datagram.interface))
        }
        local => SocketAddr::new(local, 0),
    }
}
