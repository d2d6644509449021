//! How a snom configures itself: which files, in which order, and what their XML means (snom's wiki on setting files and
//! mass deployment; the M-series as public provisioning plugins write it).

use super::fetch::Fetcher;
use super::report::Diary;
use super::settings::{Account, Given, Settings};
use super::url::{Url, host_and_port};
use crate::device::Transport;

/// Files that point to files that point to files: a phone follows one step, two are generous.
const DEPTH_MAX: usize = 3;

/// Reads a whole configuration; returns how many files held settings.
///
/// A folder is asked for the model's file and the phone's own. A file is asked for by its name, and, unless that already
/// carries the MAC, once more with `-MAC` before its ending.
pub(super) async fn configure(
    fetcher: &mut Fetcher<'_>,
    url: &Url,
    settings: &mut Settings,
    diary: &mut Diary<'_>,
) -> usize {
    let mut wanted: Vec<Url> = if url.is_folder() {
        fetcher.names().iter().filter_map(|name| url.join(name).ok()).collect()
    } else {
        std::iter::once(url.clone()).chain(specific(url, fetcher)).collect()
    };
    wanted.reverse();
    let mut wanted: Vec<(Url, usize)> = wanted.into_iter().map(|url| (url, 1)).collect();
    let mut read = 0;
    while let Some((file, depth)) = wanted.pop() {
        let Some(body) = fetcher.get(&file, diary).await else { continue };
        let xml = match read_xml(&body) {
            Ok(xml) => xml,
            Err(reason) => {
                diary.remark(format!("{}: {reason}", file.name()));
                continue;
            }
        };
        for remark in &xml.remarks {
            diary.remark(format!("{}: {remark}", file.name()));
        }
        xml.apply(settings);
        read += usize::from(xml.is_settings);
        if depth < DEPTH_MAX {
            let next = xml.files.iter().rev().filter_map(|link| fetcher.beside(&file, link).ok());
            wanted.extend(next.map(|url| (url, depth + 1)));
        }
    }
    read
}

/// `config.xml` -> `config-000413AABBCC.xml`.
fn specific(url: &Url, fetcher: &Fetcher<'_>) -> Option<Url> {
    let name = url.name();
    if fetcher.names_me(&url.path) || name.is_empty() || url.path.contains('?') {
        return None;
    }
    let (stem, ending) =
        name.rsplit_once('.').map_or((name, String::new()), |(stem, e)| (stem, format!(".{e}")));
    url.join(&format!("{stem}-{}{ending}", fetcher.mac_in_names())).ok()
}

/// A file, element by element.
#[derive(Debug, Default)]
pub(super) struct Xml {
    is_settings: bool,
    values: Vec<(String, u16, crate::secret::Secret)>,
    files: Vec<String>,
    remarks: Vec<String>,
}

impl Xml {
    /// Takes the settings in; returns what was remarked.
    #[cfg(test)]
    pub(super) fn taken_into(self, settings: &mut Settings) -> Vec<String> {
        self.apply(settings);
        self.remarks
    }

    fn apply(&self, settings: &mut Settings) {
        for (name, index, value) in &self.values {
            settings.set(name, *index, value.expose());
        }
    }
}

/// Reads `<settings>`, a bare `<phone-settings>`, or a `<setting-files>` list.
pub(super) fn read_xml(body: &[u8]) -> Result<Xml, String> {
    let text = str::from_utf8(body).map_err(|_| "bytes that are not UTF-8".to_owned())?;
    // The reader's own messages quote the text around the error, which may be a password: only the place is told.
    let document = roxmltree::Document::parse(text.trim_start_matches('\u{feff}')).map_err(|error| {
        format!("not well-formed XML (line {}, column {})", error.pos().row, error.pos().col)
    })?;
    let root = document.root_element();
    let mut xml = Xml::default();
    match root.tag_name().name() {
        "setting-files" => {
            let files = root.children().filter(|node| node.has_tag_name("file"));
            xml.files = files.filter_map(|file| file.attribute("url").map(str::to_owned)).collect();
        }
        "settings" => {
            xml.is_settings = true;
            for group in root.children().filter(roxmltree::Node::is_element) {
                read_group(group, 0, &mut xml);
            }
        }
        "phone-settings" => {
            xml.is_settings = true;
            read_group(root, 0, &mut xml);
        }
        "firmware-settings" => read_group(root, 0, &mut xml),
        other => {
            return Err(format!(
                "its root element is <{}>, which is not a setting file's",
                super::url::shorten(other)
            ));
        }
    }
    Ok(xml)
}

/// Every element without elements in it is a setting; an index holds for what is inside.
fn read_group(node: roxmltree::Node<'_, '_>, outer: u16, xml: &mut Xml) {
    let mut pending = vec![(node, outer)];
    while let Some((node, outer)) = pending.pop() {
        let index = match node.attribute("idx").map(str::parse) {
            None => outer,
            Some(Ok(index)) => index,
            Some(Err(_)) => {
                xml.remarks.push(format!("<{}> has an index that is no number", node.tag_name().name()));
                continue;
            }
        };
        let before = pending.len();
        pending.extend(node.children().filter(roxmltree::Node::is_element).map(|child| (child, index)));
        let is_group =
            ["phone-settings", "functionKeys", "tbook", "global"].contains(&node.tag_name().name());
        if pending.len() == before && !is_group {
            read_element(node, index, xml);
        }
    }
}

fn read_element(node: roxmltree::Node<'_, '_>, index: u16, xml: &mut Xml) {
    let name = node.tag_name().name();
    let perm = node.attribute("perm").unwrap_or_default();
    if !["", "R", "RW", "!", "&", "$", "PR"].contains(&perm) {
        xml.remarks.push(format!("<{name}> has a permission that snom does not know"));
    }
    let value = node.text().unwrap_or_default();
    if name.contains("pass") && value.is_empty() {
        xml.remarks.push(format!("<{name}> empties a password"));
    }
    // An unlabelled line key in the active context is a key as the factory made it.
    let context = node.attribute("context") == Some("active") && node.attribute("label") == Some("");
    let value = if name == "fkey" && context && value == "line" { "none" } else { value };
    xml.values.push((name.to_owned(), index, crate::secret::Secret::new(value)));
}

/// The accounts that are switched on and have an address. An M-series base keeps servers in a list of their own.
pub(super) fn accounts(settings: &Settings) -> Vec<Account> {
    let mut lines: Vec<u16> =
        settings.names().filter(|(name, _)| *name == "user_name").map(|(_, index)| index).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.into_iter().filter_map(|line| account(settings, line)).collect()
}

fn account(settings: &Settings, line: u16) -> Option<Account> {
    if settings.text("user_active", line) == Some("off") {
        return None;
    }
    let username = settings.text("user_name", line)?.to_owned();
    let server =
        settings.text("subscr_sip_ua_data_server_id", line).and_then(|id| id.parse().ok()).unwrap_or(line);
    let host = settings.text("user_host", server).or_else(|| settings.text("user_host", line))?;
    let (address, transport) = with_transport(host);
    let (host, port) = host_and_port(address, 0)?;
    let outbound = settings
        .text("user_outbound", server)
        .or_else(|| settings.text("user_outbound", line))
        .map(with_transport);
    let in_list = settings.text("srv_sip_transport", server).and_then(|text| text.parse().ok());
    let transport =
        outbound.and_then(|(_, transport)| transport).or(transport).or(in_list).unwrap_or_default();
    let usual_port = if transport == Transport::Tls { 5061 } else { 5060 };
    Some(Account {
        line: line.max(1),
        host,
        port: (port != 0).then_some(port),
        proxy: outbound.and_then(|(address, _)| host_and_port(address, usual_port)),
        transport,
        auth_id: settings.text("user_pname", line).map_or_else(|| username.clone(), str::to_owned),
        password_kept: settings.is_kept("user_pass", line),
        password: settings.secret("user_pass", line).filter(|password| !password.is_empty()).cloned(),
        username,
    })
}

/// `host:port;transport=tcp` in its two parts; `sip:` before it is allowed.
fn with_transport(text: &str) -> (&str, Option<Transport>) {
    let text = text.trim().trim_start_matches("sip:");
    let (address, parameters) = text.split_once(';').unwrap_or((text, ""));
    let transport = parameters.split(';').find_map(|p| p.trim().strip_prefix("transport=")?.parse().ok());
    (address, transport)
}

/// What else the configuration gave.
pub(super) fn given(settings: &Settings) -> Given {
    let used = |index: u16| settings.text("fkey", index).is_some_and(|kind| kind.trim() != "none");
    Given {
        web_password: settings.has("http_pass", 0),
        menu_password: settings.has("admin_mode_password", 0),
        keys: settings.names().filter(|(name, index)| *name == "fkey" && used(*index)).count(),
        language: settings.text("language", 0).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        let mut settings = Settings::default();
        read_xml(text.as_bytes()).unwrap().apply(&mut settings);
        settings
    }

    #[test]
    fn elements_become_an_account() {
        let settings = read(
            r#"<?xml version="1.0" encoding="utf-8"?><settings><phone-settings>
            <user_active idx="1" perm="">on</user_active><user_name idx="1" perm="">101</user_name>
            <user_pname idx="1">a101</user_pname><user_pass idx="1" perm="R">s&lt;e</user_pass>
            <user_host idx="1">pbx.example</user_host><user_outbound idx="1">10.0.0.1:5070;transport=tcp</user_outbound>
            <user_active idx="2">off</user_active><user_name idx="2">102</user_name><user_host idx="2">pbx</user_host>
            <http_pass perm="">w</http_pass><admin_mode_password>1234</admin_mode_password><language>Deutsch</language>
            </phone-settings><functionKeys><fkey idx="0" context="1" label="" perm="">line</fkey>
            <fkey idx="1">none</fkey><fkey idx="2">blf sip:102@pbx</fkey><fkey idx="3" context="active" label="">line</fkey></functionKeys></settings>"#,
        );
        let accounts = accounts(&settings);
        let [account] = accounts.as_slice() else { panic!("{accounts:?}") };
        assert_eq!(account.for_people(), "line 1: 101 at pbx.example (tcp), password given");
        assert_eq!(account.proxy, Some(("10.0.0.1".to_owned(), 5070)));
        assert_eq!((account.auth_id.as_str(), account.password.as_ref().unwrap().expose()), ("a101", "s<e"));
        let expected =
            Given { web_password: true, menu_password: true, keys: 2, language: Some("Deutsch".to_owned()) };
        assert_eq!(given(&settings), expected);
    }

    #[test]
    fn a_base_finds_its_server_in_the_list() {
        let settings = read(
            r#"<settings><phone-settings><user_host idx="1">10.0.0.1:5062</user_host>
            <user_name idx="3">301</user_name><user_pass idx="3">x</user_pass>
            <subscr_sip_ua_data_server_id idx="3">1</subscr_sip_ua_data_server_id></phone-settings></settings>"#,
        );
        let accounts = accounts(&settings);
        assert_eq!(accounts[0].for_people(), "line 3: 301 at 10.0.0.1:5062 (udp), password given");
    }

    #[test]
    fn a_list_names_its_files() {
        let xml = read_xml(
            br#"<setting-files><file url="http://h/a.xml"/><other/><file url="b.xml"/></setting-files>"#,
        );
        let xml = xml.unwrap();
        assert_eq!(
            (xml.files, xml.is_settings),
            (vec!["http://h/a.xml".to_owned(), "b.xml".to_owned()], false)
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_its_text() {
        let error = read_xml(b"<settings><user_pass>hunter2</user_pas></settings>").unwrap_err();
        assert!(error.starts_with("not well-formed XML (line 1") && !error.contains("hunter2"), "{error}");
        assert!(read_xml(b"<html></html>").is_err());
        let xml = read_xml(br#"<settings><p><user_pass idx="1" perm="X"/></p></settings>"#).unwrap();
        assert_eq!(
            xml.remarks,
            ["<user_pass> has a permission that snom does not know", "<user_pass> empties a password"]
        );
    }
}
