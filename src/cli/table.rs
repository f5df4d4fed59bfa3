//! Tables for terminals: columns as wide as their widest cell.

/// Rows of text under a header.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(super) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// A duration as people say it: `7 s`, `3 min`, `2 h`.
pub(super) fn ago(now_ms: u64, then_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ID", "STATE", "SINCE"]);
        table.add(vec!["ana".into(), "ready".into(), "7 s".into()]);
        table.add(vec!["benjamin".into(), "ok".into(), String::new()]);
        let lines = ["ID        STATE  SINCE", "ana       ready  7 s", "benjamin  ok"];
        assert_eq!(table.lines(), lines);
    }

    #[test]
    fn durations_are_rounded_down() {
        assert_eq!(ago(10_000, 3_000), "7 s");
        assert_eq!(ago(200_000, 0), "3 min");
        assert_eq!(ago(8_000_000, 0), "2 h");
        assert_eq!(ago(0, 5), "0 s");
    }
}
