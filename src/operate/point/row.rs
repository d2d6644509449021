//! One phone that is pointed here, and what became of it, in the words of listings.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::device::{Channel, Identity, Mac, Sighting, Step, Vendor};
use crate::store::Seen;

/// One phone, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) mac: Mac,
    pub(crate) vendor: Option<Vendor>,
    pub(crate) model: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) result: Fate,
    /// The way that was tried last: `sip-notify:EVENT`, or `web:NAME`.
    pub(super) means: Option<String>,
    /// The request of it that left last.
    pub(super) step: Option<String>,
    pub(crate) message: String,
    remedy: String,
    pub(super) sent_at: Option<Timestamp>,
    /// By which service it was seen.
    came_by: Option<Channel>,
    came_after_s: Option<f64>,
}

/// What became of a phone, in a stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It would be pointed here.
    Planned,
    /// It has come already; nothing was sent.
    Here,
    /// Another server has it; nothing was sent.
    Foreign,
    /// It cannot be pointed, or not now; nothing was sent.
    NotSent,
    /// Something was sent to it.
    Sent,
    /// It took what it was told, and has not come yet.
    Told,
    /// It took nothing by any means.
    Refused,
    /// It came.
    Came,
}

impl Row {
    pub(super) fn new(mac: Mac) -> Self {
        Self {
            mac,
            vendor: None,
            model: None,
            address: None,
            result: Fate::Planned,
            means: None,
            step: None,
            message: String::new(),
            remedy: String::new(),
            sent_at: None,
            came_by: None,
            came_after_s: None,
        }
    }

    pub(super) fn ends(&mut self, result: Fate, message: impl Into<String>, remedy: impl Into<String>) {
        (self.result, self.message, self.remedy) = (result, message.into(), remedy.into());
    }

    pub(super) fn came(&mut self, seen: &Seen) {
        let sent = self.sent_at.unwrap_or(seen.last);
        let after = Duration::from_millis(u64::try_from(seen.last.0 - sent.0).unwrap_or_default());
        let after = after.as_secs_f64();
        (self.came_by, self.came_after_s) = (Some(seen.channel), Some(after));
        let (channel, outcome) = (seen.channel.as_str(), &seen.outcome);
        self.ends(Fate::Came, format!("came after {after:.1} s by {channel}: {outcome}"), "");
    }

    /// A moment of the phone's life.
    pub(super) fn moment(&self, step: Step, at: Timestamp) -> Sighting {
        let (mac, vendor, model) = (Some(self.mac), self.vendor.clone(), self.model.clone());
        let identity = Identity { mac, vendor, model, firmware: None };
        let outcome = match step {
            Step::Sent => format!("told to point: {}", self.means.as_deref().unwrap_or_default()),
            _ => self.message.clone(),
        };
        let addr = self.address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let detail = serde_json::Value::Null;
        Sighting { identity, addr, channel: Channel::Push, at, step, outcome, detail }
    }

    /// One line for a person, as it happens.
    pub(crate) fn line(&self) -> String {
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("\n  {}", self.remedy) };
        format!("{}  {}{remedy}\n", self.mac, self.message)
    }

    /// Its line of the table.
    pub(crate) fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            self.mac.to_string(),
            or_dash(self.vendor.as_ref().map(ToString::to_string)),
            or_dash(self.model.clone()),
            or_dash(self.address.map(|address| address.to_string())),
            self.result.as_str().to_owned(),
            or_dash(self.means.clone()),
            self.message.clone(),
        ]
    }
}

impl Fate {
    /// Every word, in the order of a tally.
    pub(crate) const ALL: [Self; 8] = [
        Self::Came,
        Self::Here,
        Self::Told,
        Self::Sent,
        Self::Refused,
        Self::Foreign,
        Self::NotSent,
        Self::Planned,
    ];

    /// The word for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Here => "here already",
            Self::Foreign => "bound elsewhere",
            Self::NotSent => "not sent",
            Self::Sent => "sent",
            Self::Told => "told",
            Self::Refused => "refused",
            Self::Came => "came",
        }
    }
}
