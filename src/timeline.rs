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

/// A sighting's sentence: one line of bounded length.
pub fn sentence(sighting: &Sighting) -> String {
    let is_tidy = |c: &char| !c.is_control();
    sighting.outcome.chars().map(|c| if is_tidy(&c) { c } else { ' ' }).take(TEXT_CHARS_MAX).collect()
}

/// What else a sighting tells, as JSON; `None` where that is nothing, or too much.
pub fn data(sighting: &Sighting) -> Option<String> {
    let data = (!sighting.detail.is_null()).then(|| sighting.detail.to_string());
    data.filter(|data| data.len() <= DATA_BYTES_MAX)
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
        let text = sentence(&sighting(&text, serde_json::Value::Null));
        assert!(text.starts_with("a b [31m") && text.chars().count() == TEXT_CHARS_MAX);
        let options = |bytes| serde_json::json!({ "options": "x".repeat(bytes) });
        assert_eq!(data(&sighting("leads here", options(3))).as_deref(), Some(r#"{"options":"xxx"}"#));
        assert_eq!(data(&sighting("leads here", options(DATA_BYTES_MAX))), None);
        assert_eq!(data(&sighting("leads here", serde_json::Value::Null)), None);
    }

    #[test]
    fn a_line_says_when_where_what_and_how_often() {
        let at = Timestamp(1_700_000_000_000);
        let mut moment = Moment {
            mac: "001565010203".parse().unwrap(),
            stage: Channel::Dhcp,
            step: Step::Given,
            text: "leads here".to_owned(),
            data: serde_json::Value::Null,
            agent: String::new(),
            first: at,
            last: at,
            count: 1,
        };
        assert_eq!(moment.line(), "2023-11-14T22:13:20.000Z  dhcp  leads here");
        moment.count = 3;
        assert!(moment.line().ends_with("(3 times since 2023-11-14T22:13:20.000Z)"), "{}", moment.line());
    }
}
