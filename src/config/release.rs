//! `[release]`: how long passwords may leave, and how a window is written.

use serde::Deserialize;

use super::Span;
use crate::release::{CloseOn, STAGED_DISCOVERED, STAGED_REGISTERED, WINDOW_MAX, WINDOW_MIN, Window};

/// `[release]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReleaseConfig {
    /// How long a bound phone may fetch its passwords, 1m to 24h.
    #[serde(deserialize_with = "limited_always")]
    pub window: Window,
    /// The same for SIP passwords alone.
    #[serde(deserialize_with = "limited")]
    pub sip_window: Option<Window>,
    /// The same for the menu's credential alone.
    #[serde(deserialize_with = "limited")]
    pub menu_window: Option<Window>,
    /// The same for the web password alone; `none`: until the phone has acknowledged it.
    pub webui_window: Option<Window>,
    /// What ends a window before its time: `window` (nothing), `acked` or `applied`.
    pub close_on: CloseOn,
    /// How often a password may leave in one window.
    pub max_releases: u32,
    /// How long a phone that was seen waits for its first contact.
    pub staged_ttl: Span,
    /// How long a phone that was entered before it was ever seen waits.
    pub registered_ttl: Span,
    /// Whether a release without a pinned neighbour entry is refused.
    pub require_pin: bool,
}

impl Default for ReleaseConfig {
    fn default() -> Self {
        Self {
            window: Window::Of(std::time::Duration::from_mins(10)),
            sip_window: None,
            menu_window: None,
            webui_window: None,
            close_on: CloseOn::Window,
            max_releases: 100,
            staged_ttl: Span(STAGED_DISCOVERED),
            registered_ttl: Span(STAGED_REGISTERED),
            require_pin: false,
        }
    }
}

/// A window as it is written: `10m`, between one minute and a day, or `none` for one that lasts until the phone has
/// acknowledged what it got.
impl std::str::FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::UntilAcked);
        }
        let Span(span) = text.parse()?;
        if !(WINDOW_MIN..=WINDOW_MAX).contains(&span) {
            return Err(format!("'{text}' is no window; write 1m to 24h"));
        }
        Ok(Self::Of(span))
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// SIP and menu passwords leave only within a window of some length.
fn limited<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Window>, D::Error> {
    match Window::deserialize(deserializer)? {
        Window::UntilAcked => Err(serde::de::Error::custom(
            "none, but SIP and menu passwords leave only within a window; write 1m to 24h",
        )),
        limited @ Window::Of(_) => Ok(Some(limited)),
    }
}

fn limited_always<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Window, D::Error> {
    limited(deserializer).map(|window| window.unwrap_or(Window::Of(WINDOW_MAX)))
}
