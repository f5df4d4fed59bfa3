//! Who took new calls: all nodes but the one without room, and that one again when it has some.

use std::time::Duration;

use super::super::round::Evidence;
use super::super::tries::Try;
use super::{Claim, when};

/// A node looks once a second, and a try lasts a moment.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

const REFUSED: u16 = 503;

pub(super) fn claims(evidence: &Evidence) -> [Claim; 3] {
    let (times, node) = (evidence.times, evidence.fault_at);
    let here = |tried: &&Try| tried.node == node;
    let is_full =
        |tried: &&Try| tried.begun >= times.fault + NOTICED_WITHIN && tried.begun < times.undone;
    // The last ones may still be under way when the farewells come.
    let is_empty =
        |tried: &&Try| tried.begun >= times.undone + NOTICED_WITHIN && tried.begun < times.release;
    let tries = || evidence.tries.iter();
    let expect = |text: &str, tries: Vec<&Try>, status: u16| {
        let wrong = tries.iter().filter(|tried| tried.status != Some(status));
        let words = |tried: &&Try| {
            let status = tried.status.map_or("nothing".to_owned(), |status| status.to_string());
            format!("node {} said {status} at {}", tried.node + 1, when(tried.begun, evidence))
        };
        let mut against: Vec<String> = wrong.map(words).collect();
        if tries.is_empty() {
            against.push("none was tried".to_owned());
        }
        Claim::against(text, against).with_figures(format!("{} calls were tried", tries.len()))
    };
    let elsewhere = |tried: &&Try| tried.node != node && tried.begun < times.release;
    [
        expect(
            "a node without room refuses new calls with 503",
            tries().filter(here).filter(is_full).collect(),
            REFUSED,
        ),
        expect(
            "with room again it takes calls again",
            tries().filter(here).filter(is_empty).collect(),
            200,
        ),
        expect("the other nodes take calls all the time", tries().filter(elsewhere).collect(), 200),
    ]
}
