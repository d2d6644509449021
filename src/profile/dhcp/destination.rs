//! Where the value of an option leads, read as the phone reads it: out of a text, a list of addresses, sub-options or
//! NAME=value.

use super::endpoint::{self, Endpoint};
use super::form::{self, Form, Shape, Sub, Text};
use super::judge::Misformat;
use super::template::{Facts, Role, Template};
use crate::profile::schema::WithoutScheme;

/// Where an option leads, and the file that stands beside it.
pub(super) struct Destination {
    pub(super) endpoint: Endpoint,
    pub(super) file: Option<String>,
}

/// Where an option leads; `None` when it is well-formed and names no server. `file`: the code of the file's name.
pub(super) fn server(
    form: &Form,
    octets: &[u8],
    facts: &Facts<'_>,
    file: Option<u8>,
) -> Result<Option<Destination>, Misformat> {
    let alone = |endpoint| Destination { endpoint, file: None };
    let scheme = form.without_scheme;
    match &form.shape {
        Shape::Text { text, .. } => {
            let found = form::text_of(octets)?;
            if found.len() > usize::from(form.length_max) {
                return Err(Misformat::TooLong(form.length_max));
            }
            Ok(of_text(text, found, facts, scheme)?.map(alone))
        }
        Shape::Addresses(_) => {
            let first = form::addresses_of(octets)?.first().copied().ok_or(Misformat::Empty)?;
            Endpoint::of_address(first, scheme).map(alone).map(Some)
        }
        Shape::SipServers(_) => {
            let servers = form::sip_servers_of(octets)?;
            Endpoint::read(servers.first().ok_or(Misformat::Empty)?, scheme).map(alone).map(Some)
        }
        Shape::Integer { .. } => Ok(None),
        Shape::Encapsulated { subs, .. } => of_subs(subs, octets, facts, file),
        Shape::VendorText { enterprise, text } => {
            let Some(data) = form::of_enterprise(octets, *enterprise)? else { return Ok(None) };
            Ok(of_text(text, form::text_of(data)?, facts, scheme)?.map(alone))
        }
        Shape::VendorSubs { enterprise, subs } => match form::of_enterprise(octets, *enterprise)? {
            Some(data) => of_subs(subs, data, facts, file),
            None => Ok(None),
        },
    }
}

fn of_subs(
    subs: &[Sub],
    octets: &[u8],
    facts: &Facts<'_>,
    file: Option<u8>,
) -> Result<Option<Destination>, Misformat> {
    let found = form::sub_options(octets)?;
    let value = |code: u8| found.iter().find(|(found, _)| *found == code).map(|(_, value)| *value);
    for sub in subs.iter().filter(|sub| sub.given && sub.form.role() == Role::Fixed) {
        let wanted = sub.form.setting(facts).map(|setting| setting.data.octets()).unwrap_or_default();
        let trimmed = |octets: &[u8]| octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
        let same = |value: &[u8]| value.get(..trimmed(value)) == wanted.get(..trimmed(&wanted));
        if !value(sub.code).is_some_and(same) {
            return Err(Misformat::SubOption(sub.code));
        }
    }
    let mut servers = subs.iter().filter(|sub| sub.given && sub.form.role() == Role::Server);
    let Some((sub, octets)) = servers.find_map(|sub| Some((sub, value(sub.code)?))) else {
        return Ok(None);
    };
    let Some(Destination { endpoint, .. }) = server(&sub.form, octets, facts, None)? else { return Ok(None) };
    let texts = |role: Role| {
        let mut named = subs.iter().filter(move |sub| sub.form.role() == role);
        named.find_map(|sub| form::text_of(value(sub.code)?).ok())
    };
    let port = texts(Role::Port).and_then(|text| text.parse().ok());
    let file = file.filter(|file| *file != sub.code).and_then(value);
    let file = file.and_then(|octets| form::text_of(octets).ok()).map(str::to_owned);
    Ok(Some(Destination { endpoint: endpoint.at_port(port), file }))
}

fn of_text(
    text: &Text,
    found: &str,
    facts: &Facts<'_>,
    scheme: WithoutScheme,
) -> Result<Option<Endpoint>, Misformat> {
    match text {
        Text::One(template) => {
            let introduction = template.introduction();
            let behind = found.split_at_checked(introduction.len());
            let behind = behind.filter(|(before, _)| before.eq_ignore_ascii_case(introduction));
            let (_, value) = behind.ok_or_else(|| Misformat::Without(introduction.to_owned()))?;
            Endpoint::read(value, scheme).map(Some)
        }
        Text::Parts { parts, separator } => of_parts(parts, separator, found, facts, scheme),
    }
}

/// `NAME=value` and the like, in any order, names in any case.
fn of_parts(
    parts: &[Template],
    separator: &str,
    found: &str,
    facts: &Facts<'_>,
    scheme: WithoutScheme,
) -> Result<Option<Endpoint>, Misformat> {
    let pairs: Vec<&str> = found.split(separator).map(str::trim).collect();
    if !pairs.iter().any(|pair| pair.contains(['=', ':']) && !pair.contains("://")) {
        let names = parts.iter().filter(|part| part.role() == Role::Server).filter_map(Template::name);
        return Err(Misformat::Without(format!("{}=", names.collect::<Vec<_>>().join("= or "))));
    }
    for part in parts.iter().filter(|part| part.role() == Role::Fixed) {
        let wanted = part.fill(facts).unwrap_or_default();
        if !pairs.iter().any(|pair| pair.eq_ignore_ascii_case(&wanted)) {
            return Err(Misformat::Without(wanted));
        }
    }
    let value = |role: Role| {
        let names: Vec<String> =
            parts.iter().filter(|part| part.role() == role).filter_map(Template::name).collect();
        pairs.iter().find_map(|pair| {
            let (name, value) = pair.split_once(['=', ':'])?;
            names.contains(&name.trim().to_ascii_lowercase()).then_some(value.trim())
        })
    };
    let Some(server) = value(Role::Server) else { return Ok(None) };
    let server = server.trim_matches('"').split(',').next().unwrap_or_default();
    if server.is_empty() {
        return Err(Misformat::Empty);
    }
    let port = value(Role::Port).and_then(|port| port.parse().ok());
    let secrets = pairs.iter().any(|pair| endpoint::is_secret_pair(pair));
    let mut endpoint = Endpoint::read(server, scheme)?.at_port(port);
    endpoint.has_password |= secrets;
    // NAME says the protocol: nothing is guessed.
    endpoint.is_guess = false;
    Ok(Some(endpoint))
}
