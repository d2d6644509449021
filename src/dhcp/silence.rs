//! Why a question got no answer. A companion is silent most of the time, and each time it can say why.

use std::fmt;

/// Why a question got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A server's message, or a type that no client sends.
    NotAQuestion,
    /// A client on this very host.
    OwnHost,
    /// It says less than its type must.
    Malformed,
    /// A relay that is not in `dhcp.relays` and that no pool is for.
    Relay,
    /// No pool is for this network.
    NoPool,
    /// Option 60 is `MSFT…`.
    Microsoft,
    /// A Windows server looks for servers that its directory does not know.
    RogueDetection,
    /// It answers DHCP itself.
    IsServer,
    /// Its hardware address is no phone vendor's, or it neither says it is such a phone nor was approved.
    NotAPhone,
    /// It waits for a person's approval.
    Pending,
    /// The policy takes no strangers, or not this one.
    Unwelcome,
    /// A person blocked it.
    Blocked,
    /// An INFORM without the client's address.
    NoAddress,
    /// The client says that it has one of our addresses.
    OurAddress,
    /// An INFORM for another address than it came from.
    NotItsSource,
    /// The client's address is not of this link.
    OffLink,
    /// It asked for nothing that its profile knows.
    NothingAsked,
    /// It talks to another server.
    ForAnother,
    /// It asks to go on with an address that we never gave it.
    Unknown,
    /// Its address is being probed.
    Probing,
    /// Its lease is being written.
    Writing,
    /// Its lease could not be written.
    NotWritten,
    /// The pool is shared, and the other server comes first.
    OtherFirst,
    /// Another server answers on this network.
    Yielding,
    /// Switched off.
    Off,
    /// This client was answered often enough.
    ClientRate,
    /// This network was answered often enough.
    Rate,
    /// Only few addresses are left, and they are for phones of the inventory.
    Starvation,
    /// No address is left.
    Full,
    /// More addresses are being probed than makes sense.
    Busy,
    /// Address after address is in use by somebody else.
    Conflicts,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; 31] = [
        Self::NotAQuestion,
        Self::OwnHost,
        Self::Malformed,
        Self::Relay,
        Self::NoPool,
        Self::Microsoft,
        Self::RogueDetection,
        Self::IsServer,
        Self::NotAPhone,
        Self::Pending,
        Self::Unwelcome,
        Self::Blocked,
        Self::NoAddress,
        Self::OurAddress,
        Self::NotItsSource,
        Self::OffLink,
        Self::NothingAsked,
        Self::ForAnother,
        Self::Unknown,
        Self::Probing,
        Self::Writing,
        Self::NotWritten,
        Self::OtherFirst,
        Self::Yielding,
        Self::Off,
        Self::ClientRate,
        Self::Rate,
        Self::Starvation,
        Self::Full,
        Self::Busy,
        Self::Conflicts,
    ];

    /// The reason's stable word, for counters and listings.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The reason for people.
    pub fn says(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::NotAQuestion => ("not_a_question", "no question of a client"),
            Self::OwnHost => ("own_host", "a client on this very host"),
            Self::Malformed => ("malformed", "it says less than its type must"),
            Self::Relay => ("relay", "it came through a relay that is not in dhcp.relays"),
            Self::NoPool => ("no_pool", "no pool is for this network"),
            Self::Microsoft => ("microsoft", "a Windows host, which is never answered"),
            Self::RogueDetection => ("rogue_detection", "a Windows server looks for other servers"),
            Self::IsServer => ("is_server", "it answers DHCP itself"),
            Self::NotAPhone => ("not_a_phone", "no phone by its hardware address and option 60"),
            Self::Pending => ("pending", "it waits for approval: offhook device approve MAC"),
            Self::Unwelcome => ("unwelcome", "adopt.policy, adopt.allow or adopt.deny leaves it out"),
            Self::Blocked => ("blocked", "it is blocked"),
            Self::NoAddress => ("no_address", "it does not say which address it has"),
            Self::OurAddress => ("our_address", "it says that it has an address of this host"),
            Self::NotItsSource => ("not_its_source", "it asks for another address than it came from"),
            Self::OffLink => ("off_link", "its address is not of this link"),
            Self::NothingAsked => ("nothing_asked", "it asked for nothing that its profile knows"),
            Self::ForAnother => ("for_another", "it talks to another server"),
            Self::Unknown => ("unknown", "it asks to go on with an address that was never given to it"),
            Self::Probing => ("probing", "its address is being probed"),
            Self::Writing => ("writing", "its lease is being written"),
            Self::NotWritten => ("not_written", "its lease could not be written"),
            Self::OtherFirst => ("other_first", "the other server of this shared network comes first"),
            Self::Yielding => ("yielding", "another server answers here: only leases of ours are renewed"),
            Self::Off => ("off", "switched off: offhook dhcp on"),
            Self::ClientRate => ("client_rate", "this client was answered often enough"),
            Self::Rate => ("rate", "dhcp.answers_per_s is reached"),
            Self::Starvation => ("starvation", "the last addresses are for phones of the inventory"),
            Self::Full => ("full", "no address is left in the pool"),
            Self::Busy => ("busy", "too many addresses are being probed"),
            Self::Conflicts => ("conflicts", "address after address is in use by somebody else"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_and_a_sentence_of_its_own() {
        let words: BTreeSet<_> = Why::ALL.iter().map(|why| why.as_str()).collect();
        let sentences: BTreeSet<_> = Why::ALL.iter().map(|why| why.says()).collect();
        assert_eq!((words.len(), sentences.len()), (Why::ALL.len(), Why::ALL.len()));
        assert_eq!(Why::ALL.last().map(|why| *why as usize + 1), Some(Why::ALL.len()), "none is missing");
    }
}
