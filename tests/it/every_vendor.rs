//! Every built-in profile, one model of each of its families: the whole life of such a phone against the real agent on
//! loopback. It asks as its vendor's phones ask, reads what comes with readers of its own, and registers with the
//! password of the inventory; switched off and on it needs none, and after a factory reset it has none.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use offhook::agent::{Agent, AgentOptions};
use offhook::clock::{Clock, Entropy};
use offhook::config::{Config, DhcpMode, Listen, Places};
use offhook::profile::{Catalog, Profile, Retention};
use offhook::release::{Evidence, Grant, State};
use offhook::secret::{Secret, SecretKind};
use offhook::simulate::registrar::Registrar;
use offhook::simulate::{
    Memory, Patience, Phone, PhoneSpec, Report, StepKind, Target, asks_by_multicast, random_mac,
};
use offhook::store::{ImportOptions, Sheet, Store, Vault};

use crate::lab::PATIENCE;

/// One phone, and the name it registers by.
struct Part {
    name: String,
    username: String,
    spec: PhoneSpec,
    retention: Retention,
}

/// One model of each family whose phones get passwords.
fn cast(catalog: &Catalog, entropy: &Entropy) -> Vec<Part> {
    let mut cast = Vec::new();
    for profile in catalog.profiles().filter(|profile| profile.simulate().is_some_and(|s| s.read.is_some())) {
        let mut models = BTreeMap::new();
        for model in profile.models().filter(|model| gets_passwords(profile, &model.name)) {
            models.entry(model.family.clone()).or_insert(model.name.clone());
        }
        for model in models.into_values() {
            let number = cast.len();
            let mac = random_mac(profile, entropy).unwrap().unwrap_or_else(|| panic!("{}", profile.vendor()));
            let address = Ipv4Addr::new(127, 0, 9, u8::try_from(number + 1).unwrap());
            let spec = PhoneSpec {
                address: Some(address),
                patience: Patience { subscribe: PATIENCE, file: PATIENCE, register: PATIENCE },
                entropy: Entropy::seeded(u64::try_from(number).unwrap()),
                ..PhoneSpec::new(Arc::clone(profile), mac)
            };
            cast.push(Part {
                name: format!("{} {model}", profile.vendor()),
                username: format!("{}", 2001 + number),
                retention: profile.retention(Some(&model)),
                spec: PhoneSpec { model, ..spec },
            });
        }
    }
    cast
}

fn gets_passwords(profile: &Profile, model: &str) -> bool {
    profile.files_for(Some(model)).any(|(id, _)| profile.secret_kinds(id).contains(&SecretKind::Sip))
}

fn password(part: &Part) -> String {
    format!("kSip-{}-canary", part.username)
}

/// The agent with these phones in its inventory, and a registrar that knows their passwords.
struct Stage {
    folder: tempfile::TempDir,
    store: Store,
    registrar: Registrar,
    entropy: Entropy,
}

impl Stage {
    async fn set(cast: &[Part], entropy: Entropy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "config", "run"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let row = |part: &Part| {
            let (spec, username) = (&part.spec, &part.username);
            let (vendor, model) = (spec.profile.vendor(), &spec.model);
            format!("{},{vendor},\"{model}\",{username},{}\n", spec.mac, password(part))
        };
        let rows: String = cast.iter().map(row).collect();
        let mut sheet = Sheet::default();
        let table = format!("mac,vendor,model,username,password\n{rows}");
        offhook::accounts::read_csv("accounts.csv", table.as_bytes(), &mut sheet);
        assert_eq!(sheet.problems(), []);
        let url = format!("sqlite:{}", folder.path().join("offhook.db").display());
        let store =
            Store::open(&url, Vault::with_key([7; 32]), Clock::System, entropy.clone()).await.unwrap();
        store.import(&sheet, ImportOptions::default()).await.unwrap();
        let logins = cast.iter().map(|part| (part.username.clone(), Secret::new(password(part))));
        // Some phones know no other port than SIP's own.
        let listen = SocketAddr::from((Ipv4Addr::new(127, 0, 9, 250), 5060));
        let registrar = Registrar::start(listen, logins, entropy.clone()).await.unwrap();
        Self { folder, store, registrar, entropy }
    }

    async fn agent(&self, cast: &[Part]) -> Agent {
        let here = Listen::On(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mut config = Config::default();
        config.agent.interfaces = vec!["lo".to_owned()];
        config.sip.registrar = Some(self.registrar.address().ip().to_string());
        (config.pnp.port, config.pnp.reply_port) = (0, 0);
        (config.http.listen, config.tftp.listen) = (here, here);
        (config.https.listen, config.admin.listen) = (Listen::Off, Listen::Off);
        config.dhcp.mode = DhcpMode::Off;
        let place = |name: &str| self.folder.path().join(name);
        let neighbours: HashMap<IpAddr, _> =
            cast.iter().map(|part| (IpAddr::V4(part.spec.address.unwrap()), part.spec.mac)).collect();
        let options = AgentOptions {
            config,
            places: Places { data: place("data"), config: place("config"), runtime: place("run") },
            store: self.store.clone(),
            clock: Clock::System,
            entropy: self.entropy.clone(),
            observe: false,
            declared_neighbours: Some(neighbours),
        };
        Agent::start(options).await.unwrap()
    }

    fn is_underway(&self, part: &Part) -> bool {
        let grants = self.store.inventory().grants(part.spec.mac);
        // A window opens for every password; some have no place in this vendor's files, and never leave.
        let left = |grant: &&Grant| matches!(grant.state, State::Open(_)) && grant.releases > 0;
        grants.is_some_and(|grants| {
            grants.grants.iter().filter(left).any(|grant| grant.evidence < Evidence::Acked)
        })
    }

    /// Waits until no password is on its way any more.
    async fn arrived(&self, cast: &[Part]) {
        let waited = tokio::time::timeout(PATIENCE, self.all_arrived(cast)).await;
        let stuck = cast.iter().filter(|part| self.is_underway(part)).map(|part| {
            let grants = self.store.inventory().grants(part.spec.mac);
            format!("{}: {:?}", part.name, grants.iter().flat_map(|g| &g.grants).collect::<Vec<_>>())
        });
        assert!(waited.is_ok(), "{}", stuck.collect::<Vec<_>>().join("\n"));
    }

    async fn all_arrived(&self, cast: &[Part]) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while cast.iter().any(|part| self.is_underway(part)) {
            ticks.tick().await;
        }
    }
}

/// One life of every phone, all at once.
async fn live(cast: &[Part], memories: &mut [Memory], agent: &Agent) -> Vec<(Report, String)> {
    let addresses = agent.addresses();
    let (http, pnp) = (addresses.http.unwrap(), addresses.pnp.unwrap());
    let lives = cast.iter().zip(memories).map(|(part, memory)| async move {
        let against = if asks_by_multicast(&part.spec.profile, &part.spec.model) {
            Target::Multicast { group: *pnp.ip(), port: pnp.port() }
        } else {
            Target::Url(format!("http://{http}/"))
        };
        let mut told = String::new();
        let phone = Phone::new(PhoneSpec { against, ..part.spec.clone() });
        let report = phone
            .live_on(memory, |step| {
                let _ = writeln!(told, "    {:<9} {}", step.kind.as_str(), step.text);
            })
            .await;
        (report, told)
    });
    futures_util::future::join_all(lives).await
}

/// What did not come out as it should, each with the steps that led there.
fn wrong(
    cast: &[Part],
    lives: &[(Report, String)],
    is_right: impl Fn(&Part, &Report) -> bool,
) -> Vec<String> {
    let wrong = cast.iter().zip(lives).filter(|(part, (report, _))| !is_right(part, report));
    wrong.map(|(part, (_, told))| format!("{}\n{told}", part.name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vendors_phones_live_their_whole_life() {
    let catalog = Catalog::builtin().unwrap();
    let entropy = Entropy::seeded(11);
    let cast = cast(&catalog, &entropy);
    let stage = Stage::set(&cast, entropy).await;
    let agent = stage.agent(&cast).await;
    let mut memories = vec![Memory::default(); cast.len()];

    let first = live(&cast, &mut memories, &agent).await;
    let told = format!("{first:?}");
    let failed = wrong(&cast, &first, |part, report| {
        let account = report.accounts.first();
        report.is_up()
            && report.registered
            && report.remarks.is_empty()
            && account.is_some_and(|a| a.username == part.username && a.has_password && !a.password_kept)
    });
    assert!(failed.is_empty(), "{} of {} first lives:\n{}", failed.len(), cast.len(), failed.join("\n"));
    assert!(!told.contains("canary"), "a password is shown");
    assert_eq!(stage.registrar.registered().len(), cast.len());

    stage.arrived(&cast).await;
    let keeps = |part: &Part| part.retention == Retention::Keep;
    for part in cast.iter().filter(|part| keeps(part)) {
        stage.store.lock(part.spec.mac, |_| true).await.unwrap();
    }
    let second = live(&cast, &mut memories, &agent).await;
    let failed = wrong(&cast, &second, |part, report| {
        let kept = report.accounts.iter().all(|account| account.password_kept == keeps(part));
        report.is_up() && report.registered && report.life == 2 && kept
    });
    assert!(failed.is_empty(), "{} of {} second lives:\n{}", failed.len(), cast.len(), failed.join("\n"));

    let reset = live(&cast, &mut vec![Memory::default(); cast.len()], &agent).await;
    let failed = wrong(&cast, &reset, |part, report| {
        let stranded = report.failure.as_ref().is_some_and(|failure| failure.step == StepKind::Register);
        if keeps(part) { stranded && report.missing.len() == 1 } else { report.registered }
    });
    assert!(failed.is_empty(), "{} of {} after a reset:\n{}", failed.len(), cast.len(), failed.join("\n"));
    agent.stop().await;
}
