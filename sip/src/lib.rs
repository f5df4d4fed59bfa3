//! SIP and SDP as pure machines: bytes and time in, bytes and events out.
