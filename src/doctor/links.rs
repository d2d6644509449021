//! The host's links: which of them phones can be heard on, whether the group is joined there, whether this is a
//! container's own little network, and whether switches keep the group from us. Only judges what was read.

use std::net::Ipv4Addr;

use super::ports::Agent;
use super::{Finding, some_of};
use crate::config::Config;
use crate::net::interfaces::Interface;

/// How often a querier asks, unless it is told otherwise (RFC 3376, 8.2).
const QUERIED_EVERY_S: u64 = 125;

/// A link as sysfs shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// The other end is elsewhere: `iflink` is another number than `ifindex`.
    pub(super) has_peer: bool,
    /// `DEVTYPE` of `uevent`: bridge, macvlan, vlan, wlan; a veth has none.
    pub(super) kind: Option<String>,
    /// Made by a program (`tun_flags`).
    pub(super) is_tun: bool,
    /// A bridge of this host: whether it snoops on IGMP, and whether it asks who is a member.
    pub(super) bridge: Option<(bool, bool)>,
}

/// One line of `/proc/net/igmp`: an interface, the version of queries that it hears, and the groups that are joined there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) index: u32,
    /// `V3` is also what stands there when nothing was heard.
    pub(super) querier: String,
    pub(super) groups: Vec<Ipv4Addr>,
}

/// Reads `/proc/net/igmp`; groups are numbers in the host's own byte order.
pub(super) fn members(text: &str) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with('\t') || line.starts_with(' ') {
            let group = words.first().filter(|word| word.len() == 8);
            let group = group.and_then(|word| u32::from_str_radix(word, 16).ok());
            if let (Some(member), Some(group)) = (members.last_mut(), group) {
                member.groups.push(Ipv4Addr::from(group.to_ne_bytes()));
            }
        } else if let Some(index) = words.first().and_then(|word| word.parse().ok()) {
            let querier = words.last().copied().unwrap_or_default().to_owned();
            members.push(Member { index, querier, groups: Vec::new() });
        }
    }
    members
}

/// Whether the group is joined on this interface.
fn is_joined(members: &[Member], index: u32, group: Ipv4Addr) -> bool {
    members.iter().any(|member| member.index == index && member.groups.contains(&group))
}

/// Whether the group is joined on any interface.
pub(super) fn is_joined_somewhere(members: &[Member], group: Ipv4Addr) -> bool {
    members.iter().any(|member| member.groups.contains(&group))
}

/// Why this interface is not used, if it is not.
fn unusable(interface: &Interface, only: &[String]) -> Option<&'static str> {
    let named = only.contains(&interface.name);
    let faults = [
        (!only.is_empty() && !named, "it is not among agent.interfaces"),
        (!interface.up, "it is down, or has no carrier"),
        (!interface.multicast && !interface.loopback, "it cannot multicast (no MULTICAST flag)"),
        (interface.addresses.is_empty(), "it has no IPv4 address"),
    ];
    faults.into_iter().find_map(|(is, why)| is.then_some(why))
}

/// Which interfaces phones can be heard on, and whether the group is joined there.
pub(super) fn joins(
    config: &Config,
    agent: &Agent,
    interfaces: &[Interface],
    members: &[Member],
) -> Vec<Finding> {
    let only = &config.agent.interfaces;
    let mut findings = Vec::new();
    for name in only.iter().filter(|name| !interfaces.iter().any(|one| one.name == **name)) {
        let text = format!("agent.interfaces names '{name}', and there is no such interface");
        findings.push(Finding::broken(
            "interfaces",
            text,
            "ip address shows the interfaces; correct the name",
        ));
    }
    // Loopback is used by name only.
    let candidates = interfaces.iter().filter(|one| !one.loopback || only.contains(&one.name));
    let (usable, others): (Vec<&Interface>, Vec<&Interface>) =
        candidates.partition(|one| unusable(one, only).is_none());
    findings.extend(others.iter().filter_map(|one| unused(one, only)));
    if usable.is_empty() {
        let text = "this host has no interface that phones could be heard on";
        let fix = "give an interface an IPv4 address and bring it up (ip link set eth0 up multicast on)";
        findings.push(Finding::broken("interfaces", text, fix));
        return findings;
    }
    let named: Vec<String> = usable.iter().map(|one| described(one)).collect();
    findings.push(Finding::ok("interfaces", format!("phones are heard on {}", some_of(&named))));
    findings.extend(multicast(config, agent, &usable, members));
    findings
}

fn described(interface: &Interface) -> String {
    let addresses: Vec<String> = interface.addresses.iter().map(|(address, _)| address.to_string()).collect();
    format!("{} ({})", interface.name, addresses.join(", "))
}

/// What is to be said of an interface that is not used: nothing where nobody expects it.
fn unused(interface: &Interface, only: &[String]) -> Option<Finding> {
    let why = unusable(interface, only)?;
    let name = &interface.name;
    let text = format!("{name} is not used: {why}");
    let is_named = only.contains(name);
    let is_deaf = interface.up && !interface.multicast && !interface.addresses.is_empty();
    let fix = match (is_deaf, is_named) {
        (true, _) => format!("ip link set {name} multicast on, unless it is no link to phones"),
        (false, true) => format!("ip address show {name}; ip link set {name} up"),
        (false, false) => return None,
    };
    Some(if is_named {
        Finding::broken("interfaces", text, fix)
    } else {
        Finding::warn("interfaces", text, fix)
    })
}

fn multicast(config: &Config, agent: &Agent, usable: &[&Interface], members: &[Member]) -> Option<Finding> {
    let group = config.pnp.group;
    if !config.pnp.enabled {
        return Some(Finding::ok("multicast", "PnP is switched off (pnp.enabled)"));
    }
    let names = |wanted: bool| -> Vec<&str> {
        let joined = usable.iter().filter(|one| is_joined(members, one.index, group) == wanted);
        joined.map(|one| one.name.as_str()).collect()
    };
    let (with, without) = (names(true), names(false));
    match agent.runs {
        // What another program has joined tells nothing of the agent.
        Some(false) => None,
        _ if without.is_empty() => Some(
            Finding::ok("multicast", format!("{group} is joined on {}", some_of(&with)))
                .seen("/proc/net/igmp"),
        ),
        Some(true) => Some(
            Finding::broken(
                "multicast",
                format!("{group} is not joined on {}: phones there are not heard", some_of(&without)),
                "the agent's log says why it could not join; restart it",
            )
            .seen("/proc/net/igmp"),
        ),
        None => Some(Finding::unknown(
            "multicast",
            format!("whether an agent has joined {group} was not checked"),
            "run the command as root, or as the user of the service",
        )),
    }
}

/// What tells that this is a container: a file, or a word of the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) dockerenv: bool,
    pub(super) containerenv: bool,
    /// `/proc/1/cgroup`
    pub(super) cgroup: String,
    /// `/run/systemd/container`, or `container` of process 1
    pub(super) container: String,
}

impl Marks {
    /// By what this is known to be a container whose runtime gives it a network of its own.
    fn sign(&self) -> Option<String> {
        const RUNTIMES: [&str; 7] = ["docker", "podman", "kubepods", "containerd", "libpod", "crio", "oci"];
        let word = |text: &str| RUNTIMES.into_iter().find(|word| text.contains(word));
        let in_cgroup = || word(&self.cgroup).map(|word| format!("'{word}' in /proc/1/cgroup"));
        let declared = || word(&self.container).map(|word| format!("container={word}"));
        let file = match (self.dockerenv, self.containerenv) {
            (true, _) => Some("/.dockerenv".to_owned()),
            (false, true) => Some("/run/.containerenv".to_owned()),
            (false, false) => None,
        };
        file.or_else(in_cgroup).or_else(declared)
    }
}

/// Whether this is a container with a network of its own, through which neither multicast nor ARP comes.
pub(super) fn container(marks: &Marks, interfaces: &[Interface], links: &[Link]) -> Finding {
    let Some(sign) = marks.sign() else {
        return Finding::ok("container", "this is no container, or one that is like a host");
    };
    let outward = |one: &&Interface| !one.loopback && !one.addresses.is_empty();
    let used: Vec<&Interface> = interfaces.iter().filter(outward).collect();
    let link = |one: &Interface| links.iter().find(|link| link.name == one.name);
    let is_inner =
        |one: &&Interface| link(one).is_some_and(|link| link.is_tun || link.has_peer && link.kind.is_none());
    if used.iter().any(|one| link(one).is_none()) {
        return Finding::unknown(
            "container",
            format!("this is a container ({sign}); what kind of network it has was not checked"),
            "/sys of the container",
        );
    }
    if used.is_empty() || !used.iter().all(is_inner) {
        return Finding::ok("container", "this container is on the LAN itself").seen(sign);
    }
    let names: Vec<String> = used.iter().map(|one| described(one)).collect();
    Finding::broken(
        "container",
        "this is a container on a bridge network of its own: neither phones' multicast nor their ARP comes through",
        "give it the host's network (--network host), or an address of the LAN (a macvlan network)",
    )
    .seen(format!("{sign}; {} leads to the host by a veth", some_of(&names)))
}

/// Whether IGMP queries were heard: by version 2 of the kernel's own table, or by listening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listened {
    /// Nobody asked for it.
    No,
    /// It was not possible: why.
    Denied(String),
    /// For so many seconds; the interfaces on which queries came.
    For(u64, Vec<String>),
}

/// Whether switches that snoop on IGMP know who is a member of the group: somebody has to ask now and then.
pub(super) fn snooping(
    interfaces: &[Interface],
    members: &[Member],
    links: &[Link],
    listened: &Listened,
) -> Vec<Finding> {
    let used = interfaces.iter().filter(|one| one.up && !one.loopback && !one.addresses.is_empty());
    let of = |one: &Interface| {
        let name = &one.name;
        let bridge = links.iter().find(|link| link.name == *name).and_then(|link| link.bridge);
        let version = members.iter().find(|member| member.index == one.index).map(|member| &member.querier);
        if let Some(version) = version.filter(|version| matches!(version.as_str(), "V1" | "V2")) {
            let text = format!("somebody on {name} asks who is a member of groups");
            return Finding::ok("snooping", text).seen(format!("/proc/net/igmp, {version}"));
        }
        match (listened, bridge) {
            (Listened::For(_, heard), _) if heard.contains(name) => {
                Finding::ok("snooping", format!("somebody on {name} asks who is a member of groups"))
                    .seen("an IGMP query was heard")
            }
            (_, Some((true, true))) => {
                Finding::ok("snooping", format!("the bridge {name} snoops on IGMP, and asks who is a member"))
            }
            (_, Some((false, _))) => {
                Finding::ok("snooping", format!("the bridge {name} passes every multicast on"))
            }
            (_, Some((true, false))) => Finding::warn(
                "snooping",
                format!("the bridge {name} snoops on IGMP, and nobody is known to ask who is a member of groups: after \
                         some minutes it may pass no more multicast of phones on"),
                format!("echo 1 > /sys/class/net/{name}/bridge/multicast_querier"),
            )
            .seen(format!("/sys/class/net/{name}/bridge")),
            (Listened::For(seconds, _), None) if *seconds < QUERIED_EVERY_S => Finding::unknown(
                "snooping",
                format!("nobody on {name} asked who is a member of groups within {seconds} s, which says little"),
                "offhook doctor --wait 130s: a querier usually asks every 125 s",
            ),
            (Listened::For(seconds, _), None) => Finding::warn(
                "snooping",
                format!("nobody on {name} asked who is a member of groups within {seconds} s: a switch that snoops on \
                         IGMP may pass no more multicast of phones on"),
                "on the switch, switch an IGMP querier on, or IGMP snooping off in the phones' VLAN",
            )
            .seen("usually somebody asks every 125 s"),
            (Listened::Denied(why), None) => Finding::unknown(
                "snooping",
                format!("whether somebody on {name} asks who is a member of groups was not checked: {why}"),
                "CAP_NET_RAW: run the command as root",
            ),
            (Listened::No, None) => Finding::unknown(
                "snooping",
                format!("whether a switch on {name} snoops on IGMP without a querier is not known from here"),
                "offhook doctor --wait 130s listens for queries",
            ),
        }
    };
    used.map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::net::Prefix;

    const IGMP: &str = "\
Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0      :     2      V2
\t\t\t\t4B0100E0     1 0:00000000\t\t1
\t\t\t\t010000E0     1 0:00000000\t\t0
3\teth1      :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
";

    fn interface(index: u32, name: &str) -> Interface {
        let address = Ipv4Addr::new(192, 168, u8::try_from(index).unwrap(), 35);
        Interface {
            index,
            name: name.to_owned(),
            mac: None,
            addresses: vec![(address, Prefix::new(address, 24).unwrap())],
            up: true,
            multicast: true,
            loopback: false,
        }
    }

    fn running() -> Agent {
        Agent { runs: Some(true), pid: Some(1), ..Agent::default() }
    }

    #[test]
    fn an_interface_without_the_group_is_named() {
        let members = members(IGMP);
        assert_eq!(members.len(), 3);
        assert_eq!(members[1].groups, [Ipv4Addr::new(224, 0, 1, 75), Ipv4Addr::new(224, 0, 0, 1)]);
        assert!(super::members("x\n\u{0}\n\tzz\n4").len() < 2);
        let (eth0, eth1) = (interface(2, "eth0"), interface(3, "eth1"));
        let found = joins(&Config::default(), &running(), &[eth0.clone(), eth1.clone()], &members);
        assert_eq!(found[0].text, "phones are heard on eth0 (192.168.2.35), eth1 (192.168.3.35)");
        assert_eq!((found[1].state, found[1].check), (State::Broken, "multicast"));
        assert_eq!(found[1].text, "224.0.1.75 is not joined on eth1: phones there are not heard");
        let found = joins(&Config::default(), &running(), std::slice::from_ref(&eth0), &members);
        assert_eq!((found.len(), found[1].state), (2, State::Ok));
        let stopped = Agent { runs: Some(false), ..Agent::default() };
        assert_eq!(joins(&Config::default(), &stopped, &[eth1], &members).len(), 1);
        let unseen = joins(&Config::default(), &Agent::default(), &[interface(3, "eth1")], &members);
        assert_eq!(unseen[1].state, State::Unknown);
    }

    #[test]
    fn an_interface_that_cannot_be_used_says_why() {
        let deaf = Interface { multicast: false, ..interface(2, "eth0") };
        let found = joins(&Config::default(), &running(), std::slice::from_ref(&deaf), &[]);
        assert_eq!((found[0].state, found[1].state), (State::Warn, State::Broken));
        assert_eq!(found[0].text, "eth0 is not used: it cannot multicast (no MULTICAST flag)");
        assert_eq!(found[1].text, "this host has no interface that phones could be heard on");
        let mut named = Config::default();
        named.agent.interfaces = vec!["eth0".to_owned(), "eth7".to_owned()];
        let down = Interface { up: false, ..interface(2, "eth0") };
        let found = joins(&named, &running(), &[down], &[]);
        assert_eq!(found[0].text, "agent.interfaces names 'eth7', and there is no such interface");
        assert_eq!(found[1].text, "eth0 is not used: it is down, or has no carrier");
        assert!(found.iter().all(|one| one.state == State::Broken), "{found:#?}");
        let idle = Interface { addresses: vec![], ..interface(4, "eth4") };
        let found = joins(&Config::default(), &running(), &[interface(2, "eth0"), idle], &members(IGMP));
        assert_eq!(found.len(), 2, "nobody expects phones on a link without an address: {found:#?}");
    }

    #[test]
    fn a_container_on_a_bridge_network_is_told_from_one_on_the_lan() {
        let eth0 = interface(2, "eth0");
        let veth = Link { name: "eth0".to_owned(), has_peer: true, ..Link::default() };
        let docker = Marks { dockerenv: true, ..Marks::default() };
        let check = |marks: &Marks, link: &Link, state, words: &str| {
            let found = container(marks, std::slice::from_ref(&eth0), std::slice::from_ref(link));
            assert!(found.state == state && found.text.contains(words), "{found:?}");
        };
        check(&docker, &veth, State::Broken, "bridge network of its own");
        let macvlan = Link { kind: Some("macvlan".to_owned()), ..veth.clone() };
        check(&docker, &macvlan, State::Ok, "on the LAN itself");
        let tap = Link { has_peer: false, is_tun: true, ..veth.clone() };
        let podman = Marks { containerenv: true, ..Marks::default() };
        check(&podman, &tap, State::Broken, "bridge network");
        let pod = Marks { cgroup: "0::/kubepods/burstable/pod1".to_owned(), ..Marks::default() };
        check(&pod, &veth, State::Broken, "neither phones' multicast");
        check(&Marks { container: "lxc".to_owned(), ..Marks::default() }, &veth, State::Ok, "like a host");
        check(&Marks::default(), &veth, State::Ok, "no container");
        assert_eq!(container(&docker, &[eth0], &[]).state, State::Unknown);
    }

    #[test]
    fn snooping_without_a_querier_is_known_or_not() {
        let eth1 = [interface(3, "eth1")];
        let bridge = |snoops, asks| {
            [Link { name: "eth1".to_owned(), bridge: Some((snoops, asks)), ..Link::default() }]
        };
        let check = |links: &[Link], listened: &Listened, state| {
            let found = snooping(&eth1, &members(IGMP), links, listened);
            assert_eq!((found.len(), found[0].state), (1, state), "{found:?}");
        };
        check(&[], &Listened::No, State::Unknown);
        check(&[], &Listened::Denied("not permitted".to_owned()), State::Unknown);
        check(&[], &Listened::For(130, vec![]), State::Warn);
        check(&[], &Listened::For(9, vec![]), State::Unknown);
        check(&[], &Listened::For(130, vec!["eth1".to_owned()]), State::Ok);
        check(&bridge(true, false), &Listened::No, State::Warn);
        check(&bridge(true, true), &Listened::No, State::Ok);
        check(&bridge(false, false), &Listened::For(9, vec![]), State::Ok);
        let heard = snooping(&[interface(2, "eth0")], &members(IGMP), &[], &Listened::No);
        assert_eq!(heard[0].state, State::Ok, "version 2 is there only after a query");
    }
}
