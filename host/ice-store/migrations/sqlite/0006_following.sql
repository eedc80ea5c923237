-- Finding executions that run without reading those that ended.

create index executions_that_run on executions (started, id) where status = 'running';

pragma user_version = 6;
