//! Whether the host's packet filter lets in what phones send. The rules of nftables and iptables are brought into one
//! form, and each packet that a phone will send is walked through them. Whatever is not understood may be true or not,
//! and is never taken for either. Only judges texts.

mod iptables;
mod nft;

use std::net::Ipv4Addr;

use super::{Finding, some_of};
use crate::config::Config;
use crate::net::Prefix;
use crate::net::interfaces::Interface;

/// Chains that call chains; a rule set with more is not followed.
const DEPTH_MAX: usize = 16;

/// Rules that belong together: chains call only chains of their own table.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// `nft table inet filter`, `iptables`
    pub(super) name: String,
    chains: Vec<Chain>,
}

#[derive(Debug)]
struct Chain {
    name: String,
    /// Where packets come in: whether they are accepted at its end.
    entry: Option<bool>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    tests: Vec<Test>,
    action: Action,
    /// As a person would look for it.
    text: String,
}

#[derive(Debug)]
struct Test {
    what: What,
    negated: bool,
}

#[derive(Debug)]
enum What {
    /// `udp`, `tcp`
    Protocol(Vec<String>),
    Port(Vec<(u16, u16)>),
    To(Vec<Prefix>),
    From(Vec<Prefix>),
    /// Names of interfaces; one that ends with `*` or `+` covers what begins like it.
    Interface(Vec<String>),
    /// Of a connection: a phone's packet is `new`.
    Tracked(Vec<String>),
    /// How a frame came: `host`, `multicast`
    Cast(Vec<String>),
    /// What kind of address it is for: `local`, `multicast`
    Kind(Vec<String>),
    /// Not understood.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// Counts, logs, marks.
    Nothing,
}

/// What a phone on a link sends to a service of ours.
#[derive(Debug, Clone)]
struct Packet {
    service: &'static str,
    protocol: &'static str,
    to: Ipv4Addr,
    port: u16,
    from: Prefix,
    interface: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Maybe,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Passes,
    /// By which rule.
    Dropped(String),
    /// It is dropped at the end unless a rule that is not understood accepts it: which.
    Unclear(String),
}

/// The rule sets that were read, or why they were not.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    pub(super) tables: Vec<Table>,
    /// Why nothing is known, where nothing was read.
    pub(super) unread: Option<String>,
    /// `firewalld`, `ufw`: what manages the rules.
    pub(super) manager: Option<&'static str>,
}

/// Reads what `nft -j list ruleset` prints; `None` where it is not that.
pub(super) fn read_nft(text: &str) -> Option<Vec<Table>> {
    nft::read(text)
}

/// The tables without those that the iptables of today keeps in nftables, some of whose rules only it can print.
pub(super) fn without_iptables(tables: Vec<Table>) -> Vec<Table> {
    const KEPT_BY_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
    let is_one = |table: &Table| {
        table.name.strip_prefix("nft table ip ").is_some_and(|name| KEPT_BY_IPTABLES.contains(&name))
    };
    tables.into_iter().filter(|table| !is_one(table)).collect()
}

/// Reads what `iptables-save` prints.
pub(super) fn read_iptables(text: &str) -> Vec<Table> {
    iptables::read(text)
}

/// Whether what phones send comes through.
pub(super) fn judged(config: &Config, interfaces: &[Interface], ruleset: &Ruleset) -> Finding {
    let managed = ruleset.manager.map(|name| format!("; {name} is active")).unwrap_or_default();
    if let Some(why) = &ruleset.unread {
        let text = format!("whether a packet filter drops what phones send was not checked: {why}{managed}");
        return Finding::unknown(
            "firewall",
            text,
            "run the command as root, with nft or iptables-save installed",
        );
    }
    let packets = packets(config, interfaces);
    let fates: Vec<(&Packet, Fate)> = packets.iter().map(|one| (one, fate(one, &ruleset.tables))).collect();
    let dropped: Vec<&(&Packet, Fate)> =
        fates.iter().filter(|(_, fate)| matches!(fate, Fate::Dropped(_))).collect();
    if let Some((_, Fate::Dropped(by))) = dropped.first() {
        let lost: Vec<&Packet> = dropped.iter().map(|(packet, _)| *packet).collect();
        let text = format!("the packet filter drops what phones send: {}", some_of(&told(&lost)));
        return Finding::broken("firewall", text, fix(&lost, by, ruleset.manager))
            .seen(format!("{by}{managed}"));
    }
    let unclear = fates.iter().find_map(|(packet, fate)| match fate {
        Fate::Unclear(by) => Some((packet, by)),
        Fate::Passes | Fate::Dropped(_) => None,
    });
    match unclear {
        Some((packet, by)) => Finding::unknown(
            "firewall",
            format!(
                "the packet filter may drop what phones send to {}: one of its rules is not understood",
                packet.service
            ),
            format!("look at the rules: {by}"),
        )
        .seen(format!("{by}{managed}")),
        None if ruleset.tables.is_empty() => Finding::ok("firewall", "there is no packet filter"),
        None => Finding::ok("firewall", format!("the packet filter lets in what phones send{managed}")),
    }
}

fn packets(config: &Config, interfaces: &[Interface]) -> Vec<Packet> {
    let mut packets = Vec::new();
    for interface in interfaces.iter().filter(|one| !one.loopback) {
        let Some((address, prefix)) = interface.addresses.first() else { continue };
        let mut add = |service, protocol, to, port| {
            let (from, interface) = (*prefix, interface.name.clone());
            packets.push(Packet { service, protocol, to, port, from, interface });
        };
        if config.pnp.enabled {
            add("PnP", "udp", config.pnp.group, config.pnp.port);
            if config.pnp.reply_port != 0 {
                add("NOTIFY", "udp", *address, config.pnp.reply_port);
            }
        }
        let listening = [
            ("TFTP", "udp", config.tftp.listen.address()),
            ("HTTP", "tcp", config.http.listen.address()),
            ("HTTPS", "tcp", config.https.listen.address()),
        ];
        for (service, protocol, listen) in listening {
            if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) {
                add(service, protocol, *address, listen.port());
            }
        }
    }
    packets
}

/// `PnP (5060/udp on eth0)`, each once.
fn told(packets: &[&Packet]) -> Vec<String> {
    let mut told: Vec<String> = packets
        .iter()
        .map(|one| format!("{} ({}/{} on {})", one.service, one.port, one.protocol, one.interface))
        .collect();
    told.dedup();
    told
}

fn fix(lost: &[&Packet], by: &str, manager: Option<&str>) -> String {
    let mut ports: Vec<(&str, u16)> = lost.iter().map(|one| (one.protocol, one.port)).collect();
    ports.sort_unstable();
    ports.dedup();
    let written = |form: &dyn Fn(&str, u16) -> String| -> Vec<String> {
        ports.iter().map(|(protocol, port)| form(protocol, *port)).collect()
    };
    match manager {
        Some("firewalld") => {
            let ports = written(&|protocol, port| format!("--add-port={port}/{protocol}")).join(" ");
            format!("firewall-cmd --permanent {ports} && firewall-cmd --reload")
        }
        Some("ufw") => written(&|protocol, port| format!("ufw allow {port}/{protocol}")).join(" && "),
        _ if by.starts_with("iptables") => {
            written(&|protocol, port| format!("iptables -I INPUT -p {protocol} --dport {port} -j ACCEPT"))
                .join(" && ")
        }
        _ => {
            let place =
                by.trim_start_matches("nft ").split(',').next().unwrap_or_default().replace("table ", "");
            let place = place.replace(" chain ", " ");
            written(&|protocol, port| format!("nft insert rule {place} {protocol} dport {port} accept"))
                .join(" && ")
        }
    }
}

/// A packet has to pass every table.
fn fate(packet: &Packet, tables: &[Table]) -> Fate {
    let mut unclear = None;
    for table in tables {
        for chain in &table.chains {
            let Some(accepts) = chain.entry else { continue };
            let place = format!("{} chain {}", table.name, chain.name);
            let mut doubts = Vec::new();
            let dropped = match walk(packet, chain, table, &mut doubts, 0) {
                Flow::Accepted => continue,
                Flow::Dropped(rule) => format!("{place}, {rule}"),
                Flow::Through if accepts => continue,
                Flow::Through => format!("{place}, policy drop"),
            };
            match doubts.first() {
                None => return Fate::Dropped(dropped),
                Some(rule) => unclear = Some(Fate::Unclear(format!("{place}, {rule}"))),
            }
        }
    }
    unclear.unwrap_or(Fate::Passes)
}

enum Flow {
    Accepted,
    Dropped(String),
    /// To the end, or back to who called.
    Through,
}

/// `doubts`: rules that may have accepted it before.
fn walk(packet: &Packet, chain: &Chain, table: &Table, doubts: &mut Vec<String>, depth: usize) -> Flow {
    for rule in &chain.rules {
        let answer = rule.tests.iter().map(|test| test.answer(packet)).fold(Answer::Yes, Answer::and);
        if answer == Answer::No {
            continue;
        }
        let is_sure = answer == Answer::Yes;
        match &rule.action {
            Action::Accept if is_sure => return Flow::Accepted,
            Action::Drop if is_sure => return Flow::Dropped(rule.text.clone()),
            Action::Return if is_sure => return Flow::Through,
            Action::Accept | Action::Return => doubts.push(rule.text.clone()),
            // It goes on, as if not: what may be dropped is not said to be.
            Action::Nothing | Action::Drop => {}
            Action::Jump(name) | Action::Goto(name) => {
                let called = table.chains.iter().find(|chain| chain.name == *name);
                let Some(called) = called.filter(|_| depth < DEPTH_MAX) else {
                    doubts.push(rule.text.clone());
                    continue;
                };
                let flow = walk(packet, called, table, doubts, depth + 1);
                match (flow, is_sure) {
                    (Flow::Through, true) if matches!(rule.action, Action::Goto(_)) => return Flow::Through,
                    (Flow::Through, _) | (Flow::Dropped(_), false) => {}
                    (Flow::Accepted, false) => doubts.push(rule.text.clone()),
                    (flow @ (Flow::Accepted | Flow::Dropped(_)), true) => return flow,
                }
            }
        }
    }
    Flow::Through
}

impl Answer {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    fn of(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

impl Test {
    fn answer(&self, packet: &Packet) -> Answer {
        let is_group = packet.to.is_multicast();
        let has = |words: &[String], word: &str| Answer::of(words.iter().any(|one| one == word));
        let answer = match &self.what {
            What::Protocol(names) => has(names, packet.protocol),
            What::Port(ranges) => {
                Answer::of(ranges.iter().any(|(first, last)| (*first..=*last).contains(&packet.port)))
            }
            What::To(networks) => Answer::of(networks.iter().any(|network| network.contains(packet.to))),
            What::From(networks) => from(networks, packet.from),
            What::Interface(names) => Answer::of(names.iter().any(|name| covers(name, &packet.interface))),
            What::Tracked(states) => {
                let untracked = states.iter().any(|state| state == "new" || state == "untracked");
                Answer::of(untracked)
            }
            What::Cast(kinds) => has(kinds, if is_group { "multicast" } else { "host" }),
            What::Kind(kinds) => has(kinds, if is_group { "multicast" } else { "local" }),
            What::Other => Answer::Maybe,
        };
        match (answer, self.negated) {
            (Answer::Yes, true) => Answer::No,
            (Answer::No, true) => Answer::Yes,
            (answer, _) => answer,
        }
    }
}

/// Whether who is on this link is in one of these networks.
fn from(networks: &[Prefix], link: Prefix) -> Answer {
    let holds = |network: &Prefix| network.contains(link.first()) && network.contains(link.last());
    let meets = |network: &Prefix| link.contains(network.first()) || network.contains(link.first());
    match (networks.iter().any(holds), networks.iter().any(meets)) {
        (true, _) => Answer::Yes,
        (false, true) => Answer::Maybe,
        (false, false) => Answer::No,
    }
}

fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(['*', '+']) {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests;
