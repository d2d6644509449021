//! What the answers mean for each vendor's phones, row by row. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use serde_json::Value;

use super::interview::{Outcome, Way};
use super::network::Network;
use crate::cli::dhcp::vendors::Chosen;
use crate::cli::output;
use crate::device::{Mac, Vendor};
use crate::dhcp::ask::Turn;
use crate::dhcp::message::Options;
use crate::dhcp::probe::Responder;
use crate::profile::{DhcpFinding, DhcpPlace, DhcpVerdict, Judgement, Profile, class_text, shown_option};

/// Characters of a value in a table; JSON has all of it.
const VALUE_CHARS_MAX: usize = 48;

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Whose {
    /// A server of the LAN.
    Other,
    /// Another program on this host.
    ThisHost,
    /// The agent, which answers INFORM.
    OffhookInform,
    /// The agent, which gives leases.
    OffhookServer,
}

/// One thing there is to say about a vendor and a server.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    interface: String,
    /// Our address there.
    address: Ipv4Addr,
    vendor: Vendor,
    /// The texts of option 60 that were asked with.
    classes: Vec<String>,
    /// The hardware addresses in whose name was asked.
    macs: BTreeSet<Mac>,
    /// `inform` or `discover`.
    asked_by: Option<&'static str>,
    server: Option<Ipv4Addr>,
    server_is: Option<Whose>,
    /// Whether this server leads these phones here.
    served: Option<bool>,
    option: Option<u8>,
    verdict: &'static str,
    /// More about the verdict: which misformat, which other service.
    detail: Value,
    /// As the server gave it, without passwords.
    value: Option<String>,
    /// What the phone would fetch.
    url: Option<String>,
    sentence: String,
    remedy: String,
    note: Option<String>,
    #[serde(skip)]
    is_well: bool,
}

impl Row {
    /// Whether nothing is to be done about it.
    pub(super) fn is_well(&self) -> bool {
        self.is_well
    }
}

/// Answers of one server that say the same.
struct Group<'a> {
    by: Responder,
    whose: Whose,
    way: Way,
    options: &'a Options,
    classes: Vec<String>,
    macs: BTreeSet<Mac>,
    verdict: DhcpVerdict,
}

/// Everything that is known when a row is written.
pub(super) struct Report<'a> {
    network: &'a Network,
    place: &'a DhcpPlace,
    heard: &'a Outcome,
    /// What the names in the answers are called by this host's resolver.
    names: &'a BTreeMap<String, Vec<IpAddr>>,
}

/// The rows of one network, vendor by vendor.
pub(super) fn rows(
    network: &Network,
    place: &DhcpPlace,
    chosen: &[Chosen],
    heard: &Outcome,
    names: &BTreeMap<String, Vec<IpAddr>>,
) -> Vec<Row> {
    let report = Report { network, place, heard, names };
    chosen.iter().enumerate().flat_map(|(vendor, chosen)| report.of_vendor(vendor, &chosen.profile)).collect()
}

/// Names of hosts in an answer that are not known to be ours.
pub(super) fn strange_hosts(verdict: &DhcpVerdict) -> Vec<String> {
    let judgements = verdict.findings.iter().map(|finding| &finding.judgement);
    judgements.filter_map(strange_host).filter(|host| host.parse::<IpAddr>().is_err()).collect()
}

fn strange_host(judgement: &Judgement) -> Option<String> {
    let Judgement::WrongHost(service) = judgement else { return None };
    host_of(service)
}

/// The host of `http://HOST:PORT/…`.
fn host_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', ':', '?', '#']).next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

impl<'a> Report<'a> {
    fn of_vendor(&self, vendor: usize, profile: &Profile) -> Vec<Row> {
        if profile.dhcp().is_none() {
            let sentence = "its profile does not say what these phones read from DHCP";
            let remedy = "offhook url shows what to type into them";
            return vec![self.row(profile, "not_tested", sentence, remedy, true)];
        }
        let groups = self.groups(vendor, profile);
        // Phones that never ask by INFORM hear nothing of who answers only that.
        let asks_inform = profile.dhcp().is_some_and(crate::profile::Dhcp::inform);
        let counts = |group: &&Group<'_>| group.whose != Whose::OffhookInform || asks_inform;
        let counting: Vec<&Group<'_>> = groups.iter().filter(counts).collect();
        let helped =
            counting.iter().any(|group| group.whose == Whose::OffhookInform && group.verdict.is_right());
        let mut rows: Vec<Row> =
            groups.iter().flat_map(|group| self.of_group(group, profile, helped)).collect();
        if counting.is_empty() {
            rows.push(self.silence(profile));
        }
        rows.extend(self.disagreement(&counting, profile));
        rows
    }

    fn groups(&self, vendor: usize, profile: &Profile) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for heard in self.heard.answers.iter().filter(|heard| heard.vendor == vendor) {
            let class = heard.class.as_deref().map(class_text);
            let is_same = |group: &&mut Group<'_>| {
                (group.by.id, group.by.from, group.way) == (heard.by.id, heard.by.from, heard.way)
                    && *group.options == heard.options
            };
            if let Some(group) = groups.iter_mut().find(is_same) {
                group.classes.extend(class.filter(|class| !group.classes.contains(class)));
                group.macs.insert(heard.mac);
                continue;
            }
            groups.push(Group {
                by: heard.by,
                whose: self.network.whose(&heard.by, &heard.options),
                way: heard.way,
                options: &heard.options,
                classes: class.into_iter().collect(),
                macs: BTreeSet::from([heard.mac]),
                verdict: profile.judge(&heard.options.to_map(), self.place),
            });
        }
        groups
    }

    /// What one server's answer says. `helped`: the agent answers these phones' INFORM itself, so that an answer
    /// without anything about provisioning is enough.
    fn of_group(&self, group: &Group<'a>, profile: &Profile, helped: bool) -> Vec<Row> {
        let verdict = &group.verdict;
        let is_neutral = helped && verdict.takes.is_none();
        let row = |finding: &DhcpFinding| {
            let (word, detail) = said(&finding.judgement);
            let octets = group.options.get(finding.option);
            Row {
                classes: group.classes.clone(),
                macs: group.macs.clone(),
                asked_by: Some(match group.way {
                    Way::Phone | Way::OwnMac => "inform",
                    Way::Discover | Way::DiscoverOfOther => "discover",
                }),
                server: Some(group.by.id),
                server_is: Some(group.whose),
                served: Some(verdict.reaches_us),
                option: Some(finding.option),
                detail,
                value: octets.map(|octets| shown_option(finding.option, octets)),
                url: verdict.url.clone().filter(|_| verdict.takes == Some(finding.option)),
                note: self.note(group, finding, profile),
                ..self.row(
                    profile,
                    word,
                    &finding.sentence,
                    &remedy(finding, profile),
                    verdict.is_right() || is_neutral,
                )
            }
        };
        verdict.findings.iter().map(row).collect()
    }

    /// What was not as a phone would have asked, and what a name is.
    fn note(&self, group: &Group<'_>, finding: &DhcpFinding, profile: &Profile) -> Option<String> {
        let name = profile.display_name();
        let way = match group.way {
            Way::Phone if group.classes.is_empty() && group.macs.contains(&self.network.asker.mac) => {
                Some(format!("neither an option 60 nor a MAC address of {name} is known: a server cannot tell who asked"))
            }
            Way::Phone | Way::Discover => None,
            Way::OwnMac => Some(format!(
                "asked with this host's own MAC address, because nobody answered one of {name}: what the server has for \
                 MAC addresses does not show"
            )),
            Way::DiscoverOfOther => Some(
                "read from the answer to another vendor's DISCOVER: a server that tells vendors apart may say otherwise"
                    .to_owned(),
            ),
        };
        let host = match &finding.judgement {
            Judgement::Right => group.verdict.url.as_deref().and_then(host_of),
            other => strange_host(other),
        };
        let named = host.and_then(|host| self.names.get_key_value(&host)).map(|(name, found)| {
            match found.as_slice() {
                [] => format!("this host's resolver does not know {name}"),
                found => {
                    let found: BTreeSet<String> = found.iter().map(IpAddr::to_string).collect();
                    let found = found.into_iter().collect::<Vec<_>>().join(", ");
                    format!("{name} is {found}, as this host's resolver says; the phones ask theirs")
                }
            }
        });
        let notes: Vec<String> = way.into_iter().chain(named).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// Nobody answered as this vendor's phone.
    fn silence(&self, profile: &Profile) -> Row {
        let Network { interface, asker, .. } = self.network;
        let others: BTreeSet<Ipv4Addr> = self.heard.answers.iter().map(|heard| heard.by.id).collect();
        let others = others.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" and ");
        let (sentence, remedy) = match (others.is_empty(), self.heard.discover) {
            (false, _) => (
                format!("{others} answered on {interface}, but not as a phone of {}", profile.display_name()),
                "look for a rule of that server that ignores or denies these phones".to_owned(),
            ),
            (true, Some(Turn::Ours)) => (
                format!("nobody answered DHCPINFORM or DISCOVER on {interface}"),
                "look whether a DHCP server or a relay is in this network, and whether a switch or a firewall drops \
                 its answers to this host"
                    .to_owned(),
            ),
            (true, turn) => (
                format!("nobody answered DHCPINFORM on {interface}"),
                format!(
                    "dhcpd answers it only where it is `authoritative`; dnsmasq, Kea and Windows where they have a range, a \
                     subnet or a scope with {}; many small routers never do: {}",
                    asker.address,
                    discover_when(turn)
                ),
            ),
        };
        self.row(profile, "no_answer", &sentence, &remedy, false)
    }

    /// Two servers, of which one leads these phones here and the other does not.
    fn disagreement(&self, groups: &[&Group<'a>], profile: &Profile) -> Option<Row> {
        let of_lan = || groups.iter().copied().filter(|group| group.whose != Whose::OffhookInform);
        let right = of_lan().find(|group| group.verdict.reaches_us)?;
        let wrong = of_lan().find(|group| !group.verdict.reaches_us && group.by.id != right.by.id)?;
        let sentence = format!(
            "{} leads these phones here, and {} does not: a phone takes whichever it hears first",
            right.by.id, wrong.by.id
        );
        let remedy = "tell both servers the same, or switch one of them off";
        Some(self.row(profile, "servers_disagree", &sentence, remedy, false))
    }

    fn row(
        &self,
        profile: &Profile,
        verdict: &'static str,
        sentence: &str,
        remedy: &str,
        is_well: bool,
    ) -> Row {
        Row {
            interface: self.network.interface.clone(),
            address: self.network.asker.address,
            vendor: profile.vendor().clone(),
            classes: Vec::new(),
            macs: BTreeSet::new(),
            asked_by: None,
            server: None,
            server_is: None,
            served: None,
            option: None,
            verdict,
            detail: Value::Null,
            value: None,
            url: None,
            sentence: sentence.to_owned(),
            remedy: remedy.to_owned(),
            note: None,
            is_well,
        }
    }
}

fn discover_when(turn: Option<Turn>) -> String {
    match turn {
        Some(Turn::In(left)) => {
            let minutes = left.as_secs().div_ceil(60);
            format!(
                "a DISCOVER was sent within the last ten minutes; --discover may send the next one in {minutes} min"
            )
        }
        Some(Turn::Ours) | None => "--discover asks those, and takes no lease".to_owned(),
    }
}

/// What to do, and what writes it.
fn remedy(finding: &DhcpFinding, profile: &Profile) -> String {
    if finding.remedy.is_empty() {
        return String::new();
    }
    format!("{}; offhook dhcp snippet SERVER --vendor {} writes it", finding.remedy, profile.vendor())
}

/// A judgement as a word, and what there is beside it.
fn said(judgement: &Judgement) -> (&'static str, Value) {
    match judgement {
        Judgement::Right => ("right", Value::Null),
        Judgement::WrongFormat(what) => ("wrong_format", serde_json::to_value(what).unwrap_or_default()),
        Judgement::WrongHost(service) => ("wrong_host", Value::from(service.clone())),
        Judgement::Missing => ("missing", Value::Null),
        Judgement::PasswordInUrl => ("password_in_url", Value::Null),
        Judgement::EmptyValue => ("empty_value", Value::Null),
        Judgement::Shadowed(by) => ("shadowed", Value::from(*by)),
    }
}

/// Prints the rows; for people a table, and below it what to do.
pub(super) fn print(json: bool, rows: &[Row]) {
    let heads = ["VENDOR", "SERVER", "OPTION", "VERDICT", "VALUE", "THE PHONE FETCHES"];
    output::listing(json, rows, &heads, |row| {
        let shorten = |text: &String| {
            let is_long = text.chars().count() > VALUE_CHARS_MAX;
            let shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
            if is_long { format!("{shown}…") } else { shown }
        };
        vec![
            row.vendor.to_string(),
            row.server.map_or_else(|| format!("- ({})", row.interface), |server| server_cell(server, row)),
            row.option.map_or_else(|| "-".to_owned(), |option| option.to_string()),
            row.verdict.to_owned(),
            row.value.as_ref().map_or_else(|| "-".to_owned(), shorten),
            row.url.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    if json {
        return;
    }
    let mut told = BTreeSet::new();
    for row in rows {
        let text = explanation(row);
        if !text.is_empty() && told.insert(text.clone()) {
            output::print(&text);
        }
    }
}

fn server_cell(server: Ipv4Addr, row: &Row) -> String {
    match row.server_is {
        Some(Whose::OffhookInform | Whose::OffhookServer) => format!("{server} (offhook)"),
        Some(Whose::ThisHost) => format!("{server} (this host)"),
        Some(Whose::Other) | None => server.to_string(),
    }
}

fn explanation(row: &Row) -> String {
    let is_right = row.is_well && row.remedy.is_empty();
    if is_right && row.note.is_none() {
        return String::new();
    }
    let server = row.server.map(|server| format!(" from {server}")).unwrap_or_default();
    let class = if row.classes.is_empty() { String::new() } else { format!(" ({})", row.classes.join(", ")) };
    let lines = [&row.remedy].into_iter().chain(&row.note).filter(|line| !line.is_empty());
    let lines: String = lines.flat_map(|line| ["  ", line, "\n"]).collect();
    format!("\n{}{class}{server}: {}\n{lines}", row.vendor, row.sentence)
}

#[cfg(test)]
mod tests;
