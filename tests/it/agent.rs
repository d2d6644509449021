//! The built program on a host of the lab: configured, running, killed, started again, and its command line beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use offhook::agent::AgentOptions;
use offhook::clock::{Clock, Entropy};
use offhook::config::Places;
use offhook::release::{CloseOn, Mode, Policies, Window};
use offhook::store::{Store, Vault};

use crate::lab::{self, Host, Lab, Process};

/// The program under test.
pub(crate) const OFFHOOK: &str = env!("CARGO_BIN_EXE_offhook");

/// What an agent is started with; everything else has its default.
#[derive(Default)]
pub(crate) struct Setup {
    /// `accounts.csv`; imported before the start.
    pub(crate) accounts: String,
    /// Further lines of the configuration, in TOML.
    pub(crate) config: String,
}

/// An agent, running or not.
pub(crate) struct Agent<'a> {
    host: &'a Host,
    config: PathBuf,
    data: PathBuf,
    process: Mutex<Option<Process>>,
}

/// An agent that runs in this process, on threads of its host; ends with its handle.
pub(crate) struct Inside {
    agent: Option<offhook::agent::Agent>,
    runtime: tokio::runtime::Runtime,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take() {
            self.runtime.block_on(agent.stop());
        }
    }
}

impl<'a> Agent<'a> {
    /// Writes the configuration, imports the accounts, starts the agent and waits until its ports are bound.
    pub(crate) fn start(lab: &Lab, host: &'a Host, setup: &Setup) -> Self {
        let mut agent = Self::on(lab.folder(), host, setup);
        agent.begin(&[]);
        agent
    }

    /// The same of one of several agents, each with files of its own in this folder; it does not run yet.
    pub(crate) fn on(folder: &Path, host: &'a Host, setup: &Setup) -> Self {
        let config = configure(folder, host, setup);
        Self { host, config, data: folder.join("data"), process: Mutex::default() }
    }

    /// Starts the agent, as the child of a command if one is given, and waits until its ports are bound.
    pub(crate) fn begin(&mut self, around: &[&str]) {
        let command = [around, &self.command(&["run"])].concat();
        self.process = Mutex::new(Some(self.host.spawn(&command)));
        for port in [5060, 5065, 69] {
            self.host.await_udp(port);
        }
        self.host.await_tcp(8480);
    }

    /// The agent as a part of this process instead, on the same host and data, by a clock that the test holds.
    pub(crate) fn inside(&mut self, clock: &Clock) -> Inside {
        self.end();
        let (config_file, clock) = (self.config.clone(), clock.clone());
        self.host.inside(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let config =
                offhook::config::load(Some(&config_file), &config_file, std::iter::empty()).unwrap().config;
            let data = config.agent.data_dir.clone().unwrap();
            let folder = config_file.parent().unwrap().to_owned();
            let places = Places { runtime: data.join("run"), config: folder, data };
            let url = format!("sqlite:{}", places.data.join("offhook.db").display());
            let vault = Vault::at(&places.key_file());
            let agent = runtime.block_on(async {
                let store = Store::open(&url, vault, clock.clone(), Entropy::System).await.unwrap();
                let (entropy, observe) = (Entropy::System, false);
                let options = AgentOptions {
                    config,
                    places,
                    store,
                    clock,
                    entropy,
                    observe,
                    declared_neighbours: None,
                };
                offhook::agent::Agent::start(options).await.unwrap()
            });
            Inside { agent: Some(agent), runtime }
        })
    }

    /// Asks the agent to stop, and waits until it has.
    pub(crate) fn end(&mut self) {
        self.process = Mutex::default();
    }

    /// Kills the agent: `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.get_mut().expect("no panic beside it").take().expect("a running agent").kill();
    }

    /// The agent's process.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.get_mut().expect("no panic beside it").as_mut().expect("a running agent")
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> &std::path::Path {
        &self.config
    }

    /// Its host.
    pub(crate) fn host(&self) -> &'a Host {
        self.host
    }

    /// Waits for a line of its log with this in it.
    pub(crate) fn log(&self, part: &str) -> String {
        self.process.lock().expect("no panic beside it").as_mut().expect("a running agent").line(part)
    }

    /// Everything that it has printed so far.
    pub(crate) fn process_output(&self) -> String {
        self.process.lock().expect("no panic beside it").as_ref().expect("a running agent").output()
    }

    /// Runs a command of the program to its successful end; gives what it printed.
    pub(crate) fn offhook(&self, arguments: &[&str]) -> String {
        self.host.run(&self.command(arguments))
    }

    /// Stops it; gives what it printed.
    pub(crate) fn stop(self) -> String {
        let process = self.process.into_inner().expect("no panic beside it").expect("a running agent");
        process.output()
    }

    /// Runs a command of the program: whether it succeeded, and what it printed.
    pub(crate) fn attempt(&self, arguments: &[&str]) -> (bool, String) {
        self.host.attempt(&self.command(arguments))
    }

    /// A listing as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.offhook(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error} in\n{text}"))
    }

    /// The inventory's entry for a MAC (`00:15:65:f4:f9:e1`), if there is one.
    pub(crate) fn device(&self, mac: &str) -> Option<serde_json::Value> {
        let devices = self.json(&["device", "list"]);
        devices.as_array().expect("a listing is an array").iter().find(|device| device["mac"] == mac).cloned()
    }

    /// The rows of the audit for this event.
    pub(crate) fn audit(&self, event: &str) -> Vec<serde_json::Value> {
        let rows = self.json(&["audit", "--event", event, "--limit", "100000"]);
        rows.as_array().expect("a listing is an array").clone()
    }

    /// Waits for a row of the audit for this event: refusals and deliveries are written in batches.
    pub(crate) fn audited(&self, event: &str) -> serde_json::Value {
        lab::poll(&format!("the audit's row '{event}'"), || self.audit(event).pop())
    }

    /// Waits for an alarm of this kind.
    pub(crate) fn alarmed(&self, kind: &str) -> serde_json::Value {
        lab::poll(&format!("the alarm '{kind}'"), || {
            let alarms = self.json(&["alarm", "list"]);
            alarms.as_array().expect("a listing is an array").iter().find(|one| one["kind"] == kind).cloned()
        })
    }

    /// What holds for the passwords of a phone: each kind with its state, and how often it was released.
    pub(crate) fn grants(&self, mac: &str) -> BTreeSet<(String, &'static str, u32)> {
        let grants = self.with_store(async |store| store.inventory().grants(mac.parse().unwrap()).unwrap());
        let row = |grant: &offhook::release::Grant| {
            (grant.id.kind.to_string(), grant.state.as_str(), grant.releases)
        };
        grants.grants.iter().map(row).collect()
    }

    /// The one state that all passwords of a phone are in.
    pub(crate) fn state(&self, mac: &str) -> &'static str {
        let grants = self.grants(mac);
        let states: BTreeSet<&'static str> = grants.iter().map(|(_, state, _)| *state).collect();
        assert_eq!(states.len(), 1, "{grants:?}");
        states.into_iter().next().expect("one")
    }

    /// How often the passwords of a phone were released in their present epoch.
    pub(crate) fn releases(&self, mac: &str) -> u32 {
        self.grants(mac).iter().map(|(_, _, releases)| *releases).max().unwrap_or(0)
    }

    /// The token of the URL that a NOTIFY or a person hands out.
    pub(crate) fn token(&self, mac: &str) -> String {
        self.with_store(async |store| {
            let device = store.inventory().device(mac.parse().unwrap()).unwrap();
            store.bootstrap_token(&device).unwrap().expose().to_owned()
        })
    }

    /// An operator lets all passwords of a phone leave once more, from its next contact on.
    pub(crate) fn rearm(&self, mac: &str) {
        let policies = Policies::all(Window::Of(Duration::from_mins(10)), CloseOn::Window, 100);
        let mac = mac.parse().unwrap();
        let armed = self.with_store(async |store| {
            store.arm(mac, |_| true, Mode::OnContact, None, &policies, "test").await.unwrap()
        });
        assert!(!armed.changes.is_empty(), "{armed:?}");
    }

    /// An operator locks a phone.
    pub(crate) fn lock(&self, mac: &str) {
        let locked = self.with_store(async |store| store.lock(mac.parse().unwrap(), |_| true).await.unwrap());
        assert!(!locked.is_empty());
    }

    /// The agent's own neighbour entry for an address.
    pub(crate) fn neighbour(&self, address: &str) -> String {
        self.host.ip(&["neighbour", "show", address])
    }

    /// Waits until the entry is the kernel's own again.
    pub(crate) fn unpinned(&self, address: &str) {
        let is_free = || !self.neighbour(address).contains("PERMANENT");
        lab::poll(&format!("the end of the pin on {address}"), || is_free().then_some(()));
    }

    /// Does something to the store, as another process of this host does; the agent is told.
    pub(crate) fn with_store<T>(&self, work: impl AsyncFnOnce(&Store) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let url = format!("sqlite:{}", self.data.join("offhook.db").display());
            let vault = Vault::at(&self.config.with_file_name("offhook.key"));
            let store = Store::open(&url, vault, Clock::System, Entropy::System).await.unwrap();
            let done = work(&store).await;
            store.close().await;
            offhook::store::poke(&self.data.join("run/agent.sock"));
            done
        })
    }

    /// A command of the program with this agent's configuration.
    pub(crate) fn command<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        let config = self.config.to_str().expect("the lab's own path");
        [&[OFFHOOK, "--config", config], arguments].concat()
    }
}

/// Writes `offhook.toml` into the folder and imports the accounts.
pub(crate) fn configure(folder: &Path, host: &Host, setup: &Setup) -> PathBuf {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("the lab's folder can be written");
        path
    };
    let data = folder.join("data");
    let config =
        file("offhook.toml", &format!("[agent]\ndata_dir = \"{}\"\n\n{}", data.display(), setup.config));
    if !setup.accounts.is_empty() {
        let accounts = file("accounts.csv", &setup.accounts);
        host.run(&[OFFHOOK, "--config", &config.to_string_lossy(), "import", &accounts.to_string_lossy()]);
    }
    config
}
