//! Finds the phones that did not ask: who is on a link by ARP, behind a router by SIP and HTTP, and which of them are
//! phones by what they say of themselves. No password is ever used for it.

pub mod announce;
pub mod finding;
pub mod message;
pub mod plan;
pub mod schedule;
pub mod server;
pub mod sweep;
