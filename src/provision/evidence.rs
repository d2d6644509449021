//! How far a delivery is proven, as the desk notices it: the last byte acknowledged, a tag that only the body has, a URL
//! that only a delivered file contained. Never waits: what is proven is written down behind the phone's back.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::debug;

use super::desk::{Case, Inner};
use super::{FileRequest, Receipt};
use crate::device::{Device, Mac};
use crate::release::{Evidence, GrantId, Grants, Policies, Released};
use crate::secret::SecretKind;
use crate::store::{Delivery, Refused};

/// What is to be written down behind a phone's back.
#[derive(Debug, Clone)]
pub enum Deed {
    /// How far a release has come.
    Delivery(Delivery),
    /// Who was refused.
    Refused(Refused),
    /// A phone has another address than before.
    Moved {
        /// Which.
        mac: Mac,
        /// Where it was.
        before: IpAddr,
        /// Where it is.
        now_at: IpAddr,
    },
}

impl Inner {
    /// The phone uses what only a delivered file contained: the steady token of its URL. That proves the first file that
    /// held it; a later arming hands out the same token, and its use proves nothing about that one.
    pub(super) fn notice_use(
        &self,
        case: &Case<'_>,
        device: &Arc<Device>,
        grants: &Grants,
        policies: &Policies,
    ) {
        if !case.steady {
            return;
        }
        let Some(token) = grants.get(GrantId::device(SecretKind::Prov)) else { return };
        let news =
            token.applied.is_none() && token.evidence > Evidence::None && token.evidence < Evidence::Applied;
        // A token that had arrived before this arming may be used from before it.
        let is_older = token.delivered.is_some() && token.evidence < Evidence::Acked;
        if !news || is_older {
            return;
        }
        let with_it = grants.grants.iter().filter(|grant| grant.epoch == token.epoch);
        let released = with_it
            .filter(|grant| grant.evidence > Evidence::None && grant.evidence < Evidence::Applied)
            .map(|grant| Released { id: grant.id, epoch: grant.epoch, version: grant.version, again: true })
            .collect();
        self.deed(Deed::Delivery(Delivery {
            mac: device.mac,
            release_id: String::new(),
            released,
            evidence: Evidence::Applied,
            policies: *policies,
        }));
    }

    /// The phone has acknowledged the last byte.
    pub(super) fn arrived(&self, request: &FileRequest, receipt: &Receipt) {
        let Some(handed_out) = &receipt.handed_out else { return };
        debug!(device.mac = %handed_out.device.mac, "{} has all of {}", request.peer, receipt.name);
        self.deed(Deed::Delivery(Delivery {
            mac: handed_out.device.mac,
            release_id: handed_out.release_id.clone(),
            released: handed_out.released.clone(),
            evidence: Evidence::Acked,
            policies: handed_out.policies,
        }));
    }

    /// The phone names the tag of this body: it has it.
    pub(super) fn has_it(&self, mac: Mac, body: &[Released], policies: Policies) {
        let grants = self.parts.store.inventory().grants(mac).unwrap_or_default();
        let unproven = |one: &&Released| {
            grants
                .get(one.id)
                .is_some_and(|grant| grant.epoch == one.epoch && grant.evidence < Evidence::Acked)
        };
        let released: Vec<Released> = body.iter().filter(unproven).cloned().collect();
        if !released.is_empty() {
            let (release_id, evidence) = (String::new(), Evidence::Acked);
            self.deed(Deed::Delivery(Delivery { mac, release_id, released, evidence, policies }));
        }
    }
}
