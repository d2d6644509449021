//! The rules that keep a LAN from harm, by name, so that a test can break one and see that something notices. Outside
//! tests every rule holds, and the question costs nothing.

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

/// Whether the rule holds.
#[cfg(not(test))]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether the rule holds on this thread.
#[cfg(test)]
pub(crate) fn holds(rule: Rule) -> bool {
    BROKEN.get() != Some(rule)
}

/// Breaks a rule on this thread, for as long as the guard lives.
#[cfg(test)]
#[must_use]
pub(crate) fn without(rule: Rule) -> impl Drop {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            BROKEN.set(None);
        }
    }
    BROKEN.set(Some(rule));
    Guard
}
