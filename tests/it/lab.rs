//! Networks for tests: hosts, switches and phones as network namespaces of this machine, made by an ordinary user.
//!
//! [`run`] starts the same test again inside a new user, mount, network and process namespace; in there the test is
//! root over networks that nobody else can see, and everything it started is gone when it ends. Where the machine
//! does not allow that, the test says `skipped: namespaces: …` and tests/skips.txt decides whether that is accepted.

mod capture;
mod host;
mod process;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use capture::{Capture, Packet};
pub(crate) use host::Host;
pub(crate) use process::Process;

/// How long anything may take that is awaited by an event; generous, because a loaded CI machine is slow, not wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A test that hangs is killed with everything it started.
const TEST_SECONDS_MAX: u64 = 180;
/// Set in the second process, the one inside the namespaces.
const INSIDE: &str = "OFFHOOK_LAB";

/// A private network: as many switches as LANs were named, hosts plugged into them.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    lans: RefCell<BTreeSet<String>>,
    hosts: RefCell<BTreeSet<String>>,
}

/// Runs `proof` in a network of its own. `name` is the test's full name, as libtest prints it (`tftp::large_file`).
pub(crate) fn run(name: &str, proof: impl FnOnce(&Lab)) {
    if std::env::var_os(INSIDE).is_some() {
        return proof(&Lab::new());
    }
    if let Err(reason) = possible() {
        return skip(&format!("namespaces: {name}: {reason}"));
    }
    let output = again_inside(name);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for line in text.lines().filter(|line| line.starts_with("skipped: ")) {
        skip(line.trim_start_matches("skipped: "));
    }
    assert!(output.status.success(), "in the lab: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "the lab found no test of the name {name}:\n{text}");
    println!("{text}");
}

/// Says that a test could not be done here, in the words that tests/run looks for; past libtest's capture.
pub(crate) fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// Whether the program `name` is installed; where not, the test says that it is skipped.
pub(crate) fn has(name: &str) -> bool {
    let found = program(name).is_some();
    if !found {
        skip(&format!("program: {name} is not installed"));
    }
    found
}

/// Where the program `name` is; the folders of system programs are looked at as well.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| Path::new(folder).join(name))
        .find(|p| p.is_file())
}

fn again_inside(name: &str) -> Output {
    let this = std::env::current_exe().expect("the test binary has a path");
    in_namespaces()
        .args(["timeout", "-k", "5", &TEST_SECONDS_MAX.to_string()])
        .arg(this)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .output()
        .expect("unshare starts")
}

/// The command that runs another one as root of new namespaces; its process namespace takes all children with it.
fn in_namespaces() -> Command {
    // An ordinary user's PATH may lack the folders of kamailio, dnsmasq and ip.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("unshare");
    command
        .args(["-Urnmpf", "--mount-proc", "--kill-child"])
        .env(INSIDE, "1")
        .env("PATH", path)
        .stdin(Stdio::null());
    command
}

/// Asked once per run: does this machine let us make namespaces with bridges in them?
fn possible() -> &'static Result<(), String> {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    POSSIBLE.get_or_init(|| {
        let script = "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add probe \
                      && ip -n probe link add probe0 type bridge";
        let output = in_namespaces()
            .args(["sh", "-c", script])
            .output()
            .map_err(|error| format!("unshare cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "))
    })
}

impl Lab {
    fn new() -> Self {
        tool(&["mount", "-t", "tmpfs", "tmpfs", "/run"]);
        std::fs::create_dir("/run/netns").expect("a fresh /run");
        tool(&["ip", "netns", "add", "sw"]);
        let folder =
            tempfile::Builder::new().prefix("offhook-lab-").tempdir_in("/run").expect("a fresh /run");
        Self { folder, lans: RefCell::default(), hosts: RefCell::default() }
    }

    /// A folder that is gone with the lab.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the lab's folder.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, bytes).expect("the lab's folder can be written");
        path
    }

    /// A host on the LAN `lan`, with one interface `eth0` and this address (`192.168.1.35/24`).
    pub(crate) fn host(&self, name: &str, address: &str) -> Host {
        self.host_on(name, &[("lan", address)])
    }

    /// A host with one interface (`eth0`, `eth1`, …) per LAN named; LANs come into being by being named.
    pub(crate) fn host_on(&self, name: &str, interfaces: &[(&str, &str)]) -> Host {
        tool(&["ip", "netns", "add", name]);
        tool(&["ip", "-n", name, "link", "set", "lo", "up"]);
        let host = Host::new(name);
        for (number, (lan, address)) in interfaces.iter().enumerate() {
            self.plug_late(&host, number, lan, address);
        }
        host
    }

    /// A further interface `eth<number>` for a host that is running already.
    pub(crate) fn plug_late(&self, host: &Host, number: usize, lan: &str, address: &str) {
        self.plug(host.name(), number, lan, None);
        let interface = format!("eth{number}");
        host.ip(&["address", "add", address, "broadcast", "+", "dev", &interface]);
        host.ip(&["link", "set", &interface, "up"]);
    }

    /// A phone on `lan`: its own MAC, its address, a default route for multicast.
    pub(crate) fn phone(&self, name: &str, mac: &str, lan: &str, address: &str) -> Host {
        tool(&["ip", "netns", "add", name]);
        tool(&["ip", "-n", name, "link", "set", "lo", "up"]);
        let host = Host::new(name);
        self.plug(name, 0, lan, Some(mac));
        host.ip(&["address", "add", address, "broadcast", "+", "dev", "eth0"]);
        host.ip(&["link", "set", "eth0", "up"]);
        host.ip(&["route", "add", "default", "dev", "eth0"]);
        host
    }

    /// Waits until every cable carries frames. The kernel says so some time after plugging in, and loses what is sent
    /// before; a phone repeats itself, a test that counts milliseconds does not.
    pub(crate) fn await_cables(&self) {
        let is_up = |host: &str| {
            let links = tool(&["ip", "-n", host, "-o", "link", "show", "type", "veth"]);
            links.lines().all(|link| link.contains("state UP"))
        };
        poll("every cable to carry", || {
            let hosts = self.hosts.borrow();
            (is_up("sw") && hosts.iter().all(|host| is_up(host))).then_some(())
        });
        poll("every port of the switches to forward", || {
            let ports = tool(&["bridge", "-n", "sw", "link", "show"]);
            ports.lines().all(|port| port.contains("state forwarding")).then_some(())
        });
    }

    /// A cable from the switch of `lan` to the interface `eth<number>` of `host`.
    fn plug(&self, host: &str, number: usize, lan: &str, mac: Option<&str>) {
        if self.lans.borrow_mut().insert(lan.to_owned()) {
            tool(&[
                "ip",
                "-n",
                "sw",
                "link",
                "add",
                lan,
                "type",
                "bridge",
                "mcast_snooping",
                "0",
                "forward_delay",
                "0",
            ]);
            tool(&["ip", "-n", "sw", "link", "set", lan, "up"]);
        }
        self.hosts.borrow_mut().insert(host.to_owned());
        let port = format!("{host}{number}");
        let interface = format!("eth{number}");
        let mut peer = vec!["peer", "name", &interface, "netns", host];
        if let Some(mac) = mac {
            peer.extend(["address", mac]);
        }
        let mut arguments = vec!["ip", "-n", "sw", "link", "add", &port, "type", "veth"];
        arguments.append(&mut peer);
        tool(&arguments);
        tool(&["ip", "-n", "sw", "link", "set", &port, "master", lan, "up"]);
    }
}

/// Runs a tool that must succeed and gives what it printed.
pub(crate) fn tool(command: &[&str]) -> String {
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {}\n{text}", command.join(" "), output.status);
    text
}

/// Asks again and again until there is an answer; for states that the kernel tells nobody about.
pub(crate) fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The lab's own proofs.
mod tests {
    use super::{Packet, run};

    #[test]
    fn hosts_on_a_lan_reach_each_other() {
        run("lab::tests::hosts_on_a_lan_reach_each_other", |lab| {
            let agent = lab.host_on("agent", &[("front", "192.168.1.35/24"), ("back", "10.9.0.1/16")]);
            let phone = lab.phone("phone", "00:15:65:f4:f9:e1", "front", "192.168.1.100/24");
            let other = lab.phone("other", "00:04:13:00:00:01", "back", "10.9.7.1/16");
            let seen = agent.capture();

            let server = agent.udp("0.0.0.0:7");
            phone.udp("0.0.0.0:0").send_to(b"front", "192.168.1.35:7").unwrap();
            let packet = seen.expect("the phone's packet", Packet::to_port(7));
            assert_eq!(packet.payload, b"front");
            assert_eq!(packet.source_mac, "00:15:65:f4:f9:e1");
            other.udp("0.0.0.0:0").send_to(b"back", "10.9.0.1:7").unwrap();
            let mut bytes = [0; 16];
            assert_eq!(server.recv_from(&mut bytes).unwrap().0, 5);
            assert_eq!(server.recv_from(&mut bytes).unwrap().1.ip().to_string(), "10.9.7.1");
        });
    }

    #[test]
    fn multicast_stays_on_its_lan() {
        run("lab::tests::multicast_stays_on_its_lan", |lab| {
            let phone = lab.phone("phone", "00:15:65:f4:f9:e1", "front", "192.168.1.100/24");
            let near = lab.host_on("near", &[("front", "192.168.1.35/24")]).capture();
            let far = lab.host_on("far", &[("back", "192.168.2.35/24")]).capture();
            phone.udp("0.0.0.0:5060").send_to(b"SUBSCRIBE", "224.0.1.75:5060").unwrap();
            near.expect("the multicast", Packet::to_port(5060));
            assert_eq!(far.count(Packet::to_port(5060)), 0);
        });
    }

    #[test]
    fn a_process_ends_with_its_handle() {
        run("lab::tests::a_process_ends_with_its_handle", |lab| {
            let host = lab.host("host", "192.168.1.35/24");
            let mut sleeper = host.spawn(&["sh", "-c", "echo ready; exec sleep 100"]);
            sleeper.line("ready");
            let folder = format!("/proc/{}", sleeper.id());
            assert!(std::path::Path::new(&folder).exists());
            drop(sleeper);
            assert!(!std::path::Path::new(&folder).exists());
        });
    }
}
