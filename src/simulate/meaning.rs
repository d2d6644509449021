//! What a phone's settings mean: its accounts, its keys, its protection, by the names that the profile gives. Reads
//! settings; sends nothing.

use super::names::{Found, found, held, holds, text, written};
use super::settings::{Account, FunctionKey, Settings};
use super::url::host_and_port;
use crate::device::Transport;
use crate::profile::{AccountNames, KeyNames, Names, Simulate};
use crate::secret::Secret;

/// The accounts that are switched on and have an address, by their lines.
pub(super) fn accounts(sheet: &Simulate, settings: &Settings) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for (names, place) in sheet.account.iter().zip(1..) {
        let found = found(&names.username, settings).into_iter().zip(1..);
        let own = found.filter_map(|(found, count)| {
            let line = line_of(names, &found, place, count)?;
            account(sheet, names, line, found, settings)
        });
        accounts.extend(own);
    }
    accounts.sort_by_key(|account| account.line);
    accounts.dedup_by_key(|account| account.line);
    accounts
}

/// The parameter that holds the password of a line.
pub(super) fn password_name(sheet: &Simulate, line: u16) -> Option<String> {
    let of_line = |(names, place): (&AccountNames, u16)| {
        let word = number_of(names, line, place)?;
        names.password.iter().next().map(|name| written(name, &Found::of(&[("line", word)])))
    };
    sheet.account.iter().zip(1..).find_map(of_line)
}

/// The line that this is of, from 1; `count` is its place among those that have a name instead of a number.
fn line_of(names: &AccountNames, found: &Found, place: u16, count: u16) -> Option<u16> {
    let first = names.line.unwrap_or(1);
    if !is_numbered(names) {
        let is_named = names.username.iter().any(|name| name.contains("{id}"));
        return Some(if is_named { count } else { names.line.unwrap_or(place) });
    }
    let number = found.number("line")?;
    if names.numbers.is_empty() {
        return (number <= names.max.unwrap_or(u16::MAX)).then_some(number);
    }
    let at = names.numbers.iter().position(|held| *held == number)?;
    u16::try_from(at).ok()?.checked_add(first)
}

/// What stands for this line in the names.
fn number_of(names: &AccountNames, line: u16, place: u16) -> Option<u16> {
    let first = names.line.unwrap_or(1);
    match (is_numbered(names), names.numbers.is_empty()) {
        (false, _) => (names.line.unwrap_or(place) == line).then_some(line),
        (true, true) => Some(line),
        (true, false) => names.numbers.get(usize::from(line.checked_sub(first)?)).copied(),
    }
}

fn is_numbered(names: &AccountNames) -> bool {
    names.username.iter().any(|name| name.contains("{line"))
}

fn account(
    sheet: &Simulate,
    names: &AccountNames,
    line: u16,
    mut numbers: Found,
    settings: &Settings,
) -> Option<Account> {
    let server = text(&names.server, &numbers, settings).map(str::to_owned);
    let own = || numbers.number("line").unwrap_or(line).to_string();
    let server = server.unwrap_or_else(own);
    numbers.set("server", server);
    let numbers = &numbers;
    if names.r#if.iter().any(|condition| !holds(condition, numbers, settings)) {
        return None;
    }
    let get = |names: &Names| text(names, numbers, settings);
    let (registrar, in_registrar) = address(get(&names.registrar)?);
    let (host, port) = host_and_port(registrar, 0)?;
    // Some write the whole address where others write its user part.
    let username = get(&names.username)?;
    let username = username.strip_suffix(&format!("@{host}")).unwrap_or(username).to_owned();
    let port = get(&names.port).and_then(|port| port.parse().ok()).unwrap_or(port);
    let proxy = get(&names.proxy)
        .filter(|_| names.proxy_if.iter().all(|condition| holds(condition, numbers, settings)))
        .map(address);
    let said = get(&names.transport)
        .and_then(|word| sheet.transports.get(word).copied().or_else(|| word.parse().ok()));
    let in_proxy = proxy.and_then(|(_, transport)| transport);
    let transport = said.or(in_proxy).or(in_registrar).unwrap_or_default();
    let usual_port = if transport == Transport::Tls { 5061 } else { 5060 };
    let proxy_port = get(&names.proxy_port).and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    let proxy = proxy.and_then(|(host, _)| host_and_port(host, proxy_port.unwrap_or(usual_port)));
    let password = held(&names.password, numbers, settings);
    Some(Account {
        line,
        host,
        port: (port != 0).then_some(port),
        proxy,
        transport,
        auth_id: get(&names.auth_id).map_or_else(|| username.clone(), str::to_owned),
        display_name: get(&names.display_name).map(str::to_owned),
        label: get(&names.label).map(str::to_owned),
        password_kept: password.as_ref().is_some_and(|(name, _)| settings.is_kept(name)),
        password: password.map(|(_, password)| password.clone()),
        username,
    })
}

/// `sip:host:port;transport=tcp` in its two parts; of several with commas between them the first.
fn address(text: &str) -> (&str, Option<Transport>) {
    let text = text.split(',').next().unwrap_or_default().trim().trim_start_matches("sip:");
    let (address, parameters) = text.split_once(';').unwrap_or((text, ""));
    let transport = parameters.split(';').find_map(|p| p.trim().strip_prefix("transport=")?.parse().ok());
    (address, transport)
}

/// The function keys that were configured.
pub(super) fn keys(sheet: &Simulate, settings: &Settings) -> Vec<FunctionKey> {
    let of = |names: &KeyNames| {
        let numbers = found(&names.kind, settings).into_iter();
        numbers.filter_map(|numbers| key(names, &numbers, settings)).collect::<Vec<_>>()
    };
    sheet.key.iter().flat_map(of).collect()
}

fn key(names: &KeyNames, numbers: &Found, settings: &Settings) -> Option<FunctionKey> {
    text(&names.kind, numbers, settings)?;
    if names.r#if.iter().any(|condition| !holds(condition, numbers, settings)) {
        return None;
    }
    Some(FunctionKey {
        number: numbers.number("key").filter(|key| *key <= names.max.unwrap_or(u16::MAX))?,
        value: text(&names.value, numbers, settings).map(str::to_owned),
        label: text(&names.label, numbers, settings).map(str::to_owned),
    })
}

/// Whether one of these settings is set.
pub(super) fn has(names: &Names, settings: &Settings) -> bool {
    held(names, &Found::default(), settings).is_some()
}

/// The language of the display, in the vendor's words.
pub(super) fn language(sheet: &Simulate, settings: &Settings) -> Option<String> {
    text(&sheet.language, &Found::default(), settings).map(str::to_owned)
}

/// The phone's URL for later looks. Some vendors write the protocol elsewhere, and a host alone here; some write it in
/// several settings, which stand in braces then.
pub(super) fn own_url(sheet: &Simulate, settings: &Settings) -> Option<Secret> {
    let url = sheet.prov.iter().find_map(|name| {
        if !name.contains('{') {
            return settings.text(name).map(str::to_owned);
        }
        let mut parts = name.split('{');
        let begin = parts.next().unwrap_or_default().to_owned();
        parts.try_fold(begin, |url, part| {
            let (name, behind) = part.split_once('}')?;
            Some(format!("{url}{}{behind}", settings.text(name)?))
        })
    })?;
    Some(Secret::new(if url.contains("://") { url } else { format!("http://{url}") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scripted::{sheet, take};

    #[test]
    fn elements_become_an_account() {
        let sheet = sheet("snom", "desk");
        let settings = take(
            &sheet,
            r#"<?xml version="1.0" encoding="utf-8"?><settings><phone-settings>
            <user_active idx="1" perm="">on</user_active><user_name idx="1" perm="">101</user_name>
            <user_pname idx="1">a101</user_pname><user_pass idx="1" perm="R">s&lt;e</user_pass>
            <user_host idx="1">pbx.example</user_host><user_outbound idx="1">10.0.0.1:5070;transport=tcp</user_outbound>
            <user_active idx="2">off</user_active><user_name idx="2">102</user_name><user_host idx="2">pbx</user_host>
            <http_pass perm="">w</http_pass><admin_mode_password>1234</admin_mode_password><language>Deutsch</language>
            </phone-settings><functionKeys><fkey idx="0" context="1" label="A &amp; B" perm="">line</fkey>
            <fkey idx="1">none</fkey><fkey idx="2">blf sip:102@pbx</fkey><fkey idx="3" context="active" label="">line</fkey></functionKeys></settings>"#,
        );
        let accounts = accounts(&sheet, &settings);
        let [account] = accounts.as_slice() else { panic!("{accounts:?}") };
        assert_eq!(account.for_people(), "line 1: 101 at pbx.example (tcp), password given");
        assert_eq!(account.proxy, Some(("10.0.0.1".to_owned(), 5070)));
        assert_eq!((account.auth_id.as_str(), account.password.as_ref().unwrap().expose()), ("a101", "s<e"));
        assert!(has(&sheet.webui, &settings) && has(&sheet.menu, &settings));
        assert_eq!(language(&sheet, &settings).as_deref(), Some("Deutsch"));
        let keys: Vec<_> = keys(&sheet, &settings).into_iter().map(|key| (key.number, key.label)).collect();
        assert_eq!(keys, [(1, Some("A & B".to_owned())), (3, None)]);
    }

    #[test]
    fn a_base_finds_its_server_in_the_list() {
        let sheet = sheet("snom", "dect");
        let settings = take(
            &sheet,
            r#"<settings><phone-settings><user_host idx="1">10.0.0.1:5062</user_host>
            <user_name idx="3">301</user_name><user_pass idx="3">x</user_pass>
            <subscr_sip_ua_data_server_id idx="3">1</subscr_sip_ua_data_server_id></phone-settings></settings>"#,
        );
        let accounts = accounts(&sheet, &settings);
        assert_eq!(accounts[0].for_people(), "line 3: 301 at 10.0.0.1:5062 (udp), password given");
    }

    const LINES: &str = "#!version:1.0.0.1\n# a comment\n\naccount.1.enable = 1\naccount.1.user_name=101\n\
        account.1.auth_name = a101\naccount.1.password = s3=cr et\naccount.1.sip_server.1.address = pbx.example\n\
        account.1.sip_server.1.port = 5070\naccount.1.sip_server.1.transport_type = 1\naccount.2.enable = 0\n\
        account.2.user_name = 102\naccount.2.sip_server.1.address = pbx.example\nlinekey.1.type = 15\nlinekey.2.type = 0\n\
        static.security.user_password = user:u1\nstatic.security.user_password = admin:a1\nlang.gui = German\n";

    #[test]
    fn lines_become_an_account() {
        let sheet = sheet("yealink", "desk");
        let settings = take(&sheet, LINES);
        let accounts = accounts(&sheet, &settings);
        let [account] = accounts.as_slice() else { panic!("{accounts:?}") };
        assert_eq!(account.for_people(), "line 1: 101 at pbx.example:5070 (tcp), password given");
        let password = account.password.as_ref().unwrap().expose();
        assert_eq!((account.auth_id.as_str(), password), ("a101", "s3=cr et"));
        assert!(has(&sheet.webui, &settings) && has(&sheet.menu, &settings));
        assert_eq!(
            (language(&sheet, &settings).as_deref(), keys(&sheet, &settings).len()),
            (Some("German"), 1)
        );
        assert_eq!(password_name(&sheet, 2).as_deref(), Some("account.2.password"));
    }

    #[test]
    fn a_later_file_keeps_what_it_does_not_name() {
        let sheet = sheet("yealink", "desk");
        let reading = sheet.read.as_ref().unwrap();
        let mut settings = take(&sheet, LINES);
        let later = b"#!version:1.0.0.1\naccount.1.user_name = 109\nlang.gui = %NULL%\n";
        super::super::read::Contents::read(later, reading).unwrap().apply(reading, &mut settings);
        assert_eq!(accounts(&sheet, &settings)[0].username, "109");
        assert!(accounts(&sheet, &settings)[0].password.is_some());
        assert_eq!(language(&sheet, &settings), None);
    }

    #[test]
    fn lines_are_counted_as_the_vendor_does() {
        let text = "[[account]]\nusername = 'P35'\npassword = 'P34'\nregistrar = 'P47'\n[[account]]\nline = 2\n\
                    numbers = [400, 1700]\nusername = 'P{line+4}'\npassword = 'P{line+6}'\nregistrar = 'P{line+2}'\n[[account]]\n\
                    max = 2\nusername = 'P{line+4059}'\nregistrar = 'P47'\nif = ['P4150 = 0']\n";
        let sheet: Simulate = toml::from_str(&format!("prov = 'http://{{P237}}/{{P238}}/'\n{text}")).unwrap();
        let mut settings = Settings::default();
        let given = [
            ("P35", "201@pbx"),
            ("P47", "pbx"),
            ("P404", "202"),
            ("P402", "pbx"),
            ("P1704", "203"),
            ("P1702", "pbx"),
            ("P504", "204"),
            ("P502", "pbx"),
            ("P237", "h:81"),
        ];
        given.into_iter().for_each(|(name, value)| settings.set(name, value));
        let read = |settings: &Settings| -> Vec<_> {
            accounts(&sheet, settings).into_iter().map(|account| (account.line, account.username)).collect()
        };
        let own = |line, name: &str| (line, name.to_owned());
        assert_eq!(read(&settings), [own(1, "201"), own(2, "202"), own(3, "203")]);
        let names = [1, 3].map(|line| password_name(&sheet, line).unwrap());
        assert_eq!((names, password_name(&sheet, 9)), (["P34".to_owned(), "P1706".to_owned()], None));
        assert_eq!(own_url(&sheet, &settings), None);
        settings.set("P238", "d");
        assert_eq!(own_url(&sheet, &settings).unwrap().expose(), "http://h:81/d/");
        [("P35", ""), ("P4061", "302"), ("P4062", "303"), ("P4150", "0")]
            .into_iter()
            .for_each(|(name, value)| settings.set(name, value));
        settings.set("P404", "");
        assert_eq!(read(&settings), [own(2, "302"), own(3, "203")]);
    }

    #[test]
    fn an_address_is_read_in_every_form() {
        for (text, expected) in [
            ("pbx:5070;transport=tcp", ("pbx:5070", Some(Transport::Tcp))),
            ("sip:10.0.0.1;lr", ("10.0.0.1", None)),
            ("a:5060;transport=TLS,b:5061", ("a:5060", Some(Transport::Tls))),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
    }
}
