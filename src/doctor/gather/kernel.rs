//! What the kernel tells: tables of sockets and who holds them, groups, limits, links. A file that cannot be read is one
//! that says nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::super::host::{self, Limits, Rights};
use super::super::links::{self, Link, Marks, Member};
use super::super::ports::{self, Agent, Holder, Protocol, Socket, Tables};
use crate::config::Config;
use crate::net::interfaces::Interface;

/// How long a tool of the host may take.
pub(super) const TOOL_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Kernel {
    pub(super) agent: Agent,
    pub(super) sockets: Vec<Socket>,
    packets: Vec<u64>,
    holders: HashMap<u64, Holder>,
    pub(super) members: Vec<Member>,
    pub(super) marks: Marks,
    pub(super) limits: Limits,
    pub(super) rights: Rights,
}

impl Kernel {
    /// `socket`: the agent's, beside which its lock lies.
    pub(super) fn read(socket: &Path, is_agent: bool) -> Self {
        let mut sockets = Vec::new();
        for (protocol, table) in
            [(Protocol::Udp, "udp"), (Protocol::Udp, "udp6"), (Protocol::Tcp, "tcp"), (Protocol::Tcp, "tcp6")]
        {
            sockets.extend(ports::sockets(protocol, &text(&format!("/proc/net/{table}"))));
        }
        let packets = ports::packet_sockets(&text("/proc/net/packet"));
        let wanted: HashSet<u64> =
            sockets.iter().map(|one| one.inode).chain(packets.iter().copied()).collect();
        let agent = agent(socket, is_agent);
        let status = |pid: i32| text(&format!("/proc/{pid}/status"));
        let number = |path: &str| text(path).trim().parse().ok();
        Self {
            holders: holders(&wanted),
            members: links::members(&text("/proc/net/igmp")),
            marks: marks(),
            limits: Limits {
                rmem_max: number("/proc/sys/net/core/rmem_max"),
                somaxconn: number("/proc/sys/net/core/somaxconn"),
                neighbours: number("/proc/sys/net/ipv4/neigh/default/gc_thresh3"),
                may_force: false,
            },
            rights: Rights {
                agents: agent.pid.and_then(|pid| host::effective(&status(pid))),
                own: host::effective(&text("/proc/self/status")),
                program: std::env::current_exe()
                    .map_or_else(|_| "offhook".to_owned(), |path| path.display().to_string()),
                unprivileged_port: text("/proc/sys/net/ipv4/ip_unprivileged_port_start").trim().parse().ok(),
            },
            agent,
            sockets,
            packets,
        }
    }

    pub(super) fn tables(&self, config: &Config) -> Tables {
        Tables {
            sockets: self.sockets.clone(),
            packets: self.packets.clone(),
            holders: self.holders.clone(),
            joined: links::is_joined_somewhere(&self.members, config.pnp.group),
        }
    }
}

/// The whole text; empty where it cannot be read.
fn text(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Whoever answers at the socket is the agent; which process it is says the lock that it holds.
fn agent(socket: &Path, is_agent: bool) -> Agent {
    let own = i32::try_from(std::process::id()).ok();
    let runs = is_agent.then_some(true).or_else(|| {
        let asked = UnixDatagram::unbound().and_then(|probe| probe.connect(socket));
        match asked {
            Ok(()) => Some(true),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
            Err(_) => Some(false),
        }
    });
    let lock = || fs::metadata(socket.with_extension("lock")).ok().map(|lock| lock.ino());
    let holder = || lock().and_then(|inode| ports::lock_holder(&text("/proc/locks"), inode));
    let pid = match runs {
        Some(true) if is_agent => own,
        Some(true) => holder(),
        Some(false) | None => None,
    };
    let of = |pid: i32, file: &str| text(&format!("/proc/{pid}/{file}"));
    Agent {
        runs,
        pid,
        uid: pid.and_then(|pid| host::user(&of(pid, "status"))),
        observes: pid.is_some_and(|pid| of(pid, "cmdline").split('\0').any(|word| word == "--observe")),
    }
}

/// Who holds these sockets, of the processes that this user may look into.
fn holders(wanted: &HashSet<u64>) -> HashMap<u64, Holder> {
    let mut holders = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        for file in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(file.path()) else { continue };
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            if let Some(inode) =
                inode.and_then(|inode| inode.parse().ok()).filter(|inode| wanted.contains(inode))
            {
                let name = text(&format!("/proc/{pid}/comm")).trim().to_owned();
                holders.entry(inode).or_insert(Holder { pid, name });
            }
        }
    }
    holders
}

fn marks() -> Marks {
    let declared = text("/run/systemd/container");
    let first = text("/proc/1/environ");
    let of_first = first.split('\0').find_map(|word| word.strip_prefix("container=")).unwrap_or_default();
    Marks {
        dockerenv: Path::new("/.dockerenv").exists(),
        containerenv: Path::new("/run/.containerenv").exists(),
        cgroup: text("/proc/1/cgroup"),
        container: format!("{} {of_first}", declared.trim()).trim().to_owned(),
    }
}

/// The links in sysfs that are these interfaces: sysfs may be that of another network.
pub(in crate::doctor) fn links(interfaces: &[Interface]) -> Vec<Link> {
    let link = |interface: &Interface| {
        let of = |file: &str| text(&format!("/sys/class/net/{}/{file}", interface.name)).trim().to_owned();
        let index: u32 = of("ifindex").parse().ok()?;
        let other: u32 = of("iflink").parse().ok()?;
        let kind = of("uevent").lines().find_map(|line| line.strip_prefix("DEVTYPE=").map(str::to_owned));
        let flag = |name: &str| match of(&format!("bridge/{name}")).as_str() {
            "" => None,
            word => Some(word != "0"),
        };
        let mac = interface.mac.map(|mac| mac.to_string());
        let is_this = index == interface.index && mac.is_none_or(|mac| of("address") == mac);
        is_this.then(|| Link {
            name: interface.name.clone(),
            has_peer: other != index,
            kind,
            is_tun: !of("tun_flags").is_empty(),
            bridge: flag("multicast_snooping").zip(flag("multicast_querier")),
        })
    };
    interfaces.iter().filter_map(link).collect()
}

/// Whether the host says that its clock follows a time server.
pub(in crate::doctor) async fn synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let said = run("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await.ok()?;
    match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// What a tool of the host prints; else why it did not.
pub(super) async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(TOOL_MAX, command.output()).await {
        Ok(output) => output.map_err(|error| format!("{program}: {error}"))?,
        Err(_) => return Err(format!("{program} was not done within {} s", TOOL_MAX.as_secs())),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    Err(format!("{program}: {said}"))
}
