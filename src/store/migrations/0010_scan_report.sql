-- What a scan has come to, for whoever reads of it while it runs or later.

ALTER TABLE scan ADD COLUMN total BIGINT NOT NULL DEFAULT 0;     -- questions in all; 0: not written down yet
ALTER TABLE scan ADD COLUMN answered BIGINT NOT NULL DEFAULT 0;  -- hosts that answered in whatever way
ALTER TABLE scan ADD COLUMN remarks TEXT NOT NULL DEFAULT '{}';  -- JSON: addresses that two claim, who answers for others
