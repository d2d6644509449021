//! A release whose file comes with the request: it is written beside the catalog while it comes, however long it is, and
//! is in the catalog when it has come whole.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::admin::Shared;
use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Conditions, FILE_MAX, Filter, is_file};
use crate::admin::once::{Begun, Deed};
use crate::operate::Failure;
use crate::operate::firmware::{self, NewRelease};

/// Where files lie while they come, in the folder of static files.
const COMING: &str = ".coming";
/// No phone's firmware is longer.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Of a body nothing has come for so long: whoever sends it has gone.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What is said of the release behind the `?`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Described {
    name: String,
    vendor: String,
    version: String,
    /// With a comma between two of them.
    models: String,
    hardware: Option<String>,
    minimum: Option<String>,
    sha256: Option<String>,
}

/// A body that is a file, and under which conditions it is to be taken.
#[derive(Debug)]
pub(in crate::admin) struct Sent {
    body: Body,
    conditions: Conditions,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_file(&parts.headers) {
            let (message, remedy) =
                ("the body is not said to be a file", "send Content-Type: application/octet-stream");
            return Err(Problem::asked(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body", message, remedy));
        }
        // What is sent again under one key is the same where it is described by the same words.
        let conditions = Conditions::of(&parts, Bytes::from(parts.uri.to_string()))?;
        Ok(Self { body, conditions })
    }
}

/// Takes a release of one file into the catalog.
pub(in crate::admin) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
    Filter(described): Filter<Described>,
    sent: Sent,
) -> Result<Answer, Problem> {
    if sent.conditions.key.is_some() && described.sha256.is_none() {
        let message = "with an Idempotency-Key the file's sha256 is needed: the same key means the same file";
        return Err(Failure::usage("sha256", message, "add sha256=… behind the ?").into());
    }
    let deed = match Deed::begin(&shared, &caller, sent.conditions, None).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    if !deed.is_due() {
        // Done under this key before, and its answer was lost.
        let (vendor, name) = (format!("{}/", described.vendor), format!("/{}", described.name));
        let mut releases = shared.fleet().releases().into_iter();
        let release =
            releases.find(|shown| shown.release.starts_with(&vendor) && shown.release.ends_with(&name));
        return deed.answered(Answer::json(&json!({ "release": release, "notes": [] }))?).await;
    }
    let Ok(_turn) = shared.0.coming.try_lock() else {
        let (message, remedy) = ("another file is coming", "send one after the other");
        return Err(Problem::new(StatusCode::CONFLICT, Failure::no("busy", message, remedy)));
    };
    let folder = shared.0.parts.files.join(COMING);
    let taking = take(&shared, &deed, described, sent.body, &folder);
    let taken = tokio::time::timeout(FILE_MAX, taking).await.unwrap_or_else(|_| {
        let message = format!("the file did not come within {} minutes", FILE_MAX.as_secs() / 60);
        Err(Problem::asked(StatusCode::REQUEST_TIMEOUT, "body", message, "send it by a faster line"))
    });
    // What came is in its place, or was not taken.
    let _ = tokio::fs::remove_dir_all(&folder).await;
    deed.answered(taken?).await
}

async fn take(
    shared: &Shared,
    deed: &Deed,
    described: Described,
    body: Body,
    folder: &Path,
) -> Result<Answer, Problem> {
    let file = written(body, folder, &described).await?;
    let models = described.models.split(',').map(|model| model.trim().to_owned()).collect();
    let Described { vendor, version, hardware, minimum, sha256, .. } = described;
    let new = NewRelease { files: vec![file], vendor, models, version, hardware, minimum, sha256 };
    let (release, notes) = firmware::brought(&shared.fleet(), &deed.store, &new).await?;
    shared.poke();
    Ok(Answer::json(&json!({ "release": release, "notes": notes }))?)
}

/// The file, when all of it has come.
async fn written(mut body: Body, folder: &Path, described: &Described) -> Result<PathBuf, Problem> {
    let name = firmware::file_name(Path::new(&described.name))?;
    if name != described.name {
        let message = format!("'{}' is more than the name of a file", described.name);
        return Err(Failure::usage("name", message, "leave the folders out").into());
    }
    let refused = |error: io::Error| Problem::from(firmware::refused_by_disk(folder, &error));
    // What was coming when an agent was killed.
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        Ok(()) | Err(_) => {}
    }
    tokio::fs::create_dir_all(folder).await.map_err(refused)?;
    let path = folder.join(name);
    let mut file = tokio::fs::File::create_new(&path).await.map_err(refused)?;
    let mut came = 0;
    while let Some(octets) = next(&mut body).await? {
        came += octets.len() as u64;
        if came > FILE_BYTES_MAX {
            let message = format!("the file has more than {FILE_BYTES_MAX} octets");
            return Err(Problem::asked(StatusCode::PAYLOAD_TOO_LARGE, "body", message, "send less"));
        }
        file.write_all(&octets).await.map_err(refused)?;
    }
    file.flush().await.map_err(refused)?;
    if came == 0 {
        return Err(Failure::usage("body", "the file is empty", "send the file as the body").into());
    }
    Ok(path)
}

/// The next octets of a body; `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        let Ok(frame) = tokio::time::timeout(SILENCE_MAX, body.frame()).await else {
            let message = format!("of the body nothing came for {} s", SILENCE_MAX.as_secs());
            return Err(Problem::asked(StatusCode::REQUEST_TIMEOUT, "body", message, "send it again"));
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                let message = "the body did not come whole";
                return Err(Problem::asked(StatusCode::BAD_REQUEST, "body", message, "send it again"));
            }
            Some(Ok(frame)) => {
                if let Ok(octets) = frame.into_data() {
                    return Ok(Some(octets));
                }
            }
        }
    }
}
