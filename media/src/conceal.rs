//! Concealment of lost frames (in the spirit of G.711 appendix I).
