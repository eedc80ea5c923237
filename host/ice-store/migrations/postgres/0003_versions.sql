-- Names of documents: what a version holds never changes, so one that was withdrawn keeps its row.
create table document_versions (
    name      text collate "C" not null,
    version   text collate "C" not null,
    digest    bytea   not null,
    stored    bigint  not null,
    withdrawn boolean not null default false,
    primary key (name, version)
);
