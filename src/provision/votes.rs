//! Remembers which phone some clues meant. Phones of one model and firmware write the same but for their MAC, so a
//! fleet needs one vote of the profiles, not one per phone.

use std::collections::HashMap;

use crate::device::{Identity, Mac, Vendor};

/// Kinds of phones remembered; a site has a dozen. Beyond, everything is forgotten and voted on again.
const KINDS_MAX: usize = 1_024;

/// Votes that were held.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    held: HashMap<String, Identity>,
    /// The kind in question; kept, so that its memory is.
    kind: String,
}

impl Votes {
    /// The identity that `vote` finds for what a phone wrote, or found when another phone wrote the same. The owner of
    /// the range in which the MAC lies counts as a clue.
    pub(crate) fn identity<'a>(
        &mut self,
        texts: impl Iterator<Item = &'a str>,
        mac: Mac,
        range_owner: Option<&Vendor>,
        vote: impl FnOnce() -> Identity,
    ) -> Identity {
        let digits = digits(mac);
        self.kind.clear();
        self.kind.push_str(range_owner.map_or("", Vendor::as_str));
        for text in texts {
            self.kind.push('\n');
            push_without(&mut self.kind, text, digits);
        }
        if let Some(identity) = self.held.get(&self.kind) {
            return Identity { mac: Some(mac), ..identity.clone() };
        }
        if self.held.len() >= KINDS_MAX {
            self.held.clear();
        }
        let identity = vote();
        self.held.insert(self.kind.clone(), identity.clone());
        Identity { mac: Some(mac), ..identity }
    }
}

/// The MAC's twelve digits, lower-case.
fn digits(mac: Mac) -> [u8; 12] {
    let mut number = mac.as_u64();
    let mut digits = [0; 12];
    for digit in digits.iter_mut().rev() {
        *digit =
            b"0123456789abcdef".get(usize::from(number.to_le_bytes()[0] & 15)).copied().unwrap_or_default();
        number >>= 4;
    }
    digits
}

/// Appends the text with `*` in place of the MAC, however it is written.
fn push_without(kind: &mut String, text: &str, digits: [u8; 12]) {
    let [first, ..] = digits;
    let (mut kept, mut at) = (0, 0);
    while let Some(byte) = text.as_bytes().get(at) {
        let begins = byte.eq_ignore_ascii_case(&first);
        match text.as_bytes().get(at..).filter(|_| begins).and_then(|rest| written(rest, digits)) {
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
fn written(text: &[u8], digits: [u8; 12]) -> Option<usize> {
    let mut at = 0;
    for (place, digit) in digits.iter().enumerate() {
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

    fn identity(model: &str) -> Identity {
        Identity { model: Some(model.to_owned()), ..Identity::default() }
    }

    #[test]
    fn phones_that_differ_in_their_mac_alone_need_one_vote() {
        let mut votes = Votes::default();
        let mut held = 0;
        let mut ask = |agent: &str, mac: &str, owner: Option<&str>| {
            let mac = mac.parse().unwrap();
            let found = votes.identity(std::iter::once(agent), mac, owner.map(Vendor::new).as_ref(), || {
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
            votes.identity(std::iter::once(kind.to_string().as_str()), mac, None, Identity::default);
            assert!(votes.held.len() <= KINDS_MAX);
        }
    }

    #[test]
    fn a_mac_is_found_at_any_place() {
        let check = |text: &str, expected: &str| {
            let mut kind = String::new();
            push_without(&mut kind, text, digits("001565aabbcc".parse().unwrap()));
            assert_eq!(kind, expected, "{text}");
        };
        check("", "");
        check("MAC%3a001565AABBCC", "MAC%3a*");
        check("a 00-15-65-AA-BB-CC b 0015.65aa.bbcc", "a * b *");
        check("00001565aabbcc001565aabbc\u{fc}", "00*001565aabbc\u{fc}");
    }
}
