//! The phones' two file services as a library, over a desk and a store of their own, in this process and on loopback: for proofs that
//! need a hand on the clock, the socket or the peer. 127.0.0.2 is the phone; 127.0.0.1 is the server's own address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use offhook::accounts::read_csv;
use offhook::alarm::Alarms;
use offhook::clock::{Clock, Entropy};
use offhook::config::{AdoptConfig, ExpiredCertificates, FirmwareConfig, MenuConfig, ReleaseConfig};
use offhook::device::{Contact, Mac};
use offhook::http::server::HttpServer;
use offhook::net::Prefix;
use offhook::net::interfaces::{Interface, Interfaces, Table};
use offhook::net::neighbours::Neighbours;
use offhook::profile::{Catalog, Site};
use offhook::provision::{Deed, Desk, DeskParts, ProvisionAgain, Roots};
use offhook::release::{Evidence, Grants};
use offhook::store::{ImportOptions, Sheet, Store, Vault};
use offhook::tftp::server::TftpServer;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::lab;

/// The phone of the inventory, where it is, and the name of its file.
pub(crate) const PHONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub(crate) const FILE: &str = "805ec0aabbcc.cfg";
const MAC: &str = "80:5e:c0:aa:bb:cc";
/// Somebody else on the same link, with no device behind the address.
pub(crate) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const ACCOUNTS: &str = "mac,vendor,model,username,password\n805ec0aabbcc,yealink,T46U,200,canary-7c1f\n";

/// Both services, running.
pub(crate) struct Services {
    runtime: Runtime,
    running: Vec<JoinHandle<()>>,
    cancel: CancellationToken,
    /// The port of each, on 127.0.0.1 (and the rest of loopback).
    pub(crate) http: u16,
    pub(crate) tftp: u16,
    store: Store,
    desk: Desk,
    deeds: Mutex<mpsc::Receiver<Deed>>,
    again: Mutex<mpsc::Receiver<ProvisionAgain>>,
    _folder: tempfile::TempDir,
    _sightings: mpsc::Receiver<offhook::provision::Heard>,
}

impl Services {
    /// Starts both, with these static files of `firmware/yealink` and so many connections for each address.
    pub(crate) fn start(firmware: &[(&str, &[u8])], connections_per_address: usize) -> Self {
        Self::start_at(&Clock::System, firmware, connections_per_address)
    }

    /// The same by a clock that the test may hold.
    pub(crate) fn start_at(
        clock: &Clock,
        firmware: &[(&str, &[u8])],
        connections_per_address: usize,
    ) -> Self {
        let phones = HashMap::from([(PHONE, MAC.parse().unwrap())]);
        let inventory = Inventory { accounts: ACCOUNTS, phones, menu: MenuConfig::default() };
        Self::start_with(inventory, clock, firmware, connections_per_address)
    }

    /// The same with these phones and this menu.
    pub(crate) fn start_menu(accounts: &str, phones: HashMap<IpAddr, Mac>, menu: MenuConfig) -> Self {
        Self::start_with(Inventory { accounts, phones, menu }, &Clock::System, &[], 64)
    }

    fn start_with(
        inventory: Inventory<'_>,
        clock: &Clock,
        firmware: &[(&str, &[u8])],
        connections_per_address: usize,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let shelf = folder.path().join("files/firmware/yealink");
        std::fs::create_dir_all(&shelf).unwrap();
        for (name, bytes) in firmware {
            std::fs::write(shelf.join(name), bytes).unwrap();
        }
        let interfaces = Interfaces::fixed(loopback());
        let (sender, receiver) = mpsc::channel(1000);
        let context = runtime.enter();
        let (deed, deeds) = mpsc::channel(1000);
        let (wish, again) = mpsc::channel(1000);
        let news = News { sightings: sender, deeds: deed, again: wish };
        let (store, desk) = runtime.block_on(desk(inventory, clock, folder.path(), interfaces.clone(), news));
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let http = HttpServer::bind(any, connections_per_address, interfaces.clone(), clock.clone()).unwrap();
        let tftp = TftpServer::bind(any, Vec::new(), interfaces, clock.clone()).unwrap();
        let (http_port, tftp_port) = (http.local_addr().unwrap().port(), tftp.local_addr().unwrap().port());
        let cancel = CancellationToken::new();
        let running = vec![
            runtime.spawn(http.run(desk.clone(), cancel.clone())),
            runtime.spawn(tftp.run(desk.clone(), cancel.clone())),
        ];
        drop(context);
        Self {
            runtime,
            running,
            cancel,
            http: http_port,
            tftp: tftp_port,
            store,
            desk,
            deeds: Mutex::new(deeds),
            again: Mutex::new(again),
            _folder: folder,
            _sightings: receiver,
        }
    }

    /// Brings these contacts.
    pub(crate) fn add_contacts(&self, contacts: &[Contact]) {
        self.runtime.block_on(self.store.add_contacts(contacts)).unwrap();
    }

    /// What holds for the phone's passwords, which stand and fall together.
    pub(crate) fn state(&self) -> &'static str {
        let grants = self.grants();
        let state = grants.grants[0].state.as_str();
        assert!(grants.grants.iter().all(|grant| grant.state.as_str() == state), "{grants:?}");
        state
    }

    /// How often they were released.
    pub(crate) fn releases(&self) -> u32 {
        self.grants().grants.iter().map(|grant| grant.releases).max().unwrap()
    }

    fn grants(&self) -> Arc<Grants> {
        self.store.inventory().grants(MAC.parse().unwrap()).unwrap()
    }

    /// How many files have arrived since the last time, waiting for so many.
    pub(crate) fn acknowledged(&self, expected: usize) -> usize {
        let mut deeds = self.deeds.lock().unwrap();
        let acked = |deed: &Deed| matches!(deed, Deed::Delivery(one) if one.evidence == Evidence::Acked);
        let mut arrived = 0;
        let mut take = || {
            arrived += std::iter::from_fn(|| deeds.try_recv().ok()).filter(acked).count();
            arrived
        };
        lab::poll("the phone's acknowledgement", || (take() >= expected).then_some(()));
        take()
    }

    /// Which phones shall be provisioned once more since the last time, by a wish at them.
    pub(crate) fn again(&self) -> Vec<String> {
        let mut again = self.again.lock().unwrap();
        std::iter::from_fn(|| again.try_recv().ok()).map(|wish| wish.mac.to_string()).collect()
    }

    /// An operator locks the phone.
    pub(crate) fn lock(&self) {
        self.runtime.block_on(self.store.lock(MAC.parse().unwrap(), |_| true)).unwrap();
        self.desk.stop_revoked();
    }

    /// Asks both to stop, and waits until they have.
    pub(crate) fn stop(self) {
        self.cancel.cancel();
        for service in self.running {
            self.runtime.block_on(service).unwrap();
        }
    }
}

fn loopback() -> Table {
    let ours = Ipv4Addr::LOCALHOST;
    Table::of(vec![Interface {
        index: 1,
        name: "lo".to_owned(),
        mac: None,
        addresses: vec![(ours, Prefix::new(ours, 8).unwrap())],
        up: true,
        multicast: true,
        loopback: true,
    }])
}

/// Which phones there are, where they are, and what their menu has.
struct Inventory<'a> {
    accounts: &'a str,
    phones: HashMap<IpAddr, Mac>,
    menu: MenuConfig,
}

/// What the desk tells of, and to whom.
struct News {
    sightings: mpsc::Sender<offhook::provision::Heard>,
    deeds: mpsc::Sender<Deed>,
    again: mpsc::Sender<ProvisionAgain>,
}

async fn desk(
    inventory: Inventory<'_>,
    clock: &Clock,
    folder: &std::path::Path,
    interfaces: Interfaces,
    news: News,
) -> (Store, Desk) {
    let url = format!("sqlite:{}", folder.join("offhook.db").display());
    let vault = Vault::with_key([7; 32]);
    let store = Store::open(&url, vault, clock.clone(), Entropy::System).await.unwrap();
    let mut sheet = Sheet::default();
    read_csv("accounts.csv", inventory.accounts.as_bytes(), &mut sheet);
    let plan = store.import(&sheet, ImportOptions::default()).await.unwrap();
    assert!(plan.applied, "{:?}", plan.problems);
    let neighbours = Neighbours::declared(inventory.phones);
    let mut site = Site::default();
    site.menu = inventory.menu.enabled;
    let desk = Desk::new(DeskParts {
        agent: "test".into(),
        release: ReleaseConfig::default(),
        expired_certificates: ExpiredCertificates::default(),
        deeds: news.deeds,
        again: news.again,
        alarms: Alarms::default(),
        adopt: AdoptConfig::default(),
        site,
        menu: inventory.menu,
        firmware: FirmwareConfig::default(),
        catalog: Arc::new(Catalog::builtin().unwrap()),
        store: store.clone(),
        interfaces,
        neighbours,
        clock: clock.clone(),
        files: folder.join("files"),
        roots: Roots { http: Some(SocketAddr::from(([0_u16; 8], 8480))), ..Roots::default() },
        sightings: news.sightings,
    });
    (store, desk)
}
