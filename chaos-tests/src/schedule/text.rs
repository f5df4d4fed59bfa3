//! Schedules as text: a line of `key=value` for the storm, and one for each step, in microseconds.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Ending, Fault, Schedule, Step, Unreadable, What, Whom};
use crate::directory::PEOPLE;
use crate::mutants::Mutant;
use crate::network::Ways;

pub(super) fn write(schedule: &Schedule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Schedule { seed, nodes, time, mutant, lost, desks, steps, breaks } = schedule;
    let desks: Vec<_> = desks.iter().filter_map(|desk| PEOPLE.get(*desk).copied()).collect();
    write!(f, "storm seed={seed} nodes={nodes} time={time} lost={lost}")?;
    if !desks.is_empty() {
        write!(f, " desks={}", desks.join(","))?;
    }
    if let Some(mutant) = mutant {
        write!(f, " mutant={mutant:?}")?;
    }
    if let Some(claim) = breaks {
        write!(f, " breaks={claim}")?;
    }
    writeln!(f)?;
    steps.iter().try_for_each(|step| writeln!(f, "{step}"))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Call { caller, node, number } => {
                write!(f, "at={} call caller={caller} node={node} number={number}", self.at)
            }
            What::Fault(fault) => write!(f, "at={} {fault}", self.at),
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::Leader => f.write_str("leader"),
            Self::Busiest => f.write_str("busiest"),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("how=process"),
            Self::Power { left, cache } => write!(f, "how=power left={left} cache={cache}"),
        }
    }
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::Sends => "sends",
            Self::Receives => "receives",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End { node, how, down } => write!(f, "end node={node} {how} down={down}"),
            Self::EndAfter { node, outputs, how, down } => {
                write!(f, "end-after node={node} outputs={outputs} {how} down={down}")
            }
            Self::EndAll { how, down } => write!(f, "end-all {how} down={down}"),
            Self::Part { node, from: None, ways } => write!(f, "part node={node} ways={ways}"),
            Self::Part { node, from: Some(from), ways } => {
                write!(f, "part node={node} from={from} ways={ways}")
            }
            Self::Join => f.write_str("join"),
            Self::Weather { lost, repeated, delay } => {
                write!(f, "weather lost={lost} repeated={repeated} delay={delay}")
            }
            Self::Clock { node, ahead_ms } => write!(f, "clock node={node} ahead_ms={ahead_ms}"),
            Self::Freeze { node, time } => write!(f, "freeze node={node} time={time}"),
            Self::Suspend { node, time } => write!(f, "suspend node={node} time={time}"),
            Self::SlowDisk { node, write, time } => {
                write!(f, "slow-disk node={node} write={write} time={time}")
            }
            Self::FullDisk { node, time } => write!(f, "full-disk node={node} time={time}"),
            Self::BreakDisk { node, late, left, down } => {
                write!(f, "break-disk node={node} late={late} left={left} down={down}")
            }
            Self::HandOver { to } => write!(f, "hand-over to={to}"),
            Self::Configure => f.write_str("configure"),
            Self::Members => f.write_str("members"),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Schedule, Unreadable> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (line, first) = lines.next().unwrap_or((1, ""));
    let mut schedule = storm(&Words::of(first)).map_err(|why| Unreadable { line, why })?;
    for (line, text) in lines {
        let step = step(&Words::of(text)).map_err(|why| Unreadable { line, why })?;
        schedule.steps.push(step);
    }
    schedule.steps.sort_by_key(|step| step.at);
    Ok(schedule)
}

fn storm(words: &Words<'_>) -> Result<Schedule, String> {
    if words.word != "storm" {
        return Err("the first line begins with storm".to_owned());
    }
    let names = words.maybe::<String>("desks")?.unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty());
    let place = |name: &str| {
        let found = PEOPLE.iter().position(|one| *one == name);
        found.ok_or_else(|| format!("{name} has no desk"))
    };
    let mutant = words.maybe::<String>("mutant")?;
    let find = |name: String| {
        let found = Mutant::ALL.into_iter().find(|one| format!("{one:?}") == name);
        found.ok_or_else(|| format!("there is no mutant {name}"))
    };
    Ok(Schedule {
        seed: words.get("seed")?,
        nodes: words.get("nodes")?,
        time: words.get("time")?,
        mutant: mutant.map(find).transpose()?,
        lost: words.get("lost")?,
        desks: names.map(place).collect::<Result<_, _>>()?,
        steps: Vec::new(),
        breaks: words.maybe("breaks")?,
    })
}

fn step(words: &Words<'_>) -> Result<Step, String> {
    let at = words.get("at")?;
    let what = match words.word {
        "call" => What::Call {
            caller: words.get("caller")?,
            node: words.get("node")?,
            number: words.get("number")?,
        },
        _ => What::Fault(fault(words)?),
    };
    Ok(Step { at, what })
}

fn fault(words: &Words<'_>) -> Result<Fault, String> {
    Ok(match words.word {
        "end" => {
            Fault::End { node: words.get("node")?, how: words.ending()?, down: words.get("down")? }
        }
        "end-after" => Fault::EndAfter {
            node: words.get("node")?,
            outputs: words.get("outputs")?,
            how: words.ending()?,
            down: words.get("down")?,
        },
        "end-all" => Fault::EndAll { how: words.ending()?, down: words.get("down")? },
        "part" => Fault::Part {
            node: words.get("node")?,
            from: words.maybe("from")?,
            ways: words.get("ways")?,
        },
        "join" => Fault::Join,
        "weather" => Fault::Weather {
            lost: words.get("lost")?,
            repeated: words.get("repeated")?,
            delay: words.get("delay")?,
        },
        "clock" => Fault::Clock { node: words.get("node")?, ahead_ms: words.get("ahead_ms")? },
        "freeze" => Fault::Freeze { node: words.get("node")?, time: words.get("time")? },
        "suspend" => Fault::Suspend { node: words.get("node")?, time: words.get("time")? },
        "slow-disk" => Fault::SlowDisk {
            node: words.get("node")?,
            write: words.get("write")?,
            time: words.get("time")?,
        },
        "full-disk" => Fault::FullDisk { node: words.get("node")?, time: words.get("time")? },
        "break-disk" => Fault::BreakDisk {
            node: words.get("node")?,
            late: words.get("late")?,
            left: words.get("left")?,
            down: words.get("down")?,
        },
        "hand-over" => Fault::HandOver { to: words.get("to")? },
        "configure" => Fault::Configure,
        "members" => Fault::Members,
        other => return Err(format!("nothing is called {other:?}")),
    })
}

/// A line: its one bare word, and its pairs.
struct Words<'a> {
    word: &'a str,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let word = line.split_whitespace().find(|word| !word.contains('='));
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        Self { word: word.unwrap_or_default(), pairs: pairs.collect() }
    }

    fn maybe<T: FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        let read = |value: &&str| value.parse().map_err(|_| format!("{key}={value}"));
        self.pairs.get(key).map(read).transpose()
    }

    fn get<T: FromStr>(&self, key: &str) -> Result<T, String> {
        self.maybe(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    fn ending(&self) -> Result<Ending, String> {
        match self.get::<String>("how")?.as_str() {
            "process" => Ok(Ending::Process),
            "power" => Ok(Ending::Power { left: self.get("left")?, cache: self.get("cache")? }),
            other => Err(format!("how={other}")),
        }
    }
}

impl FromStr for Whom {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "leader" => Ok(Self::Leader),
            "busiest" => Ok(Self::Busiest),
            number => number.parse().map(Self::Node),
        }
    }
}

impl FromStr for Ways {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "both" => Ok(Self::Both),
            "sends" => Ok(Self::Sends),
            "receives" => Ok(Self::Receives),
            other => Err(format!("ways={other}")),
        }
    }
}
