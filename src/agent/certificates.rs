//! Keeps TLS up to date: certificates for the addresses that this host has now, and what an administrator has written.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::HostName;
use crate::net::interfaces::Interfaces;
use crate::tls::{Names, Tls};

/// How soon a file that was written is read. Between two of them, a certificate and its key, less than this may pass.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// By which names and addresses this host is asked now.
pub(super) fn names(interfaces: &Interfaces, host: &str, besides: &[HostName]) -> Names {
    Names::of(&interfaces.current(), host, besides)
}

/// This host's own name.
pub(super) fn host() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "offhook".to_owned())
}

/// Looks every two seconds, and when the interfaces have changed, until `cancel`.
pub(super) async fn keep(
    tls: Tls,
    mut interfaces: Interfaces,
    besides: Vec<HostName>,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = interfaces.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tls.refresh(&names(&interfaces, &host(), &besides));
    }
}
