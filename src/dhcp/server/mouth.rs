//! What answers leave by. It is the socket that hears, and a socket does not hear what it sends itself: whoever hears is
//! handed each answer as it was meant, so that what a phone was given from here is told like what any other server gave
//! it, and nobody reads our own octets again.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Arrival, Counters, Said, count};
use crate::dhcp::message::{Message, Written};
use crate::dhcp::reply::Reply;
use crate::net::wire::Wire;

/// What answers leave by.
pub struct Mouth {
    pub(super) wire: Arc<Wire>,
    pub(super) hearing: mpsc::Sender<Arrival>,
    pub(super) counters: Arc<Counters>,
}

impl Mouth {
    /// Sends an answer, and tells who hears of it.
    pub(super) fn say(&self, reply: &Reply) -> io::Result<Written> {
        let written = reply.write();
        let (receiver, to) = reply.target();
        let (interface, from) = (reply.interface, reply.source());
        self.wire.send(interface, receiver, from, to, &written.bytes)?;
        let message = Message::said(&reply.draft, &written.left_out);
        if self.hearing.try_send(Arrival::Said(Said { interface, from, to, message })).is_err() {
            count(&self.counters.overflowed);
        }
        Ok(written)
    }
}
