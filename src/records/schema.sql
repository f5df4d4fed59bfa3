-- Columns are documented in docs/records.md. Any change of them raises VERSION in schema.rs.

CREATE TABLE IF NOT EXISTS cdr (
    call         TEXT PRIMARY KEY NOT NULL, -- the call's id
    log_index    INTEGER NOT NULL,          -- where in the log the call ended
    direction    TEXT NOT NULL,             -- inbound, outbound
    from_number  TEXT NOT NULL,
    from_name    TEXT,
    to_number    TEXT NOT NULL,
    flow         TEXT,
    queue        TEXT,
    agent        TEXT,
    arrived_ms   INTEGER NOT NULL,          -- Unix time, milliseconds
    answered_ms  INTEGER,
    ended_ms     INTEGER NOT NULL,
    wait_ms      INTEGER NOT NULL,
    ring_ms      INTEGER NOT NULL,          -- an agent, a target or a trunk was rung
    talk_ms      INTEGER NOT NULL,
    hold_ms      INTEGER NOT NULL,
    outcome      TEXT NOT NULL,             -- answered, abandoned, rejected, …
    ended_by     TEXT NOT NULL,             -- caller, agent, called, system
    cause        TEXT NOT NULL,
    sip_status   INTEGER,
    recording    TEXT,
    redirects    INTEGER NOT NULL,
    trunk        TEXT,
    transfers    INTEGER NOT NULL,
    parties      INTEGER NOT NULL,          -- of its largest conversation; above 2 in a conference
    node         INTEGER NOT NULL,          -- the node that owned the call at its end
    takeovers    INTEGER NOT NULL,
    variables    TEXT NOT NULL,             -- JSON object
    whole        BLOB NOT NULL              -- the record in the node's own encoding
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cdr_by_arrival ON cdr (arrived_ms, call);
CREATE INDEX IF NOT EXISTS cdr_by_caller ON cdr (from_number, arrived_ms);
CREATE INDEX IF NOT EXISTS cdr_by_called ON cdr (to_number, arrived_ms);

CREATE TABLE IF NOT EXISTS segment (
    call         TEXT NOT NULL,
    number       INTEGER NOT NULL,          -- in the order of time, from 0
    kind         TEXT NOT NULL,             -- ivr, queue, ringing, talk, park, echo
    flow         TEXT,
    queue        TEXT,                      -- the queue; of a conversation, the one before it
    agent        TEXT,
    began_ms     INTEGER NOT NULL,
    ended_ms     INTEGER NOT NULL,
    held_ms      INTEGER NOT NULL,
    rang_ms      INTEGER NOT NULL,
    came_to      TEXT NOT NULL,             -- answered, abandoned, flowed-out, refused, ended
    PRIMARY KEY (call, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS segment_by_queue ON segment (queue, began_ms);
CREATE INDEX IF NOT EXISTS segment_by_agent ON segment (agent, began_ms);
CREATE INDEX IF NOT EXISTS segment_by_time ON segment (kind, began_ms, came_to);

CREATE TABLE IF NOT EXISTS stint (
    log_index    INTEGER NOT NULL,
    agent        TEXT NOT NULL,
    state        TEXT NOT NULL,             -- ready, not-ready, reserved, ringing, talking, …
    reason       TEXT,                      -- of not-ready
    call         TEXT,                      -- of reserved, ringing, talking, held, wrap-up
    began_ms     INTEGER NOT NULL,
    ended_ms     INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS stint_by_agent ON stint (agent, began_ms);
CREATE INDEX IF NOT EXISTS stint_by_call ON stint (call);
CREATE INDEX IF NOT EXISTS stint_by_end ON stint (ended_ms);

CREATE TABLE IF NOT EXISTS disposition (
    log_index    INTEGER PRIMARY KEY NOT NULL,
    call         TEXT NOT NULL,
    agent        TEXT NOT NULL,
    queue        TEXT,
    disposition  TEXT NOT NULL,
    note         TEXT,
    at_ms        INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS disposition_by_call ON disposition (call);

CREATE TABLE IF NOT EXISTS timelines (
    call         TEXT PRIMARY KEY NOT NULL,
    log_index    INTEGER NOT NULL,          -- where in the log the call ended
    notes        TEXT NOT NULL,             -- JSON array of [Unix milliseconds, log index, words]
    dropped      INTEGER NOT NULL,          -- notes that were dropped from the middle
    whole        BLOB NOT NULL              -- the timeline in the node's own encoding
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS doubles (        -- second records of a call: always empty
    log_index    INTEGER NOT NULL,
    call         TEXT NOT NULL,
    whole        BLOB NOT NULL
);

CREATE TABLE IF NOT EXISTS unread (         -- rows that this build could not read, kept whole
    log_index    INTEGER NOT NULL,
    row          BLOB NOT NULL
);

-- Callers who waited in a queue and were not served by anybody of us since.
CREATE VIEW IF NOT EXISTS callback AS
SELECT lost.call, cdr.from_number, cdr.from_name, lost.queue,
       lost.began_ms AS entered_ms, lost.ended_ms AS left_ms,
       lost.ended_ms - lost.began_ms AS waited_ms,
       CASE lost.came_to WHEN 'abandoned' THEN 'abandoned' ELSE 'congested' END AS why
FROM segment AS lost JOIN cdr USING (call)
WHERE lost.kind = 'queue' AND lost.came_to IN ('abandoned', 'refused')
  AND cdr.from_number NOT IN ('', 'anonymous')
  AND NOT EXISTS (SELECT 1 FROM cdr AS later WHERE later.from_number = cdr.from_number
                  AND later.arrived_ms >= lost.ended_ms AND later.outcome = 'answered')
  AND NOT EXISTS (SELECT 1 FROM cdr AS later WHERE later.to_number = cdr.from_number
                  AND later.direction = 'outbound'
                  AND later.arrived_ms >= lost.ended_ms AND later.outcome = 'answered');
