-- What phones have in common: settings and plans of function keys of a vendor, of a model, of the site; and what each
-- phone fetched last.

-- The generation that last changed what phones have in common.
ALTER TABLE head ADD COLUMN common BIGINT NOT NULL DEFAULT 0;

-- The line that a key uses; NULL: the phone's first.
ALTER TABLE device_key ADD COLUMN line BIGINT;

-- An empty model: all of the vendor; an empty vendor: all phones.
CREATE TABLE common_setting (
    vendor TEXT NOT NULL,
    model  TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (vendor, model, name)
);

CREATE TABLE common_key (
    vendor TEXT NOT NULL,
    model  TEXT NOT NULL,
    number BIGINT NOT NULL CHECK (number > 0),
    kind   TEXT NOT NULL,
    value  TEXT NOT NULL,
    label  TEXT NOT NULL,
    line   BIGINT,
    PRIMARY KEY (vendor, model, number)
);

-- Which text a phone has under each name, every password masked. Texts of phones that have the same are there once.
CREATE TABLE fetched (
    mac    TEXT NOT NULL REFERENCES device (mac) ON DELETE CASCADE,
    file   TEXT NOT NULL,                -- in small letters, as a profile names it
    host   TEXT NOT NULL,                -- this host as the phone sees it
    base   TEXT NOT NULL,                -- and the URL that stands in its files
    at_ms  BIGINT NOT NULL,              -- when it first had this text
    digest TEXT NOT NULL,                -- SHA-256 of the text
    PRIMARY KEY (mac, file)
);
CREATE INDEX fetched_digest ON fetched (digest);

CREATE TABLE fetched_text (
    digest TEXT PRIMARY KEY,
    body   TEXT NOT NULL
);
