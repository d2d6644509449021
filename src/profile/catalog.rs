//! All profiles together: which of them a clue or a file name speaks for. Loaded once; reading it takes no lock and
//! compiles nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use regex::{RegexSet, RegexSetBuilder};

use super::build::Draft;
use super::dhcp::class_text;
use super::error::ProfileError;
use super::identify::{self, Clue, Identified, RANGE_CONFIDENCE, ReadClue};
use super::origin::{Origin, VendorFiles};
use super::page::{PAGES_MAX, Page, path_and_words};
use super::range::MacRange;
use super::recogniser::{
    CLUE_BYTES_MAX, PATTERN_BYTES_MAX, Reading, addresses, event_words, model_name, uri_mac,
};
use super::{FileId, Profile, Scope};
use crate::device::{Mac, Source, Vendor};

/// Every profile, ready to recognise and render.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    profiles: BTreeMap<Vendor, Arc<Profile>>,
    readers: BTreeMap<Source, Reader>,
    /// Smallest first: of nested ranges the innermost says most. Those of one size together, by their first address.
    ranges: Vec<Vec<(MacRange, Arc<Profile>)>>,
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

    /// Whether a phone that calls itself so by HTTP drops an answer without `Last-Modified` and `Connection: close`.
    pub fn wants_dated(&self, user_agent: &str) -> bool {
        self.profiles().any(|profile| profile.dated.iter().any(|pattern| pattern.is_match(user_agent)))
    }

    /// The profiles of one origin alone, which may extend built-in ones.
    pub(super) fn of_origin(origin: &Origin) -> (Self, Vec<ProfileError>) {
        let (builtin, _) = match origin {
            Origin::BuiltIn => (BTreeMap::new(), Vec::new()),
            Origin::Folder(_) => profiles_of(&Origin::BuiltIn, &BTreeMap::new()),
        };
        let (profiles, errors) = profiles_of(origin, &builtin);
        (Self::of(profiles), errors)
    }

    /// The profiles of these folders alone.
    #[cfg(test)]
    pub(super) fn of_folders(folders: &[VendorFiles]) -> (Self, Vec<ProfileError>) {
        let (profiles, errors) = build_all(folders, &BTreeMap::new());
        (Self::of(profiles), errors)
    }

    fn of(profiles: BTreeMap<Vendor, Arc<Profile>>) -> Self {
        let mut owners: BTreeMap<Source, Vec<(Arc<Profile>, usize)>> = BTreeMap::new();
        for profile in profiles.values() {
            for (number, recogniser) in profile.recognisers.iter().enumerate() {
                owners.entry(recogniser.source).or_default().push((Arc::clone(profile), number));
            }
        }
        let pattern = |(profile, number): &(Arc<Profile>, usize)| {
            profile.recognisers.get(*number).map_or_else(String::new, |found| found.regex.as_str().to_owned())
        };
        let readers = owners.into_iter().filter_map(|(source, owners)| {
            let texts: Vec<String> = owners.iter().map(pattern).collect();
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
        ranges.sort_by_key(|(range, _)| (range.size(), range.first()));
        let ranges = ranges.chunk_by(|(one, _), (other, _)| one.size() == other.size());
        let ranges = ranges.map(<[_]>::to_vec).collect();
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
        self.ranges.iter().find_map(|same| {
            let behind = same.partition_point(|(range, _)| range.first() <= mac.as_u64());
            let (range, _) = same.get(behind.checked_sub(1)?).filter(|(range, _)| range.covers(mac))?;
            // Where two vendors claim one, the first of them.
            let at = same.partition_point(|(other, _)| other.first() < range.first());
            same.get(at).map(|(_, profile)| profile)
        })
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
        identify::elect(read, |vendor, one, other| self.is_same_model(vendor, one, other))
    }

    /// Which phone a DHCP client is, by its option 60 as it stands in the packet and its address. Without a vendor class
    /// that a profile knows there is no identity, whatever the address says.
    pub fn identify_client(&self, class: Option<&[u8]>, mac: Mac) -> Identified {
        let class = class.map(|octets| Clue::new(Source::DhcpVendorClass, class_text(octets)));
        let address = Clue::new(Source::Oui, mac.to_string());
        self.identify(&class.into_iter().chain([address]).collect::<Vec<_>>())
    }

    /// Whether two printed names are one model's, aliases included.
    fn is_same_model(&self, vendor: Option<&Vendor>, one: &str, other: &str) -> bool {
        let name = |printed: &str| Some(self.get(vendor?)?.model(printed)?.name.as_str());
        one.eq_ignore_ascii_case(other) || name(one).is_some_and(|model| name(other) == Some(model))
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
                // So does a {model}: `snomD785-firmware.htm` is another file, not the one of a model "D785-firmware". An
                // unknown model is one word.
                let stranger = values
                    .model
                    .as_deref()
                    .is_some_and(|printed| printed.contains(['-', '.']) && profile.model(printed).is_none());
                if file.scope == Scope::Model && stranger {
                    continue;
                }
                let model = match (&values.model, one, sharing.next()) {
                    (Some(printed), _, _) => Some(profile.spelling(printed).to_owned()),
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
    /// the vendor's range; `805ec0aabbcc.cfg` alone says next to nothing, and so does a name that is another maker's,
    /// whose phones this vendor sells.
    fn name_weight(&self, profile: &Arc<Profile>, file: FileId, mac: Option<Mac>, common: bool) -> u8 {
        let own_range =
            mac.and_then(|mac| self.range_owner(mac)).is_some_and(|owner| Arc::ptr_eq(owner, profile));
        let file = profile.file(file);
        let pattern = file.path.to_string();
        let stem = pattern.rsplit_once('.').map_or(pattern.as_str(), |(stem, _)| stem);
        let own_letters =
            stem.split(['{', '}']).step_by(2).flat_map(str::chars).filter(char::is_ascii_alphanumeric);
        if own_range || (!file.inherited && (common || own_letters.count() >= 4)) {
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
            Source::HttpPage => read.extend(self.read_page(text)),
            Source::SipUserAgent
            | Source::HttpUserAgent
            | Source::HttpTitle
            | Source::HttpRealm
            | Source::HttpServer
            | Source::TlsSubject
            | Source::MdnsHost
            | Source::MdnsService
            | Source::DhcpVendorClass => {}
        }
        // A phone that is known by its words may write its address where the pattern does not look.
        if read.iter().any(|clue| clue.mac.is_none()) {
            let stray = addresses(text).find(|mac| self.range_owner(*mac).is_some());
            for clue in &mut read {
                clue.mac = clue.mac.or(stray);
            }
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

    /// The standard parameters of an Event header, for a vendor that no pattern of its own has read them for. A phone
    /// of an unknown vendor, or of none, is worth showing by its model and version, too.
    fn read_event(&self, text: &str, already: &[ReadClue]) -> Option<ReadClue> {
        let words = event_words(text);
        let firmware = words.version.map(str::to_owned);
        let vendor = words.vendor.unwrap_or_default();
        let named = |profile: &&Arc<Profile>| profile.names().iter().any(|name| same_name(name, vendor));
        let Some(profile) = self.profiles.values().find(named) else {
            let model = words.model.and_then(|model| model_name(model, [vendor, vendor]));
            let says_something = already.is_empty() && (model.is_some() || firmware.is_some());
            return says_something.then(|| ReadClue { model, firmware, ..silent(Source::SipEvent, text) });
        };
        if already.iter().any(|clue| clue.vendor.as_ref() == Some(&profile.vendor) && clue.model.is_some()) {
            return None;
        }
        let model = words.model.and_then(|model| model_name(model, profile.names()));
        let confidence = identify::weight(Source::SipEvent, model.is_some());
        Some(said(profile, Source::SipEvent, text, Reading { model, firmware, mac: None }, confidence))
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

    /// What the words of a page say to each profile that has a page of this path.
    fn read_page(&self, text: &str) -> Vec<ReadClue> {
        let (path, words) = path_and_words(text);
        let mut read = Vec::new();
        for profile in self.profiles.values() {
            for page in profile.pages.iter().filter(|page| page.path == path) {
                for (recogniser, reading) in page.read(words, profile.names()) {
                    let usual = || identify::weight(Source::HttpPage, reading.model.is_some());
                    let confidence = recogniser.confidence.unwrap_or_else(usual);
                    read.push(said(profile, Source::HttpPage, text, reading, confidence));
                }
            }
        }
        read
    }

    /// Every vendor's page of this path: an answer to `GET /` may be one, without having been asked for.
    pub fn pages_at(&self, path: &str) -> impl Iterator<Item = &Page> {
        self.profiles.values().flat_map(|profile| &profile.pages).filter(move |page| page.path == path)
    }

    /// The pages to ask of a host that looks like a vendor's phone, at most [`PAGES_MAX`]: where a vendor is elected its
    /// own, else those of every vendor that a clue hints at. None when model and firmware are known.
    pub fn pages(&self, found: &Identified) -> Vec<&Page> {
        let identity = &found.identity;
        if identity.model.is_some() && identity.firmware.is_some() {
            return Vec::new();
        }
        let elected = identity.vendor.as_ref();
        let mut hinted: Vec<&ReadClue> = found.clues.iter().filter(|clue| clue.vendor.is_some()).collect();
        hinted.sort_by_key(|clue| std::cmp::Reverse(clue.confidence));
        let hinted = hinted.into_iter().filter_map(|clue| clue.vendor.as_ref()).filter(|_| elected.is_none());
        let mut pages: Vec<&Page> = Vec::new();
        for profile in elected.into_iter().chain(hinted).filter_map(|vendor| self.get(vendor)) {
            let own = profile.pages.iter().filter(|page| page.is_of(profile, identity.model.as_deref()));
            for page in own {
                if !pages.iter().any(|other| other.path == page.path) {
                    pages.push(page);
                }
            }
        }
        pages.truncate(PAGES_MAX);
        pages
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
    let (profiles, found) = build_all(&folders, others);
    errors.extend(found);
    (profiles, errors)
}

fn build_all(
    folders: &[VendorFiles],
    others: &BTreeMap<Vendor, Arc<Profile>>,
) -> (BTreeMap<Vendor, Arc<Profile>>, Vec<ProfileError>) {
    let mut errors = Vec::new();
    let mut drafts = Vec::new();
    for files in folders {
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

/// A clue as read for one profile, the model spelled as the profile spells it.
fn said(profile: &Profile, source: Source, text: &str, reading: Reading, confidence: u8) -> ReadClue {
    ReadClue {
        vendor: Some(profile.vendor.clone()),
        model: reading.model.map(|printed| profile.spelling(&printed).to_owned()),
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

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn catalog() -> Catalog {
        let (catalog, errors) = Catalog::of_folders(&fixture::vendors());
        assert_eq!(errors, []);
        catalog
    }

    /// `vendor model firmware mac`, with `-` for what is not known.
    fn told(found: &Identified) -> String {
        let identity = &found.identity;
        let words = [
            identity.vendor.as_ref().map(ToString::to_string),
            identity.model.clone(),
            identity.firmware.clone(),
            identity.mac.map(Mac::bare),
        ];
        words.map(|word| word.unwrap_or_else(|| "-".to_owned())).join(" ")
    }

    fn check(
        clues: &[(Source, &str)],
        expected: &str,
        confidence: std::ops::RangeInclusive<u8>,
    ) -> Identified {
        let clues: Vec<Clue> = clues.iter().map(|(source, text)| Clue::new(*source, *text)).collect();
        let found = catalog().identify(&clues);
        assert_eq!(told(&found), expected, "{clues:?} {found:#?}");
        assert!(confidence.contains(&found.confidence), "{clues:?} {found:#?}");
        found
    }

    const EVENT: Source = Source::SipEvent;

    #[test]
    fn a_user_agent_says_it_all() {
        let agent = "Yealink SIP-T46U 108.86.0.90 80:5e:c0:aa:bb:cc";
        check(&[(Source::HttpUserAgent, agent)], "yealink T46U 108.86.0.90 805ec0aabbcc", 95..=100);
        let unknown_model = "Yealink SIP-T99X 199.1.0.1 00:15:65:00:00:01";
        check(&[(Source::HttpUserAgent, unknown_model)], "yealink T99X 199.1.0.1 001565000001", 95..=100);
        let stranger = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0";
        check(&[(Source::HttpUserAgent, stranger)], "- - - -", 0..=0);
    }

    #[test]
    fn a_subscribe_is_read_from_event_uri_and_user_agent() {
        let found = check(
            &[
                (
                    EVENT,
                    r#"ua-profile;profile-type="device";vendor="Yealink";model="T21D";version="34.72.14.6""#,
                ),
                (Source::SipUri, "MAC0015657322ff"),
                (Source::SipUserAgent, "Yealink SIP-T21P 34.72.14.6"),
            ],
            "yealink T21P 34.72.14.6 0015657322ff",
            95..=100,
        );
        assert_eq!(found.contradictions, [""; 0], "an alias is no contradiction");
        let event = r#"ua-profile;profile-type="device";vendor="snom";model="snomD120";version="10.1.39.11""#;
        check(
            &[(EVENT, event), (Source::SipUri, "MAC%3a00041382271b")],
            "snom D120 10.1.39.11 00041382271b",
            60..=90,
        );
        check(&[(EVENT, &event.to_lowercase())], "snom d120 10.1.39.11 -", 60..=60);
    }

    #[test]
    fn a_range_alone_is_a_hint_and_no_identity() {
        let found = check(&[(Source::Oui, "00:15:65:00:00:01")], "- - - 001565000001", 20..=20);
        assert_eq!(found.clues.first().and_then(|clue| clue.vendor.clone()), Some(Vendor::new("yealink")));
        check(&[(Source::Oui, "0c:38:3e:00:00:01")], "- - - 0c383e000001", 0..=0);
        check(&[(Source::SipUri, "MAC%3a001565000001")], "- - - 001565000001", 20..=20);
    }

    #[test]
    fn the_innermost_range_decides_what_a_nameless_phone_is() {
        let event = r#"ua-profile;profile-type="device";vendor="OEM";model="OEM";version="7.1.19""#;
        check(&[(EVENT, event), (Source::SipUri, "MAC%3a000413E20001")], "gigaset - - 000413e20001", 30..=40);
        check(&[(EVENT, event), (Source::SipUri, "MAC%3a000413800001")], "gigaset - - 000413800001", 30..=40);
        check(&[(EVENT, event), (Source::SipUri, "MAC%3a000413710001")], "snom - - 000413710001", 30..=40);
        check(&[(EVENT, event), (Source::SipUri, "MAC%3a00135E874B49")], "- - - 00135e874b49", 15..=15);
    }

    #[test]
    fn an_exact_clue_beats_the_range_and_the_contradiction_is_told() {
        let agent = "Yealink SIP-T46U 108.86.0.90 00:04:13:71:00:01";
        let found =
            check(&[(Source::HttpUserAgent, agent)], "yealink T46U 108.86.0.90 000413710001", 80..=90);
        assert_eq!(found.contradictions, ["oui says vendor snom, better clues say yealink"]);
        let found = check(
            &[
                (Source::HttpUserAgent, "Yealink SIP-T46U 108.86.0.90 80:5e:c0:aa:bb:cc"),
                (Source::Oui, "805ec0000001"),
            ],
            "yealink T46U 108.86.0.90 805ec0aabbcc",
            80..=90,
        );
        assert_eq!(found.contradictions.len(), 1, "{found:?}");
    }

    #[test]
    fn an_unknown_vendor_is_shown_as_far_as_it_told() {
        let event = r#"ua-profile;profile-type="application";vendor="Acme";model="Acme 420HD";version="1.2""#;
        check(&[(EVENT, event)], "- 420HD 1.2 -", 0..=0);
        let nameless = r#"ua-profile;profile-type="application";model="420HD";version="1.2.1_build_6""#;
        check(&[(EVENT, nameless)], "- 420HD 1.2.1_build_6 -", 0..=0);
        check(&[(EVENT, "ua-profile")], "- - - -", 0..=0);
    }

    #[test]
    fn a_path_speaks_for_the_vendor_whose_name_it_is() {
        let path = Source::HttpPath;
        check(&[(path, "/805ec0aabbcc.cfg")], "yealink - - 805ec0aabbcc", 50..=70);
        check(&[(path, "/0c383eaabbcc.cfg")], "- - - 0c383eaabbcc", 10..=10);
        check(&[(path, "/prov/snomD785-000413AABBCC.htm?x=1")], "snom D785 - 000413aabbcc", 50..=70);
        check(&[(path, "/y000000000108.cfg")], "yealink T46U - -", 50..=50);
        check(&[(path, "/y000000000095.cfg")], "yealink - - -", 50..=50);
        check(&[(Source::TftpPath, "805EC0AABBCC.cfg")], "yealink - - 805ec0aabbcc", 50..=70);
        check(&[(path, "/favicon.ico")], "- - - -", 0..=0);
        check(&[(path, "/F00000000000.boot")], "- - - -", 0..=0);
    }

    #[test]
    fn requested_files_are_the_best_fitting_ones() {
        let found = |name: &str| {
            let requested = catalog().requested(name);
            let told = requested.iter().map(|requested| {
                let file = requested.profile.file(requested.file).path().to_string();
                let model = requested.model.as_deref().unwrap_or("-");
                format!("{} {file} {model}", requested.profile.vendor())
            });
            told.collect::<Vec<_>>()
        };
        assert_eq!(found("snomD785-000413AABBCC.htm"), ["snom snom{model}-{MAC}.htm D785"]);
        assert_eq!(found("SNOMd785.HTM"), ["snom snom{model}.htm D785"]);
        assert_eq!(found("snomD999.htm"), ["snom snom{model}.htm D999"]);
        assert_eq!(found("snomD785-firmware.htm"), [""; 0]);
        assert_eq!(found("snomD720.htm"), ["snom snom{model}.htm D720"]);
        assert_eq!(found("805EC0AABBCC.cfg"), ["yealink {mac}.cfg -"]);
        assert_eq!(found("Y000000000034.CFG"), ["yealink {common} T21P"]);
        for name in
            ["", "y000000000000.boot", "y000000000099.cfg", "000000000000.cfg", "index.html", "{mac}.cfg"]
        {
            assert_eq!(found(name), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_broken_profile_does_not_disturb_the_others() {
        let mut folders = fixture::vendors();
        folders.push(fixture::vendor(
            "acme",
            &[("profile.toml", "schema = 1\ndisplay_name = 'Acme'\nouis = 1\n")],
        ));
        folders.push(fixture::vendor("void", &[]));
        let (catalog, errors) = Catalog::of_folders(&folders);
        assert_eq!(catalog.profiles().count(), 3);
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("acme/profile.toml:3: unknown field `ouis`"), "{told:?}");
        assert!(told[1].starts_with("void/profile.toml: is missing"), "{told:?}");
    }

    #[test]
    fn mangled_clues_and_names_are_read_without_panic() {
        let catalog = catalog();
        let seeds = [
            "Yealink SIP-T46U 108.86.0.90 80:5e:c0:aa:bb:cc",
            "Mozilla/4.0 (compatible; snomD785-SIP 10.1.33.33 2010.12-00004-g9ba52f5 000413922D24 SXM:0)",
            r#"ua-profile;profile-type="device";vendor="Yealink";model="T21D";version="34.72.14.6""#,
            "MAC%3a00135E874B49",
            "/d/0123456789abcdef0123456789abcdef/snomD785-000413AABBCC.htm?é=ü",
        ];
        let sources = [
            Source::SipEvent,
            Source::SipUserAgent,
            Source::SipUri,
            Source::HttpUserAgent,
            Source::HttpPath,
            Source::TftpPath,
            Source::HttpTitle,
            Source::HttpRealm,
            Source::HttpServer,
            Source::HttpPage,
            Source::TlsSubject,
            Source::MdnsHost,
            Source::MdnsService,
            Source::DhcpVendorClass,
            Source::Oui,
        ];
        let mut random = Random(42);
        for _ in 0..MANGLED_CLUES {
            let seed = random_of(&mut random, &seeds);
            let text = random.mangled(seed);
            let clue = Clue::new(random_of(&mut random, &sources), text.as_str());
            let found = catalog.identify(&[clue]);
            assert!(found.confidence <= 100);
            let _ = catalog.requested(&text);
        }
    }

    /// Some fifteen seconds of a debug build.
    const MANGLED_CLUES: u32 = 1_000_000;

    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % end.max(1)
        }

        /// The text with a few characters replaced, removed, doubled, or cut off.
        fn mangled(&mut self, text: &str) -> String {
            let mut chars: Vec<char> = text.chars().collect();
            for _ in 0..self.below(6) {
                let at = self.below(chars.len());
                match self.below(5) {
                    0 if !chars.is_empty() => {
                        chars[at] = ['\0', 'é', '%', '"', ';', '{', '\u{10ffff}'][self.below(7)];
                    }
                    1 if !chars.is_empty() => drop(chars.remove(at)),
                    2 => chars.insert(at, char::from(u8::try_from(self.below(128)).unwrap())),
                    3 => chars.truncate(at),
                    _ => chars.extend_from_within(at..),
                }
            }
            chars.into_iter().collect()
        }
    }

    fn random_of<T: Copy>(random: &mut Random, items: &[T]) -> T {
        items[random.below(items.len())]
    }
}
