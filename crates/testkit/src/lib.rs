//! Test helpers: seeded impairments, golden files, shared captures.
