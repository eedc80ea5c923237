//! Rows of text for a person.

/// Lines of a table, each column as wide as its widest cell. The first `left` columns begin at the left, numbers in the
/// others end at the right. `rows` begin with the head; all are equally long.
pub(super) fn lines(rows: &[Vec<String>], left: usize) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let cell = |column: usize, text: &str| {
        let width = widths[column];
        if column < left { format!("{text:<width$}") } else { format!("{text:>width$}") }
    };
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().enumerate().map(|(column, text)| cell(column, text)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A row of texts.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_at_the_left_and_numbers_end_at_the_right() {
        let rows = [row(["org", "spent"]), row(["acme", "$1.50"]), row(["é", "$12.00"])];
        assert_eq!(lines(&rows, 1), ["org    spent", "acme   $1.50", "é     $12.00"]);
        assert!(lines(&[], 1).is_empty());
    }
}
