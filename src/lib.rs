//! Verso.
