//! Content-addressed JSON documents, and names for versions of them.

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::ports::{Documents, Failure, NamedDocument, sort_versions, taken};
use semver::Version;
use serde_json::Value;

use super::Store;
use crate::document;
use crate::fault::integer;

#[async_trait]
impl Documents for Store {
    async fn put(&self, kind: &str, document: &Value) -> Result<Digest, Failure> {
        const PUT: &str =
            "insert into documents (digest, kind, document) values (?1, ?2, ?3) on conflict (digest) do nothing";
        let digest = document::digest(document).map_err(Failure::never)?;
        // Kept as it was written, not in canonical form: the keys of an object keep the order the user gave them.
        let (kind, text) = (kind.to_owned(), document.to_string());
        self.write(move |connection| {
            Box::pin(async move {
                let address = digest.as_bytes().as_slice();
                sqlx::query(PUT).bind(address).bind(kind).bind(text).execute(connection).await?;
                Ok(())
            })
        })
        .await?;
        Ok(digest)
    }

    async fn get(&self, digest: &Digest) -> Result<Option<Value>, Failure> {
        const GET: &str = "select document from documents where digest = ?1";
        let digest = *digest;
        self.read(move |connection| {
            Box::pin(async move {
                let address = digest.as_bytes().as_slice();
                let text: Option<String> = sqlx::query_scalar(GET).bind(address).fetch_optional(connection).await?;
                let Some(text) = text else { return Ok(None) };
                Ok(Some(document::read(&digest, &text)?))
            })
        })
        .await
    }

    async fn publish(&self, named: &NamedDocument) -> Result<(), Failure> {
        // No row is returned when the version is there with another digest.
        const PUBLISH: &str = "insert into document_versions (name, version, digest, stored, withdrawn) \
            values (?1, ?2, ?3, ?4, 0) on conflict (name, version) do update set withdrawn = 0 \
            where document_versions.digest = excluded.digest returning name";
        let row = named.clone();
        let written: Option<String> = self
            .write(move |connection| {
                Box::pin(async move {
                    let published = sqlx::query_scalar(PUBLISH)
                        .bind(row.name)
                        .bind(row.version.to_string())
                        .bind(row.digest.as_bytes().as_slice())
                        .bind(integer(row.stored))
                        .fetch_optional(connection);
                    Ok(published.await?)
                })
            })
            .await?;
        written.map(drop).ok_or_else(|| taken(named))
    }

    async fn versions(&self, name: Option<&str>, limit: u32) -> Result<Vec<NamedDocument>, Failure> {
        const VERSIONS: &str = "select name, version, digest, stored from document_versions \
            where withdrawn = 0 and (?1 is null or name = ?1) order by name, stored desc limit ?2";
        let name = name.map(str::to_owned);
        let rows = self.read(move |connection| {
            Box::pin(async move {
                Ok(sqlx::query_as(VERSIONS).bind(name).bind(i64::from(limit)).fetch_all(connection).await?)
            })
        });
        let rows: Vec<document::Row> = rows.await?;
        let mut versions =
            rows.into_iter().map(document::named).collect::<Result<Vec<_>, _>>().map_err(Failure::never)?;
        sort_versions(&mut versions);
        Ok(versions)
    }

    async fn withdraw(&self, name: &str, version: &Version) -> Result<bool, Failure> {
        const WITHDRAW: &str =
            "update document_versions set withdrawn = 1 where name = ?1 and version = ?2 and withdrawn = 0";
        let (name, version) = (name.to_owned(), version.to_string());
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(WITHDRAW).bind(name).bind(version).execute(connection).await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }
}
