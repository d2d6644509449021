//! What kind of phone, where, and against whom. Data only.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Entropy, EntropyError};
use crate::device::{Mac, Vendor};
use crate::profile::{MacRange, Profile};

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
    /// Nowhere: it goes by what it knows, and waits until somebody comes.
    Nobody,
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

/// One phone to simulate. `PhoneSpec { model: …, ..PhoneSpec::new(profile, mac) }` sets what differs from the usual.
#[derive(Debug, Clone)]
pub struct PhoneSpec {
    /// Its vendor's profile, which says how it behaves.
    pub profile: Arc<Profile>,
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
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}

impl PhoneSpec {
    /// The vendor's usual model, on multicast, registering as configured.
    pub fn new(profile: Arc<Profile>, mac: Mac) -> Self {
        Self {
            model: usual_model(&profile),
            profile,
            mac,
            firmware: None,
            address: None,
            against: Target::default(),
            transfer: Transfer::default(),
            register: RegisterAt::default(),
            again: false,
            patience: Patience::default(),
            clock: Clock::System,
            entropy: Entropy::System,
        }
    }

    /// Its vendor.
    pub fn vendor(&self) -> &Vendor {
        self.profile.vendor()
    }
}

/// The model that is simulated when none is named.
pub fn usual_model(profile: &Profile) -> String {
    let named = profile.simulate().and_then(|sheet| sheet.model.clone());
    let first = || profile.models().next().map(|model| model.name.clone());
    named.or_else(first).unwrap_or_else(|| "phone".to_owned())
}

/// Whether phones of this model ask the LAN by multicast.
pub fn asks_by_multicast(profile: &Profile, model: &str) -> bool {
    let family = profile.table(model).family.as_deref();
    profile.simulate().is_some_and(|sheet| sheet.played(family, None).subscribe_uri.is_some())
}

/// A random address out of this vendor's own block, so that servers recognise it; `None` where the profile names no
/// block.
pub fn random_mac(profile: &Profile, entropy: &Entropy) -> Result<Option<Mac>, EntropyError> {
    let named = profile.simulate().and_then(|sheet| sheet.mac.as_ref()?.parse::<MacRange>().ok());
    let Some(range) = named.or(profile.ranges().first().copied()) else { return Ok(None) };
    // Ranges of vendors hold individual addresses only, so the first draw is taken.
    loop {
        if let Some(mac) = range.address(u64::from_be_bytes(entropy.bytes()?)) {
            return Ok(Some(mac));
        }
    }
}
