//! RTP, codecs, tones, mixing and recording as pure machines.
//!
//! No socket, file, thread or clock is here: packets and time come in, packets and events go
//! out, into the caller's buffers. Samples are `i16`, mono, 8 kHz unless a type says otherwise;
//! a frame is 20 ms.
//!
//! Read in this order: [`frame`] (the units), [`codec`] with [`resample`] and [`conceal`] behind
//! it; [`wav`], [`tone`] and [`clip`], what is played; [`dtmf`] and [`telephone_event`], what is
//! pressed; [`rtp`], [`rtcp`], [`jitter`], [`session`] and [`port`], which move all that; then
//! [`mix`] and [`recording`].

pub mod clip;
pub mod codec;
pub mod conceal;
pub mod dtmf;
pub mod frame;
pub mod jitter;
pub mod mix;
pub mod port;
pub mod recording;
pub mod resample;
pub mod rtcp;
pub mod rtp;
pub mod session;
pub mod telephone_event;
pub mod tone;
pub mod wav;

#[cfg(test)]
mod testing;
