-- Names of documents: what a version holds never changes, so one that was withdrawn keeps its row.
create table document_versions (
    name      text    not null,
    version   text    not null,
    digest    blob    not null,
    stored    integer not null,
    withdrawn integer not null default 0,
    primary key (name, version)
) strict, without rowid;

pragma user_version = 3;
