//! WAV files: reading prompts, writing recordings.
