//! Walks a flow: from one step that takes time to the next.
//!
//! Pure and total: whatever the node reports, and whatever the variables hold, there is a
//! next thing to do. A flow that cannot go on ends the call with
//! [`HangUpCause::Failure`], which the operator sees; it never hangs in silence.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Again, Collect, DIGITS_MAX, Digits, Flow, HangUpCause, IvrResult, Listen, Menu, Next,
    Position, Step, StepName, Template, Variables,
    render::{dialable, request, said, test_holds},
};

/// Steps that one transition may pass. The checker refuses loops that nobody hears, so only a
/// very long chain of steps can meet it: the call ends with [`HangUpCause::Failure`].
pub const STEPS_PER_TRANSITION_MAX: usize = 256;

/// Begins a flow for a call. The flow's own variables are set first.
pub fn start(flow: &Flow, variables: &mut Variables) -> Next {
    for (name, value) in &flow.variables {
        variables.set(name, value);
    }
    Walk::new(flow, variables, false, String::new()).run(flow.start.clone())
}

/// Goes on after the action at `position` ended with `result`.
pub fn resume(
    flow: &Flow,
    position: &Position,
    result: IvrResult,
    variables: &mut Variables,
) -> Next {
    let mut walk = Walk::new(flow, variables, position.answered, position.ahead.clone());
    match flow.step(&position.step) {
        Some(Step::Play { next, .. }) => {
            walk.ahead = pressed(result).unwrap_or_default();
            walk.skipped.insert(position.step.clone());
            walk.run(next.clone())
        }
        Some(Step::Menu(menu)) => {
            walk.ahead.clear(); // The action counted them as gathered.
            let went = walk.choose(menu, position.attempt, pressed(result));
            walk.goes(&position.step, went)
        }
        Some(Step::Collect(collect)) => {
            walk.ahead.clear();
            let went = walk.collect(collect, position.attempt, pressed(result));
            walk.goes(&position.step, went)
        }
        Some(Step::Http(http)) => {
            let IvrResult::Http { ok: true, mut fields } = result else {
                return walk.run(http.on_error.clone());
            };
            // A field that this answer lacks is empty: what an earlier answer left must not
            // pass for this one's.
            for name in http.save.keys() {
                walk.variables.set(name, &fields.remove(name).unwrap_or_default());
            }
            walk.run(http.on_ok.clone())
        }
        // The position was not made by this flow.
        Some(
            Step::Answer { .. }
            | Step::Set { .. }
            | Step::Branch { .. }
            | Step::Enqueue { .. }
            | Step::Transfer { .. }
            | Step::HangUp { .. },
        )
        | None => walk.hangs_up(HangUpCause::Failure),
    }
}

/// The action that a call waits for at `position`, made anew from the same values.
#[must_use]
pub fn action_at(flow: &Flow, position: &Position, variables: &Variables) -> Option<Action> {
    match flow.step(&position.step)? {
        Step::Play { prompts, barge_in, .. } => {
            Some(Action::Play { prompts: said(prompts, variables), barge_in: *barge_in })
        }
        Step::Menu(menu) => Some(listening(&menu.listen, menu.digits(), position, variables)),
        Step::Collect(collect) => {
            Some(listening(&collect.listen, collect.digits, position, variables))
        }
        Step::Http(http) => request(http, variables).map(Action::Http),
        Step::Answer { .. }
        | Step::Set { .. }
        | Step::Branch { .. }
        | Step::Enqueue { .. }
        | Step::Transfer { .. }
        | Step::HangUp { .. } => None,
    }
}

/// A key of a telephone (RFC 4733 §3.2, events 0 to 15).
pub(super) fn is_key(key: char) -> bool {
    matches!(key, '0'..='9' | '*' | '#' | 'A'..='D')
}

/// The keys of a result. Anything but keys counts as no input: a menu whose prompt could not
/// be played asks again, and in the end goes where it goes on failure.
fn pressed(result: IvrResult) -> Option<String> {
    match result {
        IvrResult::Digits { digits } => {
            Some(digits.chars().filter(|key| is_key(*key)).take(usize::from(DIGITS_MAX)).collect())
        }
        IvrResult::Finished
        | IvrResult::NoInput
        | IvrResult::Http { .. }
        | IvrResult::Failed { .. } => None,
    }
}

fn listening(
    listen: &Listen,
    digits: Digits,
    position: &Position,
    variables: &Variables,
) -> Action {
    let mut prompts = match position.again {
        Again::First => vec![],
        Again::Invalid => said(&listen.invalid, variables),
        Again::NoInput => said(&listen.no_input, variables),
    };
    prompts.extend(said(&listen.prompts, variables));
    Action::Collect {
        prompts,
        digits_max: digits.max,
        terminator: digits.terminator,
        first_ms: listen.first_ms,
        inter_ms: listen.inter_ms,
        barge_in: listen.barge_in,
        ahead: position.ahead.clone(),
    }
}

/// One transition on its way.
struct Walk<'a> {
    flow: &'a Flow,
    variables: &'a mut Variables,
    answered: bool,
    /// Keys that were pressed during a prompt and that no step has taken yet.
    ahead: String,
    /// Prompts that these keys passed over: each once, so that a loop of prompts is heard
    /// again.
    skipped: BTreeSet<StepName>,
}

/// Where a step that listens leads.
enum Went {
    To(StepName),
    Again { attempt: u8, again: Again },
}

impl<'a> Walk<'a> {
    fn new(flow: &'a Flow, variables: &'a mut Variables, answered: bool, ahead: String) -> Self {
        Self { flow, variables, answered, ahead, skipped: BTreeSet::new() }
    }

    /// Runs to the next step that takes time, beginning with `name`.
    fn run(mut self, mut name: StepName) -> Next {
        let flow = self.flow;
        for _ in 0..STEPS_PER_TRANSITION_MAX {
            let Some(step) = flow.step(&name) else {
                return self.hangs_up(HangUpCause::Failure);
            };
            name = match step {
                Step::Answer { next } => {
                    self.answered = true;
                    next.clone()
                }
                Step::Play { barge_in: true, next, .. }
                    if !self.ahead.is_empty() && self.skipped.insert(name.clone()) =>
                {
                    next.clone()
                }
                Step::Play { .. } => {
                    self.ahead.clear(); // Keys do not get past a prompt that must be heard.
                    return self.waits(&name, 0, Again::First);
                }
                Step::Menu(menu) => {
                    let Some(keys) = self.take_ahead(menu.digits()) else {
                        return self.waits(&name, 0, Again::First);
                    };
                    match self.choose(menu, 0, Some(keys)) {
                        Went::To(next) => next,
                        Went::Again { attempt, again } => return self.waits(&name, attempt, again),
                    }
                }
                Step::Collect(collect) => {
                    let Some(keys) = self.take_ahead(collect.digits) else {
                        return self.waits(&name, 0, Again::First);
                    };
                    match self.collect(collect, 0, Some(keys)) {
                        Went::To(next) => next,
                        Went::Again { attempt, again } => return self.waits(&name, attempt, again),
                    }
                }
                Step::Http(http) => match request(http, self.variables) {
                    Some(_) => return self.waits(&name, 0, Again::First),
                    None => http.on_error.clone(),
                },
                Step::Set { variables, next } => {
                    self.set(variables);
                    next.clone()
                }
                Step::Branch { cases, otherwise } => {
                    let holds = cases.iter().find(|case| test_holds(case, self.variables));
                    holds.map_or(otherwise, |case| &case.next).clone()
                }
                Step::Enqueue { .. } | Step::Transfer { .. } | Step::HangUp { .. } => {
                    return self.leaves(step);
                }
            };
        }
        self.hangs_up(HangUpCause::Failure)
    }

    /// Judges the keys of a menu.
    fn choose(&mut self, menu: &Menu, attempt: u8, keys: Option<String>) -> Went {
        match keys {
            Some(keys) => match menu.choices.get(&keys) {
                Some(next) => Went::To(next.clone()),
                None => self.ask_again(&menu.listen, attempt, Again::Invalid),
            },
            None => self.ask_again(&menu.listen, attempt, Again::NoInput),
        }
    }

    /// Judges the digits of a collection and keeps them.
    fn collect(&mut self, collect: &Collect, attempt: u8, keys: Option<String>) -> Went {
        match keys {
            Some(digits) if digits.len() >= usize::from(collect.digits.min) => {
                self.variables.set(&collect.variable, &digits);
                Went::To(collect.next.clone())
            }
            Some(_) => self.ask_again(&collect.listen, attempt, Again::Invalid),
            None => self.ask_again(&collect.listen, attempt, Again::NoInput),
        }
    }

    fn ask_again(&mut self, listen: &Listen, attempt: u8, again: Again) -> Went {
        // After a mistake, what was pressed behind it is a mistake, too.
        self.ahead.clear();
        if attempt < listen.retries {
            Went::Again { attempt: attempt + 1, again }
        } else {
            Went::To(listen.on_failure.clone())
        }
    }

    fn goes(self, from: &StepName, went: Went) -> Next {
        match went {
            Went::To(next) => self.run(next),
            Went::Again { attempt, again } => self.waits(from, attempt, again),
        }
    }

    /// The keys pressed ahead, if they are all that the step wants. Fewer stay where they
    /// are: the action counts them as gathered.
    fn take_ahead(&mut self, digits: Digits) -> Option<String> {
        let max = usize::from(digits.max);
        let end = digits.terminator.and_then(|key| self.ahead.find(key)).filter(|at| *at <= max);
        let (taken, rest) = match end {
            Some(at) => (at, at + 1),
            None if max > 0 && self.ahead.len() >= max => (max, max),
            None => return None,
        };
        let keys = self.ahead[..taken].to_owned();
        self.ahead.drain(..rest);
        Some(keys)
    }

    /// All texts see the variables as they were before the step, so that the order of lines
    /// in the file means nothing.
    fn set(&mut self, texts: &BTreeMap<String, Template>) {
        let values: Vec<_> =
            texts.iter().map(|(name, text)| (name, text.render(self.variables))).collect();
        for (name, value) in values {
            self.variables.set(name, &value);
        }
    }

    fn waits(self, step: &StepName, attempt: u8, again: Again) -> Next {
        let Self { flow, variables, answered, ahead, skipped: _ } = self;
        let step = step.clone();
        let position = Position { step, attempt, again, offset_ms: 0, answered, ahead };
        match action_at(flow, &position, variables) {
            Some(action) => Next::Act(position, action),
            None => Next::HangUp { cause: HangUpCause::Failure, answered },
        }
    }

    /// The steps that take the call out of its flow.
    fn leaves(self, step: &Step) -> Next {
        let answered = self.answered;
        match step {
            Step::Enqueue { queue, priority, data } => {
                let data = (data.iter())
                    .map(|(name, text)| (name.clone(), text.render(self.variables)))
                    .collect();
                Next::Enqueue { queue: queue.clone(), priority: *priority, data, answered }
            }
            Step::Transfer { number } => match dialable(&number.render(self.variables)) {
                Some(number) => Next::Transfer { number, answered },
                None => self.hangs_up(HangUpCause::NoSuchNumber),
            },
            Step::HangUp { cause } => self.hangs_up(*cause),
            Step::Answer { .. }
            | Step::Play { .. }
            | Step::Menu(_)
            | Step::Collect(_)
            | Step::Set { .. }
            | Step::Branch { .. }
            | Step::Http(_) => self.hangs_up(HangUpCause::Failure),
        }
    }

    fn hangs_up(self, cause: HangUpCause) -> Next {
        Next::HangUp { cause, answered: self.answered }
    }
}
