//! The rules that make a release safe, by name (see [`crate::rule`]).

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
