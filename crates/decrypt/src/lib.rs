//! Streams to messages: key logs, RLPx handshakes and frames, MACs, Hello, capabilities, Snappy.
