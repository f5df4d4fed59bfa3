//! The alarms that a supervisor's connection was told, and what is new since.
//!
//! Alarms are not in the log, so they have no index to resume from. A connection is told all that
//! stand when it begins, and then the difference between what it was told and what stands; nothing
//! is queued for one that is slow.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::events::Scope;
use super::frame::{AlarmCleared, ServerFrame};
use crate::alarms::Alarms;

/// See the file.
#[derive(Debug)]
pub(super) struct AlarmFeed {
    alarms: Arc<Alarms>,
    changes: watch::Receiver<u64>,
    /// The ids that stand, as far as the client knows.
    told: BTreeSet<String>,
}

impl AlarmFeed {
    /// For who sees everything; agents have no use for alarms.
    pub(super) fn for_scope(scope: &Scope, alarms: &Arc<Alarms>) -> Option<Self> {
        match scope {
            Scope::Agent(_) => None,
            Scope::Everything => Some(Self {
                alarms: Arc::clone(alarms),
                changes: alarms.follow(),
                told: BTreeSet::new(),
            }),
        }
    }

    /// Tells when there may be something new.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// What the client is to be told now.
    pub(super) fn news(&mut self) -> Vec<ServerFrame> {
        self.changes.borrow_and_update();
        let standing = self.alarms.standing();
        let stands = |id: &String| standing.iter().any(|alarm| alarm.id == *id);
        let over: Vec<String> = self.told.iter().filter(|id| !stands(id)).cloned().collect();
        self.told.retain(|id| stands(id));
        let new = standing.iter().filter(|alarm| self.told.insert(alarm.id.clone()));
        let raised: Vec<_> = new.cloned().map(ServerFrame::AlarmRaised).collect();
        let cleared = over.into_iter().map(|id| ServerFrame::AlarmCleared(AlarmCleared { id }));
        cleared.chain(raised).collect()
    }
}

#[cfg(test)]
mod tests {
    use tandem_center::AgentId;

    use super::*;
    use crate::alarms::{Alarm, Severity};

    fn alarm(id: &str) -> Alarm {
        Alarm {
            id: id.into(),
            name: "disk-low".into(),
            severity: Severity::Page,
            about: None,
            node: 1,
            since: 7,
            detail: "it is".into(),
            action: "make room".into(),
        }
    }

    #[test]
    fn a_supervisor_is_told_what_stands_and_then_what_changes_and_an_agent_nothing() {
        let alarms = Arc::new(Alarms::default());
        alarms.stand(vec![alarm("a"), alarm("b")]);
        let mut feed = AlarmFeed::for_scope(&Scope::Everything, &alarms).unwrap();
        let raised = |id| ServerFrame::AlarmRaised(alarm(id));
        let cleared = |id: &str| ServerFrame::AlarmCleared(AlarmCleared { id: id.into() });
        assert_eq!(feed.news(), [raised("a"), raised("b")]);
        assert_eq!(feed.news(), []);
        assert!(!feed.changes().has_changed().unwrap());
        alarms.stand(vec![alarm("b")]);
        alarms.stand(vec![alarm("b"), alarm("c")]);
        assert!(feed.changes().has_changed().unwrap());
        assert_eq!(feed.news(), [cleared("a"), raised("c")]);
        let agent = Scope::Agent(AgentId::parse("ana").unwrap());
        assert!(AlarmFeed::for_scope(&agent, &alarms).is_none());
    }
}
