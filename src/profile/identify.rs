//! Which phone is this: clues are read, and what they say is put to a vote. A User-Agent that names vendor and model
//! outweighs an Event header, that outweighs a MAC range; what loses a vote is told as a contradiction.

use std::collections::BTreeMap;

use serde::Serialize;

use super::page::path_and_words;
use crate::device::{Identity, Mac, Source, Vendor};

/// Below this a vendor is a guess, and a guess is no identity.
const VENDOR_CONFIDENCE_MIN: u8 = 30;
/// Below this a vendor is told as a guess: a weak clue, or two.
const FIRM_CONFIDENCE_MIN: u8 = 55;
/// What a MAC range says about the vendor: ranges are sold, lent and nested.
pub(super) const RANGE_CONFIDENCE: u8 = 20;

/// Something that a phone said or showed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clue {
    /// Where.
    pub source: Source,
    /// What; for `oui` the MAC, for `sip.uri` the user part, for paths the path as asked.
    pub text: String,
}

impl Clue {
    /// A clue.
    pub fn new(source: Source, text: impl Into<String>) -> Self {
        Self { source, text: text.into() }
    }
}

/// The outcome of a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// What is taken for true.
    pub identity: Identity,
    /// How sure the vendor is, 0 to 100; of a mere hint when there is none.
    pub confidence: u8,
    /// What each clue said.
    pub clues: Vec<ReadClue>,
    /// What clues said against each other, in sentences.
    pub contradictions: Vec<String>,
}

/// How firmly a phone is known, in a word for people and listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Nothing speaks for any vendor.
    Unknown,
    /// Nothing but a MAC range, or less than a guess takes: no identity.
    Hint,
    /// An identity by weak clues: a vendor's name in a title, and its MAC range.
    Guess,
    /// An identity by what only such a phone says, or by several clues that agree.
    Firm,
}

impl Certainty {
    /// The word in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Hint => "hint",
            Self::Guess => "guess",
            Self::Firm => "firm",
        }
    }
}

impl Identified {
    /// How firmly the vendor is known.
    pub fn certainty(&self) -> Certainty {
        match (&self.identity.vendor, self.confidence) {
            (Some(_), FIRM_CONFIDENCE_MIN..) => Certainty::Firm,
            (Some(_), _) => Certainty::Guess,
            (None, _) if self.hint().is_some() => Certainty::Hint,
            (None, _) => Certainty::Unknown,
        }
    }

    /// The vendor that most is to be said for where that is too little for an identity.
    pub fn hint(&self) -> Option<&Vendor> {
        let hints = self.clues.iter().filter(|clue| clue.vendor.is_some());
        best(hints.filter(|_| self.identity.vendor.is_none()), |clue| clue.confidence)?.vendor.as_ref()
    }
}

/// What one clue said to one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadClue {
    /// Where it was.
    pub source: Source,
    /// What it was.
    pub text: String,
    /// The vendor it speaks for.
    pub vendor: Option<Vendor>,
    /// The model it names.
    pub model: Option<String>,
    /// The firmware it names.
    pub firmware: Option<String>,
    /// The MAC it names.
    pub mac: Option<Mac>,
    /// How much it weighs for the vendor, 0 to 100.
    pub confidence: u8,
}

/// How much a recogniser's reading weighs when its profile does not say: User-Agent above vendor class and Event above
/// a path.
pub(super) fn weight(source: Source, has_model: bool) -> u8 {
    match (source, has_model) {
        (Source::HttpUserAgent, true) => 95,
        (Source::SipUserAgent, true) => 92,
        (Source::HttpUserAgent | Source::SipUserAgent, false) => 70,
        (Source::HttpPage, true) => 85,
        (Source::DhcpVendorClass, true) => 75,
        (Source::DhcpVendorClass, false)
        | (
            Source::SipEvent
            | Source::HttpTitle
            | Source::HttpRealm
            | Source::HttpServer
            | Source::TlsSubject
            | Source::MdnsHost
            | Source::MdnsService,
            true,
        ) => 60,
        (Source::SipEvent | Source::HttpPath | Source::TftpPath | Source::HttpPage, false)
        | (Source::HttpPath | Source::TftpPath, true) => 50,
        (Source::SipUri, _) => 40,
        // A vendor's name on a page may be that of anything it makes.
        (
            Source::HttpTitle
            | Source::HttpRealm
            | Source::HttpServer
            | Source::TlsSubject
            | Source::MdnsHost
            | Source::MdnsService,
            false,
        ) => 35,
        (Source::Oui, _) => RANGE_CONFIDENCE,
    }
}

/// How much a source's MAC weighs: a phone that writes its own address knows it; a path may name another phone's file.
fn mac_weight(source: Source) -> u8 {
    match source {
        Source::HttpUserAgent | Source::SipUserAgent => 95,
        Source::SipUri => 90,
        Source::Oui => 80,
        // A page may tell the address of another interface, or of a handset.
        Source::HttpPage => 75,
        Source::SipEvent
        | Source::DhcpVendorClass
        | Source::HttpTitle
        | Source::HttpRealm
        | Source::HttpServer
        | Source::TlsSubject
        | Source::MdnsHost
        | Source::MdnsService => 70,
        Source::HttpPath | Source::TftpPath => 60,
    }
}

/// The MAC that most is to be said for. Clues that name none say nothing.
pub(super) fn elect_mac(clues: &[ReadClue]) -> Option<Mac> {
    let named = clues.iter().filter(|clue| clue.mac.is_some());
    best(named, |clue| mac_weight(clue.source))?.mac
}

/// Counts the votes. `same_model` says whether two printed names are one model of a vendor.
pub(super) fn elect(
    clues: Vec<ReadClue>,
    same_model: impl Fn(Option<&Vendor>, &str, &str) -> bool,
) -> Identified {
    let mac = elect_mac(&clues);
    let (vendor, mut confidence) = elect_vendor(&clues);
    let mut contradictions = Vec::new();
    // Only what speaks for the vendor, or for none at all, says something of the phone.
    let heard =
        || clues.iter().filter(|clue| clue.vendor == vendor || (vendor.is_some() && clue.vendor.is_none()));
    let model = best(heard().filter(|clue| clue.model.is_some()), |clue| clue.confidence);
    let firmware = best(heard().filter(|clue| clue.firmware.is_some()), |clue| clue.confidence);
    let identity = Identity {
        mac,
        vendor: vendor.clone(),
        model: model.and_then(|clue| clue.model.clone()),
        firmware: firmware.and_then(|clue| clue.firmware.clone()),
    };
    let text = |mac: Option<Mac>| mac.map(|mac| mac.to_string());
    for clue in &clues {
        contradictions.extend(against(clue, "MAC", text(clue.mac).as_ref(), text(identity.mac).as_ref()));
        let other = vendor.is_some() && clue.vendor.is_some() && clue.vendor != vendor;
        // A file name that fits several vendors speaks for each a little; that is no contradiction.
        if other && (clue.confidence >= VENDOR_CONFIDENCE_MIN || clue.source == Source::Oui) {
            let name = |vendor: &Option<Vendor>| vendor.as_ref().map(ToString::to_string);
            contradictions.extend(against(
                clue,
                "vendor",
                name(&clue.vendor).as_ref(),
                name(&vendor).as_ref(),
            ));
        }
        if !other {
            let said = clue.model.as_ref().filter(|said| {
                !identity.model.as_ref().is_some_and(|won| same_model(vendor.as_ref(), said, won))
            });
            contradictions.extend(against(clue, "model", said, identity.model.as_ref()));
            contradictions.extend(against(
                clue,
                "firmware",
                clue.firmware.as_ref(),
                identity.firmware.as_ref(),
            ));
        }
    }
    contradictions.dedup();
    for _ in &contradictions {
        confidence = u8::try_from(u16::from(confidence) * 9 / 10).unwrap_or(confidence);
    }
    Identified { identity, confidence, clues, contradictions }
}

/// The sentence when a clue says something else than what won.
fn against(clue: &ReadClue, what: &str, said: Option<&String>, won: Option<&String>) -> Option<String> {
    let (said, won) = (said?, won?);
    (!said.eq_ignore_ascii_case(won))
        .then(|| format!("{} says {what} {said}, better clues say {won}", clue.source.as_str()))
}

/// The vendor with the highest sum of votes, unless nothing but MAC ranges speaks for it. The second value is the
/// confidence, or that of the best hint.
fn elect_vendor(clues: &[ReadClue]) -> (Option<Vendor>, u8) {
    let mut votes: BTreeMap<&Vendor, BTreeMap<(Source, &str), u8>> = BTreeMap::new();
    for clue in clues {
        let Some(vendor) = &clue.vendor else { continue };
        // Several patterns that read one text are one voice, and so is one address seen in several places.
        let voice = match clue.source {
            Source::Oui => "",
            // However many patterns read one page.
            Source::HttpPage => path_and_words(&clue.text).0,
            _ => clue.text.as_str(),
        };
        let vote = votes.entry(vendor).or_default().entry((clue.source, voice)).or_default();
        *vote = clue.confidence.max(*vote);
    }
    let sum = |voices: &BTreeMap<(Source, &str), u8>, with_ranges: bool| {
        let counted = voices.iter().filter(|((source, _), _)| with_ranges || *source != Source::Oui);
        let doubt =
            counted.fold(100u32, |doubt, (_, vote)| doubt * (100 - u32::from((*vote).min(100))) / 100);
        u8::try_from(100 - doubt.min(100)).unwrap_or_default()
    };
    let spoken_for = |voices: &BTreeMap<(Source, &str), u8>| {
        sum(voices, false) > 0 && sum(voices, true) >= VENDOR_CONFIDENCE_MIN
    };
    let mut winner: Option<(&Vendor, u8)> = None;
    for (vendor, voices) in votes.iter().filter(|(_, voices)| spoken_for(voices)) {
        let votes = sum(voices, true);
        if winner.is_none_or(|(_, best)| votes > best) {
            winner = Some((vendor, votes));
        }
    }
    let hint = votes.values().map(|voices| sum(voices, true)).max().unwrap_or_default();
    match winner {
        Some((vendor, votes)) => (Some(vendor.clone()), votes),
        None => (None, hint),
    }
}

/// The first of the clues that weigh most.
fn best<'c>(
    clues: impl Iterator<Item = &'c ReadClue>,
    weight: impl Fn(&ReadClue) -> u8,
) -> Option<&'c ReadClue> {
    let mut best: Option<&ReadClue> = None;
    for clue in clues {
        if best.is_none_or(|earlier| weight(clue) > weight(earlier)) {
            best = Some(clue);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clue(vendor: &str, source: Source, text: &str, model: Option<&str>) -> ReadClue {
        ReadClue {
            source,
            text: text.to_owned(),
            vendor: (!vendor.is_empty()).then(|| Vendor::new(vendor)),
            model: model.map(str::to_owned),
            firmware: None,
            mac: None,
            confidence: if vendor.is_empty() { 0 } else { weight(source, model.is_some()) },
        }
    }

    /// Vendor, source and model of each clue; who is elected, how sure that is and how it is called.
    type Row<'t> = (&'t [(&'t str, Source, Option<&'t str>)], &'t str, u8, Certainty);

    #[test]
    fn weak_clues_add_up_and_are_told_as_what_they_are() {
        use Certainty::{Firm, Guess, Hint, Unknown};
        use Source::{HttpPage, HttpRealm, HttpServer, HttpTitle, Oui, SipUserAgent};
        let x1 = Some("X1");
        let rows: &[Row<'_>] = &[
            (&[], "", 0, Unknown),
            (&[("", HttpTitle, None)], "", 0, Unknown),
            (&[("acme", Oui, None)], "", 20, Hint),
            (&[("acme", HttpTitle, None)], "acme", 35, Guess),
            (&[("acme", Oui, None), ("acme", HttpTitle, None)], "acme", 48, Guess),
            (&[("acme", Oui, None), ("acme", HttpTitle, None), ("acme", HttpServer, None)], "acme", 67, Firm),
            (&[("acme", HttpTitle, x1)], "acme", 60, Firm),
            (&[("acme", Oui, None), ("acme", HttpRealm, x1)], "acme", 68, Firm),
            (&[("acme", HttpPage, None)], "acme", 50, Guess),
            (&[("acme", Oui, None), ("acme", HttpPage, None)], "acme", 60, Firm),
            (&[("acme", HttpPage, x1)], "acme", 85, Firm),
            (&[("acme", SipUserAgent, x1)], "acme", 92, Firm),
            // One vendor's range and another's title: the title is more, and the range a doubt.
            (&[("other", Oui, None), ("acme", HttpTitle, x1)], "acme", 54, Guess),
            (&[("other", Oui, None), ("acme", HttpTitle, None)], "acme", 31, Guess),
            (&[("other", HttpTitle, None), ("acme", SipUserAgent, x1)], "acme", 82, Firm),
        ];
        for (clues, vendor, confidence, certainty) in rows {
            let read =
                clues.iter().map(|(vendor, source, model)| clue(vendor, *source, "text", *model)).collect();
            let found = elect(read, |_, one, other| one == other);
            let elected = found.identity.vendor.as_ref().map(Vendor::as_str).unwrap_or_default();
            assert_eq!(
                (elected, found.confidence, found.certainty()),
                (*vendor, *confidence, *certainty),
                "{clues:?}"
            );
        }
    }

    /// A profile may say that its words are anybody's: they count only where the range agrees.
    #[test]
    fn anybodys_words_are_a_hint_and_with_the_range_a_guess() {
        let words = ReadClue { confidence: 20, ..clue("acme", Source::HttpRealm, "VoIP Phone", None) };
        let alone = elect(vec![words.clone()], |_, _, _| true);
        assert_eq!((alone.identity.vendor.as_ref(), alone.certainty()), (None, Certainty::Hint));
        let ranged = elect(vec![words.clone(), clue("acme", Source::Oui, "x", None)], |_, _, _| true);
        assert_eq!((ranged.confidence, ranged.certainty()), (36, Certainty::Guess));
        let other = elect(vec![words, clue("other", Source::Oui, "x", None)], |_, _, _| true);
        assert_eq!((other.identity.vendor.as_ref(), other.certainty()), (None, Certainty::Hint));
    }

    #[test]
    fn a_hint_names_its_vendor_and_an_identity_has_none() {
        let hinted = elect(vec![clue("acme", Source::Oui, "x", None)], |_, _, _| true);
        assert_eq!(hinted.hint().map(Vendor::as_str), Some("acme"));
        let known = elect(vec![clue("acme", Source::HttpTitle, "x", None)], |_, _, _| true);
        assert_eq!(known.hint(), None);
    }

    #[test]
    fn what_was_asked_for_weighs_between_a_range_and_a_user_agent() {
        for source in [Source::HttpTitle, Source::HttpRealm, Source::HttpServer, Source::HttpPage] {
            for with_model in [false, true] {
                assert!(weight(source, with_model) > weight(Source::Oui, false), "{source:?}");
                assert!(weight(source, with_model) < weight(Source::SipUserAgent, with_model), "{source:?}");
            }
        }
    }
}
