//! A phone's hardware address, however it is written.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A phone's hardware address. Never a group address and never all zeros: those are not phones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// Why a text is not a phone's MAC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not twelve hexadecimal digits with `:`, `-`, `.` or nothing between them.
    #[error(
        "'{0}' is not a MAC address; write twelve hexadecimal digits, with ':', '-', '.' or nothing between them"
    )]
    Syntax(String),
    /// A group address or all zeros.
    #[error("'{0}' is a group or null address, not a phone's")]
    NotADevice(String),
}

impl Mac {
    /// The address from its six octets; `None` for a group address or all zeros.
    pub fn new(octets: [u8; 6]) -> Option<Self> {
        let [first, ..] = octets;
        (first & 1 == 0 && octets != [0; 6]).then_some(Self(octets))
    }

    /// The six octets.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Twelve lower-case digits without separators, as most phones name their files.
    pub fn bare(self) -> String {
        self.0.into_iter().flat_map(digits).collect()
    }

    /// Whether a local administrator, not a manufacturer, gave this address.
    pub fn is_locally_administered(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// The address as a number, to compare it with a range.
    pub fn as_u64(self) -> u64 {
        self.0.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// Reads `00:15:65:f4:f9:e1`, `00-15-65-F4-F9-E1`, `0015.65f4.f9e1` and `001565f4f9e1`; separators only between
    /// whole groups of two or four digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || MacError::Syntax(text.chars().take(40).collect());
        let separator = text.chars().find(|c| !c.is_ascii_hexdigit());
        let groups: Vec<&str> = match separator {
            None => vec![text],
            Some(separator @ (':' | '-' | '.')) => text.split(separator).collect(),
            Some(_) => return Err(syntax()),
        };
        let whole = matches!(groups.len(), 1 | 3 | 6) && groups.iter().all(|g| g.len() == 12 / groups.len());
        let digits: Vec<u8> = groups
            .iter()
            .flat_map(|group| group.chars())
            .filter_map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        if !whole || digits.len() != 12 {
            return Err(syntax());
        }
        let mut octets = [0u8; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
        Self::new(octets).ok_or_else(|| MacError::NotADevice(text.to_owned()))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, octet) in self.0.into_iter().enumerate() {
            let colon = (place > 0).then_some(':');
            colon.into_iter().chain(digits(octet)).try_for_each(|c| f.write_char(c))?;
        }
        Ok(())
    }
}

/// Two lower-case digits. An address is written several times for every request, so this is not left to `format!`.
fn digits(octet: u8) -> [char; 2] {
    [octet >> 4, octet & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default())
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_in_every_usual_form() {
        let expected = Mac::new([0x00, 0x15, 0x65, 0xf4, 0xf9, 0xe1]).unwrap();
        for text in ["00:15:65:f4:f9:e1", "00-15-65-F4-F9-E1", "0015.65f4.f9e1", "001565F4F9E1"] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "00:15:65:f4:f9:e1");
        assert_eq!(expected.bare(), "001565f4f9e1");
        assert_eq!(expected.as_u64(), 0x0015_65f4_f9e1);
    }

    #[test]
    fn what_is_not_a_phone_is_refused() {
        for text in
            ["", "00:15:65:f4:f9", "0:15:65:f4:f9:e1", "00:15-65:f4:f9:e1", "00156 5f4f9e1", "é0156 5f4f9e"]
        {
            assert!(matches!(text.parse::<Mac>(), Err(MacError::Syntax(_))), "{text}");
        }
        for text in ["000000000000", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:01:4b"] {
            assert!(matches!(text.parse::<Mac>(), Err(MacError::NotADevice(_))), "{text}");
        }
    }
}
