-- Blueprints that run at certain times.

create table schedules (
    org text not null,
    person text not null,
    name text not null,
    -- What runs, and when: JSON.
    document text not null,
    paused bigint not null,
    -- Everything planned up to here is dealt with.
    last bigint not null,
    -- When it is due; null when it never is again.
    next bigint,
    -- A claim holds it until then.
    held bigint not null default 0,
    -- Grows with every claim and change.
    fence bigint not null default 1,
    -- The newest run, and the time it was planned for.
    execution text,
    planned bigint,
    primary key (org, person, name)
);

create index schedules_by_next on schedules (next) where paused = 0 and next is not null;
