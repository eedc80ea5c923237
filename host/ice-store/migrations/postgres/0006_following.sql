-- Following executions from other processes, and finding those that run.

-- Until when somebody listens for the events of this list: only then does an append tell of them.
alter table executions add column followed timestamptz;

create index executions_that_run on executions (started, id) where status = 'running';
