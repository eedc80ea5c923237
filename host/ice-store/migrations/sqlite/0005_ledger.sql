-- The ledger of orgs: a view of the events, kept so that two processes cannot spend the same money. Days count from
-- 1970-01-01 in UTC; money is in micro-USD.

-- What an execution itself spent on a day. Executions it started have rows of their own.
create table ledger_spent (
    execution text    not null references executions (id),
    day       integer not null,
    org       text    not null,
    micro_usd integer not null,
    primary key (execution, day)
) strict, without rowid;

create index ledger_spent_by_org on ledger_spent (org, day);

-- The sum of that over the executions of an org: what is asked for before every call is few rows, however many
-- executions there were.
create table ledger_days (
    org       text    not null,
    day       integer not null,
    micro_usd integer not null,
    primary key (org, day)
) strict, without rowid;

-- Money set aside for a call under way. It counts until it is settled, or restated because its process is gone.
create table ledger_holds (
    execution text    not null references executions (id),
    key       text    not null,
    org       text    not null,
    micro_usd integer not null,
    primary key (execution, key)
) strict, without rowid;

create index ledger_holds_by_org on ledger_holds (org);

-- So many events of an execution are in its sums because they were restated; a settlement among them comes too late.
alter table executions add column counted integer not null default 0;

pragma user_version = 5;
