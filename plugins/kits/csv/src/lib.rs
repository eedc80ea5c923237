//! Kit `csv`: reads CSV text as typed rows. Computes only; imports no capability.
//!
//! Steps, one file each: split the text into rows and tell malformed ones (`rows`), find delimiter and header
//! (`sniff`), and give columns types (`kinds`).

mod kinds;
mod rows;
mod sniff;
#[cfg(test)]
mod tests;

use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use self::kinds::Kind;
use self::rows::{Row, Rows};

ice_sdk::kit!(csv_loader);

/// More rows than this in one answer are a database, not an input.
const ROWS_MAX: usize = 100_000;

/// The rows, and what could not be read.
#[derive(Serialize, JsonSchema, Debug)]
pub struct Table {
    /// The columns, in order.
    columns: Vec<Column>,
    /// The rows that could be read: column name to value. An empty cell is null.
    rows: Vec<Map<String, Value>>,
    /// The rows that could not be read; the others are not affected.
    errors: Vec<RowError>,
    /// Rows and errors together.
    total: usize,
    /// Whether reading stopped at `max_rows` with text left.
    truncated: bool,
}

/// One column.
#[derive(Serialize, JsonSchema, Debug)]
pub struct Column {
    /// Its name: from the header, or `column_1`, `column_2`, … without one.
    name: String,
    /// The type that every value of the column has.
    #[serde(rename = "type")]
    kind: Kind,
}

/// One row that could not be read.
#[derive(Serialize, JsonSchema, Debug)]
pub struct RowError {
    /// The line of the text it begins on, from 1.
    line: usize,
    /// What is wrong with it.
    message: String,
    /// The beginning of the row as it is written.
    raw: String,
}

/// Reads CSV text as rows with types: integer, number, boolean, date or string for a column, null for an empty cell.
/// A malformed row becomes an error with its line, and the others are read.
#[tool(tags("csv", "table"))]
pub fn csv_loader(
    /// The CSV text.
    text: String,
    /// What stands between two cells, one character. Found by itself when absent: `,` `;` tab or `|`.
    delimiter: Option<String>,
    /// Whether the first row names the columns. Found by itself when absent.
    has_header: Option<bool>,
    /// Most rows to read, errors included.
    #[schemars(range(min = 1, max = 100000))]
    max_rows: Option<usize>,
) -> Result<Table, ToolError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.trim().is_empty() {
        return Err(ToolError::invalid("text", "holds no row"));
    }
    let limit = max_rows.unwrap_or(ROWS_MAX);
    if !(1..=ROWS_MAX).contains(&limit) {
        return Err(ToolError::invalid("max_rows", format!("must be 1 to {ROWS_MAX}")));
    }
    let delimiter = match delimiter.as_deref().filter(|text| !text.is_empty()) {
        None => sniff::delimiter(text),
        Some(text) => one_byte(text)?,
    };
    let mut rows = Rows::new(text, delimiter);
    let first = rows.next().ok_or_else(|| ToolError::invalid("text", "holds no row"))?;
    let first = first.map_err(|error| {
        ToolError::invalid("text", format!("line {}: {}; the first row decides the columns", error.line, error.message))
    })?;
    let named = has_header.unwrap_or_else(|| sniff::is_header(&first.cells));
    let names = if named { sniff::names(&first.cells) } else { sniff::numbers(first.cells.len()) };
    rows.expect(names.len());
    Ok(read(rows, (!named).then_some(first), names, limit))
}

fn one_byte(text: &str) -> Result<u8, ToolError> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        &[byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n".contains(&byte) => Ok(byte),
        _ => Err(ToolError::invalid("delimiter", format!("`{text}` is not one mark such as `,` or `;`"))),
    }
}

fn read(mut rows: Rows<'_>, first: Option<Row>, names: Vec<String>, limit: usize) -> Table {
    let mut cells: Vec<Vec<String>> = Vec::new();
    let mut errors = Vec::new();
    let mut kinds = vec![None; names.len()];
    let mut truncated = false;
    let mut pending = first.map(Ok);
    while let Some(row) = pending.take().or_else(|| rows.next()) {
        if cells.len() + errors.len() == limit {
            truncated = true;
            break;
        }
        match row {
            Ok(row) => {
                for (kind, cell) in kinds.iter_mut().zip(&row.cells) {
                    *kind = kinds::widen(*kind, cell);
                }
                cells.push(row.cells);
            }
            Err(error) => errors.push(error),
        }
    }
    let kinds: Vec<Kind> = kinds.into_iter().map(|kind| kind.unwrap_or(Kind::String)).collect();
    let total = cells.len() + errors.len();
    let typed = |row: Vec<String>| {
        let values = row.into_iter().zip(&kinds).map(|(cell, kind)| kind.value(cell));
        names.iter().cloned().zip(values).collect()
    };
    let rows = cells.into_iter().map(typed).collect();
    let columns = names.iter().zip(&kinds).map(|(name, &kind)| Column { name: name.clone(), kind }).collect();
    Table { columns, rows, errors, total, truncated }
}
