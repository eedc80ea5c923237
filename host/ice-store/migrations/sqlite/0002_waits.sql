-- What executions wait for: found without reading every list.

-- How many waits are open.
alter table executions add column waits integer not null default 0;
-- While the execution waits: when the first of its waits runs out; null when none does, and while it runs.
alter table executions add column due integer;

create index executions_that_wait on executions (started, id) where waits > 0;
create index executions_by_due on executions (due) where due is not null;

pragma user_version = 2;
