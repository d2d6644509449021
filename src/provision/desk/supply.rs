//! What the desk tells a phone of beside its passwords and settings, and hands out to whoever asks: firmware and language
//! files. A file of the catalog is compared with it while it is served.

use std::ops::Range;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Case, Inner, model_of};
use crate::alarm::{Alarm, AlarmKind};
use crate::device::{Approval, Channel, Commons, Device, Identity, Mac, Source, Step as Life};
use crate::firmware::{Plan, Release, ReleaseFile, Stock};
use crate::profile::{Clue, NOTHING_SUPPLIED, Profile, Requested, Scope, Subject, Supplied};
use crate::provision::evidence::Deed;
use crate::provision::firmware::{Course, course, taught, tells, told};
use crate::provision::shelf::Taken;
use crate::provision::{Answer, Area, FileRequest, Proof, Receipt, Root, Want};

/// A phone that takes the file that it was told of.
#[derive(Debug, Clone)]
pub(in crate::provision) struct Loading {
    mac: Mac,
    release: Arc<Release>,
    /// What it has meanwhile.
    had: String,
    /// How much of it leaves.
    pub(in crate::provision) span: Range<u64>,
    size: u64,
}

impl Inner {
    /// The settings that name what this agent serves for a phone, which asks for this file and is proven to be the phone.
    pub(super) async fn supply(&self, case: &Case<'_>, device: &Device, requested: &Requested) -> Supplied {
        let profile = &requested.profile;
        let own = profile.file(requested.file).scope() == Scope::Device;
        let mut supplied = self.languages(case, device, requested, own).await.unwrap_or_default();
        let stock = self.parts.store.inventory().stock();
        let is_brought = || stock.releases.iter().any(|release| release.vendor == *profile.vendor());
        if is_brought() && tells(profile, requested.file) {
            supplied.extend(self.firmware(case, device, profile, &stock).await.unwrap_or_default());
        }
        supplied
    }

    /// The language files that are there for the phone, or for all of its model. One that it needs and that is not there
    /// is said once.
    async fn languages(
        &self,
        case: &Case<'_>,
        device: &Device,
        requested: &Requested,
        own: bool,
    ) -> Option<Supplied> {
        let profile = &requested.profile;
        let vendor = profile.vendor().as_str();
        let there = self.shelf.paths(Area::Lang, vendor).await;
        if !profile.has_language_files(!there.is_empty()) {
            return None;
        }
        let commons = self.parts.store.inventory().commons();
        // What it says now is newer than what is written down.
        let said = case.identity.firmware.as_ref().filter(|said| device.firmware.as_ref() != Some(said));
        let learned = said.map(|said| Device { firmware: Some(said.clone()), ..device.clone() });
        let known = own.then_some(learned.as_ref().unwrap_or(device));
        let subject = self.bare_subject(known, model_of(case, device, requested), &commons);
        let wanted = profile.language_files(&subject);
        if wanted.is_empty() {
            return None;
        }
        let FileRequest { local, channel, .. } = *case.request;
        let base = self.parts.roots.for_request(local, channel)?.url(local);
        let (supplied, missing) = taught(&wanted, &there, vendor, &base);
        for text in missing {
            if self.said().insert((device.mac, text.clone())) {
                warn!(device.mac = %device.mac, "Of {}: {text}", device.mac);
            }
        }
        Some(supplied)
    }

    /// The firmware that the phone is told of now.
    async fn firmware(
        &self,
        case: &Case<'_>,
        device: &Device,
        profile: &Profile,
        stock: &Stock,
    ) -> Option<Supplied> {
        let mac = device.mac;
        // What it says now is newer than what is written down.
        let current = case.identity.firmware.as_deref().or(device.firmware.as_deref());
        let release = match self.course(stock, profile, device, case.identity.model.as_deref(), current) {
            Course::Planned(Plan::Step { release, .. }) => release,
            course => {
                if let Course::Stuck(release) = &course {
                    self.told_in_vain(case, release, current.unwrap_or_default());
                }
                self.places().free(mac);
                return None;
            }
        };
        let path = format!("{}/{}", release.folder(), release.main()?.name);
        if !self.shelf.has(Area::Firmware, release.vendor.as_str(), &path).await {
            self.alarm_damaged(&format!("the file of {} is not there", release.name()));
            return None;
        }
        let limit = usize::from(self.parts.firmware.concurrent);
        let now = self.parts.clock.instant();
        let had_one = self.places().has(mac, now);
        if case.request.want == Want::Head || !self.places().take(mac, limit, now) {
            debug!(device.mac = %mac, "{mac} waits for its firmware {}", release.version);
            return None;
        }
        if !had_one {
            let had = current.unwrap_or_default().to_owned();
            self.deed(Deed::Upgrading { mac, release: Arc::clone(&release), had });
        }
        Some(told(&release, &self.firmware_base(case.request)?))
    }

    /// Whoever came by TFTP may speak nothing else.
    fn firmware_base(&self, request: &FileRequest) -> Option<String> {
        let FileRequest { local, channel, .. } = *request;
        let roots = self.parts.roots;
        let by_tftp = || roots.all_at(local).find(|root| matches!(root, Root::Tftp(_)));
        let root = if channel == Channel::Tftp { by_tftp() } else { None };
        Some(root.or_else(|| roots.for_request(local, channel))?.url(local))
    }

    fn course(
        &self,
        stock: &Stock,
        profile: &Profile,
        device: &Device,
        model: Option<&str>,
        current: Option<&str>,
    ) -> Course {
        let commons = self.parts.store.inventory().commons();
        let subject = self.bare_subject(Some(device), model, &commons);
        course(stock, profile, &subject, device, current)
    }

    /// What is asked of a profile before it is known what the phone is supplied with.
    fn bare_subject<'s>(
        &'s self,
        device: Option<&'s Device>,
        model: Option<&'s str>,
        commons: &'s Commons,
    ) -> Subject<'s> {
        let (site, supplied) = (&self.parts.site, &NOTHING_SUPPLIED);
        Subject { device, model, site, commons, host: "", base: "", supplied }
    }

    /// The phone has fetched a release as often as it may. Said once.
    fn told_in_vain(&self, case: &Case<'_>, release: &Release, current: &str) {
        let mac = case.mac;
        if !self.said().insert((mac, release.name())) {
            return;
        }
        let version = &release.version;
        let text = format!("{mac} has fetched firmware {version} twice and still has {current}");
        self.heard(case, Life::Withheld, &format!("firmware {version} is offered no more: fetched twice"));
        let peer = Some(case.request.peer);
        self.parts.alarms.raise(Alarm { kind: AlarmKind::FirmwareStuck, mac: Some(mac), peer, text });
    }

    fn alarm_damaged(&self, text: &str) {
        let (kind, text) = (AlarmKind::FirmwareDamaged, text.to_owned());
        self.parts.alarms.raise(Alarm { kind, mac: None, peer: None, text });
    }

    /// A firmware or language file. One of the catalog leaves only as it was brought.
    pub(super) async fn static_file(
        &self,
        request: &FileRequest,
        area: Area,
        vendor: &str,
        path: &str,
    ) -> Answer {
        let taken = self.shelf.take(area, vendor, path).await;
        let stock = self.parts.store.inventory().stock();
        let known = stock.file(vendor, path).filter(|_| area == Area::Firmware);
        match (taken, known) {
            (None, None) => Answer::NotFound,
            (None, Some((release, file))) => {
                self.alarm_damaged(&format!("{} of {} is not there", file.name, release.name()));
                Answer::NotFound
            }
            (Some(Taken { body, .. }), None) => Answer::File(body),
            (Some(Taken { sha256, .. }), Some((release, file))) if *sha256 != *file.sha256 => {
                let text = format!("{} of {} is not as it was brought", file.name, release.name());
                warn!("Refused {} to {}: {text}", request.path, request.peer);
                self.alarm_damaged(&text);
                Answer::NotFound
            }
            (Some(Taken { mut body, .. }), Some((release, file))) => {
                body.receipt = self.loading(request, &stock, release, file).await;
                Answer::File(body)
            }
        }
    }

    /// The receipt of a phone that takes the file that it was told of; anybody else's fetch is not counted.
    async fn loading(
        &self,
        request: &FileRequest,
        stock: &Stock,
        release: &Arc<Release>,
        file: &ReleaseFile,
    ) -> Option<Receipt> {
        if request.want == Want::Head || release.main() != Some(file) {
            return None;
        }
        let device = self.parts.store.inventory().device(self.who(request).await?)?;
        let had = device.firmware.clone()?;
        let profile = self.parts.catalog.get(device.vendor.as_ref()?)?;
        let Course::Planned(Plan::Step { release: next, .. }) =
            self.course(stock, profile, &device, None, Some(&had))
        else {
            return None;
        };
        if next != *release {
            return None;
        }
        let identity = Identity { mac: Some(device.mac), ..Identity::default() };
        let (mac, release) = (device.mac, Arc::clone(release));
        let loading = Loading { mac, release, had, span: 0..file.size, size: file.size };
        Some(Receipt {
            identity,
            name: file.name.clone(),
            revoked: CancellationToken::new(),
            secret: false,
            handed_out: None,
            fetched: None,
            loading: Some(Box::new(loading)),
        })
    }

    /// The phone that asks for a file that everybody may have: by its certificate, as a neighbour, or by its own word
    /// where it is being upgraded and comes through a router.
    async fn who(&self, request: &FileRequest) -> Option<Mac> {
        let (proof, interface) = self.proof(request).await;
        match (self.certified(request, interface.is_some()), proof) {
            (Some(mac), _) | (None, Proof::Neighbour(mac)) => Some(mac),
            (None, Proof::Silent) => None,
            (None, Proof::OffLink) => {
                let said = Clue::new(Source::HttpUserAgent, request.user_agent.clone()?);
                let mac = self.parts.catalog.identify(&[said]).identity.mac?;
                self.places().has(mac, self.parts.clock.instant()).then_some(mac)
            }
        }
    }

    /// A phone has taken this much of the file that it was told of.
    pub(super) fn loaded(&self, request: &FileRequest, identity: &Identity, loading: Loading) {
        let Loading { mac, release, had, span, size } = loading;
        let Some(file) = release.main() else { return };
        let mut partial = self.partial.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let complete = partial.complete(mac, &file.sha256, size, span);
        drop(partial);
        if complete {
            let outcome = format!("fetched all of {}, firmware {}", file.name, release.version);
            self.heard_of(request, identity, Life::Served, &outcome);
            self.deed(Deed::Firmware { mac, release, had });
        }
    }

    /// A name that no profile knows: a file of firmware or language by its bare name, or a line in the life of a phone of
    /// ours.
    pub(super) async fn unknown_name(
        &self,
        request: &FileRequest,
        token: Option<&str>,
        name: &str,
    ) -> Answer {
        let inventory = self.parts.store.inventory();
        let (proof, interface) = self.proof(request).await;
        let certified = self.certified(request, interface.is_some());
        let device = match (token.and_then(|token| inventory.by_token(token)), certified, proof) {
            (Some((device, _)), ..) => Some(device),
            (None, Some(mac), _) | (None, None, Proof::Neighbour(mac)) => inventory.device(mac),
            (None, None, Proof::Silent | Proof::OffLink) => None,
        };
        let Some(device) = device.filter(|device| device.approval == Approval::Approved) else {
            return Answer::NotFound;
        };
        if let Some((area, vendor, path)) = self.by_bare_name(request, &device, name).await {
            return self.static_file(request, area, &vendor, &path).await;
        }
        let identity = Identity { mac: Some(device.mac), ..Identity::default() };
        let outcome = format!("asked for {name}, which no profile knows");
        self.heard_of(request, &identity, Life::UnknownFile, &outcome);
        Answer::NotFound
    }

    /// The file of the phone's vendor that has this name: of the release that it is to have, else of the only one with
    /// such a file, else a language file, which some ask for by a folder of its own.
    async fn by_bare_name(
        &self,
        request: &FileRequest,
        device: &Device,
        name: &str,
    ) -> Option<(Area, String, String)> {
        let vendor = device.vendor.as_ref()?.as_str().to_owned();
        let stock = self.parts.store.inventory().stock();
        let has = |release: &&Arc<Release>| {
            release.vendor.as_str() == vendor
                && release.files.iter().any(|file| file.name.eq_ignore_ascii_case(name))
        };
        let profile = self.parts.catalog.get(device.vendor.as_ref()?);
        let planned = profile.and_then(|profile| {
            match self.course(&stock, profile, device, None, device.firmware.as_deref()) {
                Course::Planned(Plan::Step { release, .. }) => Some(release),
                _ => None,
            }
        });
        let mut others = stock.releases.iter().filter(has);
        let only = others.next().filter(|_| others.next().is_none()).cloned();
        if let Some(release) = planned.filter(|release| has(&release)).or(only) {
            return Some((Area::Firmware, vendor, format!("{}/{name}", release.folder())));
        }
        let steps: Vec<&str> = request.path.split('/').filter(|step| !step.is_empty()).collect();
        let folder = steps.iter().rev().nth(1).map(|folder| format!("{folder}/{name}"));
        for path in folder.into_iter().chain([name.to_owned()]) {
            if self.shelf.has(Area::Lang, &vendor, &path).await {
                return Some((Area::Lang, vendor, path));
            }
        }
        None
    }
}
