//! What became of a phone's question, in one word.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What became of a phone's question. The words are stable: rows and programs carry them, and what explains a phone's
/// trouble reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It was answered: with its URL, or by a DHCP server in a way that no profile judges.
    Answered,
    /// It waits for a person.
    Pending,
    /// It was heard, and gets nothing.
    Ignored,
    /// None of our services listens at the address that it sees.
    Unreachable,
    /// It did not answer the NOTIFY.
    Silent,
    /// It did not take its URL, or what else it was told.
    Declined,
    /// It was told something while it ran.
    Sent,
    /// It answered that it will do what it was told.
    Accepted,
    /// It came after it was told to.
    Came,
    /// It was sent a file.
    Served,
    /// It has that file already.
    Known,
    /// It asked only about a file.
    Asked,
    /// It did not take all of a file.
    BrokenOff,
    /// It asked for a file that no profile knows, or that is another vendor's.
    UnknownFile,
    /// Somebody else asked for its file.
    Refused,
    /// It may not have its file now.
    Withheld,
    /// Its file could not be made or sent now.
    Unavailable,
    /// A scan found it.
    Found,
    /// It has another address than before.
    Moved,
    /// DHCP led it here.
    Given,
    /// DHCP gave it a server that is not this one, or one that it cannot read.
    Misled,
    /// DHCP gave it an address, and no server.
    Bare,
    /// Nobody heard what DHCP answered, or whether.
    Unheard,
    /// A DHCP server offered it an address, and it took none.
    NotTaken,
    /// No DHCP server was heard, and it did not go on as if there were one; or no registrar.
    Unanswered,
    /// A DHCP server did not let it have its address.
    Nak,
    /// It found its address in use by another host.
    Conflict,
    /// It gave its address back.
    Released,
    /// A DHCP server reported its lease.
    Leased,
    /// A DHCP server reported the end of its lease.
    Ended,
    /// Its registrar took an account of it.
    Registered,
    /// It ended a registration.
    Unregistered,
    /// Its registrar refused an account of it.
    Rejected,
}

impl Step {
    const ALL: [Self; 33] = [
        Self::Answered,
        Self::Pending,
        Self::Ignored,
        Self::Unreachable,
        Self::Silent,
        Self::Declined,
        Self::Sent,
        Self::Accepted,
        Self::Came,
        Self::Served,
        Self::Known,
        Self::Asked,
        Self::BrokenOff,
        Self::UnknownFile,
        Self::Refused,
        Self::Withheld,
        Self::Unavailable,
        Self::Found,
        Self::Moved,
        Self::Given,
        Self::Misled,
        Self::Bare,
        Self::Unheard,
        Self::NotTaken,
        Self::Unanswered,
        Self::Nak,
        Self::Conflict,
        Self::Released,
        Self::Leased,
        Self::Ended,
        Self::Registered,
        Self::Unregistered,
        Self::Rejected,
    ];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Pending => "pending",
            Self::Ignored => "ignored",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Declined => "declined",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Came => "came",
            Self::Served => "served",
            Self::Known => "known",
            Self::Asked => "asked",
            Self::BrokenOff => "broken_off",
            Self::UnknownFile => "unknown_file",
            Self::Refused => "refused",
            Self::Withheld => "withheld",
            Self::Unavailable => "unavailable",
            Self::Found => "found",
            Self::Moved => "moved",
            Self::Given => "given",
            Self::Misled => "misled",
            Self::Bare => "bare",
            Self::Unheard => "unheard",
            Self::NotTaken => "not_taken",
            Self::Unanswered => "unanswered",
            Self::Nak => "nak",
            Self::Conflict => "conflict",
            Self::Released => "released",
            Self::Leased => "leased",
            Self::Ended => "ended",
            Self::Registered => "registered",
            Self::Unregistered => "unregistered",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|step| step.as_str() == text)
            .ok_or_else(|| format!("'{text}' is no step of a phone's life"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_survive_their_words() {
        for step in Step::ALL {
            assert_eq!(step.as_str().parse(), Ok(step));
            assert_eq!(serde_json::to_value(step).unwrap(), step.as_str());
        }
        assert!("Given".parse::<Step>().is_err());
    }
}
