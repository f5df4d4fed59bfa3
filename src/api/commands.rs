//! What a client asks for, as commands of the centre: checks the role, makes the ids, submits.

use tandem_center::{
    AgentId, CallId, Center, Command, CommandId, Dial, Index, Reply, SessionId, WantedState,
};

use super::backend::{Applied, Freshness, SubmitError, read};
use super::error::{ErrorBody, ErrorCode};
use super::frame::{Asked, CommandFrame, Do, Left, ReplyFrame};
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
async fn command(
    api: &Api,
    who: &Claims,
    wish: &Do,
    command: CommandId,
) -> Result<Command, ErrorBody> {
    let agent = who.agent_id();
    Ok(match wish {
        Do::Ready(whom) => {
            let agent = subject(who, whom.agent.as_deref())?;
            Command::SetState { agent, state: WantedState::Ready, command }
        }
        Do::NotReady(why) => {
            let agent = subject(who, why.agent.as_deref())?;
            let state = WantedState::NotReady { reason: why.reason.as_str().into() };
            Command::SetState { agent, state, command }
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
        Do::SignOut(whom) => {
            let agent = subject(who, whom.agent.as_deref())?;
            let session = session_of(api, agent.clone()).await?;
            Command::SignOut { agent, session, command }
        }
    })
}

/// Whose state is meant: one's own, or for supervisors another's.
fn subject(who: &Claims, agent: Option<&str>) -> Result<AgentId, ErrorBody> {
    match agent {
        None => Ok(who.agent_id()),
        Some(agent) if agent == who.agent => Ok(who.agent_id()),
        Some(agent) => {
            require(who, Role::Supervisor)?;
            Ok(AgentId::parse(agent)?)
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
