-- Runs and their estimates. Instants are text: RFC 3339, UTC, so that they sort as they are.
CREATE TABLE run (
    number           INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    started          TEXT NOT NULL,
    profile          TEXT NOT NULL,
    tool             TEXT NOT NULL,
    tool_commit      TEXT NOT NULL,
    payload          TEXT NOT NULL,    -- SHA-256
    cpu              TEXT NOT NULL,    -- the host's fingerprint: cpu, kernel, kvm
    kernel           TEXT NOT NULL,
    kvm              TEXT NOT NULL,
    project_commit   TEXT,             -- of the checkout that was measured from
    project_modified INTEGER,
    project_branch   TEXT,
    ended_early      TEXT,
    inconclusive     TEXT,
    folder           TEXT
) STRICT;

CREATE INDEX run_by_time ON run (started, number);

CREATE TABLE series (
    number   INTEGER PRIMARY KEY,
    backend  TEXT NOT NULL,
    workload TEXT NOT NULL,
    metric   TEXT NOT NULL,
    unit     TEXT NOT NULL,
    better   TEXT NOT NULL,
    UNIQUE (backend, workload, metric)
) STRICT;

-- One series lies together on disk.
CREATE TABLE estimate (
    series     INTEGER NOT NULL REFERENCES series (number),
    run        INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
    n          INTEGER NOT NULL,
    median     REAL NOT NULL,
    low        REAL,                   -- 95 % interval of the median
    high       REAL,
    ratio      REAL,                   -- to `process`, in the same blocks
    ratio_low  REAL,
    ratio_high REAL,
    PRIMARY KEY (series, run)
) STRICT, WITHOUT ROWID;

CREATE INDEX estimate_by_run ON estimate (run);
