-- SPDX-License-Identifier: Apache-2.0
-- Recordings as they lie in folders and object stores, converted or not. `convert --where` asks for rows of drives.
CREATE TABLE IF NOT EXISTS drives (
    bag TEXT PRIMARY KEY,             -- path or URL, as in recordings.bag and scenes.bag
    place TEXT NOT NULL,              -- what convert is given: the same, with the options of a store's URL
    name TEXT NOT NULL,               -- last part of it
    error TEXT,                       -- why it cannot be read, or NULL; then only the columns above are filled
    digest TEXT,                      -- over names, sizes and samples of its files; copies have the same
    start_utc TEXT, end_utc TEXT,     -- of the log: 2023-11-14T22:13:20.000000Z
    start_ns INTEGER, end_ns INTEGER,
    duration_s REAL,
    messages INTEGER,
    bytes INTEGER,                    -- of their payload
    distance_m REAL,                  -- along the poses, else along the fixes; NULL without either
    mean_speed_mps REAL,
    max_speed_mps REAL,
    latitude REAL, longitude REAL,    -- of the first fix
    south REAL, west REAL, north REAL, east REAL,  -- around all fixes
    sun_elevation_deg REAL,           -- at the first fix
    day_night TEXT,                   -- day, night
    lidars INTEGER,                   -- that a configuration would use
    cameras INTEGER,
    radars INTEGER,
    drops INTEGER,                    -- messages of these that are missing between others
    events INTEGER,                   -- rows in drive_events; NULL where none was looked for
    problems INTEGER,                 -- rows in drive_health that are no notes
    damage TEXT,                      -- what could not be read of it, or NULL
    mark TEXT NOT NULL                -- changes when its files do
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS drive_topics (
    bag TEXT NOT NULL REFERENCES drives ON DELETE CASCADE,
    topic TEXT NOT NULL,
    type TEXT NOT NULL,
    kind TEXT,                        -- lidar, camera, radar, fix, heading, transforms, ...; NULL for any other
    name TEXT,                        -- what a configuration would call the sensor; NULL where it would leave it out
    why_not TEXT,                     -- why it would
    messages INTEGER NOT NULL,
    rate_hz REAL NOT NULL,
    drops INTEGER NOT NULL,
    largest_gap_s REAL NOT NULL,
    frame_id TEXT,
    PRIMARY KEY (bag, topic)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS drive_places (
    bag TEXT NOT NULL REFERENCES drives ON DELETE CASCADE,
    stamp_ns INTEGER NOT NULL,        -- one a second at most
    latitude REAL NOT NULL,
    longitude REAL NOT NULL,
    speed_mps REAL,                   -- NULL where the poses do not say it
    PRIMARY KEY (bag, stamp_ns)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS drive_events (
    bag TEXT NOT NULL REFERENCES drives ON DELETE CASCADE,
    name TEXT NOT NULL,               -- as the configuration calls it
    begin_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    PRIMARY KEY (bag, name, begin_ns)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS drive_health (
    bag TEXT NOT NULL REFERENCES drives ON DELETE CASCADE,
    code TEXT NOT NULL,               -- as inspect has it
    about TEXT NOT NULL,              -- the topic, frame, sensor or file
    text TEXT NOT NULL,
    remedy TEXT NOT NULL,
    is_note INTEGER NOT NULL,         -- 1 for a matter of taste
    PRIMARY KEY (bag, code, about, text)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS drives_by_time ON drives (start_ns);
CREATE INDEX IF NOT EXISTS drive_places_by_place ON drive_places (latitude, longitude);
CREATE INDEX IF NOT EXISTS drive_events_by_name ON drive_events (name);
PRAGMA user_version = 1;
