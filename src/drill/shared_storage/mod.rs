//! Two machines over one directory: the active one is killed or frozen, and the standby takes over.
//!
//! Calls talk to the echo, clerks give commands until nothing is acknowledged any more. The
//! fencing command of the drill does nothing but succeed: what is shown is what the program does by
//! itself. Judges, too; the parts are in `machines` (the processes), `callers` and `clerks`.

mod callers;
mod clerks;
mod machines;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::callers::{Callers, Talked};
use self::clerks::Clerks;
use self::machines::{Machine, Machines};
use super::cast::Addresses;
use super::judge::{Claim, Figures, Judged};

/// From the fault to when the standby is ready, and to when audio is back.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);

/// The longest pause of audio before the fault; longer, and the machine is too busy to judge.
const UNDISTURBED: Duration = Duration::from_millis(300);

/// How long calls and commands go on before the fault.
const BASELINE: Duration = Duration::from_secs(3);

/// From the fault to its end.
const UNDO_AFTER: Duration = Duration::from_secs(8);

/// How long the calls go on after it.
const WATCH: Duration = Duration::from_secs(2);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// What happens to the active machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Frozen,
}

/// What a drill is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drill {
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
}

/// What was seen after the fault.
#[derive(Debug, Default)]
struct Seen {
    fault: Option<Instant>,
    /// The active machine's process had ended.
    ended: Option<Instant>,
    /// The directory was the standby's.
    taken: Option<Instant>,
    /// The standby answered that it is ready.
    ready: Option<Instant>,
}

/// Plays one round in `folder`, which it makes, and judges it.
pub(crate) async fn play(
    drill: Drill,
    round: usize,
    (calls, addresses): (usize, Addresses),
    folder: &Path,
) -> anyhow::Result<Judged> {
    let mut machines = Machines::start(folder, addresses).await?;
    let callers = Callers::start(machines.sip(), calls)?;
    callers.all_talk().await?;
    let clerks = Clerks::start(&machines.base(Machine::Active)).await?;
    sleep(BASELINE).await;
    let seen = strike(drill.fault, &mut machines).await?;
    let fault = seen.fault.unwrap_or_else(Instant::now);
    sleep(UNDO_AFTER.saturating_sub(fault.elapsed())).await;
    if drill.fault == Fault::Frozen {
        machines.thaw()?;
    }
    sleep(WATCH).await;
    let talked = callers.hang_up().await?;
    let acknowledged = clerks.acknowledged();
    let base = machines.base(Machine::Standby);
    let mut claims = claims_about_calls(&talked, fault);
    claims.extend(claims_about_machines(drill.fault, &seen, fault));
    claims.push(clerks.nothing_is_lost(&base).await);
    claims.push(clerks::each_call_has_one_record(&base, calls).await);
    claims.push(machines.nothing_is_left_of_the_former_holder());
    claims.push(machines.comes_back_as_standby().await);
    let lost = talked.iter().filter(|call| call.is_lost(fault)).count();
    tracing::debug!(acknowledged, "commands were acknowledged");
    Ok(Judged {
        drill: drill.name,
        round,
        calls,
        lost,
        gaps: Figures::of(talked.iter().map(|call| call.gap_after(fault))),
        decisions: Figures::of(seen.ready.map(|ready| ready - fault)),
        claims,
        played: None,
    })
}

async fn strike(fault: Fault, machines: &mut Machines) -> anyhow::Result<Seen> {
    let begun = Instant::now();
    match fault {
        Fault::Killed => machines.kill()?,
        Fault::Frozen => machines.freeze()?,
    }
    let mut seen = Seen { fault: Some(begun), ..Seen::default() };
    while begun.elapsed() < UNDO_AFTER && seen.ready.is_none() {
        // In this order: an end that is seen after the takeover happened after it.
        let is_taken = machines.is_taken();
        let now = Instant::now();
        seen.ended = seen.ended.or(machines.has_ended()?.then_some(now));
        seen.taken = seen.taken.or(is_taken.then_some(now));
        if is_taken && machines.is_ready(Machine::Standby).await {
            seen.ready = Some(Instant::now());
        }
        sleep(LOOK).await;
    }
    Ok(seen)
}

fn claims_about_calls(talked: &[Talked], fault: Instant) -> Vec<Claim> {
    let gaps = Figures::of(talked.iter().map(|call| call.gap_after(fault)));
    let late = |call: &&Talked| call.gap_after(fault) > TAKEN_OVER_WITHIN;
    let words = |call: &Talked| {
        let why = call.lost.clone().unwrap_or_else(|| "it is silent".to_owned());
        format!("{}: {why}", call.name)
    };
    let gap = |call: &Talked| format!("{}: {} ms", call.name, call.gap_after(fault).as_millis());
    let disturbed = talked.iter().filter(|call| call.gap_before(fault) > UNDISTURBED);
    vec![
        Claim::against(
            format!("before the fault no audio is missing for {} ms", UNDISTURBED.as_millis()),
            disturbed.map(|call| call.name.clone()).collect(),
        ),
        Claim::against(
            "no call is lost",
            talked.iter().filter(|call| call.is_lost(fault)).map(words).collect(),
        ),
        Claim::against(
            format!("audio is back within {} s", TAKEN_OVER_WITHIN.as_secs()),
            talked.iter().filter(late).map(gap).collect(),
        )
        .with_figures(format!("gaps p50/p99/max {} ms", gaps.words())),
    ]
}

fn claims_about_machines(fault: Fault, seen: &Seen, struck: Instant) -> Vec<Claim> {
    let after = |at: Option<Instant>| {
        at.map_or_else(|| "never".to_owned(), |at| format!("{} ms", (at - struck).as_millis()))
    };
    let is_late = seen.ready.is_none_or(|ready| ready - struck > TAKEN_OVER_WITHIN);
    let mut claims = vec![
        Claim::against(
            format!("the standby has taken over within {} s", TAKEN_OVER_WITHIN.as_secs()),
            is_late.then(|| after(seen.ready)).into_iter().collect(),
        )
        .with_figures(format!(
            "directory taken after {}, ready after {}",
            after(seen.taken),
            after(seen.ready)
        )),
    ];
    if fault == Fault::Frozen {
        // A process that has ended writes nothing when it is continued.
        let in_time = seen.ended.zip(seen.taken).is_some_and(|(ended, taken)| ended <= taken);
        claims.push(
            Claim::against(
                "the frozen process is ended before the directory is taken, and never writes again",
                (!in_time).then(|| "it was there".to_owned()).into_iter().collect(),
            )
            .with_figures(format!("ended after {}", after(seen.ended))),
        );
    }
    claims
}
