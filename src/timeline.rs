//! What happened to one phone, in order: by which service, in a stable word, and in a sentence. Never stores, never
//! waits; the store keeps the rows.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::device::{Channel, Mac, Sighting, Step};

/// Characters of a sentence: a part of it may come from the network.
pub const TEXT_CHARS_MAX: usize = 600;
/// Octets of what else is known; a DHCP answer with its options in words.
pub const DATA_BYTES_MAX: usize = 8 * 1024;

/// One thing that happened to a phone; the same within one hour is one moment, and counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// To whom.
    pub mac: Mac,
    /// By which service it was noticed.
    pub stage: Channel,
    /// What, in a stable word.
    pub step: Step,
    /// What, in a sentence.
    pub text: String,
    /// What else is known of the last time; null where that is nothing.
    pub data: serde_json::Value,
    /// By which agent it was noticed the last time.
    pub agent: String,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// How often.
    pub count: i64,
}

impl Moment {
    /// What a sighting adds to the life of its phone; `None` where nobody knows which phone it was.
    pub fn of(sighting: &Sighting) -> Option<Self> {
        let data = &sighting.detail;
        let fits = data.is_null() || data.to_string().len() <= DATA_BYTES_MAX;
        Some(Self {
            mac: sighting.identity.mac?,
            stage: sighting.channel,
            step: sighting.step,
            text: tidied(&sighting.outcome),
            data: if fits { data.clone() } else { serde_json::Value::Null },
            agent: String::new(),
            first: sighting.at,
            last: sighting.at,
            count: 1,
        })
    }

    /// One line for a person.
    pub fn line(&self) -> String {
        let Self { stage, text, last, .. } = self;
        let times = match self.count {
            1 => String::new(),
            count => format!(" ({count} times since {})", self.first),
        };
        format!("{last}  {:<4}  {text}{times}", stage.as_str())
    }
}

/// One line of bounded length.
fn tidied(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Identity;

    fn sighting(outcome: &str, detail: serde_json::Value) -> Sighting {
        Sighting {
            identity: Identity { mac: "001565010203".parse().ok(), ..Identity::default() },
            addr: [192, 0, 2, 7].into(),
            channel: Channel::Dhcp,
            at: Timestamp(1_700_000_000_000),
            step: Step::Given,
            outcome: outcome.to_owned(),
            detail,
        }
    }

    #[test]
    fn a_moment_is_one_line_of_bounded_length() {
        let text = format!("a\nb\u{1b}[31m{}", "ü".repeat(2_000));
        let moment = Moment::of(&sighting(&text, serde_json::Value::Null)).unwrap();
        assert!(moment.text.starts_with("a b [31m") && moment.text.chars().count() == TEXT_CHARS_MAX);
        let large = serde_json::json!({ "options": "x".repeat(DATA_BYTES_MAX) });
        assert!(Moment::of(&sighting("leads here", large)).unwrap().data.is_null());
    }

    #[test]
    fn a_line_says_when_where_what_and_how_often() {
        let mut moment = Moment::of(&sighting("leads here", serde_json::Value::Null)).unwrap();
        assert_eq!(moment.line(), "2023-11-14T22:13:20.000Z  dhcp  leads here");
        moment.count = 3;
        assert!(moment.line().ends_with("(3 times since 2023-11-14T22:13:20.000Z)"), "{}", moment.line());
    }

    #[test]
    fn who_is_nobody_has_no_life() {
        let nobody = Sighting { identity: Identity::default(), ..sighting("x", serde_json::Value::Null) };
        assert_eq!(Moment::of(&nobody), None);
    }
}
