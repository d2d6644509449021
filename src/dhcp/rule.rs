//! The rules that keep a LAN from harm, by name (see [`crate::rule`]).

/// A rule that is worth a test of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// What is offered was probed.
    ProbeFirst,
    /// An ACK leaves when its lease is durable.
    CommitFirst,
    /// Beside another server only leases are renewed.
    Yield,
    /// Only phones are answered.
    PhonesOnly,
    /// A NAK is about our own record.
    OwnNakOnly,
    /// What somebody has, nobody else gets.
    OneHolder,
    /// Leases are known again after a start.
    LeasesAreKept,
    /// A lease is measured on the boot clock.
    BootClock,
}
