//! A version as phones and people write it, compared by its parts.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};

/// Words of a version that comes before the one without them.
const BEFORE: [&str; 7] = ["alpha", "beta", "dev", "pre", "preview", "rc", "test"];

/// A version: `108.86.0.90`, `10.1.169.16`, `6.1.5(a)`, `SIP42.9-4-2SR3-1S`.
///
/// Its parts are numbers and words; what stands between them says nothing, and a `v` before a number neither. Numbers
/// are compared as numbers. A part that is not there is zero. A word comes after zero and before any other number,
/// `beta` and the like before zero. What follows a `+` tells of the making (`2.65.0+build.a546b91`), not of the order.
#[derive(Debug, Clone)]
pub struct Version(String);

/// Declared in the order in which they are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Before(String),
    Zero,
    Word(String),
    /// How many digits it has without leading zeros, and those: no number is too long.
    Number(usize, String),
}

impl Version {
    /// The version of this text; every text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().trim().to_owned())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without zeros at the end, which are as good as not there.
    fn parts(&self) -> Vec<Part> {
        let text = self.0.split('+').next().unwrap_or_default().to_ascii_lowercase();
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let same = |c: char| c.is_ascii_digit() == first.is_ascii_digit() && c.is_alphanumeric();
            let end = rest.find(|c| !same(c)).unwrap_or(rest.len()).max(first.len_utf8());
            let (part, after) = rest.split_at(end);
            let is_v = part == "v" && after.starts_with(|c: char| c.is_ascii_digit());
            if first.is_alphanumeric() && !is_v {
                parts.push(Part::of(part));
            }
            rest = after;
        }
        while parts.last() == Some(&Part::Zero) {
            parts.pop();
        }
        parts
    }
}

impl Part {
    fn of(text: &str) -> Self {
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            let is_before = BEFORE.contains(&text);
            return if is_before { Self::Before(text.to_owned()) } else { Self::Word(text.to_owned()) };
        }
        match text.trim_start_matches('0') {
            "" => Self::Zero,
            digits => Self::Number(digits.len(), digits.to_owned()),
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.parts(), other.parts());
        let longer = ours.len().max(theirs.len());
        let at = |parts: &[Part], place: usize| parts.get(place).cloned().unwrap_or(Part::Zero);
        (0..longer)
            .map(|place| at(&ours, place).cmp(&at(&theirs, place)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_in_the_order_of_their_vendors() {
        let rows: [&[&str]; 8] = [
            &["108.86.0.20", "108.86.0.90", "108.86.0.118", "108.87.0.15"],
            &["7.1.19", "8.4.18", "8.9.3.80", "10.1.33.33", "10.1.169.16"],
            &["6.1.5", "6.1.5(a)", "6.1.5(b)", "6.1.6"],
            &["SIP42.9-4-2", "SIP42.9-4-2SR3-1S", "SIP42.9-4-2SR4-1S", "SIP42.9-4-3"],
            &["2.0.0-beta1", "2.0.0-rc1", "2.0.0-rc2", "2.0", "2.0.1"],
            &["1.2.1_build_6", "1.2.1_build_10", "1.2.2"],
            &["V2.11.0+build.a546b91", "V2.11.1+build.0"],
            &["", "0.0.1", "99999999999999999999999", "100000000000000000000000"],
        ];
        for row in rows {
            for (place, lower) in row.iter().enumerate() {
                for higher in &row[place + 1..] {
                    assert!(Version::new(*lower) < Version::new(*higher), "{lower} < {higher}");
                }
            }
        }
    }

    #[test]
    fn one_version_may_be_written_in_several_ways() {
        for (one, other) in [
            ("2.0", "2.0.0"),
            ("V2.11.0", "2.11"),
            ("2.11.0+build.1", "2.11.0+build.2"),
            ("01.002", "1.2"),
            ("6.1.5(a)", "6.1.5a"),
            (" 1.0 ", "1.0"),
            ("9-4-2SR3", "9.4.2sr3"),
        ] {
            assert_eq!(Version::new(one), Version::new(other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in prop::collection::vec("[0-9a-cv.+ß-]{0,8}|(0|1|2|rc)(\\.(0|1|a|rc)){0,3}", 3)) {
            let [a, b, c] = [0, 1, 2].map(|place| Version::new(texts[place].clone()));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a == b, a.cmp(&b).is_eq());
            if a <= b && b <= c {
                prop_assert!(a <= c, "{} {} {}", a, b, c);
            }
        }

        #[test]
        fn numbers_are_compared_as_numbers(a: u32, b: u32) {
            let version = |number: u32| Version::new(format!("1.{number}.7"));
            prop_assert_eq!(version(a).cmp(&version(b)), a.cmp(&b));
        }
    }
}
