//! Which firmware a phone is told of, by its settings and the catalog; who is being upgraded in this moment; and how much
//! of a file a phone has fetched in parts. Never waits.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::device::{Device, Mac};
use crate::firmware::{Phone, Plan, Release, Stock, Wish};
use crate::profile::{FileId, LanguageFile, Profile, Scope, Subject, Supplied};
use crate::store::Inventory;

/// The setting that says what somebody wants: `latest`, `hold`, a version.
pub const FIRMWARE: &str = "firmware";
/// The setting that says which hardware revision a phone is.
pub const HARDWARE: &str = "hardware";
/// Settings that name firmware in files. Where somebody has set one of them, this agent supplies none.
pub(crate) const URLS: [&str; 3] = ["firmware_url", "firmware_dir", "firmware_version"];

/// A phone that was told of firmware counts as being upgraded for so long: twenty megabytes by a slow line, two boots.
const UPGRADING_MAX: Duration = Duration::from_mins(15);
/// Phones that are remembered as being upgraded, or as having been a while ago.
const PLACES_MAX: usize = 65_536;
/// Files that are being fetched in parts; a phone that is forgotten has to fetch all of it once more to be counted.
const PARTIAL_MAX: usize = 4_096;

/// What becomes of a phone's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// It has not said yet which one it has.
    Unknown,
    /// The files of its vendor have no place for firmware.
    NoPlace,
    /// Somebody has set this setting, which says it already.
    ByHand(&'static str),
    /// The setting is not understood.
    Misread(String),
    /// It has fetched this as often as it may, and still says what it said before.
    Stuck(Arc<Release>),
    /// By the catalog.
    Planned(Plan),
}

/// Whether this file of the profile tells a phone of its firmware: the phone's own, or of those of its model one that has a
/// word for it.
pub fn tells(profile: &Profile, file: FileId) -> bool {
    match profile.file(file).scope() {
        Scope::Device => true,
        Scope::Model => URLS.iter().any(|name| profile.file_reads_setting(file, name)),
        Scope::Site => false,
    }
}

/// Who was told of firmware and when, as far as they still have what they had then.
pub(super) fn upgrading(inventory: &Inventory) -> Vec<(Mac, Timestamp)> {
    let still = |mac: Mac, had: &str| {
        let device = inventory.device(mac);
        device.is_some_and(|device| device.firmware.as_deref().is_none_or(|firmware| firmware == had))
    };
    let stock = inventory.stock();
    let told = stock.tries.iter().filter(|(mac, tried)| still(**mac, &tried.from));
    told.map(|(mac, tried)| (*mac, tried.at)).collect()
}

/// What becomes of this phone's firmware, which says that it has `current`.
pub fn course(
    stock: &Stock,
    profile: &Profile,
    subject: &Subject<'_>,
    device: &Device,
    current: Option<&str>,
) -> Course {
    if !URLS.iter().any(|name| profile.reads_setting(name)) {
        return Course::NoPlace;
    }
    let settings = profile.settings(subject);
    let get = |name: &str| settings.get(name).map(String::as_str);
    if let Some(name) = URLS.into_iter().find(|name| settings.contains_key(*name)) {
        return Course::ByHand(name);
    }
    let wish = match get(FIRMWARE).map_or(Ok(Wish::Latest), str::parse) {
        Ok(wish) => wish,
        Err(reason) => return Course::Misread(reason),
    };
    let Some(current) = current else { return Course::Unknown };
    let printed = subject.model().unwrap_or_default();
    let (spelled, table) = (profile.model_name(printed), profile.table_name(printed));
    let models = [printed, spelled.as_str(), table.as_str()];
    let plan =
        stock.plan(profile.vendor(), &Phone { current, models: &models, hardware: get(HARDWARE) }, &wish);
    match &plan {
        Plan::Step { release, .. } if stock.is_stuck(device.mac, release, current) => {
            Course::Stuck(Arc::clone(release))
        }
        _ => Course::Planned(plan),
    }
}

/// The settings that tell a phone of a release; `base` is where it reaches this agent's files.
pub fn told(release: &Release, base: &str) -> Supplied {
    let folder = format!("{base}firmware/{}/{}", release.vendor, release.folder());
    let mut supplied = Supplied::new();
    if let Some(file) = release.main() {
        supplied.insert("firmware_url".to_owned(), format!("{folder}/{}", file.name));
    }
    supplied.insert("firmware_dir".to_owned(), folder);
    supplied.insert("firmware_version".to_owned(), release.version.as_str().to_owned());
    supplied
}

/// The settings that name the language files which are there, as paths in the vendor's folder; and what is to be told of
/// those that are not.
pub fn taught(
    wanted: &[LanguageFile],
    there: &[String],
    vendor: &str,
    base: &str,
) -> (Supplied, Vec<String>) {
    let (mut supplied, mut missing) = (Supplied::new(), Vec::new());
    for file in wanted {
        match file.among(there) {
            Some(path) => {
                supplied.insert(file.setting.to_owned(), format!("{base}lang/{vendor}/{path}"));
            }
            None if file.needed => missing.push(file.missing(vendor)),
            None => {}
        }
    }
    (supplied, missing)
}

/// The phones that are being upgraded. There are so many places; whoever finds none waits, and asks again.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Mac, Instant>);

impl Places {
    /// The places as they were before a restart, of phones that were told at these moments.
    pub(super) fn resumed(
        told: impl Iterator<Item = (Mac, Timestamp)>,
        wall: Timestamp,
        now: Instant,
    ) -> Self {
        let age = |at: Timestamp| {
            Duration::from_millis(u64::try_from(wall.0.saturating_sub(at.0)).unwrap_or_default())
        };
        let recent = told.filter(|(_, at)| age(*at) < UPGRADING_MAX * 2);
        // A host that has just booted cannot look so far back: then the place lasts longer.
        Self(recent.map(|(mac, at)| (mac, now.checked_sub(age(at)).unwrap_or(now))).collect())
    }

    /// Whether this phone may be told of its firmware now. A phone that made nothing of its place leaves it to others
    /// for as long as it had it.
    pub(super) fn take(&mut self, mac: Mac, places: usize, now: Instant) -> bool {
        let age = |since: &Instant| now.saturating_duration_since(*since);
        if let Some(since) = self.0.get(&mac) {
            if age(since) < UPGRADING_MAX {
                return true;
            }
            if age(since) < UPGRADING_MAX * 2 {
                return false;
            }
        }
        self.0.retain(|_, since| age(since) < UPGRADING_MAX * 2);
        let busy = self.0.values().filter(|since| age(since) < UPGRADING_MAX).count();
        if busy >= places || self.0.len() >= PLACES_MAX {
            return false;
        }
        self.0.insert(mac, now);
        true
    }

    /// Whether this phone has a place.
    pub(super) fn has(&self, mac: Mac, now: Instant) -> bool {
        self.0.get(&mac).is_some_and(|since| now.saturating_duration_since(*since) < UPGRADING_MAX)
    }

    /// The phone has what it is to have.
    pub(super) fn free(&mut self, mac: Mac) {
        self.0.remove(&mac);
    }
}

/// How far phones have come that fetch a file in parts, each from where the last one ended.
#[derive(Debug, Default)]
pub(super) struct Parts(HashMap<Mac, (String, u64)>);

impl Parts {
    /// Whether the phone has all of the file with this part of it.
    pub(super) fn complete(&mut self, mac: Mac, sha256: &str, size: u64, part: Range<u64>) -> bool {
        if self.0.len() >= PARTIAL_MAX && !self.0.contains_key(&mac) {
            self.0.clear();
        }
        let (of, upto) = self.0.entry(mac).or_default();
        if of != sha256 || part.start == 0 {
            sha256.clone_into(of);
            *upto = 0;
        }
        if part.start <= *upto {
            *upto = part.end.max(*upto);
        }
        let complete = *upto >= size;
        if complete {
            self.0.remove(&mac);
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    fn mac(last: u32) -> Mac {
        format!("80:5e:c0:00:{:02x}:{:02x}", last / 256, last % 256).parse().unwrap()
    }

    #[test]
    fn the_eleventh_of_eleven_phones_waits_for_a_place() {
        let clock = Clock::manual(Timestamp(0));
        let mut places = Places::default();
        for phone in 0..10 {
            assert!(places.take(mac(phone), 10, clock.instant()));
        }
        assert!(!places.take(mac(10), 10, clock.instant()));
        assert!(places.take(mac(3), 10, clock.instant()), "it keeps its own");
        places.free(mac(3));
        assert!(places.take(mac(10), 10, clock.instant()));
        assert!(!places.take(mac(3), 10, clock.instant()));
    }

    #[test]
    fn a_phone_that_does_nothing_leaves_its_place_to_others() {
        let clock = Clock::manual(Timestamp(0));
        let mut places = Places::default();
        assert!(places.take(mac(1), 1, clock.instant()));
        clock.advance(UPGRADING_MAX);
        assert!(!places.take(mac(1), 1, clock.instant()), "it rests");
        assert!(places.take(mac(2), 1, clock.instant()));
        clock.advance(UPGRADING_MAX);
        assert!(places.take(mac(1), 1, clock.instant()));
    }

    #[test]
    fn a_restart_frees_no_place() {
        let clock = Clock::manual(Timestamp(0));
        clock.advance(UPGRADING_MAX * 3);
        let told = [(mac(1), Timestamp(clock.now().0))];
        let resumed = || Places::resumed(told.into_iter(), clock.now(), clock.instant());
        assert!(!resumed().take(mac(2), 1, clock.instant()));
        assert!(resumed().take(mac(1), 1, clock.instant()), "it keeps its own");
        clock.advance(UPGRADING_MAX);
        assert!(!resumed().take(mac(1), 1, clock.instant()), "it rests");
        assert!(resumed().take(mac(2), 1, clock.instant()));
        clock.advance(UPGRADING_MAX);
        assert!(resumed().take(mac(1), 1, clock.instant()));
    }

    #[test]
    fn parts_make_a_whole_only_without_a_gap() {
        let mut parts = Parts::default();
        assert!(parts.complete(mac(1), "a", 10, 0..10));
        assert!(!parts.complete(mac(1), "a", 10, 0..4));
        assert!(!parts.complete(mac(1), "a", 10, 6..10), "a gap");
        assert!(!parts.complete(mac(1), "a", 10, 4..6));
        assert!(parts.complete(mac(1), "a", 10, 5..10));
        assert!(!parts.complete(mac(1), "a", 10, 5..10), "begun anew");
        assert!(!parts.complete(mac(1), "a", 10, 0..9));
        assert!(!parts.complete(mac(1), "b", 10, 9..10), "another file");
    }
}
