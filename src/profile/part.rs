//! What of a secret stands in a file where it is not the whole: the parts of a phone's own URL, for phones whose
//! configuration keeps them in parameters of their own, and a password's hash, for those that take no other.

use std::borrow::Cow;
use std::str::FromStr;

use super::crypt::md5_crypt;

/// What of a secret stands in a slot: the whole, one part of the phone's own URL, or a password's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Part {
    #[default]
    Whole,
    /// `http`
    Scheme,
    /// `192.168.1.2`
    Host,
    /// `8480`; the scheme's own where the URL names none.
    Port,
    /// `d/TOKEN`, without a slash before or behind it.
    Path,
    /// `192.168.1.2:8480/d/TOKEN`: all but the scheme, without a slash behind it.
    Address,
    /// `http://192.168.1.2:8480`: all but the path.
    Origin,
    /// `$1$SALT$HASH`
    Md5Crypt,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "whole" => Self::Whole,
            "scheme" => Self::Scheme,
            "host" => Self::Host,
            "port" => Self::Port,
            "path" => Self::Path,
            "address" => Self::Address,
            "origin" => Self::Origin,
            "md5-crypt" => Self::Md5Crypt,
            _ => {
                return Err(format!(
                    "'{word}' is no part of a secret; write scheme, host, port, path, address or origin of a URL, or \
                     md5-crypt"
                ));
            }
        })
    }
}

impl Part {
    /// Whether it is a part of a URL.
    pub(super) fn is_of_url(self) -> bool {
        !matches!(self, Self::Whole | Self::Md5Crypt)
    }

    /// This part of a secret.
    pub(super) fn of(self, secret: &str) -> Cow<'_, str> {
        match self {
            Self::Md5Crypt => Cow::Owned(md5_crypt(secret)),
            _ => Cow::Borrowed(self.of_url(secret)),
        }
    }

    fn of_url(self, url: &str) -> &str {
        let (scheme, address) = url.split_once("://").unwrap_or(("", url));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        // An IPv6 address has colons of its own within its brackets.
        let port_at =
            authority.rfind(':').filter(|at| !authority.get(*at..).unwrap_or_default().contains(']'));
        match self {
            Self::Whole | Self::Md5Crypt => url,
            Self::Scheme => scheme,
            Self::Host => port_at.and_then(|at| authority.get(..at)).unwrap_or(authority),
            Self::Port => port_at.and_then(|at| authority.get(at + 1..)).unwrap_or(match scheme {
                "https" => "443",
                "tftp" => "69",
                _ => "80",
            }),
            Self::Path => path.trim_matches('/'),
            Self::Address => address.trim_end_matches('/'),
            Self::Origin => url.strip_suffix(path).unwrap_or(url).trim_end_matches('/'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_falls_into_its_parts() {
        let check = |url, expected: [&str; 6]| {
            let parts = ["scheme", "host", "port", "path", "address", "origin"];
            assert_eq!(parts.map(|part| part.parse::<Part>().unwrap().of(url)), expected, "{url}");
            assert_eq!(Part::Whole.of(url), url);
        };
        let ours = "http://192.0.2.1:8480/d/0123/";
        check(
            ours,
            ["http", "192.0.2.1", "8480", "d/0123", "192.0.2.1:8480/d/0123", "http://192.0.2.1:8480"],
        );
        check("https://pbx/", ["https", "pbx", "443", "", "pbx", "https://pbx"]);
        check(
            "tftp://[fd00::1]/d/x",
            ["tftp", "[fd00::1]", "69", "d/x", "[fd00::1]/d/x", "tftp://[fd00::1]"],
        );
        check("http://[fd00::1]:80", ["http", "[fd00::1]", "80", "", "[fd00::1]:80", "http://[fd00::1]:80"]);
        assert!("query".parse::<Part>().is_err());
    }
}
