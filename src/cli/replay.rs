//! `tandem replay`: tells what happened to one call, as a ladder.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tandem_center::CallId;

use super::client::{Login, on_one_thread};
use super::screen;
use crate::audit::offline;
use crate::audit::story::{Instant, Lane, Step, Story};

/// Columns of the ladder, and the characters between two of them.
const LANES: [(Lane, &str); 4] = [
    (Lane::Caller, "caller"),
    (Lane::Node, "node"),
    (Lane::Queue, "queue"),
    (Lane::Agent, "agent"),
];
const LANE_CHARS: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The call's id.
    call: CallId,
    /// The state at this time (Unix milliseconds) or command of the log, and what happened until
    /// then.
    #[arg(long, value_name = "TIME|INDEX")]
    at: Option<Instant>,
    /// Read the directory of a node (what `tandem run --data` names) instead of asking a node.
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    data: Option<PathBuf>,
    #[command(flatten)]
    login: Login,
    /// Print the story as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let story = match &self.data {
            Some(data) => {
                let missing = || format!("neither records nor log know call {}", self.call);
                offline::story(data, self.call)?.with_context(missing)?
            }
            None => on_one_thread(self.ask())?,
        };
        if self.json {
            screen::say(&serde_json::to_string_pretty(&story)?);
        } else {
            lines(&story, self.at).iter().for_each(|line| screen::say(line));
        }
        Ok(())
    }

    async fn ask(&self) -> anyhow::Result<Story> {
        let path = format!("/api/v1/calls/{}/story", self.call);
        Ok(self.login.server().await?.get(&path).await?)
    }
}

fn lines(story: &Story, at: Option<Instant>) -> Vec<String> {
    let (shown, is_certain) = at.map_or((story.steps.len(), true), |at| story.until(at));
    let mut lines = vec![
        format!("call {} from {} to {}", story.call, story.from, story.to),
        String::new(),
        format!("{:>8} {:>8}  {}", "+ms", "index", header()),
    ];
    let began = story.steps.first().map_or(0, |step| step.at);
    for (number, step) in story.steps.iter().take(shown).enumerate() {
        if number == story.dropped_behind && story.dropped > 0 {
            lines.push(format!("{:19}… {} steps are not kept", "", story.dropped));
        }
        let after = step.at.saturating_sub(began);
        lines.push(format!("{after:>8} {:>8}  {}  {}", step.index, ladder(step), step.what));
        lines.extend(
            step.why.iter().map(|why| format!("{:19}{:width$}    {why}", "", "", width = WIDTH)),
        );
    }
    lines.push(String::new());
    let state = match story.steps.get(shown.wrapping_sub(1)) {
        Some(step) if is_certain => format!("{} since {}", step.state, step.at),
        Some(step) => format!("{} at {}; what followed is not kept", step.state, step.at),
        None => "not there yet".to_owned(),
    };
    let when = match at {
        Some(Instant::Time(at)) => format!("at {at}"),
        Some(Instant::Index(index)) => format!("after command {index}"),
        None if story.ended => "at the end".to_owned(),
        None => "now".to_owned(),
    };
    lines.push(format!("{when}: {state}"));
    lines
}

/// Characters of a ladder's line.
const WIDTH: usize = LANE_CHARS * (LANES.len() - 1) + 1;

fn header() -> String {
    let names = LANES.map(|(_, name)| format!("{name:<LANE_CHARS$}"));
    names.concat().trim_end().to_owned()
}

/// `|---->|` between the lanes of a step, a star where both are the same.
fn ladder(step: &Step) -> String {
    let place = |lane: Lane| LANES.iter().position(|(of, _)| *of == lane).unwrap_or(0) * LANE_CHARS;
    let mut line: Vec<char> = vec![' '; WIDTH];
    for (lane, _) in LANES {
        line[place(lane)] = '|';
    }
    let (from, to) = (place(step.from), place(step.to));
    if from == to {
        line[from] = '*';
    }
    line[from.min(to) + 1..from.max(to).max(from.min(to) + 1)].fill('-');
    if from < to {
        line[to - 1] = '>';
    } else if to < from {
        line[to + 1] = '<';
    }
    line.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: u64, lanes: (Lane, Lane), what: &str, state: &str) -> Step {
        let (what, state, why) = (what.into(), state.into(), Vec::new());
        Step { at, index: at / 10, from: lanes.0, to: lanes.1, what, state, why }
    }

    fn story() -> Story {
        let mut offered = step(1_030, (Lane::Queue, Lane::Agent), "offered to ana", "offered");
        offered.why = vec!["2 agents were ready".into()];
        Story {
            call: "0100".into(),
            from: "100".into(),
            to: "sales".into(),
            ended: false,
            steps: vec![
                step(1_000, (Lane::Caller, Lane::Node), "arrived at node 1", "arrived"),
                step(1_000, (Lane::Node, Lane::Node), "came to step hello", "in flow hello"),
                offered,
            ],
            dropped: 0,
            dropped_behind: 16,
        }
    }

    #[test]
    fn the_ladder_shows_who_acts_on_whom_and_why() {
        let expected = [
            "call 0100 from 100 to sales",
            "",
            "     +ms    index  caller    node      queue     agent",
            "       0      100  |-------->|         |         |  arrived at node 1",
            "       0      100  |         *         |         |  came to step hello",
            "      30      103  |         |         |-------->|  offered to ana",
            "                                                      2 agents were ready",
            "",
            "now: offered since 1030",
        ];
        assert_eq!(lines(&story(), None), expected);
    }

    #[test]
    fn an_instant_shows_what_was_until_then() {
        let last = |at| lines(&story(), Some(at)).pop();
        assert_eq!(
            last(Instant::Index(102)).as_deref(),
            Some("after command 102: in flow hello since 1000")
        );
        assert_eq!(last(Instant::Time(999)).as_deref(), Some("at 999: not there yet"));
        assert_eq!("1764000000000".parse(), Ok(Instant::Time(1_764_000_000_000)));
        assert_eq!("7".parse(), Ok(Instant::Index(7)));
        assert!("soon".parse::<Instant>().is_err());
    }

    #[test]
    fn where_steps_are_not_kept_the_state_is_not_known() {
        let mut story = story();
        (story.dropped, story.dropped_behind) = (5, 2);
        let shown = lines(&story, Some(Instant::Index(101)));
        assert_eq!(
            shown.last().map(String::as_str),
            Some("after command 101: in flow hello at 1000; what followed is not kept")
        );
        assert!(lines(&story, None).iter().any(|line| line.ends_with("… 5 steps are not kept")));
    }
}
