-- The inventory. One text for SQLite and PostgreSQL: BIGINT for numbers and milliseconds, TEXT for the rest, no BOOLEAN.
-- MACs are twelve lower-case digits. What is sealed is a text of the vault's (see store/vault.rs), never a password.

-- One row. Whoever writes devices or accounts holds it locked, so that generations and numbers come in order, whichever
-- process writes.
CREATE TABLE head (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    generation BIGINT NOT NULL,          -- counts the writes that changed a device or an account
    removal    BIGINT NOT NULL,          -- the generation that last removed one
    next_id    BIGINT NOT NULL,          -- never given twice: sealed texts are bound to their row's number
    key_check  TEXT                      -- a known text, sealed: tells whether a key opens this database
);
INSERT INTO head (id, generation, removal, next_id) VALUES (1, 0, 0, 1);

CREATE TABLE device (
    mac        TEXT PRIMARY KEY,
    vendor     TEXT,
    model      TEXT,
    firmware   TEXT,
    approval   TEXT NOT NULL CHECK (approval IN ('pending', 'approved', 'blocked')),
    way        TEXT,
    gigaset_id TEXT,
    created_ms BIGINT NOT NULL,
    revision   BIGINT NOT NULL,          -- the generation that last changed anything its files depend on
    changed    BIGINT NOT NULL           -- the generation that last changed anything of it
);
CREATE INDEX device_changed ON device (changed);

CREATE TABLE device_secret (
    mac     TEXT NOT NULL REFERENCES device (mac) ON DELETE CASCADE,
    kind    TEXT NOT NULL CHECK (kind IN ('menu', 'webui', 'prov', 'bootstrap')),
    version BIGINT NOT NULL,
    sealed  TEXT NOT NULL,
    digest  TEXT UNIQUE,                 -- SHA-256 of a token, to find its device; 128 random bits cannot be guessed from it
    PRIMARY KEY (mac, kind)
);

CREATE TABLE account (
    id               BIGINT PRIMARY KEY,
    username         TEXT NOT NULL,
    registrar        TEXT NOT NULL,      -- empty: the site's
    auth_id          TEXT NOT NULL,
    display_name     TEXT,
    label            TEXT,
    transport        TEXT,
    outbound_proxy   TEXT,
    srtp             TEXT,
    password_version BIGINT NOT NULL,
    password         TEXT,
    changed          BIGINT NOT NULL,
    UNIQUE (username, registrar)
);
CREATE INDEX account_changed ON account (changed);

-- An account without a line is the pool's.
CREATE TABLE line (
    mac        TEXT NOT NULL REFERENCES device (mac) ON DELETE CASCADE,
    number     BIGINT NOT NULL CHECK (number > 0),
    account_id BIGINT NOT NULL UNIQUE REFERENCES account (id) ON DELETE CASCADE,
    PRIMARY KEY (mac, number)
);

CREATE TABLE device_key (
    mac    TEXT NOT NULL REFERENCES device (mac) ON DELETE CASCADE,
    number BIGINT NOT NULL CHECK (number > 0),
    kind   TEXT NOT NULL,
    value  TEXT NOT NULL,
    label  TEXT NOT NULL,
    PRIMARY KEY (mac, number)
);

CREATE TABLE device_setting (
    mac   TEXT NOT NULL REFERENCES device (mac) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (mac, name)
);

-- The latest of each phone and service, strangers' too; a stranger has no row in device.
CREATE TABLE sighting (
    mac      TEXT NOT NULL,
    channel  TEXT NOT NULL,
    addr     TEXT NOT NULL,
    vendor   TEXT,
    model    TEXT,
    firmware TEXT,
    outcome  TEXT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms  BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    PRIMARY KEY (mac, channel)
);
CREATE INDEX sighting_last ON sighting (last_ms);

-- Who did what. Never a secret, at most its version.
CREATE TABLE audit (
    seq    BIGINT PRIMARY KEY,
    at_ms  BIGINT NOT NULL,
    actor  TEXT NOT NULL,
    event  TEXT NOT NULL,
    mac    TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX audit_mac ON audit (mac);
