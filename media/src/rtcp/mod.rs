//! RTCP packets and the report interval (RFC 3550 §6).
