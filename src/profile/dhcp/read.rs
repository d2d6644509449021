//! `[dhcp]` as written -> [`Dhcp`]. What cannot be meant is a finding with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;

use toml::Spanned;

use super::form::{Form, Shape, Sub, Text};
use super::template::{Facts, Role, Template, Word};
use super::{ASKED_BY_ALL, Dhcp, DhcpPlace};
use crate::device::Source;
use crate::profile::build::Findings;
use crate::profile::recogniser::Recogniser;
use crate::profile::schema::{DhcpFormat, DhcpOptionToml, DhcpToml, WithoutScheme};

/// Options that belong to the lease or to the network: no vendor has anything to put there.
const NOT_A_VENDORS: [(std::ops::RangeInclusive<u8>, &str); 8] = [
    (0..=0, "fills an option field up"),
    (1..=1, "is the subnet mask"),
    (3..=3, "is the list of routers"),
    (6..=6, "is the list of name servers"),
    (50..=59, "belongs to the lease"),
    (61..=61, "is the client's identifier"),
    (82..=82, "is what relays add"),
    (255..=255, "ends an option field"),
];
/// Octets of one option (its length is one octet); servers do not split a text.
const OPTION_OCTETS_MAX: u8 = 255;
/// Long enough for every place: `http://255.255.255.255:65535/`, and a registrar's name.
const LONGEST: &str = "255.255.255.255";

/// Where the values are as long as they get, for the check of their length.
fn longest_place() -> DhcpPlace {
    DhcpPlace {
        base_http: Some(format!("http://{LONGEST}:65535/")),
        base_tftp: Some(format!("tftp://{LONGEST}/")),
        vlan: Some(4094),
        vlan_priority: Some(7),
        registrar: Some(LONGEST.to_owned()),
        ..DhcpPlace::at(Ipv4Addr::BROADCAST)
    }
}

/// Reads one profile's section.
struct Reader<'r, 't> {
    findings: &'r mut Findings<'t>,
    macros: &'r [String],
    without_scheme: WithoutScheme,
    value: Option<&'r Spanned<String>>,
}

impl Dhcp {
    /// Reads the section; what the phones send as option 60 is, unless said, the first example of each pattern for it.
    pub(in crate::profile) fn read(
        toml: &DhcpToml,
        recognisers: &[Recogniser],
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut reader = Reader {
            findings,
            macros: &toml.macros,
            without_scheme: toml.without_scheme,
            value: toml.value.as_ref(),
        };
        let order = reader.codes(&toml.options, "dhcp.options", true);
        let tables = reader.tables(toml);
        let mut forms = BTreeMap::new();
        for code in order.iter().copied().chain(tables.keys().copied()).collect::<BTreeSet<u8>>() {
            let key = format!("dhcp.option.{code}");
            let blank = DhcpOptionToml::default();
            let table = tables.get(&code).copied().unwrap_or(&blank);
            let span = toml.options.iter().find(|option| *option.get_ref() == code).map(Spanned::span);
            forms.extend(reader.form(code, table, &key, span, false).map(|form| (code, form)));
        }
        let gives = match &toml.gives {
            None => forms.keys().copied().collect(),
            Some(gives) => {
                for code in gives.iter().filter(|code| !forms.contains_key(code.get_ref())) {
                    let message =
                        format!("names {}, which is neither in options nor a table", code.get_ref());
                    let remedy = "add the code to options, or a [dhcp.option.CODE]";
                    reader.findings.push("dhcp.gives", Some(code.span()), message, remedy);
                }
                reader.codes(gives, "dhcp.gives", true).into_iter().collect()
            }
        };
        if let Some(file) = toml.file.as_ref().filter(|file| !forms.contains_key(file.get_ref())) {
            let message = format!("names {}, which has no [dhcp.option] table", file.get_ref());
            reader.findings.push("dhcp.file", Some(file.span()), message, "add the table");
        }
        let known: Vec<u8> = order.iter().chain(forms.keys()).copied().collect();
        let ask = match &toml.ask {
            Some(ask) => reader.codes(ask, "dhcp.ask", false),
            None => ASKED_BY_ALL.into_iter().chain(distinct(&known)).collect(),
        };
        let inform_ask = match &toml.inform_ask {
            Some(ask) => reader.codes(ask, "dhcp.inform_ask", false),
            None => distinct(&known),
        };
        Self {
            inform: toml.inform,
            vendor_classes: reader.vendor_classes(toml.vendor_class.as_deref(), recognisers),
            file: toml.file.as_ref().map(|file| *file.get_ref()),
            order,
            gives,
            ask,
            inform_ask,
            forms,
        }
    }
}

fn distinct(codes: &[u8]) -> Vec<u8> {
    let mut seen = BTreeSet::new();
    codes.iter().copied().filter(|code| seen.insert(*code)).collect()
}

/// Which option a code is, if no vendor may give it.
fn not_a_vendors(code: u8) -> Option<&'static str> {
    NOT_A_VENDORS.iter().find(|(codes, _)| codes.contains(&code)).map(|(_, what)| *what)
}

impl Reader<'_, '_> {
    /// A list of codes, each once; `given`: codes of values, not of questions.
    fn codes(&mut self, codes: &[Spanned<u8>], key: &str, given: bool) -> Vec<u8> {
        let mut read = Vec::new();
        for code in codes {
            let number = *code.get_ref();
            if read.contains(&number) {
                self.findings.push(key, Some(code.span()), format!("names {number} twice"), "name it once");
            } else if let Some(what) = not_a_vendors(number).filter(|_| given) {
                self.illegal(key, Some(code.span()), number, what);
            } else if matches!(number, 0 | 255) {
                self.illegal(key, Some(code.span()), number, "is no option");
            } else {
                read.push(number);
            }
        }
        read
    }

    fn illegal(&mut self, key: &str, span: Option<Range<usize>>, code: u8, what: &str) {
        self.findings.push(key, span, format!("names option {code}, which {what}"), "take it out");
    }

    /// The tables by their codes.
    fn tables<'t>(&mut self, toml: &'t DhcpToml) -> BTreeMap<u8, &'t DhcpOptionToml> {
        let mut tables = BTreeMap::new();
        for (name, table) in &toml.option {
            let key = format!("dhcp.option.{}", name.get_ref());
            let code = name.get_ref().parse::<u8>().ok().filter(|code| code.to_string() == *name.get_ref());
            let Some(code) = code else {
                let remedy = "write the option's code, 1 to 254, without zeros before it";
                self.findings.push(&key, Some(name.span()), "is no code of an option", remedy);
                continue;
            };
            match not_a_vendors(code) {
                Some(what) => self.illegal(&key, Some(name.span()), code, what),
                None => {
                    tables.insert(code, table);
                }
            }
        }
        tables
    }

    /// One option, or one sub-option (`inner`).
    fn form(
        &mut self,
        code: u8,
        table: &DhcpOptionToml,
        key: &str,
        place: Option<Range<usize>>,
        inner: bool,
    ) -> Option<Form> {
        let errors_before = self.findings.count();
        let span = table.format.as_ref().map(Spanned::span);
        let span = span.or(table.value.as_ref().map(Spanned::span)).or(place);
        let format = match (table.format.as_ref().map(|format| *format.get_ref()), code) {
            (Some(format), _) => format,
            (None, 150) if !inner => DhcpFormat::Addresses,
            (None, 120) if !inner => DhcpFormat::SipServers,
            (None, 124 | 125) if !inner => DhcpFormat::VendorIdentifying,
            (None, _) => DhcpFormat::Text,
        };
        self.foreign_keys(table, format, key, span.as_ref());
        let shape = match format {
            DhcpFormat::Text => Some(Shape::Text { text: self.text(table, key, None)?, nul: table.nul }),
            DhcpFormat::Addresses => {
                let usual = Template::of(Word::TftpHost);
                Some(Shape::Addresses(self.one(table, key, Some(usual))?))
            }
            DhcpFormat::SipServers => {
                Some(Shape::SipServers(self.one(table, key, Some(Template::of(Word::Registrar)))?))
            }
            DhcpFormat::Integer => {
                let octets = table.octets.as_ref().map_or(4, |octets| *octets.get_ref());
                if !matches!(octets, 1 | 2 | 4) {
                    let message = format!("is {octets}");
                    self.findings.push(&format!("{key}.octets"), span.clone(), message, "write 1, 2 or 4");
                }
                Some(Shape::Integer { number: self.one(table, key, None)?, octets: usize::from(octets) })
            }
            DhcpFormat::Encapsulated if inner => {
                let remedy = "write text, addresses or integer";
                self.findings.push(key, span.clone(), "has sub-options inside a sub-option", remedy);
                None
            }
            DhcpFormat::Encapsulated => {
                Some(Shape::Encapsulated { subs: self.subs(table, key, span.clone()), end: table.end })
            }
            DhcpFormat::VendorIdentifying => self.vendor_identifying(table, key, span.clone()),
        };
        let usual = if code == 150 { WithoutScheme::Tftp } else { self.without_scheme };
        let length_max = table.length_max.unwrap_or(OPTION_OCTETS_MAX);
        let form = Form { shape: shape?, without_scheme: table.without_scheme.unwrap_or(usual), length_max };
        if self.findings.count() == errors_before {
            self.lengths(&form, key, span);
        }
        Some(form)
    }

    /// A value, or a list of parts.
    fn text(&mut self, table: &DhcpOptionToml, key: &str, usual: Option<Template>) -> Option<Text> {
        if table.parts.is_empty() {
            return self.one(table, key, usual).map(Text::One);
        }
        let mut parts = Vec::new();
        for part in &table.parts {
            let macros = self.macros;
            parts.extend(
                self.findings.parsed(part, &format!("{key}.parts"), |text| Template::parse(text, macros)),
            );
        }
        let separator = table.separator.clone().filter(|separator| !separator.is_empty());
        Some(Text::Parts { parts, separator: separator.unwrap_or_else(|| ",".to_owned()) })
    }

    /// A value: the option's own, the format's usual one, the section's, the root of the files.
    fn one(&mut self, table: &DhcpOptionToml, key: &str, usual: Option<Template>) -> Option<Template> {
        let (value, key) = match (&table.value, usual) {
            (Some(value), _) => (value, format!("{key}.value")),
            (None, Some(usual)) => return Some(usual),
            (None, None) => match self.value {
                Some(value) => (value, "dhcp.value".to_owned()),
                None => return Some(Template::of(Word::Base)),
            },
        };
        let macros = self.macros;
        self.findings.parsed(value, &key, |text| Template::parse(text, macros))
    }

    fn subs(&mut self, table: &DhcpOptionToml, key: &str, span: Option<Range<usize>>) -> Vec<Sub> {
        let mut subs: Vec<Sub> = Vec::new();
        if table.sub.is_empty() {
            self.findings.push(
                key,
                span,
                "has no sub-options",
                "list them: sub = [{ code = 66, value = \"{base}\" }]",
            );
        }
        for (at, sub) in table.sub.iter().enumerate() {
            let key = format!("{key}.sub[{at}]");
            let Some(code) = sub.get_ref().code.as_ref().map(|code| *code.get_ref()) else {
                self.findings.push(&key, Some(sub.span()), "has no code", "write code = 1 to 254");
                continue;
            };
            if matches!(code, 0 | 255) {
                self.illegal(
                    &key,
                    Some(sub.span()),
                    code,
                    "is no sub-option but fills up or ends their list",
                );
            } else if subs.iter().any(|other| other.code == code) {
                self.findings.push(
                    &key,
                    Some(sub.span()),
                    format!("is {code} for a second time"),
                    "name it once",
                );
            }
            let given = sub.get_ref().value.is_some() || !sub.get_ref().parts.is_empty();
            let form = self.form(code, sub.get_ref(), &key, Some(sub.span()), true);
            subs.extend(form.map(|form| Sub { code, form, given }));
        }
        subs
    }

    fn vendor_identifying(
        &mut self,
        table: &DhcpOptionToml,
        key: &str,
        span: Option<Range<usize>>,
    ) -> Option<Shape> {
        let Some(enterprise) = table.enterprise else {
            let remedy = "write enterprise = the vendor's number at IANA";
            self.findings.push(key, span, "is vendor-identifying without an enterprise", remedy);
            return None;
        };
        if table.sub.is_empty() {
            return Some(Shape::VendorText { enterprise, text: self.text(table, key, None)? });
        }
        Some(Shape::VendorSubs { enterprise, subs: self.subs(table, key, span) })
    }

    /// Keys that this format has no use for.
    fn foreign_keys(
        &mut self,
        table: &DhcpOptionToml,
        format: DhcpFormat,
        key: &str,
        span: Option<&Range<usize>>,
    ) {
        use DhcpFormat::{Encapsulated, Integer, Text, VendorIdentifying};
        let has_subs = !table.sub.is_empty();
        let keys = [
            ("sub", has_subs, matches!(format, Encapsulated | VendorIdentifying)),
            ("end", table.end, format == Encapsulated),
            ("enterprise", table.enterprise.is_some(), format == VendorIdentifying),
            ("octets", table.octets.is_some(), format == Integer),
            ("nul", table.nul, format == Text),
            ("length_max", table.length_max.is_some(), format == Text),
            ("parts", !table.parts.is_empty(), matches!(format, Text | VendorIdentifying) && !has_subs),
            ("separator", table.separator.is_some(), !table.parts.is_empty()),
            ("value", table.value.is_some(), format != Encapsulated && !has_subs && table.parts.is_empty()),
        ];
        for (name, is_there, fits) in keys {
            if is_there && !fits {
                let message = "is a key that this option's format has no use for";
                let remedy = "take it out, or write the format that it belongs to";
                self.findings.push(&format!("{key}.{name}"), span.cloned(), message, remedy);
            }
        }
    }

    /// At the place with the longest facts the value must still fit.
    fn lengths(&mut self, form: &Form, key: &str, span: Option<Range<usize>>) {
        let place = longest_place();
        let facts = Facts { place: &place, base: place.base_http.as_deref() };
        let (limit, length) = match &form.shape {
            Shape::Text { text, .. } => (form.length_max, text.fill(&facts).map(|text| text.len())),
            _ => (OPTION_OCTETS_MAX, form.setting(&facts).map(|setting| setting.data.octets().len())),
        };
        let Some(length) = length else {
            let message = "makes no value: not what its format holds, or more than 255 octets";
            self.findings.push(key, span, message, "correct the value");
            return;
        };
        if length > usize::from(limit) {
            let message = format!("may be {length} octets long, and {limit} are read");
            self.findings.push(key, span.clone(), message, "write a shorter value");
        }
        if form.role() == Role::Fixed && length == 0 {
            self.findings.push(key, span, "has an empty value", "write one, or take the option out");
        }
    }

    fn vendor_classes(
        &mut self,
        own: Option<&[Spanned<String>]>,
        recognisers: &[Recogniser],
    ) -> Vec<Vec<u8>> {
        let Some(own) = own else {
            let patterns = recognisers.iter().filter(|pattern| pattern.source == Source::DhcpVendorClass);
            let first = patterns.filter_map(|pattern| pattern.examples.first());
            return first.map(|example| example.text.clone().into_bytes()).collect();
        };
        let read = own.iter().filter_map(|text| self.findings.parsed(text, "dhcp.vendor_class", class));
        read.collect()
    }
}

/// An option 60: a text, or `hex:` and digits.
fn class(text: &str) -> Result<Vec<u8>, String> {
    let octets = match text.strip_prefix("hex:") {
        None => text.as_bytes().to_vec(),
        Some(digits) => {
            let digits: Vec<u32> = digits
                .chars()
                .filter(|c| !matches!(c, ' ' | ':'))
                .map(|c| c.to_digit(16).ok_or_else(|| format!("has '{c}' among its hexadecimal digits")))
                .collect::<Result<_, _>>()?;
            let (pairs, rest) = digits.as_chunks::<2>();
            if !rest.is_empty() {
                return Err("has an odd number of hexadecimal digits".to_owned());
            }
            pairs.iter().filter_map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect()
        }
    };
    if octets.is_empty() || octets.len() > usize::from(OPTION_OCTETS_MAX) {
        return Err("is empty or longer than 255 octets".to_owned());
    }
    Ok(octets)
}
