//! The built program on a host of the lab: configured, running, and its command line beside it.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::lab::{Host, Lab, Process};

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

/// A running agent.
pub(crate) struct Agent<'a> {
    host: &'a Host,
    config: PathBuf,
    process: RefCell<Process>,
}

impl<'a> Agent<'a> {
    /// Writes the configuration, imports the accounts, starts the agent and waits until its ports are bound.
    pub(crate) fn start(lab: &Lab, host: &'a Host, setup: &Setup) -> Self {
        let config = configure(lab, host, setup);
        let process = host.spawn(&[OFFHOOK, "--config", &config.to_string_lossy(), "run"]);
        host.await_udp(5060);
        host.await_udp(5065);
        host.await_udp(69);
        host.await_tcp(8480);
        Self { host, config, process: RefCell::new(process) }
    }

    /// Waits for a line of its log with this in it.
    pub(crate) fn log(&self, part: &str) -> String {
        self.process.borrow_mut().line(part)
    }

    /// Runs a command of the program to its successful end; gives what it printed.
    pub(crate) fn offhook(&self, arguments: &[&str]) -> String {
        self.host.run(&self.command(arguments))
    }

    /// Stops it; gives what it printed.
    pub(crate) fn stop(self) -> String {
        let said = self.process.borrow().output();
        drop(self.process);
        said
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

    fn command<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        let config = self.config.to_str().expect("the lab's own path");
        [&[OFFHOOK, "--config", config], arguments].concat()
    }
}

/// Writes `offhook.toml` into the lab's folder and imports the accounts.
pub(crate) fn configure(lab: &Lab, host: &Host, setup: &Setup) -> PathBuf {
    let data = lab.folder().join("data");
    let text = format!("[agent]\ndata_dir = \"{}\"\n\n{}", data.display(), setup.config);
    let config = lab.file("offhook.toml", text);
    if !setup.accounts.is_empty() {
        let accounts = lab.file("accounts.csv", &setup.accounts);
        host.run(&[OFFHOOK, "--config", &config.to_string_lossy(), "import", &accounts.to_string_lossy()]);
    }
    config
}
