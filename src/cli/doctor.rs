//! `offhook doctor`: this host and this LAN, checked: the port table, then each check with what was found and how to put
//! it right. Works whether the agent runs or not, as root or not. Changes nothing, and sends nothing unless it is told to.

mod probe;

use std::fmt::Write as _;
use std::path::Path;

use super::{Context, Failure, Outcome, open, output};
use crate::clock::Clock;
use crate::config::Span;
use crate::doctor::{self, Finding, Patient, PortLine, Report, State, Unopened, Verdict, Wishes};
use crate::store::{self, Store};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ask as well: other servers for phones, other DHCP servers (half a minute), registrars, the time server
    #[arg(long)]
    probe: bool,
    /// Listen so long whether somebody asks for IGMP members; a querier usually asks every 125 s
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Outcome {
    let store = store(context).await;
    let patient = Patient {
        config: &context.config,
        config_file: context.config_file.clone(),
        places: &context.places,
        store: store.as_ref().map_err(Clone::clone),
        is_agent: false,
        clock: Clock::System,
    };
    let wishes = Wishes { wait: args.wait.map(|Span(time)| time), probe: args.probe };
    let probing = async {
        if !args.probe {
            return Vec::new();
        }
        let (rivals, dhcp) = tokio::join!(probe::rivals(context, store.as_ref().ok()), probe::dhcp(context));
        [rivals, dhcp].concat()
    };
    let (report, probed) = tokio::join!(doctor::examine(&patient, wishes), probing);
    told(&report.with(probed), context.json)
}

/// The configuration is not understood: that is the first finding, and the host is looked at all the same.
pub(crate) async fn run_without_configuration(failure: Failure, json: bool) -> Outcome {
    let finding = Finding::broken("config", failure.message, failure.remedy);
    told(&doctor::examine_host(finding, &Clock::System).await, json)
}

/// The store, if there is one already: a doctor makes none.
async fn store(context: &Context) -> Result<Store, Unopened> {
    let denied = |failure: Failure| Unopened::Denied(failure.message, failure.remedy);
    if let Some(file) = store::sqlite_file(&open::store_url(context)) {
        open::own(context, &file).map_err(denied)?;
        if !is_there(&file) {
            return Err(Unopened::Absent(file.display().to_string()));
        }
    }
    open::store(context).await.map_err(|failure| match failure.code {
        "other_user" => denied(failure),
        _ => Unopened::Broken(failure.message, failure.remedy),
    })
}

/// One that cannot be looked at may be there.
fn is_there(file: &Path) -> bool {
    file.try_exists().unwrap_or(true)
}

fn told(report: &Report, json: bool) -> Outcome {
    if json {
        output::value(report);
    } else {
        output::print(&shown(report));
    }
    match report.verdict {
        Verdict::Ok => Ok(()),
        Verdict::Broken => Err(Failure::told()),
        // It was said before what could not be checked, and why.
        Verdict::NotChecked => Err(Failure::failed("not_checked", "", "")),
    }
}

fn shown(report: &Report) -> String {
    let ports: Vec<Vec<String>> = report.ports.iter().map(port).collect();
    let mut text = if ports.is_empty() {
        String::new()
    } else {
        output::table(&["SERVICE", "PORT", "STATE", "HELD BY", "NOTE"], &ports) + "\n"
    };
    for Finding { check, state, text: found, evidence, fix } in &report.findings {
        let _ = writeln!(text, "{:<7} {check:<13} {found}", state.as_str());
        let what = if *state == State::Unknown { "needs" } else { "fix" };
        for (name, said) in [("seen", evidence), (what, fix)] {
            if !said.is_empty() {
                let _ = writeln!(text, "{:<22}{name}: {said}", "");
            }
        }
    }
    let count = |state: State| report.findings.iter().filter(|one| one.state == state).count();
    let (broken, warnings, unknown) = (count(State::Broken), count(State::Warn), count(State::Unknown));
    let _ = writeln!(text, "\n{broken} broken, {warnings} warnings, {unknown} not known");
    text
}

fn port(port: &PortLine) -> Vec<String> {
    let holder = port.holder.as_ref().map(ToString::to_string).unwrap_or_default();
    let note = port.note.trim_start_matches("; ").to_owned();
    vec![port.service.to_owned(), port.port.clone(), port.state.as_str().to_owned(), holder, note]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_shown_with_its_fix() {
        let finding = Finding::broken("key", "the key is gone", "put it back");
        let unknown = Finding::unknown("snooping", "not known", "--wait 130s");
        let text = shown(&Report::new(vec![], vec![finding, unknown]));
        assert_eq!(
            text,
            "BROKEN  key           the key is gone\n                      fix: put it back\n\
             ?       snooping      not known\n                      needs: --wait 130s\n\n\
             1 broken, 0 warnings, 1 not known\n"
        );
    }
}
