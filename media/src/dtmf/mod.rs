//! DTMF in the audio itself: the digits, their tones, their detection (ITU-T Q.23, Q.24).
