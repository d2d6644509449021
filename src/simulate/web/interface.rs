//! A phone's web interface as data: its pages, who sees them, how somebody logs in, and what a form does. One TOML file
//! each, with its sources; nothing here waits or knows a vendor.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::habits::Habits;
use super::form::{Fields, Set};

/// Every interface, by its name in `[simulate] web`.
pub(super) const FILES: [(&str, &str); 13] = [
    ("snom", include_str!("snom.toml")),
    ("snom-m9", include_str!("snom-m9.toml")),
    ("yealink-basic", include_str!("yealink-basic.toml")),
    ("yealink-servlet", include_str!("yealink-servlet.toml")),
    ("yealink-api", include_str!("yealink-api.toml")),
    ("grandstream-form", include_str!("grandstream-form.toml")),
    ("grandstream-cgi", include_str!("grandstream-cgi.toml")),
    ("grandstream-api", include_str!("grandstream-api.toml")),
    ("grandstream-access", include_str!("grandstream-access.toml")),
    ("grandstream-manager", include_str!("grandstream-manager.toml")),
    ("fanvil", include_str!("fanvil.toml")),
    ("gigaset", include_str!("gigaset.toml")),
    ("aastra", include_str!("aastra.toml")),
];

/// One interface.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Interface {
    /// Headers of every answer.
    pub(super) headers: BTreeMap<String, String>,
    /// Headers without which a request gets 403.
    pub(super) needs: Vec<String>,
    /// Who may see the pages.
    pub(super) login: Login,
    /// What becomes of wrong passwords.
    pub(super) lock: Option<Lock>,
    /// For somebody who is not logged in; with Basic and Digest it is 401 besides.
    pub(super) stranger: Reply,
    /// For a page that there is not.
    pub(super) missing: Option<Reply>,
    /// The pages; the first that fits counts.
    pub(super) page: Vec<Page>,
}

/// Who may see pages.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Login {
    /// How a request shows who sends it.
    pub(super) kind: Kind,
    /// Of the challenge.
    pub(super) realm: String,
    /// The administrator's name; empty: it is not asked for, or anybody's.
    pub(super) user: String,
    /// The factory's password; none: everybody is let in until there is one.
    pub(super) password: Option<String>,
    /// The phone's setting that holds the password, where that is not `[simulate] webui`.
    pub(super) setting: Option<String>,
    /// The cookie that holds a session.
    pub(super) cookie: Option<String>,
    /// The field, of a form or a query, that holds a session.
    pub(super) field: Option<String>,
}

/// How a request shows who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// RFC 7617.
    #[default]
    Basic,
    /// RFC 2617, MD5.
    Digest,
    /// By what the login page gave it.
    Session,
}

/// What becomes of wrong passwords.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Lock {
    /// So many in a row lock everybody out.
    pub(super) after: u32,
    /// For so long; none: until the phone starts again.
    pub(super) minutes: Option<u32>,
    /// Whether a further try while it is locked begins the time anew.
    pub(super) anew: bool,
    /// The answer meanwhile.
    pub(super) reply: Reply,
}

/// An answer. Texts have the phone's words in braces, and `{sid}`, `{nonce}`, `{left}` (tries that are left) and
/// `{minutes}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reply {
    /// 200 unless given.
    pub(super) status: Option<u16>,
    /// Over those of every answer.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// One page, for requests that fit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    /// Any unless given.
    pub(super) method: Option<String>,
    /// The path, as a whole.
    pub(super) path: String,
    /// What must be in the query: `NAME` or `NAME=VALUE`.
    pub(super) query: Vec<String>,
    /// What must be in the form.
    pub(super) form: Vec<String>,
    /// A page that its visitor must have been on before.
    pub(super) seen: Option<String>,
    /// Everybody sees it.
    pub(super) anyone: bool,
    /// There is such a page only for somebody who is logged in.
    pub(super) inside: bool,
    /// It asks for the password by Basic, however the others do.
    pub(super) basic: bool,
    /// Headers without which a request gets 403.
    pub(super) needs: Vec<String>,
    /// 403 unless somebody at the phone has allowed remote control.
    pub(super) remote: bool,
    /// The answer.
    pub(super) reply: Reply,
    /// It gives its visitor a nonce.
    pub(super) issues: bool,
    /// It logs its visitor in.
    pub(super) login: Option<LoginForm>,
    /// It logs its visitor out.
    pub(super) logout: bool,
    /// What of its form becomes settings.
    pub(super) set: Vec<Set>,
    /// The file in its form is read as one that was fetched.
    pub(super) upload: bool,
    /// What the phone does next.
    pub(super) then: Option<Then>,
}

/// How a login page is told who its visitor is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LoginForm {
    /// The field of the name, where there is one.
    pub(super) user: Option<String>,
    /// The field of the proof.
    pub(super) password: String,
    /// What is in it.
    pub(super) proof: Proof,
    /// The answer to the factory's password, where that is another than to one of somebody's own.
    pub(super) virgin: Option<Reply>,
    /// The answer to a wrong one.
    pub(super) failed: Reply,
}

/// What shows that somebody knows a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Proof {
    /// The password.
    #[default]
    Plain,
    /// `USER:` and the MD5 of `USER:PASSWORD:NONCE`, the nonce being the cookie's.
    Md5Nonce,
    /// The SHA-256 of the password with the nonce behind it.
    Sha256Nonce,
    /// Something that only the phone's own script makes: nobody is let in by it here.
    Script,
}

/// What follows a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Then {
    /// The phone looks at its configuration.
    Resync,
    /// The phone starts again.
    Reboot,
}

impl Interface {
    /// The interface of this name, filled in for this phone; none where no name is one.
    pub(super) fn of(name: &str, habits: &Habits) -> Option<Self> {
        let (_, text) = FILES.iter().find(|(known, _)| *known == name)?;
        let mut interface: Self = toml::from_str(text).ok()?;
        interface.fill(habits);
        Some(interface)
    }

    /// The phone's words, once and for all.
    fn fill(&mut self, habits: &Habits) {
        self.login.realm = habits.fill(&self.login.realm);
        self.headers.values_mut().for_each(|value| *value = habits.fill(value));
        let own =
            [Some(&mut self.stranger), self.missing.as_mut(), self.lock.as_mut().map(|lock| &mut lock.reply)];
        let pages = self.page.iter_mut().flat_map(|page| {
            let form = page.login.as_mut().map(|form| (&mut form.failed, form.virgin.as_mut()));
            let (failed, virgin) = form.map_or((None, None), |(failed, virgin)| (Some(failed), virgin));
            [Some(&mut page.reply), failed, virgin]
        });
        for reply in own.into_iter().chain(pages).flatten() {
            reply.body = habits.fill(&reply.body);
            reply.headers.values_mut().for_each(|value| *value = habits.fill(value));
        }
    }
}

impl Page {
    /// Whether it is the one for this request.
    pub(super) fn fits(&self, method: &str, path: &str, query: &Fields, form: &Fields) -> bool {
        self.path == path
            && self.method.as_ref().is_none_or(|own| own == method)
            && self.query.iter().all(|wanted| query.has(wanted))
            && self.form.iter().all(|wanted| form.has(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_read_and_has_pages() {
        for (name, text) in FILES {
            let interface: Interface = toml::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(!interface.page.is_empty(), "{name}");
            assert!(text.starts_with("# "), "{name} does not say where it is from");
        }
    }
}
