-- The ledger of orgs: a view of the events, kept so that two processes cannot spend the same money.

-- What an execution itself spent on a day since 1970, in micro-USD. Executions it started have rows of their own.
create table ledger_spent (
    org       text    not null,
    day       integer not null,
    execution text    not null references executions (id),
    micro_usd integer not null,
    primary key (org, day, execution)
) strict, without rowid;

create index ledger_spent_by_execution on ledger_spent (execution);

-- Money set aside for a call under way. It counts until it is settled, or restated because its process is gone.
create table ledger_holds (
    execution text    not null references executions (id),
    key       text    not null,
    org       text    not null,
    micro_usd integer not null,
    primary key (execution, key)
) strict, without rowid;

create index ledger_holds_by_org on ledger_holds (org);

pragma user_version = 3;
