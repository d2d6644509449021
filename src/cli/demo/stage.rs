//! The stage of the demonstration: a folder that is removed, the example accounts in a store, a toy registrar that knows
//! their passwords, and the phones.

use std::collections::HashMap;
use std::fs::{DirBuilder, remove_dir_all};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::super::Failure;
use crate::accounts;
use crate::clock::{Clock, Entropy};
use crate::config::{AdoptPolicy, Config, DhcpMode, Listen, Places};
use crate::device::{Mac, Vendor};
use crate::profile::Catalog;
use crate::secret::Secret;
use crate::simulate::registrar::Registrar;
use crate::simulate::{PhoneSpec, asks_by_multicast, random_mac};
use crate::store::{AccountRow, ImportOptions, Sheet, Store, Vault};

/// The tables that a newcomer is shown, as they are.
const ACCOUNTS: &str = include_str!("../../../examples/accounts.csv");
const KEYS: &str = include_str!("../../../examples/keys.csv");

/// What is said between the two lives of the phones.
pub(super) const INTERVAL: &str = "\nAll passwords have left once, and are locked now (offhook device lock). Every phone is switched off and on.\n\
                                   It keeps what its file no longer names, as a real one does:\n\n";

/// Phones that nobody announced: vendor, model, and whether somebody typed the agent's address into them.
const STRANGERS: [(&str, &str, bool); 2] = [("snom", "D865", false), ("yealink", "T54W", true)];

/// Everything but the agent.
pub(super) struct Stage {
    pub(super) store: Store,
    pub(super) registrar: Registrar,
    pub(super) cast: Vec<Part>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    folder: Folder,
}

/// One phone of the demonstration.
#[derive(Debug)]
pub(super) struct Part {
    /// As its steps are told.
    pub(super) name: String,
    pub(super) spec: PhoneSpec,
    /// Whether somebody typed the agent's address into it, instead of its asking the LAN.
    pub(super) typed: bool,
}

impl Stage {
    /// Makes the folder, fills the store, starts the registrar, casts the phones.
    pub(super) async fn build() -> Result<Self, Failure> {
        let (clock, entropy) = (Clock::System, Entropy::System);
        let mut sheet = Sheet::default();
        accounts::read_csv("examples/accounts.csv", ACCOUNTS.as_bytes(), &mut sheet);
        sheet.take_registrars(); // nothing of the demonstration leaves this host
        accounts::read_csv("examples/keys.csv", KEYS.as_bytes(), &mut sheet);
        let folder = Folder::make(&entropy)?;
        let url = format!("sqlite:{}", folder.0.join("offhook.db").display());
        let vault = Vault::with_key(entropy.bytes().map_err(cannot("draw a key"))?);
        let store = Store::open(&url, vault, clock.clone(), entropy.clone())
            .await
            .map_err(cannot("open the store"))?;
        store
            .import(&sheet, ImportOptions::default())
            .await
            .map_err(cannot("import the example accounts"))?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let registrar = Registrar::start(listen, passwords(&sheet), entropy.clone()).await;
        let registrar = registrar.map_err(cannot("start the registrar"))?;
        let cast = cast(&sheet, &entropy)?;
        Ok(Self { store, registrar, cast, clock, entropy, folder })
    }

    /// The configuration of an agent that nobody outside this host can reach.
    pub(super) fn config(&self) -> Config {
        let here = Listen::On(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mut config = Config::default();
        config.agent.name = Some("demo".to_owned());
        config.agent.interfaces = vec!["lo".to_owned()];
        config.adopt.policy = AdoptPolicy::Auto;
        config.sip.registrar = Some(self.registrar.address().to_string());
        config.pnp.port = 0;
        config.pnp.reply_port = 0;
        config.http.listen = here;
        config.tftp.listen = here;
        config.https.listen = Listen::Off;
        config.admin.listen = Listen::Off;
        // It would hear the whole host's LAN.
        config.dhcp.mode = DhcpMode::Off;
        config
    }

    pub(super) fn places(&self) -> Places {
        let folder = |name: &str| self.folder.0.join(name);
        Places { data: folder("data"), config: folder("config"), runtime: folder("run") }
    }

    /// Which MAC is behind which address: loopback has no hardware addresses to prove.
    pub(super) fn neighbours(&self) -> HashMap<IpAddr, Mac> {
        let here = |part: &Part| Some((IpAddr::V4(part.spec.address?), part.spec.mac));
        self.cast.iter().filter_map(here).collect()
    }

    /// What is about to be seen.
    pub(super) fn opening(&self, http: SocketAddr, pnp: SocketAddrV4) -> String {
        let known = self.cast.len().saturating_sub(STRANGERS.len());
        format!(
            "A real agent runs on loopback: it hears {pnp} and serves http://{http}/.\n\
             It knows {known} of the following phones from examples/accounts.csv; {} are strangers, who get accounts of\n\
             the pool (adopt.policy = \"auto\"). They all register at a toy registrar, {}.\n\
             Demonstration only: which MAC is behind which address is declared here, not proved by the network as it\n\
             is in `offhook run`; loopback has no hardware addresses.\n\n",
            STRANGERS.len(),
            self.registrar.address()
        )
    }
}

/// The passwords of all accounts, by the name in the digest.
fn passwords(sheet: &Sheet) -> Vec<(String, Secret)> {
    let login = |account: &AccountRow| {
        let auth_id = account.auth_id.value().unwrap_or(&account.username).clone();
        Some((auth_id, account.password.clone()?))
    };
    sheet.accounts().iter().filter_map(login).collect()
}

/// The phones of the table that ask the LAN, and the strangers, each at an address of its own.
fn cast(sheet: &Sheet, entropy: &Entropy) -> Result<Vec<Part>, Failure> {
    let (catalog, _) = Catalog::load(None);
    let mut cast = Vec::new();
    for (mac, device) in sheet.devices() {
        let profile = device.vendor.as_ref().and_then(|vendor| catalog.get(vendor));
        let (Some(profile), Some(model)) = (profile, device.model.clone()) else { continue };
        if !asks_by_multicast(profile, &model) {
            continue;
        }
        let line = sheet.accounts().iter().find(|account| account.on == Some((*mac, 1)));
        let owner = line.and_then(|line| line.label.value()).map_or("the", String::as_str);
        let name = format!("{owner}: {} {model}", profile.vendor());
        let spec = PhoneSpec { model, ..PhoneSpec::new(profile.clone(), *mac) };
        cast.push(Part { name, spec, typed: false });
    }
    for (vendor, model, typed) in STRANGERS {
        let Some(profile) = catalog.get(&Vendor::new(vendor)) else { continue };
        let Some(mac) = random_mac(profile, entropy).map_err(cannot("draw a MAC"))? else { continue };
        let spec = PhoneSpec { model: model.to_owned(), ..PhoneSpec::new(profile.clone(), mac) };
        cast.push(Part { name: format!("stranger: {vendor} {model}"), spec, typed });
    }
    for (part, last) in cast.iter_mut().zip(11..) {
        part.spec.address = Some(Ipv4Addr::new(127, 0, 0, last));
    }
    Ok(cast)
}

/// A folder that is gone when the demonstration is.
struct Folder(PathBuf);

impl Folder {
    fn make(entropy: &Entropy) -> Result<Self, Failure> {
        let name = entropy.text("0123456789abcdef", 16).map_err(cannot("draw a name"))?;
        let path = std::env::temp_dir().join(format!("offhook-demo-{name}"));
        let make = |path: &Path| {
            DirBuilder::new().mode(0o700).create(path).map_err(cannot("make a temporary folder"))
        };
        make(&path)?;
        let folder = Self(path);
        for name in ["data", "config", "run"] {
            make(&folder.0.join(name))?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.0);
    }
}

fn cannot<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| {
        Failure::failed(
            "demo",
            format!("cannot {what}: {error}"),
            "the demonstration needs a folder for temporary files and the interface lo",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_accounts_are_cast_with_strangers() {
        let mut sheet = Sheet::default();
        accounts::read_csv("accounts.csv", ACCOUNTS.as_bytes(), &mut sheet);
        assert_eq!(sheet.problems(), []);
        let cast = cast(&sheet, &Entropy::seeded(1)).unwrap();
        let vendors: Vec<&str> = cast.iter().map(|part| part.spec.vendor().as_str()).collect();
        assert!(vendors.len() >= 4 && vendors.contains(&"snom") && vendors.contains(&"yealink"));
        let addresses: std::collections::BTreeSet<_> = cast.iter().map(|part| part.spec.address).collect();
        assert_eq!(addresses.len(), cast.len());
        assert!(passwords(&sheet).len() >= 4);
    }
}
