//! Labels and names that try to break out, in every file of every built-in profile: whatever they hold, the file says the
//! same parameters as with harmless ones, and no other.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{Catalog, Format, NOTHING_SUPPLIED, Profile, RenderError, Scope, Site, Subject};
use crate::device::{Commons, Device};

static BUILT_IN: LazyLock<Catalog> = LazyLock::new(|| Catalog::builtin().unwrap());

/// What breaks out of one format or another.
const TRICKS: [&str; 14] = [
    "\"",
    "'",
    "\\",
    "]]>",
    "<!--",
    "</a><b x=\"1\">",
    "&amp;",
    "%00",
    "{{ site }}",
    "#!include",
    "; x = 1",
    "a: b",
    "\u{2028}",
    "\u{feff}",
];

/// The names of a file's parameters, in its order: elements with their attributes' names, first words of lines.
fn shape(format: Format, text: &str) -> Result<Vec<String>, String> {
    match format {
        Format::Xml => {
            let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
            let document = roxmltree::Document::parse_with_options(text, options)
                .map_err(|error| format!("{error}: {text}"))?;
            let named = |node: roxmltree::Node<'_, '_>| {
                let attributes: Vec<&str> = node.attributes().map(|attribute| attribute.name()).collect();
                format!("{} {} {}", node.ancestors().count(), node.tag_name().name(), attributes.join(" "))
            };
            Ok(document.descendants().filter(roxmltree::Node::is_element).map(named).collect())
        }
        Format::Json => serde_json::from_str::<serde_json::Value>(text)
            .map(|value| value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect())
            .map_err(|error| format!("{error}: {text}")),
        Format::Line | Format::Plain => {
            let ends = |c: char| c.is_whitespace() || c == '=' || c == ':';
            // Not `lines`: a phone may end a line at less than that.
            let lines = text.split(['\n', '\r']);
            Ok(lines
                .map(|line| line.trim_start().split(ends).next().unwrap_or_default().to_owned())
                .collect())
        }
    }
}

/// The files of a phone whose labels and names are this text; those that refuse it are left out.
fn files(profile: &Profile, device: &Device) -> Vec<(String, Option<Vec<String>>)> {
    let (site, commons) = (Site::default(), Commons::default());
    let subject = Subject {
        device: Some(device),
        model: None,
        site: &site,
        commons: &commons,
        host: "192.0.2.1",
        base: "http://192.0.2.1:8480/",
        supplied: &NOTHING_SUPPLIED,
    };
    let own = profile.files_for(device.model.as_deref()).filter(|(_, file)| file.scope() == Scope::Device);
    let shaped = own.map(|(id, file)| {
        let name = format!("{} {}", profile.vendor(), file.path());
        match profile.render(id, &subject) {
            Ok(rendered) => {
                let shape = shape(file.format(), &rendered.masked())
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                (name, Some(shape))
            }
            Err(RenderError::Template { .. }) => (name, None),
            Err(error) => panic!("{name}: {error}"),
        }
    });
    shaped.collect()
}

fn labelled(profile: &Profile, model: Option<&str>, text: &str) -> Device {
    let mut device = profile.sample_device("020000000001".parse().unwrap(), model);
    for line in &mut device.lines {
        line.label = Some(text.to_owned());
        line.account.display_name = Some(text.to_owned());
    }
    for key in &mut device.keys {
        text.clone_into(&mut key.label);
    }
    device
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn a_label_stays_a_label_in_every_file(before in "\\PC{0,8}", trick in prop::sample::select(TRICKS.to_vec()), after in "\\PC{0,8}") {
        let hostile = format!("{before}{trick}{after}x");
        for profile in BUILT_IN.profiles() {
            let model = profile.models().next().map(|model| model.name.as_str());
            let harmless = files(profile, &labelled(profile, model, "Label x"));
            let found = files(profile, &labelled(profile, model, &hostile));
            prop_assert_eq!(harmless.len(), found.len());
            for ((name, expected), (_, shape)) in harmless.into_iter().zip(found) {
                prop_assert!(expected.is_some(), "{}", name);
                prop_assert!(shape.is_none() || shape == expected, "{}: {:?}", name, hostile);
            }
        }
    }
}
