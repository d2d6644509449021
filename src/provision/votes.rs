//! Remembers which phone some clues meant. Phones of one model and firmware write the same but for their MAC, so a
//! fleet needs one vote of the profiles, not one per phone.

use std::collections::HashMap;

use crate::device::{Identity, Mac, Vendor};
use crate::profile::Clue;

/// Kinds of phones remembered; a site has a dozen. Beyond, everything is forgotten and voted on again.
const KINDS_MAX: usize = 1_024;

/// Votes that were held.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    held: HashMap<String, Identity>,
}

impl Votes {
    /// The identity that `vote` finds for these clues, or found for the same clues of another phone. The owner of the
    /// range in which the MAC lies counts as a clue.
    pub(crate) fn identity(
        &mut self,
        clues: &[Clue],
        mac: Mac,
        range_owner: Option<&Vendor>,
        vote: impl FnOnce() -> Identity,
    ) -> Identity {
        let mut kind = String::with_capacity(256);
        kind.push_str(range_owner.map_or("", Vendor::as_str));
        for clue in clues {
            kind.push('\n');
            push_without(&mut kind, &clue.text, mac);
        }
        if let Some(identity) = self.held.get(&kind) {
            return Identity { mac: Some(mac), ..identity.clone() };
        }
        if self.held.len() >= KINDS_MAX {
            self.held.clear();
        }
        let identity = vote();
        self.held.insert(kind, identity.clone());
        Identity { mac: Some(mac), ..identity }
    }
}

/// Appends the text with `*` in place of the MAC, however it is written.
fn push_without(kind: &mut String, text: &str, mac: Mac) {
    let bare = mac.bare();
    let mut kept = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes().get(at..).and_then(|rest| written(rest, bare.as_bytes())) {
            Some(bytes) => {
                kind.push_str(text.get(kept..at).unwrap_or_default());
                kind.push('*');
                at += bytes;
                kept = at;
            }
            None => at += 1,
        }
    }
    kind.push_str(text.get(kept..).unwrap_or_default());
}

/// How many bytes the MAC takes at the beginning of the text, in either case, with or without separators between its
/// octets; `None` if it is not there.
fn written(text: &[u8], bare: &[u8]) -> Option<usize> {
    let mut at = 0;
    for (place, digit) in bare.iter().enumerate() {
        if place > 0 && place % 2 == 0 && text.get(at).is_some_and(|byte| b":-.".contains(byte)) {
            at += 1;
        }
        if !text.get(at)?.eq_ignore_ascii_case(digit) {
            return None;
        }
        at += 1;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Source;

    fn identity(model: &str) -> Identity {
        Identity { model: Some(model.to_owned()), ..Identity::default() }
    }

    #[test]
    fn phones_that_differ_in_their_mac_alone_need_one_vote() {
        let mut votes = Votes::default();
        let mut held = 0;
        let mut ask = |agent: &str, mac: &str, owner: Option<&str>| {
            let mac = mac.parse().unwrap();
            let clues = [Clue::new(Source::SipUserAgent, agent)];
            let found = votes.identity(&clues, mac, owner.map(Vendor::new).as_ref(), || {
                held += 1;
                identity(agent)
            });
            assert_eq!(found.mac, Some(mac));
            held
        };
        assert_eq!(ask("Yealink SIP-T46U 108.86 00:15:65:aa:bb:01", "001565aabb01", None), 1);
        assert_eq!(ask("Yealink SIP-T46U 108.86 00:15:65:AA:BB:02", "001565aabb02", None), 1);
        assert_eq!(ask("Yealink SIP-T46U 108.86 001565aabb03", "001565aabb03", None), 1);
        assert_eq!(
            ask("Yealink SIP-T46U 108.86 001565aabb03", "001565aabb04", None),
            2,
            "somebody else's MAC"
        );
        assert_eq!(ask("Yealink SIP-T46U 108.87 001565aabb03", "001565aabb03", None), 3, "another firmware");
        assert_eq!(
            ask("Yealink SIP-T46U 108.86 001565aabb03", "001565aabb03", Some("snom")),
            4,
            "another range"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut votes = Votes::default();
        let mac: Mac = "001565aabb01".parse().unwrap();
        for kind in 0..3 * KINDS_MAX {
            votes.identity(&[Clue::new(Source::SipEvent, kind.to_string())], mac, None, Identity::default);
            assert!(votes.held.len() <= KINDS_MAX);
        }
    }

    #[test]
    fn a_mac_is_found_at_any_place() {
        let check = |text: &str, expected: &str| {
            let mut kind = String::new();
            push_without(&mut kind, text, "001565aabbcc".parse().unwrap());
            assert_eq!(kind, expected, "{text}");
        };
        check("", "");
        check("MAC%3a001565AABBCC", "MAC%3a*");
        check("a 00-15-65-AA-BB-CC b 0015.65aa.bbcc", "a * b *");
        check("00001565aabbcc001565aabbc\u{fc}", "00*001565aabbc\u{fc}");
    }
}
