//! FRITZ!Box: it has no setting for DHCP options, so this says what helps instead, vendor by vendor. Source: AVM's manuals,
//! "IPv4 settings of the home network": range, lease time and DNS server are all there is.

use std::fmt::Write as _;

use super::plan::{Group, Plan, listed};
use crate::profile::Dhcp;

pub(super) fn text(plan: &Plan) -> String {
    let head = [
        "A FRITZ!Box cannot send option 66 or any other of a phone's options: Home Network > Network > Network Settings",
        "> IPv4 Settings has a range, a lease time and a DNS server. What helps instead, best first, is below.",
    ];
    let mut text = plan.head("#", "fritzbox", &head);
    let names = |fits: fn(&&Group) -> bool| -> Vec<&str> {
        plan.groups.iter().filter(fits).map(|group| group.name.as_str()).collect()
    };
    let pnp = names(|group| group.profile.reach().pnp);
    let inform = names(|group| group.profile.dhcp().is_some_and(Dhcp::inform));
    let mut number = 0;
    let mut advice = |lines: &[String]| {
        number += 1;
        for (at, line) in lines.iter().enumerate() {
            let sign = if at == 0 { format!("{number}.") } else { "  ".to_owned() };
            let _ = writeln!(text, "{sign} {line}");
        }
    };
    if !pnp.is_empty() {
        advice(&[
            format!("Do nothing: {} use SIP multicast (PnP) as well, and offhook answers that without DHCP.", listed(&pnp)),
            "Keep phones and offhook in the same network; a FRITZ!Box forwards multicast between its LAN ports.".to_owned(),
        ]);
    }
    if !inform.is_empty() {
        advice(&[
            format!(
                "Let offhook answer the DHCPINFORM of {}: set dhcp.mode = \"inform\" and dhcp.interfaces",
                listed(&inform)
            ),
            "The FRITZ!Box goes on giving addresses to everybody; offhook adds the phones' options."
                .to_owned(),
        ]);
    }
    advice(&[
        "Switch the DHCP server off in the FRITZ!Box (the page above: Enable DHCP server) and run another one,".to_owned(),
        "for example dnsmasq on the host of offhook: offhook dhcp snippet dnsmasq".to_owned(),
    ]);
    let typed: Vec<String> = plan.groups.iter().map(|group| typed(group, plan)).collect();
    advice(&["Type the URL into the phones (offhook url says where):".to_owned()]);
    for line in typed {
        let _ = writeln!(text, "   {line}");
    }
    text
}

fn typed(group: &Group, plan: &Plan) -> String {
    let base = plan.place.base_http.as_deref().or(plan.place.base_tftp.as_deref()).unwrap_or_default();
    format!("{}: {}", group.name, group.profile.manual(base).value)
}
