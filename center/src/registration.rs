//! Where agents' phones are: replicated, so that every node can call them.
//!
//! Owns one entry per agent who has a phone registered. What is in it is the node's business; the
//! centre keeps it, and forgets it when it has expired and another phone registers.

use serde::{Deserialize, Serialize};

use crate::apply::Turn;
use crate::call::{WIRE_BYTES_MAX, Wire};
use crate::{AgentId, Center, Millis, Rejected, Reply};

/// The phones of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The node's encoding of the contacts.
    pub contacts: Wire,
    /// When the last of them expires.
    pub until: Millis,
}

impl Center {
    /// The registered phones of an agent. Some of them may have expired.
    #[must_use]
    pub fn registration(&self, agent: &AgentId) -> Option<&Registration> {
        self.registrations.get(agent)
    }

    /// All registrations by agent.
    pub fn registrations(&self) -> impl ExactSizeIterator<Item = (&AgentId, &Registration)> {
        self.registrations.iter()
    }

    pub(crate) fn registered(
        &mut self,
        turn: &mut Turn,
        agent: AgentId,
        registration: Registration,
    ) -> Result<Reply, Rejected> {
        let size = registration.contacts.0.len();
        if size > WIRE_BYTES_MAX {
            return Err(Rejected::TooLarge { what: "registration", size, max: WIRE_BYTES_MAX });
        }
        if !self.directory.agents.contains_key(&agent) {
            return Err(Rejected::NoSuchAgent { agent });
        }
        self.forget_expired(turn);
        turn.outcome.touched.registrations.insert(agent.clone());
        if registration.contacts.0.is_empty() {
            self.registrations.remove(&agent);
        } else {
            self.registrations.insert(agent, registration);
        }
        Ok(Reply::Done)
    }

    fn forget_expired(&mut self, turn: &mut Turn) {
        let touched = &mut turn.outcome.touched.registrations;
        self.registrations.retain(|agent, registration| {
            let lives = registration.until > turn.at;
            if !lives {
                touched.insert(agent.clone());
            }
            lives
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::directory::AgentConfig;
    use crate::{Command, Directory};

    fn register(
        center: &mut Center,
        at: u64,
        agent: &str,
        bytes: &[u8],
    ) -> Result<Reply, Rejected> {
        let agent = AgentId::parse(agent).unwrap();
        let (contacts, until) = (Wire::from(bytes), Millis(at + 60_000));
        let command = Command::Registered { agent, contacts, until };
        center.apply(center.index() + 1, Millis(at), command).map(|outcome| outcome.reply)
    }

    fn center() -> Center {
        let mut center = Center::new();
        let ana = AgentId::parse("ana").unwrap();
        let ben = AgentId::parse("ben").unwrap();
        let mut directory = Directory::default();
        for agent in [ana, ben] {
            directory.agents.insert(agent, agent_config());
        }
        let configure = Command::Configure(Box::new(directory));
        center.apply(1, Millis(1), configure).unwrap();
        center
    }

    fn agent_config() -> AgentConfig {
        AgentConfig {
            name: "".into(),
            role: crate::directory::Role::Agent,
            password: Default::default(),
            device: "".into(),
            answers_on: Default::default(),
            always_ready: false,
            queues: Vec::new(),
            shows: None,
            skills: crate::directory::Skills::new(),
            supervises: Vec::new(),
        }
    }

    #[test]
    fn a_phone_is_known_until_it_leaves() {
        let (mut center, ana) = (center(), AgentId::parse("ana").unwrap());
        register(&mut center, 10, "ana", b"here").unwrap();
        assert_eq!(center.registration(&ana).unwrap().contacts, Wire(Arc::from(&b"here"[..])));
        assert_eq!(Center::load(&center.save()).unwrap().state_hash(), center.state_hash());
        register(&mut center, 20, "ana", b"").unwrap();
        assert_eq!(center.registration(&ana), None);
    }

    #[test]
    fn what_expired_goes_when_another_phone_comes() {
        let mut center = center();
        register(&mut center, 10, "ana", b"here").unwrap();
        register(&mut center, 60_011, "ben", b"there").unwrap();
        assert_eq!(center.registrations().count(), 1);
    }

    #[test]
    fn only_the_agents_of_the_directory_register() {
        let agent = AgentId::parse("eve").unwrap();
        assert_eq!(
            register(&mut center(), 10, "eve", b"here"),
            Err(Rejected::NoSuchAgent { agent })
        );
    }
}
