//! What each leg's port does, described in full whenever anything changes.
//!
//! Owns the translation of what a leg should hear ([`Hears`]) and of what was agreed on for it
//! into a [`PortPlan`]. The media engine makes the difference from what the port does already.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tandem_center::call::Keys;
use tandem_center::{Direction, Hears, LegNumber, RecordingId, Wants};
use tandem_sip::sdp::Negotiated;

use super::State;
use super::leg::{LiveLeg, engine_codec};
use super::reconcile::port_key;
use crate::media_engine::{self, CodecSpec, Detect, PortPlan, RecordTap, SendDigits, Source};
use crate::recordings::PartId;

/// Names the playing of music and of the ringing tone; actions of a flow count from below.
const MUSIC: u64 = u64::MAX;
const RINGBACK: u64 = u64::MAX - 1;

impl State {
    /// Describes all ports again.
    pub(super) fn refresh_audio(&self) {
        if let Some(call) = &self.call {
            self.arrange_audio(&call.wants());
        }
    }

    /// Describes what each leg hears.
    pub(super) fn arrange_audio(&self, wants: &Wants) {
        let speakers: BTreeSet<LegNumber> = wants.media.values().flat_map(mixed).collect();
        for (&number, leg) in &self.legs {
            let Some(agreed) = &leg.audio.agreed else { continue };
            let Some(hears) = wants.media.get(&number) else { continue };
            let plan = PortPlan {
                remote: Some(agreed.remote_rtp),
                remote_rtcp: agreed.remote_rtcp,
                negotiation: leg.audio.rounds,
                dtmf: agreed.dtmf_payload_type(),
                direction: direction(agreed),
                source: self.source(number, hears, &speakers),
                speaks_in: speakers.contains(&number).then(|| self.conference()),
                detect: Detect {
                    rfc4733: true,
                    // Tones are looked for only where digits are wanted and nothing better was
                    // agreed on: the filters cost more than all the rest of a port.
                    in_band: wants.act.is_some()
                        && agreed.telephone_event.is_none()
                        && self.node.in_band_dtmf,
                },
                record: wants
                    .record
                    .as_ref()
                    .filter(|_| !wants.off_record.contains(&number))
                    .map(|recording| self.tap(recording, number)),
                digits: wants
                    .keys
                    .get(&number)
                    .map(|Keys { seq, keys, .. }| SendDigits { seq: *seq, digits: keys.clone() }),
                ..PortPlan::new(codec(agreed))
            };
            self.node.engine.apply_under(self.confirmed, port_key(self.id, number), plan);
        }
    }

    /// A call is in one conference at most: its own.
    fn conference(&self) -> u64 {
        port_key(self.id, LegNumber::FIRST).call
    }

    fn source(&self, me: LegNumber, hears: &Hears, speakers: &BTreeSet<LegNumber>) -> Source {
        match hears {
            Hears::Nothing => Source::Silence,
            Hears::Leg(number) => Source::Relay(port_key(self.id, *number)),
            Hears::Mix(legs) => {
                let left_out = speakers.difference(legs).filter(|number| **number != me);
                let without = left_out.map(|number| port_key(self.id, *number)).collect();
                Source::Mix { conference: self.conference(), without }
            }
            Hears::Music => repeated(MUSIC, &self.node.music),
            Hears::Ringback => match self.early_leg() {
                Some(number) => Source::Relay(port_key(self.id, number)),
                None => repeated(RINGBACK, &self.node.ringback),
            },
            Hears::Prompts { .. } => self.performer.source(),
            Hears::Echo => Source::Echo,
        }
    }

    /// A leg that is not answered but has agreed on audio: its tones and announcements are better
    /// than ours.
    fn early_leg(&self) -> Option<LegNumber> {
        let is_early =
            |leg: &LiveLeg| leg.audio.agreed.is_some() && leg.far == super::leg::Far::Ringing;
        self.legs.iter().find(|(_, leg)| is_early(leg)).map(|(number, _)| *number)
    }

    /// The caller's side is the left channel, everybody else the right one. What an agent dialled
    /// and transferred keeps the customer on the right.
    fn tap(&self, recording: &RecordingId, number: LegNumber) -> RecordTap {
        let epoch = self.call.as_ref().map_or(0, |call| call.epoch);
        let is_left = self.call.as_ref().is_none_or(|call| match call.direction {
            Direction::Inbound => number == LegNumber::FIRST,
            Direction::Outbound if call.served == LegNumber::FIRST => number == LegNumber::FIRST,
            Direction::Outbound => number != call.served,
        });
        let path: PathBuf = self.node.recordings.path(&PartId::first(recording, epoch));
        RecordTap { path, channel: u8::from(!is_left), epoch }
    }
}

/// The legs that a leg hears at once.
fn mixed(hears: &Hears) -> Vec<LegNumber> {
    match hears {
        Hears::Mix(legs) => legs.iter().copied().collect(),
        Hears::Nothing
        | Hears::Leg(_)
        | Hears::Music
        | Hears::Ringback
        | Hears::Prompts { .. }
        | Hears::Echo => Vec::new(),
    }
}

fn repeated(seq: u64, clip: &media_engine::Clip) -> Source {
    Source::Play { seq, clips: vec![clip.clone()], repeat: true, from_ms: 0 }
}

fn codec(agreed: &Negotiated) -> CodecSpec {
    CodecSpec {
        kind: engine_codec(agreed.codec.kind),
        send_payload_type: agreed.codec.send_payload_type,
        receive_payload_type: agreed.codec.receive_payload_type,
        ptime_ms: agreed.ptime_ms,
    }
}

fn direction(agreed: &Negotiated) -> media_engine::Direction {
    match agreed.direction {
        tandem_sip::sdp::Direction::SendRecv => media_engine::Direction::SendReceive,
        tandem_sip::sdp::Direction::SendOnly => media_engine::Direction::SendOnly,
        tandem_sip::sdp::Direction::RecvOnly => media_engine::Direction::ReceiveOnly,
        tandem_sip::sdp::Direction::Inactive => media_engine::Direction::Inactive,
    }
}
