//! Whether the agent runs, and whether it can do its work: for whoever watches over it. Tells nothing else.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use crate::admin::Shared;
use crate::admin::answer::{Answer, Problem};

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process answers.
pub(in crate::admin) async fn alive() -> Result<Answer, Problem> {
    Ok(Answer::json(&json!({ "status": "ok" }))?)
}

/// The database answers too: phones can be given their passwords.
pub(in crate::admin) async fn ready(State(shared): State<Shared>) -> Result<Answer, Problem> {
    match tokio::time::timeout(PATIENCE, shared.store().mark()).await {
        Ok(Ok(_)) => Ok(Answer::json(&json!({ "status": "ready" }))?),
        Ok(Err(_)) | Err(_) => Err(Problem::asked(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "the database does not answer",
            "the agent's log says why",
        )),
    }
}
