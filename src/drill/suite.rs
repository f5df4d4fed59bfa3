//! Many rounds: which, how often, how many side by side, and what is left of them.
//!
//! Rounds side by side have addresses of their own and wait most of their time; where that is not
//! so, a drill says that it is to be alone. A round that the machine disturbed before the fault
//! proves nothing and is played once more; one that failed after it never is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cast::Addresses;
use super::judge::{Claim, Judged, Verdict};
use super::summary::{self, Circumstances, Kind};
use super::{Drill, named, report};

/// From the first address of a round to that of the one beside it.
const ADDRESSES: u8 = 20;

/// The last address of a block is so far behind its first.
const BLOCK: u8 = 13;

/// Rounds side by side, at most: so many blocks of addresses are there.
pub(crate) const SIDE_BY_SIDE_MAX: u8 = 8;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) wishes: Vec<Wish>,
    pub(crate) calls: usize,
    pub(crate) rounds: usize,
    pub(crate) side_by_side: u8,
    /// How long a machine is kept busy.
    pub(crate) minutes: u64,
    /// The last byte of the first node's address.
    pub(crate) first: u8,
    /// The folder for the report, the results and the drawings.
    pub(crate) output: Option<PathBuf>,
    /// The program of the build that follows this one, for upgrades.
    pub(crate) other: Option<PathBuf>,
    /// Keep the folder with configurations, logs and data.
    pub(crate) keep: bool,
}

/// A drill or all of them, and how often if not as often as the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    name: String,
    rounds: Option<usize>,
}

impl FromStr for Wish {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, rounds) = match text.split_once('=') {
            Some((name, rounds)) => {
                let rounds = rounds.parse().with_context(|| format!("{rounds:?} is no number"))?;
                (name, Some(rounds))
            }
            None => (text, None),
        };
        named(name)?;
        Ok(Self { name: name.to_owned(), rounds })
    }
}

/// The drills that are wished for, each once, and how often. The last word about one counts.
pub(super) fn chosen(wishes: &[Wish], rounds: usize) -> anyhow::Result<Vec<(Drill, usize)>> {
    let mut chosen: Vec<(Drill, usize)> = Vec::new();
    for wish in wishes {
        for drill in named(&wish.name)? {
            let rounds = wish.rounds.unwrap_or(rounds);
            match chosen.iter_mut().find(|(known, _)| known.name() == drill.name()) {
                Some((_, known)) => *known = rounds,
                None => chosen.push((drill, rounds)),
            }
        }
    }
    Ok(chosen)
}

/// A round that is to be played.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// The place of its drill.
    kind: usize,
    drill: Drill,
    round: usize,
}

/// Runs what is ordered; `says` gets the lines as they come.
///
/// # Errors
/// A claim did not hold, or the drills could not be run.
pub(crate) fn run(order: &Order, says: impl Fn(&str) + Sync) -> anyhow::Result<()> {
    let chosen = chosen(&order.wishes, order.rounds)?;
    let last = u16::from(order.first) + u16::from(ADDRESSES) * u16::from(order.side_by_side - 1);
    if last + u16::from(BLOCK) > u16::from(u8::MAX) {
        bail!("127.0.0.{last} leaves no room for the addresses of a round");
    }
    allow_sockets();
    let folder = Folder::new(order.keep)?;
    let begin = Instant::now();
    let jobs = chosen.iter().enumerate().flat_map(|(kind, (drill, rounds))| {
        (1..=*rounds).map(move |round| Job { kind, drill: *drill, round })
    });
    let (alone, beside): (VecDeque<Job>, VecDeque<Job>) =
        jobs.partition(|job| job.drill.is_alone());
    let is_full = alone.len() + beside.len() == 1;
    let tells = |judged: &Judged| {
        let lines = report::lines(judged, is_full || judged.verdict() == Verdict::Failed);
        says(&lines.join("\n"));
    };
    let mut all = side_by_side(order, beside, &folder.path, (order.side_by_side, &tells))?;
    all.extend(side_by_side(order, alone, &folder.path, (1, &tells))?);
    all.sort_by_key(|(job, _)| (job.kind, job.round));
    let kinds: Vec<Kind> = chosen
        .iter()
        .enumerate()
        .filter_map(|(kind, (drill, _))| {
            let rounds = all.iter().filter(|(job, _)| job.kind == kind);
            let rounds: Vec<&Judged> = rounds.map(|(_, judged)| judged).collect();
            Kind::of(drill.bounds(), &rounds)
        })
        .collect();
    let all: Vec<Judged> = all.into_iter().map(|(_, judged)| judged).collect();
    let circumstances = Circumstances {
        calls: order.calls,
        side_by_side: order.side_by_side.into(),
        took: begin.elapsed(),
    };
    says("");
    report::table(&circumstances, &kinds).iter().for_each(|line| says(line));
    if let Some(output) = &order.output {
        write(output, &circumstances, (&kinds, &all))?;
        says(&format!("report and results are in {}", output.display()));
    }
    if order.keep {
        says(&format!("logs and data are in {}", folder.path.display()));
    }
    let failed = kinds.iter().filter(|kind| kind.verdict() == Verdict::Failed).count();
    if failed > 0 {
        bail!("{failed} of {} kinds of drills failed", kinds.len());
    }
    Ok(())
}

/// Plays these rounds, so many at a time.
fn side_by_side(
    order: &Order,
    jobs: VecDeque<Job>,
    folder: &Path,
    (lanes, tells): (u8, &(impl Fn(&Judged) + Sync)),
) -> anyhow::Result<Vec<(Job, Judged)>> {
    let jobs = Mutex::new(jobs);
    let done = Mutex::new(Vec::new());
    let lane = |lane: u8| {
        // The orders of one round must not wait for the judgement of another.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let first = order.first.saturating_add(lane * ADDRESSES);
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(job) = next else { return Ok(()) };
            let addresses = Addresses { first, means: job.drill.means() };
            let judged = runtime.block_on(one(job, (order, addresses), (folder, tells)));
            tells(&judged);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((job, judged));
        }
    };
    std::thread::scope(|scope| {
        let lane = &lane;
        let lanes: Vec<_> = (0..lanes).map(|number| scope.spawn(move || lane(number))).collect();
        lanes.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(_) => bail!("the thread of a round died"),
        })
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One round; once more if the machine disturbed it before the fault.
async fn one(
    job: Job,
    (order, addresses): (&Order, Addresses),
    (folder, tells): (&Path, &impl Fn(&Judged)),
) -> Judged {
    let (drill, round) = (job.drill, job.round);
    let claim = "the drill can be run";
    if let Some(why) = drill.impossible(order) {
        let why = format!("not possible here: {why}");
        return Judged::unplayed(drill.name(), round, Claim::skipped(claim, &why));
    }
    let play = async |place: PathBuf| {
        let judged = drill.play(round, (order, addresses), &place).await;
        if !order.keep {
            // Hundreds of rounds would fill the disk. What is left goes with the whole folder.
            let _left = std::fs::remove_dir_all(&place);
        }
        judged.unwrap_or_else(|error| {
            Judged::unplayed(drill.name(), round, Claim::failed(claim, format!("{error:#}")))
        })
    };
    let name = format!("{}-{round}", drill.name());
    let judged = play(folder.join(&name)).await;
    if !judged.proves_nothing() {
        return judged;
    }
    tells(&judged);
    let mut again = play(folder.join(format!("{name}-again"))).await;
    let why = "the machine was too busy before the fault of the first";
    again.claims.push(Claim::skipped("the round was played once", why));
    again
}

/// The report for people, the results for programs, the table for documents, and the drawing of
/// the first round of each kind.
fn write(
    output: &Path,
    circumstances: &Circumstances,
    (kinds, all): (&[Kind], &[Judged]),
) -> anyhow::Result<()> {
    std::fs::create_dir_all(output)
        .with_context(|| format!("{} cannot be made", output.display()))?;
    let write = |name: &str, text: String| {
        let file = output.join(name);
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
    };
    write("report.html", report::html(circumstances, kinds, all))?;
    write("results.json", summary::json(circumstances, kinds, all))?;
    write("table.md", report::markdown(circumstances, kinds))?;
    for kind in kinds {
        let mut rounds = all.iter().filter(|judged| judged.drill == kind.drill);
        if let Some(drawing) = rounds.find_map(report::drawing) {
            write(&format!("{}.svg", kind.drill), drawing)?;
        }
    }
    Ok(())
}

/// Each party has two sockets; the usual soft limit of 1,024 files is for 200 calls too low.
fn allow_sockets() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the sockets that are too many fail with their own message.
    let _refused =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The folder of a run, removed with it unless it is kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: bool) -> anyhow::Result<Self> {
        let name = format!("tandem-drill-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // It is temporary: what cannot be removed now is removed by the system.
            let _left = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_about_a_drill_says_how_often_it_is_played() {
        let wishes = ["all", "node-killed=100", "busy=1"].map(|text| text.parse().unwrap());
        let chosen = chosen(&wishes, 20).unwrap();
        let rounds = |name: &str| {
            let mut found = chosen.iter().filter(|(drill, _)| drill.name() == name);
            (found.next().map(|(_, rounds)| *rounds), found.count())
        };
        assert_eq!(rounds("node-killed"), (Some(100), 0));
        assert_eq!(rounds("node-frozen"), (Some(20), 0));
        assert_eq!(rounds("busy"), (Some(1), 0));
    }

    #[test]
    fn what_is_no_drill_and_what_is_no_number_is_refused() {
        assert!("nobody".parse::<Wish>().unwrap_err().to_string().contains("node-killed"));
        assert!("all=often".parse::<Wish>().unwrap_err().to_string().contains("no number"));
        assert!("all=".parse::<Wish>().is_err());
    }
}
