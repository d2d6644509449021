//! The doctor: this host and this LAN, looked at for what keeps phones from coming up. The judgements take what was read
//! as arguments (texts of /proc, rows, answers) and give findings; only `gather` and `ask` read and ask. Changes nothing,
//! shows no password, and never guesses: what could not be seen is said to be unknown, with what it needs.
//!
//! ```text
//!  gather    reads /proc, the files, the store; hands texts and rows to the judgements
//!  ask       our own services by our own addresses, names of registrars; time, SIP and IGMP where that is wanted
//!  ports     who holds our ports: the port table
//!  links     interfaces, joins, container networks, IGMP snooping
//!  firewall  whether a packet filter lets our packets in
//!  host      rights, buffers, neighbour table, clock, service unit
//!  disk      whose the files are, who may read them, free space
//!  phones    profiles and inventory
//!  lan       rivals, DHCP servers, alarms, certificates, registrars
//! ```

mod ask;
mod disk;
mod firewall;
mod gather;
mod host;
mod lan;
mod links;
mod phones;
mod ports;

use serde::Serialize;

pub(crate) use gather::{Patient, Unopened, Wishes, examine, examine_host};
pub(crate) use ports::PortLine;

/// How one thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// It works, and something may go wrong.
    Warn,
    /// Phones do not come up, or not safely.
    Broken,
    /// It could not be seen.
    Unknown,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Broken => "BROKEN",
            Self::Unknown => "?",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// A stable word (`multicast`).
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) state: State,
    /// What was found, in one sentence.
    pub(crate) text: String,
    /// By what that is known; empty where the sentence says it.
    pub(crate) evidence: String,
    /// What to do; empty where there is nothing to do.
    pub(crate) fix: String,
}

impl Finding {
    fn new(check: &'static str, state: State, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state, text: text.into(), evidence: String::new(), fix: fix.into() }
    }

    pub(crate) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, State::Ok, text, "")
    }

    pub(crate) fn warn(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, State::Warn, text, fix)
    }

    pub(crate) fn broken(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, State::Broken, text, fix)
    }

    /// It was not seen. `needs`: by what it could be.
    pub(crate) fn unknown(check: &'static str, text: impl Into<String>, needs: impl Into<String>) -> Self {
        Self::new(check, State::Unknown, text, needs)
    }

    /// The same with its evidence.
    fn seen(self, evidence: impl Into<String>) -> Self {
        Self { evidence: evidence.into(), ..self }
    }
}

/// Checks without which nothing can be said of this installation.
const ESSENTIAL: [&str; 3] = ["ports", "interfaces", "database"];

/// What the whole came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Nothing is broken.
    Ok,
    /// Something is.
    Broken,
    /// Nothing was seen to be broken, and what matters most could not be seen.
    NotChecked,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// The port table.
    pub(crate) ports: Vec<PortLine>,
    /// In the order in which they are to be put right.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(ports: Vec<PortLine>, findings: Vec<Finding>) -> Self {
        let any = |state: State| findings.iter().any(|finding| finding.state == state);
        let unseen = findings.iter().any(|one| one.state == State::Unknown && ESSENTIAL.contains(&one.check));
        let verdict = match (any(State::Broken), unseen) {
            (true, _) => Verdict::Broken,
            (false, true) => Verdict::NotChecked,
            (false, false) => Verdict::Ok,
        };
        Self { verdict, ports, findings }
    }

    /// The same with these findings as well.
    pub(crate) fn with(self, more: Vec<Finding>) -> Self {
        let findings = self.findings.into_iter().chain(more).collect();
        Self::new(self.ports, findings)
    }
}

/// `eth0, eth1 and 3 more`: so many names as anybody reads.
fn some_of<T: ToString>(all: &[T]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    let rest = all.len().saturating_sub(SHOWN);
    let shown = shown.join(", ");
    if rest == 0 { shown } else { format!("{shown} and {rest} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_worst_that_matters() {
        let ok = Finding::ok("clock", "the clock is right");
        let warn = Finding::warn("disk", "little space", "delete something");
        let unknown = |check| Finding::unknown(check, "not seen", "run it as root");
        let broken = Finding::broken("key", "the key is gone", "put it back");
        let check = |findings: &[Finding], verdict| {
            assert_eq!(Report::new(vec![], findings.to_vec()).verdict, verdict, "{findings:?}");
        };
        check(&[ok.clone(), warn.clone(), unknown("snooping")], Verdict::Ok);
        check(&[ok.clone(), unknown("database")], Verdict::NotChecked);
        check(&[unknown("database"), broken, warn], Verdict::Broken);
        assert_eq!(some_of(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4 and 2 more");
    }
}
