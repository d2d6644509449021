//! What a request brings: fields of a query, a form or a JSON object, and what of them becomes a phone's settings. Reads
//! whatever comes; sends nothing.

use serde::Deserialize;

/// More fields than any form has; the rest is not read.
const FIELDS_MAX: usize = 2000;
/// Deeper than any object a phone is sent.
const DEPTH_MAX: usize = 8;

/// Fields in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

/// `[[page.set]]`: a field that becomes a setting.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Set {
    /// Its name; with `*` behind it, every one that begins so.
    field: String,
    /// The setting; the field's own name unless given.
    name: Option<String>,
    /// The part of the value: the first group of this expression.
    part: Option<String>,
    /// The value is in the field that begins with this and ends as the other does; the field's own value, behind `name`,
    /// is the setting then.
    pair: Option<String>,
    /// The setting is `name` with what stands for `*` behind it.
    behind: bool,
    /// What is taken off both ends of the value.
    trim: String,
}

impl Fields {
    /// Of a query or an urlencoded form.
    pub(super) fn of_form(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().take(FIELDS_MAX).collect())
    }

    /// Of a body: a JSON object's leaves by their path (`formData/Name`), else an urlencoded form.
    pub(super) fn of_body(body: &[u8]) -> Self {
        match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(value) if value.is_object() => {
                let mut fields = Self::default();
                fields.push_json("", &value, 0);
                fields
            }
            _ => Self::of_form(body),
        }
    }

    fn push_json(&mut self, path: &str, value: &serde_json::Value, depth: usize) {
        let text = match value {
            serde_json::Value::Object(object) if depth < DEPTH_MAX => {
                for (name, value) in object {
                    let slash = if path.is_empty() { "" } else { "/" };
                    self.push_json(&format!("{path}{slash}{name}"), value, depth + 1);
                }
                return;
            }
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Bool(is) => is.to_string(),
            _ => return,
        };
        if self.0.len() < FIELDS_MAX {
            self.0.push((path.to_owned(), text));
        }
    }

    /// The first field of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// Whether there is `NAME`, or `NAME=VALUE`.
    pub(super) fn has(&self, wanted: &str) -> bool {
        match wanted.split_once('=') {
            Some((name, value)) => self.get(name) == Some(value),
            None => self.get(wanted).is_some(),
        }
    }

    /// These behind others.
    pub(super) fn and(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(&others.0).cloned().collect())
    }
}

impl Set {
    /// The settings in a form.
    pub(super) fn find(&self, fields: &Fields) -> Vec<(String, String)> {
        let begin = self.field.strip_suffix('*');
        let own = |held: &str| begin.map_or(held == self.field, |begin| held.starts_with(begin));
        let found = fields.0.iter().filter(|(held, _)| own(held));
        found.filter_map(|(held, value)| self.one(held, value, fields)).collect()
    }

    fn one(&self, held: &str, value: &str, fields: &Fields) -> Option<(String, String)> {
        if let Some(pair) = &self.pair {
            let end = held.strip_prefix(self.field.trim_end_matches('*'))?;
            let name = format!("{}{value}", self.name.as_deref().unwrap_or_default());
            return Some((name, fields.get(&format!("{pair}{end}"))?.to_owned()));
        }
        let value = match &self.part {
            Some(part) => regex::Regex::new(part).ok()?.captures(value)?.get(1)?.as_str(),
            None => value,
        };
        let trimmed = value.trim_matches(|letter| self.trim.contains(letter));
        let end = held.strip_prefix(self.field.trim_end_matches('*')).filter(|_| self.behind);
        let name = self.name.as_ref().map(|name| format!("{name}{}", end.unwrap_or_default()));
        Some((name.unwrap_or_else(|| held.to_owned()), trimmed.to_owned()))
    }
}

/// The file in a multipart form: what stands between the first part's empty line and the next boundary.
pub(super) fn uploaded<'b>(content_type: &str, body: &'b [u8]) -> Option<&'b [u8]> {
    let boundary = content_type.split("boundary=").nth(1)?.trim_matches(['"', ' ']);
    if boundary.is_empty() {
        return None;
    }
    let at = |hay: &[u8], needle: &[u8]| hay.windows(needle.len()).position(|window| window == needle);
    let begin = at(body, b"\r\n\r\n")? + 4;
    let rest = body.get(begin..)?;
    let end = at(rest, format!("\r\n--{boundary}").as_bytes())?;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, fields: &Fields) -> Vec<(String, String)> {
        toml::from_str::<Set>(text).unwrap().find(fields)
    }

    #[test]
    fn fields_become_settings_in_every_vendors_form() {
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let form = Fields::of_form(b"P237=10.0.0.1%2Fx&P2=a&gnkey=0b82&var-0000=237&val-0000=h&path=%2Fa%2F");
        assert_eq!(set("field = 'P237'", &form), pair("P237", "10.0.0.1/x"));
        assert_eq!(set("field = 'P*'", &form).len(), 2);
        assert_eq!(set("field = 'var-*'\npair = 'val-'\nname = 'P'", &form), pair("P237", "h"));
        assert_eq!(set("field = 'path'\ntrim = '/'\nname = 'http path'", &form), pair("http path", "a"));
        let json = Fields::of_body(br#"{"formData":{"AutoProvisionServerURL":"http://h/","n":1,"x":[1]}}"#);
        assert_eq!(
            set("field = 'formData/AutoProvisionServerURL'\nname = 'url'", &json),
            pair("url", "http://h/")
        );
        let thorns = Fields::of_form("PAGEID=16&CONFIG_DATA=%C3%BE1%C3%BEtftp://h%C3%BE".as_bytes());
        let part = "field = 'CONFIG_DATA'\nname = 'url'\npart = '^þ[^þ]*þ([^þ]*)'";
        assert_eq!(set(part, &thorns), pair("url", "tftp://h"));
    }

    #[test]
    fn a_file_is_found_in_its_form() {
        let body = b"--xy\r\nContent-Disposition: form-data; name=\"CONFIG\"\r\n\r\na\r\nb\r\n--xy--\r\n";
        assert_eq!(uploaded("multipart/form-data; boundary=xy", body), Some(&b"a\r\nb"[..]));
        for (kind, body) in [("", &body[..]), ("a; boundary=", body), ("a; boundary=xy", b"--xy\r\n\r\n")] {
            assert_eq!(uploaded(kind, body), None, "{kind}");
        }
    }
}
