//! Why a phone does not come up: its life taken apart into the steps from the first sign of it to its registration, the
//! first of them that broke, and what to do about it. Everything is read from rows, so it is told whether the agent runs
//! or not.

mod steps;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::Failure;
use super::release::{Releases, Short};
use crate::clock::Timestamp;
use crate::config::AdoptConfig;
use crate::device::{Device, Mac, Vendor};
use crate::profile::{Catalog, Profile};
use crate::store::{AlarmRow, Seen, Store};
use crate::timeline::Moment;

/// What is known of a phone, for the judgement.
pub(super) struct Case<'a> {
    pub(super) mac: Mac,
    /// `None`: it is not in the inventory.
    pub(super) device: Option<&'a Device>,
    pub(super) profile: Option<&'a Profile>,
    /// The latest last.
    pub(super) timeline: &'a [Moment],
    /// How its passwords stand.
    pub(super) passwords: Option<Short>,
    /// Those that it has proved to use.
    pub(super) applied: bool,
    /// Open alarms about it, and about rivals.
    pub(super) alarms: &'a [AlarmRow],
    pub(super) adopt: &'a AdoptConfig,
    /// Accounts that nobody has.
    pub(super) pool: usize,
    /// Whether an agent runs on this data.
    pub(super) agent_runs: bool,
    pub(super) now: Timestamp,
}

/// How a step of a phone's life stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It went well, or was not needed.
    Done,
    /// It is on its way, or waits for somebody.
    Waiting,
    /// It went wrong.
    Broken,
    /// Nothing was seen of it.
    Unseen,
}

/// One step of a phone's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LifeStep {
    /// Which: `agent`, `heard`, `admitted`, `profile`, `account`, `led`, `came`, `served`, `passwords`, `applied`,
    /// `registered`.
    pub(crate) step: &'static str,
    pub(crate) state: State,
    /// What is wrong, in a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    pub(crate) text: String,
    /// When that was, where it has a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// Why a phone does not come up, or that it has.
#[derive(Debug, Serialize)]
pub(crate) struct Why {
    mac: Mac,
    vendor: Option<Vendor>,
    model: Option<String>,
    address: Option<String>,
    /// `up`: it has everything that it was to get; `waiting`; `broken`.
    verdict: &'static str,
    /// The step that broke, or that it waits at.
    step: Option<&'static str>,
    /// What is wrong, in a stable word.
    code: Option<&'static str>,
    text: String,
    remedy: Option<String>,
    /// Every step, in their order.
    steps: Vec<LifeStep>,
    /// What somebody should look at, whether or not it is in the way.
    alarms: Vec<AlarmRow>,
}

/// What tells why: the store, the profiles, the rules of this installation, and whether an agent runs.
pub(crate) struct Examiner<'a> {
    pub(crate) store: &'a Store,
    pub(crate) catalog: &'a Catalog,
    pub(crate) releases: &'a Releases<'a>,
    pub(crate) adopt: &'a AdoptConfig,
    pub(crate) agent_runs: bool,
    pub(crate) now: Timestamp,
}

impl Examiner<'_> {
    /// The phone that was seen last at an address.
    pub(crate) async fn behind(&self, address: std::net::IpAddr) -> Result<Mac, Failure> {
        let written = address.to_string();
        let sightings = self.store.sightings(None).await?;
        let at = sightings.iter().find(|seen| seen.whereabouts() == Some(&written));
        at.map(|seen| seen.mac).ok_or_else(|| {
            Failure::no(
                "not_seen",
                format!("no phone was seen at {address}"),
                format!("offhook scan {address}/32 asks who is there; or give its MAC address"),
            )
        })
    }

    /// Takes the phone's life apart.
    pub(crate) async fn why(&self, mac: Mac) -> Result<Why, Failure> {
        let device = self.store.inventory().device(mac);
        let timeline = self.store.timeline(mac, None).await?;
        let sightings = self.store.sightings(Some(mac)).await?;
        let mut alarms = self.store.alarms(false).await?;
        alarms.retain(|alarm| alarm.mac == Some(mac) || alarm.kind == "rival");
        let seen_as = sightings.iter().find_map(|seen| seen.vendor.as_deref()).map(Vendor::new);
        let vendor = device.as_deref().and_then(|device| device.vendor.clone()).or(seen_as);
        let profile = vendor.as_ref().and_then(|vendor| self.catalog.get(vendor));
        let release = device.as_deref().map(|device| self.releases.of(device));
        let case = Case {
            mac,
            device: device.as_deref(),
            profile: profile.map(Arc::as_ref),
            timeline: &timeline,
            passwords: release.as_ref().and_then(super::release::Release::short),
            applied: release.as_ref().is_some_and(super::release::Release::is_applied),
            alarms: &alarms,
            adopt: self.adopt,
            pool: self.store.inventory().pool_size(),
            agent_runs: self.agent_runs,
            now: self.now,
        };
        let steps = steps::all(&case);
        alarms.retain(|alarm| alarm.mac == Some(mac));
        let model = device.as_deref().and_then(|device| device.model.clone());
        let model = model.or_else(|| sightings.iter().find_map(|seen| seen.model.clone()));
        let address = sightings.iter().find_map(Seen::whereabouts).map(str::to_owned);
        Ok(Why::of(mac, steps).with(vendor, model, address, alarms))
    }
}

impl Why {
    /// The first step that did not go well decides; one that nobody saw decides nothing.
    fn of(mac: Mac, steps: Vec<LifeStep>) -> Self {
        let first = steps.iter().find(|step| matches!(step.state, State::Broken | State::Waiting));
        let (verdict, text) = match first {
            None => ("up", "it has everything that it was to get".to_owned()),
            Some(step) if step.state == State::Waiting => ("waiting", step.text.clone()),
            Some(step) => ("broken", step.text.clone()),
        };
        Self {
            mac,
            vendor: None,
            model: None,
            address: None,
            verdict,
            step: first.map(|step| step.step),
            code: first.and_then(|step| step.code),
            text,
            remedy: first.and_then(|step| step.remedy.clone()),
            steps,
            alarms: Vec::new(),
        }
    }

    fn with(
        self,
        vendor: Option<Vendor>,
        model: Option<String>,
        address: Option<String>,
        alarms: Vec<AlarmRow>,
    ) -> Self {
        Self { vendor, model, address, alarms, ..self }
    }

    /// Whether it is broken: the exit code of a check.
    pub(crate) fn is_broken(&self) -> bool {
        self.verdict == "broken"
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let mut text = self.mac.to_string();
        let named = [self.vendor.as_ref().map(Vendor::as_str), self.model.as_deref()];
        for word in named.into_iter().flatten() {
            let _ = write!(text, " {word}");
        }
        if let Some(address) = &self.address {
            let _ = write!(text, " at {address}");
        }
        text.push_str("\n\n");
        for step in &self.steps {
            let state = match step.state {
                State::Done => "ok",
                State::Waiting => "WAITS",
                State::Broken => "BROKEN",
                State::Unseen => "-",
            };
            let at = step.at.map(|at| format!("{at}  ")).unwrap_or_default();
            let _ = writeln!(text, "{state:<7} {:<11} {at}{}", step.step, step.text);
        }
        let _ = writeln!(text, "\n{}: {}", self.verdict, self.text);
        if let Some(remedy) = &self.remedy {
            let _ = writeln!(text, "what to do: {remedy}");
        }
        for alarm in &self.alarms {
            let _ =
                writeln!(text, "\nalarm {} ({}): {}\n  {}", alarm.id, alarm.kind, alarm.text, alarm.remedy);
        }
        text
    }
}
