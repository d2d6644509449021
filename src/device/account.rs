//! A SIP account, and how SIP and speech travel.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::secret::Sealed;

/// How SIP travels between phone and registrar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

impl Transport {
    /// The name in tables, profiles and URIs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            _ => Err(format!("'{text}' is not a SIP transport; use udp, tcp or tls")),
        }
    }
}

/// Whether speech is encrypted (RFC 3711).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// Never.
    #[default]
    Off,
    /// Where the other side can.
    Optional,
    /// Always; calls without it fail.
    Mandatory,
}

impl Srtp {
    /// The name in tables and profiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Mandatory => "mandatory",
        }
    }
}

impl FromStr for Srtp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "optional" => Ok(Self::Optional),
            "mandatory" => Ok(Self::Mandatory),
            _ => Err(format!("'{text}' is not an SRTP mode; use off, optional or mandatory")),
        }
    }
}

/// A SIP account. Its password is sealed; only the desk opens it, for the phone it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The row's number in the store.
    pub id: i64,
    /// The user part of the address of record.
    pub username: String,
    /// The name in the digest; the user name where the PBX makes no difference.
    pub auth_id: String,
    /// What the callee's display shows.
    pub display_name: Option<String>,
    /// Host, or `host:port`; `sip.registrar` where none is given.
    pub registrar: Option<String>,
    /// `sip.transport` where none is given.
    pub transport: Option<Transport>,
    /// Host, or `host:port`.
    pub outbound_proxy: Option<String>,
    /// Off where none is given.
    pub srtp: Option<Srtp>,
    /// Counts the passwords this account has had; 0 while it has none.
    pub password_version: i64,
    /// The password, sealed.
    pub password: Option<Sealed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!("TLS".parse(), Ok(Transport::Tls));
        assert_eq!("Mandatory".parse(), Ok(Srtp::Mandatory));
        assert!("sctp".parse::<Transport>().is_err() && "yes".parse::<Srtp>().is_err());
    }
}
