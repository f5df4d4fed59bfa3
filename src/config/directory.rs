//! The replicated directory, as the configuration files describe it.
//!
//! Every node makes it in the same way from the same files, byte for byte, so that nodes with
//! equal files propose nothing. That is why a clear password is hashed with a salt derived from
//! the person's id and not with a random one; only passwords for trying things out are given in
//! clear.

use std::collections::BTreeMap;
use std::sync::Arc;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Argon2, PasswordHash};
use sha2::{Digest as _, Sha256};
use tandem_center::directory::{
    AgentConfig, AnswersOn, Blocked, Limits, OutboundRule, PasswordHash as CenterHash, QueueConfig,
    Role, Screening, Strategy, TrunkConfig,
};
use tandem_center::flow::FlowName;
use tandem_center::{AgentId, Directory, NodeId, QueueId, Route};

use super::Config;
use super::distribution::{pattern, skills};
use super::entries::{self, Agent, Number, Queue, ScreenAction, Trunk};
use super::types::{CallsPerSecond, Name, TrunkCallsMax};

impl Config {
    /// The directory with these flows.
    #[must_use]
    pub fn directory(&self, flows: BTreeMap<FlowName, Arc<str>>) -> Directory {
        let numbers: BTreeMap<Arc<str>, Route> =
            self.number.iter().map(|entry| (entry.number.as_str().into(), route(entry))).collect();
        let queues = self.queue.iter().map(|queue| (queue_id(&queue.id), config(queue, &numbers)));
        let agents =
            self.people().into_iter().map(|agent| (agent_id(&agent.id), self.agent_config(&agent)));
        Directory {
            screening: self.screening(),
            queues: queues.collect(),
            agents: agents.collect(),
            trunks: self
                .trunk
                .iter()
                .map(|trunk| (text(&trunk.name), trunk_config(trunk)))
                .collect(),
            outbound: self.trunk.iter().map(outbound).collect(),
            sites: self
                .cluster
                .member
                .iter()
                .filter_map(|member| {
                    Some((NodeId(member.id.get().into()), text(member.site.as_ref()?)))
                })
                .collect(),
            flows,
            reasons: labels(&self.reasons),
            session_grace_seconds: self.http.session_grace_seconds.get(),
            classes: self.classes(),
            numbers,
        }
    }

    /// The address-of-record under which the phone of `id` registers; the device of those who
    /// have no other.
    #[must_use]
    pub fn address_of_record(&self, id: &str) -> String {
        format!("sip:{id}@{}", self.sip.realm)
    }

    fn agent_config(&self, agent: &Agent) -> AgentConfig {
        let device = match &agent.device {
            Some(device) => device.to_string(),
            None => self.address_of_record(agent.id.as_str()),
        };
        AgentConfig {
            name: agent.name.as_deref().unwrap_or(agent.id.as_str()).into(),
            role: match agent.role {
                entries::Role::Agent => Role::Agent,
                entries::Role::Supervisor => Role::Supervisor,
                entries::Role::Administrator => Role::Administrator,
            },
            password: password(agent),
            device: device.into(),
            answers_on: match agent.answers_on {
                entries::AnswersOn::Phone => AnswersOn::Phone,
                entries::AnswersOn::Desk => AnswersOn::Desk,
            },
            always_ready: agent.always_ready,
            queues: agent.queues.iter().map(queue_id).collect(),
            shows: agent.shows.as_ref().map(|number| number.as_str().into()),
            skills: skills(&agent.skills),
            supervises: agent.supervises.iter().map(queue_id).collect(),
        }
    }

    fn screening(&self) -> Screening {
        let mut screening = Screening::default();
        for entry in &self.screen {
            let pattern = match entry.pattern.as_str() {
                "*" if entry.action == ScreenAction::Deny => {
                    screening.allowed_only = true;
                    screening.status = entry.status.get();
                    continue;
                }
                _ => pattern(&entry.pattern),
            };
            match entry.action {
                ScreenAction::Allow => screening.allowed.push(pattern),
                ScreenAction::Deny => {
                    screening.blocked.push(Blocked { pattern, status: entry.status.get() });
                }
            }
        }
        screening
    }
}

fn route(entry: &Number) -> Route {
    let status = entry.reject.map_or(404, |status| status.get());
    match entry {
        Number { flow: Some(flow), .. } => Route::Flow(text(flow)),
        Number { queue: Some(queue), .. } => Route::Queue(queue_id(queue)),
        Number { agent: Some(agent), .. } => Route::Agent(agent_id(agent)),
        Number { target: Some(target), .. } => Route::Target(target.as_str().into()),
        Number { echo: true, .. } => Route::Echo,
        Number { .. } => Route::Reject(status),
    }
}

fn config(queue: &Queue, numbers: &BTreeMap<Arc<str>, Route>) -> QueueConfig {
    QueueConfig {
        label: queue.name.as_deref().unwrap_or(queue.id.as_str()).into(),
        strategy: match queue.strategy {
            entries::Strategy::LongestIdle => Strategy::LongestIdle,
            entries::Strategy::RoundRobin => Strategy::RoundRobin,
            entries::Strategy::RingAll => Strategy::RingAll,
            entries::Strategy::FewestCalls => Strategy::FewestCalls,
            entries::Strategy::LeastTalkTime => Strategy::LeastTalkTime,
            entries::Strategy::Linear => Strategy::Linear,
            entries::Strategy::WeightedRandom => Strategy::WeightedRandom,
            entries::Strategy::HighestLevel => Strategy::HighestLevel,
        },
        priority: queue.priority.get(),
        ring_seconds: queue.ring_seconds.get(),
        wrap_up_seconds: queue.wrap_up_seconds.get(),
        max_wait_seconds: queue.wait_seconds_max.get(),
        max_length: queue.length_max.get(),
        overflow: queue.overflow.as_ref().and_then(|to| numbers.get(to.as_str()).cloned()),
        answer: queue.answer,
        record: queue.record,
        dispositions: labels(&queue.dispositions),
        distribution: queue.distribution(numbers),
    }
}

fn trunk_config(trunk: &Trunk) -> TrunkConfig {
    TrunkConfig {
        shows: trunk.shows.as_ref().map(|number| number.as_str().into()),
        ring_seconds: trunk.ring_seconds.get(),
        record: trunk.record,
        wrap_up_seconds: trunk.wrap_up_seconds.get(),
        priority: trunk.priority.get(),
        weight: trunk.weight.get(),
        failover: trunk.failover.iter().map(|status| status.get()).collect(),
        incoming: limits(trunk.calls_in_max, trunk.calls_in_per_second),
        outgoing: limits(trunk.calls_out_max, trunk.calls_out_per_second),
    }
}

fn limits(calls: Option<TrunkCallsMax>, per_second: Option<CallsPerSecond>) -> Limits {
    Limits {
        calls: calls.map_or(0, TrunkCallsMax::get),
        per_second: per_second.map_or(0, CallsPerSecond::get),
    }
}

fn outbound(trunk: &Trunk) -> OutboundRule {
    let prefix = trunk.prefix.as_str();
    let strip = if trunk.strip_prefix { prefix.chars().count() } else { 0 };
    OutboundRule {
        prefix: prefix.into(),
        trunk: text(&trunk.name),
        strip: u8::try_from(strip).unwrap_or(u8::MAX),
        add: trunk.add_prefix.as_str().into(),
    }
}

fn password(agent: &Agent) -> CenterHash {
    match (&agent.password_hash, &agent.password) {
        (Some(hash), _) => CenterHash(hash.reveal().into()),
        (None, Some(password)) => {
            CenterHash(hash_for_trying(password.reveal(), agent.id.as_str()).into())
        }
        (None, None) => CenterHash::default(),
    }
}

/// Argon2 with a salt that only depends on the id, for the reason that the module gives.
fn hash_for_trying(password: &str, id: &str) -> String {
    let salt = Sha256::new().chain_update(b"tandem ").chain_update(id).finalize();
    let hash: Result<PasswordHash, _> =
        Argon2::default().hash_password_with_salt(password.as_bytes(), &salt[..16]);
    hash.expect("a salt of 16 bytes and the default parameters are valid").to_string()
}

fn labels(names: &BTreeMap<Name, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    names.iter().map(|(code, label)| (text(code), label.as_str().into())).collect()
}

fn text(name: &Name) -> Arc<str> {
    name.as_str().into()
}

fn queue_id(name: &Name) -> QueueId {
    QueueId::parse(name.as_str()).expect("the characters of a Name are among those of an id")
}

fn agent_id(name: &Name) -> AgentId {
    AgentId::parse(name.as_str()).expect("the characters of a Name are among those of an id")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Directory {
        let config = Config::parse(text, Path::new("test.toml")).unwrap();
        config.directory(BTreeMap::new())
    }

    #[test]
    fn the_shipped_files_make_valid_directories() {
        for file in ["config/node.toml", "config/bench.toml", "config/cluster/node1.toml"] {
            let config = Config::load(Path::new(file)).unwrap();
            let flows = config.number.iter().filter_map(|entry| entry.flow.as_ref());
            let flows = flows.map(|name| (text(name), "".into())).collect();
            assert_eq!(config.directory(flows).check(), Ok(()), "{file}");
        }
    }

    #[test]
    fn equal_files_make_equal_directories() {
        let config = Config::built_in();
        let first = config.directory(BTreeMap::new());
        assert_eq!(first.hash(), config.directory(BTreeMap::new()).hash());
        let ana = &first.agents[&AgentId::parse("ana").unwrap()];
        let ben = &first.agents[&AgentId::parse("ben").unwrap()];
        assert!(ana.password.0.starts_with("$argon2id$"), "{}", ana.password.0);
        assert_ne!(ana.password, ben.password);
        assert_eq!(&*ana.device, "sip:ana@tandem");
    }

    #[test]
    fn screening_follows_the_entries() {
        let some = parse(
            "[[screen]]\npattern = \"+49*\"\naction = \"deny\"\n\
             [[screen]]\npattern = \"+4930\"\naction = \"allow\"\n\
             [[screen]]\npattern = \"anonymous\"\naction = \"deny\"\nstatus = 433\n",
        );
        assert_eq!(some.screening.refuses("+49171"), Some(603));
        assert_eq!(some.screening.refuses("+4930"), None);
        assert_eq!(some.screening.refuses(""), Some(433));
        assert_eq!(some.screening.refuses("+1"), None);
        let only = parse(
            "[[screen]]\npattern = \"*\"\naction = \"deny\"\nstatus = 403\n\
             [[screen]]\npattern = \"7*\"\naction = \"allow\"\n",
        );
        assert_eq!(only.screening.refuses("+1"), Some(403));
        assert_eq!(only.screening.refuses("71"), None);
    }

    #[test]
    fn members_bring_their_sites() {
        let mut text =
            "[cluster]\nlisten = \"127.0.0.1:7001\"\nsecret = \"sixteen bytes or more\"\n"
                .to_owned();
        for (id, site) in [(1, "site = \"north\""), (2, "site = \"north\""), (3, "")] {
            text += &format!(
                "[[cluster.member]]\nid = {id}\naddress = \"127.0.0.1:700{id}\"\n{site}\n"
            );
        }
        let north = |id| (NodeId(id), "north".into());
        assert_eq!(parse(&text).sites, [north(1), north(2)].into());
    }

    #[test]
    fn a_dialled_number_goes_out_without_its_prefix() {
        let directory = parse(
            "[[trunk]]\nname = \"a\"\naddress = \"sip:x\"\nprefix = \"90\"\nstrip_prefix = true\n\
             add_prefix = \"+49\"\n",
        );
        let (prefix, number) = ("90".into(), "90171".into());
        let outside = tandem_center::directory::Outside { prefix, number };
        let ways: Vec<_> = directory.ways("90").map(|(rule, _)| rule.rewrite("90171")).collect();
        assert_eq!(ways, ["+49171".into()]);
        let destination = tandem_center::directory::Destination::Outside(outside);
        assert_eq!(directory.destination("90171"), Some(destination));
        assert_eq!(directory.destination("171"), None);
    }

    #[test]
    fn overflow_goes_where_the_number_leads() {
        let directory = parse(
            "[[number]]\nnumber = \"1\"\nqueue = \"b\"\n[[queue]]\nid = \"a\"\noverflow = \"1\"\n\
             [[queue]]\nid = \"b\"\n",
        );
        let queue = &directory.queues[&QueueId::parse("a").unwrap()];
        assert_eq!(queue.overflow, Some(Route::Queue(QueueId::parse("b").unwrap())));
    }
}
