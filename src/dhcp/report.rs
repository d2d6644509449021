//! What the hook of a DHCP server reports of a lease. Never sends, never waits; whoever wrote the report is not trusted.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::tell::{Told, veiled};
use crate::device::{Mac, Step};
use crate::profile::redacted;

/// Octets of a report in its folder; a longer one is thrown away.
pub const REPORT_BYTES_MAX: usize = 4_096;
/// Characters of a text in it.
const TEXT_CHARS_MAX: usize = 200;

/// A lease as a DHCP server's hook knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Which server's hook: `dnsmasq`, `kea`.
    pub by: String,
    /// What became of the lease.
    pub event: LeaseEvent,
    /// Whose.
    pub mac: Mac,
    /// Which address.
    pub address: Ipv4Addr,
    /// Option 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Option 12, or what the server calls the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Option 55, as the server writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The relay by which it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Ipv4Addr>,
    /// Option 82, sub-option 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_id: Option<String>,
    /// Option 82, sub-option 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The server's own words for whom it was (tags, subnet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseEvent {
    /// It is a new one.
    New,
    /// It goes on, or the server has told of it again after its start.
    Kept,
    /// It is over.
    Over,
    /// The phone found its address in use.
    Declined,
}

impl Report {
    /// As text from whoever wrote it, of bounded length and in one line each.
    #[must_use]
    pub fn tidied(self) -> Self {
        let text = |text: Option<String>| {
            let text: String = text?
                .trim_end_matches('\0')
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(TEXT_CHARS_MAX)
                .collect();
            (!text.trim().is_empty()).then(|| text.trim().to_owned())
        };
        Self {
            by: text(Some(self.by)).unwrap_or_default(),
            class: text(self.class),
            host_name: text(self.host_name),
            asked: text(self.asked),
            circuit_id: text(self.circuit_id),
            remote_id: text(self.remote_id),
            note: text(self.note),
            ..self
        }
    }

    /// What is told of it.
    pub fn told(&self) -> Told {
        let shown = |text: &Option<String>| text.as_deref().map(|text| veiled(&redacted(text)));
        let (by, address) = (veiled(&redacted(&self.by)), self.address);
        let (step, mut sentence) = match self.event {
            LeaseEvent::New => (Step::Leased, format!("{by} gave it {address}")),
            LeaseEvent::Kept => (Step::Leased, format!("{by} lets it keep {address}")),
            LeaseEvent::Over => (Step::Ended, format!("{by} has ended its lease of {address}")),
            LeaseEvent::Declined => {
                (Step::Conflict, format!("{by} says that {address} is in use by another host"))
            }
        };
        if let Some(class) = shown(&self.class) {
            sentence = format!("as \"{class}\": {sentence}");
        }
        if let Some(relay) = self.relay {
            sentence = format!("{sentence} (by relay {relay})");
        }
        let data = json!({
            "reported_by": by,
            "address": address,
            "class": shown(&self.class),
            "host_name": shown(&self.host_name),
            "options": shown(&self.asked),
            "relay": self.relay.map(|relay| json!({
                "address": relay,
                "circuit_id": shown(&self.circuit_id),
                "remote_id": shown(&self.remote_id),
            })),
            "note": shown(&self.note),
        });
        let has_it = matches!(self.event, LeaseEvent::New | LeaseEvent::Kept);
        Told { step, sentence, data, address: Some(address).filter(|_| has_it) }
    }

    /// Where the phone is now, as far as the report tells.
    pub fn whereabouts(&self) -> IpAddr {
        self.told().address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(event: LeaseEvent) -> Report {
        let text = format!(
            r#"{{"by":"dnsmasq","event":{},"mac":"80:5e:c0:00:00:01","address":"10.9.0.7","class":"yealink","relay":"10.9.0.1"}}"#,
            serde_json::to_string(&event).unwrap()
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_report_is_told_in_a_sentence() {
        let check = |event, step, sentence: &str, whereabouts: &str| {
            let report = report(event);
            let told = report.told();
            assert_eq!((told.step, told.sentence.as_str()), (step, sentence));
            assert_eq!(report.whereabouts().to_string(), whereabouts);
        };
        check(
            LeaseEvent::New,
            Step::Leased,
            "as \"yealink\": dnsmasq gave it 10.9.0.7 (by relay 10.9.0.1)",
            "10.9.0.7",
        );
        check(
            LeaseEvent::Over,
            Step::Ended,
            "as \"yealink\": dnsmasq has ended its lease of 10.9.0.7 (by relay 10.9.0.1)",
            "0.0.0.0",
        );
    }

    #[test]
    fn a_reports_texts_are_tidied_and_hold_no_password() {
        let class = Some("x\ny http://a:kCanary@192.0.2.1/\0".to_owned());
        let note = Some("n".repeat(1_000));
        let report =
            Report { class, note, host_name: Some(" \0".to_owned()), ..report(LeaseEvent::Kept) }.tidied();
        assert_eq!((report.host_name.as_ref(), report.note.as_ref().map(String::len)), (None, Some(200)));
        let told = report.told();
        assert!(!format!("{told:?}").contains("kCanary"), "{told:?}");
        assert!(told.sentence.starts_with("as \"x y http://***@192.0.2.1/\""), "{}", told.sentence);
    }
}
