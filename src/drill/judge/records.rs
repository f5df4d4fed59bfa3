//! What is kept: the calls' records on every node, and what commands did.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::cast::Call;
use super::super::desks::{Asked, Log};
use super::super::round::{Evidence, Moments};
use super::{Claim, title, when};
use crate::api::cdr_view::CdrView;
use crate::api::frame::Do;
use crate::api::happened::EventView;
use crate::api::words::word;

/// How far a record's duration may be from what was seen on the wire.
const DURATION_OFF_MAX: Duration = Duration::from_secs(1);

/// One record for each call on each node, and as long as the call was.
pub(super) fn each_call_has_one(evidence: &Evidence) -> Claim {
    each_has_one(evidence, |_| true)
}

/// The same of those that are meant.
pub(super) fn each_has_one(evidence: &Evidence, is_meant: impl Fn(&Call) -> bool) -> Claim {
    let mut against = Vec::new();
    let mut worst = Duration::ZERO;
    for (node, records) in evidence.records.iter().enumerate() {
        let mut by_number: BTreeMap<&str, Vec<&CdrView>> = BTreeMap::new();
        for record in records {
            by_number.entry(&record.from.number).or_default().push(record);
        }
        for call in evidence.seen.cast.calls.iter().filter(|call| is_meant(call)) {
            let own = by_number.get(call.number.as_str()).map_or(&[][..], Vec::as_slice);
            let [record] = own else {
                let count = own.len();
                against.push(format!("{}: {count} records on node {}", title(call), node + 1));
                continue;
            };
            let wire = length_of(call, &evidence.times);
            let kept = record.answered.map(|from| record.ended.saturating_sub(from));
            let off = match (wire, kept.map(Duration::from_millis)) {
                (Some((least, most)), Some(kept)) => {
                    least.saturating_sub(kept).max(kept.saturating_sub(most))
                }
                (None, None) => Duration::ZERO,
                (Some((wire, _)), None) => wire,
                (None, Some(kept)) => kept,
            };
            worst = worst.max(off);
            if off > DURATION_OFF_MAX {
                let wire = wire.map_or(Duration::ZERO, |(least, _)| least);
                let (wire, off) = (wire.as_millis(), off.as_millis());
                against.push(format!(
                    "{}: {wire} ms on the wire, {off} ms off in the record of node {}",
                    title(call),
                    node + 1
                ));
            }
        }
    }
    let text = format!(
        "each call has one record on every node, its duration within {} s",
        DURATION_OFF_MAX.as_secs()
    );
    Claim::against(text, against)
        .with_figures(format!("the duration most off is off by {} ms", worst.as_millis()))
}

/// From the answer to the BYE, at least and at most. Who hangs up while nobody is there repeats it
/// to the adopter, and only then somebody knows. And an answer that was committed when its node was
/// lost is heard from the adopter: nobody can know whether it was before.
fn length_of(call: &Call, times: &Moments) -> Option<(Duration, Duration)> {
    let (answered, ended) = call.times.answered.zip(call.times.ended)?;
    let over = call.times.over.unwrap_or(ended).max(ended);
    let is_held_up = |begun: &Instant| *begun <= times.back && answered >= times.fault;
    let committed = call.times.begun.filter(is_held_up).unwrap_or(answered);
    Some((ended.saturating_duration_since(answered), over.saturating_duration_since(committed)))
}

/// Each command that was acknowledged acted once, and the sessions lived on.
pub(super) fn commands_act_once(evidence: &Evidence) -> Claim {
    let text = "each acknowledged command acts exactly once, and desks stay signed in";
    let asked: usize = evidence.desks.iter().map(|desk| desk.asked.len()).sum();
    if asked == 0 {
        return Claim::skipped(text, "there is no desk");
    }
    let mut against = Vec::new();
    for desk in evidence.desks.iter().chain([&evidence.observer]) {
        against.extend(desk.odd.iter().map(|odd| format!("{}: {odd}", desk.user)));
        if desk.sessions_lost > 0 {
            against.push(format!("{} lost its session", desk.user));
        }
        for command in &desk.asked {
            let acted = effects(command, desk, &evidence.observer);
            let is = word_of(&command.command);
            let sent = when(command.sent, evidence);
            match (command.answered, &command.refused) {
                (None, _) => against.push(format!("{}: {is} of {sent} unanswered", desk.user)),
                (Some(_), Some(why)) => {
                    against.push(format!("{}: {is} of {sent} refused: {why}", desk.user));
                }
                (Some(_), None) => against.extend(
                    acted
                        .filter(|acted| *acted != 1)
                        .map(|acted| format!("{}: {is} of {sent} acted {acted} times", desk.user)),
                ),
            }
        }
    }
    let slowest = evidence.desks.iter().flat_map(|desk| &desk.asked);
    let slowest = slowest.filter_map(|asked| Some(asked.answered? - asked.sent)).max();
    let returns: u32 = evidence.desks.iter().map(|desk| desk.returns).sum();
    Claim::against(text, against).with_figures(format!(
        "{asked} commands, the slowest answered in {} ms; desks connected again {returns} times",
        slowest.unwrap_or_default().as_millis()
    ))
}

/// How often the observer saw a command act; nothing for those that leave no event of their own.
fn effects(asked: &Asked, desk: &Log, observer: &Log) -> Option<usize> {
    let by_agent =
        |agent: &String, by: &crate::api::words::Party| *agent == desk.user && word(by) == "agent";
    let is_it = |event: &EventView| match (&asked.command, event) {
        (Do::Dispose(said), EventView::Disposed { agent, disposition, .. }) => {
            *agent == desk.user && *disposition == said.disposition
        }
        (Do::Hold(of), EventView::Held { agent, call, by }) => {
            *call == of.call && by_agent(agent, by)
        }
        (Do::Retrieve(of), EventView::Retrieved { agent, call, by }) => {
            *call == of.call && by_agent(agent, by)
        }
        (Do::Consult(of), EventView::Consulting { agent, call, .. }) => {
            *agent == desk.user && *call == of.call
        }
        (Do::Conference(of), EventView::Conferenced { agent, call, .. }) => {
            *agent == desk.user && *call == of.call
        }
        (Do::Transfer(of), EventView::Transferred { agent, call, .. }) => {
            *agent == desk.user && *call == of.call
        }
        _ => false,
    };
    match asked.command {
        Do::Dispose(_)
        | Do::Hold(_)
        | Do::Retrieve(_)
        | Do::Consult(_)
        | Do::Conference(_)
        | Do::Transfer(_) => Some(observer.events.iter().filter(|(_, event)| is_it(event)).count()),
        Do::Ready(_)
        | Do::NotReady(_)
        | Do::Accept(_)
        | Do::Decline(_)
        | Do::HangUp(_)
        | Do::Dial(_)
        | Do::Alternate(_)
        | Do::Reconnect(_)
        | Do::EndWrapUp(_)
        | Do::SignOut(_)
        | Do::Supervise(_)
        | Do::TakeOver(_)
        | Do::Prioritise(_)
        | Do::MoveToQueue(_)
        | Do::Mute(_)
        | Do::Unmute(_)
        | Do::SendKeys(_)
        | Do::PauseRecording(_)
        | Do::ResumeRecording(_)
        | Do::Deflect(_)
        | Do::Park(_)
        | Do::PickUp(_) => None,
    }
}

fn word_of(command: &Do) -> String {
    let value = serde_json::to_value(command).unwrap_or_default();
    value["do"].as_str().unwrap_or("a command").to_owned()
}
