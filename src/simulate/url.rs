//! A URL as a phone understands it: scheme, host, port, path.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// How a file is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Tftp,
}

/// Where a file, or a folder of files, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) port: u16,
    /// Begins with a slash, and holds the query.
    pub(super) path: String,
}

impl Url {
    /// Reads an absolute URL; says in words why it cannot.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 2048 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("'{}' is not one URL", shorten(text)));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("'{}' is not a URL", shorten(text)));
        };
        let (scheme, usual_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Scheme::Http, 80),
            "tftp" => (Scheme::Tftp, 69),
            other => {
                return Err(format!(
                    "'{}' URLs are not spoken by the simulated phone; http and tftp are",
                    shorten(other)
                ));
            }
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(split).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("a URL with a user name is not spoken by the simulated phone".to_owned());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().map_err(|_| format!("'{}' is not a port", shorten(port)))?)
            }
            None => (authority, usual_port),
        };
        if host.is_empty() || host.contains(['[', ']', ':']) {
            return Err(format!("'{}' is not a host the simulated phone can reach", shorten(host)));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host: host.to_owned(), port, path })
    }

    /// Whether this names a folder, in which the phone looks for its own files.
    pub(super) fn is_folder(&self) -> bool {
        self.path.ends_with('/')
    }

    /// The last part of the path, without the query.
    pub(super) fn name(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// The URL that `text` means in a file from here: absolute, from the root, or beside this file.
    pub(super) fn join(&self, text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Self::read(text);
        }
        if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("'{}' is not a file's name", shorten(text)));
        }
        if text.starts_with('/') {
            return Ok(Self { path: text.to_owned(), ..self.clone() });
        }
        let path = self.path.split('?').next().unwrap_or_default();
        let folder = path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or("/");
        Ok(Self { path: format!("{folder}{text}"), ..self.clone() })
    }

    /// `host`, or `host:port` where the port is not the usual one.
    pub(super) fn authority(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Tftp, 69) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The URL for a person's eyes: a part of the path that is nothing but a token (32 hexadecimal digits) is left out.
    pub(super) fn for_people(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Tftp => "tftp",
        };
        let is_token = |part: &str| part.len() == 32 && part.chars().all(|c| c.is_ascii_hexdigit());
        let path: Vec<&str> =
            self.path.split('/').map(|part| if is_token(part) { "…" } else { part }).collect();
        format!("{scheme}://{}{}", self.authority(), path.join("/"))
    }

    /// The IPv4 address and port to talk to.
    pub(super) async fn resolve(&self) -> Result<SocketAddrV4, String> {
        resolve(&self.host, self.port).await
    }
}

/// The first IPv4 address of a host.
pub(super) async fn resolve(host: &str, port: u16) -> Result<SocketAddrV4, String> {
    if host.contains(':') {
        return Err(format!("{host} is IPv6, which the simulated phone does not speak"));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(SocketAddrV4::new(address, port));
    }
    let mut found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| format!("cannot resolve {host}: {error}"))?;
    found
        .find_map(|address| match address {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        })
        .ok_or_else(|| format!("{host} has no IPv4 address"))
}

/// `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
pub(super) fn host_and_port(text: &str, usual_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, usual_port),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()) {
        return Some((host.to_owned(), port));
    }
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    (plain && !host.starts_with('-')).then(|| (host.to_owned(), port))
}

/// At most 60 characters, for messages.
pub(super) fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, text: &str) -> String {
        Url::read(base).and_then(|url| url.join(text)).unwrap().for_people()
    }

    #[test]
    fn urls_are_read_and_joined() {
        assert_eq!(Url::read("http://h").unwrap().path, "/");
        assert_eq!(Url::read("http://h?mac=1").unwrap().path, "/?mac=1");
        assert_eq!(Url::read("TFTP://10.0.0.1/x/y.cfg").unwrap().port, 69);
        assert_eq!(Url::read("http://h/a/b.htm?c=/d").unwrap().name(), "b.htm");
        assert_eq!(joined("http://h:8480/d/x.cfg", "y.cfg"), "http://h:8480/d/y.cfg");
        assert_eq!(joined("http://h/d/", "y.cfg"), "http://h/d/y.cfg");
        assert_eq!(joined("http://h/d/", "/y.cfg"), "http://h/y.cfg");
        assert_eq!(joined("http://h/d/", "tftp://k/y"), "tftp://k/y");
    }

    #[test]
    fn what_is_not_one_url_is_refused() {
        for text in [
            "",
            "host/path",
            "http://",
            "http://h\r\nx",
            "https://h/",
            "http://u:p@h/",
            "http://h:x/",
            "http://[::1]/",
        ] {
            assert!(Url::read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let shown = Url::read("http://h/d/0123456789abcdef0123456789abcdef/x.cfg").unwrap().for_people();
        assert_eq!(shown, "http://h/d/…/x.cfg");
    }

    #[test]
    fn hosts_are_plain() {
        assert_eq!(host_and_port("pbx.example:5070", 5060), Some(("pbx.example".to_owned(), 5070)));
        assert_eq!(host_and_port("10.0.0.1", 5060), Some(("10.0.0.1".to_owned(), 5060)));
        assert_eq!(host_and_port("[2001:db8::5]:5070", 5060), Some(("[2001:db8::5]".to_owned(), 5070)));
        assert_eq!(host_and_port("[::1]", 5060), Some(("[::1]".to_owned(), 5060)));
        for text in ["", "::1", "[x]", ":5060", "a b", "h:port", "h\r\nx", "-h"] {
            assert_eq!(host_and_port(text, 5060), None, "{text:?}");
        }
    }
}
