//! Ranges of MAC addresses: a hint at the manufacturer, never an identity. Prefixes of any length and from-to ranges,
//! because one manufacturer's phones may live inside another's block.

use std::str::FromStr;

use crate::device::Mac;

/// Addresses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacRange {
    first: u64,
    last: u64,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no range of MAC addresses; write the first digits (001565) or FROM-TO with twelve digits each"
)]
pub struct RangeError(String);

impl MacRange {
    /// Its first address, as a number.
    pub(super) fn first(self) -> u64 {
        self.first
    }

    /// Whether the address lies in it.
    pub fn covers(self, mac: Mac) -> bool {
        (self.first..=self.last).contains(&mac.as_u64())
    }

    /// One of its addresses, chosen by a number.
    pub fn address(self, number: u64) -> Option<Mac> {
        let [_, _, octets @ ..] = (self.first + number % self.size()).to_be_bytes();
        Mac::new(octets)
    }

    /// How many addresses it has: of two ranges, the smaller one says more.
    pub fn size(self) -> u64 {
        self.last - self.first + 1
    }

    /// The beginnings, in whole octets, of the addresses in it: the longest that need no more than `starts_max`, a little
    /// wider than the range where its ends are inside one.
    pub(super) fn starts(self, starts_max: usize) -> Vec<Vec<u8>> {
        let octets = |number: u64, count: usize| -> Vec<u8> {
            number.to_be_bytes().into_iter().skip(2).take(count).collect()
        };
        // All but the last digits of a range that ends where a block ends say the same as fewer octets.
        let exact = |count: &usize| {
            let block = 1u64 << (8 * (6 - count));
            self.first.is_multiple_of(block) && (self.last + 1).is_multiple_of(block)
        };
        let blocks = |count: usize| (self.last >> (8 * (6 - count))) - (self.first >> (8 * (6 - count))) + 1;
        let few = |count: &usize| usize::try_from(blocks(*count)).is_ok_and(|blocks| blocks <= starts_max);
        let count = (1..=6).find(|count| exact(count) && few(count)).or_else(|| (1..=6).rev().find(few));
        let count = count.unwrap_or(1);
        let block = 1u64 << (8 * (6 - count));
        let firsts = (0..blocks(count)).map(|number| (self.first / block + number) * block);
        firsts.map(|first| octets(first, count)).collect()
    }
}

impl FromStr for MacRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RangeError(text.chars().take(40).collect());
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '.' | ' ')).collect();
        let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| error());
        let is_hex = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_hexdigit());
        match digits.split_once('-') {
            Some((from, to)) if is_hex(from) && is_hex(to) && from.len() == 12 && to.len() == 12 => {
                let range = Self { first: number(from)?, last: number(to)? };
                if range.first <= range.last { Ok(range) } else { Err(error()) }
            }
            None if is_hex(&digits) && digits.len() <= 12 => {
                let open_bits = 4 * (12 - digits.len());
                let first = number(&digits)? << open_bits;
                Ok(Self { first, last: first | ((1u64 << open_bits) - 1) })
            }
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: &str, mac: &str, expected: bool) {
        let range: MacRange = range.parse().unwrap();
        assert_eq!(range.covers(mac.parse().unwrap()), expected, "{range:?} {mac}");
    }

    #[test]
    fn prefixes_and_ranges_cover_their_addresses() {
        check("001565", "001565000000", true);
        check("00:15:65", "001565ffffff", true);
        check("001565", "001566000000", false);
        check("000413e2", "000413e2ab01", true);
        check("000413e2", "000413e3ab01", false);
        check("000413800000-0004138000ff", "0004138000ff", true);
        check("000413800000-0004138000ff", "000413800100", false);
        check("805ec0aabbcc", "805ec0aabbcc", true);
    }

    #[test]
    fn an_address_of_a_range_lies_in_it() {
        let check = |range: &str, number: u64, expected: &str| {
            let range: MacRange = range.parse().unwrap();
            assert_eq!(range.address(number).unwrap().to_string(), expected, "{range:?} {number}");
        };
        check("001565", 0x1122_3344_5566, "00:15:65:44:55:66");
        check("000413e2", 0x0001_0000_0001, "00:04:13:e2:00:01");
        check("000413800000-0004138000ff", 0x1ff, "00:04:13:80:00:ff");
        check("805ec0aabbcc", u64::MAX, "80:5e:c0:aa:bb:cc");
    }

    #[test]
    fn the_smaller_range_says_more() {
        let size = |text: &str| text.parse::<MacRange>().unwrap().size();
        assert_eq!(size("000413"), 1 << 24);
        assert!(size("000413e2") < size("000413"));
        assert_eq!(size("805ec0aabbcc"), 1);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "-", "0015 6g", "0015650000001", "001565-001566", "000000000002-000000000001"] {
            assert!(text.parse::<MacRange>().is_err(), "{text}");
        }
    }
}
