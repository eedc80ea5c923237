//! Kit `memory`: remembers texts, finds them again, and reads documents into memory in pieces that can be cited.
//!
//! Identity is the host's: a row belongs to the organisation and user of the execution, and no input can say otherwise.

mod digest;
mod ingest;
mod search;
mod sentences;
mod session;
mod summarize;
#[cfg(test)]
mod tests;
mod write;

ice_sdk::kit!(
    write::memory_write_tool,
    search::memory_search_tool,
    session::recent_session_tool,
    ingest::ingestion_tool,
    summarize::memory_summarize_tool,
);
