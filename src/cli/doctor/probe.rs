//! What the doctor asks the LAN when it is told to: who else gives addresses, and who else answers phones. Takes no lease.

use super::super::Context;
use crate::alarm::AlarmKind;
use crate::clock::{Clock, Entropy};
use crate::dhcp::ask::{self, Turn};
use crate::dhcp::probe::Asker;
use crate::doctor::Finding;
use crate::net::interfaces::{Interface, Table};
use crate::pnp::server::look;
use crate::profile::Catalog;
use crate::store::Store;

/// Asks on each link as phones would. Without a database nobody knows which answers are our own agents'.
pub(super) async fn rivals(context: &Context, store: Option<&Store>) -> Vec<Finding> {
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    let table = Table::read(&context.config.agent.interfaces).unwrap_or_default();
    let name = store.map(Store::name).unwrap_or_default();
    let mut findings = Vec::new();
    for link in table.interfaces().iter().filter(|link| !link.loopback) {
        let mut found = match look(link, &context.config.pnp, &catalog, &name, &Clock::System).await {
            Ok(found) => found,
            Err(error) => {
                let text =
                    format!("whether another server on {} answers phones was not asked: {error}", link.name);
                findings.push(Finding::unknown(
                    "rivals",
                    text,
                    "ip address, and a packet filter, may say why",
                ));
                continue;
            }
        };
        found.retain(|address| !table.is_ours(*address));
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        findings.push(if all.is_empty() {
            Finding::ok("rivals", format!("asked: no other server on {} answers phones", link.name))
        } else {
            Finding::warn(
                "rivals",
                format!("asked: another server on {} answers phones: {}", link.name, all.join(", ")),
                AlarmKind::Rival.remedy(),
            )
        });
    }
    findings
}

/// One DISCOVER on each link, at most every ten minutes; half a minute of silence ends it.
pub(super) async fn dhcp(context: &Context) -> Vec<Finding> {
    let table = Table::read(&context.config.agent.interfaces).unwrap_or_default();
    let links = table.interfaces().iter().filter(|link| !link.loopback);
    let asked = futures_util::future::join_all(links.map(|link| of_link(link, context))).await;
    asked.into_iter().flatten().collect()
}

async fn of_link(link: &Interface, context: &Context) -> Option<Finding> {
    let (mac, (address, _)) = (link.mac?, link.addresses.first()?);
    let name = &link.name;
    let unasked = |why: String, needs: &str| {
        Finding::unknown("dhcp", format!("which DHCP servers answer on {name} was not asked: {why}"), needs)
    };
    match Turn::take(&context.places.data, name, &Clock::System) {
        Ok(Turn::Ours) => {}
        Ok(Turn::In(left)) => {
            let why = format!("somebody asked a moment ago; the next time is in {} s", left.as_secs());
            return Some(unasked(why, "offhook dhcp status has what was heard"));
        }
        Err(error) => return Some(unasked(error.to_string(), "the right to write to the data folder")),
    }
    let asker = Asker { interface: link.index, address: *address, mac };
    Some(match ask::search(asker, false, &Clock::System, &Entropy::System).await {
        Ok(found) => {
            let all: Vec<String> = found.iter().map(|one| one.from.to_string()).collect();
            match all.as_slice() {
                [] => Finding::warn(
                    "dhcp",
                    format!("no DHCP server answers on {name}"),
                    "phones there need one, or addresses of their own",
                ),
                [one] => Finding::ok("dhcp", format!("asked: {one} gives addresses on {name}")),
                several => Finding::warn(
                    "dhcp",
                    format!(
                        "asked: {} DHCP servers give addresses on {name}: {}",
                        several.len(),
                        several.join(", ")
                    ),
                    "unless they share their pools, switch off all but one",
                ),
            }
        }
        Err(error) => unasked(error.to_string(), "CAP_NET_RAW: run the command as root"),
    })
}
