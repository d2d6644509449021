//! Who asks, as far as it is known: by the neighbour table, by a certificate, by what the phone says of itself.

use std::sync::PoisonError;

use tracing::{debug, info};

use super::Inner;
use crate::device::{Channel, Identity, Mac, Source};
use crate::net::neighbours;
use crate::profile::Clue;
use crate::provision::{FileRequest, Proof, basis};
use crate::tls::PhoneCertificate;

impl Inner {
    /// What the neighbour table says about the peer, and on which interface's link it is.
    pub(in crate::provision) async fn proof(&self, request: &FileRequest) -> (Proof, Option<u32>) {
        let table = self.parts.interfaces.current();
        let Some(interface) = basis(request, &table) else { return (Proof::OffLink, None) };
        if self.parts.neighbours.evidence(interface) != neighbours::Evidence::Usable {
            // Where every neighbour looks alike, being one proves no more than coming from elsewhere.
            return (Proof::OffLink, None);
        }
        let neighbour = self.parts.neighbours.mac_of(request.peer, interface).await;
        (neighbour.map_or(Proof::Silent, Proof::Neighbour), Some(interface))
    }

    /// Whose certificate the peer holds, unless its time is over and that counts here.
    pub(in crate::provision) fn certified(&self, request: &FileRequest, on_link: bool) -> Option<Mac> {
        let PhoneCertificate { mac, expired } = request.certificate?;
        if expired && !self.parts.expired_certificates.accepted(on_link) {
            debug!(device.mac = %mac, "The certificate of {mac} at {} has expired", request.peer);
            return None;
        }
        if expired && self.is_news(request.peer, mac) {
            info!(
                device.mac = %mac,
                "Accepted the certificate of {mac} at {}, which has expired (https.expired_certificates)",
                request.peer
            );
        }
        Some(mac)
    }

    pub(super) fn identify(&self, request: &FileRequest, name: &str, mac: Mac) -> Identity {
        let path = if request.channel == Channel::Tftp { Source::TftpPath } else { Source::HttpPath };
        let mut clues = vec![Clue::new(path, name), Clue::new(Source::Oui, mac.to_string())];
        clues
            .extend(request.user_agent.as_ref().map(|agent| Clue::new(Source::HttpUserAgent, agent.clone())));
        let catalog = &self.parts.catalog;
        let range_owner = catalog.range_owner(mac).map(|profile| profile.vendor());
        let mut votes = self.votes.lock().unwrap_or_else(PoisonError::into_inner);
        let written = clues.iter().map(|clue| clue.text.as_str());
        votes.identity(written, mac, range_owner, || catalog.identify(&clues).identity)
    }
}
