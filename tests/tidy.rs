//! What keeps the project readable, where no compiler looks: headers of files, their length, and
//! that dashboard, rules and documents name what exists.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use tandem::metrics::Metrics;

/// Lines of a file, tests included. Past it, split it by layer or by machine.
const LINES_MAX: usize = 600;

/// Files that are longer, with their lines. This list only shrinks.
const LONGER: [(&str, usize); 0] = [];

#[test]
fn every_file_says_what_it_is() {
    let bare: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(name).collect();
    assert!(bare.is_empty(), "these begin without a //! header: {bare:#?}");
}

#[test]
fn no_file_is_too_long_to_be_read_in_one_go() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        let allowed = LONGER.iter().find(|(longer, _)| *longer == name);
        if lines > allowed.map_or(LINES_MAX, |(_, lines)| *lines) {
            long.push(format!("{name}: {lines} lines"));
        }
        if let Some((_, listed)) = allowed {
            assert!(lines > LINES_MAX, "{name} is short enough now: take it off the list");
            assert!(lines >= *listed, "{name} has {lines} lines now: lower the exception");
        }
    }
    assert!(long.is_empty(), "longer than {LINES_MAX}: {long:#?}");
}

#[test]
fn dashboard_rules_and_documents_name_metrics_that_exist() {
    let mut unknown = Vec::new();
    for (file, text) in documents() {
        for word in words_with_prefix(&text, "tandem_") {
            if !is_declared(&word) {
                unknown.push(format!("{file}: {word}"));
            }
        }
    }
    assert!(unknown.is_empty(), "not declared in src/metrics.rs: {unknown:#?}");
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let text = fs::read_to_string(root().join("grafana/dashboard.json")).unwrap();
    let shown = words_with_prefix(&text, "tandem_");
    let is_shown = |name: &str| shown.iter().any(|word| base(word) == name);
    let hidden: Vec<_> = Metrics::NAMES.iter().filter(|name| !is_shown(name)).collect();
    assert!(hidden.is_empty(), "no panel shows {hidden:#?}");
}

/// A metric that nobody sets would say 0, and 0 is a figure.
#[test]
fn every_metric_is_set_somewhere() {
    let code: String = sources()
        .into_iter()
        .filter(|(name, _)| name.starts_with("src/"))
        .map(|(_, text)| text)
        .collect();
    // Giving a label its 0 is not setting it.
    let code = code.replace("(&self.", "(");
    let is_set = |name: &str| {
        let field = format!(".{}", name.trim_start_matches("tandem_"));
        let follows = |(at, _)| code[at + field.len()..].chars().next();
        let ends = |next: Option<char>| next.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        code.match_indices(&field).map(follows).any(ends)
    };
    let idle: Vec<_> = Metrics::NAMES.iter().filter(|name| !is_set(name)).collect();
    assert!(idle.is_empty(), "declared and never set: {idle:#?}");
}

/// `[section] key` in a document or an alert is a key of that section.
#[test]
fn documents_name_configuration_keys_that_exist() {
    let reference = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut unknown = Vec::new();
    let mut checked = 0;
    for (file, text) in documents() {
        for (section, key) in keys_named_in(&text) {
            let Some(keys) = section_of(&reference, &section) else { continue };
            checked += 1;
            if !keys.contains(&format!("- **`{key}`**")) {
                unknown.push(format!("{file}: [{section}] {key}"));
            }
        }
    }
    assert!(checked >= 5, "the documents were read: {checked}");
    assert!(unknown.is_empty(), "not in docs/configuration.md: {unknown:#?}");
}

fn is_declared(word: &str) -> bool {
    Metrics::NAMES.contains(&word) || Metrics::NAMES.contains(&base(word))
}

/// The metric that a series belongs to: a histogram's are three.
fn base(word: &str) -> &str {
    let end = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
    end.filter(|base| Metrics::NAMES.contains(base)).unwrap_or(word)
}

fn words_with_prefix(text: &str, prefix: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .map(str::to_owned)
        .collect()
}

/// What looks like `[section] key` or `[[section]] key`.
fn keys_named_in(text: &str) -> Vec<(String, String)> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    let mut found = Vec::new();
    for part in text.split('[').skip(1) {
        let Some((section, rest)) = part.split_once(']') else { continue };
        let rest = rest.trim_start_matches(']');
        let Some(rest) = rest.strip_prefix(' ') else { continue };
        let key: String = rest.chars().take_while(|c| is_name(*c)).collect();
        let key = key.trim_end_matches('.');
        if !section.is_empty() && section.chars().all(is_name) && !key.is_empty() {
            found.push((section.to_owned(), key.to_owned()));
        }
    }
    found
}

/// The part of the reference about one section.
fn section_of<'a>(reference: &'a str, section: &str) -> Option<&'a str> {
    let headings = [format!("\n## [{section}]\n"), format!("\n## [[{section}]]\n")];
    let (_, rest) = headings.iter().find_map(|heading| reference.split_once(heading))?;
    Some(rest.split("\n## ").next().unwrap_or(rest))
}

/// Every Rust file of the project: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    let folders = ["src", "tests", "benches", "sip", "media", "center", "cluster", "chaos-tests"];
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &["rs"], &mut found);
    }
    assert!(found.len() > 100, "the sources were found: {}", found.len());
    found
}

/// What people and Prometheus read.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["grafana", "docs"] {
        collect(&root().join(folder), &["md", "json", "yml"], &mut found);
    }
    for file in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        found.push((file.into(), text));
    }
    found
}

fn collect(folder: &Path, extensions: &[&str], found: &mut Vec<(String, String)>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, extensions, found);
        } else if extension.is_some_and(|extension| extensions.contains(&extension)) {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn name((name, _): (String, String)) -> String {
    name
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
