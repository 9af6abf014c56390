//! Faces + history → tracks. Pure: no I/O, no clock of its own.
