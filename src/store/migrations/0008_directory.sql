-- The company directory beside the accounts: people and companies that are called, and call.
CREATE TABLE contact (
    name     TEXT NOT NULL,
    company  TEXT NOT NULL,              -- empty where there is none
    number   TEXT NOT NULL,
    place    BIGINT NOT NULL,            -- the order in which somebody's numbers were written
    PRIMARY KEY (name, company, number)
);
