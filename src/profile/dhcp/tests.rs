//! Vendors whose phones do every particular thing that is known, each as a few lines of profile, and what they would make
//! of answers.

use std::collections::BTreeMap;

use super::*;
use crate::device::Vendor;
use crate::profile::{Catalog, fixture};

/// What each of these phones reads, from the vendors' own guides and captures.
const PROFILES: [(&str, &str); 9] = [
    (
        "cisco",
        r#"
[dhcp]
options = [66, 160, 159, 150, 60, 43, 125]
gives   = [66, 150]
value   = "{base}$PSN.cfg"
vendor_class = ["Cisco SPA508G", "Cisco Systems, Inc. IP Phone CP-7941G\u0000"]
[dhcp.option.125]
enterprise = 9
"#,
    ),
    (
        "gigaset",
        r#"
[dhcp]
options = [114, 66]
without_scheme = "http"
[dhcp.option.114]
length_max = 74
"#,
    ),
    (
        "panasonic",
        r#"
[dhcp]
options = [160, 159, 66]
file    = 67
[dhcp.option.67]
value = "{MODEL}.cfg"
"#,
    ),
    (
        "fanvil",
        r#"
[dhcp]
options = [66, 43]
value   = "{base}$mac.cfg"
vendor_class = []
"#,
    ),
    (
        "avaya",
        r#"
[dhcp]
options = [43, 242]
without_scheme = "http"
vendor_class = ["ccp.avaya.com"]
[dhcp.option.43]
format = "encapsulated"
sub = [
    { code = 1, value = "6889" },
    { code = 2, value = "{host}" },
    { code = 4, value = "{port}" },
    { code = 10, value = "{vlan}" },
]
[dhcp.option.242]
parts = ["L2Q=1,L2QVLAN={vlan}", "httpsrvr={host}", "httpport={port}"]
"#,
    ),
    (
        "mitel",
        r#"
[dhcp]
options = [43, 125]
vendor_class = ["ipphone.mitel.com"]
[dhcp.option.43]
parts = ["id:ipphone.mitel.com", "sw_tftp={tftp_host}", "call_srv={registrar}", "vlan={vlan}"]
separator = ";"
[dhcp.option.125]
enterprise = 1027
parts = ["id:ipphone.mitel.com", "sw_tftp={tftp_host}", "call_srv={registrar}", "vlan={vlan}"]
separator = ";"
"#,
    ),
    (
        "unify",
        r#"
[dhcp]
options = [43]
vendor_class = ["OptiIpPhone"]
[dhcp.option.43]
format = "encapsulated"
end = true
sub = [
    { code = 1, value = "Siemens" },
    { code = 2, format = "integer", value = "{vlan}" },
    { code = 3, value = "sdlp://{host}:18443" },
]
"#,
    ),
    (
        "poly",
        r#"
[dhcp]
options = [160, 66]
inform  = true
vendor_class = ["Polycom-VVX410", "hex:0000363d 15 0207506f6c79636f6d 030a53504950 5f363031 2e"]
"#,
    ),
    (
        "camrivox",
        r#"
[dhcp]
options = [67]
value   = "{base}%MAC_ADDRESS.xml"
"#,
    ),
];

fn catalog(extra: &[(&str, &str)]) -> Catalog {
    let folders = PROFILES.iter().chain(extra).map(|(name, dhcp)| {
        let text = format!("schema = 1\ndisplay_name = '{name}'\nreach = {{ tftp = true }}\n{dhcp}");
        fixture::vendor(name, &[("profile.toml", &text)])
    });
    let (catalog, errors) = Catalog::of_folders(&folders.collect::<Vec<_>>());
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told, [""; 0]);
    catalog
}

fn place() -> DhcpPlace {
    DhcpPlace {
        base_http: Some("http://192.0.2.1:8480/".to_owned()),
        base_tftp: Some("tftp://192.0.2.1/".to_owned()),
        vlan: Some(101),
        registrar: Some("pbx.example:5070".to_owned()),
        ..DhcpPlace::at(Ipv4Addr::new(192, 0, 2, 1))
    }
}

#[test]
fn each_vendor_gets_its_own_form() {
    let catalog = catalog(&[]);
    for profile in catalog.profiles() {
        println!("{}: {:#?}", profile.vendor(), profile.dhcp_settings(&place()));
        let v = profile.judge(&profile.dhcp_values(&place()), &place());
        println!("{v:#?}");
        assert!(v.is_right());
    }
    assert!(catalog.get(&Vendor::new("poly")).is_some());
    let _: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
}
