-- Phones that are being pointed here: how far each has come, so that a run that was killed is gone on with.

CREATE TABLE pointing (
    mac       TEXT PRIMARY KEY,          -- strangers among them
    state     TEXT NOT NULL CHECK (state IN ('queued', 'running', 'told', 'came', 'refused')),
    foreigner BIGINT NOT NULL,           -- 1: even if another server has it
    means     TEXT,                      -- the way that is tried: sip-notify:EVENT, or web:NAME
    step      TEXT,                      -- the request that left last; never what was in it
    tries     BIGINT NOT NULL,           -- passwords proved since one was right
    wrong     BIGINT NOT NULL,           -- of those as sold, how many are known to be wrong
    tried_ms  BIGINT,                    -- the last try
    last_ms   BIGINT NOT NULL
);
