//! What a scan came to, as sentences for a person and as JSON for a program.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::device::Mac;
use crate::operate::scan::{Planned, how};
use crate::scan::finding::{Difference, Finding, Kind};
use crate::scan::plan::in_words;
use crate::scan::server::{Duplicate, Order, Report};
use crate::store::ScanState;

/// What is going to be asked.
pub(super) fn head(Order { plan, rate, .. }: &Order) -> String {
    let (addresses, time) = (plan.addresses(), in_words(plan.time(*rate)));
    format!("Scanning {}: {addresses} addresses, about {time} at {rate} a second\n", plan.name())
}

/// What would be asked.
pub(super) fn dry_run(order: &Order, is_json: bool) {
    if is_json {
        return super::output::value(&json!(Planned::of(order)));
    }
    let Order { plan, rate, .. } = order;
    let mut text = String::new();
    for span in &plan.spans {
        let _ =
            writeln!(text, "{}-{}: {} addresses {}", span.first, span.last, span.size(), how(&span.reach));
    }
    let own: Vec<String> = plan.own.iter().map(ToString::to_string).collect();
    if !own.is_empty() {
        let _ = writeln!(text, "not asked, because they are this host's own: {}", own.join(", "));
    }
    let time = in_words(plan.time(*rate));
    let _ = writeln!(
        text,
        "about {time} at {rate} a second, and a few more for who answers last; nothing was sent"
    );
    super::output::print(&text);
}

/// One host.
pub(super) fn line(finding: &Finding) -> String {
    let address = finding.address.to_string();
    let mac = finding.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string());
    let name = match finding.kind {
        Kind::Phone => finding.name(),
        Kind::Guess | Kind::Hint => format!("perhaps {}", finding.name()),
        Kind::Other => "no phone".to_owned(),
    };
    let mut sources: Vec<&str> =
        finding.evidence.iter().filter_map(|text| text.split_once(' ')).map(|(source, _)| source).collect();
    sources.retain(|source| source.contains('.') || *source == "oui");
    sources.dedup();
    let confidence = finding.confidence;
    let text = format!(
        "{address:<15}  {mac:<17}  {name:<36}  {confidence:>3} %  {:<8}  {}",
        finding.bound.as_str(),
        sources.join(", ")
    );
    format!("{}\n", text.trim_end())
}

/// An earlier scan is gone on with.
pub(super) fn resumed(since: Timestamp, found: usize) -> String {
    format!(
        "The scan of {since} did not come to its end, and had found {found} hosts: going on where it stopped (--fresh \
         begins anew)\n"
    )
}

/// Two hosts with one address.
pub(super) fn duplicate(duplicate: &Duplicate) -> String {
    let Duplicate { address, first, other } = duplicate;
    format!("{address} is claimed by {first} and by {other}: two hosts with one address\n")
}

/// A host that answers for others.
pub(super) fn proxy(mac: Mac) -> String {
    format!(
        "{mac} answers for other hosts, as a router or an access point does that is an ARP proxy: who is behind it is told by \
         its address\n"
    )
}

/// What it came to.
pub(super) fn foot(report: &Report, all: bool) -> String {
    let mut text = plural(report.answered, "host answered", "hosts answered");
    let _ = write!(text, ", {}", plural(count(report, Kind::Phone), "phone", "phones"));
    let (guesses, hints) = (count(report, Kind::Guess), count(report, Kind::Hint));
    if guesses > 0 {
        let _ = write!(text, ", {guesses} perhaps");
    }
    text.push('\n');
    if hints > 0 && !all {
        let hosts = plural(hints, "host has", "hosts have");
        let _ = writeln!(text, "{hosts} a hardware address of a maker of phones, and said nothing (--all)");
    }
    if report.state != ScanState::Complete {
        text.push_str(
            "Stopped before its end; the next scan of these networks goes on from here, within a day\n",
        );
    }
    if let Some(difference) = &report.difference {
        text.push_str(&changes(difference));
    }
    text
}

fn changes(difference: &Difference) -> String {
    if difference.is_empty() {
        return "Nothing has changed since the last scan of these networks\n".to_owned();
    }
    let mut text = "Since the last scan of these networks:\n".to_owned();
    for one in &difference.new {
        let _ = write!(text, "  new    {}", line(one));
    }
    for one in &difference.gone {
        let _ = write!(text, "  gone   {}", line(one));
    }
    for one in &difference.moved {
        let _ = writeln!(text, "  moved  {} {}: was at {}", one.now.address, one.now.name(), one.before);
    }
    for one in &difference.changed {
        let _ = writeln!(text, "  firmware  {} {}: had {}", one.now.address, one.now.name(), one.before);
    }
    text
}

/// The same for a program.
pub(super) fn json(report: &Report, networks: &str, all: bool) -> Value {
    let shown: Vec<&Finding> = report.found.iter().filter(|finding| all || finding.kind.is_shown()).collect();
    json!({
        "networks": networks,
        "state": report.state,
        "started": report.started,
        "ended": report.ended,
        "answered": report.answered,
        "phones": count(report, Kind::Phone),
        "guesses": count(report, Kind::Guess),
        "hints": count(report, Kind::Hint),
        "found": shown,
        "duplicates": report.duplicates,
        "proxies": report.proxies,
        "difference": report.difference,
    })
}

fn count(report: &Report, kind: Kind) -> usize {
    report.found.iter().filter(|finding| finding.kind == kind).count()
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
