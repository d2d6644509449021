//! The rules of a release: how long, how often, what ends it. From the configuration, the profile and the device.

use std::time::Duration;

use super::Window;
use crate::secret::SecretKind;

/// A window is never shorter: a phone needs its reboot.
pub const WINDOW_MIN: Duration = Duration::from_mins(1);
/// A window is never longer: it would be no window any more.
pub const WINDOW_MAX: Duration = Duration::from_hours(24);
/// How long a phone that was seen, and the arming of an operator, wait for the first contact.
pub const STAGED_DISCOVERED: Duration = Duration::from_hours(24);
/// How long a phone that was entered before it was ever seen waits: it lies in its box.
pub const STAGED_REGISTERED: Duration = Duration::from_hours(30 * 24);
/// Releases in one window: a loop in a phone, not a retry.
const RELEASES_MAX: u32 = 100;

/// What ends a window before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseOn {
    /// Nothing: the phone may ask again until the window is over.
    Window,
    /// That the phone has acknowledged the last byte.
    Acked,
    /// That the phone uses what was delivered.
    Applied,
}

/// The rules for one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long the phone may fetch it.
    pub window: Window,
    /// What ends that earlier.
    pub close_on: CloseOn,
    /// How often it may leave in one window.
    pub releases_max: u32,
}

/// The rules for every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policies {
    /// In the order of [`SecretKind::ALL`].
    kinds: [Policy; 4],
    /// How long the arming of an operator waits for the phone.
    pub on_contact: Duration,
}

impl Policies {
    /// The same rules for every kind.
    pub fn all(window: Window, close_on: CloseOn, releases_max: u32) -> Self {
        Self { kinds: [Policy { window, close_on, releases_max }; 4], on_contact: STAGED_DISCOVERED }
    }

    /// The same window for every kind, ended by nothing but time.
    pub fn with_window(window: Duration) -> Self {
        Self::all(Window::Of(window.clamp(WINDOW_MIN, WINDOW_MAX)), CloseOn::Window, RELEASES_MAX)
    }

    /// The rules for this kind.
    pub fn of(&self, kind: SecretKind) -> &Policy {
        let [sip, menu, webui, prov] = &self.kinds;
        match kind {
            SecretKind::Sip => sip,
            SecretKind::Menu => menu,
            SecretKind::Webui => webui,
            SecretKind::Prov => prov,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, kind: SecretKind) -> &mut Policy {
        let [sip, menu, webui, prov] = &mut self.kinds;
        match kind {
            SecretKind::Sip => sip,
            SecretKind::Menu => menu,
            SecretKind::Webui => webui,
            SecretKind::Prov => prov,
        }
    }

    /// One parameter of a phone serves for two kinds: the stricter of their rules holds for both.
    pub fn alias(&mut self, one: SecretKind, other: SecretKind) {
        let strict = self.of(one).stricter(self.of(other));
        *self.of_mut(one) = strict;
        *self.of_mut(other) = strict;
    }
}

impl Policy {
    fn stricter(&self, other: &Self) -> Self {
        let window = match (self.window, other.window) {
            (Window::Of(one), Window::Of(two)) => Window::Of(one.min(two)),
            (limited @ Window::Of(_), Window::UntilAcked) | (Window::UntilAcked, limited) => limited,
        };
        let close_on = match (self.close_on, other.close_on) {
            (CloseOn::Acked, _) | (_, CloseOn::Acked) => CloseOn::Acked,
            (CloseOn::Applied, _) | (_, CloseOn::Applied) => CloseOn::Applied,
            (CloseOn::Window, CloseOn::Window) => CloseOn::Window,
        };
        Self { window, close_on, releases_max: self.releases_max.min(other.releases_max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_rules_holds_for_both() {
        let mut policies = Policies::with_window(Duration::from_mins(10));
        policies.of_mut(SecretKind::Webui).window = Window::UntilAcked;
        policies.of_mut(SecretKind::Menu).close_on = CloseOn::Acked;
        policies.alias(SecretKind::Menu, SecretKind::Webui);
        for kind in [SecretKind::Menu, SecretKind::Webui] {
            assert_eq!(policies.of(kind).window, Window::Of(Duration::from_mins(10)));
            assert_eq!(policies.of(kind).close_on, CloseOn::Acked);
        }
        assert_eq!(policies.of(SecretKind::Sip).close_on, CloseOn::Window);
    }

    #[test]
    fn a_window_has_bounds() {
        let window = |wanted| Policies::with_window(wanted).of(SecretKind::Sip).window;
        assert_eq!(window(Duration::ZERO), Window::Of(WINDOW_MIN));
        assert_eq!(window(Duration::MAX), Window::Of(WINDOW_MAX));
    }
}
