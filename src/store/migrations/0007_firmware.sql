-- Firmware: the releases that were brought, their files, and how far each phone has come with the one it was told of
-- last.

-- The generation that last changed the releases.
ALTER TABLE head ADD COLUMN firmware BIGINT NOT NULL DEFAULT 0;

CREATE TABLE firmware (
    name     TEXT PRIMARY KEY,           -- vendor/folder/file, in small letters
    vendor   TEXT NOT NULL,
    version  TEXT NOT NULL,
    models   TEXT NOT NULL,              -- patterns, one in a line
    hardware TEXT,                       -- NULL: any
    minimum  TEXT,                       -- the version to come from; NULL: any
    added_ms BIGINT NOT NULL
);

CREATE TABLE firmware_file (
    release TEXT NOT NULL REFERENCES firmware (name) ON DELETE CASCADE,
    place   BIGINT NOT NULL,             -- the first is the one that phones are told of
    file    TEXT NOT NULL,
    size    BIGINT NOT NULL,
    sha256  TEXT NOT NULL,
    PRIMARY KEY (release, place)
);

CREATE TABLE firmware_try (
    mac     TEXT PRIMARY KEY REFERENCES device (mac) ON DELETE CASCADE,
    sha256  TEXT NOT NULL,               -- of the release's first file
    had     TEXT NOT NULL,               -- the version that the phone said when it fetched it
    fetched BIGINT NOT NULL,             -- how often it has fetched all of it
    last_ms BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX firmware_try_changed ON firmware_try (changed);
