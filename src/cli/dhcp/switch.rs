//! `offhook dhcp on` and `off`: the kill switch, a row that the agent obeys at once.

use std::time::Duration;

use super::super::{Context, Failure, Outcome, open, output};
use crate::clock::Clock;
use crate::config::DhcpMode;
use crate::dhcp::lease::SILENCE_BEFORE_RETURN;
use crate::store::{Store, SwitchState, Switches};

#[derive(Debug, clap::Args)]
pub(crate) struct Off {
    /// The interface; all of them where none is given
    interface: Option<String>,
    /// For which reason; it stands in the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct On {
    /// The interface
    interface: String,
    /// For which reason; it stands in the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

/// Nothing is sent any more.
pub(crate) async fn off(args: &Off, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    if let Some(name) = &args.interface {
        known(context, &store, name).await?;
    }
    let name = args.interface.as_deref().unwrap_or_default();
    store.set_dhcp_switch(name, SwitchState::Off, &args.why).await?;
    open::poke(context);
    let on = if name.is_empty() { "any interface".to_owned() } else { name.to_owned() };
    say(context, name, SwitchState::Off, &format!("DHCP is not answered on {on} any more"));
    Ok(())
}

/// What the configuration says is done again.
pub(crate) async fn on(args: &On, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let name = args.interface.as_str();
    known(context, &store, name).await?;
    let config = &context.config.dhcp;
    let alone = config.pool.iter().any(|pool| pool.interface == name && !pool.shared && pool.relay.is_none());
    if config.mode == DhcpMode::Server && !config.dry_run && alone {
        silent_for_long(&store.dhcp_switches().await?, name)?;
    }
    store.set_dhcp_switch(name, SwitchState::On, &args.why).await?;
    open::poke(context);
    let text = match config.mode {
        DhcpMode::Server if alone => format!(
            "DHCP leases are given on {name} as soon as no other server was found there for half a minute"
        ),
        mode => format!("DHCP on {name} does again what the configuration says (dhcp.mode = \"{mode}\")"),
    };
    say(context, name, SwitchState::On, &text);
    Ok(())
}

/// Another server that answered lately is not disturbed again.
fn silent_for_long(switches: &Switches, name: &str) -> Result<(), Failure> {
    let Some((server, at)) = switches.foreign(name) else { return Ok(()) };
    let passed = u64::try_from(Clock::System.now().0.saturating_sub(at.0)).unwrap_or(0);
    let left = SILENCE_BEFORE_RETURN.saturating_sub(Duration::from_millis(passed));
    if left.is_zero() {
        return Ok(());
    }
    let left = format!("{} min {} s", left.as_secs() / 60, left.as_secs() % 60);
    Err(Failure::no(
        "foreign_dhcp",
        format!(
            "the DHCP server {server} answered on {name} at {at}; it must have been silent for 15 minutes"
        ),
        format!("switch that server off, and come back in {left}; or set shared = true for a disjoint range"),
    ))
}

/// An interface that is answered or probed on, by this configuration or by an agent of the same database.
async fn known(context: &Context, store: &Store, name: &str) -> Result<(), Failure> {
    let configured = &context.config.dhcp.interfaces;
    let reports = store.dhcp_reports().await?;
    if context.config.dhcp.probe
        || configured.iter().any(|known| known == name)
        || reports.iter().any(|row| row.interface == name)
    {
        return Ok(());
    }
    let named = if configured.is_empty() { "none is".to_owned() } else { configured.join(", ") };
    Err(Failure::no(
        "not_found",
        format!("DHCP is not answered on '{name}': it is not in dhcp.interfaces ({named})"),
        "offhook dhcp status shows the interfaces",
    ))
}

fn say(context: &Context, interface: &str, state: SwitchState, text: &str) {
    if context.json {
        let interface = if interface.is_empty() { "all" } else { interface };
        output::value(&serde_json::json!({ "interface": interface, "state": state }));
    } else {
        output::print(&format!("{text}\n"));
    }
}
