//! The pure stages joined and sharded by flow over worker threads.
