//! Rules by name, so that a test can break one and see that something notices. Outside tests every rule holds, and the
//! question costs nothing. Each room has its own list: `release/rule.rs`, `dhcp/rule.rs`.

/// Whether the rule holds.
#[cfg(not(test))]
pub(crate) const fn holds<R: Copy>(_: R) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::RefCell<Option<Box<dyn std::any::Any>>> = const { std::cell::RefCell::new(None) };
}

/// Whether the rule holds on this thread.
#[cfg(test)]
pub(crate) fn holds<R: Copy + PartialEq + 'static>(rule: R) -> bool {
    BROKEN.with_borrow(|broken| broken.as_ref().and_then(|broken| broken.downcast_ref()) != Some(&rule))
}

/// Breaks a rule on this thread, for as long as the guard lives.
#[cfg(test)]
#[must_use]
pub(crate) fn without<R: Copy + PartialEq + 'static>(rule: R) -> impl Drop {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            BROKEN.set(None);
        }
    }
    BROKEN.set(Some(Box::new(rule)));
    Guard
}
