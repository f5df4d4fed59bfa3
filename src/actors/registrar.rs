//! The registrar: which phones are where.
//!
//! Owns the check of passwords and the answers to REGISTER. Does not own the bindings: they are
//! replicated, so that every node can call a phone that registered at any of them. A binding is
//! committed before its phone hears that it is registered. A REGISTER that comes again gets the
//! answer that it got (RFC 3261 §8.2.7, §17.2.2): the count of its nonce is used.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_center::{AgentId, Command, Millis};
use tandem_sip::auth::{Algorithm, Authenticator, Secret};
use tandem_sip::registrar::{Arrival, Registered, Registrar, Rules};
use tandem_sip::wire::{Peer, Request};

use super::answered::{Answer, Answered, Asked};
use super::sip_transport::{reply_to, tag_of};
use crate::config::sections::Digest;
use crate::node::Node;
use crate::registrations;

/// The shortest life of a binding, seconds: below it registrations cost more than calls.
const EXPIRES_SECONDS_MIN: u32 = 30;

/// Answers kept at most: 32 s of 500 phones a second. Past it the oldest goes, and its phone, if it
/// asks again, is challenged once more. Only who knows a password takes room.
const ANSWERED_MAX: usize = 16_384;

/// What the registrar is told.
#[derive(Debug)]
pub enum Message {
    /// A REGISTER.
    Register(Box<Request>, Peer),
    /// A REGISTER whose binding was committed was answered; or it could not be committed.
    Committed(Asked, Option<Answer>),
    /// A test of the supervision: die.
    Panic,
}

/// The behaviour of the registrar.
#[derive(Debug)]
pub struct RegistrarActor;

/// What it holds. The counts of nonces and the last answers go with it; then phones are challenged
/// once more.
#[derive(Debug)]
pub struct State {
    node: Arc<Node>,
    me: ActorRef<Message>,
    authenticator: Authenticator,
    rules: Rules,
    answered: Answered,
}

impl Actor for RegistrarActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        me: ActorRef<Message>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        let realm = node.config.sip.realm.clone();
        let longest = node.config.sip.register_seconds_max.get();
        let rules = Rules {
            expires_usual_seconds: longest,
            expires_min_seconds: EXPIRES_SECONDS_MIN,
            expires_max_seconds: longest,
            ..Rules::default()
        };
        let algorithms: Vec<_> = node
            .config
            .sip
            .digest
            .iter()
            .map(|digest| match digest {
                Digest::Md5 => Algorithm::Md5,
                Digest::Sha256 => Algorithm::Sha256,
            })
            .collect();
        let authenticator =
            Authenticator::new(&realm, &node.nonce_key).with_algorithms(&algorithms);
        let answered = Answered::with_room(ANSWERED_MAX);
        Ok(State { node, me, authenticator, rules, answered })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Register(request, peer) => state.register(&request, peer),
            Message::Committed(asked, Some(answer)) => {
                state.answered.keep(Instant::now(), asked, answer);
            }
            Message::Committed(asked, None) => state.answered.forget(&asked),
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
        Ok(())
    }
}

impl State {
    fn register(&mut self, request: &Request, peer: Peer) {
        let asked = Asked::of(request);
        match self.answered.get(Instant::now(), &asked) {
            Some(Answer::Sent(peer, bytes)) => return self.node.send_sip(peer, bytes.clone()),
            Some(Answer::Pending) => return,
            None => (),
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        let now_ms = u64::try_from(now).unwrap_or(u64::MAX);
        let to_tag = tag_of(request);
        let phones = &self.node.phones;
        let password =
            |user: &str| phones.get(user).map(|password| Secret::Password(password.clone()));
        let user = match self.authenticator.verify(request, now_ms, password) {
            Ok(user) => user,
            Err(denied) => {
                let response = self.authenticator.deny(request, denied, now_ms, &to_tag);
                // Not kept: it used no count, and anybody can ask for it.
                self.node.send_sip(&reply_to(request, &peer), response.to_bytes());
                return;
            }
        };
        let Ok(agent) = AgentId::parse(&user) else { return };
        let before = self.node.registrations(&agent);
        let mut registrar = Registrar::restore(self.rules.clone(), Self::named(request, &before));
        let arrival = Arrival { now_ms, peer, user: Some(&user), to_tag: &to_tag };
        let response = registrar.handle_register(request, arrival);
        let after: Vec<_> = registrar.export().flat_map(|registered| registered.bindings).collect();
        if response.status() != 200
            || before.as_ref().is_some_and(|before| before.bindings == after)
        {
            let (peer, bytes) = (reply_to(request, &peer), response.to_bytes());
            self.node.send_sip(&peer, bytes.clone());
            return self.answered.keep(Instant::now(), asked, Answer::Sent(peer, bytes));
        }
        self.answered.keep(Instant::now(), asked.clone(), Answer::Pending);
        let until = after.iter().map(|binding| binding.expires_at_ms).max().unwrap_or(0);
        let registered = Registered { address: user.clone(), bindings: after };
        let contacts = registrations::encode(&registered);
        let command = Command::Registered { agent, contacts, until: Millis(until) };
        let (node, me) = (Arc::clone(&self.node), self.me.clone());
        let (peer, bytes) = (reply_to(request, &peer), response.to_bytes());
        self.node.propose_then(&command, move |outcome| {
            // Without a commit the phone hears nothing and asks again, here or elsewhere.
            let is_committed = outcome.is_ok_and(|answer| answer.reply.is_ok());
            let answer = is_committed.then(|| {
                node.send_sip(&peer, bytes.clone());
                Answer::Sent(peer, bytes)
            });
            drop(me.send_message(Message::Committed(asked, answer)));
        });
    }

    /// The kept bindings under the name that this request uses: phones say the node's address or
    /// the realm, whichever they were told, and mean the same user.
    fn named(request: &Request, kept: &Option<Registered>) -> Option<Registered> {
        let address = request.to().uri().address_of_record()?;
        kept.clone().map(|kept| Registered { address, ..kept })
    }
}
