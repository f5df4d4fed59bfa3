//! The adaptive jitter buffer: packets in by arrival, frames out by time.
