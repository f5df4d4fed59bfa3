//! The steps as a graph: targets that exist, steps that are reached, loops that someone
//! hears, callers who are answered before they hear something, variables that are set.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    reader::Notes,
    steps::{Kind, ReadStep},
};
use crate::flow::{CALLED_NUMBER, CALLER_NAME, CALLER_NUMBER, VARIABLES_MAX};

type Steps<'a, 'b> = BTreeMap<&'a str, &'b ReadStep<'a>>;

/// Notes every error that only shows when all steps are known.
pub(super) fn check<'a>(
    start: Option<(usize, &'a str)>,
    steps: &[ReadStep<'a>],
    notes: &Notes<'_>,
) {
    let by_name: Steps<'a, '_> = steps.iter().map(|step| (step.name, step)).collect();
    check_variables(notes);
    let start = start.map(|(at, name)| (name, at));
    for (target, at) in steps.iter().flat_map(|step| &step.targets).chain(&start) {
        if !by_name.contains_key(target) {
            let near = notes.hint(target, by_name.keys().copied());
            notes.error(*at, format!("there is no step `{target}`{near}"));
        }
    }
    // Where a step could not be read, it is not known where it leads; what could be said of
    // the others would be a guess.
    let Some((start, _)) = start else { return };
    if steps.iter().any(|step| step.step.is_none()) || !by_name.contains_key(start) {
        return;
    }
    let reached = reach(start, &by_name, |_| true);
    for step in steps.iter().filter(|step| !reached.contains(step.name)) {
        notes.error(step.at, format!("step `{}` is never reached", step.name));
    }
    check_answered(start, &by_name, notes);
    check_loops(steps, &by_name, notes);
}

fn check_variables(notes: &Notes<'_>) {
    let set = notes.set();
    let given = [CALLER_NUMBER, CALLER_NAME, CALLED_NUMBER];
    for (name, at) in notes.used() {
        if !set.contains_key(&name) && !given.contains(&name.as_str()) {
            let near = notes.hint(&name, set.keys().map(String::as_str).chain(given));
            notes.error(at, format!("no step sets variable `{name}`{near}"));
        }
    }
    let most = VARIABLES_MAX - given.len();
    if set.len() > most
        && let Some(at) = set.values().max()
    {
        notes.error(*at, format!("a flow sets at most {most} variables, not {}", set.len()));
    }
}

/// The steps that are reached from `start` when only steps for which `passes` holds lead on.
fn reach<'a>(
    start: &'a str,
    steps: &Steps<'a, '_>,
    passes: impl Fn(&ReadStep<'a>) -> bool,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(name) = open.pop() {
        let Some(step) = steps.get(name) else { continue };
        if reached.insert(name) && passes(step) {
            open.extend(step.targets.iter().map(|(target, _)| *target));
        }
    }
    reached
}

fn is_heard(step: &ReadStep<'_>) -> bool {
    matches!(step.kind, Some(Kind::Play | Kind::Menu | Kind::Collect))
}

/// Early media is not part of a flow: who hears something has been answered.
fn check_answered(start: &str, steps: &Steps<'_, '_>, notes: &Notes<'_>) {
    let unanswered = reach(start, steps, |step| step.kind != Some(Kind::Answer));
    for step in unanswered.iter().filter_map(|name| steps.get(name)).filter(|step| is_heard(step)) {
        let message = format!(
            "step `{}` is heard before the call is answered: put a step with `do = \"answer\"` \
             before it",
            step.name
        );
        notes.error(step.at, message);
    }
}

/// A loop in which the caller neither hears nor presses anything spins: on the machine, or on
/// the web service that it asks.
fn check_loops<'a>(steps: &[ReadStep<'a>], by_name: &Steps<'a, '_>, notes: &Notes<'_>) {
    let mut done = BTreeSet::new();
    for start in steps {
        let mut path: Vec<(&ReadStep<'a>, usize)> = vec![(start, 0)];
        while let Some((step, tried)) = path.last_mut() {
            let target = if is_heard(step) || done.contains(step.name) {
                None
            } else {
                step.targets.get(*tried).and_then(|(target, _)| by_name.get(target))
            };
            *tried += 1;
            let Some(target) = target.copied() else {
                done.insert(step.name);
                path.pop();
                continue;
            };
            match path.iter().position(|(step, _)| step.name == target.name) {
                Some(from) => {
                    let names: Vec<_> =
                        path[from..].iter().map(|(step, _)| format!("`{}`", step.name)).collect();
                    let message = format!(
                        "the loop {} → `{}` has no prompt and no key: the call would never end",
                        names.join(" → "),
                        target.name
                    );
                    notes.error(target.at, message);
                }
                None => path.push((target, 0)),
            }
        }
    }
}
