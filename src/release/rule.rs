//! The rules that make a release safe, by name, so that a test can switch one off and see that something notices.
//! Outside tests every rule holds, and the question costs nothing.

/// A rule that is worth a test of its own. Each names where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Store: the answer waits for the commit.
    CommitBeforeSend,
    /// Store: what is decided is decided about what the transaction sees.
    DecideInTransaction,
    /// Machine: one fetch does not use the window up.
    WindowOutlivesAGet,
    /// Store: a commit is on the disk.
    Synchronous,
    /// Machine: a window is measured on the boot clock.
    BootClock,
    /// Store: who a window belongs to survives a restart.
    BindingIsKept,
    /// Machine: a window belongs to one.
    Binding,
    /// Desk: a database that does not answer is a reason to wait, never one to leave the passwords out.
    FailureIsNotPlain,
    /// Machine: another boot ends a window.
    BootEndsWindow,
    /// Store: a window that is read back keeps the moment at which it opened.
    MomentIsKept,
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
