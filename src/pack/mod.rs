//! Model packs.
