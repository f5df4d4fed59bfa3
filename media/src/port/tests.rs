//! A port as its two sides see it: what arrives, what it says, what it tells its call.
