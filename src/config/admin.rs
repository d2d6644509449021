//! The people's listener: where it listens, and by which names it is reached.

use serde::{Deserialize, Deserializer, de::Error};

use super::Listen;

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port; `off` switches it off.
    pub listen: Listen,
    /// Names by which people and programs reach it, beside localhost and the host's own addresses: a proxy's, say.
    pub hosts: Vec<HostName>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: Listen::on([127, 0, 0, 1], 8482), hosts: Vec::new() }
    }
}

/// A host's name or address as it stands in a URL, lower-case, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        if text.is_empty() || !(is_address || text.chars().all(is_name)) {
            return Err(D::Error::custom(format!(
                "'{text}' is not a host's name; write pbx.example.org, without a port"
            )));
        }
        Ok(Self(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}
