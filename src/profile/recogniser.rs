//! One pattern of a profile: what a phone says of itself at one place, and what can be read there. Carries its own
//! examples and rejects, which are checked whenever profiles are.

use regex::{Regex, RegexBuilder};

use crate::device::{Mac, Source};

/// Bytes of one compiled pattern; a pattern beyond it would be slow to load, not better at recognising.
pub(super) const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a clue that are looked at; a User-Agent is a tenth of it.
pub(super) const CLUE_BYTES_MAX: usize = 1024;

/// What a pattern may read.
const GROUPS: [&str; 3] = ["model", "firmware", "mac"];

/// What is printed where a model should be, and is none (OEM firmware, one name for all).
const NO_MODELS: [&str; 8] =
    ["oem", "voip phone", "voipphone", "ip phone", "ipphone", "sip phone", "phone", "unknown"];

/// A pattern for one source of clues.
#[derive(Debug, Clone)]
pub(super) struct Recogniser {
    pub(super) source: Source,
    pub(super) regex: Regex,
    pub(super) confidence: Option<u8>,
    pub(super) examples: Vec<Example>,
    pub(super) rejects: Vec<(Option<usize>, String)>,
    /// Its table in the profile: `match[3]`.
    pub(super) key: String,
}

/// A text that must match, and what must be read there.
#[derive(Debug, Clone)]
pub(super) struct Example {
    pub(super) line: Option<usize>,
    pub(super) text: String,
    pub(super) model: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) mac: Option<String>,
}

/// What was read in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) model: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) mac: Option<Mac>,
}

/// Compiles a pattern: letters in any case, because phones do not agree with themselves, and limited in size.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let regex = builder(pattern).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("is larger than {limit} bytes when compiled"),
        other => format!("is no regular expression: {other}"),
    })?;
    match regex.capture_names().flatten().find(|name| !GROUPS.contains(name)) {
        Some(name) => Err(format!("has a group '{name}'; there are {}", GROUPS.join(", "))),
        None => Ok(regex),
    }
}

fn builder(pattern: &str) -> RegexBuilder {
    let mut builder = RegexBuilder::new(pattern);
    builder
        .case_insensitive(true)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .nest_limit(50);
    builder
}

impl Recogniser {
    /// What it reads in a text; `None` when the text is not for it. `names` are the vendor's own, which models lose.
    pub(super) fn read(&self, text: &str, names: [&str; 2]) -> Option<Reading> {
        let captures = self.regex.captures(text)?;
        let group = |name: &str| captures.name(name).map(|found| found.as_str().trim());
        Some(Reading {
            model: group("model").and_then(|model| model_name(model, names)),
            firmware: group("firmware").filter(|firmware| !firmware.is_empty()).map(str::to_owned),
            mac: group("mac").and_then(|mac| mac.parse().ok()),
        })
    }
}

/// The model as the vendor prints it, without the vendor: `snom720` is `720`, `SIP-T46U` is `T46U`. `None` for a
/// word that stands in for one.
pub(super) fn model_name(printed: &str, names: [&str; 2]) -> Option<String> {
    let separators = [' ', '-', '_'];
    let mut model = printed.trim().trim_matches('"').trim();
    for prefix in [names[0], names[1], "SIP-", "SIP "] {
        let rest = strip_prefix_any_case(model, prefix).map(|rest| rest.trim_start_matches(separators));
        if let Some(rest) = rest.filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric())) {
            model = rest;
        }
    }
    let stands_in = NO_MODELS.iter().chain(&names).any(|word| word.eq_ignore_ascii_case(model));
    (!model.is_empty() && !stands_in).then(|| model.to_owned())
}

fn strip_prefix_any_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The addresses in a text: twelve digits, or six pairs with `:` or `-` between them, with no further digit before or
/// after them.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = Mac> {
    let mut after_digit = false;
    text.char_indices().filter_map(move |(at, c)| {
        let begins = c.is_ascii_hexdigit() && !after_digit;
        after_digit = c.is_ascii_hexdigit();
        let rest = text.get(at..).filter(|_| begins)?;
        [12, 17].into_iter().find_map(|length| {
            let (word, after) = rest.split_at_checked(length)?;
            let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'-');
            let stands_alone = !after.starts_with(|c: char| c.is_ascii_hexdigit());
            (stands_alone && word.bytes().all(is_part)).then(|| word.parse().ok()).flatten()
        })
    })
}

/// The MAC in a SUBSCRIBE's user part, in all the forms that phones write: `MAC%3a00135E874B49`, `MAC0015657322ff`,
/// `MAC=00304f…`, `MAC:…`. Takes a whole URI too. Without "MAC" before them twelve decimal digits are a telephone number.
pub(super) fn uri_mac(text: &str) -> Option<Mac> {
    let user = text.split('@').next()?;
    let user =
        strip_prefix_any_case(user, "sip:").or_else(|| strip_prefix_any_case(user, "sips:")).unwrap_or(user);
    let user = user.replace("%3a", ":").replace("%3A", ":").replace("%3d", "=").replace("%3D", "=");
    let marked = strip_prefix_any_case(&user, "mac");
    let address =
        marked.unwrap_or(&user).split(';').next()?.trim_start_matches([':', '=', ' ', '-', '_']).trim_end();
    let is_number = marked.is_none() && address.chars().all(|c| c.is_ascii_digit());
    address.parse().ok().filter(|_| !is_number)
}

/// The parameters of an Event header that say who the phone is (`ua-profile` of RFC 6080).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EventWords<'t> {
    pub(super) vendor: Option<&'t str>,
    pub(super) model: Option<&'t str>,
    pub(super) version: Option<&'t str>,
}

/// Reads the parameters of an Event header. Values quoted or not, blanks anywhere, `vendor` also as `vender`.
pub(super) fn event_words(text: &str) -> EventWords<'_> {
    let mut words = EventWords::default();
    for parameter in text.split(';').skip(1) {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = Some(value.trim().trim_matches('"').trim()).filter(|value| !value.is_empty());
        match name.trim().to_ascii_lowercase().as_str() {
            "vendor" | "vender" => words.vendor = value,
            "model" => words.model = value,
            "version" => words.version = value,
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_lose_the_vendor() {
        let check = |printed: &str, names, expected: Option<&str>| {
            assert_eq!(model_name(printed, names).as_deref(), expected, "{printed}");
        };
        let snom = ["Snom", "snom"];
        check("snom720", snom, Some("720"));
        check("snomD785", snom, Some("D785"));
        check("snom", snom, None);
        check("OEM", snom, None);
        check(" \"snom M900\" ", snom, Some("M900"));
        let yealink = ["Yealink", "yealink"];
        check("SIP-T46U", yealink, Some("T46U"));
        check("yealink SIP-T28P", yealink, Some("T28P"));
        check("T21P_E2", yealink, Some("T21P_E2"));
        check("VOIP PHONE", ["Fanvil", "fanvil"], None);
        check("", yealink, None);
        check("é", yealink, Some("é"));
    }

    #[test]
    fn the_mac_of_a_subscribe_is_read_in_every_form() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(uri_mac(text).map(Mac::bare).as_deref(), expected, "{text}");
        };
        check("MAC%3a00135E874B49", Some("00135e874b49"));
        check("MAC%3AC074AD112233", Some("c074ad112233"));
        check("MAC0015657322ff", Some("0015657322ff"));
        check("MAC=00304f123456", Some("00304f123456"));
        check("mac:00:30:4f:12:34:56", Some("00304f123456"));
        check("sip:MAC%3a00135E874B49@intern.snom.de", Some("00135e874b49"));
        check("sip:MAC%3a00135E874B49", Some("00135e874b49"));
        check("00135E874B49", Some("00135e874b49"));
        check("MAC441234567890;x=y", Some("441234567890"));
        for text in
            ["", "00000001", "MAC", "MAC%3a000000000000", "512", "441234567890", "MAC%3a00135E874B4", "%"]
        {
            check(text, None);
        }
    }

    #[test]
    fn event_parameters_are_read_however_written() {
        let words = |vendor, model, version| EventWords { vendor, model, version };
        let check = |text: &str, expected| assert_eq!(event_words(text), expected, "{text}");
        check(
            "ua-profile;profile-type=\"device\";vendor=\"Yealink\";model=\"T53W\";version=\"96.87.0.16\"",
            words(Some("Yealink"), Some("T53W"), Some("96.87.0.16")),
        );
        check(
            "ua-profile; vender = panasonic ;MODEL=KX-HDV130",
            words(Some("panasonic"), Some("KX-HDV130"), None),
        );
        check("ua-profile;vendor=\"\";model", words(None, None, None));
        check("vendor=\"x\"", words(None, None, None));
    }

    #[test]
    fn addresses_stand_alone() {
        let found = |text: &str| addresses(text).map(Mac::bare).collect::<Vec<_>>();
        assert_eq!(found("T46U 1.2 (80:5E:C0:aa:bb:cc) x"), ["805ec0aabbcc"]);
        assert_eq!(found("/d/0123456789abcdef0123456789abcdef/000413aabbcc.htm"), ["000413aabbcc"]);
        assert_eq!(found("2010.12-00004-g9ba52f5 000413922D24 SXM:0"), ["000413922d24"]);
        assert_eq!(found("Aastra6731i MAC:00-08-5D-23-74-29 V:3.2.0.70-SIP"), ["00085d237429"]);
        assert_eq!(found("N510/42.245;7C2F804DF9A9 é00:15:65:00:00:01"), ["7c2f804df9a9", "001565000001"]);
        assert!(found("F00000000000.boot 000000000000").contains(&"f00000000000".to_owned()));
    }

    #[test]
    fn a_pattern_is_limited_and_has_known_groups_only() {
        assert!(compile(r"^(?<model>\w+) (?<firmware>[\d.]+)$").is_ok());
        assert!(compile(r"(?<vendor>\w+)").unwrap_err().contains("group 'vendor'"));
        assert!(compile(r"(").unwrap_err().contains("no regular expression"));
        assert!(compile(r"\w{1000}{100}").unwrap_err().contains("larger than"));
    }
}
