//! Files of elements: XML in which an element, an attribute, or an element with a name in an attribute is a setting.

use roxmltree::Node;

use super::{Contents, unquoted};
use crate::profile::Reading;
use crate::simulate::url::shorten;

/// Reads a file element by element.
pub(super) fn read(body: &[u8], reading: &Reading) -> Result<Contents, String> {
    let text = str::from_utf8(body).map_err(|_| "bytes that are not UTF-8".to_owned())?;
    // The reader's own messages quote the text around the error, which may be a password: only the place is told.
    let document = roxmltree::Document::parse(text.trim_start_matches('\u{feff}')).map_err(|error| {
        format!("not well-formed XML (line {}, column {})", error.pos().row, error.pos().col)
    })?;
    let root = document.root_element();
    let name = root.tag_name().name();
    if !reading.roots.is_empty() && !reading.roots.iter().any(|root| root == name) {
        return Err(format!("its root element is <{}>, which is not a setting file's", shorten(name)));
    }
    let mut contents = Contents::default();
    let mut pending: Vec<(Node<'_, '_>, Vec<String>)> = vec![(root, Vec::new())];
    while let Some((node, path)) = pending.pop() {
        let children: Vec<Node<'_, '_>> = node.children().filter(Node::is_element).collect();
        if node != root || !reading.attributes.is_empty() {
            read_node(node, &path, children.is_empty(), reading, &mut contents);
        }
        let inner = |child: Node<'_, '_>| [&path[..], &[segment(child, reading)]].concat();
        let says_more = |child: &Node<'_, '_>| reading.name_in.as_deref() != Some(child.tag_name().name());
        let children = children.into_iter().rev().filter(says_more);
        pending.extend(children.map(|child| (child, inner(child))));
    }
    Ok(contents)
}

/// An element's part of the path: its name, or the one in its attribute or in an element of its own, with its index behind
/// it.
fn segment(node: Node<'_, '_>, reading: &Reading) -> String {
    let named = reading.name.as_ref().and_then(|name| node.attribute(name.as_str()));
    let inner = reading.name_in.as_ref().and_then(|name| {
        let child = node.children().find(|child| child.has_tag_name(name.as_str()));
        child.and_then(|child| child.text()).map(str::trim)
    });
    let mut segment = named.or(inner).unwrap_or(node.tag_name().name()).to_owned();
    segment.extend(reading.index.iter().filter_map(|index| node.attribute(index.as_str())));
    segment
}

fn read_node(node: Node<'_, '_>, path: &[String], is_leaf: bool, reading: &Reading, contents: &mut Contents) {
    let depth = reading.depth.unwrap_or(1);
    let name = path.get(path.len().saturating_sub(depth)..).unwrap_or_default().join("/");
    check_attributes(node, &name, reading, contents);
    let wanted = |own: &str| {
        let listed = |wanted: &String| wanted == own || (wanted == "*" && !is_used(own, reading));
        reading.attributes.iter().any(listed)
    };
    let attributes: Vec<_> = node.attributes().filter(|attribute| wanted(attribute.name())).collect();
    let value = match &reading.value {
        Some(value) => node.attribute(value.as_str()).or_else(|| node.text()),
        None => node.text(),
    };
    // An element that says all in its attributes has no value of its own.
    let says = value.is_some_and(|value| !value.trim().is_empty()) || attributes.is_empty();
    if is_leaf && depth > 0 && says {
        match unquoted(value.unwrap_or_default(), reading) {
            Some(value) => contents.push(name.clone(), value),
            None => contents.remarks.push(format!("{name} has a value that is not in its quotes")),
        }
    }
    for attribute in attributes {
        let own = attribute.name();
        let name = if depth == 0 { own.to_owned() } else { format!("{name}@{own}") };
        contents.push(name, attribute.value());
    }
}

/// Whether an attribute says which setting or which value an element is.
fn is_used(attribute: &str, reading: &Reading) -> bool {
    let is = |held: &Option<String>| held.as_deref() == Some(attribute);
    is(&reading.name) || is(&reading.value) || reading.index.iter().any(|index| index == attribute)
}

fn check_attributes(node: Node<'_, '_>, name: &str, reading: &Reading, contents: &mut Contents) {
    for (attribute, known) in &reading.known {
        let value = node.attribute(attribute.as_str());
        if value.is_some_and(|value| !known.iter().any(|known| known == value)) {
            contents.remarks.push(format!("{name} has a {attribute} that the phone does not know"));
        }
    }
    for index in &reading.index {
        if node.attribute(index.as_str()).is_some_and(|value| value.parse::<u16>().is_err()) {
            contents.remarks.push(format!("{name} has an index that is no number"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::settings::Settings;

    /// Every setting as `name=value`, in the order of their names.
    fn check(form: &str, text: &str, expected: &[&str]) {
        let reading: Reading = toml::from_str(&format!("format = 'xml'\n{form}")).unwrap();
        let contents = Contents::read(text.as_bytes(), &reading).unwrap();
        assert_eq!(contents.remarks, [""; 0], "{text}");
        let mut settings = Settings::default();
        contents.apply(&reading, &mut settings);
        let read: Vec<String> =
            settings.values().map(|(name, value)| format!("{name}={}", value.expose())).collect();
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn elements_are_settings_in_every_form() {
        check(
            "index = ['idx']\nattributes = ['label']",
            r#"<s><p><u idx="1">a&amp;b</u><host>h</host></p><f><k idx="0" label="L &quot;x&quot;" perm="">line</k></f></s>"#,
            &["host=h", "k0=line", "k0@label=L \"x\"", "u1=a&b"],
        );
        check(
            "name = 'id'\nvalue = 'value'",
            r#"<c><set id="A1" value="x"/><set id="B" value=""/></c>"#,
            &["A1=x", "B="],
        );
        check(
            "name = 'name'\ndepth = 2",
            r#"<g><config><item name="account.1"><part name="sip.server">x</part></item><P2>y</P2></config></g>"#,
            &["account.1/sip.server=x", "config/P2=y"],
        );
        check(
            "attributes = ['*']\ndepth = 0",
            r#"<polycomConfig><reg reg.1.address="1" reg.1.label="&lt;a&gt;"/></polycomConfig>"#,
            &["reg.1.address=1", "reg.1.label=<a>"],
        );
        check(
            "name_in = 'Name'\ndepth = 3",
            "<l><o><Name>A.1.</Name><p><Name>User</Name><Value>x</Value></p></o><o><Name>B.</Name></o></l>",
            &["A.1./User/Value=x"],
        );
        check(
            "index = ['button']\ndepth = 2",
            r#"<device><sipLines><line button="1"><name>1</name></line><line button="2"><name>2</name></line></sipLines></device>"#,
            &["line1/name=1", "line2/name=2"],
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_its_text() {
        let reading: Reading = toml::from_str(
            "format = 'xml'\nroots = ['settings']\nindex = ['idx']\nknown = { perm = ['', 'R'] }",
        )
        .unwrap();
        let read = |text: &[u8]| Contents::read(text, &reading);
        let error = read(b"<settings><user_pass>hunter2</user_pas></settings>").unwrap_err();
        assert!(error.starts_with("not well-formed XML (line 1") && !error.contains("hunter2"), "{error}");
        assert!(read(b"<html></html>").is_err() && read(b"<settings>\xff</settings>").is_err());
        let contents =
            read(br#"<settings><p><user_pass idx="1" perm="X"/><a idx="b">1</a></p></settings>"#).unwrap();
        let remarks = [
            "user_pass1 has a perm that the phone does not know",
            "user_pass1 empties a password",
            "ab has an index that is no number",
        ];
        assert_eq!(contents.remarks, remarks);
    }

    #[test]
    fn a_list_names_its_files() {
        let reading: Reading =
            toml::from_str("format = 'xml'\nattributes = ['url']\nfiles = ['file@url']").unwrap();
        let text = br#"<setting-files><file url="http://h/a.xml"/><file url="b.xml"/></setting-files>"#;
        let contents = Contents::read(text, &reading).unwrap();
        assert_eq!(contents.files, ["http://h/a.xml", "b.xml"]);
        assert!(!contents.has_settings(&reading));
    }
}
