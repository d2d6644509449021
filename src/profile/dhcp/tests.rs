//! Vendors whose phones do every particular thing that is known, each as a few lines of profile, and what they would make
//! of answers.

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
        DhcpData::Octets(octets) => hexadecimal(octets),
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
    check(&profile("mitel"), &[(43, minet), (125, &hexadecimal(&identified))]);
    let siemens = "01:07:53:69:65:6d:65:6e:73:02:04:00:00:00:65:03:16:73:64:6c:70:3a:2f:2f:31:39:32:2e:30:2e:32:2e:31:3a:31:38:34:34:33:ff";
    check(&profile("unify"), &[(43, siemens)]);
    check(&profile("poly"), &[(66, base), (160, base)]);
    check(&profile("camrivox"), &[(67, "http://192.0.2.1:8480/%MAC_ADDRESS.xml")]);
    check(&builtin("yealink"), &[(43, base), (66, base), (132, "101"), (160, base)]);
    let subs = [&[66, 23][..], base.as_bytes(), &[0, 132, 4, b'1', b'0', b'1', 0]].concat();
    let names = [&[0, 3][..], b"pbx", &[7], b"example", &[0]].concat();
    let snom = [(43, &*hexadecimal(&subs)), (66, base), (120, &*hexadecimal(&names)), (132, "101")];
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
                hexadecimal(&[&[0, 0, 4, 3, 38][..], text.as_bytes()].concat())
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
    assert_eq!(hexadecimal(&octets), "84:04:31:31:34:00:85:02:35:00");
    // A complete value of an OpenStage, and the documented one of a MiNET phone.
    let unify = profile("unify");
    let place = DhcpPlace { vlan: Some(101), ..DhcpPlace::at(Ipv4Addr::new(93, 122, 114, 96)) };
    let octets = unify.dhcp_values(&place).remove(&43).unwrap();
    let captured = "01:07:53:69:65:6d:65:6e:73:02:04:00:00:00:65:03:1a:73:64:6c:70:3a:2f:2f:39:33:2e:31:32:32:2e:31:31:34:2e:39:36:3a:31:38:34:34:33:ff";
    assert_eq!(hexadecimal(&octets), captured);
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

/// Judges an answer and compares takes, url, and what is said of each option.
fn judge(
    profile: &Profile,
    answer: &[(u8, &[u8])],
    expected: (Option<u8>, Option<&str>, &[(u8, Judgement)]),
) {
    let answer: BTreeMap<u8, Vec<u8>> =
        answer.iter().map(|(code, octets)| (*code, octets.to_vec())).collect();
    let verdict = profile.judge(&answer, &place());
    let said: Vec<(u8, Judgement)> =
        verdict.findings.iter().map(|finding| (finding.option, finding.judgement.clone())).collect();
    let told = (verdict.takes, verdict.url.as_deref(), said.as_slice());
    assert_eq!(told, expected, "{}: {answer:?}: {verdict:#?}", profile.vendor());
    for finding in &verdict.findings {
        assert!(finding.sentence.starts_with(&format!("option {}", finding.option)), "{finding:?}");
        assert_eq!(finding.remedy.is_empty(), finding.judgement == Judgement::Right, "{finding:?}");
    }
}

#[test]
fn an_answer_is_judged_as_the_phone_reads_it() {
    use Judgement::{EmptyValue, Missing, PasswordInUrl, Right, Shadowed, WrongFormat, WrongHost};
    let elsewhere = |service: &str| WrongHost(service.to_owned());
    let yealink = builtin("yealink");
    let ours = "http://192.0.2.1:8480/";
    let other = elsewhere("http://192.0.2.99");
    judge(&yealink, &[(66, ours.as_bytes())], (Some(66), Some(ours), &[(66, Right)]));
    judge(&yealink, &[(66, b"http://192.0.2.1:8480/\0")], (Some(66), Some(ours), &[(66, Right)]));
    judge(&yealink, &[(66, b"tftp://192.0.2.1/x")], (Some(66), Some("tftp://192.0.2.1/x"), &[(66, Right)]));
    judge(&yealink, &[(66, b"192.0.2.1")], (Some(66), Some("tftp://192.0.2.1"), &[(66, Right)]));
    judge(&yealink, &[], (None, None, &[(66, Missing)]));
    judge(&yealink, &[(12, b"x")], (None, None, &[(66, Missing)]));
    judge(&yealink, &[(66, b"")], (None, None, &[(66, EmptyValue)]));
    judge(&yealink, &[(66, b"\0")], (None, None, &[(66, EmptyValue)]));
    judge(
        &yealink,
        &[(66, b"\"http://192.0.2.1:8480/\"")],
        (None, None, &[(66, WrongFormat(Misformat::Quoted))]),
    );
    judge(
        &yealink,
        &[(66, b"http://192.0.2.1:8480/\n")],
        (None, None, &[(66, WrongFormat(Misformat::Blank))]),
    );
    judge(&yealink, &[(66, b"ht!p://x")], (None, None, &[(66, WrongFormat(Misformat::UnknownScheme))]));
    judge(&yealink, &[(66, b"\xff\xfe")], (None, None, &[(66, WrongFormat(Misformat::NotText))]));
    judge(
        &yealink,
        &[(66, b"http://192.0.2.99/")],
        (Some(66), Some("http://192.0.2.99/"), &[(66, other.clone())]),
    );
    judge(
        &yealink,
        &[(66, b"http://192.0.2.1/")],
        (Some(66), Some("http://192.0.2.1/"), &[(66, elsewhere("http://192.0.2.1"))]),
    );
    judge(
        &yealink,
        &[(160, b"http://192.0.2.99/"), (66, ours.as_bytes())],
        (Some(160), Some("http://192.0.2.99/"), &[(160, other.clone()), (66, Shadowed(160))]),
    );
    judge(
        &yealink,
        &[(66, ours.as_bytes()), (43, b"http://192.0.2.99/")],
        (Some(66), Some(ours), &[(66, Right), (43, other)]),
    );
    judge(
        &yealink,
        &[(160, b""), (66, ours.as_bytes())],
        (Some(66), Some(ours), &[(160, EmptyValue), (66, Right)]),
    );
    judge(
        &yealink,
        &[(66, b"http://prov:s3cret@192.0.2.1:8480/")],
        (Some(66), Some(ours), &[(66, PasswordInUrl), (66, Right)]),
    );
    judge(
        &yealink,
        &[(66, ours.as_bytes()), (132, b"voice")],
        (Some(66), Some(ours), &[(66, Right), (132, WrongFormat(Misformat::NotANumber))]),
    );
}

#[test]
fn each_format_is_judged() {
    use Judgement::{Right, WrongFormat, WrongHost};
    let ours = "http://192.0.2.1:8480/";
    let snom = builtin("snom");
    judge(&snom, &[(43, ours.as_bytes())], (None, None, &[(43, WrongFormat(Misformat::BareText))]));
    judge(&snom, &[(43, b"\x42\xf0http\0")], (None, None, &[(43, WrongFormat(Misformat::SubOptionLength))]));
    // The page's own sample: 66 and 67 in 43.
    let sample = b"\x42\x0chttp://test\0\x43\x12snom/settings.php\0";
    judge(
        &snom,
        &[(43, sample)],
        (Some(43), Some("http://test/snom/settings.php"), &[(43, WrongHost("http://test".to_owned()))]),
    );
    let vlan_only = b"\x84\x043210\0";
    judge(
        &snom,
        &[(43, &vlan_only[..5]), (66, ours.as_bytes())],
        (Some(66), Some(ours), &[(43, WrongFormat(Misformat::SubOptionLength)), (66, Right)]),
    );
    judge(&snom, &[(43, b"\x84\x02\x33\0"), (66, ours.as_bytes())], (Some(66), Some(ours), &[(66, Right)]));
    judge(
        &snom,
        &[(66, b"192.0.2.1"), (67, b"x.xml")],
        (Some(66), Some("tftp://192.0.2.1/x.xml"), &[(66, Right)]),
    );
    judge(
        &snom,
        &[(66, ours.as_bytes()), (120, b"pbx.example")],
        (Some(66), Some(ours), &[(66, Right), (120, WrongFormat(Misformat::TextNotSipServers))]),
    );
    let fanvil = profile("fanvil");
    let encapsulated = builtin("snom").dhcp_values(&place()).remove(&43).unwrap();
    judge(&fanvil, &[(43, &encapsulated)], (None, None, &[(43, WrongFormat(Misformat::SubOptions))]));
    judge(
        &fanvil,
        &[(43, b"http://192.168.1.118/$mac.cfg")],
        (
            Some(43),
            Some("http://192.168.1.118/$mac.cfg"),
            &[(43, WrongHost("http://192.168.1.118".to_owned()))],
        ),
    );
    let cisco = profile("cisco");
    judge(&cisco, &[(150, &[192, 0, 2, 1])], (Some(150), Some("tftp://192.0.2.1"), &[(150, Right)]));
    judge(
        &cisco,
        &[(150, &[192, 0, 2, 1, 192, 0, 2, 9])],
        (Some(150), Some("tftp://192.0.2.1"), &[(150, Right)]),
    );
    judge(&cisco, &[(150, b"192.0.2.1")], (None, None, &[(150, WrongFormat(Misformat::TextNotAddresses))]));
    judge(&cisco, &[(150, b"10.0.0.1")], (None, None, &[(150, WrongFormat(Misformat::TextNotAddresses))]));
    judge(
        &cisco,
        &[(150, &[192, 0, 2, 1, 7])],
        (None, None, &[(150, WrongFormat(Misformat::AddressLength))]),
    );
    let wrong = WrongFormat(Misformat::NoFile);
    judge(&cisco, &[(66, ours.as_bytes())], (Some(66), Some(ours), &[(66, wrong.clone())]));
    judge(
        &cisco,
        &[(66, b"http://192.0.2.1:8480/spa.cfg")],
        (Some(66), Some("http://192.0.2.1:8480/spa.cfg"), &[(66, Right)]),
    );
    judge(&cisco, &[(66, b"192.0.2.1")], (Some(66), Some("tftp://192.0.2.1"), &[(66, Right)]));
    judge(&fanvil, &[(43, ours.as_bytes())], (Some(43), Some(ours), &[(43, wrong)]));
    let gigaset = profile("gigaset");
    let long = format!("http://192.0.2.1:8480/{}", "x".repeat(53));
    judge(
        &gigaset,
        &[(114, long.as_bytes()), (66, ours.as_bytes())],
        (Some(66), Some(ours), &[(114, WrongFormat(Misformat::TooLong(74))), (66, Right)]),
    );
    judge(
        &gigaset,
        &[(66, b"192.0.2.1")],
        (Some(66), Some("http://192.0.2.1"), &[(66, WrongFormat(Misformat::NoScheme))]),
    );
    let avaya = profile("avaya");
    judge(
        &avaya,
        &[(242, b"L2Q=1,L2QVLAN=1212,httpsrvr=192.168.0.100")],
        (Some(242), Some("http://192.168.0.100"), &[(242, WrongHost("http://192.168.0.100".to_owned()))]),
    );
    judge(
        &avaya,
        &[(242, b"HTTPPORT=8480,HTTPSRVR=192.0.2.1")],
        (Some(242), Some("http://192.0.2.1:8480"), &[(242, Right)]),
    );
    judge(
        &avaya,
        &[(242, ours.as_bytes())],
        (None, None, &[(242, WrongFormat(Misformat::Without("httpsrvr=".to_owned())))]),
    );
    judge(&avaya, &[(43, b"\x02\x09192.0.2.1")], (None, None, &[(43, WrongFormat(Misformat::SubOption(1)))]));
    let mitel = profile("mitel");
    let minet = "sw_tftp=10.37.20.11;call_srv=10.37.18.11,10.37.10.11;vlan=1056;l2p=6;dscp=46";
    judge(
        &mitel,
        &[(43, format!("id:ipphone.mitel.com;{minet}").as_bytes())],
        (Some(43), Some("tftp://10.37.20.11"), &[(43, WrongHost("tftp://10.37.20.11".to_owned()))]),
    );
    judge(
        &mitel,
        &[(43, minet.as_bytes())],
        (None, None, &[(43, WrongFormat(Misformat::Without("id:ipphone.mitel.com".to_owned())))]),
    );
    judge(
        &mitel,
        &[(125, b"\0\0\x04\x03\xffid:")],
        (None, None, &[(125, WrongFormat(Misformat::EnterpriseLength))]),
    );
    let unify = profile("unify");
    judge(&unify, &[(43, b"\x01\x03Foo\xff")], (None, None, &[(43, WrongFormat(Misformat::SubOption(1)))]));
}

#[test]
fn one_host_may_have_several_names() {
    let place = DhcpPlace { names: vec!["prov.example".to_owned(), "10.0.0.1".to_owned()], ..place() };
    let judge =
        |text: &str| builtin("yealink").judge(&BTreeMap::from([(66, text.as_bytes().to_vec())]), &place);
    assert!(judge("http://prov.example:8480/").is_right());
    assert!(judge("http://Prov.Example.:8480/").is_right());
    assert!(judge("http://10.0.0.1:8480/").is_right());
    assert!(!judge("http://prov.example/").is_right());
    assert!(!judge("http://prov.example.org:8480/").is_right());
}

#[test]
fn no_password_is_told() {
    let told = |vendor: &str, code: u8, value: &str| {
        let answer = BTreeMap::from([(code, value.as_bytes().to_vec())]);
        let verdict = profile(vendor).judge(&answer, &place());
        let json = serde_json::to_string(&verdict).unwrap();
        assert!(!json.contains("cr3t"), "{json}");
        assert!(!format!("{verdict:?}").contains("cr3t"));
        assert!(!verdict.is_right(), "{json}");
    };
    for value in ["http://a:s3cr3t@192.0.2.1:8480/", "http://a:s3/cr3t@192.0.2.9/x", "a:s3cr3t@192.0.2.1"] {
        told("poly", 160, value);
        told("gigaset", 114, value);
    }
    told("poly", 66, "http://192.0.2.1:8480/x?user=a&password=s3cr3t");
    told("avaya", 242, "HTTPSRVR=192.0.2.1,HTTPPORT=8480,ADMIN_PASSWORD=s3cr3t");
    told("avaya", 242, "x=http://a:s3cr3t@h/");
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
