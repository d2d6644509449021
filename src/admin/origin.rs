//! Whether a request is meant for this host, and made by whoever it seems to be. A page of somebody else in an
//! administrator's browser can send requests here, and by a name that it lets point here (DNS rebinding) even read the
//! answers: so the name must be one of ours, and what changes something must not come from another site. Pure.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri};

use crate::config::HostName;
use crate::net::interfaces::Table;

/// The names and addresses by which this host may be asked.
pub(super) struct Own<'a> {
    /// The address that the connection came to.
    pub(super) local: IpAddr,
    /// The host's interfaces.
    pub(super) table: &'a Table,
    /// `admin.hosts`
    pub(super) names: &'a [HostName],
}

impl Own<'_> {
    /// Whether the request names this host, and no other: by its Host, and in an absolute URI by that too.
    pub(super) fn is_asked(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut named: Vec<&str> = uri.authority().map(Authority::as_str).into_iter().collect();
        for value in headers.get_all(HOST) {
            match value.to_str() {
                Ok(text) => named.push(text),
                Err(_) => return false,
            }
        }
        !named.is_empty()
            && named.into_iter().all(|authority| host(authority).is_some_and(|host| self.is(host)))
    }

    fn is(&self, host: &str) -> bool {
        match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_loopback() || address == self.local => true,
            Ok(IpAddr::V4(address)) if self.table.is_ours(address) => true,
            Ok(_) | Err(_) => {
                let host = host.trim_end_matches('.');
                host.eq_ignore_ascii_case("localhost")
                    || self.names.iter().any(|name| name.as_str().eq_ignore_ascii_case(host))
            }
        }
    }
}

/// The host of `HOST` or `HOST:PORT`, without the brackets of an IPv6 address.
fn host(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    (!host.is_empty() && port.chars().all(|c| c.is_ascii_digit())).then_some(host)
}

/// Whether a page of another site made this request, and it could change something. A browser says where a request comes
/// from (Sec-Fetch-Site, an old one by Origin), and no page can make it say otherwise; other programs say nothing.
pub(super) fn is_of_another_site(method: &Method, headers: &HeaderMap) -> bool {
    if [Method::GET, Method::HEAD].contains(method) {
        return false;
    }
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let site = headers.get("sec-fetch-site").map(text);
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN).map(text) else { return false };
    let authority = origin.split_once("://").map(|(_, authority)| authority.to_owned());
    let asked = headers.get(HOST).map(text);
    authority.is_none() || authority != asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_and_addresses_are_answered() {
        let names: Vec<HostName> = serde_json::from_str("[\"offhook.example.org\", \"PBX\"]").unwrap();
        let table = Table::default();
        let own = Own { local: [192, 168, 1, 35].into(), table: &table, names: &names };
        let check = |uri: &str, host: &[&str], asked: bool| {
            let mut headers = HeaderMap::new();
            for host in host {
                headers.append(HOST, host.parse().unwrap());
            }
            assert_eq!(own.is_asked(&uri.parse().unwrap(), &headers), asked, "{uri} {host:?}");
        };
        for ours in [
            "127.0.0.1:8482",
            "localhost",
            "LOCALHOST:1",
            "localhost.:8482",
            "[::1]:8482",
            "[::ffff:127.0.0.1]",
            "192.168.1.35:8482",
            "offhook.example.org",
            "pbx:8443",
            "127.0.0.2",
        ] {
            check("/", &[ours], true);
        }
        for foreign in [
            "evil.example",
            "evil.example:8482",
            "localhost.evil.example",
            "192.168.1.36",
            "0.0.0.0",
            "",
            ":8482",
            "[::1",
            "127.0.0.1:80:80",
            "127.0.0.1:x",
            "offhook.example.org.evil.example",
            "2130706433",
            "user@localhost",
        ] {
            check("/", &[foreign], false);
        }
        check("/", &[], false);
        check("/", &["localhost", "evil.example"], false);
        check("http://evil.example/", &["localhost"], false);
        check("http://localhost/", &["evil.example"], false);
        check("http://localhost/", &["localhost"], true);
    }

    #[test]
    fn what_another_sites_page_sends_changes_nothing() {
        let check = |method: Method, heads: &[(&'static str, &str)], foreign: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "localhost:8482".parse().unwrap());
            for (name, value) in heads {
                headers.insert(*name, value.parse().unwrap());
            }
            assert_eq!(is_of_another_site(&method, &headers), foreign, "{method} {heads:?}");
        };
        check(Method::POST, &[], false);
        check(Method::POST, &[("sec-fetch-site", "same-origin")], false);
        check(Method::POST, &[("sec-fetch-site", "none")], false);
        for site in ["cross-site", "same-site", "whatever", ""] {
            check(Method::POST, &[("sec-fetch-site", site)], true);
            check(Method::DELETE, &[("sec-fetch-site", site)], true);
            check(Method::GET, &[("sec-fetch-site", site)], false);
        }
        check(Method::POST, &[("origin", "http://localhost:8482")], false);
        check(
            Method::POST,
            &[("origin", "https://localhost:8482"), ("sec-fetch-site", "same-origin")],
            false,
        );
        for origin in
            ["null", "http://evil.example", "http://localhost:8482.evil.example", "http://localhost"]
        {
            check(Method::POST, &[("origin", origin)], true);
            check(Method::POST, &[("origin", origin), ("sec-fetch-site", "same-origin")], true);
        }
    }
}
