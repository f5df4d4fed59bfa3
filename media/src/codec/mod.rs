//! Encoders and decoders of one stream each, behind one type.
