-- SPDX-License-Identifier: Apache-2.0
-- The catalogue of a spool: what its scenes hold, where they come from and where they stand.
CREATE TABLE recordings (
    bag TEXT PRIMARY KEY,             -- path or URL
    scenes INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    bytes INTEGER NOT NULL,           -- of its scenes
    faults INTEGER NOT NULL,          -- messages lost by fault, also those that no scene counts
    damage TEXT                       -- what could not be read, or NULL
) WITHOUT ROWID;

CREATE TABLE scenes (
    reference_id TEXT PRIMARY KEY,
    drive TEXT NOT NULL,              -- scene.prefix: the reference id without its time
    bag TEXT,                         -- the recording, or NULL where it was recorded live
    start_utc TEXT NOT NULL,          -- 2023-11-14T22:13:20.000000Z
    end_utc TEXT NOT NULL,
    first_stamp_ns INTEGER NOT NULL,
    last_stamp_ns INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    distance_m REAL,                  -- along the device's positions; NULL where they are in no file that is read here
    latitude REAL, longitude REAL,    -- of the first frame with a fix
    south REAL, west REAL, north REAL, east REAL,  -- around all fixes
    world_frame TEXT NOT NULL,
    offset_x REAL, offset_y REAL, offset_z REAL,   -- where the scene starts in the world frame
    frames INTEGER NOT NULL,
    items INTEGER NOT NULL,
    points INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    faults INTEGER NOT NULL,          -- messages and points lost by fault
    end_reason TEXT NOT NULL,
    state TEXT NOT NULL,              -- sealed, storing, stored, submitted, done, failed, quarantined
    error TEXT,                       -- the last one of the upload
    dataset_id TEXT,
    store TEXT,
    format TEXT NOT NULL,
    software TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    content TEXT NOT NULL,            -- digest of its files
    mark TEXT NOT NULL                -- changes when the manifest does
) WITHOUT ROWID;

CREATE TABLE sensors (
    reference_id TEXT NOT NULL REFERENCES scenes ON DELETE CASCADE,
    sensor TEXT NOT NULL,
    kind TEXT NOT NULL,               -- lidar, camera, radar
    topic TEXT NOT NULL,
    frame_id TEXT,
    model TEXT,                       -- of a camera
    width INTEGER, height INTEGER,
    missing INTEGER NOT NULL,         -- frames without it
    mean_ms REAL, max_ms REAL,        -- |stamp - wanted stamp|
    warning TEXT,
    PRIMARY KEY (reference_id, sensor)
) WITHOUT ROWID;

CREATE TABLE losses (
    reference_id TEXT NOT NULL REFERENCES scenes ON DELETE CASCADE,
    topic TEXT NOT NULL,
    cause TEXT NOT NULL,
    count INTEGER NOT NULL,
    is_fault INTEGER NOT NULL,        -- 0 where the configuration asks for it
    PRIMARY KEY (reference_id, topic, cause)
) WITHOUT ROWID;

CREATE INDEX scenes_by_time ON scenes (first_stamp_ns);
CREATE INDEX scenes_by_bag ON scenes (bag);
CREATE INDEX scenes_by_place ON scenes (latitude, longitude);
PRAGMA user_version = 1;
