//! Mixing for three and more parties: each hears all others, not itself.
