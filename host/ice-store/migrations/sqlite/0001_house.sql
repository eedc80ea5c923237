-- The event lists, the documents and the memory of one house.
-- Times are milliseconds since 1970 in UTC; digests are 32 raw bytes; JSON is text.

-- One row an execution: its lease, and what a listing shows without reading the events.
create table executions (
    id            text    not null primary key,
    name          text    not null,
    org           text    not null,
    usr           text    not null,
    status        text    not null,
    started       integer not null,
    updated       integer not null,
    -- Number of events, and so the sequence number of the newest one.
    events        integer not null,
    -- Grows with every holder; an append that carries another number is refused.
    fence         integer not null,
    -- `host:pid:start` of the process that holds the lease; null when nobody does.
    holder        text,
    lease_until   integer not null,
    cancel_reason text
) strict, without rowid;

create index executions_by_owner on executions (org, usr, started, id);

-- The facts. Clustered by execution, so that reading a list is one walk over neighbouring pages.
create table events (
    execution text    not null references executions (id),
    seq       integer not null,
    at        integer not null,
    path      text    not null,
    attempt   integer not null,
    fact      text    not null,
    primary key (execution, seq)
) strict, without rowid;

-- JSON documents under the digest of their canonical form.
create table documents (
    digest   blob not null primary key,
    kind     text not null,
    document text not null
) strict;

-- One row an embedder within a scope. Its number is the upper half of the keys of its vectors.
create table memory_shelves (
    number    integer primary key check (number < 2147483648),
    org       text    not null,
    usr       text    not null,
    scope     text    not null,
    embedder  text    not null,
    dimension integer not null,
    unique (org, usr, scope, embedder)
) strict;

-- One row a remembered text.
create table memory (
    id       integer primary key check (id < 4294967296),
    org      text    not null,
    usr      text    not null,
    scope    text    not null,
    key      text    not null,
    text     text    not null,
    metadata text    not null,
    content  blob    not null,
    written  integer not null,
    -- Where its vector stands, when it has one.
    shelf    integer references memory_shelves (number),
    unique (org, usr, scope, key)
) strict;

create index memory_by_time on memory (org, usr, scope, written);

-- Vectors as little-endian f32. `place` is shelf << 32 | memory.id: the vectors that a search compares lie side by
-- side, and a table tree keeps vectors of any length without wasting pages, which a tree without rowids does not.
create table memory_vectors (
    place  integer primary key,
    vector blob not null
) strict;

-- The words. Contentless: the text stays in `memory` as it was written, while the index holds a normalised form of it;
-- rows are removed by number alone, so the index cannot disagree with a text it does not keep.
-- `tenant` holds one token made of org, user and scope. It makes a search fast, it does not decide who may read.
create virtual table memory_words using fts5 (
    tenant,
    words,
    content = '',
    contentless_delete = 1,
    tokenize = 'porter unicode61 remove_diacritics 2'
);

-- "ice1": tells this database from those of other programs.
pragma application_id = 1768121649;
pragma user_version = 1;
