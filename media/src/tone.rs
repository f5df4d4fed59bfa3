//! Call progress tones: dial, busy, ringback.
