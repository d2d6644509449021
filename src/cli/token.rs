//! `offhook token`: which programs may use the REST API, for what, and until when. A token is printed once.

use super::{Context, Failure, Outcome, open, output};
use crate::clock::{Clock, Timestamp};
use crate::config::Span;
use crate::store::{ApiToken, Scope, Store, TOKEN_LIFE_MAX};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Make a token, and print it: this once
    Create {
        /// Which program it is for
        name: String,
        /// What it may do: devices:read, devices:write, release:arm, audit:read, secrets:write, secrets:reveal,
        /// profiles:write, firmware:write, dhcp:write; or admin, which is all but secrets:reveal
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// How long it lives: 90d, 12h; a year at most
        #[arg(long, value_name = "LENGTH", default_value = "90d")]
        expires: Span,
    },
    /// List the tokens that are worth something
    List {
        /// Those that are expired or revoked as well
        #[arg(long)]
        all: bool,
    },
    /// Take from tokens what they may do, at once
    Revoke {
        /// Their numbers, as the list shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    open::only_owner(context)?;
    let store = open::store(context).await?;
    match args {
        Args::Create { name, scopes, expires } => create(context, &store, &name, &scopes, expires).await,
        Args::List { all } => list(context, &store, all).await,
        Args::Revoke { ids } => revoke(context, &store, &ids).await,
    }
}

async fn create(context: &Context, store: &Store, name: &str, scopes: &[Scope], life: Span) -> Outcome {
    if life.0.is_zero() || life.0 > TOKEN_LIFE_MAX {
        return Err(Failure::usage(
            "expires",
            "a token lives for a year at most",
            "write --expires 90d, up to 365d",
        ));
    }
    let (token, secret) = store.create_token(name, scopes, life.0).await?;
    if context.json {
        let mut shown = serde_json::to_value(Listed::new(&token, now())).unwrap_or_default();
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("token".to_owned(), secret.expose().into());
        }
        output::value(&shown);
    } else {
        output::print(&zeroize::Zeroizing::new(format!("{}\n", secret.expose())));
        eprintln!(
            "token {} ({}) until {}; it is not shown again",
            token.id,
            words(&token.scopes),
            token.expires
        );
    }
    Ok(())
}

/// A token, and whether it is worth something.
#[derive(serde::Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    token: &'a ApiToken,
    state: &'static str,
}

impl<'a> Listed<'a> {
    fn new(token: &'a ApiToken, now: Timestamp) -> Self {
        Self { token, state: token.state(now) }
    }

    fn cells(&self) -> Vec<String> {
        let ApiToken { id, name, scopes, created_by, expires, last_used, .. } = self.token;
        let last_used = last_used.map_or_else(|| "-".to_owned(), |last| last.to_string());
        let state = self.state.to_owned();
        vec![
            id.clone(),
            name.clone(),
            words(scopes),
            created_by.clone(),
            expires.to_string(),
            last_used,
            state,
        ]
    }
}

async fn list(context: &Context, store: &Store, all: bool) -> Outcome {
    let (tokens, now) = (store.tokens().await?, now());
    let rows: Vec<Listed<'_>> = tokens.iter().map(|token| Listed::new(token, now)).collect();
    let rows: Vec<Listed<'_>> = rows.into_iter().filter(|row| all || row.state == "valid").collect();
    let heads = ["ID", "NAME", "SCOPES", "MADE BY", "EXPIRES", "LAST USED", "STATE"];
    output::listing(context.json, &rows, &heads, Listed::cells);
    if rows.is_empty() && !context.json {
        eprintln!("no tokens; offhook token create NAME --scope devices:read makes one");
    }
    Ok(())
}

async fn revoke(context: &Context, store: &Store, ids: &[String]) -> Outcome {
    let mut revoked = Vec::new();
    for id in ids {
        let token = store.revoke_token(id).await?;
        if !context.json {
            output::print(&format!("token {id} ({}) is revoked\n", token.name));
        }
        revoked.push(token);
    }
    if context.json {
        let now = now();
        output::value(&revoked.iter().map(|token| Listed::new(token, now)).collect::<Vec<_>>());
    }
    Ok(())
}

fn now() -> Timestamp {
    Clock::System.now()
}

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}
