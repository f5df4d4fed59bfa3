//! Prompts and music: PCM kept once, encoded once for each codec.
