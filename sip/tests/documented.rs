//! What the protocol's document claims to be tested is: every row of its tables of requirements
//! names tests that exist, or says what is not done. It does not judge what the tests show.

#![expect(clippy::unwrap_used, reason = "a test that fails says so")]

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_requirement_names_tests_that_exist_or_says_that_it_is_not_kept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("docs/sip.md")).unwrap();
    let mut tests = BTreeSet::new();
    for folder in ["sip/src", "sip/tests", "center/tests", "src", "tests"] {
        collect(&root.join(folder), &mut tests);
    }
    let (_, tables) = document.split_once("## Requirements and their tests").unwrap();
    let rows: Vec<_> = tables.lines().filter_map(row).collect();
    assert!(rows.len() > 100, "only {} rows were read", rows.len());
    let mut wrong = Vec::new();
    for (requirement, evidence) in rows {
        let named: Vec<_> = evidence.split('`').skip(1).step_by(2).filter(is_test_name).collect();
        let is_open = ["not done", "otherwise"].iter().any(|word| evidence.starts_with(word));
        if named.is_empty() && !is_open {
            wrong.push(format!("no test for: {requirement}"));
        }
        let missing = named.into_iter().filter(|name| !tests.contains(*name));
        wrong.extend(missing.map(|name| format!("no such test: {name}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Requirement and evidence of a row; none for a table's head and for what is no row.
fn row(line: &str) -> Option<(&str, &str)> {
    let cells: Vec<_> = line.strip_prefix("| ")?.split(" | ").collect();
    let [section, requirement, evidence] = cells[..] else { panic!("three cells: {line}") };
    (section != "section").then(|| (requirement, evidence.strip_suffix(" |").unwrap()))
}

/// Names of tests are sentences; header fields and option tags are words.
fn is_test_name(text: &&str) -> bool {
    text.contains('_')
}

/// The functions that follow `#[test]`.
fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let marked = text.split("#[test]").skip(1);
            let name = |text: &str| Some(text.split_once("fn ")?.1.split_once('(')?.0.to_owned());
            tests.extend(marked.filter_map(name));
        }
    }
}
