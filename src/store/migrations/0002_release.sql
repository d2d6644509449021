-- The one-time release of passwords, the chained audit, and alarms.

-- One row per password of a device: whether it may leave now, and what became of it. `subject` is 'device', or
-- 'account:ID' for the SIP password of a line. The rows of one epoch share one window and one binding.
CREATE TABLE release_grant (
    mac             TEXT NOT NULL REFERENCES device (mac) ON DELETE CASCADE,
    subject         TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('sip', 'menu', 'webui', 'prov')),
    state           TEXT NOT NULL CHECK (state IN ('locked', 'staged', 'open')),
    reason          TEXT,                -- of 'locked': never, expired, delivered, interrupted, revoked, restored, budget
    epoch           BIGINT NOT NULL,     -- which act of arming this is about
    version         BIGINT NOT NULL,     -- of the password that may leave
    staged_until_ms BIGINT,              -- wall clock: a coarse limit only
    window_ms       BIGINT,              -- as the operator or the policy set it; NULL while the policy decides, -1: none
    opened_boot     TEXT,                -- of 'open': the boot whose clock measures the window
    opened_boot_ms  BIGINT,
    opened_wall_ms  BIGINT,              -- for display, and for another host
    opened_by       TEXT,                -- the agent's name
    bound           TEXT,                -- who alone is served in this window; NULL until somebody came
    bound_level     BIGINT,
    releases        BIGINT NOT NULL,     -- in this epoch
    evidence        BIGINT NOT NULL,     -- 0 to 3 in this epoch; -1: never left
    delivered       BIGINT,              -- the version that is known to have arrived, in whatever epoch
    applied         BIGINT,              -- the version that the phone is known to use
    since_ms        BIGINT NOT NULL,     -- when the state was entered
    changed         BIGINT NOT NULL,     -- the generation that last changed this row
    PRIMARY KEY (mac, subject, kind)
);
CREATE INDEX release_grant_changed ON release_grant (changed);

-- Counts the acts of arming of a device; never reused.
ALTER TABLE device ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;

-- The audit is a chain: each row's hash covers the hash before it, and the head holds the last. What was written before
-- there were hashes, or has been removed after its time, lies up to the anchor, with the hash of its last row.
ALTER TABLE head ADD COLUMN audit_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN audit_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE head ADD COLUMN wall_ms BIGINT NOT NULL DEFAULT 0; -- the highest wall clock ever written
ALTER TABLE head ADD COLUMN anchor_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN anchor_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE head ADD COLUMN database_id TEXT NOT NULL DEFAULT ''; -- random: tells one database from another of the same place
UPDATE head SET audit_seq = (SELECT COALESCE(MAX(seq), 0) FROM audit);
UPDATE head SET anchor_seq = audit_seq;
ALTER TABLE audit ADD COLUMN boot_ms BIGINT;
ALTER TABLE audit ADD COLUMN boot TEXT;
ALTER TABLE audit ADD COLUMN agent TEXT;
ALTER TABLE audit ADD COLUMN epoch BIGINT;
ALTER TABLE audit ADD COLUMN release_id TEXT;
ALTER TABLE audit ADD COLUMN prev_hash TEXT;             -- NULL: written before rows were chained
ALTER TABLE audit ADD COLUMN hash TEXT;

-- What an administrator should look at. Repetitions are counted, not listed.
CREATE TABLE alarm (
    id       BIGINT PRIMARY KEY,
    kind     TEXT NOT NULL,
    mac      TEXT,
    peer     TEXT,
    text     TEXT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms  BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    done_ms  BIGINT                      -- when somebody said that it is dealt with
);
CREATE INDEX alarm_last ON alarm (last_ms);
