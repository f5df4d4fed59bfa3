//! RTP, codecs, tones, mixing and recording as pure machines.
