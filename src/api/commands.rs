//! What a client asks for, as commands of the centre: checks the role, makes the ids, submits.

use tandem_center::{
    AgentId, CallId, Center, Command, CommandId, Dial, Index, QueueId, Reply, SessionId,
    WantedState,
};

use super::backend::{Applied, Freshness, SubmitError, read};
use super::error::{ErrorBody, ErrorCode};
use super::frame::{
    Asked, CommandFrame, Do, Left, MoveToQueue, NotReady, OfAgent, Prioritise, ReplyFrame,
    SendKeys, Slot, Supervise, Whom,
};
use super::server::Api;
use super::token::Claims;
use super::words::{Role, word};

/// Does what the frame asks for, on behalf of `who`.
pub(super) async fn run(
    api: &Api,
    who: &Claims,
    frame: CommandFrame,
) -> Result<ReplyFrame, ErrorBody> {
    let result = try_run(api, who, &frame).await;
    log_supervision(who, &frame.command, &frame.id, result.as_ref().copied());
    let label = match &result {
        Ok(_) => "done".to_owned(),
        Err(error) => word(&error.code),
    };
    api.metrics.cti_commands_total.with_label_values(&[&label]).inc();
    let (index, reply) = result?;
    Ok(ReplyFrame { id: frame.id, index, result: reply.into() })
}

async fn try_run(
    api: &Api,
    who: &Claims,
    frame: &CommandFrame,
) -> Result<(Index, Reply), ErrorBody> {
    let id = command_id(api, &frame.id, frame.after).await?;
    let command = command(api, who, &frame.command, id).await?;
    let Applied { index, reply } = api.backend.submit(command).await?;
    Ok((index, reply))
}

/// A command that has just come, and that its client gave when it knew of `after`.
pub(super) async fn command_id(
    api: &Api,
    name: &str,
    after: Option<Index>,
) -> Result<CommandId, ErrorBody> {
    let applied = read(&*api.backend, Freshness::Local, Center::index).await?;
    Ok(CommandId::new(name, after.map_or(applied, |after| after.min(applied)))?)
}

/// The command that `wish` stands for.
#[expect(clippy::too_many_lines, reason = "one arm for each wish, each straight")]
async fn command(
    api: &Api,
    who: &Claims,
    wish: &Do,
    command: CommandId,
) -> Result<Command, ErrorBody> {
    let agent = who.agent_id();
    Ok(match wish {
        Do::Ready(whom) => set_state(who, whom.agent.as_deref(), WantedState::Ready, command)?,
        Do::NotReady(why) => {
            let state = WantedState::NotReady { reason: why.reason.as_str().into() };
            set_state(who, why.agent.as_deref(), state, command)?
        }
        Do::Accept(of) => Command::AcceptOffer { agent, call: CallId::parse(&of.call)?, command },
        Do::Decline(of) => Command::DeclineOffer { agent, call: CallId::parse(&of.call)?, command },
        Do::Hold(of) => Command::Hold { agent, call: CallId::parse(&of.call)?, command },
        Do::Retrieve(of) => Command::Retrieve { agent, call: CallId::parse(&of.call)?, command },
        Do::HangUp(of) => Command::HangUp { agent, call: CallId::parse(&of.call)?, command },
        Do::Dial(number) => {
            let (call, salt) = api.backend.new_call();
            let (to, owner) = (number.to.as_str().into(), api.backend.node());
            Command::Dial(Box::new(Dial { agent, call, salt, to, owner, command }))
        }
        Do::Consult(Asked { call, to }) => {
            let to = to.as_str().into();
            Command::Consult { agent, call: CallId::parse(call)?, to, command }
        }
        Do::Alternate(of) => Command::Alternate { agent, call: CallId::parse(&of.call)?, command },
        Do::Reconnect(of) => Command::Reconnect { agent, call: CallId::parse(&of.call)?, command },
        Do::Conference(of) => {
            Command::Conference { agent, call: CallId::parse(&of.call)?, command }
        }
        Do::Transfer(Left { call, to }) => {
            let to = to.as_deref().map(Into::into);
            Command::Transfer { agent, call: CallId::parse(call)?, to, command }
        }
        Do::Dispose(said) => Command::Dispose {
            agent,
            call: CallId::parse(&said.call)?,
            disposition: said.disposition.as_str().into(),
            note: said.note.as_deref().map(Into::into),
            command,
        },
        Do::EndWrapUp(_) => Command::EndWrapUp { agent, command },
        Do::SignOut(whom) => match other(who, whom.agent.as_deref())? {
            Some(of) => Command::ForceLogOut { agent, of, command },
            None => {
                let session = session_of(api, agent.clone()).await?;
                Command::SignOut { agent, session, command }
            }
        },
        Do::Mute(of) => mute(agent, &of.call, true, command)?,
        Do::Unmute(of) => mute(agent, &of.call, false, command)?,
        Do::SendKeys(SendKeys { call, keys }) => {
            let (call, keys) = (CallId::parse(call)?, keys.as_str().into());
            Command::SendKeys { agent, call, keys, command }
        }
        Do::PauseRecording(of) => pause(agent, &of.call, true, command)?,
        Do::ResumeRecording(of) => pause(agent, &of.call, false, command)?,
        Do::Deflect(Asked { call, to }) => {
            let (call, to) = (CallId::parse(call)?, to.as_str().into());
            Command::Deflect { agent, call, to, command }
        }
        Do::Park(of) => Command::Park { agent, call: CallId::parse(&of.call)?, command },
        Do::PickUp(Slot { slot }) => Command::PickUp { agent, slot: *slot, command },
        Do::Supervise(Supervise { agent: of, mode }) => {
            require(who, Role::Supervisor)?;
            let (of, mode) = (AgentId::parse(of)?, (*mode).into());
            Command::Supervise { agent, of, mode, command }
        }
        Do::TakeOver(OfAgent { agent: of }) => {
            require(who, Role::Supervisor)?;
            Command::TakeOver { agent, of: AgentId::parse(of)?, command }
        }
        Do::Prioritise(Prioritise { call, priority }) => {
            require(who, Role::Supervisor)?;
            let (call, priority) = (CallId::parse(call)?, *priority);
            Command::Prioritise { agent, call, priority, command }
        }
        Do::MoveToQueue(MoveToQueue { call, queue }) => {
            require(who, Role::Supervisor)?;
            let (call, queue) = (CallId::parse(call)?, QueueId::parse(queue)?);
            Command::MoveToQueue { agent, call, queue, command }
        }
    })
}

fn mute(agent: AgentId, call: &str, muted: bool, command: CommandId) -> Result<Command, ErrorBody> {
    Ok(Command::Mute { agent, call: CallId::parse(call)?, muted, command })
}

fn pause(
    agent: AgentId,
    call: &str,
    paused: bool,
    command: CommandId,
) -> Result<Command, ErrorBody> {
    Ok(Command::PauseRecording { agent, call: CallId::parse(call)?, paused, command })
}

/// One's own state, or for supervisors another's.
fn set_state(
    who: &Claims,
    of: Option<&str>,
    state: WantedState,
    command: CommandId,
) -> Result<Command, ErrorBody> {
    let agent = who.agent_id();
    Ok(match other(who, of)? {
        Some(of) => Command::ForceState { agent, of, state, command },
        None => Command::SetState { agent, state, command },
    })
}

/// Who is meant if it is somebody else, for supervisors only.
fn other(who: &Claims, agent: Option<&str>) -> Result<Option<AgentId>, ErrorBody> {
    match agent.filter(|agent| *agent != who.agent) {
        None => Ok(None),
        Some(agent) => {
            require(who, Role::Supervisor)?;
            Ok(Some(AgentId::parse(agent)?))
        }
    }
}

/// What supervisors do to others, and what is tried by those who may not, stands in the log.
fn log_supervision(who: &Claims, wish: &Do, id: &str, result: Result<(Index, Reply), &ErrorBody>) {
    let of = match wish {
        Do::Ready(Whom { agent: Some(agent) })
        | Do::SignOut(Whom { agent: Some(agent) })
        | Do::NotReady(NotReady { agent: Some(agent), .. }) => agent,
        Do::Supervise(Supervise { agent, .. }) | Do::TakeOver(OfAgent { agent }) => agent,
        Do::Prioritise(Prioritise { call, .. }) | Do::MoveToQueue(MoveToQueue { call, .. }) => call,
        Do::Ready(_)
        | Do::NotReady(_)
        | Do::Accept(_)
        | Do::Decline(_)
        | Do::Hold(_)
        | Do::Retrieve(_)
        | Do::HangUp(_)
        | Do::Dial(_)
        | Do::Consult(_)
        | Do::Alternate(_)
        | Do::Reconnect(_)
        | Do::Conference(_)
        | Do::Transfer(_)
        | Do::Dispose(_)
        | Do::EndWrapUp(_)
        | Do::Mute(_)
        | Do::Unmute(_)
        | Do::SendKeys(_)
        | Do::PauseRecording(_)
        | Do::ResumeRecording(_)
        | Do::Deflect(_)
        | Do::Park(_)
        | Do::PickUp(_)
        | Do::SignOut(_) => return,
    };
    let (by, wish) = (&who.agent, serde_json::to_string(wish).unwrap_or_default());
    match result {
        Ok((index, _)) => {
            tracing::info!(%by, %of, %wish, command = id, index, "a supervisor's command was done");
        }
        Err(error) => {
            let code = word(&error.code);
            tracing::warn!(%by, %of, %wish, command = id, %code, "a supervisor's command was refused");
        }
    }
}

/// The session of an agent. One who has none gets one that does not exist: the centre refuses
/// it, or knows the command already and repeats its first result.
async fn session_of(api: &Api, agent: AgentId) -> Result<SessionId, ErrorBody> {
    let session = read(&*api.backend, Freshness::Local, move |center| {
        center.agent(&agent).and_then(|agent| agent.session)
    });
    Ok(session.await?.unwrap_or(SessionId(0)))
}

/// Refuses those whose role does not reach `needed`.
pub(super) fn require(who: &Claims, needed: Role) -> Result<(), ErrorBody> {
    if who.role >= needed {
        return Ok(());
    }
    let (is, needs) = (word(&who.role), word(&needed));
    let message = format!("{} has the role {is}, this needs {needs}", who.agent);
    Err(ErrorBody::new(ErrorCode::WrongRole, message).between(is, needs))
}

/// Whether a repetition, here or elsewhere, may have another result.
pub(super) fn is_passing(error: &SubmitError) -> bool {
    match error {
        SubmitError::Rejected(_) => false,
        SubmitError::Unavailable(_) | SubmitError::Unknown => true,
    }
}
