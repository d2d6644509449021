//! stub
use crate::config::{AdoptConfig, AdoptPolicy};
use crate::device::{Approval, Device, Identity};

/// What becomes of a phone that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is one of ours.
    Serve,
    /// It is listed for a person to decide; until then it gets nothing.
    Pending,
    /// It may take the next free account of the pool.
    Adopt,
    /// It gets nothing, and this is why.
    Ignore(&'static str),
}

/// stub
pub fn admission(
    identity: &Identity,
    device: Option<&Device>,
    adopt: &AdoptConfig,
    known_model: bool,
) -> Admission {
    match device.map(|device| device.approval) {
        Some(Approval::Approved) => return Admission::Serve,
        Some(Approval::Blocked) => return Admission::Ignore("blocked"),
        Some(Approval::Pending) | None => {}
    }
    let Some(mac) = identity.mac else { return Admission::Ignore("no MAC address in it") };
    if adopt.deny.iter().any(|prefix| prefix.covers(mac)) {
        return Admission::Ignore("on adopt.deny");
    }
    match adopt.policy {
        AdoptPolicy::Known => Admission::Ignore("not in the inventory"),
        AdoptPolicy::Auto if known_model => Admission::Adopt,
        AdoptPolicy::Auto | AdoptPolicy::Approve => Admission::Pending,
    }
}

/// stub
pub fn own_base(ours: std::net::Ipv4Addr, port: u16, token: &crate::secret::Secret) -> String {
    format!("http://{ours}:{port}/d/{}/", token.expose())
}
