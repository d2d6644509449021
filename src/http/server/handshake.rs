//! The beginning of a connection by TLS: the handshake, in the connection's own task and within its own time, and what
//! the phone has proved in it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use super::wire::Wire;
use super::{Connection, Silence};
use crate::tls::{PhoneCertificate, Tls};

/// From the first octet to the last one of a handshake; old phones need seconds for their part of RSA.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// One line about an address whose handshakes fail, and no other for this time.
pub(super) const NEWS_EVERY: Duration = Duration::from_mins(10);
/// Addresses that are remembered for that; beyond, nothing is said until the time is over.
pub(super) const NEWS_MAX: usize = 1_024;

impl Connection {
    /// The stream inside TLS, and the certificate noted that the phone has proved to hold; `None` where the handshake
    /// came to nothing.
    pub(super) async fn handshake(self: &Arc<Self>, tls: &Tls) -> Option<TlsStream<Wire>> {
        let (acceptor, witness) = tls
            .acceptor()
            .inspect_err(|error| debug!("Cannot begin TLS with {}: {error}", self.peer))
            .ok()?;
        let stopping = self.shared.stopping.cancelled();
        let shaken = tokio::select! {
            () = stopping => return None,
            shaken = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(Wire(Arc::clone(self)))) => shaken,
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.tell_of_failure(&error.to_string());
                return None;
            }
            Err(_) => {
                self.tell_of_failure("it took too long");
                return None;
            }
        };
        match witness.phone() {
            Ok(phone) => drop(phone.map(|phone| self.certificate.set((phone, witness)))),
            Err(why) => debug!("The certificate of {} proves nothing: {why}", self.peer),
        }
        Some(stream)
    }

    /// The certificate that the phone has proved to hold. Where other authorities are trusted now than in the handshake,
    /// the connection ends instead: what they are worth is found out in the next one.
    pub(super) fn certified(&self) -> Result<Option<PhoneCertificate>, Silence> {
        let Some((phone, witness)) = self.certificate.get() else { return Ok(None) };
        let trusted = self.shared.tls.as_ref().is_some_and(|tls| tls.is_current(witness));
        if trusted { Ok(Some(*phone)) } else { Err(Silence) }
    }

    /// Phones that know only what rustls does not speak try again and again.
    fn tell_of_failure(&self, why: &str) {
        let is_news = self.shared.may_tell_of(self.peer);
        if is_news {
            info!("TLS with {} failed: {why}; a phone that cannot do better needs HTTP or TFTP", self.peer);
        } else {
            debug!("TLS with {} failed: {why}", self.peer);
        }
    }
}

impl super::Shared {
    fn may_tell_of(&self, peer: IpAddr) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures.allows(peer, self.clock.instant())
    }
}
