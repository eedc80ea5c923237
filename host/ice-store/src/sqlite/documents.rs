//! Content-addressed JSON documents.

use async_trait::async_trait;
use ice_core::id::Digest;
use ice_core::ports::{Documents, Failure};
use serde_json::Value;

use super::Store;
use crate::document;

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
}
