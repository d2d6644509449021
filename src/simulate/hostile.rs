//! Whatever somebody is called: what the profiles write is read back by readers that share nothing with the templates, in
//! every vendor's format. A name is what it was, or the file is refused; it is never another setting.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::golden::read;
use super::habits::Habits;
use super::scripted::families;
use super::spec::PhoneSpec;
use super::{meaning, settings::Settings};
use crate::profile::{NOTHING_SUPPLIED, Scope, Site, Subject};
use crate::secret::Secret;

/// Names that mean something somewhere.
const TELLING: &[&str] = &[
    "\"",
    "'",
    "\"a\"",
    "\"a",
    "a\"",
    "a \"b\" c",
    "#",
    "# a",
    "a # b",
    ";",
    "a;b",
    "=",
    "a = b",
    "= b",
    ":",
    "a: b",
    "://",
    "<",
    ">",
    "&",
    "&amp;",
    "<![CDATA[a]]>",
    "]]>",
    "</settings>",
    "<!-- a -->",
    "--",
    "-- a",
    "<<END OF FILE>>",
    "[sip]",
    "{",
    "}",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "{mac}",
    "$MA",
    "$mac",
    "%MACD",
    "\\",
    "\\n",
    "a\\",
    "|",
    "a,b",
    "@",
    "a@b",
    "SET A b",
    "GET a.txt",
    "include:config <a.cfg>",
    "overwrite_mode = 1",
    "Müller & Söhne",
    "Ł",
    "名前",
    "🎉",
    "e\u{301}",
    "a  b",
    "100%",
    "0",
    "none",
];

fn name() -> impl Strategy<Value = String> {
    let telling = prop::sample::select(TELLING).prop_map(str::to_owned);
    let two = (prop::sample::select(TELLING), "[ -~äß€]{0,12}").prop_map(|(one, two)| format!("{one}{two}"));
    prop_oneof![telling, two, "[ -~äöüß€]{1,30}"]
}

/// What a phone knows that fetched everything; `None`: a file is refused.
fn knows(spec: &PhoneSpec, habits: &Habits, display: &str, label: &str) -> Option<Result<Settings, String>> {
    let profile = &spec.profile;
    let mut device = profile.sample_device(spec.mac, Some(&spec.model));
    for line in &mut device.lines {
        (line.account.display_name, line.label) = (Some(display.to_owned()), Some(label.to_owned()));
    }
    device.keys.iter_mut().for_each(|key| label.clone_into(&mut key.label));
    let site = Site { timezone: "Europe/Berlin".to_owned(), ..Site::default() };
    let commons = crate::device::Commons::default();
    let mut files = BTreeMap::new();
    for (id, file) in profile.files_for(Some(&spec.model)) {
        let subject = Subject {
            device: (file.scope() == Scope::Device).then_some(&device),
            model: Some(&spec.model),
            site: &site,
            commons: &commons,
            supplied: &NOTHING_SUPPLIED,
            host: "192.0.2.1",
            base: "http://192.0.2.1:8480/",
        };
        let rendered = profile.render(id, &subject).ok()?;
        let filled = rendered.fill(|_| Some(Secret::new("http://192.0.2.1:8480/d/x/"))).ok()?;
        let name = profile.file_name(id, Some(spec.mac), Some(&spec.model))?;
        files.insert(name.to_ascii_lowercase(), filled.as_str().as_bytes().to_vec());
    }
    Some(read(spec, habits, |name| files.get(&name.to_ascii_lowercase()).cloned()))
}

/// Whether this was made of the name. Blanks around it are nobody's; where a format has no way to write a quote, a single
/// one stands for it, and brackets for braces where the text lies inside the form of a secret.
fn is_of(read: &str, name: &str) -> bool {
    let plain = |text: &str| {
        text.replace('"', "'")
            .replace('{', "(")
            .replace('}', ")")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    plain(read) == plain(name)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_name_is_read_as_it_was_written(at in 0usize..1000, display in name(), label in name()) {
        let phones = families();
        let spec = &phones[at % phones.len()];
        let who = format!("{} {} with {display:?} and {label:?}", spec.vendor(), spec.model);
        let habits = Habits::of(spec);
        let Some(settings) = knows(spec, &habits, &display, &label) else { return Ok(()) };
        let settings = settings.map_err(|reason| TestCaseError::fail(format!("{who}: {reason}")))?;
        let sheet = &habits.sheet;
        let accounts = meaning::accounts(sheet, &settings);
        let device = spec.profile.sample_device(spec.mac, Some(&spec.model));
        prop_assert!(!accounts.is_empty(), "{who}: no account");
        for account in &accounts {
            let line = device.lines.iter().find(|line| line.account.username == account.username);
            prop_assert!(line.is_some(), "{who}: {account:?}");
            prop_assert!(account.host == "pbx.example" && account.password.is_some(), "{who}: {account:?}");
            let display_is = account.display_name.as_ref().is_none_or(|read| is_of(read, &display) || is_of(read, &label));
            let label_is = account.label.as_ref().is_none_or(|read| is_of(read, &label) || is_of(read, &display));
            prop_assert!(display_is && label_is, "{who}: {account:?}");
        }
        for key in meaning::keys(sheet, &settings) {
            prop_assert!(key.label.as_ref().is_none_or(|read| is_of(read, &label)), "{who}: {key:?}");
        }
    }
}
