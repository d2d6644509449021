-- What programs may do by the REST API, and what they have done once.

-- A token is shown when it is made and never again; 256 random bits cannot be guessed from their digest.
CREATE TABLE api_token (
    id           TEXT PRIMARY KEY,       -- stands in the token, in listings and in the audit
    name         TEXT NOT NULL,
    digest       TEXT NOT NULL,          -- SHA-256 of the whole token
    scopes       TEXT NOT NULL,          -- words with a space between them
    created_ms   BIGINT NOT NULL,
    created_by   TEXT NOT NULL,
    expires_ms   BIGINT NOT NULL,
    last_used_ms BIGINT,                 -- to the minute
    revoked_ms   BIGINT
);

-- A deed with an Idempotency-Key, written in the transaction that does it. The answer follows when it is made; without
-- one (the agent ended in between) the deed is done all the same.
CREATE TABLE api_deed (
    token   TEXT NOT NULL,
    key     TEXT NOT NULL,               -- SHA-256 of the Idempotency-Key
    request TEXT NOT NULL,               -- SHA-256 of what was asked
    at_ms   BIGINT NOT NULL,
    status  BIGINT,
    answer  TEXT,
    PRIMARY KEY (token, key)
);
CREATE INDEX api_deed_at ON api_deed (at_ms);
