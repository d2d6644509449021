-- Scans of networks, and whom they found.

CREATE TABLE scan (
    id         BIGINT PRIMARY KEY,
    agent      TEXT NOT NULL,            -- whose links they are
    networks   TEXT NOT NULL,            -- the same text for the same addresses asked in the same way
    state      TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'complete')),
    position   BIGINT NOT NULL,          -- how far it has come; whoever goes on begins there
    started_ms BIGINT NOT NULL,
    last_ms    BIGINT NOT NULL           -- when it last wrote something, and when it ended
);
CREATE INDEX scan_networks ON scan (agent, networks);

CREATE TABLE scan_found (
    scan       BIGINT NOT NULL REFERENCES scan (id) ON DELETE CASCADE,
    address    TEXT NOT NULL,
    mac        TEXT,                     -- NULL: behind a router, and it did not say
    kind       TEXT NOT NULL CHECK (kind IN ('phone', 'guess', 'hint', 'other')),
    vendor     TEXT,
    model      TEXT,
    firmware   TEXT,
    confidence BIGINT NOT NULL,
    evidence   TEXT NOT NULL,            -- JSON: what it showed, in words; never a password
    first_ms   BIGINT NOT NULL,          -- when it was first seen, by this scan or anything before
    PRIMARY KEY (scan, address)
);
