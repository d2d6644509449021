//! The agent's host and LAN, checked as `offhook doctor` does, by the agent itself. Asks nobody but its own services.

use axum::extract::State;

use crate::admin::Shared;
use crate::admin::answer::{Answer, Problem};
use crate::doctor::{self, Wishes};

/// The report.
pub(in crate::admin) async fn look(State(shared): State<Shared>) -> Result<Answer, Problem> {
    Ok(Answer::json(&doctor::examine(&shared.patient(), Wishes::default()).await)?)
}
