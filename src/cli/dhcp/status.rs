//! `offhook dhcp status` and `leases`: what is done on each interface, who answers there, and who has which address.
//! Everything is read from rows, so it works whether the agent runs or not.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::Value;

use super::super::{Context, Outcome, open, output};
use crate::clock::{Clock, Timestamp};
use crate::device::Mac;
use crate::store::{DhcpServerRow, LeaseRow, LeaseState, Reservation, Store, SwitchRow};

/// DHCP servers of an interface that are shown: a link has one or two, and a flood invents hundreds.
const SERVERS_SHOWN: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Leases {
    /// Those that have ended as well
    #[arg(long)]
    all: bool,
}

/// One interface.
#[derive(Debug, Serialize)]
struct Shown {
    interface: String,
    agent: Option<String>,
    mode: String,
    /// As it was set last; nobody has touched it where this is null.
    switch: Option<SwitchRow>,
    pools: Value,
    /// Answers and silences since the agent's start, by reason.
    counted: Value,
    /// When the agent said so.
    at: Option<Timestamp>,
    /// The DHCP servers that were heard there.
    servers: Vec<DhcpServerRow>,
    leases: Vec<LeaseShown>,
    reservations: Vec<Reservation>,
}

/// A lease with its phone.
#[derive(Debug, Serialize)]
struct LeaseShown {
    #[serde(flatten)]
    lease: LeaseRow,
    until: Timestamp,
    /// The phone's vendor and model, where it is one of the inventory.
    phone: Option<String>,
}

pub(crate) async fn status(context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let shown = interfaces(context, &store).await?;
    if context.json {
        output::value(&shown);
        return Ok(());
    }
    let config = &context.config.dhcp;
    let dry = if config.dry_run { ", a dry run" } else { "" };
    output::print(&format!("dhcp.mode = \"{}\"{dry}\n", config.mode));
    for one in &shown {
        print(one);
    }
    if shown.is_empty() {
        output::print("nothing was heard yet, and nothing is answered\n");
    }
    Ok(())
}

pub(crate) async fn leases(args: &Leases, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let rows = shown_leases(&store, args.all).await?;
    let heads = ["INTERFACE", "ADDRESS", "MAC", "PHONE", "NAME", "STATE", "UNTIL"];
    output::listing(context.json, &rows, &heads, |row| {
        let mut cells = cells(row);
        cells.insert(0, row.lease.interface.clone());
        cells
    });
    Ok(())
}

async fn interfaces(context: &Context, store: &Store) -> Result<Vec<Shown>, super::super::Failure> {
    let config = &context.config.dhcp;
    let (switches, reports) = (store.dhcp_switches().await?, store.dhcp_reports().await?);
    let (servers, mut leases) = (store.dhcp_servers().await?, shown_leases(store, false).await?);
    let reservations = store.reservations().await?;
    let mut names: BTreeSet<&str> = config.interfaces.iter().map(String::as_str).collect();
    names.extend(reports.iter().map(|row| row.interface.as_str()));
    names.extend(servers.iter().map(|row| row.interface.as_str()));
    let held: BTreeSet<String> = leases.iter().map(|row| row.lease.interface.clone()).collect();
    names.extend(held.iter().map(String::as_str));
    let answering = |name: &str| config.interfaces.iter().any(|known| known == name);
    let own_name = config.interfaces.first().map(String::as_str);
    let mut shown = Vec::new();
    for name in &names {
        let report = reports.iter().find(|row| row.interface == *name);
        let configured = if answering(name) { config.mode.as_str() } else { "observe" };
        let part =
            |key: &str| report.map_or(Value::Null, |row| row.report.get(key).cloned().unwrap_or_default());
        shown.push(Shown {
            interface: (*name).to_owned(),
            agent: report.map(|row| row.agent.clone()),
            mode: report.map_or_else(|| configured.to_owned(), |row| row.mode.clone()),
            switch: switches.of(name).filter(|row| !row.who.is_empty()).cloned(),
            pools: part("pools"),
            counted: part("counted"),
            at: report.and_then(|row| row.at),
            servers: servers.iter().filter(|row| row.interface == *name).cloned().collect(),
            leases: leases.extract_if(.., |row| row.lease.interface == *name).collect(),
            // They are kept in whatever network they lie; said once.
            reservations: if own_name == Some(name) { reservations.clone() } else { Vec::new() },
        });
    }
    Ok(shown)
}

async fn shown_leases(store: &Store, all: bool) -> Result<Vec<LeaseShown>, super::super::Failure> {
    let now = Clock::System.now();
    let lives = |lease: &LeaseRow| all || lease.state != LeaseState::Released && lease.until() > now;
    let leases = store.leases().await?.into_iter().filter(lives);
    Ok(leases
        .map(|lease| LeaseShown {
            until: lease.until(),
            phone: lease.mac.and_then(|mac| phone(store, mac)),
            lease,
        })
        .collect())
}

fn phone(store: &Store, mac: Mac) -> Option<String> {
    let device = store.inventory().device(mac)?;
    let vendor = device.vendor.as_ref().map(|vendor| vendor.as_str().to_owned());
    let parts: Vec<String> = [vendor, device.model.clone()].into_iter().flatten().collect();
    let label = device.lines.first().and_then(|line| line.account.display_name.clone());
    let label = label.map_or(String::new(), |label| format!(" ({label})"));
    Some(format!("{}{label}", parts.join(" ")))
}

fn print(shown: &Shown) {
    let Shown { interface, mode, switch, pools, counted, servers, leases, reservations, .. } = shown;
    output::print(&format!("\n{interface}: {mode}\n"));
    if let Some(row) = switch {
        let why = if row.why.is_empty() { String::new() } else { format!(": {}", row.why) };
        output::print(&format!("  switched {} by {} at {}{why}\n", row.state.as_str(), row.who, row.since));
    }
    for pool in pools.as_array().into_iter().flatten() {
        let text = |key: &str| pool.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |key: &str| pool.get(key).and_then(Value::as_u64).unwrap_or_default();
        let note = text("note");
        let note = if note.is_empty() { note } else { format!(": {note}") };
        let (taken, size) = (number("taken"), number("size"));
        output::print(&format!(
            "  pool {}: {taken} of {size} taken, {}{note}\n",
            text("range"),
            text("state")
        ));
    }
    for (title, key) in [("answered", "answers"), ("not answered", "silences")] {
        let counts = counted.get(key).and_then(Value::as_object).into_iter().flatten();
        let counts: Vec<String> = counts.map(|(word, count)| format!("{word} {count}")).collect();
        if !counts.is_empty() {
            output::print(&format!("  {title}: {}\n", counts.join(", ")));
        }
    }
    output::print(&heard(servers));
    for one in reservations {
        output::print(&format!("  {} is kept for {}\n", one.address, one.mac));
    }
    if !leases.is_empty() {
        let lines: Vec<Vec<String>> = leases.iter().map(cells).collect();
        let table = output::table(&["ADDRESS", "MAC", "PHONE", "NAME", "STATE", "UNTIL"], &lines);
        for line in table.lines() {
            output::print(&format!("  {line}\n"));
        }
    }
}

/// The servers that were heard most often: whoever invents servers says each of them once or twice.
fn heard(servers: &[DhcpServerRow]) -> String {
    let mut servers: Vec<&DhcpServerRow> = servers.iter().collect();
    servers.sort_by_key(|server| Reverse(server.count));
    let mut text = String::new();
    for DhcpServerRow { address, mac, count, last, .. } in servers.iter().take(SERVERS_SHOWN) {
        let mac = mac.map(|mac| format!(" ({mac})")).unwrap_or_default();
        let _ = writeln!(text, "  DHCP server {address}{mac}: heard {count} times, last at {last}");
    }
    if let Some(more) = servers.len().checked_sub(SERVERS_SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} more that were heard less often; --json has them all");
    }
    text
}

fn cells(row: &LeaseShown) -> Vec<String> {
    let address: Ipv4Addr = row.lease.address;
    vec![
        address.to_string(),
        row.lease.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        row.phone.clone().unwrap_or_default(),
        row.lease.host_name.clone().unwrap_or_default(),
        row.lease.state.as_str().to_owned(),
        row.until.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_invented_servers_does_not_hide_the_one_that_is_there() {
        let server = |number: u8, count| DhcpServerRow {
            agent: "agent".to_owned(),
            interface: "eth0".to_owned(),
            address: format!("10.0.0.{number}"),
            mac: None,
            gives: serde_json::from_str("{}").unwrap(),
            first: Timestamp(0),
            last: Timestamp(0),
            count,
        };
        let flood: Vec<DhcpServerRow> =
            (0..250).map(|number| server(number, if number == 200 { 90 } else { 1 })).collect();
        let text = heard(&flood);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        assert!(lines[0].starts_with("  DHCP server 10.0.0.200: heard 90 times"), "{text}");
        assert!(lines[10].starts_with("  and 240 more"), "{text}");
        assert_eq!(heard(&flood[..10]).lines().count(), 10);
    }
}
