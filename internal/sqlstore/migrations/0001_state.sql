-- The provider's state.
--
-- Strings are bytes: IDs, names and values may be any, and order byte by byte.
-- Times are microseconds since 1970-01-01 UTC; NULL is the zero time.
-- A key is a string, or what stands for it where it is long (see keys.go).

CREATE TABLE tsidp_record (
    -- names the record in the tables below; never seen outside
    seq         {{.Identity}},
    -- key of the kind
    kind        {{.Bytes}} NOT NULL,
    -- unique within the kind
    id          {{.Bytes}} NOT NULL,
    -- number of writes
    version     {{.Integer}} NOT NULL,
    -- as written by the caller
    created_at  {{.Integer}},
    -- of a grant: its last rotation
    used_at     {{.Integer}},
    -- from then on the record does not exist; NULL: never
    expires_at  {{.Integer}},
    -- of a grant: its death; NULL: it lives
    dead_at     {{.Integer}},
    -- of a grant: why it died, in a word
    dead_reason {{.Bytes}} NOT NULL,
    -- named index values, encoded (see entries.go), so that one row is the
    -- whole record
    entries     {{.Bytes}} NOT NULL,
    -- opaque
    data        {{.Bytes}} NOT NULL,
    UNIQUE (kind, id)
){{.Rows}};

CREATE INDEX tsidp_record_expires ON tsidp_record (expires_at) WHERE expires_at IS NOT NULL;

-- One row for each entry of tsidp_record.entries.
CREATE TABLE tsidp_record_index (
    -- the record, with which the row goes
    record {{.Integer}} NOT NULL REFERENCES tsidp_record (seq) ON DELETE CASCADE,
    -- key of the entry's name
    name   {{.Bytes}} NOT NULL,
    -- as in tsidp_record
    kind   {{.Bytes}} NOT NULL,
    -- the entry's value
    value  {{.Bytes}} NOT NULL,
    -- as in tsidp_record
    id     {{.Bytes}} NOT NULL,
    PRIMARY KEY (record, name)
){{.Keyed}};

-- The order in which records are listed. PostgreSQL limits what one row of an
-- index holds to about 2700 bytes, which is why kind and name are keys.
CREATE INDEX tsidp_record_index_order ON tsidp_record_index (kind, name, value, id);

CREATE TABLE tsidp_refresh (
    -- SHA-256 of the refresh token
    hash       {{.Bytes}} NOT NULL PRIMARY KEY,
    -- its grant, which can not go before it
    grant_seq  {{.Integer}} NOT NULL REFERENCES tsidp_record (seq),
    -- by the caller's clock
    created_at {{.Integer}},
    -- from then on the token does not exist
    expires_at {{.Integer}} NOT NULL,
    -- when it was rotated; NULL: not yet
    spent_at   {{.Integer}},
    -- of the winning rotation: what the successor derives from
    salt       {{.Bytes}},
    -- of the winning rotation: hash of the successor
    next_hash  {{.Bytes}}
){{.Keyed}};

CREATE INDEX tsidp_refresh_grant ON tsidp_refresh (grant_seq);
CREATE INDEX tsidp_refresh_expires ON tsidp_refresh (expires_at);

CREATE TABLE tsidp_once (
    -- key of the space
    space      {{.Bytes}} NOT NULL,
    -- what was used
    id         {{.Bytes}} NOT NULL,
    -- from then on it may be used again
    expires_at {{.Integer}} NOT NULL,
    PRIMARY KEY (space, id)
){{.Keyed}};

CREATE INDEX tsidp_once_expires ON tsidp_once (expires_at);

CREATE TABLE tsidp_watermark (
    -- SHA-256 of the selector's index (see entries.go)
    selector   {{.Bytes}} NOT NULL,
    -- codes issued at or before this are refused
    revoked_at {{.Integer}} NOT NULL,
    -- from then on they are not
    expires_at {{.Integer}} NOT NULL,
    PRIMARY KEY (selector, revoked_at, expires_at)
){{.Keyed}};

CREATE INDEX tsidp_watermark_expires ON tsidp_watermark (expires_at);

CREATE TABLE tsidp_key_set (
    -- always 1: there is one key set
    one     {{.Integer}} NOT NULL PRIMARY KEY CHECK (one = 1),
    -- number of exchanges
    version {{.Integer}} NOT NULL,
    -- opaque
    data    {{.Bytes}} NOT NULL
){{.Rows}};
