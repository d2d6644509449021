//! One host of a lab: commands, sockets and captures inside its network namespace.

use std::fs::File;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};

use super::{Capture, PATIENCE, Process, poll, tool};

/// A host; its name is its network namespace.
pub(crate) struct Host {
    name: String,
}

impl Host {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command to its end; it must succeed. Gives what it printed on both outputs.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        let (ok, text) = self.attempt(command);
        assert!(ok, "{}: {} failed:\n{text}", self.name, command.join(" "));
        text
    }

    /// Runs a command to its end: whether it succeeded, and what it printed.
    pub(crate) fn attempt(&self, command: &[&str]) -> (bool, String) {
        let output = self.command(command).output().unwrap_or_else(|error| panic!("{}: {error}", command[0]));
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// Starts a command that ends with its handle.
    pub(crate) fn spawn(&self, command: &[&str]) -> Process {
        Process::start(self.command(command), &format!("{}: {}", self.name, command.join(" ")))
    }

    /// The command, to be started inside this host. `nsenter` becomes the command: the process id is its own.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net={}", self.path())).args(command).stdin(Stdio::null());
        inside
    }

    /// Does something on a thread inside this host; sockets made there stay there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let namespace = File::open(self.path()).expect("the host's namespace");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root of the lab may enter its hosts");
            work()
        };
        std::thread::scope(|scope| {
            scope.spawn(enter).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A UDP socket of this host that waits no longer than the lab's patience.
    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let socket =
            self.inside(|| UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}")));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        socket
    }

    /// Everything this host's interfaces see, sent and received, from now on.
    pub(crate) fn capture(&self) -> Capture {
        self.inside(Capture::start)
    }

    /// `ip …` on this host.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        let mut command = vec!["ip", "-n", &self.name];
        command.extend(arguments);
        tool(&command)
    }

    /// Waits until somebody on this host has bound the UDP port.
    pub(crate) fn await_udp(&self, port: u16) {
        poll(&format!("{}: UDP port {port}", self.name), || self.bound("udp", port).then_some(()));
    }

    /// Waits until somebody on this host listens on the TCP port.
    pub(crate) fn await_tcp(&self, port: u16) {
        poll(&format!("{}: TCP port {port}", self.name), || self.bound("tcp", port).then_some(()));
    }

    /// Whether the kernel's table (`udp`, `tcp`; IPv6 as well) has a bound or listening socket on that port.
    fn bound(&self, protocol: &str, port: u16) -> bool {
        let listening = if protocol == "tcp" { " 0A " } else { " 07 " };
        let port = format!(":{port:04X} ");
        let tables =
            [format!("/proc/thread-self/net/{protocol}"), format!("/proc/thread-self/net/{protocol}6")];
        let text =
            self.inside(|| tables.map(|table| std::fs::read_to_string(table).unwrap_or_default()).concat());
        text.lines().any(|line| {
            let local = line.split_whitespace().nth(1).unwrap_or_default();
            format!("{local} ").ends_with(&port) && line.contains(listening)
        })
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}
