//! `offhook run`: the agent, until it is told to stop.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Failure, Outcome, import, open, output};
use crate::agent::{Agent, AgentError, AgentOptions, Service, State};
use crate::clock::{Clock, Entropy};
use crate::config::AdoptPolicy;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What becomes of phones that are not in the inventory (default: adopt.policy, else approve)
    #[arg(long, value_enum, value_name = "POLICY")]
    adopt: Option<AdoptPolicy>,
    /// Import this file first, as `offhook import` does; it is not watched, and nothing is removed
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Hear and record only: answer nothing, serve nothing
    #[arg(long)]
    observe: bool,
}

pub(crate) async fn run(args: Args, mut context: Context) -> Outcome {
    hide_memory();
    if let Some(policy) = args.adopt {
        context.config.adopt.policy = policy;
    }
    if let Some(accounts) = &args.accounts {
        import::file(accounts, &context).await?;
    }
    let store = open::store_with_key(&context).await?;
    if let Some(waiting) = store.waiting_key()? {
        tracing::warn!(
            "The key {waiting} is given, and another one is in use: offhook key rotate changes over"
        );
    }
    let data = context.places.data.display().to_string();
    let (policy, json) = (context.config.adopt.policy, context.json);
    let agent = Agent::start(AgentOptions {
        config: context.config,
        places: context.places,
        store,
        clock: Clock::System,
        entropy: Entropy::System,
        observe: args.observe,
        declared_neighbours: None,
    })
    .await?;
    say(&agent, &data, policy, json);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    until_told_to_stop().await?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("Stopping; transfers under way may finish");
    tokio::select! {
        () = agent.stop() => Ok(()),
        told = until_told_to_stop() => told,
    }
}

/// Opened passwords and the key are in this process's memory: no other process of this user may look into it, and no
/// core dump is written (`PR_SET_DUMPABLE`, prctl(2)). Root still can.
fn hide_memory() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!("Cannot keep other processes of this user out of this one's memory: {error}");
    }
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn until_told_to_stop() -> Outcome {
    let hear = |kind| {
        signal(kind).map_err(|error| {
            Failure::failed(
                "signals",
                format!("cannot hear signals: {error}"),
                "check the limits of this user",
            )
        })
    };
    let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// What it hears on, what it could not open, and how to change that.
fn say(agent: &Agent, data: &str, policy: AdoptPolicy, json: bool) {
    for error in agent.broken_profiles() {
        tracing::warn!("Refused a vendor profile: {error}");
    }
    if json {
        return output::value(&agent.services());
    }
    let (devices, waiting) = agent.store().inventory().count();
    let policy = match policy {
        AdoptPolicy::Known => "strangers are recorded and ignored (adopt = known)",
        AdoptPolicy::Approve => "strangers wait for `offhook device approve MAC` (adopt = approve)",
        AdoptPolicy::Auto => "strangers get the next free account (adopt = auto)",
    };
    output::print(&format!(
        "offhook {}; data in {data}\n{}",
        env!("CARGO_PKG_VERSION"),
        ports(agent.services())
    ));
    output::print(&format!("{devices} phones, {waiting} waiting for approval; {policy}\n"));
}

/// The port table for a person.
pub(crate) fn ports(services: &[Service]) -> String {
    let state = |state| match state {
        State::On => "on",
        State::Off => "OFF",
    };
    let line = |service: &Service| {
        format!(
            "  {:<3}  {:<5}  {:<22}  {}\n",
            state(service.state),
            service.name,
            service.port,
            service.note
        )
    };
    services.iter().map(line).collect()
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let message = error.to_string();
        match error {
            AgentError::Network(_) => Self::failed("network", message, "offhook runs on Linux with netlink"),
            AgentError::Store(error) => error.into(),
            AgentError::Running(_) => {
                Self::failed("running", message, "stop it, or give this one another --config")
            }
            AgentError::Damaged(error) | AgentError::Release(error) => {
                Self::failed(error.code(), message, error.remedy())
            }
            AgentError::Claim { .. } => {
                Self::failed("claim", message, "run the command as root, or as the user of the service")
            }
            AgentError::Nothing(services) => {
                Self::failed("no_service", message, ports(&services).trim().to_owned())
            }
        }
    }
}
