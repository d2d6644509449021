//! What a vendor's phones would make of an answer: which option they take, where it leads them, and what is wrong with
//! it, each in a sentence with what to do. Nothing that is shown holds a password.

use std::collections::BTreeMap;

use serde::Serialize;

use super::destination::{Destination, server};
use super::endpoint::Endpoint;
use super::form::{self, Form, Shape, Text};
use super::template::{Facts, Role};
use super::{Dhcp, DhcpData, DhcpPlace, DhcpSetting, colons};
use crate::profile::Profile;
use crate::profile::schema::WithoutScheme;

/// What a phone makes of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DhcpVerdict {
    /// The option that it takes: the first in its order that it can read.
    pub takes: Option<u8>,
    /// The URL that it understands, without any password.
    pub url: Option<String>,
    /// Whether that leads to the agent.
    pub reaches_us: bool,
    /// What there is to say, option by option in the phone's order.
    pub findings: Vec<DhcpFinding>,
}

impl DhcpVerdict {
    /// Whether nothing is to be done.
    pub fn is_right(&self) -> bool {
        let password = |finding: &DhcpFinding| finding.judgement == Judgement::PasswordInUrl;
        self.reaches_us && !self.findings.iter().any(password)
    }
}

/// What there is to say about one option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DhcpFinding {
    /// Its code.
    pub option: u8,
    /// In a word.
    pub judgement: Judgement,
    /// In a sentence.
    pub sentence: String,
    /// What to do; empty when nothing.
    pub remedy: String,
}

/// What is to be said about an option, in a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It leads the phone to the agent.
    Right,
    /// The phone cannot read it, or reads something else than was meant.
    WrongFormat(Misformat),
    /// It leads to this other service.
    WrongHost(String),
    /// The phone finds no server at all, and this is the option to name it.
    Missing,
    /// A password stands in it, for everybody on the LAN to read.
    PasswordInUrl,
    /// It is there without a value.
    EmptyValue,
    /// It is right, and the phone takes this wrong one before it.
    Shadowed(u8),
}

/// What is wrong with a format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Misformat {
    /// Nothing stands there.
    Empty,
    /// Octets that are no characters.
    NotText,
    /// Sub-options where a text belongs.
    SubOptions,
    /// Quotes are a part of the value.
    Quoted,
    /// A blank or a line end is a part of the value.
    Blank,
    /// Longer than the phone reads: its limit in octets.
    TooLong(u8),
    /// A host without a scheme, which the phone would ask by a protocol that is not served.
    NoScheme,
    /// A scheme that phones do not speak.
    UnknownScheme,
    /// A URL without a host.
    NoHost,
    /// A folder, and the phone fetches exactly the URL that it is given.
    NoFile,
    /// A text where a list of addresses belongs.
    TextNotAddresses,
    /// No multiple of four octets.
    AddressLength,
    /// A bare text where sub-options belong.
    BareText,
    /// Lengths of sub-options that do not add up.
    SubOptionLength,
    /// This sub-option must be there with the vendor's own value, or the phone skips them all.
    SubOption(u8),
    /// The value does not begin with, or have, what the phone looks for.
    Without(String),
    /// Lengths of enterprises' data that do not add up.
    EnterpriseLength,
    /// A text where RFC 3361 wants a first octet and names or addresses.
    TextNotSipServers,
    /// Neither names nor addresses as in RFC 3361.
    NotSipServers,
    /// No number that fits.
    NotANumber,
}

impl Misformat {
    fn sentence(&self, scheme: WithoutScheme) -> String {
        let guess = match scheme {
            WithoutScheme::Tftp => "TFTP",
            WithoutScheme::Http => "HTTP at port 80",
            WithoutScheme::Refused => "nothing",
        };
        match self {
            Self::Empty => "is empty".to_owned(),
            Self::NotText => "holds octets that are no characters, and this phone wants a text".to_owned(),
            Self::SubOptions => "holds sub-options, and this phone wants a bare text".to_owned(),
            Self::Quoted => "has quotes inside the value, which the phone takes for a part of it".to_owned(),
            Self::Blank => "has a blank or a line end inside the value".to_owned(),
            Self::TooLong(max) => format!("is longer than the {max} characters that this phone reads"),
            Self::NoScheme => {
                format!(
                    "names a host without http:// before it, and this phone then uses {guess}, which is not served there"
                )
            }
            Self::UnknownScheme => "begins with a scheme that phones do not speak".to_owned(),
            Self::NoHost => "has no host in its URL".to_owned(),
            Self::NoFile => {
                "names a folder, and this phone fetches exactly the URL that it is given".to_owned()
            }
            Self::TextNotAddresses => {
                "is a text, and this option is a list of addresses of four octets each".to_owned()
            }
            Self::AddressLength => "is no list of addresses: its length is no multiple of four".to_owned(),
            Self::BareText => "is a bare text, and this phone wants sub-options".to_owned(),
            Self::SubOptionLength => "has sub-options whose lengths do not add up".to_owned(),
            Self::SubOption(code) => {
                format!(
                    "lacks the vendor's own value in sub-option {code}, without which the phone skips all"
                )
            }
            Self::Without(what) => format!("does not have {what} in it"),
            Self::EnterpriseLength => "has enterprise data whose lengths do not add up".to_owned(),
            Self::TextNotSipServers => {
                "is a text, and this option begins with an octet that says whether names or addresses follow"
                    .to_owned()
            }
            Self::NotSipServers => "holds neither names nor addresses of SIP servers".to_owned(),
            Self::NotANumber => "is no number that fits".to_owned(),
        }
    }
}

/// The answer as this profile's phones look at it.
struct Desk<'p> {
    dhcp: &'p Dhcp,
    facts: Facts<'p>,
    answer: &'p BTreeMap<u8, Vec<u8>>,
    settings: BTreeMap<u8, DhcpSetting>,
    /// Where we serve.
    ours: Vec<Endpoint>,
    names: Vec<String>,
}

impl Profile {
    /// What these phones would make of the options of an answer.
    ///
    /// 1. They look into their options in their order, and take the first that they can read.
    /// 2. A trailing NUL is no part of a text.
    /// 3. A value leads to us when its scheme, host and port are those of a service of ours, whatever the path; but a phone
    ///    that is given the URL of a file needs one.
    /// 4. Options beside the server (VLAN, registrar) are looked at for their format alone.
    pub fn judge(&self, answer: &BTreeMap<u8, Vec<u8>>, place: &DhcpPlace) -> DhcpVerdict {
        let nothing = Dhcp::default();
        let facts = self.dhcp_facts(place);
        let settings = self.dhcp_settings(place);
        let dhcp = self.dhcp.as_ref().unwrap_or(&nothing);
        let ours = endpoints(dhcp, &facts, &settings);
        let names = place.names.iter().cloned().chain([place.host.to_string()]).collect();
        Desk { dhcp, facts, answer, settings, ours, names }.verdict()
    }
}

/// The services of this place: the roots of its files, and what the profile's own values say where that is neither HTTP
/// nor TFTP.
fn endpoints(dhcp: &Dhcp, facts: &Facts<'_>, settings: &BTreeMap<u8, DhcpSetting>) -> Vec<Endpoint> {
    let place = facts.place;
    let roots = [&place.base_http, &place.base_https, &place.base_tftp].into_iter().flatten();
    let roots = roots.filter_map(|root| Endpoint::read(root, WithoutScheme::Refused).ok());
    let own = settings.iter().filter_map(|(code, setting)| {
        let form = dhcp.forms.get(code).filter(|form| form.role() == Role::Server)?;
        let read = server(form, &setting.data.octets(), facts, None).ok()??;
        (!matches!(read.endpoint.parts().0, "http" | "https" | "tftp")).then_some(read.endpoint)
    });
    roots.chain(own).collect()
}

impl Desk<'_> {
    fn verdict(&self) -> DhcpVerdict {
        let mut verdict = DhcpVerdict { takes: None, url: None, reaches_us: false, findings: Vec::new() };
        for code in &self.dhcp.order {
            let (Some(form), Some(octets)) = (self.dhcp.forms.get(code), self.answer.get(code)) else {
                continue;
            };
            if form.role() != Role::Server {
                continue;
            }
            match server(form, octets, &self.facts, self.dhcp.file) {
                Err(why) => verdict.findings.push(self.unreadable(*code, form, why)),
                Ok(Some(destination)) => self.arrive(*code, form, &destination, &mut verdict),
                // Well-formed, and of something else: the phone looks on.
                Ok(None) => {}
            }
        }
        if verdict.findings.is_empty() {
            verdict.findings.extend(self.missing());
        }
        verdict.findings.extend(self.beside());
        verdict
    }

    /// A value that the phone can read.
    fn arrive(&self, code: u8, form: &Form, destination: &Destination, verdict: &mut DhcpVerdict) {
        let endpoint = &destination.endpoint;
        let file = destination.file.clone().or_else(|| {
            let octets = self.answer.get(&self.dhcp.file.filter(|file| *file != code)?)?;
            form::text_of(octets).ok().map(str::to_owned)
        });
        let same_service = self.ours.iter().any(|ours| ours.is_same_service(endpoint, &self.names));
        let no_file = file.is_none() && !endpoint.is_guess && endpoint.is_folder() && self.wants_file(form);
        let is_ours = same_service && !no_file;
        if endpoint.has_password {
            verdict.findings.push(DhcpFinding {
                option: code,
                judgement: Judgement::PasswordInUrl,
                sentence: format!(
                    "option {code} has a password in its URL, which everybody on the LAN can read"
                ),
                remedy: format!("{}; change that password", self.set(code)),
            });
        }
        let shown = endpoint.shown(file.as_deref());
        let takes = *verdict.takes.get_or_insert(code);
        let (judgement, sentence) = if same_service && no_file {
            let why = Misformat::NoFile;
            let sentence = format!("option {code} {}", why.sentence(form.without_scheme));
            (Judgement::WrongFormat(why), sentence)
        } else if !is_ours {
            self.astray(code, form, endpoint)
        } else if takes == code || verdict.reaches_us {
            (Judgement::Right, format!("option {code} leads to {shown}"))
        } else {
            let sentence = format!("option {code} is right, but the phone takes option {takes} before it");
            (Judgement::Shadowed(takes), sentence)
        };
        if takes == code {
            verdict.reaches_us = is_ours;
            verdict.url = Some(shown);
        }
        let remedy = match &judgement {
            Judgement::Right => String::new(),
            Judgement::Shadowed(by) => self.set(*by),
            _ if takes != code && verdict.reaches_us => {
                format!("the phone takes option {takes} before it; {}", self.set(code))
            }
            _ => self.set(code),
        };
        verdict.findings.push(DhcpFinding { option: code, judgement, sentence, remedy });
    }

    /// Whether the profile's own value for this option is one file's URL.
    fn wants_file(&self, form: &Form) -> bool {
        let own = form.setting(&self.facts).map(|setting| setting.data.octets());
        let own = own.and_then(|octets| server(form, &octets, &self.facts, None).ok()?);
        own.is_some_and(|own| !own.endpoint.is_folder())
    }

    /// A value that leads elsewhere.
    fn astray(&self, code: u8, form: &Form, endpoint: &Endpoint) -> (Judgement, String) {
        let (_, host, _) = endpoint.parts();
        let our_host = self.names.iter().any(|name| name == host);
        if our_host && endpoint.is_guess {
            let why = Misformat::NoScheme;
            let sentence = format!("option {code} {}", why.sentence(form.without_scheme));
            return (Judgement::WrongFormat(why), sentence);
        }
        let service = endpoint.service();
        let sentence = if our_host {
            format!("option {code} leads to {service}, where nothing of ours listens")
        } else {
            format!("option {code} leads to {service}, which is another server")
        };
        (Judgement::WrongHost(service), sentence)
    }

    fn unreadable(&self, option: u8, form: &Form, why: Misformat) -> DhcpFinding {
        let sentence = format!("option {option} {}", why.sentence(form.without_scheme));
        let judgement = match why {
            Misformat::Empty => Judgement::EmptyValue,
            why => Judgement::WrongFormat(why),
        };
        DhcpFinding { option, judgement, sentence, remedy: self.set(option) }
    }

    /// Nothing names a server, and nothing tried to. Option 66 is what any DHCP server can give; else the one they prefer.
    fn missing(&self) -> Option<DhcpFinding> {
        let is_server =
            |code: &&u8| self.dhcp.forms.get(code).is_some_and(|form| form.role() == Role::Server);
        let given = || self.dhcp.order.iter().filter(|code| self.dhcp.gives.contains(code)).filter(is_server);
        let option = *given().find(|code| **code == 66).or_else(|| given().next())?;
        let sentence = if self.answer.contains_key(&option) {
            format!("option {option} speaks of something else than the server of the phone's files")
        } else {
            format!("option {option} is missing, and nothing else tells the phone where its files are")
        };
        Some(DhcpFinding { option, judgement: Judgement::Missing, sentence, remedy: self.set(option) })
    }

    /// Options that say something else than the server.
    fn beside(&self) -> Vec<DhcpFinding> {
        let mut findings = Vec::new();
        for (code, form) in &self.dhcp.forms {
            let Some(octets) = self.answer.get(code) else { continue };
            let wrong = match (&form.shape, form.role()) {
                (Shape::SipServers(_), Role::Registrar) => form::sip_servers_of(octets).err(),
                (Shape::Text { text: Text::One(template), .. }, Role::Vlan) => {
                    let is_vlan = |text: &str| text.parse::<u16>().is_ok_and(|vlan| vlan < 4095);
                    match form::text_of(octets).map(|text| template.word_in(text).is_some_and(is_vlan)) {
                        Ok(true) => None,
                        Ok(false) => Some(Misformat::NotANumber),
                        Err(why) => Some(why),
                    }
                }
                _ => None,
            };
            findings.extend(wrong.map(|why| self.unreadable(*code, form, why)));
        }
        findings
    }

    /// What to set an option to.
    fn set(&self, code: u8) -> String {
        let Some(setting) = self.settings.get(&code) else {
            let base = self.facts.base.unwrap_or("a service of this agent that is switched on");
            return format!("remove option {code} for these phones, or let it name {base}");
        };
        match &setting.data {
            DhcpData::Text(text) => format!("set option {code} to {text} (without quotes in the value)"),
            DhcpData::Addresses(_) => format!("set option {code} to the address list {}", setting.meaning),
            DhcpData::Octets(octets) => {
                format!("set option {code} to the octets {} ({})", colons(octets), setting.meaning)
            }
        }
    }
}
