//! Disconnect: why a peer was sent away.

use rlp::Rlp;

/// Reason in a Disconnect message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Code of the reason; `None` if the message gives none, or none that can be read.
    pub reason: Option<u8>,
}

impl Disconnect {
    /// Reads a decompressed payload, in any shape that clients send: a list of one, a bare byte, an empty list, nothing.
    pub fn parse(payload: &[u8]) -> Self {
        let item = Rlp::new(payload);
        let reason = match payload {
            [] => None,
            // Klaytn from v1.12 on and Kaia write reason 0 as a bare zero byte.
            [0x00] => Some(0),
            _ if item.is_list() => match item.at(0) {
                Ok(first) if first.as_raw() == [0x00] => Some(0),
                Ok(first) => first.as_val().ok(),
                Err(_) => None,
            },
            _ => item.as_val().ok(),
        };
        Self { reason }
    }

    /// The reason's name in devp2p's specification.
    pub const fn name(self) -> &'static str {
        match self.reason {
            None => "no reason given",
            Some(0x00) => "requested",
            Some(0x01) => "network error",
            Some(0x02) => "breach of protocol",
            Some(0x03) => "useless peer",
            Some(0x04) => "too many peers",
            Some(0x05) => "already connected",
            Some(0x06) => "incompatible p2p version",
            Some(0x07) => "invalid identity",
            Some(0x08) => "client quitting",
            Some(0x09) => "unexpected identity",
            Some(0x0a) => "connected to self",
            Some(0x0b) => "read timeout",
            Some(0x10) => "subprotocol error",
            Some(0x20) => "auth error (qlight)",
            Some(_) => "unknown reason",
        }
    }

    /// The name, with the code where it has none.
    pub fn words(self) -> String {
        match (self.name(), self.reason) {
            ("unknown reason", Some(code)) => format!("unknown reason 0x{code:02x}"),
            (name, _) => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_read() {
        for (payload, reason, name) in [
            (&[0xc1, 0x04][..], Some(4), "too many peers"),
            (&[0xc1, 0x80], Some(0), "requested"),
            (&[0xc1, 0x00], Some(0), "requested"),
            (&[0x08], Some(8), "client quitting"),
            (&[0x00], Some(0), "requested"),
            (&[0x80], Some(0), "requested"),
            (&[0xc0], None, "no reason given"),
            (&[], None, "no reason given"),
            (&[0xc3, 0x10, 0x01, 0x02], Some(0x10), "subprotocol error"),
            (&[0x81, 0xff], Some(0xff), "unknown reason"),
            (&[0xc2, 0x81, 0x80], Some(0x80), "unknown reason"),
            (&[0xc3, 0x82, 0x01, 0x00], None, "no reason given"),
            (&[0xf8], None, "no reason given"),
        ] {
            let disconnect = Disconnect::parse(payload);
            assert_eq!(
                (disconnect.reason, disconnect.name()),
                (reason, name),
                "{payload:02x?}"
            );
        }
    }

    #[test]
    fn a_reason_without_a_name_has_its_code() {
        assert_eq!(Disconnect::parse(&[0x04]).words(), "too many peers");
        assert_eq!(Disconnect::parse(&[0x42]).words(), "unknown reason 0x42");
        assert_eq!(Disconnect::parse(&[]).words(), "no reason given");
    }
}
