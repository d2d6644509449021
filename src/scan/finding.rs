//! What was found at an address, and what has changed since the last time. Decides from what was heard; asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::device::{Approval, Device, Identity, Mac};
use crate::profile::{Certainty, Clue, Identified, ReadClue};

/// What a host is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It says that it is a phone.
    Phone,
    /// It says little, and that speaks for a phone.
    Guess,
    /// Its maker makes phones, and it says nothing.
    Hint,
    /// Anything else.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Phone, Self::Guess, Self::Hint, Self::Other];

    /// The word in rows and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Guess => "guess",
            Self::Hint => "hint",
            Self::Other => "other",
        }
    }

    /// Whether a person who looks for phones wants to see it.
    pub fn is_shown(self) -> bool {
        matches!(self, Self::Phone | Self::Guess)
    }
}

/// Whose phone it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Of the inventory, and it has asked here for its files.
    Here,
    /// Of the inventory, and it has not asked yet.
    Known,
    /// It waits for a person.
    Pending,
    /// It is blocked.
    Blocked,
    /// DHCP leads it to another provisioning server.
    Foreign,
    /// Nobody's, as far as is known.
    Free,
}

impl Bound {
    /// The word in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Known => "known",
            Self::Pending => "pending",
            Self::Blocked => "blocked",
            Self::Foreign => "foreign",
            Self::Free => "free",
        }
    }
}

/// Whose phone this is, by the inventory: `asked` says whether it has asked here for a file, `led_away` whether DHCP was
/// heard to lead it elsewhere.
pub fn bound(device: Option<&Device>, asked: bool, led_away: bool) -> Bound {
    match device.map(|device| device.approval) {
        Some(Approval::Blocked) => Bound::Blocked,
        Some(Approval::Approved) if asked => Bound::Here,
        _ if led_away => Bound::Foreign,
        Some(Approval::Approved) => Bound::Known,
        Some(Approval::Pending) => Bound::Pending,
        None => Bound::Free,
    }
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where.
    pub address: Ipv4Addr,
    /// By ARP; behind a router as the phone says, if it says so.
    pub mac: Option<Mac>,
    /// What it is taken for.
    pub kind: Kind,
    /// The profile's folder name; of a hint its maker's.
    pub vendor: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The firmware.
    pub firmware: Option<String>,
    /// How sure the vendor is, 0 to 100.
    pub confidence: u8,
    /// What it showed that speaks for a vendor, or for none.
    pub evidence: Vec<String>,
    /// Whose phone it is.
    pub bound: Bound,
    /// The first time that it was seen by anything.
    pub first: Timestamp,
}

impl Finding {
    /// What the clues of a host come to.
    pub fn new(address: Ipv4Addr, mac: Option<Mac>, found: &Identified, at: Timestamp) -> Self {
        let identity = &found.identity;
        let kind = match found.certainty() {
            Certainty::Firm => Kind::Phone,
            Certainty::Guess => Kind::Guess,
            Certainty::Hint => Kind::Hint,
            Certainty::Unknown => Kind::Other,
        };
        let vendor = identity.vendor.as_ref().or_else(|| found.hint());
        let mut evidence: Vec<String> = found.clues.iter().map(shown).collect();
        evidence.dedup();
        evidence.extend(found.contradictions.iter().cloned());
        Self {
            address,
            mac: mac.or(identity.mac),
            kind,
            vendor: vendor.map(|vendor| vendor.as_str().to_owned()),
            model: identity.model.clone(),
            firmware: identity.firmware.clone(),
            confidence: found.confidence,
            evidence,
            bound: Bound::Free,
            first: at,
        }
    }

    /// Shows what it said of itself, whether a profile knows it or not.
    pub fn show(&mut self, said: &[Clue]) {
        for clue in said {
            let text = format!("{} {}", clue.source.as_str(), clue.text);
            if !self.evidence.contains(&text) {
                self.evidence.push(text);
            }
        }
    }

    /// Who it is, as a sighting tells it: of the MAC that ARP proved, not of one that a phone writes. `None` where the
    /// phone writes another one: somebody answers for it.
    pub fn identity(proved: Mac, found: &Identified) -> Option<Identity> {
        let is_itself = found.clues.iter().filter_map(|clue| clue.mac).all(|said| said == proved);
        is_itself.then(|| Identity { mac: Some(proved), ..found.identity.clone() })
    }

    /// Vendor, model and firmware for a person.
    pub fn name(&self) -> String {
        let parts = [self.vendor.as_deref(), self.model.as_deref(), self.firmware.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn shown(clue: &ReadClue) -> String {
    format!("{} {}", clue.source.as_str(), clue.text)
}

/// What has changed between two scans of the same networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Phones that were not there before.
    pub new: Vec<Finding>,
    /// Phones that are not there any more.
    pub gone: Vec<Finding>,
    /// Phones that have another address than before.
    pub moved: Vec<Moved>,
    /// Phones with another firmware than before.
    pub changed: Vec<Changed>,
}

/// A phone that has another address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Where it was.
    pub before: Ipv4Addr,
    /// As it is.
    #[serde(flatten)]
    pub now: Finding,
}

/// A phone with another firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// What it had.
    pub before: String,
    /// As it is.
    #[serde(flatten)]
    pub now: Finding,
}

impl Difference {
    /// Of the phones among these. One with several addresses has not moved while it keeps one of them.
    pub fn between(before: &[Finding], now: &[Finding]) -> Self {
        let (earlier, later) = (by_phone(before), by_phone(now));
        let mut difference = Self::default();
        for (key, all) in &later {
            let Some(one) = all.first() else { continue };
            let Some(was) = earlier.get(key) else {
                difference.new.push((*one).clone());
                continue;
            };
            let stays = was.iter().any(|was| all.iter().any(|one| one.address == was.address));
            if let Some(was) = was.first().filter(|_| !stays) {
                difference.moved.push(Moved { before: was.address, now: (*one).clone() });
            }
            let firmware = |all: &[&Finding]| all.iter().find_map(|one| one.firmware.clone());
            if let (Some(before), Some(now)) = (firmware(was), firmware(all))
                && before != now
            {
                difference.changed.push(Changed { before, now: (*one).clone() });
            }
        }
        // Who answered, but had no time to say what it is, is not gone.
        let present: BTreeSet<Key> = now.iter().map(Key::of).collect();
        let gone = earlier.iter().filter(|(key, _)| !present.contains(key));
        difference.gone = gone.filter_map(|(_, all)| all.first()).map(|one| (*one).clone()).collect();
        difference
    }

    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.moved.is_empty() && self.changed.is_empty()
    }
}

/// Each phone's findings, by their addresses.
fn by_phone(findings: &[Finding]) -> BTreeMap<Key, Vec<&Finding>> {
    let mut phones: BTreeMap<Key, Vec<&Finding>> = BTreeMap::new();
    for one in findings.iter().filter(|one| one.kind.is_shown()) {
        phones.entry(Key::of(one)).or_default().push(one);
    }
    for all in phones.values_mut() {
        all.sort_by_key(|one| one.address);
    }
    phones
}

/// By what a phone is known again: behind a router, where nobody sees its MAC, by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Mac(Mac),
    Address(Ipv4Addr),
}

impl Key {
    fn of(finding: &Finding) -> Self {
        finding.mac.map_or(Self::Address(finding.address), Self::Mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Source;
    use crate::profile::Catalog;

    fn identified(clues: &[(Source, &str)]) -> Identified {
        let clues: Vec<Clue> = clues.iter().map(|(source, text)| Clue::new(*source, *text)).collect();
        Catalog::builtin().unwrap().identify(&clues)
    }

    fn phone(last: u8, at: u8, firmware: &str) -> Finding {
        let mac = Mac::new([0, 0x15, 0x65, 0, 0, last]);
        let oui = mac.unwrap().to_string();
        let agent = format!("Yealink SIP-T46U {firmware}");
        let found = identified(&[(Source::Oui, &oui), (Source::SipUserAgent, &agent)]);
        Finding::new(Ipv4Addr::new(192, 0, 2, at), mac, &found, Timestamp(0))
    }

    #[test]
    fn a_phone_says_so_and_a_makers_range_alone_is_no_phone() {
        let check = |clues: &[(Source, &str)], kind: Kind| {
            let found = identified(clues);
            assert_eq!(Finding::new(Ipv4Addr::LOCALHOST, None, &found, Timestamp(0)).kind, kind, "{clues:?}");
        };
        let yealink = (Source::Oui, "00:15:65:00:00:01");
        check(&[yealink, (Source::SipUserAgent, "Yealink SIP-T46U 108.86.0.20")], Kind::Phone);
        check(&[yealink], Kind::Hint);
        check(&[(Source::Oui, "00:1b:21:00:00:01")], Kind::Other);
        check(
            &[(Source::Oui, "00:1b:21:00:00:01"), (Source::SipUserAgent, "Asterisk PBX 18.9.0")],
            Kind::Other,
        );
        check(&[(Source::HttpServer, "nginx"), (Source::HttpTitle, "HP LaserJet 400")], Kind::Other);
        check(&[], Kind::Other);
    }

    #[test]
    fn a_sighting_is_of_the_mac_that_arp_told() {
        let proved: Mac = "00:15:65:00:00:01".parse().unwrap();
        let check = |agent: &str, expected: bool| {
            let found = identified(&[(Source::Oui, "00:15:65:00:00:01"), (Source::HttpUserAgent, agent)]);
            let identity = Finding::identity(proved, &found);
            assert_eq!(identity.map(|identity| identity.mac), expected.then_some(Some(proved)), "{agent}");
        };
        check("Yealink SIP-T46U 108.86.0.20 00:15:65:00:00:01", true);
        check("Yealink SIP-T46U 108.86.0.20", true);
        check("Yealink SIP-T46U 108.86.0.20 00:15:65:00:00:02", false);
    }

    #[test]
    fn who_answers_without_a_word_is_not_gone() {
        let before = [phone(1, 1, "108.86.0.20"), phone(2, 2, "108.86.0.20")];
        let silent = Finding { kind: Kind::Hint, ..phone(1, 1, "108.86.0.20") };
        let difference = Difference::between(&before, &[silent]);
        assert_eq!(difference.gone.iter().map(|gone| gone.mac).collect::<Vec<_>>(), [before[1].mac]);
    }

    #[test]
    fn the_difference_is_that_of_the_phones() {
        let before = [phone(1, 1, "108.86.0.20"), phone(2, 2, "108.86.0.20"), phone(3, 3, "108.86.0.20")];
        let with_two = [phone(1, 1, "108.86.0.20"), phone(1, 9, "108.86.0.20")];
        assert!(Difference::between(&before[..1], &with_two).is_empty());
        assert!(Difference::between(&with_two, &before[..1]).is_empty());
        let now = [phone(1, 1, "108.87.0.1"), phone(2, 20, "108.86.0.20"), phone(4, 4, "108.86.0.20")];
        let difference = Difference::between(&before, &now);
        let last = |finding: &Finding| finding.address.octets()[3];
        assert_eq!(difference.new.iter().map(last).collect::<Vec<_>>(), [4]);
        assert_eq!(difference.gone.iter().map(last).collect::<Vec<_>>(), [3]);
        assert_eq!(
            difference
                .moved
                .iter()
                .map(|moved| (last(&moved.now), moved.before.octets()[3]))
                .collect::<Vec<_>>(),
            [(20, 2)]
        );
        assert_eq!(
            difference.changed.iter().map(|changed| changed.before.as_str()).collect::<Vec<_>>(),
            ["108.86.0.20"]
        );
        assert!(Difference::between(&now, &now).is_empty());
    }
}
