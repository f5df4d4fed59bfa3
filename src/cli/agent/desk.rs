//! The desk of the terminal client, without terminal and socket: what it knows, what lines and
//! frames make of it, and what it says.

use std::collections::{BTreeMap, VecDeque};

use super::line::{HELP, Line, LineError};
use crate::api::frame::{
    Asked, ClientFrame, CloseReason, CommandFrame, Disposition, Do, Hello, Left, NotReady, Nothing,
    OfAgent, OfCall, ResultView, SendKeys, ServerFrame, Slot, Snapshot, Supervise, To, VERSION,
    Whom,
};
use crate::api::happened::EventView;
use crate::api::view::{QueueView, ScreenPop, StateChange};
use crate::api::words::{CallDirection, State, word};

/// Commands that wait for their answer. Full: a line is refused until one comes.
const UNANSWERED_MAX: usize = 16;

/// What happened and was not waited for by the script. Full: the oldest is forgotten.
const NEWS_MAX: usize = 1024;

/// The terminal client's knowledge.
#[derive(Debug)]
pub(super) struct Desk {
    user: String,
    /// What the ids of its commands begin with: random, given by the shell around it.
    prefix: String,
    commands: u64,
    unanswered: VecDeque<CommandFrame>,
    session: Option<String>,
    seen: Option<u64>,
    state: Option<StateChange>,
    call: Option<KnownCall>,
    last_call: Option<String>,
    queues: Vec<QueueView>,
    reasons: BTreeMap<String, String>,
    news: VecDeque<String>,
    refused: u32,
    quitting: bool,
    /// Other nodes' addresses, as the last one named them.
    pub(super) servers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownCall {
    id: String,
    words: String,
}

/// What follows from a line or a frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// To be printed.
    pub(super) says: Vec<String>,
    /// To be sent.
    pub(super) sends: Option<ClientFrame>,
    /// The script goes on when this has happened.
    pub(super) waits: Option<Pause>,
    /// The connection is over for this reason.
    pub(super) ends: Option<CloseReason>,
}

/// What a script waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Something that happens, at most so many seconds.
    Until { what: String, seconds: u64 },
    /// So many seconds.
    Seconds(u64),
}

impl Desk {
    pub(super) fn new(user: String, prefix: String) -> Self {
        Self {
            user,
            prefix,
            commands: 0,
            unanswered: VecDeque::new(),
            session: None,
            seen: None,
            state: None,
            call: None,
            last_call: None,
            queues: Vec::new(),
            reasons: BTreeMap::new(),
            news: VecDeque::new(),
            refused: 0,
            quitting: false,
            servers: Vec::new(),
        }
    }

    /// The first frame of a connection.
    pub(super) fn hello(&self, token: &str) -> ClientFrame {
        ClientFrame::Hello(Hello {
            version: VERSION,
            token: Some(token.to_owned()),
            session: self.session.clone(),
            resume_from: self.seen,
            sign_in: Some(true),
        })
    }

    /// Commands whose answers were lost with a connection: to be sent again, under the same ids.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = ClientFrame> {
        self.unanswered.iter().cloned().map(ClientFrame::Command)
    }

    /// Commands and lines that were refused so far.
    pub(super) fn refused(&self) -> u32 {
        self.refused
    }

    /// Whether the person said that this is the end.
    pub(super) fn is_quitting(&self) -> bool {
        self.quitting
    }

    /// What stands before the cursor.
    pub(super) fn prompt(&self) -> String {
        let state = self.state.as_ref().map_or_else(|| "…".to_owned(), |is| word(&is.state));
        format!("{} ({state})> ", self.user)
    }

    /// Forgets everything up to and with the first time that `what` happened; whether it did.
    pub(super) fn has_happened(&mut self, what: &str) -> bool {
        match self.news.iter().position(|happened| happened == what) {
            Some(position) => {
                self.news.drain(..=position);
                true
            }
            None => false,
        }
    }

    /// A line was typed.
    pub(super) fn handle_line(&mut self, text: &str) -> Step {
        match Line::parse(text).map_err(|error: LineError| error.to_string()) {
            Ok(line) => self.handle(line).unwrap_or_else(|problem| self.refuse(problem)),
            Err(problem) => self.refuse(problem),
        }
    }

    fn refuse(&mut self, problem: String) -> Step {
        self.refused += 1;
        Step { says: vec![format!("! {problem}")], ..Step::default() }
    }

    fn handle(&mut self, line: Line) -> Result<Step, String> {
        let command = match line {
            Line::Empty => return Ok(Step::default()),
            Line::Status => return Ok(Step { says: self.status(), ..Step::default() }),
            Line::Help => {
                let says = HELP.iter().map(|line| format!("  {line}")).collect();
                return Ok(Step { says, ..Step::default() });
            }
            Line::Wait { what, seconds } => {
                let waits = Some(Pause::Until { what, seconds });
                return Ok(Step { waits, ..Step::default() });
            }
            Line::Sleep { seconds } => {
                return Ok(Step { waits: Some(Pause::Seconds(seconds)), ..Step::default() });
            }
            Line::Quit => {
                self.quitting = true;
                Do::SignOut(Whom::default())
            }
            Line::Ready => Do::Ready(Whom::default()),
            Line::NotReady { reason } => Do::NotReady(NotReady { reason, agent: None }),
            Line::Answer => Do::Accept(self.of_call()?),
            Line::Decline => Do::Decline(self.of_call()?),
            Line::Hold => Do::Hold(self.of_call()?),
            Line::Retrieve => Do::Retrieve(self.of_call()?),
            Line::HangUp => Do::HangUp(self.of_call()?),
            Line::Dial { number } => Do::Dial(To { to: number }),
            Line::Consult { number } => {
                Do::Consult(Asked { call: self.of_call()?.call, to: number })
            }
            Line::Alternate => Do::Alternate(self.of_call()?),
            Line::Reconnect => Do::Reconnect(self.of_call()?),
            Line::Conference => Do::Conference(self.of_call()?),
            Line::Transfer { number } => {
                Do::Transfer(Left { call: self.of_call()?.call, to: number })
            }
            Line::Dispose { disposition, note } => {
                let call = self.call.as_ref().map(|call| call.id.clone());
                let call = call.or_else(|| self.last_call.clone()).ok_or("there was no call")?;
                Do::Dispose(Disposition { call, disposition, note })
            }
            Line::Supervise { agent, mode } => Do::Supervise(Supervise { agent, mode }),
            Line::Mute => Do::Mute(self.of_call()?),
            Line::Unmute => Do::Unmute(self.of_call()?),
            Line::Keys { keys } => Do::SendKeys(SendKeys { call: self.of_call()?.call, keys }),
            Line::Pause => Do::PauseRecording(self.of_call()?),
            Line::Resume => Do::ResumeRecording(self.of_call()?),
            Line::Deflect { number } => {
                Do::Deflect(Asked { call: self.of_call()?.call, to: number })
            }
            Line::Park => Do::Park(self.of_call()?),
            Line::PickUp { slot } => Do::PickUp(Slot { slot }),
            Line::TakeOver { agent } => Do::TakeOver(OfAgent { agent }),
            Line::Done => Do::EndWrapUp(Nothing {}),
        };
        self.command(command)
    }

    fn of_call(&self) -> Result<OfCall, String> {
        let call = self.call.as_ref().ok_or("there is no call")?;
        Ok(OfCall { call: call.id.clone() })
    }

    fn command(&mut self, command: Do) -> Result<Step, String> {
        if self.unanswered.len() >= UNANSWERED_MAX {
            return Err("too many commands wait for their answers".to_owned());
        }
        self.commands += 1;
        let id = format!("{}-{}", self.prefix, self.commands);
        let frame = CommandFrame { id, after: self.seen, command };
        self.unanswered.push_back(frame.clone());
        Ok(Step { sends: Some(ClientFrame::Command(frame)), ..Step::default() })
    }

    /// A frame arrived.
    pub(super) fn handle_frame(&mut self, frame: ServerFrame) -> Step {
        let mut step = Step::default();
        match frame {
            ServerFrame::Welcome(welcome) => {
                let how = if welcome.resumed { "back" } else { "signed in" };
                step.says.push(format!("* {how} at node {}", welcome.node));
                self.news(if welcome.resumed { "resumed" } else { "welcome" });
                self.session = welcome.session;
                self.servers = welcome.servers;
            }
            ServerFrame::Snapshot(snapshot) => step.says = self.take(*snapshot),
            ServerFrame::Events(events) => {
                self.seen = Some(events.index);
                step.says = events.events.iter().filter_map(|event| self.happens(event)).collect();
            }
            ServerFrame::Reply(reply) => {
                self.answered(&reply.id);
                self.news("done");
                match reply.result {
                    ResultView::Afterwards => step.says.push("* after this call".to_owned()),
                    ResultView::Parked(Slot { slot }) => {
                        step.says.push(format!("* parked in slot {slot}"));
                    }
                    ResultView::Done
                    | ResultView::Already
                    | ResultView::Dialing(_)
                    | ResultView::SignedIn => (),
                }
            }
            ServerFrame::Error(error) => {
                if let Some(id) = &error.id {
                    self.answered(id);
                }
                self.refused += 1;
                self.quitting = false;
                self.news("error");
                let is = error.error.state.as_deref().zip(error.error.needed.as_deref());
                let states = is.map(|(is, needs)| format!(" (is {is}, needs {needs})"));
                step.says.push(format!("! {}{}", error.error, states.unwrap_or_default()));
            }
            ServerFrame::Pong(pong) => self.seen = Some(pong.index),
            ServerFrame::AlarmRaised(alarm) => {
                step.says.push(format!("! alarm {}: {}", alarm.name, alarm.detail));
            }
            ServerFrame::AlarmCleared(cleared) => {
                step.says.push(format!("* alarm {} is over", cleared.id));
            }
            ServerFrame::Closing(closing) => step.ends = Some(closing.why),
        }
        step
    }

    fn answered(&mut self, id: &str) {
        self.unanswered.retain(|frame| frame.id != id);
    }

    fn news(&mut self, what: &str) {
        if self.news.len() == NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(what.to_owned());
    }

    fn take(&mut self, snapshot: Snapshot) -> Vec<String> {
        self.seen = Some(snapshot.index);
        self.queues = snapshot.queues;
        self.reasons = snapshot.reasons;
        let own = snapshot.agents.into_iter().find(|agent| agent.id == self.user);
        if let Some(own) = own {
            self.last_call = own.last_call;
            let (state, since, reason, until, call) =
                (own.state, own.since, own.reason, own.until, own.call);
            let known = |id: &String| snapshot.calls.iter().find(|call| call.id == *id);
            self.call = call.as_ref().filter(|_| state != State::WrapUp).map(|id| KnownCall {
                id: id.clone(),
                words: known(id).map_or_else(|| id.clone(), |call| call.caller.number.clone()),
            });
            self.news(&word(&state));
            self.state = Some(StateChange { state, since, reason, until, call });
        }
        self.status()
    }

    /// What an event changes, and what is said of it. Only the own events matter here.
    #[expect(clippy::too_many_lines, reason = "one arm for each event, each straight")]
    fn happens(&mut self, event: &EventView) -> Option<String> {
        match event {
            EventView::AgentState { agent, change } => {
                if *agent != self.user {
                    return None;
                }
                self.news(&word(&change.state));
                let reason = change.reason.as_ref().map(|reason| format!(", {reason}"));
                self.state = Some(change.clone());
                Some(format!("* {}{}", word(&change.state), reason.unwrap_or_default()))
            }
            EventView::Offered { agent, call, at_phone, .. } => {
                self.own(agent, "offered", |desk| {
                    let how =
                        if *at_phone { "lift the phone to answer" } else { "`answer` takes it" };
                    format!("* {} rings; {how}", desk.meet(call))
                })
            }
            EventView::OfferEnded { agent, why, .. } => self.own(agent, "offer-ended", |desk| {
                desk.leave();
                format!("* the call is not offered any more: {}", word(why))
            }),
            EventView::Dialing { agent, call } => {
                self.own(agent, "dialing", |desk| format!("* dialling {}", desk.meet(call)))
            }
            EventView::Delivered { agent, .. } => {
                self.own(agent, "delivered", |_| "* it is being called".to_owned())
            }
            EventView::Established { agent, call, .. } => {
                self.own(agent, "established", |desk| format!("* talking to {}", desk.meet(call)))
            }
            EventView::Held { agent, by, .. } => {
                self.own(agent, "held", |_| format!("* on hold by the {}", word(by)))
            }
            EventView::Retrieved { agent, .. } => {
                self.own(agent, "retrieved", |_| "* talking again".to_owned())
            }
            EventView::Consulting { agent, to, .. } => {
                self.own(agent, "consulting", |_| format!("* asking {to}"))
            }
            EventView::ConsultationAnswered { agent, .. } => {
                self.own(agent, "consultation-answered", |_| "* they have answered".to_owned())
            }
            EventView::ConsultationEnded { agent, cause, .. } => {
                self.own(agent, "consultation-ended", |_| {
                    format!("* back in the conversation: {}", word(cause))
                })
            }
            EventView::Alternated { agent, aside, .. } => self.own(agent, "alternated", |_| {
                let with = if *aside { "the one who was asked" } else { "the others" };
                format!("* with {with}")
            }),
            EventView::Conferenced { agent, parties, .. } => {
                self.own(agent, "conferenced", |_| format!("* {parties} in the conversation"))
            }
            EventView::Transferred { agent, to, .. } => self.own(agent, "transferred", |_| {
                format!("* left to {}", to.as_deref().unwrap_or("the one who was asked"))
            }),
            EventView::Cleared { agent, by, cause, .. } => self.own(agent, "cleared", |desk| {
                desk.leave();
                format!("* the call is over: {} by the {}", word(cause), word(by))
            }),
            EventView::Disposed { agent, disposition, .. } => {
                self.own(agent, "disposed", |_| format!("* noted: {disposition}"))
            }
            EventView::SessionEnded { agent, why } => {
                self.own(agent, "session-ended", |_| format!("* signed out: {}", word(why)))
            }
            EventView::Supervising { agent, of, call, mode } => {
                self.own(agent, "supervising", |desk| {
                    format!("* {} in {of}'s call: {}", word(mode), desk.meet(call))
                })
            }
            EventView::Muted { agent, muted, .. } => self.own(agent, "muted", |_| {
                if *muted { "* nobody hears you" } else { "* you are heard" }.to_owned()
            }),
            EventView::RecordingPaused { agent, paused, .. } => {
                self.own(agent, "recording-paused", |_| {
                    let how = if *paused { "interrupted" } else { "going on" };
                    format!("* the recording is {how}")
                })
            }
            EventView::Parked { agent, .. } => {
                self.own(agent, "parked", |_| "* the other party waits".to_owned())
            }
            EventView::StateForced { agent, by } => {
                self.own(agent, "state-forced", |_| format!("* by {by}:"))
            }
            EventView::SignedIn { .. }
            | EventView::CallBegan { .. }
            | EventView::CallQueued { .. }
            | EventView::CallTakenOver { .. }
            | EventView::CallEnded { .. }
            | EventView::QueueChanged { .. }
            | EventView::NodeChanged { .. }
            | EventView::Reconfigured => None,
        }
    }

    fn own(
        &mut self,
        agent: &str,
        news: &str,
        says: impl FnOnce(&mut Self) -> String,
    ) -> Option<String> {
        if agent != self.user {
            return None;
        }
        self.news(news);
        Some(says(self))
    }

    /// Takes a call as the present one; answers it in words.
    fn meet(&mut self, call: &ScreenPop) -> String {
        let words = match call.direction {
            CallDirection::Outbound => call.called.clone(),
            CallDirection::Inbound => {
                let name = call.caller.name.as_deref().unwrap_or_default();
                let caller = format!("{} {name}", call.caller.number).trim().to_owned();
                let caller = if caller.is_empty() { "anonymous".to_owned() } else { caller };
                let to = call.queue_name.as_deref().unwrap_or(&call.called);
                let known = call.variables.iter().map(|(name, value)| format!(", {name} {value}"));
                format!("{caller} for {to}{}", known.collect::<String>())
            }
        };
        self.call = Some(KnownCall { id: call.id.clone(), words: words.clone() });
        words
    }

    fn leave(&mut self) {
        if let Some(call) = self.call.take() {
            self.last_call = Some(call.id);
        }
    }

    fn status(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(is) = &self.state {
            let reason = is.reason.as_ref().map(|reason| format!(", {reason}"));
            lines.push(format!(
                "  {} is {}{}",
                self.user,
                word(&is.state),
                reason.unwrap_or_default()
            ));
        }
        if let Some(call) = &self.call {
            lines.push(format!("  call {}: {}", call.id, call.words));
        }
        for queue in &self.queues {
            let codes: Vec<&str> = queue.dispositions.keys().map(String::as_str).collect();
            lines.push(format!("  queue {}: dispositions {}", queue.name, codes.join(", ")));
        }
        if !self.reasons.is_empty() {
            let codes: Vec<&str> = self.reasons.keys().map(String::as_str).collect();
            lines.push(format!("  reasons: {}", codes.join(", ")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn desk() -> Desk {
        let mut desk = Desk::new("ana".to_owned(), "x".to_owned());
        desk.takes(json!({ "type": "welcome", "version": 1, "node": 1, "agent": "ana",
            "session": "00000000000000aa", "resumed": false, "grace_seconds": 15,
            "servers": ["http://127.0.0.12:8080"] }));
        desk
    }

    impl Desk {
        fn takes(&mut self, frame: Value) -> Step {
            self.handle_frame(serde_json::from_value(frame).unwrap())
        }

        fn says(&mut self, event: Value) -> Vec<String> {
            self.takes(json!({ "type": "events", "index": 9, "at": 1, "events": [event] })).says
        }

        fn sends(&mut self, line: &str) -> Value {
            serde_json::to_value(self.handle_line(line).sends).unwrap()["command"].clone()
        }
    }

    fn alice() -> Value {
        json!({ "id": "0000000000000007", "direction": "inbound",
            "caller": { "number": "+49301", "name": "Alice" }, "called": "1000",
            "queue": "sales", "queue_name": "Sales", "arrived": 1, "wait_ms": 2,
            "variables": { "account": "42" }, "priority": 0 })
    }

    #[test]
    fn a_call_is_answered_hung_up_and_disposed_of_without_typing_its_id() {
        let mut desk = desk();
        assert_eq!(desk.handle_line("answer").says, ["! there is no call"]);
        let offered = json!({ "event": "offered", "agent": "ana", "call": alice(),
            "at_phone": false, "until": 5 });
        let says = ["* +49301 Alice for Sales, account 42 rings; `answer` takes it"];
        assert_eq!(desk.says(offered), says);
        let call = "0000000000000007";
        assert_eq!(desk.sends("answer"), json!({ "do": "accept", "call": call }));
        assert_eq!(desk.sends("hangup"), json!({ "do": "hang-up", "call": call }));
        let cleared = json!({ "event": "cleared", "agent": "ana", "call": call, "by": "agent",
            "cause": "hung-up" });
        assert_eq!(desk.says(cleared), ["* the call is over: hung-up by the agent"]);
        let disposed = json!({ "do": "dispose", "call": call, "disposition": "sold" });
        assert_eq!(desk.sends("disposition sold"), disposed);
        assert_eq!(desk.sends("done"), json!({ "do": "end-wrap-up" }));
    }

    #[test]
    fn what_was_not_answered_is_sent_again_under_the_same_id() {
        let mut desk = desk();
        desk.handle_line("ready");
        desk.handle_line("notready lunch");
        desk.takes(json!({ "type": "reply", "id": "x-1", "index": 5, "result": { "is": "done" } }));
        let again: Vec<_> = desk.unanswered().collect();
        let lunch = Do::NotReady(NotReady { reason: "lunch".into(), agent: None });
        let frame = CommandFrame { id: "x-2".into(), after: desk.seen, command: lunch };
        assert_eq!(again, [ClientFrame::Command(frame)]);
        desk.takes(json!({ "type": "pong", "index": 77 }));
        let hello = serde_json::to_value(desk.hello("t")).unwrap();
        assert_eq!(hello["resume_from"], 77);
        assert_eq!(hello["session"], "00000000000000aa");
    }

    #[test]
    fn an_error_names_what_is_and_what_is_needed() {
        let mut desk = desk();
        let error = json!({ "type": "error", "id": "x-1", "error": { "code": "wrong-state",
            "message": "no", "state": "ready", "needed": "in wrap-up" } });
        assert_eq!(desk.takes(error).says, ["! wrong-state: no (is ready, needs in wrap-up)"]);
        assert_eq!(desk.refused(), 1);
    }

    #[test]
    fn a_script_waits_for_states_and_events_in_order() {
        let mut desk = desk();
        let state = |state: &str| json!({ "event": "agent-state", "agent": "ana", "state": state, "since": 1 });
        desk.says(state("ready"));
        desk.says(json!({ "event": "agent-state", "agent": "ben", "state": "held", "since": 1 }));
        desk.says(state("talking"));
        assert!(!desk.has_happened("held"));
        assert!(desk.has_happened("talking"));
        assert!(!desk.has_happened("ready"), "it was before");
        assert_eq!(desk.prompt(), "ana (talking)> ");
    }
}
