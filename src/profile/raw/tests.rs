//! Raw parameters alone, and in files of the built-in profiles.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::case::blank_device;
use super::super::catalog::Catalog;
use super::super::fixture;
use super::super::rendered::{Rendered, Slot, SlotPiece};
use super::super::schema::Scope;
use super::super::subject::{Site, Subject};
use super::*;
use crate::device::{Account, Commons, Device, Line, Vendor};
use crate::secret::SecretKind;

fn secret(before: &str) -> SecretNames {
    let slot = Slot { kind: SecretKind::Webui, line: None };
    let piece = SlotPiece {
        slot,
        name: "static.security.user_password = admin:".to_owned(),
        part: super::super::part::Part::Whole,
        before: before.to_owned(),
        after: String::new(),
    };
    let mut names = SecretNames::default();
    names.add(&piece);
    names
}

fn written(form: &RawForm, format: Format, name: &str, value: &str) -> Result<String, String> {
    let secret = secret("account.1.password = ");
    let lines = RawLines::new(form, &format.into(), &[(name, value)], &secret);
    match lines.notes.first() {
        Some(note) => Err(note.clone()),
        None => Ok(lines.indented("  ", "\n")),
    }
}

#[test]
fn a_parameter_is_a_line_or_an_element() {
    let line = RawForm::parse("{name} = {value}\n", None).unwrap();
    assert_eq!(written(&line, Format::Line, "a.1.b", "x = y").unwrap(), "  a.1.b = x = y\n");
    let form = "<{name}{index} perm=\"R\">{value}</{name}>\n";
    let xml = RawForm::parse(form, Some(" idx=\"{index}\"")).unwrap();
    let expected = "  <user_mailbox idx=\"1\" perm=\"R\">*97 &amp; &lt;x&gt;</user_mailbox>\n";
    assert_eq!(written(&xml, Format::Xml, "user_mailbox[1]", "*97 & <x>").unwrap(), expected);
    assert_eq!(written(&xml, Format::Xml, "dnd", "on").unwrap(), "  <dnd perm=\"R\">on</dnd>\n");
    let attribute = RawForm::parse(" {name}=\"{value}\"\n", None).unwrap();
    assert_eq!(written(&attribute, Format::Xml, "a.b", "\"").unwrap(), "   a.b=\"&quot;\"\n");
    for (text, index) in [("{name}", None), ("{value}={name}", None), ("{name}{index}={value}", None)] {
        assert!(RawForm::parse(text, index).is_err(), "{text}");
    }
}

#[test]
fn a_name_is_no_password_and_no_second_line() {
    let line = RawForm::parse("{name} = {value}\n", None).unwrap();
    let check = |name: &str, value: &str, says: &str| {
        let note = written(&line, Format::Line, name, value).unwrap_err();
        assert!(note.contains(says), "{name}: {note}");
    };
    check("account.1.password", "x", "hold passwords");
    check("Account.7.Password", "x", "hold passwords");
    check("static.security.user_password", "admin:x", "hold passwords");
    check("a\nb", "x", "no parameter's name");
    check("a = 1", "x", "no parameter's name");
    check("#!include", "x", "no parameter's name");
    check("a[1]", "x", "no index");
    check("a", "x\naccount.1.password = y", "control character");
    check("a", "x\u{2028}y", "control character");
    assert!(written(&line, Format::Line, "account.1.passwords", "x").is_ok());
}

#[test]
fn what_the_template_wrote_under_the_name_is_replaced() {
    let line = RawForm::parse("{name} = {value}\n", None).unwrap();
    assert_eq!(
        replaced(&line, Format::Line, "a.b", "a.b = 1\na.bc = 1\na.b=3\nx a.b = 1\n"),
        "a.bc = 1\nx a.b = 1\n"
    );
    let form = "<{name}{index}>{value}</{name}>\n";
    let xml = RawForm::parse(form, Some(" idx=\"{index}\"")).unwrap();
    let text = "<a idx=\"1\">1</a>\n <a perm=\"R\" idx=\"2\">2</a>\n<a>3</a>\n<b>1</b><c>2</c>\n<a>\n</a>\n";
    let first = "<a idx=\"1\">1</a>\n<a>3</a>\n<b>1</b><c>2</c>\n<a>\n</a>\n";
    assert_eq!(replaced(&xml, Format::Xml, "a[2]", text), first);
    assert_eq!(replaced(&xml, Format::Xml, "a", text), text.replace("<a>3</a>\n", ""));
    assert_eq!(replaced(&xml, Format::Xml, "b", text), text, "another parameter stands on its line");
}

#[test]
fn what_ends_a_name_is_as_the_form_has_it() {
    let mitel = RawForm::parse("{name}: {value}", None).unwrap();
    let text = "language 1: https://h/\nlanguage: 0\nlanguage:0\nlanguages: 1\n";
    let rest = "language 1: https://h/\nlanguages: 1\n";
    assert_eq!(replaced(&mitel, Format::Line, "language", text), rest);
    assert_eq!(
        replaced(&mitel, Format::Line, "language 1", text),
        text.replace("language 1: https://h/\n", "")
    );
    let cisco = RawForm::parse("{name}: \"{value}\"", None).unwrap();
    assert_eq!(
        replaced(&cisco, Format::Line, "sntp", "sntp_server: \"h\"\nsntp: \"h\"\n"),
        "sntp_server: \"h\"\n"
    );
    let avaya = RawForm::parse("SET {name} \"{value}\"", None).unwrap();
    assert_eq!(replaced(&avaya, Format::Line, "A", "SET A 1\nSET A \"1\"\nSET AB 1\n"), "SET AB 1\n");
    let nortel = RawForm::parse("{name} {value}", None).unwrap();
    assert_eq!(replaced(&nortel, Format::Line, "A", "A 1\nA=1\nAB 1\n"), "A=1\nAB 1\n");
    let json = RawForm::parse("\"{name}\": \"{value}\",\n", None).unwrap();
    assert_eq!(replaced(&json, Format::Json, "a", "\"a\": 1,\n\"ab\": 1,\n"), "\"ab\": 1,\n");
}

#[test]
fn only_what_stands_beside_raw_is_replaced() {
    let element = RawForm::parse("<{name}>{value}</{name}>", None).unwrap();
    let text = |own: &str| {
        format!("<device>\n<ntp>\n<name>a</name>\n</ntp>\n{own}<line x='1'>\n<name>b</name>\n</line>\n")
    };
    let replaced_in = |form: &RawForm, name: &str, text: &str| replaced(form, Format::Xml, name, text);
    assert_eq!(replaced_in(&element, "name", &text("<name>c</name>\n")), text(""));
    let setting = RawForm::parse("<setting id=\"{name}\" value=\"{value}\"/>", None).unwrap();
    let text = |own: &str| {
        format!(
            "<config>\n{own}<setting id=\"ab\" value=\"1\"/>\n<account>\n<setting id=\"a\" value=\"1\"/>\n</account>\n"
        )
    };
    assert_eq!(replaced_in(&setting, "a", &text("<setting id=\"a\" value=\"2\"/>\n")), text(""));
    let item = RawForm::parse("<P ID=\"{name}{index}\" value=\"{value}\"/>", Some("[{index}]")).unwrap();
    let text = "<x>\n<P ID=\"a\" value=\"1\"/>\n<P ID=\"a[1]\" value=\"1\"/>\n";
    assert_eq!(replaced_in(&item, "a[1]", text), "<x>\n<P ID=\"a\" value=\"1\"/>\n");
    assert_eq!(replaced_in(&item, "a", text), "<x>\n<P ID=\"a[1]\" value=\"1\"/>\n");
}

#[test]
fn an_attribute_is_a_parameter_of_whichever_element() {
    let form = RawForm::parse("{name}=\"{value}\"", None).unwrap();
    let text = "<c>\n<voice\n  v.a=\"1\"\n  v.ab=\"1\"\n  v.a=\"1\" v.c=\"2\"\n/>\n<t>\nv.a=\"1\"\n</t>\n<device\n  v.a=\"2\"\n";
    let rest = "<c>\n<voice\n  v.ab=\"1\"\n  v.c=\"2\"\n/>\n<t>\nv.a=\"1\"\n</t>\n<device\n";
    assert_eq!(replaced(&form, Format::Xml, "v.a", text), rest);
    let text = "<k k.1.c=\"a > b\" k.1.i='0' k.12.c=\"x\"/>\n<k  k.1.i = \"1\"/>\n<k k.1.i=\"\u{1}7\u{2}\"/>\n<!-- k.1.i=\"1\" -->\n<d\n";
    let rest =
        "<k k.1.c=\"a > b\" k.12.c=\"x\"/>\n<k/>\n<k k.1.i=\"\u{1}7\u{2}\"/>\n<!-- k.1.i=\"1\" -->\n<d\n";
    assert_eq!(replaced(&form, Format::Xml, "k.1.i", text), rest);
    assert_eq!(replaced(&form, Format::Xml, "k.1.c", "<k k.1.c=\"1\"/>\n<d\n"), "<k/>\n<d\n");
}

#[test]
fn a_parameter_of_a_module_takes_the_place_of_what_stands_in_it() {
    let form = RawForm::parse("<{index}><{name}>{value}</{name}></{index}>", Some("{index}")).unwrap();
    let text = "<c>\n<qos>\n<vlan>1</vlan>\n<vlans>1</vlans>\n<in>\n<vlan>2</vlan>\n</in>\n</qos>\n<sip>\n<vlan>3</vlan>\n</sip>\n<vlan>4</vlan>\n";
    let rest = text.replace("<vlan>1</vlan>\n", "");
    assert_eq!(replaced(&form, Format::Xml, "vlan[qos]", text), rest);
}

/// What is left of a text whose last line is the place for raw parameters.
fn replaced(form: &RawForm, format: Format, name: &str, text: &str) -> String {
    let lines = RawLines::new(form, &format.into(), &[(name, "x")], &SecretNames::default());
    assert_eq!(lines.notes, [""; 0], "{name}");
    let mark =
        format!("{MARK_OPEN}{}{}\n", super::super::template::RAW_MARK, super::super::template::MARK_CLOSE);
    let rest = lines.without_replaced(format, &format!("{text}{mark}"));
    rest.strip_suffix(mark.as_str()).unwrap_or_default().to_owned()
}

#[test]
fn a_name_of_several_words_stands_where_a_mark_ends_it() {
    let mitel = RawForm::parse("{name}: {value}", None).unwrap();
    assert_eq!(written(&mitel, Format::Line, "sip line1 vmail", "*97").unwrap(), "  sip line1 vmail: *97\n");
    let refused = |form: &str, format, name: &str, says: &str| {
        let form = RawForm::parse(form, None).unwrap();
        let note = written(&form, format, name, "x").unwrap_err();
        assert!(note.contains(says), "{form:?} {name}: {note}");
    };
    refused("{name}: {value}", Format::Line, "sip line1 password: evil", "end at the ':'");
    refused("{name}: {value}", Format::Line, "a  b", "no parameter's name");
    refused("{name}: {value}", Format::Line, "a ", "no parameter's name");
    refused("{name} {value}", Format::Line, "a b", "no blanks");
    refused("SET {name} \"{value}\"", Format::Line, "a b", "no blanks");
    refused("<p name=\"{name}\" value=\"{value}\"/>", Format::Xml, "a b", "no blanks");
    refused("{name}=\"{value}\"", Format::Xml, "a b", "no blanks");
}

#[test]
fn an_index_that_is_all_of_its_form_must_be_there() {
    let fanvil = RawForm::parse("<{index}><{name}>{value}</{name}></{index}>", Some("{index}")).unwrap();
    assert_eq!(written(&fanvil, Format::Xml, "a[net]", "1").unwrap(), "  <net><a>1</a></net>\n");
    let note = written(&fanvil, Format::Xml, "a", "1").unwrap_err();
    assert!(note.contains("needs an index in brackets, as in NAME[INDEX]"), "{note}");
}

proptest! {
    #[test]
    fn whatever_is_written_is_one_parameter(name in ".{1,12}", value in ".{0,30}") {
        let line = RawForm::parse("{name} = {value}\n", None).unwrap();
        if let Ok(text) = written(&line, Format::Line, &name, &value) {
            prop_assert_eq!(text.lines().count(), 1);
            let read = text.trim_start().strip_suffix('\n').and_then(|line| line.split_once(" = "));
            prop_assert_eq!(read, Some((name.as_str(), value.as_str())));
        }
        let form = "<{name}{index}>{value}</{name}>\n";
        let xml = RawForm::parse(form, Some(" idx=\"{index}\"")).unwrap();
        if let Ok(text) = written(&xml, Format::Xml, &name, &value) {
            let document = roxmltree::Document::parse(&text).unwrap();
            prop_assert_eq!(document.root_element().text().unwrap_or_default(), value);
        }
    }
}

/// Loaded once: it takes seconds without optimisation.
static BUILT_IN: LazyLock<Catalog> = LazyLock::new(|| Catalog::builtin().unwrap());

/// The files of a phone with so many lines and these raw parameters.
fn drawn(catalog: &Catalog, vendor: &str, model: &str, lines: u16, raw: &[(&str, &str)]) -> Vec<Rendered> {
    let vendor = Vendor::new(vendor);
    let profile = catalog.get(&vendor).unwrap();
    let account = |number: u16| Account {
        id: 0,
        username: format!("{}", 200 + number),
        auth_id: String::new(),
        display_name: None,
        registrar: None,
        transport: None,
        outbound_proxy: None,
        srtp: None,
        password_version: 1,
        password: None,
    };
    let line = |number| Line { number, label: None, account: account(number) };
    let settings = raw.iter().map(|(name, value)| (format!("raw:{name}"), (*value).to_owned()));
    let device = Device {
        model: Some(model.to_owned()),
        lines: (1..=lines).map(line).collect(),
        settings: settings.collect(),
        ..blank_device("001565000001".parse().unwrap(), &vendor)
    };
    let (site, commons) = (Site::default(), Commons::default());
    let subject = Subject {
        device: Some(&device),
        model: None,
        site: &site,
        commons: &commons,
        supplied: &crate::profile::NOTHING_SUPPLIED,
        host: "h",
        base: "http://h/",
    };
    let own = profile.files_for(Some(model)).filter(|(_, file)| file.scope() == Scope::Device);
    let files: Vec<Rendered> = own.map(|(id, _)| profile.render(id, &subject).unwrap()).collect();
    assert!(files.iter().any(Rendered::takes_raw), "{vendor} {model}");
    files
}

/// Whether a parameter is refused as a password's; it stands in the file else.
fn is_secret(vendor: &str, model: &str, lines: u16, name: &str) -> bool {
    let files = drawn(&BUILT_IN, vendor, model, lines, &[(name, "x7x")]);
    let mut notes = files.iter().flat_map(Rendered::notes);
    let refused = notes.any(|note| note.contains(name) && note.contains("hold passwords"));
    let stands = files.iter().any(|file| file.plain().contains("x7x"));
    assert_ne!(
        refused,
        stands,
        "{vendor} {model} {name}: {:?}",
        files.iter().map(Rendered::notes).collect::<Vec<_>>()
    );
    refused
}

#[test]
fn a_password_of_any_line_is_no_raw_parameter() {
    for (vendor, model, name) in [
        ("alcatel-lucent", "M8", "Account9Password"),
        ("audiocodes", "405HD", "voip/line/9/auth_password"),
        ("cisco", "7960", "line9_password"),
        ("grandstream", "GRP2615", "P34"),
        ("grandstream", "GRP2615", "P034"),
        ("grandstream", "GRP2615", "P406"),
        ("grandstream", "GRP2615", "P50606"),
        ("grandstream", "GRP2615", "p506"),
        ("fanvil", "V64", "RegisterPswd[sip]"),
        ("yealink", "T46U", "account.9.password"),
        ("mitel", "6865i", "sip line9 password"),
        ("mitel", "6865i", "Admin Password"),
        ("mitel", "6865i", "download protocol"),
        ("mitel", "6865i", "sip password"),
        ("polycom", "VVX410", "reg.9.auth.password"),
        ("polycom", "VVX410", "device.prov.password"),
        ("yealink", "T46U", "ldap.password"),
        ("yealink", "T46U", "phone_setting.phone_lock.unlock_pin"),
        ("snom", "D785", "http_pass"),
        ("snom", "D785", "user_pass[9]"),
    ] {
        for lines in [0, 1] {
            assert!(is_secret(vendor, model, lines, name), "{vendor} {model} {name} with {lines} lines");
        }
    }
}

#[test]
fn a_parameter_of_a_vendor_stands_once_and_takes_no_other_away() {
    for (vendor, model, name, before, after) in [
        ("mitel", "6865i", "language", "language: 0", "language: x7x"),
        ("cisco", "7960", "sntp_server", "sntp_server: \"h\"", "sntp_server: \"x7x\""),
        ("cisco", "7962G", "enableVad", "<name>h</name>", "<name>h</name>"),
        ("cisco", "7962G", "name", "<name>h</name>", "<name>h</name>"),
        ("cisco", "7962G", "fullConfig", "<fullConfig>true</fullConfig>", "<fullConfig>x7x</fullConfig>"),
        ("polycom", "VVX410", "device.set", "device.set=\"1\"", "device.set=\"x7x\""),
        ("polycom", "VVX410", "lcl.ml.lang", "lcl.ml.lang=", "lcl.ml.lang=\"x7x\""),
        ("digium", "D65", "time_source", "\"time_source\" value=\"ntp\"", "\"time_source\" value=\"x7x\""),
        (
            "alcatel-lucent",
            "M8",
            "SettingDstEnable",
            "\"SettingDstEnable\"",
            "\"SettingDstEnable\" value=\"x7x\"",
        ),
        ("yealink", "T46U", "security.user_name.admin", "", "security.user_name.admin = x7x"),
    ] {
        let text = |raw: &[(&str, &str)]| {
            let files = drawn(&BUILT_IN, vendor, model, 1, raw);
            files.iter().filter(|file| file.takes_raw()).map(Rendered::plain).collect::<String>()
        };
        let (without, with) = (text(&[]), text(&[(name, "x7x")]));
        assert!(without.contains(before), "{vendor} {name}:\n{without}");
        assert_eq!(with.matches(after).count(), 1, "{vendor} {name}:\n{with}");
        let stays = |line: &str| line.trim() == before && before != after;
        assert!(!with.lines().any(stays), "{vendor} {name}:\n{with}");
        let lost = without.lines().filter(|line| !with.contains(line));
        assert!(
            lost.clone().all(|line| line.contains(name)),
            "{vendor} {name}: {:?}",
            lost.collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_is_like_a_password_is_none() {
    for (vendor, model, name) in [
        ("alcatel-lucent", "M8", "Account9Label"),
        ("audiocodes", "405HD", "voip/line/9/display"),
        ("cisco", "7960", "line9_shortname"),
        ("grandstream", "GRP2615", "P145"),
        ("grandstream", "GRP2615", "P35"),
        ("grandstream", "GRP2615", "P407"),
        ("fanvil", "V64", "SyslogServer[log]"),
        ("mitel", "6865i", "sip line1 vmail"),
        ("mitel", "6865i", "lldp"),
        ("yealink", "T46U", "security.password_length"),
        ("yealink", "T46U", "phone_setting.bypass"),
        ("polycom", "VVX410", "voIpProt.SIP.use486forReject"),
    ] {
        assert!(!is_secret(vendor, model, 1, name), "{vendor} {model} {name}");
    }
}

#[test]
fn one_that_breaks_a_file_takes_no_other_with_it() {
    let profile = "schema = 1\ndisplay_name = 'Acme'\n[[file]]\npath = '{mac}.x'\ntemplate = 't'\nformat = 'xml'\n\
                   raw_form = '{name}=\"{value}\"'\n";
    let template = "<a\n b=\"1\" c=\"2\"\n {{ raw() }}\n/>\n";
    let acme = fixture::vendor("acme", &[("profile.toml", profile), ("templates/t", template)]);
    let (catalog, errors) = Catalog::of_folders(&[acme]);
    assert_eq!(errors, []);
    let files = drawn(&catalog, "acme", "A", 0, &[("b", "3"), ("d", "4"), ("e", "5"), ("x:f", "6")]);
    let [file] = files.as_slice() else { unreachable!("one file") };
    assert_eq!(file.plain(), "<a\n c=\"2\"\n b=\"3\"\n d=\"4\"\n e=\"5\"\n/>\n");
    assert_eq!(file.notes(), ["the raw parameter x:f is left out: with it the file would be malformed"]);
}

#[test]
fn lines_end_as_the_file_has_it() {
    let profile =
        "schema = 1\ndisplay_name = 'Acme'\n[[file]]\npath = '{mac}.x'\ntemplate = 't'\nformat = 'line'\n";
    let drawn_with = |template: &str| {
        let acme = fixture::vendor("acme", &[("profile.toml", profile), ("templates/t", template)]);
        let (catalog, _) = Catalog::of_folders(&[acme]);
        let files = drawn(&catalog, "acme", "A", 0, &[("b", "3"), ("c", "4")]);
        files.iter().map(Rendered::plain).collect::<String>()
    };
    assert_eq!(drawn_with("a = 1\r\nb = 1\r\n{{ raw() }}\r\nz\r\n"), "a = 1\r\nb = 3\r\nc = 4\r\nz\r\n");
    assert_eq!(drawn_with("a = 1\r\n{{ raw() }}"), "a = 1\r\nb = 3\r\nc = 4\r\n");
    assert_eq!(drawn_with("a = 1\n  {{ raw() }}\nz\n"), "a = 1\n  b = 3\n  c = 4\nz\n");
}
