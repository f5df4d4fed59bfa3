//! The table, and the file for machines.
//!
//! Owns `target/bench/results.json`, where the rows of this bench and of the others meet.

use std::fs;
use std::path::Path;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What is to be reached; none where the row only says how another one came about.
    pub(crate) reach: Option<f64>,
    /// True when a smaller value is better.
    pub(crate) less: bool,
    pub(crate) peer: &'static str,
}

/// The rows so far, and how busy the machine was when each was taken.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(Figure, String)>,
}

impl Report {
    /// Adds a row, and prints it at once for those who watch.
    pub(crate) fn push(&mut self, figure: Figure) {
        let load = load_average();
        println!("{}", line(&figure, &load));
        self.rows.push((figure, load));
    }

    /// Prints one table of all benches, and writes it for machines.
    pub(crate) fn finish(&self) {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        fs::create_dir_all(&directory).unwrap();
        println!(
            "\n{:<66} {:>10} {:>12} {:>9} {:>5}  peers",
            "measure", "value", "unit", "reach", "load"
        );
        let mut all = Vec::new();
        for (figure, load) in &self.rows {
            let Figure { name, value, unit, reach, less: _, peer } = figure;
            println!("{}", line(figure, load));
            all.push(serde_json::json!({
                "name": name, "value": value, "unit": unit, "reach": reach, "peer": peer,
                "load_average": load,
            }));
        }
        for other in ["commits.json", "rtp_load.json", "simulation.json"] {
            let text = fs::read_to_string(directory.join(other)).unwrap_or_default();
            for row in text.lines() {
                let row: serde_json::Value = serde_json::from_str(row).unwrap();
                println!("{}", other_line(&row));
                all.push(row);
            }
        }
        let whole = serde_json::to_string_pretty(&all).unwrap();
        fs::write(directory.join("results.json"), whole).unwrap();
    }
}

fn line(figure: &Figure, load: &str) -> String {
    let Figure { name, value, unit, reach, less, peer } = figure;
    let reached = reach.is_none_or(|reach| if *less { *value <= reach } else { *value >= reach });
    let mark = if reached { "" } else { "  NOT REACHED" };
    let reach = reach.map_or_else(String::new, |reach| reach.to_string());
    format!("{name:<66} {value:>10.2} {unit:>12} {reach:>9} {load:>5}  {peer}{mark}")
}

/// A row of another bench, which marked itself what it did not reach.
fn other_line(row: &serde_json::Value) -> String {
    let text = |key: &str| row.get(key).and_then(|value| value.as_str()).unwrap_or("").to_owned();
    let number = |key: &str| row.get(key).and_then(serde_json::Value::as_f64);
    let value = number("value").unwrap_or(f64::NAN);
    let reach = number("reach").map_or_else(String::new, |reach| reach.to_string());
    // The peers in words, or the figure of the one that ran beside ours.
    let measured = number("peer").map_or_else(String::new, |peer| format!("etcd here {peer}"));
    let (name, unit, peer) = (text("name"), text("unit"), text("peer") + &measured);
    format!("{name:<66} {value:>10.3} {unit:>12} {reach:>9} {:>5}  {peer}", "")
}

/// Tasks that want a core, ours included, over the last minute: on a busy machine rates and
/// delays say little.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap_or_default().to_owned()
}
