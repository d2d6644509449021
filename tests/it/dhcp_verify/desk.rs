//! The agent's host as somebody sits at it: its configuration, the command's answers; and a dnsmasq beside it.

use std::path::PathBuf;

use serde_json::Value;

use crate::agent::OFFHOOK;
use crate::lab::{self, Host, Lab, Process};

pub(super) const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dhcp-profiles");
pub(super) const AGENT: &str = "10.66.0.35";
/// How long a lab's server may think; it is beside us.
pub(super) const TIMEOUT: [&str; 2] = ["--timeout", "1s"];

/// The agent's host with its configuration; the agent does not run.
pub(super) struct Desk<'l> {
    host: &'l Host,
    pub(super) config: PathBuf,
}

/// What a run of the command came to.
pub(super) struct Told {
    pub(super) exit: i32,
    pub(super) rows: Vec<Value>,
}

impl<'l> Desk<'l> {
    pub(super) fn new(lab: &Lab, host: &'l Host, more: &str) -> Self {
        let config = format!(
            "[agent]\ndata_dir = '{}'\n[profiles]\ndir = '{PROFILES}'\n[site]\nvlan = 20\nvlan_priority = 5\n\
             [sip]\nregistrar = 'pbx.example'\n{more}",
            lab.folder().join("data").display(),
        );
        Self { host, config: lab.file("offhook.toml", config) }
    }

    pub(super) fn command(&self, words: &[&str]) -> (i32, String, String) {
        let config = self.config.to_string_lossy();
        let output =
            self.host.command(&[&[OFFHOOK, "--config", &config][..], words].concat()).output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Asks, and gives what JSON says; the same for people is only looked at for secrets.
    pub(super) fn verify(&self, words: &[&str]) -> Told {
        let (exit, text, errors) =
            self.command(&[&["--json", "dhcp", "verify"], &TIMEOUT[..], words].concat());
        println!("{words:?}: {exit}\n{text}{errors}");
        let rows: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
        let rows = rows.as_array().cloned().unwrap_or_else(|| vec![rows]);
        Told { exit, rows }
    }

    pub(super) fn snippet(&self, server: &str) -> String {
        let (exit, text, errors) = self.command(&["dhcp", "snippet", server, "--all", "--host", AGENT]);
        assert_eq!(exit, 0, "{errors}");
        text
    }
}

impl Told {
    /// Option, verdict, what is said beside it, and the URL, row by row.
    pub(super) fn said(&self) -> Vec<String> {
        let word = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let row = |row: &Value| ["option", "verdict", "detail", "url"].map(|name| word(&row[name])).join(" ");
        self.rows.iter().map(row).collect()
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.rows.iter().filter_map(|row| row[name].as_str()).collect()
    }
}

/// dnsmasq with these lines more, and nothing of another one.
pub(super) fn dnsmasq(lab: &Lab, host: &Host, lines: &str) -> (Process, PathBuf) {
    let folder = tempfile::tempdir_in(lab.folder()).unwrap().keep();
    let (config, leases) = (folder.join("conf"), folder.join("leases"));
    let text = format!(
        "port=0\nno-ping\ninterface=eth0\ndhcp-range=10.66.0.100,10.66.0.200,255.255.255.0,1h\n\
         dhcp-leasefile={}\npid-file={}\n{lines}\n",
        leases.display(),
        folder.join("pid").display(),
    );
    std::fs::write(&config, text).unwrap();
    // A copy of its own: a running program cannot be written over.
    let program = folder.join("dnsmasq");
    std::fs::copy(lab::program("dnsmasq").unwrap(), &program).unwrap();
    let (program, config) = (program.to_string_lossy(), format!("--conf-file={}", config.display()));
    let mut dnsmasq = host.spawn(&[&program, "--no-daemon", &config]);
    dnsmasq.line("DHCP, IP range");
    (dnsmasq, leases)
}
