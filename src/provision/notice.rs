//! What is noticed at the desk beside the answer: refusals for the audit, alarms for an administrator, and the sign that
//! a phone has lost its passwords. Never waits: what is written down goes through a queue.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::desk::{Case, Inner};
use super::evidence::Deed;
use crate::alarm::{Alarm, AlarmKind, Alarms};
use crate::device::{Approval, Device, Mac};
use crate::net::neighbours::CloneSign;
use crate::profile::Catalog;
use crate::release::{Change, GrantId, Grants, Reason, Refusal, Released, State, What};
use crate::secret::SecretKind;
use crate::store::{Refused, Store};

/// A phone that was delivered asks by its delivered URL soon after it asked by another; one that does not within this
/// has lost that URL, and its passwords with it.
const LOST_AFTER: Duration = Duration::from_mins(2);
/// Phones that are watched for that at a time.
const WATCHED_MAX: usize = 16_384;

/// Phones that asked as if they had never been provisioned.
#[derive(Debug, Default)]
pub(super) struct Watched {
    waiting: HashMap<Mac, (Instant, IpAddr)>,
    /// Who was told of already: once, until the phone uses its own URL again.
    told: HashSet<Mac>,
}

impl Watched {
    fn asks_anew(&mut self, mac: Mac, peer: IpAddr, now: Instant) {
        if self.waiting.len() < WATCHED_MAX && !self.told.contains(&mac) {
            self.waiting.entry(mac).or_insert((now, peer));
        }
    }

    fn uses_its_own(&mut self, mac: Mac) {
        self.waiting.remove(&mac);
        self.told.remove(&mac);
    }

    /// Those who have had time enough; they are forgotten.
    fn lost(&mut self, now: Instant) -> Vec<(Mac, IpAddr)> {
        let mut lost = Vec::new();
        self.waiting.retain(|mac, (since, peer)| {
            let over = now.saturating_duration_since(*since) >= LOST_AFTER;
            if over {
                lost.push((*mac, *peer));
            }
            !over
        });
        self.told.extend(lost.iter().map(|(mac, _)| *mac).take(WATCHED_MAX.saturating_sub(self.told.len())));
        lost
    }
}

impl Inner {
    /// A phone that has proved to be another one asks for this phone's file.
    pub(super) fn alarm_certificate(&self, case: &Case<'_>, other: Mac) {
        let (mac, peer) = (case.mac, case.request.peer);
        let text = format!(
            "{other}, which proves itself by its certificate, asked for {}, a file of {mac}",
            case.name
        );
        self.parts.alarms.raise(Alarm { kind: AlarmKind::Impostor, mac: Some(mac), peer: Some(peer), text });
    }
}

/// Raises the alarms that these changes of a device's grants are worth.
pub fn raise_changes(store: &Store, catalog: &Catalog, alarms: &Alarms, mac: Mac, changes: &[Change]) {
    let device = store.inventory().device(mac);
    let worth = changes.iter().filter_map(|change| alarm_of(device.as_deref(), catalog, mac, change));
    worth.for_each(|alarm| alarms.raise(alarm));
}

/// The alarm that a change of grants is worth, in words; `None` where it is nothing unusual. A kind that no file of the
/// device's vendor holds cannot be fetched, and nobody needs to hear that it was not.
fn alarm_of(device: Option<&Device>, catalog: &Catalog, mac: Mac, change: &Change) -> Option<Alarm> {
    let profile = device.and_then(|device| device.vendor.as_ref()).and_then(|vendor| catalog.get(vendor));
    let fetched = |id: &GrantId| {
        profile.is_none_or(|profile| {
            profile.files().any(|(file, _)| profile.secret_kinds(file).contains(&id.kind))
        })
    };
    if !change.ids.iter().any(fetched) {
        return None;
    }
    let (kind, text) = match change.what {
        What::NeverProvisioned => (AlarmKind::NeverProvisioned, "did not come for its passwords in time"),
        What::Interrupted => (AlarmKind::Interrupted, "had an open window when the host booted"),
        What::Budget => (AlarmKind::Budget, "asked for its passwords too often in one window"),
        What::Restored => (AlarmKind::Rollback, "is locked, because the database was put back"),
        What::Staged
        | What::Armed
        | What::SecretChanged
        | What::Delivered
        | What::Expired
        | What::Revoked
        | What::Confirmed
        | What::Gone => return None,
    };
    Some(Alarm { kind, mac: Some(mac), peer: None, text: format!("{mac} {text}") })
}

/// Two hosts with one MAC, or two MACs at one address.
pub(super) fn clone_alarm(mac: Mac, peer: IpAddr, sign: &CloneSign) -> Alarm {
    let text = format!("{mac} at {peer} is not alone: {sign}");
    Alarm { kind: AlarmKind::Clone, mac: Some(mac), peer: Some(peer), text }
}

impl Inner {
    /// Puts something into the queue of what is written down.
    pub(super) fn deed(&self, deed: Deed) {
        if self.parts.deeds.try_send(deed).is_err() {
            warn!("Nobody writes down what was delivered or refused");
        }
    }

    /// A refusal: once a minute for each peer and phone, however often it asks.
    pub(super) fn note_refusal(&self, case: &Case<'_>, why: &str) {
        let (peer, mac) = (case.request.peer, case.mac);
        if !self.is_news(peer, mac) {
            return;
        }
        warn!(device.mac = %mac, "Refused {} to {peer}: {why}", case.name);
        let (file, why) = (case.name.to_owned(), why.to_owned());
        self.deed(Deed::Refused(Refused { mac, file, peer, channel: case.request.channel, why }));
    }

    pub(super) fn note_move(&self, device: &Device, before: IpAddr, now_at: IpAddr) {
        info!(device.mac = %device.mac, "{} has moved from {before} to {now_at}", device.mac);
        self.deed(Deed::Moved { mac: device.mac, before, now_at });
    }

    pub(super) fn alarm_enumeration(&self, peer: IpAddr) {
        let text = format!("{peer} asked for the files of too many phones, and is not answered for a while");
        self.alarm(AlarmKind::Enumeration, None, peer, text);
    }

    pub(super) fn alarm_refusal(&self, device: &Device, peer: IpAddr, refusal: Refusal) {
        let mac = device.mac;
        match refusal {
            Refusal::Contention => {
                let text =
                    format!("{peer} asked for the passwords of {mac} while another one is being served");
                self.alarm(AlarmKind::Contention, Some(mac), peer, text);
            }
            Refusal::NeverDelivered => {
                let text = format!("{mac} asks for its file, and is not known to have its passwords");
                self.alarm(AlarmKind::NeverProvisioned, Some(mac), peer, text);
            }
            Refusal::Budget | Refusal::Unproven | Refusal::Locked => {}
        }
    }

    fn alarm(&self, kind: AlarmKind, mac: Option<Mac>, peer: IpAddr, text: String) {
        self.parts.alarms.raise(Alarm { kind, mac, peer: Some(peer), text });
    }

    /// A phone that once used the URL that only its delivered file contains, and now asks by another: it may have been
    /// reset. Phones that hear PnP at every boot ask by both.
    pub(super) fn notice_reset(&self, case: &Case<'_>, device: &Device, grants: &Grants) {
        let token = grants.get(GrantId::device(SecretKind::Prov));
        if token.is_none_or(|token| token.applied.is_none()) {
            return;
        }
        let mut watched = self.watched();
        if case.steady {
            watched.uses_its_own(device.mac);
        } else {
            watched.asks_anew(device.mac, case.request.peer, self.parts.clock.instant());
        }
    }

    /// Raises an alarm for phones that were watched in vain.
    pub(super) fn raise_lost(&self) {
        let lost = self.watched().lost(self.parts.clock.instant());
        for (mac, peer) in lost {
            let text = format!("{mac} asks as if it had been reset, and its passwords stay here");
            self.alarm(AlarmKind::ResetPhone, Some(mac), peer, text);
        }
    }

    /// Stops the files on their way to a device that was locked, blocked or removed since, or has one of their passwords
    /// no more.
    pub(super) fn stop_revoked(&self) {
        let stopped = self.running.stop_where(|mac, released| self.is_revoked(mac, released));
        if stopped > 0 {
            info!("Stopped {stopped} files on their way to locked phones");
        }
    }

    /// Whether a file with these passwords must not go on.
    pub(super) fn is_revoked(&self, mac: Mac, released: &[Released]) -> bool {
        let inventory = self.parts.store.inventory();
        let served = inventory.device(mac).is_some_and(|device| device.approval == Approval::Approved);
        let grants = inventory.grants(mac).unwrap_or_default();
        let locked = released.iter().any(|one| {
            grants
                .get(one.id)
                .is_none_or(|grant| grant.epoch >= one.epoch && grant.state == State::Locked(Reason::Revoked))
        });
        !served || locked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    #[test]
    fn case_47_a_phone_that_never_comes_back_by_its_own_url_was_reset() {
        let clock = Clock::manual(Timestamp(0));
        let (reset, booted): (Mac, Mac) = ("001565010203".parse().unwrap(), "001565010204".parse().unwrap());
        let peer = IpAddr::from([192, 0, 2, 7]);
        let mut watched = Watched::default();
        watched.asks_anew(reset, peer, clock.instant());
        watched.asks_anew(booted, peer, clock.instant());
        watched.uses_its_own(booted);
        assert!(watched.lost(clock.instant()).is_empty());
        clock.advance(LOST_AFTER);
        assert_eq!(watched.lost(clock.instant()), [(reset, peer)]);
        watched.asks_anew(reset, peer, clock.instant());
        clock.advance(LOST_AFTER);
        assert!(watched.lost(clock.instant()).is_empty(), "told once");
    }
}
