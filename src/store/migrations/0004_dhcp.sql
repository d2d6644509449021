-- What the DHCP companion has given away, what is kept for whom, and whether it may answer.

-- One row for each address that an agent gave on one of its interfaces; kept behind its end, so that a phone that comes
-- back gets it again.
CREATE TABLE dhcp_lease (
    agent           TEXT NOT NULL,
    interface       TEXT NOT NULL,
    address         TEXT NOT NULL,
    mac             TEXT,                -- of 'quarantined': who was found there, if that is known
    client_id       TEXT,                -- option 61, hexadecimal
    host_name       TEXT,                -- option 12
    class           TEXT,                -- option 60
    state           TEXT NOT NULL CHECK (state IN ('bound', 'released', 'quarantined')),
    granted_ms      BIGINT NOT NULL,     -- wall clock
    granted_boot    TEXT NOT NULL,       -- the boot whose clock measures the lease; another boot goes by the wall clock
    granted_boot_ms BIGINT NOT NULL,
    duration_ms     BIGINT NOT NULL,
    until_ms        BIGINT NOT NULL,     -- wall clock
    PRIMARY KEY (agent, interface, address)
);
CREATE INDEX dhcp_lease_until ON dhcp_lease (until_ms);

CREATE TABLE dhcp_reservation (
    mac      TEXT PRIMARY KEY,
    address  TEXT NOT NULL UNIQUE,
    since_ms BIGINT NOT NULL
);

-- The kill switch. Of an interface's row and the row of all (''), the later word counts.
CREATE TABLE dhcp_switch (
    interface  TEXT PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('on', 'renew', 'off')), -- 'renew': those who have a lease keep it, nobody else
    who        TEXT NOT NULL,
    why        TEXT NOT NULL,
    since_ms   BIGINT NOT NULL,
    foreign_by TEXT,                     -- the other DHCP server that was heard last where there should be none
    foreign_ms BIGINT
);

-- In which mode each agent's interfaces were last, so that leaving "observe" is written down once.
CREATE TABLE dhcp_interface (
    agent     TEXT NOT NULL,
    interface TEXT NOT NULL,
    mode      TEXT NOT NULL,
    report    TEXT,                      -- JSON: pools and counters, for people
    at_ms     BIGINT,
    PRIMARY KEY (agent, interface)
);
