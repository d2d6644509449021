//! Each rule of the proof, broken by a profile made for it, or by a file that no renderer of ours makes.

use super::super::catalog::Catalog;
use super::super::check::{Report, check_catalog};
use super::super::fixture;
use super::super::origin::Origin;
use super::super::trial::try_all;
use super::*;

const CASE: &str = "model = 'A'\nmac = '001565000001'\nurl = 'http://h/'\n[[line]]\nusername = '200'\n\
                    [[line]]\nnumber = 11\nusername = '211'\n[secrets]\nsip.1 = 's3cret'\nwebui = 'web-password'\n";

fn profile(format: &str, more: &str) -> String {
    format!(
        "schema = 1\ndisplay_name = 'Acme'\n[[file]]\npath = '{{mac}}.x'\ntemplate = 't'\nformat = '{format}'\n\
         secrets = ['sip', 'webui']\n{more}"
    )
}

fn case(text: &str) -> Case {
    Case::read(&crate::device::Vendor::new("acme"), text).unwrap()
}

/// A template drawn for the case, and what is found in it.
fn drawn(profile: &str, template: &str, case: &Case) -> (Rendered, Vec<String>) {
    let files = fixture::vendor("acme", &[("profile.toml", profile), ("templates/t", template)]);
    let (catalog, errors) = Catalog::of_folders(&[files]);
    assert_eq!(errors, []);
    let profile = catalog.profiles().next().unwrap();
    let (id, file) = profile.files().next().unwrap();
    let rendered = profile.render(id, &case.subject()).unwrap();
    let mut found = of_rendered(&rendered);
    found.extend(of_case(&rendered, case, file));
    (rendered, found)
}

/// Nothing, or a finding with this text.
fn check(format: &str, template: &str, finding: &str) {
    check_case(&profile(format, ""), template, CASE, finding);
}

fn check_case(profile: &str, template: &str, text: &str, finding: &str) {
    let (_, found) = drawn(profile, template, &case(text));
    match finding {
        "" => assert_eq!(found, [""; 0], "{template}"),
        finding => assert!(found.iter().any(|found| found.contains(finding)), "{template}: {found:?}"),
    }
}

const LINES: &str = "a = 1\n{% for line in lines %}\n{{ secret_param('sip', line.number, 'account.' ~ line.number ~ '.password') }}\n\
                     {% endfor %}\n{{ secret_param('webui', 0, 'web_pass') }}\nb = 2\n{{ secret_param('webui', 0, 'web_pass_again') }}\n";

#[test]
fn good_files_pass_in_every_format() {
    check("line", LINES, "");
    check("plain", LINES, "");
    let xml = "<?xml version=\"1.0\"?>\n<a>\n{% for line in lines %}\n  {{ secret_param('sip', line.number, 'user_pass', \
               attributes='idx=\"1\"') }}\n{% endfor %}\n  <b/>{{ secret_param('webui', 0, 'pass') }}</a>\n";
    check("xml", xml, "");
    let json = "{\n{% for line in lines %}\n  {{ secret_param('sip', line.number, 'p' ~ line.number) }}\n{% endfor %}\n  \
                {{ secret_param('webui', 0, 'web') }}\n  \"a\": 1\n}\n";
    check("json", json, "");
}

#[test]
fn all_kinds_and_each_line_alone_are_tried() {
    let slot = |kind, line| Slot { kind, line };
    let slots: BTreeSet<Slot> = [
        slot(SecretKind::Sip, Some(1)),
        slot(SecretKind::Sip, Some(2)),
        slot(SecretKind::Menu, None),
        slot(SecretKind::Webui, None),
        slot(SecretKind::Prov, None),
    ]
    .into();
    let choices = choices(&slots);
    // Sixteen subsets of the kinds; each of two lines alone, and all but it.
    assert_eq!(choices.len(), 16 + 4);
    assert!(choices.contains(&BTreeSet::new()) && choices.contains(&slots));
    assert!(choices.contains(&BTreeSet::from([slot(SecretKind::Sip, Some(2))])));
}

/// A filler that does wrong must be found.
fn check_filler(fill: impl Fn(&Rendered, &BTreeSet<Slot>) -> String, finding: &str) {
    let (rendered, found) = drawn(&profile("line", ""), LINES, &case(CASE));
    assert_eq!(found, [""; 0]);
    let found = of_choices(&rendered, |choice| fill(&rendered, choice));
    assert!(found.iter().any(|found| found.contains(finding)), "{finding}: {found:?}");
}

#[test]
fn a_secret_that_leaves_unasked_is_found() {
    let all = |rendered: &Rendered, _: &BTreeSet<Slot>| filled(rendered, &rendered.slot_set());
    check_filler(all, "without secrets it holds the webui secret");
    check_filler(all, "without secrets it holds the sip secret of line 11");
    let of_every_line = |rendered: &Rendered, choice: &BTreeSet<Slot>| {
        let kinds: BTreeSet<SecretKind> = choice.iter().map(|slot| slot.kind).collect();
        let all = rendered.slot_set().into_iter().filter(|slot| kinds.contains(&slot.kind));
        filled(rendered, &all.collect())
    };
    check_filler(of_every_line, "without the sip secret of line 1 it holds the sip secret of line 1");
}

#[test]
fn a_secret_that_is_missing_or_elsewhere_is_found() {
    let once = |rendered: &Rendered, choice: &BTreeSet<Slot>| {
        let text = filled(rendered, choice);
        text.rsplit_once("web_pass_again").map_or(text.clone(), |(text, _)| text.to_owned())
    };
    check_filler(once, "with all secrets it holds the webui secret 1 times, not 2");
    let exchanged = |rendered: &Rendered, choice: &BTreeSet<Slot>| {
        filled(rendered, choice)
            .replace("sip-1.", "sip-x.")
            .replace("sip-11.", "sip-1.")
            .replace("sip-x.", "sip-11.")
    };
    check_filler(exchanged, "with all secrets it differs in more than its secrets");
    let at_the_end = |rendered: &Rendered, choice: &BTreeSet<Slot>| {
        let text = filled(rendered, choice);
        let (ours, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("CANARY"));
        [others, ours].concat().join("\n") + "\n"
    };
    check_filler(at_the_end, "it differs in more than its secrets");
}

#[test]
fn a_change_of_the_rest_is_found() {
    let dated = |rendered: &Rendered, choice: &BTreeSet<Slot>| {
        filled(rendered, choice).replace("b = 2", &format!("b = {}", choice.len()))
    };
    check_filler(dated, "without secrets it differs in more than its secrets");
    let longer = |rendered: &Rendered, choice: &BTreeSet<Slot>| filled(rendered, choice) + "\n";
    check_filler(longer, "without secrets it differs in more than its secrets");
    let blank = |rendered: &Rendered, choice: &BTreeSet<Slot>| {
        if choice.is_empty() {
            rendered.plain().replace("a = 1\n", "a = 1\n\n")
        } else {
            filled(rendered, choice)
        }
    };
    check_filler(blank, "without secrets it differs in more than its secrets");
    let emptied = |rendered: &Rendered, choice: &BTreeSet<Slot>| {
        let text = filled(rendered, choice);
        if choice.is_empty() { text + "web_pass =\n" } else { text }
    };
    check_filler(emptied, "without secrets web_pass is empty");
}

#[test]
fn a_secret_that_is_a_part_of_its_line_or_element_is_found() {
    let part = "is only a part of its line or element";
    let bare = |format: &str| profile(format, "secret_form = '{value}'\n");
    check_case(&bare("line"), "auth = admin/{{ secret_param('webui', 0, 'p') }}\n", CASE, part);
    check_case(&bare("line"), "{{ secret_param('webui', 0, 'p') }};\n", CASE, part);
    check_case(&bare("xml"), "<a><b>{{ secret_param('webui', 0, 'p') }}</b></a>", CASE, part);
    check_case(&bare("xml"), "<a b=\"{{ secret_param('webui', 0, 'p') }}\"/>", CASE, part);
    check_case(&bare("json"), "{\"a\": \"{{ secret_param('webui', 0, 'p') }}\"}", CASE, part);
}

#[test]
fn an_empty_password_is_found() {
    let bare = profile("line", "secret_form = '{value}'\n");
    let slot = "{{ secret_param('webui', 0, 'p') }}";
    check_case(
        &bare,
        &format!("security.user_password = admin:{slot}\n"),
        CASE,
        "security.user_password is empty",
    );
    check_case(&bare, &format!("web_pass = \"{slot}\"\n"), CASE, "web_pass is empty");
    check("line", "p =\n{{ secret_param('webui', 0, 'p') }}\n", "without secrets p is empty");
    for text in ["<pass/>", "<pass> </pass>", "<pass><!-- none --></pass>", "<p name='password' value=''/>"] {
        check("xml", &format!("<a>{text}</a>"), "is empty");
    }
    check("xml", "<a><user password=''/></a>", "user's password is empty");
    check("xml", "<a><p name='password' value='x'/><pass e='2'>x</pass></a>", "");
    check("json", "{\"a\": [{\"password\": null}]}", "password is empty");
}

#[test]
fn a_file_that_breaks_without_a_secret_is_found() {
    let json = "{\n  \"a\": 1,\n  {{ secret_param('webui', 0, 'web') }}\n}\n";
    let last = profile("json", "secret_form = '\"{name}\": \"{value}\"'\n");
    check_case(&last, json, CASE, "without secrets it is malformed");
    let only = "{{ secret_param('webui', 0, 'web') }}\n";
    check("xml", only, "without secrets it is malformed");
}

#[test]
fn a_secret_beside_its_slot_is_found() {
    let template = "{{ secret_param('webui', 0, 'p') }}\nx = {{ settings.x }}\n";
    let head = CASE.replace("[secrets]", "[settings]\nx = 'VALUE'\n[secrets]");
    let told = head.replace("VALUE", "my web-password");
    check_case(
        &profile("line", ""),
        template,
        &told,
        "without secrets it holds the webui secret all the same",
    );
    check_case(&profile("line", ""), template, &head, "");
}

#[test]
fn a_line_that_the_phone_does_not_have_is_found() {
    let template = "{{ secret_param('sip', 2, 'p') }}\n";
    check("line", template, "it asks for the sip secret of line 2, and the phone has no such line");
}

#[test]
fn what_a_file_requires_is_in_it() {
    let requires = profile("line", "requires = ['(?m)^overwrite_mode = 0$']\n");
    check_case(&requires, "a = 1\noverwrite_mode = 0\n", CASE, "");
    check_case(&requires, "a = 1\noverwrite_mode = 01\n", CASE, "does not hold what its requires says");
}

#[test]
fn a_preamble_without_room_or_meaning_is_found() {
    let head = format!("#!{}\n", "v".repeat(BLOCK_BYTES));
    check("line", &head, "leaves no room for a preamble");
    let comments = "#\n".repeat(BLOCK_BYTES / 2);
    let begun = |long: &str| badly_begun("a = 1\n", long, "#").unwrap_or_default();
    assert_eq!(begun(&format!("{comments}a = 1\n")), "");
    for (long, finding) in [
        ("a = 1\n".to_owned(), "fewer than 512 octets"),
        (format!("CANARY{comments}a = 1\n"), "a secret within its first 512 octets"),
        (format!("{comments}a = 2\n"), "is not the same file behind it"),
        (format!("{comments}\na = 1\n"), "is not the same file behind it"),
        (format!("b\n{}a = 1\n", comments.split_at(2).1), "has `b` among the comments"),
    ] {
        assert!(begun(&long).contains(finding), "{finding}: {}", begun(&long));
    }
}

/// What `profile check` and `profile test` find in this vendor.
fn found_in(files: &[(&str, &str)]) -> [Vec<String>; 2] {
    let folders = [fixture::vendor("acme", files)];
    let (catalog, errors) = Catalog::of_folders(&folders);
    let told = |report: Report| report.errors.iter().map(ToString::to_string).chain(report.notes).collect();
    [told(check_catalog(&catalog, errors.clone())), told(try_all(&catalog, errors, &folders, None))]
}

#[test]
fn a_kind_that_is_declared_is_asked_for() {
    let profile = profile("line", "");
    let check = |template: &str, finding: &str| {
        let [found, _] = found_in(&[("profile.toml", &profile), ("templates/t", template)]);
        assert!(found.iter().any(|found| found.contains(finding)), "{found:?}");
    };
    check(LINES, "acme: REPLACE: a phone loses what its file does not name");
    check(
        "{{ secret_param('sip', 1, 'p') }}\n",
        "file {mac}.x: declares webui among its secrets, but asks for none",
    );
    check("{% if not model %}pass =\n{% endif %}", "for an unknown model: without secrets pass is empty");
    check("{{ secret_param('menu', 0, 'p') }}\n", "asks for a menu secret but does not declare it");
}

#[test]
fn case_50_a_credential_that_the_phone_would_not_take_again_is_found() {
    let snom = "release.rejects = ['perm=\"[^\"]*!']\n";
    let profile = profile("xml", "").replace("[[file]]", &format!("{snom}[[file]]"));
    let template = "<a>{{ secret_param('webui', 0, 'http_pass', attributes='perm=\"RW!\"') }}\
                    {{ secret_param('sip', 1, 'user_pass') }}</a>";
    let files = [("profile.toml", profile.as_str()), ("templates/t", template), ("tests/one.toml", CASE)];
    for found in found_in(&files) {
        let finding =
            "the secret stands as `<http_pass perm=\"RW!\">********</http_pass>`, which release.rejects";
        assert!(found.iter().any(|found| found.contains(finding)), "{found:?}");
    }
}

/// Every file of every case of a built-in vendor: its name, and its text without secrets.
fn plain_files(vendor: &str) -> Vec<(String, String)> {
    let catalog = Catalog::builtin().unwrap();
    let profile = catalog.get(&crate::device::Vendor::new(vendor)).unwrap();
    let (folders, _) = Origin::BuiltIn.read();
    let folder = folders.iter().find(|folder| folder.vendor == vendor).unwrap();
    let cases = folder.under("tests/").filter_map(|(name, _)| name.strip_suffix(".toml"));
    let mut files = Vec::new();
    for name in cases {
        let text = folder.text(&format!("tests/{name}.toml")).unwrap();
        let case = Case::read(profile.vendor(), text).unwrap();
        let model = case.device.model.as_deref();
        for (id, _) in profile.files_for(model) {
            let Some(name) = profile.file_name(id, Some(case.device.mac), model) else { continue };
            files.push((name, profile.render(id, &case.subject()).unwrap().plain()));
        }
    }
    files
}

#[test]
fn case_49_a_yealink_keeps_its_password_when_no_line_names_it() {
    let files = plain_files("yealink");
    let boot: Vec<_> = files.iter().filter(|(name, _)| name.contains(".boot")).collect();
    assert!(boot.len() > 5);
    for (name, text) in boot {
        assert!(text.contains("\noverwrite_mode = 0\n"), "{name}: {text}");
    }
    for (name, text) in &files {
        let named = text.lines().find(|line| line.split('=').next().unwrap_or_default().contains("password"));
        assert_eq!(named, None, "{name}");
    }
    let profile = include_str!("../../../vendor-profiles/yealink/profile.toml");
    assert!(profile.contains("requires = ['(?m)^overwrite_mode = 0$']"), "the rule is in the profile");
}

#[test]
fn case_03_a_snom_keeps_its_passwords_when_no_element_names_them() {
    for (name, text) in plain_files("snom") {
        let document = Document::parse(&text).unwrap();
        let pass = document.descendants().find(|node| node.tag_name().name().contains("pass"));
        assert!(pass.is_none(), "{name}: {pass:?}");
        assert!(!text.contains("perm=\"!\""), "{name}");
    }
}
