//! The port table as it came out: each service, whether it is on, and what to do where it is not.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use crate::net::neighbours::Abilities;

/// One line of the port table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Service {
    /// `PnP`, `HTTP`, …
    pub name: &'static str,
    /// `224.0.1.75:5060/udp`
    pub port: String,
    /// On or off.
    pub state: State,
    /// What it does, or why it is off and how to change that.
    pub note: String,
}

/// Whether a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    On,
    /// It does not.
    Off,
}

impl Service {
    pub(super) fn on(name: &'static str, port: String, note: impl Into<String>) -> Self {
        Self { name, port, state: State::On, note: note.into() }
    }

    pub(super) fn off(name: &'static str, port: String, note: impl Into<String>) -> Self {
        Self { name, port, state: State::Off, note: note.into() }
    }

    /// How sure this agent can be of who gets a password. It serves either way, so it is on.
    pub(super) fn proof(abilities: Abilities) -> Self {
        Self::on("ARP", "-".to_owned(), proof_note(abilities))
    }
}

fn proof_note(abilities: Abilities) -> String {
    let mut missing = Vec::new();
    let mut note = "who asks for passwords is proved by ARP".to_owned();
    if abilities.pin {
        note.push_str(", and pinned while they leave");
    } else {
        note.push_str(
            "; NOT pinned while they leave: whoever takes the phone's address meanwhile gets the rest",
        );
        missing.push("CAP_NET_ADMIN");
    }
    if !abilities.raw_arp {
        note.push_str("; NO check for cloned MACs: the kernel's neighbour table alone is believed");
        missing.push("CAP_NET_RAW");
    }
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        let _ = write!(note, "; needs {missing}: {}", capabilities());
    }
    note
}

/// Says that the kernel grants a service less receive buffer than a storm of phones needs.
pub(super) fn warn_of_small_buffer(service: &str) {
    tracing::warn!(
        "The kernel grants {service} a small receive buffer; set net.core.rmem_max to 16777216, or give CAP_NET_ADMIN"
    );
}

/// Why no link can be heard, and what to do about it. `key` is the knob that switches the service off.
pub(super) fn unheard(error: &io::Error, key: &str) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("hearing beside who has the port needs CAP_NET_RAW; {}; or see {key}", capabilities())
        }
        _ => format!("cannot open a packet socket: {error}; see {key}"),
    }
}

/// How this program gets the rights that open every service.
fn capabilities() -> String {
    format!(
        "run: sudo setcap cap_net_bind_service,cap_net_raw,cap_net_admin+ep {}; or use examples/offhook.service",
        program()
    )
}

/// Why a port could not be opened, and what to do about it. `key` is the knob that moves the service elsewhere.
pub(super) fn refused(error: &io::Error, address: SocketAddr, protocol: &str, key: &str) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "not permitted: ports below 1024 need CAP_NET_BIND_SERVICE; {}; or set {key} to another port",
            capabilities()
        ),
        io::ErrorKind::AddrInUse => format!(
            "another program holds {address}/{protocol} (ss -lnp '( sport = :{port} )' names it); stop it, or set {key}"
        ),
        io::ErrorKind::AddrNotAvailable => format!("this host has no address {}; set {key}", address.ip()),
        _ => format!("cannot open {address}/{protocol}: {error}; see {key}"),
    }
}

/// This program's own path, as a command line for `setcap` needs it.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "offhook".to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_for_a_proof_is_said_with_its_remedy() {
        let check = |pin, raw_arp, words: &[&str], not: &[&str]| {
            let note = Service::proof(Abilities { pin, raw_arp }).note;
            assert!(words.iter().all(|word| note.contains(word)), "{note}");
            assert!(!not.iter().any(|word| note.contains(word)), "{note}");
        };
        check(true, true, &["pinned while they leave"], &["NO", "CAP_", "setcap"]);
        check(false, true, &["NOT pinned", "CAP_NET_ADMIN", "setcap", "offhook.service"], &["CAP_NET_RAW"]);
        check(true, false, &["cloned", "CAP_NET_RAW", "setcap"], &["CAP_NET_ADMIN"]);
        check(false, false, &["CAP_NET_ADMIN and CAP_NET_RAW"], &[]);
    }

    #[test]
    fn a_refusal_names_the_remedy() {
        let address = SocketAddr::from(([0, 0, 0, 0], 69));
        let check = |kind: io::ErrorKind, words: &[&str]| {
            let text = refused(&io::Error::from(kind), address, "udp", "tftp.listen");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        };
        check(io::ErrorKind::PermissionDenied, &["setcap", "examples/offhook.service", "tftp.listen"]);
        check(io::ErrorKind::AddrInUse, &["0.0.0.0:69/udp", "sport = :69", "tftp.listen"]);
        check(io::ErrorKind::AddrNotAvailable, &["no address 0.0.0.0", "tftp.listen"]);
    }
}
