//! Vendors whose phones do every particular thing that is known, each as a few lines of profile, and what they would make
//! of answers.

mod judge;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::device::Vendor;
use crate::profile::{Catalog, Origin, fixture};

/// Phones that do every particular thing that is known, each in a profile of a few lines.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dhcp-profiles");
const VENDORS: [&str; 10] =
    ["acme", "avaya", "camrivox", "cisco", "fanvil", "gigaset", "mitel", "panasonic", "poly", "unify"];

fn folder() -> Catalog {
    let (catalog, errors) = Catalog::of_origin(&Origin::Folder(FOLDER.into()));
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told, [""; 0]);
    assert_eq!(catalog.profiles().map(|profile| profile.vendor().as_str()).collect::<Vec<_>>(), VENDORS);
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

/// The profile of one of these, or one of a few lines.
fn profile(vendor: &str) -> Arc<Profile> {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(folder);
    Arc::clone(CATALOG.get(&Vendor::new(vendor)).unwrap())
}

fn builtin(vendor: &str) -> Arc<Profile> {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::builtin().unwrap());
    Arc::clone(CATALOG.get(&Vendor::new(vendor)).unwrap())
}

fn written(dhcp: &str) -> Arc<Profile> {
    let text = format!("schema = 1\ndisplay_name = 'Acme'\n{dhcp}");
    let (catalog, errors) = Catalog::of_folders(&[fixture::vendor("acme", &[("profile.toml", &text)])]);
    assert_eq!(errors, []);
    Arc::clone(catalog.get(&Vendor::new("acme")).unwrap())
}

fn text(setting: &DhcpSetting) -> String {
    match &setting.data {
        DhcpData::Text(text) => text.clone(),
        DhcpData::Addresses(addresses) => format!("{addresses:?}"),
        DhcpData::Octets(octets) => colons(octets),
    }
}

#[test]
fn each_vendor_gets_its_own_form() {
    let check = |profile: &Profile, expected: &[(u8, &str)]| {
        let settings = profile.dhcp_settings(&place());
        let settings: Vec<(u8, String)> =
            settings.iter().map(|(code, setting)| (*code, text(setting))).collect();
        let expected: Vec<(u8, String)> =
            expected.iter().map(|(code, text)| (*code, (*text).to_owned())).collect();
        assert_eq!(settings, expected, "{}", profile.vendor());
    };
    let base = "http://192.0.2.1:8480/";
    check(&profile("cisco"), &[(66, "http://192.0.2.1:8480/$PSN.cfg"), (150, "[192.0.2.1]")]);
    check(&profile("gigaset"), &[(66, base), (114, base)]);
    check(&profile("panasonic"), &[(66, base), (67, "{MODEL}.cfg"), (159, base), (160, base)]);
    check(
        &profile("fanvil"),
        &[(43, "http://192.0.2.1:8480/$mac.cfg"), (66, "http://192.0.2.1:8480/$mac.cfg")],
    );
    let sson = "L2Q=1,L2QVLAN=101,httpsrvr=192.0.2.1,httpport=8480";
    let avaya = "01:04:36:38:38:39:02:09:31:39:32:2e:30:2e:32:2e:31:04:04:38:34:38:30:0a:03:31:30:31";
    check(&profile("avaya"), &[(43, avaya), (242, sson)]);
    let minet = "id:ipphone.mitel.com;sw_tftp=192.0.2.1;call_srv=pbx.example;vlan=101";
    let identified = [&[0, 0, 4, 3, 68][..], minet.as_bytes()].concat();
    check(&profile("mitel"), &[(43, minet), (125, &colons(&identified))]);
    let siemens = "01:07:53:69:65:6d:65:6e:73:02:04:00:00:00:65:03:16:73:64:6c:70:3a:2f:2f:31:39:32:2e:30:2e:32:2e:31:3a:31:38:34:34:33:ff";
    check(&profile("unify"), &[(43, siemens)]);
    check(&profile("poly"), &[(66, base), (160, base)]);
    check(&profile("camrivox"), &[(67, "http://192.0.2.1:8480/%MAC_ADDRESS.xml")]);
    check(&builtin("yealink"), &[(43, base), (66, base), (132, "101"), (160, base)]);
    let subs = [&[66, 23][..], base.as_bytes(), &[0, 132, 4, b'1', b'0', b'1', 0]].concat();
    let names = [&[0, 3][..], b"pbx", &[7], b"example", &[0]].concat();
    let snom = [(43, &*colons(&subs)), (66, base), (120, &*colons(&names)), (132, "101")];
    check(&builtin("snom"), &snom);
}

#[test]
fn what_is_not_known_at_a_place_is_left_out() {
    let check = |vendor: &str, place: &DhcpPlace, expected: &[(u8, &str)]| {
        let settings = profile(vendor).dhcp_settings(place);
        let settings: Vec<(u8, String)> =
            settings.iter().map(|(code, setting)| (*code, text(setting))).collect();
        let expected: Vec<(u8, String)> =
            expected.iter().map(|(code, text)| (*code, (*text).to_owned())).collect();
        assert_eq!(settings, expected, "{vendor}");
    };
    let bare = DhcpPlace { vlan: None, registrar: None, ..place() };
    check(
        "mitel",
        &bare,
        &[
            (43, "id:ipphone.mitel.com;sw_tftp=192.0.2.1"),
            (125, &{
                let text = "id:ipphone.mitel.com;sw_tftp=192.0.2.1";
                colons(&[&[0, 0, 4, 3, 38][..], text.as_bytes()].concat())
            }),
        ],
    );
    check(
        "avaya",
        &bare,
        &[
            (43, "01:04:36:38:38:39:02:09:31:39:32:2e:30:2e:32:2e:31:04:04:38:34:38:30"),
            (242, "httpsrvr=192.0.2.1,httpport=8480"),
        ],
    );
    let no_tftp = DhcpPlace { base_tftp: None, ..place() };
    check("cisco", &no_tftp, &[(66, "http://192.0.2.1:8480/$PSN.cfg")]);
    check("mitel", &no_tftp, &[]);
    let odd_port = DhcpPlace { base_tftp: Some("tftp://192.0.2.1:6969/".to_owned()), ..place() };
    check("mitel", &odd_port, &[]);
    let only_tftp = DhcpPlace { base_http: None, ..place() };
    check("poly", &only_tftp, &[(66, "tftp://192.0.2.1/"), (160, "tftp://192.0.2.1/")]);
    let nothing = DhcpPlace::at(Ipv4Addr::new(192, 0, 2, 1));
    check("poly", &nothing, &[]);
    check("avaya", &nothing, &[]);
    let registrar = |name: &str| DhcpPlace { registrar: Some(name.to_owned()), ..place() };
    let option_120 = |place: &DhcpPlace| builtin("snom").dhcp_values(place).remove(&120);
    assert_eq!(option_120(&registrar("192.0.2.9:5061")), Some(vec![1, 192, 0, 2, 9]));
    assert_eq!(option_120(&registrar("a..b")), None);
}

#[test]
fn the_octets_of_captures_come_out_again() {
    // What snom's own page shows for VLAN and priority in option 43.
    let snom = written(
        "[dhcp]\noptions = [43]\n[dhcp.option.43]\nformat = 'encapsulated'\nsub = [\n\
         { code = 132, value = '{vlan}', nul = true }, { code = 133, value = '{vlan_priority}', nul = true } ]\n",
    );
    let place = DhcpPlace { base_tftp: None, vlan: Some(114), vlan_priority: Some(5), ..place() };
    let octets = snom.dhcp_values(&place).remove(&43).unwrap();
    assert_eq!(colons(&octets), "84:04:31:31:34:00:85:02:35:00");
    // A complete value of an OpenStage, and the documented one of a MiNET phone.
    let unify = profile("unify");
    let place = DhcpPlace { vlan: Some(101), ..DhcpPlace::at(Ipv4Addr::new(93, 122, 114, 96)) };
    let octets = unify.dhcp_values(&place).remove(&43).unwrap();
    let captured = "01:07:53:69:65:6d:65:6e:73:02:04:00:00:00:65:03:1a:73:64:6c:70:3a:2f:2f:39:33:2e:31:32:32:2e:31:31:34:2e:39:36:3a:31:38:34:34:33:ff";
    assert_eq!(colons(&octets), captured);
    let verdict = unify.judge(&BTreeMap::from([(43, octets)]), &place);
    assert!(verdict.is_right(), "{verdict:?}");
    assert_eq!(verdict.url.as_deref(), Some("sdlp://93.122.114.96"));
}

#[test]
fn what_we_give_is_right() {
    for profile in VENDORS.into_iter().map(profile).chain(["snom", "yealink"].map(builtin)) {
        let verdict = profile.judge(&profile.dhcp_values(&place()), &place());
        assert!(verdict.is_right(), "{}: {verdict:?}", profile.vendor());
        assert_eq!(verdict.takes, profile.dhcp().unwrap().options().first().copied(), "{}", profile.vendor());
    }
}

#[test]
fn phones_ask_as_their_profile_says() {
    let yealink = builtin("yealink");
    let dhcp = yealink.dhcp().unwrap();
    assert_eq!(dhcp.vendor_classes(), [b"yealink".to_vec()]);
    assert!(dhcp.inform() && dhcp.ask().contains(&66));
    let snom = builtin("snom");
    assert_eq!(snom.dhcp().unwrap().inform_ask(), [43, 120, 125, 132]);
    let panasonic = profile("panasonic");
    assert_eq!(panasonic.dhcp().unwrap().ask(), [1, 3, 6, 15, 160, 159, 66, 67]);
    let poly = profile("poly");
    let [text, binary] = poly.dhcp().unwrap().vendor_classes() else { panic!("two classes") };
    assert_eq!(class_text(text), "Polycom-VVX410");
    assert_eq!(class_text(binary), "  6=   Polycom  SPIP_601.");
    assert_eq!(
        class_text(b"Cisco Systems, Inc. IP Phone CP-7941G\0"),
        "Cisco Systems, Inc. IP Phone CP-7941G"
    );
    assert!(profile("fanvil").dhcp().unwrap().vendor_classes().is_empty());
}

#[test]
fn a_client_is_known_by_its_class() {
    let catalog = Catalog::builtin().unwrap();
    let vendor = |class: Option<&[u8]>, mac: &str| {
        let identity = catalog.identify_client(class, mac.parse().unwrap()).identity;
        (identity.vendor.map(|vendor| vendor.to_string()), identity.model)
    };
    let yealink = Some("yealink".to_owned());
    assert_eq!(vendor(Some(b"yealink"), "001565000001"), (yealink.clone(), None));
    assert_eq!(vendor(Some(b"yealink\0"), "020000000001"), (yealink, None));
    assert_eq!(vendor(Some(b"snomD785"), "000413000001"), (Some("snom".to_owned()), Some("D785".to_owned())));
    assert_eq!(vendor(None, "001565000001"), (None, None));
    assert_eq!(vendor(Some(b"MSFT 5.0"), "001565000001"), (None, None));
}

/// What is found in a profile with this section below its head.
fn findings(dhcp: &str) -> Vec<String> {
    let text = format!("schema = 1\ndisplay_name = 'Acme'\n[dhcp]\n{dhcp}");
    let (_, errors) = Catalog::of_folders(&[fixture::vendor("acme", &[("profile.toml", &text)])]);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn mistakes_are_told_with_their_line() {
    let check = |dhcp: &str, expected: &str| {
        let found = findings(dhcp);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{dhcp}: {found:?}");
    };
    check("options = [66,\n66]", "acme/profile.toml:5: dhcp.options: names 66 twice");
    check("options = [51]", "acme/profile.toml:4: dhcp.options: names option 51, which belongs to the lease");
    check("options = [6]", "names option 6, which is the list of name servers");
    check("options = [256]", "acme/profile.toml:4");
    check("options = [66]\ngives = [67]", "acme/profile.toml:5: dhcp.gives: names 67, which is neither");
    check("options = [66]\nfile = 67", "acme/profile.toml:5: dhcp.file: names 67, which has no");
    check("options = [66]\nvalue = '{bsae}'", "acme/profile.toml:5: dhcp.value: has the unknown word {bsae}");
    check("options = [66]\nvalue = '{base'", "dhcp.value: has a { without its }");
    check("options = [66]\nask = [1, 255]", "dhcp.ask: names option 255, which is no option");
    check("vendor_class = ['hex:0']", "dhcp.vendor_class: has an odd number");
    check(
        "[dhcp.option.53]",
        "acme/profile.toml:4: dhcp.option.53: names option 53, which belongs to the lease",
    );
    check("[dhcp.option.066]", "dhcp.option.066: is no code of an option");
    check("[dhcp.option.66]\nformat = 'words'", "unknown variant `words`");
    check("[dhcp.option.66]\nvalue = 'x'\nsub = []\nend = true", "dhcp.option.66.end: is a key that");
    check("[dhcp.option.125]\nvalue = 'x'", "dhcp.option.125: is vendor-identifying without an enterprise");
    check("[dhcp.option.43]\nformat = 'encapsulated'", "dhcp.option.43: has no sub-options");
    let subs = |subs: &str| format!("[dhcp.option.43]\nformat = 'encapsulated'\nsub = [\n{subs}]");
    check(&subs("{ code = 0, value = 'x' }"), "acme/profile.toml:7: dhcp.option.43.sub[0]: names option 0");
    check(
        &subs("{ code = 1, value = 'x' },\n{ code = 1 }"),
        "acme/profile.toml:8: dhcp.option.43.sub[1]: is 1 for",
    );
    check(&subs("{ value = 'x' }"), "dhcp.option.43.sub[0]: has no code");
    check(&subs("{ code = 1, format = 'encapsulated' }"), "has sub-options inside a sub-option");
    check(
        &subs("{ code = 1, format = 'integer', value = '{host}' }"),
        "dhcp.option.43.sub[0]: makes no value",
    );
    check(&subs("{ code = 1, format = 'integer', value = '1', octets = 3 }"), "sub[0].octets: is 3");
    check(
        "[dhcp.option.114]\nlength_max = 20\nvalue = '{base}'",
        "acme/profile.toml:6: dhcp.option.114: may be 29 octets long, and 20 are read",
    );
    check(
        &format!("[dhcp.option.66]\nvalue = '{}'", "x".repeat(256)),
        "may be 256 octets long, and 255 are read",
    );
    check("[dhcp.option.66]\nvalue = ''", "dhcp.option.66: has an empty value");
    check("[dhcp.option.150]\nvalue = 'pbx'", "dhcp.option.150: makes no value");
    assert_eq!(findings("options = [66]\nvalue = '{base}{mac}-{SERIAL}'\nmacros = ['SERIAL']"), [""; 0]);
}

#[test]
fn a_profile_inherits_the_whole_section() {
    let own = "schema = 1\ndisplay_name = 'T'\nextends = 'poly'\n";
    let parent = "schema = 1\ndisplay_name = 'Poly'\n[dhcp]\noptions = [160, 66]\n";
    let folders = [
        fixture::vendor("tip", &[("profile.toml", own)]),
        fixture::vendor("poly", &[("profile.toml", parent)]),
    ];
    let (catalog, errors) = Catalog::of_folders(&folders);
    assert_eq!(errors, []);
    assert_eq!(catalog.get(&Vendor::new("tip")).unwrap().dhcp().unwrap().options(), [160, 66]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_from_the_network_disturbs(
        octets in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        start in "(http://|id:|\\x01\\x07Siemens|httpsrvr=|)",
    ) {
        let value = [start.as_bytes(), &octets].concat();
        let vendors = VENDORS.into_iter().map(profile).chain(["snom", "yealink"].map(builtin));
        for profile in vendors {
            let codes = profile.dhcp().unwrap().options().iter().chain(&[120, 132, 67]);
            let answer: BTreeMap<u8, Vec<u8>> = codes.map(|code| (*code, value.clone())).collect();
            let verdict = profile.judge(&answer, &place());
            prop_assert!(!verdict.findings.is_empty());
            let shown = serde_json::to_string(&verdict).unwrap();
            prop_assert!(!shown.contains(|c: char| c.is_control()));
        }
        class_text(&octets);
    }
}
