//! Where alarms go: the URL of a webhook and the command, checked when the configuration is read.

use std::fmt;
use std::path::Path;

use hyper::Uri;
use serde::{Deserialize, Deserializer, de::Error};

/// A URL that alarms are posted to. Shown without its path, which is a password at many chat services.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    tls: bool,
    host: String,
    port: u16,
    target: String,
}

impl WebhookUrl {
    /// Whether it is https.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, its usual one where none is written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST` or `HOST:PORT`, as the Host header has it (RFC 9110, 7.2: without the usual port).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == usual_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl std::str::FromStr for WebhookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The text itself is not repeated: it may hold a password.
        let refuse = |why: &str| Err(format!("a webhook is http://HOST/PATH or https://HOST/PATH; {why}"));
        let Ok(uri) = text.parse::<Uri>() else { return refuse("this is no URL") };
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return refuse("this begins with neither"),
        };
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return refuse("this names no host");
        };
        if authority.as_str().contains('@') {
            return refuse("it takes no user and password; put a token into its path");
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return refuse("this names no host");
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { tls, host, port: uri.port_u16().unwrap_or(usual_port(tls)), target })
    }
}

fn usual_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}/…", self.authority())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for WebhookUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

/// A program and its arguments, run without a shell; nothing where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlarmCommand(Vec<String>);

impl AlarmCommand {
    /// The program and its arguments.
    pub fn words(&self) -> Option<(&str, &[String])> {
        self.0.split_first().map(|(program, arguments)| (program.as_str(), arguments))
    }
}

impl<'de> Deserialize<'de> for AlarmCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        match words.first() {
            Some(program) if !Path::new(program).is_absolute() => Err(Error::custom(format!(
                "'{program}' is not the whole path of a program; write [\"/usr/local/bin/page\", \"ARGUMENT\"]"
            ))),
            Some(_) | None => Ok(Self(words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_taken_apart_and_shown_without_its_path() {
        let check = |text: &str, expected: (bool, &str, u16, &str, &str)| {
            let url: WebhookUrl = text.parse().unwrap();
            let found = (url.is_tls(), url.host(), url.port(), url.target(), &*url.authority());
            assert_eq!(found, expected, "{text}");
        };
        check("http://ops.lan/a?b=c", (false, "ops.lan", 80, "/a?b=c", "ops.lan"));
        check("https://ops.lan:8443", (true, "ops.lan", 8443, "/", "ops.lan:8443"));
        check("https://[fd00::1]/x", (true, "fd00::1", 443, "/x", "[fd00::1]"));
        let url: WebhookUrl = "https://hooks.example/services/geheim".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://hooks.example/… https://hooks.example/…");
    }

    #[test]
    fn what_is_no_webhook_is_refused_without_repeating_it() {
        for wrong in
            ["", "ops.lan/geheim", "ftp://ops.lan/geheim", "http:///geheim", "https://a:geheim@ops.lan/"]
        {
            let error = wrong.parse::<WebhookUrl>().unwrap_err();
            assert!(error.contains("https://HOST/PATH") && !error.contains("geheim"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_command_is_a_whole_path() {
        #[derive(Debug, Deserialize)]
        struct Section {
            command: AlarmCommand,
        }
        let read = |text: &str| toml::from_str::<Section>(text);
        let command = read("command = [\"/bin/page\", \"a b\"]").unwrap().command;
        assert_eq!(command.words(), Some(("/bin/page", &["a b".to_owned()][..])));
        assert_eq!(read("command = []").unwrap().command.words(), None);
        assert!(read("command = [\"page\"]").unwrap_err().to_string().contains("whole path"));
    }
}
