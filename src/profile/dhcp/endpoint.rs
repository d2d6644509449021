//! Reads the address in a text that a DHCP server gave: a URL, a host, an address. Shows it without what is secret in it.

use super::judge::Misformat;
use crate::profile::schema::WithoutScheme;

/// Schemes that phones fetch by.
const SCHEMES: [(&str, Option<u16>); 7] = [
    ("http", Some(80)),
    ("https", Some(443)),
    ("tftp", Some(69)),
    ("ftp", Some(21)),
    ("ftps", Some(990)),
    ("sftp", Some(22)),
    ("sdlp", Some(18443)),
];
/// Names behind which a password stands, in a query or in a list of NAME=value.
const SECRET_NAMES: [&str; 6] = ["pass", "pwd", "passwd", "secret", "token", "pw"];

/// Where a phone would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: String,
    /// Whether a password stands in it.
    pub(super) has_password: bool,
    /// Whether the scheme is the phone's guess.
    pub(super) is_guess: bool,
}

impl Endpoint {
    /// Reads a text as phones read it.
    pub(super) fn read(text: &str, without_scheme: WithoutScheme) -> Result<Self, Misformat> {
        if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
            return Err(Misformat::Quoted);
        }
        if text.contains(char::is_whitespace) {
            return Err(Misformat::Blank);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => (guess(without_scheme)?.to_owned(), text),
        };
        let Some((_, usual_port)) = SCHEMES.iter().find(|(name, _)| *name == scheme) else {
            return Err(Misformat::UnknownScheme);
        };
        let (user, rest) = split_user(rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = host_and_port(authority).ok_or(Misformat::NoHost)?;
        let in_query = path.split(['?', '&']).skip(1).any(is_secret_pair);
        Ok(Self {
            scheme,
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: port.or(*usual_port),
            path: redacted(path),
            has_password: user.is_some_and(|user| user.contains(':')) || in_query,
            is_guess: !text.contains("://"),
        })
    }

    /// A list of TFTP servers has nothing but addresses.
    pub(super) fn of_address(host: std::net::Ipv4Addr, scheme: WithoutScheme) -> Result<Self, Misformat> {
        Self::read(&host.to_string(), scheme).map(|read| Self { is_guess: false, ..read })
    }

    /// Scheme, host, port.
    pub(super) fn parts(&self) -> (&str, &str, Option<u16>) {
        (&self.scheme, &self.host, self.port)
    }

    /// Whether it names a folder and no file.
    pub(super) fn is_folder(&self) -> bool {
        self.path.is_empty() || self.path.ends_with('/')
    }

    /// `http://192.0.2.1:8480`, the usual port left out.
    pub(super) fn service(&self) -> String {
        let usual = SCHEMES.iter().find(|(name, _)| *name == self.scheme).and_then(|(_, port)| *port);
        let port = self.port.filter(|port| Some(*port) != usual);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.scheme, self.host)
    }

    /// The same address at another port.
    pub(super) fn at_port(self, port: Option<u16>) -> Self {
        Self { port: port.or(self.port), ..self }
    }

    /// Whether both lead to the same service of one host, `names` being one host's.
    pub(super) fn is_same_service(&self, other: &Self, names: &[String]) -> bool {
        let same_host =
            self.host == other.host || (names.contains(&self.host) && names.contains(&other.host));
        same_host && self.scheme == other.scheme && self.port == other.port
    }

    /// The URL as it may be shown, with what the phone appends.
    pub(super) fn shown(&self, file: Option<&str>) -> String {
        let slash = if file.is_some() && !self.path.ends_with('/') { "/" } else { "" };
        let file = file.map(|file| redacted(file.trim_start_matches('/'))).unwrap_or_default();
        format!("{}{}{slash}{file}", self.service(), self.path)
    }
}

fn guess(without_scheme: WithoutScheme) -> Result<&'static str, Misformat> {
    match without_scheme {
        WithoutScheme::Tftp => Ok("tftp"),
        WithoutScheme::Http => Ok("http"),
        WithoutScheme::Refused => Err(Misformat::NoScheme),
    }
}

/// User and password before the host. A password may hold `/`, which no browser would take and phones do.
fn split_user(rest: &str) -> (Option<&str>, &str) {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_user = authority.contains('@') || (rest.contains('@') && host_and_port(authority).is_none());
    match rest.rsplit_once('@').filter(|_| is_user && !authority.contains('@')) {
        Some((user, rest)) => (Some(user), rest),
        None => match authority.rsplit_once('@') {
            Some((user, _)) => (Some(user), rest.get(user.len() + 1..).unwrap_or_default()),
            None => (None, rest),
        },
    }
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (authority, None),
    };
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!host.is_empty() && host.chars().all(is_host)).then_some((host, port))
}

pub(super) fn is_secret_pair(pair: &str) -> bool {
    pair.split_once(['=', ':']).is_some_and(|(name, value)| {
        let name = name.trim().to_ascii_lowercase();
        !value.is_empty() && SECRET_NAMES.iter().any(|secret| name.ends_with(secret) || name.contains("pass"))
    })
}

/// A text from the network as it may be shown: without the passwords in its URLs, its queries and its lists of
/// NAME=value.
pub fn redacted(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut shown = String::new();
    let mut rest = text.as_str();
    if !text.contains("://")
        && let Some((_, behind)) = text.rsplit_once('@')
    {
        shown.push_str("***@");
        rest = behind;
    }
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let (user, behind) = split_user(after);
        if user.is_some() {
            shown.push_str("***@");
        }
        rest = behind;
    }
    shown.push_str(rest);
    let mut masked = String::new();
    for pair in shown.split_inclusive(['?', '&', ',', ';']) {
        match pair.find(['=', ':']).filter(|_| is_secret_pair(pair)) {
            Some(at) => {
                masked.push_str(pair.get(..=at).unwrap_or_default());
                masked.push_str("***");
                masked.extend(pair.chars().last().filter(|c| "?&,;".contains(*c)));
            }
            None => masked.push_str(pair),
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Endpoint::read(text, WithoutScheme::Tftp)
            .map_or_else(|why| format!("{why:?}"), |endpoint| endpoint.shown(None))
    }

    #[test]
    fn a_text_is_read_as_a_phone_reads_it() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text}");
        check("http://192.0.2.1:8480/", "http://192.0.2.1:8480/");
        check("HTTP://PBX.example.", "http://pbx.example");
        check("192.0.2.1", "tftp://192.0.2.1");
        check("192.0.2.1/cfg", "tftp://192.0.2.1/cfg");
        check("pbx:8069/x", "tftp://pbx:8069/x");
        check("tftp://pbx:69/{mac}.cfg", "tftp://pbx/{mac}.cfg");
        check("\"http://pbx/\"", "Quoted");
        check("http://pbx/ ", "Blank");
        check("gopher://pbx/", "UnknownScheme");
        check("http:///x", "NoHost");
        check("http://pbx:x/", "NoHost");
        assert_eq!(Endpoint::read("pbx", WithoutScheme::Refused), Err(Misformat::NoScheme));
        let combined = Endpoint::read("192.0.2.1", WithoutScheme::Http).unwrap();
        assert_eq!(combined.shown(Some("/{mac}.cfg")), "http://192.0.2.1/{mac}.cfg");
    }

    #[test]
    fn a_password_is_noticed_and_never_shown() {
        for text in [
            "http://admin:s3cr3t@pbx/x",
            "http://admin:s3/cr3t@pbx/x",
            "http://admin:a@s3cr3t@pbx/x",
            "admin:s3cr3t@pbx",
            "https://pbx/prov?user=a&password=s3cr3t",
            "https://pbx/prov?pw=s3cr3t&x=1",
        ] {
            let read = Endpoint::read(text, WithoutScheme::Http).unwrap();
            assert!(read.has_password, "{text}");
            assert!(
                ["s3", "cr3t"].iter().all(|part| !read.shown(None).contains(part)),
                "{}",
                read.shown(None)
            );
            assert!(!format!("{read:?}").contains("cr3t"), "{read:?}");
            assert!(!redacted(text).contains("cr3t"), "{}", redacted(text));
        }
        assert!(!Endpoint::read("http://user@pbx/", WithoutScheme::Http).unwrap().has_password);
        assert_eq!(
            redacted("HTTPSRVR=192.0.2.1,ADMIN_PASSWORD=1234,X=1"),
            "HTTPSRVR=192.0.2.1,ADMIN_PASSWORD=***,X=1"
        );
    }
}
