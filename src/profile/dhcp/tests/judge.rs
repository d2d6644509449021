//! What phones of these vendors would make of answers, right ones and wrong ones.

use super::*;

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
