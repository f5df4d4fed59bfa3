//! Sample rate conversion of a stream.
