//! The registrar: which contacts an address-of-record has (RFC 3261 §10).
