//! Decides what a scan asks: which addresses, in which way, and whether they are too many. Never sends, never waits.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::net::Prefix;
use crate::net::arp::Ourselves;
use crate::net::interfaces::{Interface, Table};

/// A /22: what is asked for without a confirmation, in twenty seconds' worth of questions.
pub const UNCONFIRMED_MAX: u64 = 1 << 10;
/// A /12, which holds more addresses than any site has hosts. More is a mistake in the prefix.
pub const ADDRESSES_MAX: u64 = 1 << 20;
/// How often somebody who says nothing is asked on a link: one frame may be lost.
pub const PASSES: u64 = 2;
/// Hosts that are asked what they are at a time: each is a socket or two, and some hundred packets a second in all.
pub const VISITS_MAX: usize = 256;
/// How long a visit of somebody takes who says nothing.
const SILENCE: Duration = Duration::from_secs(3);
/// How long answers by ARP are awaited after the last question, and a little more.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Disjoint, in ascending order.
    pub spans: Vec<Span>,
    /// Our own addresses among them, which are not asked for.
    pub own: Vec<Ipv4Addr>,
}

/// Addresses in a row that are asked in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first of them.
    pub first: Ipv4Addr,
    /// The last of them.
    pub last: Ipv4Addr,
    /// How they are reached.
    pub reach: Reach,
}

/// How an address is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// On an interface's link: by ARP.
    Link(Link),
    /// Behind a router: nobody is heard there but who answers SIP or HTTP.
    Router,
}

/// An interface, and us on its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub interface: u32,
    /// `eth0`
    pub name: String,
    /// Who asks there.
    pub ourselves: Ourselves,
}

/// Why nothing is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No interface has a network that could be asked.
    #[error("this host has no interface with a network that can be scanned")]
    NoNetwork,
    /// Loopback, multicast and the like are no LAN.
    #[error("{0} is no network of hosts")]
    NoHosts(Prefix),
    /// More than is asked for without a confirmation.
    #[error("{addresses} addresses ({networks}) take {} at {rate} a second", in_words(*time))]
    Unconfirmed {
        /// How many.
        addresses: u64,
        /// Which, with their sizes.
        networks: String,
        /// How long it would take.
        time: Duration,
        /// At which rate.
        rate: u32,
    },
    /// Addresses of the Internet, without a confirmation.
    #[error("{0} is no network of a LAN: it would be asked over the Internet")]
    Public(Span),
    /// A link that is not to be used.
    #[error("{span} is on {interface}, which agent.interfaces leaves out")]
    LeftOut {
        /// Which addresses.
        span: Span,
        /// Its interface.
        interface: String,
    },
    /// More than is ever asked for.
    #[error("{0} addresses are more than the {ADDRESSES_MAX} that one scan asks for")]
    TooMany(u64),
}

impl PlanError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoNetwork => "no_interface",
            Self::NoHosts(_) => "no_hosts",
            Self::Unconfirmed { .. } | Self::Public(_) => "unconfirmed",
            Self::LeftOut { .. } => "left_out",
            Self::TooMany(_) => "too_many",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoNetwork => "name a network: offhook scan 192.168.1.0/24",
            Self::NoHosts(_) => "name a network of the LAN: offhook scan 192.168.1.0/24",
            Self::Unconfirmed { .. } => {
                "add --yes to ask all of them, --rate N to ask faster, or name a smaller network"
            }
            Self::Public(_) => "is it mistyped? add --yes if these hosts are yours",
            Self::LeftOut { .. } => "add the interface to agent.interfaces, or name another network",
            Self::TooMany(_) => "name smaller networks",
        }
    }
}

/// What is asked for these networks; without any, for the interfaces' own.
pub fn plan(wanted: &[Prefix], table: &Table, rate: u32, confirmed: bool) -> Result<Plan, PlanError> {
    let links = links(table);
    let rows = if wanted.is_empty() {
        links.iter().map(|(_, prefix)| hosts(*prefix)).collect()
    } else {
        let row = |prefix: &Prefix| of_lan(*prefix).map(|prefix| wanted_row(prefix, &links));
        wanted.iter().map(row).collect::<Result<Vec<_>, _>>()?
    };
    let mut spans = Vec::new();
    for (first, last) in joined(rows) {
        cut(first, last, &links, &mut spans);
    }
    for span in spans.iter().filter(|span| span.reach == Reach::Router) {
        if let Some(interface) = table.left_out().iter().find(|other| span.is_on(other)) {
            return Err(PlanError::LeftOut { span: span.clone(), interface: interface.name.clone() });
        }
    }
    let ours = table.interfaces().iter().flat_map(|interface| &interface.addresses);
    let is_asked = |address: &Ipv4Addr| spans.iter().any(|span| span.contains(*address));
    let own = ours.map(|(address, _)| *address).filter(is_asked).collect();
    let plan = Plan { spans, own };
    let addresses = plan.addresses();
    if addresses == 0 {
        return Err(PlanError::NoNetwork);
    }
    if addresses > ADDRESSES_MAX {
        return Err(PlanError::TooMany(addresses));
    }
    if let Some(span) = plan.spans.iter().find(|span| span.is_public()).filter(|_| !confirmed) {
        return Err(PlanError::Public(span.clone()));
    }
    if addresses > UNCONFIRMED_MAX && !confirmed {
        let sized = |span: &Span| format!("{span}: {}", span.size());
        let networks = plan.spans.iter().map(sized).collect::<Vec<_>>().join(", ");
        return Err(PlanError::Unconfirmed { addresses, networks, time: plan.time(rate), rate });
    }
    Ok(plan)
}

impl Plan {
    /// How many addresses are asked, ours among them.
    pub fn addresses(&self) -> u64 {
        self.spans.iter().map(Span::size).sum()
    }

    /// How long it takes when nobody answers, in whole seconds. Whoever answers is visited meanwhile; the last of them
    /// may add some seconds.
    pub fn time(&self, rate: u32) -> Duration {
        let asking = self.questions().saturating_mul(1_000) / u64::from(rate.max(1));
        let routed: u64 = self.spans.iter().filter(|span| span.reach == Reach::Router).map(Span::size).sum();
        let lots = u32::try_from(routed.div_ceil(VISITS_MAX as u64)).unwrap_or(u32::MAX);
        let last = if routed > 0 { SILENCE } else { LAST_ANSWERS };
        let time = (Duration::from_millis(asking) + last).max(SILENCE.saturating_mul(lots));
        Duration::from_secs(time.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
    }

    /// How many questions it takes at most.
    pub fn questions(&self) -> u64 {
        self.spans.iter().map(Span::questions).sum()
    }

    /// The link that this address is on.
    pub fn link_of(&self, address: Ipv4Addr) -> Option<&Link> {
        self.spans.iter().find(|span| span.contains(address))?.link()
    }

    /// The same text for the same addresses asked in the same way, and for no others.
    pub fn name(&self) -> String {
        self.spans.iter().map(Span::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl Span {
    /// How many addresses it has.
    pub fn size(&self) -> u64 {
        u64::from(u32::from(self.last).saturating_sub(u32::from(self.first))) + 1
    }

    /// The link that they are on.
    pub fn link(&self) -> Option<&Link> {
        match &self.reach {
            Reach::Link(link) => Some(link),
            Reach::Router => None,
        }
    }

    /// Whether a router would lead to hosts of the Internet (not those of RFC 1918, 3927, 5737 and 6598).
    fn is_public(&self) -> bool {
        let is_own = |address: Ipv4Addr| {
            let [first, second, ..] = address.octets();
            address.is_private()
                || address.is_link_local()
                || address.is_documentation()
                || (first == 100 && second & 0xc0 == 64)
        };
        self.reach == Reach::Router && !(is_own(self.first) && is_own(self.last))
    }

    /// Whether some of them are on this interface's link.
    fn is_on(&self, interface: &Interface) -> bool {
        let meets = |prefix: &Prefix| prefix.first() <= self.last && prefix.last() >= self.first;
        interface.addresses.iter().any(|(_, prefix)| meets(prefix))
    }

    /// How many questions it takes at most.
    fn questions(&self) -> u64 {
        match self.reach {
            Reach::Link(_) => self.size() * PASSES,
            Reach::Router => self.size(),
        }
    }

    /// Whether the address is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)?;
        match &self.reach {
            Reach::Link(link) => write!(f, " on {}", link.name),
            Reach::Router => write!(f, " behind a router"),
        }
    }
}

/// Whole minutes from two minutes on, else seconds.
pub fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// Every subnet of a link on which hosts have hardware addresses; a tunnel's or a modem's has none.
fn links(table: &Table) -> Vec<(Link, Prefix)> {
    let of = |interface: &Interface| {
        let mac = interface.mac.filter(|_| interface.up && !interface.loopback)?;
        let link = |address| Link {
            interface: interface.index,
            name: interface.name.clone(),
            ourselves: Ourselves { mac, address },
        };
        let subnets = interface.addresses.iter().filter(|(_, prefix)| prefix.bits() < 32);
        Some(subnets.map(move |(address, prefix)| (link(*address), *prefix)).collect::<Vec<_>>())
    };
    table.interfaces().iter().filter_map(of).flatten().collect()
}

/// The first and the last host of a network: its own address and everybody's are left out, where it has such.
fn hosts(prefix: Prefix) -> (u32, u32) {
    let (first, last) = (u32::from(prefix.first()), u32::from(prefix.last()));
    if prefix.bits() < 31 { (first + 1, last - 1) } else { (first, last) }
}

/// A network that is named: of a part of a link's subnet every address may be a host's.
fn wanted_row(prefix: Prefix, links: &[(Link, Prefix)]) -> (u32, u32) {
    let (first, last) = (prefix.first(), prefix.last());
    let is_part = links.iter().any(|(_, subnet)| subnet.contains(first) && subnet.contains(last));
    if is_part { (first.into(), last.into()) } else { hosts(prefix) }
}

fn of_lan(prefix: Prefix) -> Result<Prefix, PlanError> {
    let is_none = |address: Ipv4Addr| {
        address.is_loopback()
            || address.is_multicast()
            || address.is_unspecified()
            || address.octets()[0] >= 224
    };
    let holds_none = is_none(prefix.first()) || is_none(prefix.last());
    if holds_none { Err(PlanError::NoHosts(prefix)) } else { Ok(prefix) }
}

/// The same addresses without repetition.
fn joined(mut rows: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    rows.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (first, last) in rows {
        match joined.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// Splits a row of addresses where subnets of links begin and end.
fn cut(first: u32, last: u32, links: &[(Link, Prefix)], spans: &mut Vec<Span>) {
    let mut next = first;
    loop {
        // Of subnets within each other the smaller one, as the kernel's routes go; of equal ones the first.
        let around = links.iter().rev().filter(|(_, prefix)| prefix.contains(next.into()));
        let inside = around.max_by_key(|(_, prefix)| prefix.bits());
        let begins = links.iter().map(|(_, prefix)| u32::from(prefix.first()));
        let end = begins.filter(|begin| *begin > next).min().map_or(last, |begin| last.min(begin - 1));
        let end = if let Some((link, prefix)) = inside {
            let end = end.min(u32::from(prefix.last()));
            push_hosts(next, end, *prefix, link, spans);
            end
        } else {
            spans.push(Span { first: next.into(), last: end.into(), reach: Reach::Router });
            end
        };
        if end >= last {
            return;
        }
        next = end + 1;
    }
}

/// The hosts of a link's subnet among these.
fn push_hosts(first: u32, last: u32, prefix: Prefix, link: &Link, spans: &mut Vec<Span>) {
    let (host, end) = hosts(prefix);
    let (first, last) = (first.max(host), last.min(end));
    if first <= last {
        spans.push(Span { first: first.into(), last: last.into(), reach: Reach::Link(link.clone()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SCAN_RATE;
    use crate::device::Mac;

    fn interface(index: u32, name: &str, subnets: &[&str]) -> Interface {
        let subnet = |text: &&str| {
            let prefix: Prefix = text.parse().unwrap();
            (text.split_once('/').unwrap().0.parse().unwrap(), prefix)
        };
        Interface {
            index,
            name: name.to_owned(),
            mac: Mac::new([2, 0, 0, 0, 0, 1]),
            addresses: subnets.iter().map(subnet).collect(),
            up: true,
            multicast: true,
            loopback: false,
        }
    }

    fn table() -> Table {
        let tunnel = Interface { mac: None, ..interface(9, "tun0", &["10.8.0.1/24"]) };
        let loopback = Interface { loopback: true, mac: None, ..interface(1, "lo", &["127.0.0.1/8"]) };
        Table::of(vec![
            interface(2, "eth0", &["192.168.1.35/24", "192.0.2.1/32"]),
            interface(3, "eth1", &["10.0.0.1/22"]),
            tunnel,
            loopback,
        ])
    }

    fn planned(wanted: &[&str]) -> Result<Plan, PlanError> {
        let wanted: Vec<Prefix> = wanted.iter().map(|text| text.parse().unwrap()).collect();
        plan(&wanted, &table(), SCAN_RATE, false)
    }

    #[test]
    fn of_subnets_within_each_other_each_is_asked_on_its_own_link() {
        let table =
            Table::of(vec![interface(2, "br0", &["10.0.0.1/16"]), interface(3, "eth0", &["10.0.5.1/24"])]);
        let plan = plan(&["10.0.4.0/22".parse().unwrap()], &table, SCAN_RATE, false).unwrap();
        assert_eq!(
            plan.name(),
            "10.0.4.0-10.0.4.255 on br0, 10.0.5.1-10.0.5.254 on eth0, 10.0.6.0-10.0.7.255 on br0"
        );
    }

    #[test]
    fn nobody_is_asked_over_the_internet_by_a_slip() {
        let error = planned(&["129.168.1.0/24"]).unwrap_err();
        assert_eq!(error.code(), "unconfirmed");
        assert!(
            error.to_string().starts_with("129.168.1.1-129.168.1.254 behind a router is no network"),
            "{error}"
        );
        assert!(plan(&["129.168.1.0/24".parse().unwrap()], &table(), SCAN_RATE, true).is_ok());
        for own in ["172.20.1.0/24", "100.64.3.0/24", "192.168.9.0/24", "169.254.1.0/24"] {
            assert!(planned(&[own]).is_ok(), "{own}");
        }
    }

    #[test]
    fn networks_are_cut_where_links_begin_and_end() {
        let check = |wanted: &[&str], expected: &str| {
            let plan = plan(
                &wanted.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>(),
                &table(),
                50,
                true,
            );
            assert_eq!(plan.map(|plan| plan.name()).unwrap(), expected, "{wanted:?}");
        };
        check(&["192.168.1.0/24"], "192.168.1.1-192.168.1.254 on eth0");
        check(&["192.168.1.77/24"], "192.168.1.1-192.168.1.254 on eth0");
        check(&["192.168.1.64/26"], "192.168.1.64-192.168.1.127 on eth0");
        check(&["192.168.1.128/25"], "192.168.1.128-192.168.1.254 on eth0");
        check(&["192.168.1.20"], "192.168.1.20-192.168.1.20 on eth0");
        check(&["192.168.1.0/24", "192.168.1.128/25"], "192.168.1.1-192.168.1.254 on eth0");
        check(
            &["192.168.0.0/22"],
            "192.168.0.1-192.168.0.255 behind a router, 192.168.1.1-192.168.1.254 on eth0, \
             192.168.2.0-192.168.3.254 behind a router",
        );
        check(&["10.8.0.0/24"], "10.8.0.1-10.8.0.254 behind a router");
        check(&[], "10.0.0.1-10.0.3.254 on eth1, 192.168.1.1-192.168.1.254 on eth0");
    }

    #[test]
    fn a_link_that_is_left_out_is_no_network_behind_a_router() {
        let table = table().leaving_out(vec![interface(4, "eth2", &["172.16.9.1/24"])]);
        let check = |wanted: &str| plan(&[wanted.parse().unwrap()], &table, SCAN_RATE, true);
        let error = check("172.16.8.0/22").unwrap_err();
        assert_eq!(error.code(), "left_out");
        assert!(
            error.to_string().ends_with("behind a router is on eth2, which agent.interfaces leaves out"),
            "{error}"
        );
        assert!(check("172.16.4.0/22").is_ok() && check("192.168.1.0/24").is_ok());
    }

    #[test]
    fn own_addresses_are_left_out_and_tunnels_and_loopback_are_not_swept() {
        let plan = plan(&[], &table(), SCAN_RATE, true).unwrap();
        assert_eq!(plan.own, [Ipv4Addr::new(192, 168, 1, 35), Ipv4Addr::new(10, 0, 0, 1)]);
        assert!(!plan.name().contains("tun0") && !plan.name().contains("lo"), "{}", plan.name());
        assert_eq!(planned(&["127.0.0.0/8"]), Err(PlanError::NoHosts("127.0.0.0/8".parse().unwrap())));
        assert!(matches!(planned(&["224.0.1.75"]), Err(PlanError::NoHosts(_))));
        assert!(matches!(planned(&["0.0.0.0/0"]), Err(PlanError::NoHosts(_))));
        assert_eq!(super::plan(&[], &Table::default(), SCAN_RATE, false), Err(PlanError::NoNetwork));
    }

    #[test]
    fn more_than_a_slash_22_wants_a_confirmation_and_a_slash_11_is_never_scanned() {
        assert!(planned(&["10.0.0.0/22"]).is_ok());
        let refused = planned(&["10.0.0.0/16"]).unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with("65533 addresses (10.0.0.1-10.0.3.254 on eth1: 1022, "), "{text}");
        assert!(text.contains("23 min at 50 a second"), "{text}");
        assert!(refused.remedy().contains("--yes"));
        let plan = plan(&["10.0.0.0/11".parse().unwrap()], &table(), SCAN_RATE, true);
        assert!(matches!(plan, Err(PlanError::TooMany(_))), "{plan:?}");
    }

    #[test]
    fn the_time_is_that_of_asking_everybody_twice() {
        assert_eq!(planned(&["192.168.1.0/24"]).unwrap().time(50), Duration::from_secs(11));
        let routed = planned(&["10.9.0.0/24"]).unwrap();
        assert_eq!(routed.time(50), Duration::from_secs(9), "the last one is silent for three seconds");
        let many = plan(&["10.64.0.0/16".parse().unwrap()], &table(), SCAN_RATE, true).unwrap();
        assert_eq!(many.time(100_000), Duration::from_secs(768), "256 of them at a time");
        assert_eq!(
            [11, 121, 8_000].map(|seconds| in_words(Duration::from_secs(seconds))),
            ["11 s", "3 min", "3 h"]
        );
    }
}
