//! Tokens of the REST API: who may do what, and until when. A token is told once, when it is made; the table has its
//! digest. Never logs, never shows a token.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::error::{StoreError, failed};
use super::write::{Cell, Write, insert_rows};
use super::{Store, condition};
use crate::clock::Timestamp;
use crate::device::Mac;
use crate::hex::hex;
use crate::secret::Secret;

/// What every token begins with, so that it is recognised where it should not be.
const MARK: &str = "oh_";
const ID_LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyz";
const ID_CHARS: usize = 8;
/// The longest life of a token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_hours(365 * 24);
/// Characters of a token's name.
const NAME_CHARS_MAX: usize = 80;
/// How exactly it is known when a token was used last; a commit for each request would be too dear.
const USED_TO_THE: Duration = Duration::from_mins(1);
/// So long a token that is over is listed.
const KEPT: Duration = Duration::from_hours(400 * 24);
const READ: &str = "read the tokens";

/// What a token may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Phones, their state, alarms.
    DevicesRead,
    /// Approve, block and change phones.
    DevicesWrite,
    /// Say which passwords may leave.
    ReleaseArm,
    /// Set passwords.
    SecretsWrite,
    /// See passwords.
    SecretsReveal,
    /// Vendor profiles.
    ProfilesWrite,
    /// Firmware.
    FirmwareWrite,
    /// The DHCP companion.
    DhcpWrite,
    /// Who did what.
    AuditRead,
    /// Everything but to see passwords.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 10] = [
        Self::DevicesRead,
        Self::DevicesWrite,
        Self::ReleaseArm,
        Self::SecretsWrite,
        Self::SecretsReveal,
        Self::ProfilesWrite,
        Self::FirmwareWrite,
        Self::DhcpWrite,
        Self::AuditRead,
        Self::Admin,
    ];

    /// The word in tables, listings and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DevicesRead => "devices:read",
            Self::DevicesWrite => "devices:write",
            Self::ReleaseArm => "release:arm",
            Self::SecretsWrite => "secrets:write",
            Self::SecretsReveal => "secrets:reveal",
            Self::ProfilesWrite => "profiles:write",
            Self::FirmwareWrite => "firmware:write",
            Self::DhcpWrite => "dhcp:write",
            Self::AuditRead => "audit:read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("'{text}' is not a scope; use some of {}", known()))
    }
}

impl serde::Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A token without what makes it one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ApiToken {
    /// Names it.
    pub id: String,
    /// What it is for, in its maker's words.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it is worth nothing.
    pub expires: Timestamp,
    /// When it was used last, to the minute.
    pub last_used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl ApiToken {
    /// Whether it may do this.
    pub fn may(&self, scope: Scope) -> bool {
        let all = scope != Scope::SecretsReveal && self.scopes.contains(&Scope::Admin);
        all || self.scopes.contains(&scope)
    }

    /// Who acts with it, in the audit.
    pub fn actor(&self) -> String {
        format!("token {} ({})", self.id, self.name)
    }

    /// `valid`, `expired` or `revoked`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match self.revoked {
            Some(_) => "revoked",
            None if self.expires <= now => "expired",
            None => "valid",
        }
    }
}

/// What a text that was presented as a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// A token that is worth something.
    Valid(ApiToken),
    /// One that was worth something once.
    Over(ApiToken),
    /// None.
    Unknown,
}

/// Requests that were refused, for the audit: many are one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRefusal {
    /// The token's number, where one was presented that exists.
    pub token: Option<String>,
    /// From where, as far as they came from one place.
    pub peer: Option<std::net::IpAddr>,
    /// `POST /api/v1/devices/{mac}/arm`, as far as it was one thing that was asked for.
    pub asked: Option<String>,
    /// About which device, where that is known.
    pub mac: Option<Mac>,
    /// In a few words.
    pub why: &'static str,
    /// How many.
    pub count: u64,
}

impl Store {
    /// Makes a token. It is told here and nowhere else.
    pub async fn create_token(
        &self,
        name: &str,
        scopes: &[Scope],
        life: Duration,
    ) -> Result<(ApiToken, Secret), StoreError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
            let why = format!("a token has a name, one line of at most {NAME_CHARS_MAX} characters");
            return Err(StoreError::Conflict(why));
        }
        if life.is_zero() || life > TOKEN_LIFE_MAX {
            return Err(StoreError::Conflict("a token lives for a year at most".to_owned()));
        }
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let mut write = Write::begin(self).await?;
        let (id, secret) = self.new_token()?;
        let token = ApiToken {
            id,
            name: name.to_owned(),
            scopes,
            created: write.now,
            created_by: self.actor.to_string(),
            expires: write.wall.max(write.now).plus(life),
            last_used: None,
            revoked: None,
        };
        let row = vec![
            Cell::text(token.id.as_str()),
            Cell::text(token.name.as_str()),
            Cell::Text(digest(&secret)),
            Cell::Text(words(&token.scopes)),
            Cell::Number(token.created.0),
            Cell::text(token.created_by.as_str()),
            Cell::Number(token.expires.0),
        ];
        let columns = "api_token (id, name, digest, scopes, created_ms, created_by, expires_ms)";
        insert_rows(write.connection(), "write the token", columns, vec![row], "").await?;
        let detail = json!({
            "id": token.id, "name": token.name, "scopes": token.scopes, "expires": token.expires,
        });
        write.audit("token_created", None, &detail).await?;
        write.commit().await?;
        Ok((token, secret))
    }

    fn new_token(&self) -> Result<(String, Secret), StoreError> {
        let entropy = &self.inner.mint.entropy;
        let id = entropy.text(ID_LETTERS, ID_CHARS)?;
        let random = Zeroizing::new(entropy.bytes::<32>()?);
        let digits = Zeroizing::new(hex(&*random));
        let secret = Secret::new(format!("{MARK}{id}_{}", *digits));
        Ok((id, secret))
    }

    /// All tokens, the latest first; those that are over for as long as the audit knows them.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, digest, scopes, created_ms, created_by, expires_ms, last_used_ms, revoked_ms \
             FROM api_token ORDER BY created_ms DESC, id",
        )
        .fetch_all(self.inner.db.reader())
        .await
        .map_err(failed(READ))?;
        Ok(rows.into_iter().map(|row| token(row).0).collect())
    }

    /// Takes from a token what it may do; at once, whichever agent it is presented to.
    pub async fn revoke_token(&self, id: &str) -> Result<ApiToken, StoreError> {
        let mut write = Write::begin(self).await?;
        let Some((mut token, _)) = find(write.connection(), id).await? else {
            return Err(StoreError::NoToken(id.chars().take(NAME_CHARS_MAX).collect()));
        };
        if token.revoked.is_some() {
            return Ok(token);
        }
        token.revoked = Some(write.now);
        sqlx::query("UPDATE api_token SET revoked_ms = $1 WHERE id = $2")
            .bind(write.now.0)
            .bind(id)
            .execute(write.connection())
            .await
            .map_err(failed("revoke the token"))?;
        write.audit("token_revoked", None, &json!({ "id": token.id, "name": token.name })).await?;
        write.commit().await?;
        Ok(token)
    }

    /// What this text is as a token. Asks the database each time, so that what is revoked is revoked.
    pub async fn present_token(&self, text: &Secret) -> Result<Presented, StoreError> {
        let Some(id) = id_of(text) else { return Ok(Presented::Unknown) };
        let mut connection = self.inner.db.reader().acquire().await.map_err(failed(READ))?;
        let Some((token, stored)) = find(&mut connection, id).await? else { return Ok(Presented::Unknown) };
        if !bool::from(stored.as_bytes().ct_eq(digest(text).as_bytes())) {
            return Ok(Presented::Unknown);
        }
        let now = self.release_now().wall;
        Ok(if token.state(now) == "valid" { Presented::Valid(token) } else { Presented::Over(token) })
    }

    /// Writes down that a token is used, where it is not known to the minute.
    pub async fn token_used(&self, token: &ApiToken) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        if token.last_used.is_some_and(|last| last.plus(USED_TO_THE) > now && last <= now) {
            return Ok(());
        }
        let _right = self.inner.writer.lock().await;
        let mut transaction = self.inner.db.begin().await?;
        sqlx::query("UPDATE api_token SET last_used_ms = $1 WHERE id = $2")
            .bind(now.0)
            .bind(token.id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(failed("write down the token's use"))?;
        transaction.commit().await.map_err(failed("write down the token's use"))
    }

    /// Writes down who was refused.
    pub async fn write_api_refusals(&self, refusals: &[ApiRefusal]) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        for ApiRefusal { token, peer, asked, mac, why, count } in refusals {
            let detail = json!({ "token": token, "peer": peer, "asked": asked, "why": why, "count": count });
            write.audit("api_refused", *mac, &detail).await?;
        }
        write.commit().await
    }

    /// Forgets tokens that are over for long, and requests that are remembered no more.
    pub async fn prune_api(&self) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        condition::prune(&mut write).await?;
        sqlx::query("DELETE FROM api_token WHERE expires_ms < $1")
            .bind(write.wall.minus(KEPT).0)
            .execute(write.connection())
            .await
            .map_err(failed("forget old tokens"))?;
        write.commit().await
    }
}

impl Write<'_> {
    /// The database was put back: a token that had been revoked since would be worth something again, so that none is.
    pub(super) async fn revoke_all_tokens(&mut self) -> Result<(), StoreError> {
        let revoked =
            sqlx::query("UPDATE api_token SET revoked_ms = $1 WHERE revoked_ms IS NULL AND expires_ms > $1")
                .bind(self.now.0)
                .execute(self.connection())
                .await
                .map_err(failed("revoke the tokens"))?;
        if revoked.rows_affected() > 0 {
            let detail = json!({ "count": revoked.rows_affected(), "why": "restored" });
            self.audit("tokens_revoked", None, &detail).await?;
        }
        Ok(())
    }
}

type Row = (String, String, String, String, i64, String, i64, Option<i64>, Option<i64>);

async fn find(
    connection: &mut sqlx::AnyConnection,
    id: &str,
) -> Result<Option<(ApiToken, String)>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, digest, scopes, created_ms, created_by, expires_ms, last_used_ms, revoked_ms \
         FROM api_token WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
    .map_err(failed(READ))?;
    Ok(row.map(token))
}

/// With its digest. A scope that this version does not know allows nothing.
fn token(
    (id, name, digest, scopes, created, created_by, expires, last_used, revoked): Row,
) -> (ApiToken, String) {
    let token = ApiToken {
        id,
        name,
        scopes: scopes.split(' ').filter_map(|word| word.parse().ok()).collect(),
        created: Timestamp(created),
        created_by,
        expires: Timestamp(expires),
        last_used: last_used.map(Timestamp),
        revoked: revoked.map(Timestamp),
    };
    (token, digest)
}

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}

/// Of the whole text, the number in it too.
fn digest(text: &Secret) -> String {
    hex(&Sha256::digest(text.expose()))
}

fn id_of(text: &Secret) -> Option<&str> {
    let (id, random) = text.expose().strip_prefix(MARK)?.split_once('_')?;
    (id.len() == ID_CHARS && random.len() == 64).then_some(id)
}

#[cfg(test)]
mod tests;
