//! The firmware catalog as people use it: releases are brought, listed, removed and looked at, and each phone says what it
//! would get next, and why not.

mod bring;

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::Failure;
use super::fleet::Fleet;
use crate::device::{Approval, Device, Layer, Mac, Vendor};
use crate::firmware::{Plan, Release, ReleaseFile, Version};
use crate::profile::{Supplied, laid_settings};
use crate::provision::{Course, HARDWARE, course, taught, told};

pub(crate) use bring::{NewRelease, brought, digest_of, file_name, refused_by_disk, remove};

/// The folder of all firmware below that of the static files.
pub(super) const FOLDER: &str = "firmware";

/// A release of a listing.
#[derive(Debug, Serialize)]
pub(crate) struct ReleaseShown {
    /// `VENDOR/VERSION/FILE`
    pub(crate) release: String,
    vendor: Vendor,
    version: Version,
    models: Vec<String>,
    hardware: Option<String>,
    minimum: Option<Version>,
    files: Vec<ReleaseFile>,
}

impl ReleaseShown {
    pub(crate) fn new(release: &Release) -> Self {
        Self {
            release: release.name(),
            vendor: release.vendor.clone(),
            version: release.version.clone(),
            models: release.models.clone(),
            hardware: release.hardware.clone(),
            minimum: release.minimum.clone(),
            files: release.files.clone(),
        }
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let size: u64 = self.files.iter().map(|file| file.size).sum();
        vec![
            self.release.clone(),
            self.version.to_string(),
            self.models.join(","),
            dash(self.hardware.as_deref()),
            dash(self.minimum.as_ref().map(Version::as_str)),
            self.files.len().to_string(),
            size.to_string(),
        ]
    }
}

/// How a file of the catalog is.
#[derive(Debug, Serialize)]
pub(crate) struct FileCheck {
    release: String,
    file: String,
    /// `ok`, `missing`, `damaged`, `unreadable`
    pub(crate) state: &'static str,
}

/// What a phone has, and gets next.
#[derive(Debug, Serialize)]
pub(crate) struct PhoneCheck {
    mac: Mac,
    vendor: Option<Vendor>,
    model: Option<String>,
    firmware: Option<String>,
    /// Its hardware revision, where somebody or its profile has said it, and in which layer.
    hardware: Option<String>,
    hardware_from: Option<Layer>,
    /// `up_to_date`, `step`, `held`, `blocked`, `stuck`, `no_release`, `by_hand`, `no_place`, `unknown`
    pub(crate) state: &'static str,
    /// The release that it gets next.
    next: Option<String>,
    /// The versions after that.
    then: Vec<Version>,
    /// Why it gets none.
    why: Option<String>,
}

impl PhoneCheck {
    pub(crate) fn cells(&self) -> Vec<String> {
        let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let then: Vec<&str> = self.then.iter().map(Version::as_str).collect();
        let mut next = dash(self.next.as_deref());
        if !then.is_empty() {
            next = format!("{next}, then {}", then.join(", "));
        }
        vec![
            self.mac.to_string(),
            dash(self.vendor.as_ref().map(Vendor::as_str)),
            dash(self.model.as_deref()),
            dash(self.firmware.as_deref()),
            match (&self.hardware, self.hardware_from) {
                (Some(hardware), Some(layer)) => format!("{hardware} ({})", layer.as_str()),
                _ => dash(None),
            },
            self.state.replace('_', " "),
            next,
            self.why.clone().unwrap_or_default(),
        ]
    }
}

/// All that is looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) files: Vec<FileCheck>,
    pub(crate) phones: Vec<PhoneCheck>,
}

impl Check {
    /// Whether every file is as it was brought.
    pub(crate) fn is_sound(&self) -> bool {
        self.files.iter().all(|file| file.state == "ok")
    }

    /// For a person.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = String> {
        let bad = self.files.iter().filter(|file| file.state != "ok");
        bad.map(|file| format!("{} of {} is {}", file.file, file.release, file.state))
    }
}

impl Fleet<'_> {
    /// Every release, by name.
    pub(crate) fn releases(&self) -> Vec<ReleaseShown> {
        self.store.inventory().stock().releases.iter().map(|release| ReleaseShown::new(release)).collect()
    }

    /// Reads every file of the catalog, and looks what these phones get next; all that are served where none is named.
    pub(crate) async fn check_firmware(&self, macs: &[Mac]) -> Result<Check, Failure> {
        let mut devices = Vec::new();
        for mac in macs {
            devices.push(super::view::known(self.store, *mac).await?);
        }
        if macs.is_empty() {
            devices = self.store.inventory().devices();
            devices.retain(|device| device.approval == Approval::Approved);
        }
        let phones = devices.iter().map(|device| self.phone_check(device)).collect();
        let mut files = Vec::new();
        for release in &self.store.inventory().stock().releases {
            for file in &release.files {
                let path = place(self.files, release, &file.name);
                let state = match digest_of(path).await {
                    Ok(digest) if digest == file.sha256 => "ok",
                    Ok(_) => "damaged",
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => "missing",
                    Err(_) => "unreadable",
                };
                files.push(FileCheck { release: release.name(), file: file.name.clone(), state });
            }
        }
        Ok(Check { files, phones })
    }

    fn phone_check(&self, device: &Device) -> PhoneCheck {
        let mut check = PhoneCheck {
            mac: device.mac,
            vendor: device.vendor.clone(),
            model: device.model.clone(),
            firmware: device.firmware.clone(),
            hardware: None,
            hardware_from: None,
            state: "unknown",
            next: None,
            then: Vec::new(),
            why: None,
        };
        if let Some((hardware, layer)) = self.hardware(device) {
            (check.hardware, check.hardware_from) = (Some(hardware), Some(layer));
        }
        let course = self.course(device);
        (check.state, check.why) = match course {
            None => ("no_place", Some("no profile knows its vendor".to_owned())),
            Some(Course::NoPlace) => {
                ("no_place", Some("the files of its vendor name no firmware".to_owned()))
            }
            Some(Course::Unknown) => ("unknown", Some("it has not said yet what it has".to_owned())),
            Some(Course::ByHand(name)) => ("by_hand", Some(format!("{name} is set"))),
            Some(Course::Misread(reason)) => ("blocked", Some(reason)),
            Some(Course::Stuck(release)) => {
                let why =
                    format!("it has fetched {} twice and has not changed; firmware retry", release.name());
                ("stuck", Some(why))
            }
            Some(Course::Planned(Plan::NoRelease)) => ("no_release", None),
            Some(Course::Planned(Plan::UpToDate)) => ("up_to_date", None),
            Some(Course::Planned(Plan::Held)) => ("held", None),
            Some(Course::Planned(Plan::Blocked(obstacle))) => ("blocked", Some(obstacle.to_string())),
            Some(Course::Planned(Plan::Step { release, then })) => {
                check.next = Some(release.name());
                check.then = then;
                ("step", None)
            }
        };
        check
    }

    /// The phone's hardware revision, where somebody or its profile has said it.
    fn hardware(&self, device: &Device) -> Option<(String, Layer)> {
        let commons = self.store.inventory().commons();
        let laid = laid_settings(self.profile(device).map(AsRef::as_ref), &self.subject(device, &commons));
        let hardware = laid.into_iter().find(|laid| laid.name == HARDWARE)?;
        Some((hardware.value?, hardware.layer))
    }

    /// Why a phone does not get the firmware that is there for it, if a person can do something about it.
    pub(crate) fn firmware_note(&self, device: &Device) -> Option<String> {
        let check = self.phone_check(device);
        let why = check.why.filter(|_| matches!(check.state, "blocked" | "stuck"))?;
        Some(format!("firmware: {why}"))
    }

    /// What becomes of a phone's firmware; `None` where no profile knows its vendor.
    fn course(&self, device: &Device) -> Option<Course> {
        let inventory = self.store.inventory();
        let (profile, commons) = (self.profile(device)?, inventory.commons());
        let subject = self.subject(device, &commons);
        Some(course(&inventory.stock(), profile, &subject, device, device.firmware.as_deref()))
    }

    /// The settings that name what the agent serves for a phone, if nobody has to wait; `base` is where the phone reaches
    /// the agent's files. With what is to be told of what is not there.
    pub(crate) fn supplied(&self, device: &Device, base: &str) -> (Supplied, Vec<String>) {
        let Some(profile) = self.profile(device) else { return Default::default() };
        let commons = self.store.inventory().commons();
        let wanted = profile.language_files(&self.subject(device, &commons));
        let vendor = profile.vendor().as_str();
        let there =
            if wanted.is_empty() { Vec::new() } else { paths_below(&self.files.join("lang").join(vendor)) };
        let (mut supplied, missing) = taught(&wanted, &there, vendor, base);
        supplied.extend(self.told_firmware(device, base));
        (supplied, missing)
    }

    /// Those of its firmware alone.
    pub(crate) fn told_firmware(&self, device: &Device, base: &str) -> Supplied {
        match self.course(device) {
            Some(Course::Planned(Plan::Step { release, .. })) if self.has_file(&release) => {
                told(&release, base)
            }
            _ => Supplied::new(),
        }
    }

    fn has_file(&self, release: &Arc<Release>) -> bool {
        release.main().is_some_and(|file| place(self.files, release, &file.name).is_file())
    }
}

/// Where a file of a release lies.
fn place(files: &Path, release: &Release, name: &str) -> std::path::PathBuf {
    files.join(FOLDER).join(release.vendor.as_str()).join(release.folder()).join(name)
}

/// The files of a folder and of the folders in it: `NAME` and `FOLDER/NAME`.
fn paths_below(folder: &Path) -> Vec<String> {
    let names = |folder: &Path| -> Vec<(String, bool)> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let named =
            entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path().is_dir())));
        named.collect()
    };
    let mut paths = Vec::new();
    for (name, is_folder) in names(folder) {
        if is_folder {
            let below = names(&folder.join(&name)).into_iter().filter(|(_, is_folder)| !is_folder);
            paths.extend(below.map(|(file, _)| format!("{name}/{file}")));
        } else {
            paths.push(name);
        }
    }
    paths.sort();
    paths
}
