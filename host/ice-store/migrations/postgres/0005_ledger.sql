-- The ledger of orgs: a view of the events, kept so that two processes cannot spend the same money.

-- What an execution itself spent on a day since 1970, in micro-USD. Executions it started have rows of their own.
create table ledger_spent (
    org       text collate "C" not null,
    day       bigint not null,
    execution text collate "C" not null references executions (id),
    micro_usd bigint not null,
    primary key (org, day, execution)
);

create index ledger_spent_by_execution on ledger_spent (execution);

-- Money set aside for a call under way. It counts until it is settled, or restated because its process is gone.
create table ledger_holds (
    execution text collate "C" not null references executions (id),
    key       text collate "C" not null,
    org       text collate "C" not null,
    micro_usd bigint not null,
    primary key (execution, key)
);

create index ledger_holds_by_org on ledger_holds (org);
