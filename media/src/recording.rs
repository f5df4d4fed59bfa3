//! Stereo recording of a call: one channel a side, as WAV.
