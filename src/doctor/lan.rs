//! What else is on the LAN and around it: other servers that answer phones, DHCP servers, open alarms, the certificates
//! that phones are shown, and where they are to register. Only judges what was read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::ports::Socket;
use super::{Finding, some_of};
use crate::alarm::AlarmKind;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::net::interfaces::Interface;
use crate::store::{AlarmRow, DhcpServerRow, Holding};
use crate::tls::{Listed, Role};

/// What was heard longer ago says nothing of today.
const RECENT: Duration = Duration::from_hours(24);
/// An administrator's certificate is told of so long before its end.
const ENDS_SOON: Duration = Duration::from_hours(30 * 24);
/// Registrars that are looked at: accounts of one site name one or two.
const REGISTRARS_MAX: usize = 8;

/// Other servers that answer phones, and whatever else an administrator should look at.
pub(super) fn alarms(open: &[AlarmRow], now: Timestamp) -> Vec<Finding> {
    let is_of = |row: &&AlarmRow, kind: AlarmKind| row.kind == kind.as_str();
    let mut findings: Vec<Finding> = open
        .iter()
        .filter(|row| is_of(row, AlarmKind::Rival) && row.last.plus(RECENT) > now)
        .map(|row| {
            Finding::warn("rivals", row.text.clone(), row.remedy).seen(format!("heard last at {}", row.last))
        })
        .collect();
    if findings.is_empty() {
        let text = "no other server that answers phones was heard within a day";
        findings.push(Finding::ok("rivals", text).seen("offhook alarm list"));
    }
    let others: Vec<&AlarmRow> = open.iter().filter(|row| !is_of(row, AlarmKind::Rival)).collect();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &others {
        *kinds.entry(&row.kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    findings.push(match others.first() {
        None => Finding::ok("alarms", "no other alarm is open"),
        Some(latest) => {
            let text = format!("{} alarms are open: {}", others.len(), some_of(&kinds));
            Finding::warn("alarms", text, "offhook alarm list shows each with its remedy")
                .seen(format!("the latest: {}", latest.text))
        }
    });
    findings
}

/// The DHCP servers that were heard, by interface.
pub(super) fn dhcp_servers(heard: &[DhcpServerRow], own: &[IpAddr], now: Timestamp) -> Vec<Finding> {
    let mut links: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in heard.iter().filter(|row| row.last.plus(RECENT) > now) {
        let is_own = row.address.parse().is_ok_and(|address: IpAddr| own.contains(&address));
        let this = if is_own { " (this host)" } else { "" };
        let addresses = links.entry(&row.interface).or_default();
        let address = format!("{}{this}", row.address);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if links.is_empty() {
        let text = "no DHCP server was heard within a day";
        return vec![Finding::unknown(
            "dhcp",
            text,
            "offhook dhcp verify asks; offhook doctor --probe looks for them",
        )];
    }
    let judged = |(link, servers): (&&str, &Vec<String>)| match servers.as_slice() {
        [one] => Finding::ok("dhcp", format!("one DHCP server answers on {link}: {one}")),
        several => Finding::warn(
            "dhcp",
            format!("{} DHCP servers answer on {link}: {}", several.len(), some_of(several)),
            "unless they share their pools, switch off all but one; a phone takes what comes first",
        )
        .seen("offhook dhcp status"),
    };
    links.iter().map(judged).collect()
}

/// The certificates that are shown to phones, and those that phones are believed by.
pub(super) fn certificates(
    config: &Config,
    listed: &[Listed],
    interfaces: &[Interface],
    now: Timestamp,
) -> Vec<Finding> {
    if config.https.listen.address().is_none() {
        return vec![Finding::ok("certificates", "TLS is switched off (https.listen)")];
    }
    let mut findings: Vec<Finding> = Vec::new();
    for one in listed {
        let file = one.file.display();
        if let Some(trouble) = &one.trouble {
            let text = format!("the certificate {file} is of no use: {trouble}");
            let fix = "offhook tls list; write the file anew";
            let is_shown = one.role != Role::Phones;
            findings.push(if is_shown {
                Finding::broken("certificates", text, fix)
            } else {
                Finding::warn("certificates", text, fix)
            });
            continue;
        }
        let Some(until) = one.until else { continue };
        match one.role {
            Role::Own => findings.extend(own(config, one, until, interfaces, now)),
            Role::Authority if until <= now => findings.push(Finding::broken(
                "certificates",
                format!(
                    "our certificate authority {file} ended at {until}: phones refuse what it has issued"
                ),
                "stop the agent, remove its folder, start it again, and put the new CA into the phones",
            )),
            Role::Phones if until <= now => findings.push(Finding::warn(
                "certificates",
                format!("the phones' authority {file} ended at {until}"),
                "put the vendor's current one into https.client_ca",
            )),
            Role::Authority | Role::Phones => {}
        }
    }
    if findings.is_empty() {
        let shown = listed.iter().find(|one| one.role != Role::Phones);
        let text = match shown {
            None => "there is no certificate yet; the agent makes one when it starts".to_owned(),
            Some(one) if one.role == Role::Own => format!("phones are shown {}", one.file.display()),
            Some(_) => "phones are shown certificates of our own authority, for RSA and for P-256".to_owned(),
        };
        findings.push(Finding::ok("certificates", text));
    }
    findings
}

fn own(
    config: &Config,
    one: &Listed,
    until: Timestamp,
    interfaces: &[Interface],
    now: Timestamp,
) -> Vec<Finding> {
    let file = one.file.display();
    let mut findings = Vec::new();
    if until <= now {
        let text = format!("the certificate {file} ended at {until}: phones that look at it refuse it");
        findings.push(Finding::broken(
            "certificates",
            text,
            "renew it; the agent reads the file again by itself",
        ));
    } else if until <= now.plus(ENDS_SOON) {
        let text = format!("the certificate {file} ends at {until}");
        findings.push(Finding::warn(
            "certificates",
            text,
            "renew it; the agent reads the file again by itself",
        ));
    }
    let addresses = interfaces.iter().filter(|one| !one.loopback).flat_map(|one| &one.addresses);
    let mut known: Vec<String> = addresses.map(|(address, _)| address.to_string()).collect();
    known.extend(config.https.names.iter().map(|name| name.as_str().to_owned()));
    let names: Vec<&str> = one.names.as_deref().unwrap_or_default().split(", ").collect();
    let is_named = |known: &String| {
        let parent = known.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        names.contains(&known.as_str()) || parent.is_some_and(|parent| names.contains(&parent.as_str()))
    };
    if !known.iter().any(is_named) {
        findings.push(
            Finding::warn(
                "certificates",
                format!("the certificate {file} is for none of the names and addresses by which phones know this host"),
                "get one for this host's name, and put that name into https.names",
            )
            .seen(format!("it is for {}; phones use {}", names.join(", "), some_of(&known))),
        );
    }
    if one.key.as_deref().is_some_and(|key| !key.starts_with("RSA")) {
        findings.push(Finding::warn(
            "certificates",
            format!(
                "the certificate {file} has no RSA key: phones that know only RSA are shown one of our own authority \
                 instead"
            ),
            "let those phones trust our authority (offhook tls ca), or get a certificate with an RSA key",
        ));
    }
    findings
}

/// A registrar as accounts or the configuration name it: its host, its port where one is named, and who names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registrar {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// Every registrar that a phone will be told, each once.
pub(super) fn registrars(config: &Config, accounts: &[Holding]) -> Vec<Registrar> {
    let of_accounts = accounts.iter().filter_map(|holding| holding.account.registrar.as_ref());
    let all = config.sip.registrar.iter().chain(of_accounts).filter(|name| !name.trim().is_empty());
    let mut registrars: Vec<Registrar> = Vec::new();
    for name in all {
        let registrar = registrar(name.trim());
        if registrars.len() < REGISTRARS_MAX && !registrars.contains(&registrar) {
            registrars.push(registrar);
        }
    }
    registrars
}

fn registrar(name: &str) -> Registrar {
    let (host, port) = match name.rsplit_once(':') {
        // An address of IPv6 without brackets has no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (name, None),
    };
    Registrar { host: host.trim_matches(['[', ']']).to_owned(), port }
}

/// Where no registrar is named, phones register at this host.
pub(super) fn own_registrar(sockets: &[Socket]) -> Finding {
    let text = "no registrar is named: phones register at this host";
    let answers = sockets
        .iter()
        .any(|socket| socket.port == 5060 && !socket.address.is_multicast() && !socket.address.is_loopback());
    if answers {
        return Finding::ok("registrar", format!("{text}, where a program has port 5060"));
    }
    Finding::warn(
        "registrar",
        format!("{text}, and no program has port 5060 here"),
        "set sip.registrar to the PBX, or give the accounts a registrar",
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::State;
    use super::super::ports::Protocol;
    use super::*;
    use crate::net::Prefix;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn alarm(kind: AlarmKind, text: &str, ago: Duration) -> AlarmRow {
        let at = NOW.minus(ago);
        let text = text.to_owned();
        let kind = kind.as_str().to_owned();
        AlarmRow {
            id: 1,
            kind,
            mac: None,
            peer: None,
            text,
            first: at,
            last: at,
            seen: 1,
            done: None,
            remedy: "r",
        }
    }

    #[test]
    fn a_rival_is_told_in_the_alarms_own_words() {
        let rival = alarm(AlarmKind::Rival, "192.168.1.9 answers phones", Duration::from_mins(1));
        let found = alarms(&[rival, alarm(AlarmKind::Clone, "two of one", RECENT)], NOW);
        assert_eq!((found[0].check, found[0].state), ("rivals", State::Warn));
        assert_eq!(found[0].text, "192.168.1.9 answers phones");
        assert_eq!((found[1].check, found[1].text.as_str()), ("alarms", "1 alarms are open: clone 1"));
        let old = alarm(AlarmKind::Rival, "x", RECENT * 2);
        assert!(alarms(&[old], NOW).iter().all(|one| one.state == State::Ok));
    }

    #[test]
    fn two_dhcp_servers_on_a_link_are_told() {
        let row = |interface: &str, last: u8, ago: Duration| DhcpServerRow {
            agent: "a".to_owned(),
            interface: interface.to_owned(),
            address: format!("192.168.1.{last}"),
            mac: None,
            gives: BTreeMap::new(),
            first: NOW,
            last: NOW.minus(ago),
            count: 1,
        };
        let soon = Duration::from_mins(1);
        let own = [IpAddr::from([192, 168, 1, 2])];
        let rows =
            [row("eth0", 1, soon), row("eth0", 2, soon), row("eth1", 1, soon), row("eth1", 9, RECENT * 2)];
        let found = dhcp_servers(&rows, &own, NOW);
        assert_eq!(found[0].text, "2 DHCP servers answer on eth0: 192.168.1.1, 192.168.1.2 (this host)");
        assert_eq!((found[0].state, found[1].state), (State::Warn, State::Ok));
        assert_eq!(dhcp_servers(&[], &own, NOW)[0].state, State::Unknown);
    }

    #[test]
    fn a_certificate_is_held_against_time_names_and_keys() {
        let eth0 = Interface {
            index: 2,
            name: "eth0".to_owned(),
            mac: None,
            addresses: vec![(
                Ipv4Addr::new(192, 168, 1, 35),
                Prefix::new(Ipv4Addr::new(192, 168, 1, 0), 24).unwrap(),
            )],
            up: true,
            multicast: true,
            loopback: false,
        };
        let listed = |role, names: &str, key: &str, left: i64| Listed {
            role,
            file: "/c.pem".into(),
            subject: None,
            names: Some(names.to_owned()),
            key: Some(key.to_owned()),
            until: Some(Timestamp(NOW.0 + left * 86_400_000)),
            sha256: None,
            trouble: None,
        };
        let mut config = Config::default();
        let check = |config: &Config, one: Listed, state, words: &str| {
            let found = certificates(config, &[one], std::slice::from_ref(&eth0), NOW);
            let is = |one: &&Finding| one.state == state && one.text.contains(words);
            assert!(found.iter().any(|one| is(&one)), "{words}: {found:#?}");
        };
        let address = "192.168.1.35, localhost";
        check(&config, listed(Role::Own, address, "RSA 2048", 300), State::Ok, "phones are shown /c.pem");
        check(&config, listed(Role::Own, address, "RSA 2048", -1), State::Broken, "/c.pem ended at");
        check(&config, listed(Role::Own, address, "RSA 2048", 10), State::Warn, "/c.pem ends at");
        check(&config, listed(Role::Own, address, "P-256", 300), State::Warn, "has no RSA key");
        check(
            &config,
            listed(Role::Own, "pbx.lan", "RSA 2048", 300),
            State::Warn,
            "is for none of the names",
        );
        check(&config, listed(Role::Authority, "", "P-256", -1), State::Broken, "our certificate authority");
        check(&config, listed(Role::Phones, "", "P-256", -1), State::Warn, "the phones' authority");
        let useless = Listed { trouble: Some("not found".to_owned()), ..listed(Role::Own, "", "", 1) };
        check(&config, useless, State::Broken, "is of no use: not found");
        config = toml::from_str("[https]\nnames = [\"pbx.example.org\"]").unwrap();
        check(&config, listed(Role::Own, "*.example.org", "RSA 4096", 300), State::Ok, "phones are shown");
        assert_eq!(certificates(&config, &[], &[], NOW)[0].state, State::Ok);
    }

    #[test]
    fn registrars_are_each_named_once() {
        let mut config = Config::default();
        config.sip.registrar = Some("pbx.lan:5070".to_owned());
        assert_eq!(registrars(&config, &[]), [Registrar { host: "pbx.lan".to_owned(), port: Some(5070) }]);
        assert_eq!(registrar("[fd00::1]:5061"), Registrar { host: "fd00::1".to_owned(), port: Some(5061) });
        assert_eq!(registrar("fd00::1"), Registrar { host: "fd00::1".to_owned(), port: None });
        let socket = |address: [u8; 4]| Socket {
            protocol: Protocol::Udp,
            address: address.into(),
            port: 5060,
            uid: 0,
            inode: 1,
            drops: 0,
        };
        assert_eq!(own_registrar(&[socket([224, 0, 1, 75])]).state, State::Warn);
        assert_eq!(own_registrar(&[socket([0, 0, 0, 0])]).state, State::Ok);
    }
}
