-- What happened to each phone, and which DHCP servers were met.

-- The same within one hour is one row. `mark` is a digest of stage, step and text.
CREATE TABLE timeline (
    mac      TEXT NOT NULL,
    hour     BIGINT NOT NULL,            -- of the first time, counted from 1970
    mark     TEXT NOT NULL,
    stage    TEXT NOT NULL,
    step     TEXT NOT NULL,
    text     TEXT NOT NULL,
    data     TEXT,                       -- JSON, of the last time; never a password
    agent    TEXT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms  BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    PRIMARY KEY (mac, hour, mark)
);
CREATE INDEX timeline_last ON timeline (last_ms);

CREATE TABLE dhcp_server (
    agent     TEXT NOT NULL,             -- who met it
    interface TEXT NOT NULL,
    address   TEXT NOT NULL,             -- as it names itself (option 54)
    mac       TEXT,                      -- NULL: only phones have named it
    gives     TEXT NOT NULL,             -- JSON: by vendor, the options that its phones were given; never a password
    first_ms  BIGINT NOT NULL,
    last_ms   BIGINT NOT NULL,
    seen      BIGINT NOT NULL,
    PRIMARY KEY (agent, interface, address)
);
