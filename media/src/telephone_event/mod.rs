//! DTMF as RTP events, sent and received (RFC 4733).
