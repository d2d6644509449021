//! How far a delivery is proven, as the desk notices it: the last byte acknowledged, a tag that only the body has, a URL
//! that only a delivered file contained. Never waits: what is proven is written down behind the phone's back.

use std::net::IpAddr;
use std::sync::Arc;

use super::Receipt;
use super::cache::{Kept, Place};
use super::desk::{Case, Inner};
use crate::clock::Timestamp;
use crate::device::{Device, Mac};
use crate::firmware::Release;
use crate::profile::Profile;
use crate::release::{Asker, Evidence, GrantId, Grants, Level, Policies, Released};
use crate::secret::SecretKind;
use crate::store::{Delivery, FetchedRow, Refused};

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
    /// A phone has fetched another file than before.
    Fetched(Fetched),
    /// A phone is told of firmware, and so has a place among those that are upgraded.
    Upgrading {
        /// Which phone.
        mac: Mac,
        /// The release.
        release: Arc<Release>,
        /// What it has.
        had: String,
    },
    /// A phone has fetched all of the firmware that it was told of.
    Firmware {
        /// Which phone.
        mac: Mac,
        /// The release.
        release: Arc<Release>,
        /// What it had then.
        had: String,
    },
}

/// A file that a phone has: what `offhook plan` compares with what it would get.
#[derive(Debug, Clone)]
pub struct Fetched {
    mac: Mac,
    name: String,
    kept: Arc<Kept>,
    at: Timestamp,
}

impl Fetched {
    /// For the store. Every password is masked.
    pub fn row(&self) -> FetchedRow {
        let Place { host, base } = self.kept.place.clone();
        let text = self.kept.rendered.masked();
        FetchedRow { mac: self.mac, file: self.name.to_ascii_lowercase(), host, base, at: self.at, text }
    }
}

impl Inner {
    /// The phone uses what only a delivered file contained: the steady token of its URL. That proves the first file that
    /// held it; a later arming hands out the same token, and its use proves nothing about that one.
    pub(super) fn notice_use(
        &self,
        case: &Case<'_>,
        device: &Arc<Device>,
        profile: &Profile,
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
        // Of what left in a file without the token, its use proves nothing.
        let beside_it = |kind: SecretKind| {
            let mut kinds = profile.files().map(|(file, _)| profile.secret_kinds(file));
            kinds.all(|kinds| !kinds.contains(&kind) || kinds.contains(&SecretKind::Prov))
        };
        let released = with_it
            .filter(|grant| grant.evidence > Evidence::None && grant.evidence < Evidence::Applied)
            .filter(|grant| grant.evidence >= Evidence::Acked || beside_it(grant.id.kind))
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

    /// A file has come so far.
    pub(super) fn proven(&self, receipt: &Receipt, evidence: Evidence) {
        let Some(handed_out) = &receipt.handed_out else { return };
        self.deed(Deed::Delivery(Delivery {
            mac: handed_out.device.mac,
            release_id: handed_out.release_id.clone(),
            released: handed_out.released.clone(),
            evidence,
            policies: handed_out.policies,
        }));
    }

    /// A phone has this file; told once for each rendering, so that a fleet that fetches what it has writes nothing.
    pub(super) fn fetched(&self, mac: Mac, name: &str, kept: &Arc<Kept>) {
        let kept = kept.bare();
        if kept.is_news_of(mac) {
            let at = self.parts.clock.now();
            self.deed(Deed::Fetched(Fetched { mac, name: name.to_owned(), kept, at }));
        }
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

/// A phone that was served on our link and now asks through a router, or the other way round, is still the same one where
/// it holds what only that window handed out: it must not contend with itself.
pub(super) fn same_phone(asker: Asker, case: &Case<'_>, grants: &Grants) -> Asker {
    let Some(token) = grants.get(GrantId::device(SecretKind::Prov)) else { return asker };
    let Some(bound) = token.opening().and_then(|opening| opening.bound.as_ref()) else { return asker };
    let handed_out_here = case.steady && token.evidence >= Evidence::Acked;
    let came_by_token = case.has_token && bound.level == Level::I3;
    if asker.level >= Level::I2 && (handed_out_here || came_by_token) {
        return Asker { key: bound.key.clone(), ..asker };
    }
    asker
}
