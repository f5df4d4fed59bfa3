//! RTP packets: parsing and writing (RFC 3550 §5).
