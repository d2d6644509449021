//! OPNsense: a file for its dnsmasq, which the pages leave alone, and where the same stands in the pages. Source:
//! docs.opnsense.org, "Dnsmasq DNS & DHCP" and "Kea DHCP".

use super::dnsmasq;
use super::plan::Plan;

pub(super) fn text(plan: &Plan) -> String {
    let head = plan.head(
        "#",
        "opnsense",
        &[
            "With Dnsmasq (Services > Dnsmasq DNS & DHCP): save as /usr/local/etc/dnsmasq.conf.d/offhook.conf, then",
            "Apply on that page, or: service dnsmasq restart. The pages neither show nor change this file.",
            "By hand instead: under DHCP tags add each tag; under DHCP options add a row of type Match for each",
            "dhcp-vendorclass (option 60, its text, Set tag), and one of type Set for each dhcp-option (Tag, option,",
            "value without the quotes). A tag by MAC address (dhcp-mac) cannot be made there.",
            "With Kea DHCP: options for one kind of client need a version with client classes in Kea's option dialog;",
            "the values are those of: offhook dhcp snippet kea",
            "With ISC DHCPv4 (legacy): its page has no classes; see: offhook dhcp snippet unifi",
        ],
    );
    head + &dnsmasq::lines(plan)
}
