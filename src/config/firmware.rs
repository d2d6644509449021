//! `[firmware]`: what is served beside the phones' settings.

use serde::Deserialize;

/// `[firmware]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirmwareConfig {
    /// Phones that are upgraded at a time; the others wait. 0: none is told of any firmware.
    pub concurrent: u16,
}

impl Default for FirmwareConfig {
    fn default() -> Self {
        Self { concurrent: 10 }
    }
}
