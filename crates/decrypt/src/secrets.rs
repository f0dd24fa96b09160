//! What a node's key log tells of one session.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Wiped from memory when dropped; never printed.
        #[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From the 32 bytes that the handshake derives.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes, for a cipher.
            pub const fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret_bytes!(
    /// Key of the frame cipher, `aes-secret` in devp2p's `rlpx.md`: whoever has it can read the session.
    AesSecret
);
secret_bytes!(
    /// Key of the frame MACs, `mac-secret` in devp2p's `rlpx.md`: whoever has it can forge frames.
    MacSecret
);
