//! What kind of phone, where, and against whom. Data only.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::{Clock, Entropy, EntropyError};
use crate::device::Mac;

/// The vendors whose phones can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Brand {
    /// Desk phones (D7xx, D8xx, 3xx …) and DECT bases (M-series).
    Snom,
    /// Desk phones (T-series) and DECT bases (W-series).
    Yealink,
}

impl Brand {
    /// The name of the profile's folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snom => "snom",
            Self::Yealink => "yealink",
        }
    }

    /// A setting as people know it: `user_pass1`, `account.1.password`.
    pub(super) fn parameter(self, name: &str, index: u16) -> String {
        match (self, index) {
            (Self::Snom, 0) => name.to_owned(),
            (Self::Snom, index) => format!("{name}{index}"),
            // A user's name behind the colon is ours, to keep its users apart.
            (Self::Yealink, _) => name.split(':').next().unwrap_or(name).to_owned(),
        }
    }

    /// The parameter that holds the password of an account.
    pub(super) fn password_of(self, line: u16) -> String {
        match self {
            Self::Snom => format!("user_pass{line}"),
            Self::Yealink => format!("account.{line}.password"),
        }
    }

    /// The model that is simulated when none is named.
    pub fn usual_model(self) -> &'static str {
        match self {
            Self::Snom => "D785",
            Self::Yealink => "T46U",
        }
    }

    /// A random address out of this vendor's own block, so that servers recognise it. snom shares its block with
    /// Gigaset desk phones; the ranges here are snom's (snom's and tancredi's public tables).
    pub fn random_mac(self, entropy: &Entropy) -> Result<Mac, EntropyError> {
        // These blocks hold individual addresses only, so the first draw is taken.
        loop {
            let [a, b] = entropy.bytes::<2>()?;
            let octets = match self {
                Self::Snom => [0x00, 0x04, 0x13, 0x96, a, b],
                Self::Yealink => [0x80, 0x5e, 0xc0, 0x5a, a, b],
            };
            if let Some(mac) = Mac::new(octets) {
                return Ok(mac);
            }
        }
    }
}

/// Where the phone looks for its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Multicast plug and play on the phone's own link.
    Multicast {
        /// Usually 224.0.1.75.
        group: Ipv4Addr,
        /// Usually 5060.
        port: u16,
    },
    /// The same SUBSCRIBE, sent to one server.
    Server(SocketAddr),
    /// No SUBSCRIBE: a URL as it would be typed into the phone or come by DHCP; `http://` or `tftp://`.
    Url(String),
}

impl Default for Target {
    fn default() -> Self {
        Self::Multicast { group: Ipv4Addr::new(224, 0, 1, 75), port: 5060 }
    }
}

/// How files are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// As the URL says.
    #[default]
    AsTold,
    /// By TFTP from the same host, whatever the URL says.
    Tftp {
        /// Usually 69.
        port: u16,
    },
}

/// Where the phone registers its accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RegisterAt {
    /// At the registrar of its configuration.
    #[default]
    Configured,
    /// At this `HOST` or `HOST:PORT`, whatever the configuration says (for labs); the domain stays the configured one.
    Instead(String),
    /// It does not register.
    Nowhere,
}

/// How long the phone waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the first SUBSCRIBE to the NOTIFY.
    pub subscribe: Duration,
    /// For one file.
    pub file: Duration,
    /// For one REGISTER.
    pub register: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            subscribe: Duration::from_secs(10),
            file: Duration::from_secs(10),
            register: Duration::from_secs(5),
        }
    }
}

/// One phone to simulate. `PhoneSpec { model: …, ..PhoneSpec::new(brand, mac) }` sets what differs from the usual.
#[derive(Debug, Clone)]
pub struct PhoneSpec {
    /// Its vendor.
    pub vendor: Brand,
    /// Its model, as the vendor prints it.
    pub model: String,
    /// Its address on the wire.
    pub mac: Mac,
    /// Its firmware; the profile's for this model where none is given.
    pub firmware: Option<String>,
    /// The IPv4 address it sends from; the kernel's choice towards the target where none is given.
    pub address: Option<Ipv4Addr>,
    /// Where it looks for its configuration.
    pub against: Target,
    /// How it fetches.
    pub transfer: Transfer,
    /// Where it registers.
    pub register: RegisterAt,
    /// Whether it looks at its configuration once more at the end, through the URL that it was given there.
    pub again: bool,
    /// How long it waits.
    pub patience: Patience,
    /// Vendor profiles beside the built-in ones.
    pub profiles: Option<PathBuf>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}

impl PhoneSpec {
    /// The vendor's usual model, on multicast, registering as configured.
    pub fn new(vendor: Brand, mac: Mac) -> Self {
        Self {
            vendor,
            model: vendor.usual_model().to_owned(),
            mac,
            firmware: None,
            address: None,
            against: Target::default(),
            transfer: Transfer::default(),
            register: RegisterAt::default(),
            again: false,
            patience: Patience::default(),
            profiles: None,
            clock: Clock::System,
            entropy: Entropy::System,
        }
    }
}
