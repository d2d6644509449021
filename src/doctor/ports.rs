//! Who holds our ports, from the kernel's tables of sockets: the port table of this host. Never opens a socket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use super::Finding;
use crate::config::{Config, DhcpMode, PnpReceive};

/// One line of the port table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PortLine {
    /// `PnP`, `HTTP`, …
    pub(crate) service: &'static str,
    /// `224.0.1.75:5060/udp`
    pub(crate) port: String,
    /// Whose it is.
    pub(crate) state: PortState,
    /// The program that holds it, where that is seen.
    pub(crate) holder: Option<Holder>,
    /// What that means.
    pub(crate) note: String,
}

/// Whose a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PortState {
    /// The agent has it.
    On,
    /// It is switched off.
    Off,
    /// Nobody has it, and no agent runs.
    Free,
    /// Another program has it.
    Taken,
    /// The agent runs, and does not have it.
    Missing,
    /// Somebody has it, and this user does not see who.
    Unknown,
}

impl PortState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Free => "free",
            Self::Taken => "TAKEN",
            Self::Missing => "MISSING",
            Self::Unknown => "?",
        }
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    /// Its number.
    pub(crate) pid: i32,
    /// Its name, as the kernel has it.
    pub(crate) name: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// What is known of the agent of this data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Agent {
    /// Whether it runs; `None`: that is not seen.
    pub(super) runs: Option<bool>,
    pub(super) pid: Option<i32>,
    /// Its user.
    pub(super) uid: Option<u32>,
    /// Whether it was started with --observe.
    pub(super) observes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// A bound UDP socket, or a listening TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) uid: u32,
    pub(super) inode: u64,
    /// Datagrams that found no room.
    pub(super) drops: u64,
}

/// The sockets in `/proc/net/udp`, `tcp`, `udp6` or `tcp6` that wait for somebody (proc(5)).
pub(super) fn sockets(protocol: Protocol, text: &str) -> Vec<Socket> {
    let waiting = match protocol {
        Protocol::Udp => "07",
        Protocol::Tcp => "0A",
    };
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| words.get(at).copied();
        let (address, port) = word(1)?.split_once(':')?;
        Some(Socket {
            protocol,
            address: address_of(address)?,
            port: u16::from_str_radix(port, 16).ok().filter(|_| word(3) == Some(waiting))?,
            uid: word(7)?.parse().ok()?,
            inode: word(9)?.parse().ok()?,
            drops: word(12).filter(|_| protocol == Protocol::Udp).and_then(|n| n.parse().ok()).unwrap_or(0),
        })
    };
    text.lines().skip(1).filter_map(read).collect()
}

/// Words of the host's own byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let words = [word(0)?, word(1)?, word(2)?, word(3)?];
    let octets: [u8; 16] = words.concat().try_into().ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}

/// The sockets' numbers in `/proc/net/packet`.
pub(super) fn packet_sockets(text: &str) -> Vec<u64> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect()
}

/// Who holds the lock of this file, from `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 812 fd:00:1234 0 EOF`.
pub(super) fn lock_holder(text: &str, inode: u64) -> Option<i32> {
    let holder = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else { return None };
        let number: u64 = file.rsplit(':').next()?.parse().ok()?;
        pid.parse().ok().filter(|pid: &i32| number == inode && *pid > 0)
    };
    text.lines().find_map(holder)
}

/// The kernel's tables as they were read.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) sockets: Vec<Socket>,
    pub(super) packets: Vec<u64>,
    /// By the socket's number; what this user may not look into is not here.
    pub(super) holders: HashMap<u64, Holder>,
    /// Whether the group of PnP is joined on any interface.
    pub(super) joined: bool,
}

/// One service as the configuration wants it.
struct Wanted {
    service: &'static str,
    protocol: Protocol,
    address: SocketAddr,
    /// Whether others may have the port as well: a group's address is shared.
    shared: bool,
    /// Whether it is there with --observe.
    observing: bool,
}

/// The port table, and what is wrong with it.
pub(super) fn table(config: &Config, agent: &Agent, tables: &Tables) -> (Vec<PortLine>, Vec<Finding>) {
    let (mut ports, mut findings) = (Vec::new(), Vec::new());
    for (service, key, wanted) in wanted(config) {
        let port = match wanted {
            Err(port) => PortLine {
                service,
                port,
                state: PortState::Off,
                holder: None,
                note: format!("{key} switches it off"),
            },
            Ok(wanted) => state(&wanted, config, agent, tables),
        };
        findings.extend(finding(&port, key, agent));
        ports.push(port);
    }
    ports.push(dhcp(config, agent, tables));
    ports.push(sip(config, agent, tables));
    if findings.is_empty() {
        let text = match agent.runs {
            Some(true) => "the agent has every port that it is to have",
            Some(false) => "every port that an agent is to have is free",
            None => "no other program has a port of ours",
        };
        findings.push(Finding::ok("ports", text));
    }
    findings.extend(drops(&ports, agent, tables, config));
    (ports, findings)
}

fn wanted(config: &Config) -> Vec<(&'static str, &'static str, Result<Wanted, String>)> {
    let group = SocketAddr::from((config.pnp.group, config.pnp.port));
    let reply = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.pnp.reply_port));
    let of = |service, key, protocol: Protocol, address: Option<SocketAddr>, shared, observing| {
        let off = format!("-/{}", protocol.as_str());
        let wanted = address.map(|address| Wanted { service, protocol, address, shared, observing });
        (service, key, wanted.ok_or(off))
    };
    let pnp = |address| config.pnp.enabled.then_some(address);
    let (udp, tcp) = (Protocol::Udp, Protocol::Tcp);
    vec![
        of("PnP", "pnp.enabled", udp, pnp(group), true, true),
        of("NOTIFY", "pnp.reply_port", udp, pnp(reply).filter(|reply| reply.port() != 0), false, true),
        of("TFTP", "tftp.listen", udp, config.tftp.listen.address(), false, false),
        of("HTTP", "http.listen", tcp, config.http.listen.address(), false, false),
        of("HTTPS", "https.listen", tcp, config.https.listen.address(), false, false),
        of("REST", "admin.listen", tcp, config.admin.listen.address(), false, true),
    ]
}

/// Whether a socket stands where ours is to stand: an address of all takes every address.
fn overlaps(socket: &Socket, wanted: &Wanted) -> bool {
    let (one, other) = (socket.address, wanted.address.ip().to_canonical());
    socket.protocol == wanted.protocol
        && socket.port == wanted.address.port()
        && (one == other || one.is_unspecified() || other.is_unspecified())
}

fn state(wanted: &Wanted, config: &Config, agent: &Agent, tables: &Tables) -> PortLine {
    let runs = agent.runs == Some(true);
    let found = |state, holder: Option<Holder>, note: String| PortLine {
        service: wanted.service,
        port: format!("{}/{}", wanted.address, wanted.protocol.as_str()),
        state,
        holder,
        note,
    };
    if runs && agent.observes && !wanted.observing {
        return found(PortState::Off, None, "only observing (--observe)".to_owned());
    }
    let rows: Vec<&Socket> = tables.sockets.iter().filter(|socket| overlaps(socket, wanted)).collect();
    let holder = |row: &Socket| tables.holders.get(&row.inode).cloned();
    let is_ours = |row: &&&Socket| runs && holder(row).is_some_and(|holder| Some(holder.pid) == agent.pid);
    // A process of the agent's user that this user may not look into.
    let seems_ours = |row: &&&Socket| {
        let exact = !wanted.shared || row.address == wanted.address.ip();
        runs && exact && holder(row).is_none() && agent.uid == Some(row.uid)
    };
    let others: Vec<&&Socket> = rows.iter().filter(|row| !is_ours(row) && !seems_ours(row)).collect();
    let beside = others.iter().find_map(|row| holder(row));
    let sharing = |beside: &Option<Holder>| match beside {
        _ if others.is_empty() => String::new(),
        Some(holder) => format!("; {holder} has the port as well, and gets a copy of what phones ask"),
        None => "; another program has the port as well, and gets a copy of what phones ask".to_owned(),
    };
    if let Some(row) = rows.iter().find(is_ours).or_else(|| rows.iter().find(seems_ours)) {
        let note = if holder(row).is_some() { "" } else { "held by a process of the agent's user" };
        return found(PortState::On, holder(row), format!("{note}{}", sharing(&beside)));
    }
    if wanted.shared
        && runs
        && tables.joined
        && (config.pnp.receive == PnpReceive::Packet || !rows.is_empty())
    {
        return found(PortState::On, None, format!("by a packet socket{}", sharing(&beside)));
    }
    match (others.first(), beside) {
        (Some(_), Some(holder)) => {
            let note = format!("held by {holder}");
            found(PortState::Taken, Some(holder), note)
        }
        (Some(row), None) if agent.runs.is_none() || agent.uid.is_none() && runs => {
            let note = format!("held by a process of user {}; run the command as root to see which", row.uid);
            found(PortState::Unknown, None, note)
        }
        (Some(row), None) => {
            let note = format!("held by another process, of user {}", row.uid);
            found(PortState::Taken, None, note)
        }
        (None, _) => match agent.runs {
            Some(true) => found(PortState::Missing, None, "the agent runs without it".to_owned()),
            Some(false) => found(PortState::Free, None, String::new()),
            None => {
                found(PortState::Unknown, None, "nobody has it; whether an agent runs is not seen".to_owned())
            }
        },
    }
}

fn finding(port: &PortLine, key: &str, agent: &Agent) -> Option<Finding> {
    let PortLine { service, port: name, note, .. } = port;
    let number = name.rsplit(':').next().unwrap_or_default().split('/').next().unwrap_or_default();
    let is_shared = *service == "PnP";
    match port.state {
        PortState::On | PortState::Off | PortState::Free => None,
        PortState::Taken if is_shared && agent.runs != Some(true) => Some(
            Finding::warn(
                "ports",
                format!("port {name} is shared: {}", told(port)),
                "it works beside a PBX that lets others have the port as well; else set pnp.receive = \"packet\"",
            )
            .seen(note.clone()),
        ),
        PortState::Taken => Some(
            Finding::broken(
                "ports",
                format!("port {name} ({service}) is taken by another program: {}", told(port)),
                format!("stop it, or set {key}"),
            )
            .seen(note.clone()),
        ),
        PortState::Missing => Some(Finding::broken(
            "ports",
            format!("the agent runs without port {name} ({service})"),
            format!("its log says why; ss -lnp '( sport = :{number} )' shows who has the port; restart the agent"),
        )),
        PortState::Unknown => Some(
            Finding::unknown(
                "ports",
                format!("whether port {name} ({service}) is the agent's was not checked"),
                "run the command as root",
            )
            .seen(note.clone()),
        ),
    }
}

fn told(port: &PortLine) -> String {
    port.holder.as_ref().map_or_else(|| "its name is seen by root only".to_owned(), Holder::to_string)
}

/// Hearing takes no port, so nobody can take it.
fn dhcp(config: &Config, agent: &Agent, tables: &Tables) -> PortLine {
    let mode = config.dhcp.mode;
    // Who gives leases holds it.
    let is_agents = |one: &&Socket| {
        let holder = tables.holders.get(&one.inode);
        agent.pid.is_some() && holder.map(|holder| holder.pid) == agent.pid
    };
    let mut of_servers = tables.sockets.iter().filter(|one| one.protocol == Protocol::Udp && one.port == 67);
    let beside = of_servers.find(|one| !is_agents(one));
    let beside = beside.map(|row| match tables.holders.get(&row.inode) {
        Some(holder) => format!("; {holder} is a DHCP server on this host"),
        None => "; another program on this host is a DHCP server".to_owned(),
    });
    let state = heard(agent, tables, mode == DhcpMode::Off);
    let note = format!("dhcp.mode = \"{mode}\", by a packet socket{}", beside.unwrap_or_default());
    PortLine { service: "DHCP", port: "67-68/udp".to_owned(), state, holder: None, note }
}

/// Registrations are overheard, beside whoever has the port.
fn sip(config: &Config, agent: &Agent, tables: &Tables) -> PortLine {
    let (state, watch) = (heard(agent, tables, !config.sip.watch), config.sip.watch);
    let note = format!("sip.watch = {watch}, by a packet socket");
    PortLine { service: "SIP", port: "5060/udp".to_owned(), state, holder: None, note }
}

/// Whether the agent hears by a packet socket: that it has one is all that the kernel tells.
fn heard(agent: &Agent, tables: &Tables, is_off: bool) -> PortState {
    let owned = |pid: Option<i32>| {
        let holds = |inode: &u64| tables.holders.get(inode).is_some_and(|holder| Some(holder.pid) == pid);
        tables.packets.iter().any(holds)
    };
    let sees = tables.holders.values().any(|holder| Some(holder.pid) == agent.pid);
    match agent.runs {
        _ if is_off => PortState::Off,
        Some(false) => PortState::Free,
        Some(true) if owned(agent.pid) => PortState::On,
        Some(true) if sees => PortState::Missing,
        Some(true) | None => PortState::Unknown,
    }
}

/// Datagrams that the agent had no room for.
fn drops(ports: &[PortLine], agent: &Agent, tables: &Tables, config: &Config) -> Vec<Finding> {
    let own = |socket: &&Socket| {
        let holder = tables.holders.get(&socket.inode);
        let is_agents = holder.is_some_and(|holder| agent.pid == Some(holder.pid));
        is_agents || holder.is_none() && agent.runs == Some(true) && agent.uid == Some(socket.uid)
    };
    let mut findings = Vec::new();
    for (service, number) in
        [("PnP", config.pnp.port), ("NOTIFY", config.pnp.reply_port), ("TFTP", tftp(config))]
    {
        if !ports.iter().any(|port| port.service == service && port.state == PortState::On) {
            continue;
        }
        let of_port = tables.sockets.iter().filter(|one| one.protocol == Protocol::Udp && one.port == number);
        let lost: u64 = of_port.filter(own).map(|socket| socket.drops).sum();
        if lost > 0 {
            findings.push(
                Finding::warn(
                    "buffers",
                    format!("{lost} datagrams to {service} were lost since the agent started: its receive buffer was full"),
                    "set net.core.rmem_max to 16777216, or give CAP_NET_ADMIN, and restart the agent",
                )
                .seen("/proc/net/udp, drops"),
            );
        }
    }
    findings
}

fn tftp(config: &Config) -> u16 {
    config.tftp.listen.address().map_or(0, |address| address.port())
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const UDP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1289: 4B0100E0:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000   998        0 101 2 ffff 0
 1289: 00000000:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000   110        0 201 2 ffff 0
 1294: 00000000:13C9 00000000:0000 07 00000000:00000000 00:00000000 00000000   998        0 102 2 ffff 7
 1294: 0100007F:9C40 0100007F:0035 01 00000000:00000000 00:00000000 00000000   998        0 103 2 ffff 0
";
    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:2120 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 104 1 ffff 100 0 0 10 0
   1: 0100007F:2122 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 105 1 ffff 100 0 0 10 0
   2: 0100007F:2122 0100007F:9999 01 00000000:00000000 00:00000000 00000000   998        0 106 1 ffff 100 0 0 10 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:2121 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 301 1 ffff 100 0 0 10 0
";

    fn tables() -> Tables {
        let mut sockets = super::sockets(Protocol::Udp, UDP);
        sockets.extend(super::sockets(Protocol::Tcp, TCP));
        sockets.extend(super::sockets(Protocol::Tcp, TCP6));
        let holder = |pid, name: &str| Holder { pid, name: name.to_owned() };
        let holders = HashMap::from([
            (101, holder(812, "offhook")),
            (102, holder(812, "offhook")),
            (104, holder(812, "offhook")),
            (105, holder(812, "offhook")),
            (107, holder(812, "offhook")),
            (201, holder(400, "asterisk")),
            (301, holder(500, "nginx")),
        ]);
        Tables { sockets, packets: vec![107], holders, joined: true }
    }

    fn running() -> Agent {
        Agent { runs: Some(true), pid: Some(812), uid: Some(998), observes: false }
    }

    #[test]
    fn the_tables_of_the_kernel_are_read() {
        let udp = super::sockets(Protocol::Udp, UDP);
        assert_eq!(udp.len(), 3, "a connected socket waits for nobody: {udp:?}");
        assert_eq!((udp[0].address, udp[0].port), ([224, 0, 1, 75].into(), 5060));
        assert_eq!((udp[2].uid, udp[2].inode, udp[2].drops), (998, 102, 7));
        assert_eq!(super::sockets(Protocol::Tcp, TCP).len(), 2);
        let tcp6 = super::sockets(Protocol::Tcp, TCP6);
        assert!(tcp6[0].address.is_unspecified() && tcp6[0].port == 8481, "{tcp6:?}");
        assert!(super::sockets(Protocol::Udp, "sl\n 1: xx:1 y 07\n\u{0}\n1: 0:0\n").is_empty());
        let packet = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                      ffff 3      2    0003   0     1 0      998    107\n";
        assert_eq!(packet_sockets(packet), [107]);
        let locks = "1: POSIX  ADVISORY  READ  77 fd:01:9 128 128\n2: FLOCK  ADVISORY  WRITE 812 fd:01:4711 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 900 fd:01:4711 0 EOF\n";
        assert_eq!((lock_holder(locks, 4711), lock_holder(locks, 9)), (Some(812), None));
    }

    #[test]
    fn each_port_is_told_with_who_has_it() {
        let (ports, findings) = table(&Config::default(), &running(), &tables());
        let of = |service: &str| ports.iter().find(|port| port.service == service).unwrap();
        let state = |service: &str| of(service).state;
        assert_eq!(state("PnP"), PortState::On);
        assert!(of("PnP").note.contains("asterisk (pid 400) has the port as well"), "{:?}", of("PnP"));
        assert_eq!(
            (state("NOTIFY"), state("HTTP"), state("REST")),
            (PortState::On, PortState::On, PortState::On)
        );
        assert_eq!(state("DHCP"), PortState::On);
        assert_eq!((state("TFTP"), state("HTTPS")), (PortState::Missing, PortState::Taken));
        let broken: Vec<&Finding> = findings.iter().filter(|one| one.state == State::Broken).collect();
        assert_eq!(broken.len(), 2, "{findings:#?}");
        assert_eq!(broken[0].text, "the agent runs without port 0.0.0.0:69/udp (TFTP)");
        assert_eq!(
            broken[1].text,
            "port 0.0.0.0:8481/tcp (HTTPS) is taken by another program: nginx (pid 500)"
        );
        assert_eq!(broken[1].fix, "stop it, or set https.listen");
        assert!(
            findings.iter().any(|one| one.check == "buffers" && one.text.contains("7 datagrams to NOTIFY"))
        );
    }

    #[test]
    fn who_may_not_look_into_processes_says_so() {
        let blind = Tables { holders: HashMap::new(), packets: vec![107], ..tables() };
        let (ports, _) = table(&Config::default(), &running(), &blind);
        let state = |service: &str| ports.iter().find(|port| port.service == service).unwrap().state;
        assert_eq!((state("HTTP"), state("PnP")), (PortState::On, PortState::On), "of the agent's user");
        assert_eq!((state("HTTPS"), state("DHCP")), (PortState::Taken, PortState::Unknown));
        let (ports, findings) = table(&Config::default(), &Agent::default(), &blind);
        assert!(ports.iter().any(|port| port.state == PortState::Unknown));
        assert!(findings.iter().all(|one| one.state == State::Unknown), "{findings:#?}");
    }

    #[test]
    fn without_an_agent_a_port_is_free_or_taken() {
        let stopped = Agent { runs: Some(false), ..Agent::default() };
        let (ports, findings) = table(&Config::default(), &stopped, &Tables::default());
        assert!(ports.iter().all(|port| port.state == PortState::Free), "{ports:#?}");
        assert_eq!(findings, [Finding::ok("ports", "every port that an agent is to have is free")]);
        let mut off = Config::default();
        off.pnp.enabled = false;
        let (ports, _) = table(&off, &stopped, &Tables::default());
        assert_eq!(ports.iter().filter(|port| port.state == PortState::Off).count(), 2);
        let observing = Agent { observes: true, ..running() };
        let (ports, _) = table(&Config::default(), &observing, &tables());
        assert!(ports.iter().any(|port| port.service == "HTTP" && port.state == PortState::Off));
    }
}
