//! All profiles together: which of them a clue or a file name speaks for. Loaded once; reading it takes no lock and
//! compiles nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use regex::{RegexSet, RegexSetBuilder};

use super::build::Draft;
use super::error::ProfileError;
use super::identify::{self, Clue, Identified, RANGE_CONFIDENCE, ReadClue};
use super::origin::Origin;
use super::range::MacRange;
use super::recogniser::{
    CLUE_BYTES_MAX, PATTERN_BYTES_MAX, Reading, addresses, event_words, model_name, uri_mac,
};
use super::{FileId, Profile};
use crate::device::{Mac, Source, Vendor};

/// Every profile, ready to recognise and render.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    profiles: BTreeMap<Vendor, Arc<Profile>>,
    readers: BTreeMap<Source, Reader>,
    /// Smallest first: of nested ranges the innermost says most.
    ranges: Vec<(MacRange, Arc<Profile>)>,
}

/// All patterns for one source, tried together.
#[derive(Debug, Clone)]
struct Reader {
    set: RegexSet,
    /// Profile and number of its recogniser, in the set's order.
    owners: Vec<(Arc<Profile>, usize)>,
}

/// A profile's file that a file name fits.
#[derive(Debug, Clone)]
pub struct Requested {
    /// Whose file.
    pub profile: Arc<Profile>,
    /// Which file.
    pub file: FileId,
    /// The MAC in the name.
    pub mac: Option<Mac>,
    /// The model in the name, or the only one whose common file it is.
    pub model: Option<String>,
    /// How much the name alone says about the vendor.
    weight: u8,
}

impl Catalog {
    /// The profiles that came with the program.
    pub fn builtin() -> Result<Self, Vec<ProfileError>> {
        let (catalog, errors) = Self::load(None);
        if errors.is_empty() { Ok(catalog) } else { Err(errors) }
    }

    /// The profiles that came with the program, and those of a folder over them. A broken one is reported and left
    /// out; a built-in profile of the same name stays.
    pub fn load(dir: Option<&Path>) -> (Self, Vec<ProfileError>) {
        let (mut profiles, mut errors) = profiles_of(&Origin::BuiltIn, &BTreeMap::new());
        if let Some(dir) = dir {
            let (own, found) = profiles_of(&Origin::Folder(dir.to_owned()), &profiles);
            profiles.extend(own);
            errors.extend(found);
        }
        (Self::of(profiles), errors)
    }

    /// The profiles of one origin alone; `load`ed ones may be extended.
    pub(super) fn of_origin(origin: &Origin) -> (Self, Vec<ProfileError>) {
        let (builtin, _) = match origin {
            Origin::BuiltIn => (BTreeMap::new(), Vec::new()),
            Origin::Folder(_) => profiles_of(&Origin::BuiltIn, &BTreeMap::new()),
        };
        let (profiles, errors) = profiles_of(origin, &builtin);
        (Self::of(profiles), errors)
    }

    fn of(profiles: BTreeMap<Vendor, Arc<Profile>>) -> Self {
        let mut patterns: BTreeMap<Source, (Vec<&str>, Vec<(Arc<Profile>, usize)>)> = BTreeMap::new();
        for profile in profiles.values() {
            for (number, recogniser) in profile.recognisers.iter().enumerate() {
                let (texts, owners) = patterns.entry(recogniser.source).or_default();
                texts.push(recogniser.regex.as_str());
                owners.push((Arc::clone(profile), number));
            }
        }
        let readers = patterns.into_iter().filter_map(|(source, (texts, owners))| {
            // Each pattern is limited on its own, so a set of them cannot be refused for another reason than its size,
            // and the limit grows with their number.
            let limit = PATTERN_BYTES_MAX.saturating_mul(texts.len().max(1)).saturating_mul(2);
            let set = RegexSetBuilder::new(texts)
                .case_insensitive(true)
                .size_limit(limit)
                .dfa_size_limit(limit)
                .build()
                .ok()?;
            Some((source, Reader { set, owners }))
        });
        let readers = readers.collect();
        let owned = |profile: &Arc<Profile>| {
            profile.ranges.iter().map(|range| (*range, Arc::clone(profile))).collect::<Vec<_>>()
        };
        let mut ranges: Vec<_> = profiles.values().flat_map(owned).collect();
        ranges.sort_by_key(|(range, _)| range.size());
        Self { profiles, readers, ranges }
    }

    /// Every profile, by vendor.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.profiles.values()
    }

    /// The profile of a vendor.
    pub fn get(&self, vendor: &Vendor) -> Option<&Arc<Profile>> {
        self.profiles.get(vendor)
    }

    /// The vendor in whose range the address lies, the innermost range deciding: a hint, never an identity.
    pub fn range_owner(&self, mac: Mac) -> Option<&Arc<Profile>> {
        self.ranges.iter().find(|(range, _)| range.covers(mac)).map(|(_, profile)| profile)
    }

    /// Votes on which phone this is.
    ///
    /// 1. Each clue is read by every profile's patterns for its source; the Event header, the URI's MAC and file names
    ///    are also read by rule, without patterns.
    /// 2. The MAC that wins adds the hint of the range it lies in.
    /// 3. A vendor for which nothing but a range speaks is no identity.
    pub fn identify(&self, clues: &[Clue]) -> Identified {
        let mut read: Vec<ReadClue> = clues.iter().flat_map(|clue| self.read(clue)).collect();
        let ranged = read.iter().any(|clue| clue.source == Source::Oui && clue.vendor.is_some());
        if !ranged && let Some(mac) = identify::elect_mac(&read) {
            let hint = self.range_hint(mac);
            read.extend(hint.vendor.is_some().then_some(hint));
        }
        identify::elect(read)
    }

    /// Every profile's file that this file name (without folders and query) fits, in any case. Within a profile only
    /// the files that fit best: `snom{model}-{MAC}.htm` before `snom{model}.htm`.
    pub fn requested(&self, name: &str) -> Vec<Requested> {
        let mut found = Vec::new();
        for profile in self.profiles.values() {
            let fitting: Vec<_> = profile
                .files()
                .filter_map(|(id, file)| Some((id, file, file.path.recognise(name)?)))
                .collect();
            let best = fitting.iter().map(|(_, file, _)| file.path.fixed_bytes()).max().unwrap_or_default();
            for (id, file, values) in fitting {
                let common = values.common.as_deref();
                let mut sharing = common
                    .into_iter()
                    .flat_map(|common| profile.models.with_common(common))
                    .map(|model| &model.name);
                let one = sharing.next();
                // A {common} fits everything; it is a name only when a model has it.
                if file.path.fixed_bytes() < best || (common.is_some() && one.is_none()) {
                    continue;
                }
                let model = match (&values.model, one, sharing.next()) {
                    (Some(printed), _, _) => Some(canonical(profile, printed)),
                    (None, Some(one), None) => Some(one.clone()),
                    (None, _, _) => None,
                };
                let weight = self.name_weight(profile, id, values.mac, common.is_some());
                found.push(Requested {
                    profile: Arc::clone(profile),
                    file: id,
                    mac: values.mac,
                    model,
                    weight,
                });
            }
        }
        found
    }

    /// How much a file name says about the vendor: much when the name is the vendor's own, or the MAC in it lies in
    /// the vendor's range; `805ec0aabbcc.cfg` alone says next to nothing.
    fn name_weight(&self, profile: &Arc<Profile>, file: FileId, mac: Option<Mac>, common: bool) -> u8 {
        let own_range =
            mac.and_then(|mac| self.range_owner(mac)).is_some_and(|owner| Arc::ptr_eq(owner, profile));
        let pattern = profile.file(file).path.to_string();
        let stem = pattern.rsplit_once('.').map_or(pattern.as_str(), |(stem, _)| stem);
        let own_letters =
            stem.split(['{', '}']).step_by(2).flat_map(str::chars).filter(char::is_ascii_alphanumeric);
        if own_range || common || own_letters.count() >= 4 {
            identify::weight(Source::HttpPath, true)
        } else {
            identify::weight(Source::HttpPath, true) / 5
        }
    }

    /// What one clue says to each profile it speaks to.
    fn read(&self, clue: &Clue) -> Vec<ReadClue> {
        let text = shortened(&clue.text);
        let mut read = self.read_by_patterns(clue.source, text);
        match clue.source {
            Source::Oui => {
                if let Ok(mac) = text.trim().parse() {
                    read.push(self.range_hint(mac));
                }
            }
            Source::SipUri => {
                if let Some(mac) = uri_mac(text).filter(|_| read.iter().all(|clue| clue.mac.is_none())) {
                    read.push(ReadClue { mac: Some(mac), ..silent(clue.source, text) });
                }
            }
            Source::SipEvent => read.extend(self.read_event(text, &read)),
            Source::HttpPath | Source::TftpPath => read.extend(self.read_path(clue.source, text)),
            Source::SipUserAgent | Source::HttpUserAgent | Source::DhcpVendorClass => {}
        }
        // A phone that is known by its words may write its address where the pattern does not look.
        let stray = addresses(text).find(|mac| self.range_owner(*mac).is_some());
        for clue in read.iter_mut().filter(|clue| clue.mac.is_none()) {
            clue.mac = stray;
        }
        read
    }

    fn read_by_patterns(&self, source: Source, text: &str) -> Vec<ReadClue> {
        let Some(reader) = self.readers.get(&source) else { return Vec::new() };
        let matching = reader.set.matches(text);
        let read = matching.iter().filter_map(|number| {
            let (profile, number) = reader.owners.get(number)?;
            let recogniser = profile.recognisers.get(*number)?;
            let reading = recogniser.read(text, profile.names())?;
            let confidence =
                recogniser.confidence.unwrap_or_else(|| identify::weight(source, reading.model.is_some()));
            Some(said(profile, source, text, reading, confidence))
        });
        read.collect()
    }

    /// The standard parameters of an Event header, for a vendor that no pattern of its own has read them for. An
    /// unknown vendor's model and version are worth showing, too.
    fn read_event(&self, text: &str, already: &[ReadClue]) -> Option<ReadClue> {
        let words = event_words(text);
        let vendor = words.vendor?;
        let names = |profile: &&Arc<Profile>| profile.names().iter().any(|name| same_name(name, vendor));
        let Some(profile) = self.profiles.values().find(names) else {
            let reading = ReadClue {
                model: words.model.and_then(|model| model_name(model, [vendor, vendor])),
                firmware: words.version.map(str::to_owned),
                ..silent(Source::SipEvent, text)
            };
            return already.is_empty().then_some(reading);
        };
        if already.iter().any(|clue| clue.vendor.as_ref() == Some(&profile.vendor) && clue.model.is_some()) {
            return None;
        }
        let model = words.model.and_then(|model| model_name(model, profile.names()));
        let confidence = identify::weight(Source::SipEvent, model.is_some());
        let reading = Reading { model, firmware: words.version.map(str::to_owned), mac: None };
        Some(said(profile, Source::SipEvent, text, reading, confidence))
    }

    fn read_path(&self, source: Source, text: &str) -> Vec<ReadClue> {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let mut read: Vec<ReadClue> = Vec::new();
        for requested in self.requested(name) {
            let reading = Reading { model: requested.model, firmware: None, mac: requested.mac };
            read.push(said(&requested.profile, source, text, reading, requested.weight));
        }
        if read.is_empty()
            && let Some(mac) = addresses(path).find(|mac| self.range_owner(*mac).is_some())
        {
            read.push(ReadClue { mac: Some(mac), ..silent(source, text) });
        }
        read
    }

    fn range_hint(&self, mac: Mac) -> ReadClue {
        let owner = self.range_owner(mac);
        ReadClue {
            vendor: owner.map(|profile| profile.vendor.clone()),
            mac: Some(mac),
            confidence: if owner.is_some() { RANGE_CONFIDENCE } else { 0 },
            ..silent(Source::Oui, &mac.to_string())
        }
    }
}

/// Reads and builds every profile of an origin; those that extend another come second.
fn profiles_of(
    origin: &Origin,
    others: &BTreeMap<Vendor, Arc<Profile>>,
) -> (BTreeMap<Vendor, Arc<Profile>>, Vec<ProfileError>) {
    let (folders, mut errors) = origin.read();
    let mut drafts = Vec::new();
    for files in &folders {
        match Draft::read(files) {
            Ok(draft) => drafts.push(draft),
            Err(error) => errors.push(error),
        }
    }
    drafts.sort_by_key(|draft| draft.extends().is_some());
    let mut profiles: BTreeMap<Vendor, Arc<Profile>> = BTreeMap::new();
    for draft in drafts {
        let parent =
            draft.extends().and_then(|name| profiles.get(&name).or_else(|| others.get(&name)).cloned());
        match draft.build(parent.as_deref()) {
            Ok(profile) => {
                profiles.insert(profile.vendor.clone(), Arc::new(profile));
            }
            Err(found) => errors.extend(found),
        }
    }
    (profiles, errors)
}

/// A clue as read for one profile, the model by the name that the profile gives it.
fn said(profile: &Profile, source: Source, text: &str, reading: Reading, confidence: u8) -> ReadClue {
    ReadClue {
        vendor: Some(profile.vendor.clone()),
        model: reading.model.map(|printed| canonical(profile, &printed)),
        firmware: reading.firmware,
        mac: reading.mac,
        confidence,
        ..silent(source, text)
    }
}

fn silent(source: Source, text: &str) -> ReadClue {
    ReadClue {
        source,
        text: text.to_owned(),
        vendor: None,
        model: None,
        firmware: None,
        mac: None,
        confidence: 0,
    }
}

fn canonical(profile: &Profile, printed: &str) -> String {
    profile.model(printed).map_or_else(|| printed.to_owned(), |model| model.name.clone())
}

/// Whether two names are one but for case, blanks and punctuation.
fn same_name(one: &str, other: &str) -> bool {
    let letters = |name: &str| {
        let kept = name.chars().filter(|c| c.is_alphanumeric());
        kept.flat_map(char::to_lowercase).collect::<String>()
    };
    !letters(one).is_empty() && letters(one) == letters(other)
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(CLUE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
