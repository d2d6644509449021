//! Tells running phones something: to look for their configuration again, to start anew, or where it is.
//!
//! One exchange is two datagrams: a NOTIFY out of any dialog (RFC 3265's "unsolicited" one, which desk phones have kept)
//! and its answer. [`message`] reads and writes, [`decide`] says where a NOTIFY may go, when it is repeated and what an
//! answer means, [`server`] does the waiting. A phone that follows no NOTIFY to its configuration is pointed there by its
//! web interface: [`visit`] goes through the requests that its profile names, [`server::web`] sends them. Nothing goes to
//! an address behind which there is not the phone that is
//! meant, nor to any host but a phone of this link or the registrar of the phone's own account.

pub mod decide;
pub mod message;
pub mod server;
pub mod visit;
