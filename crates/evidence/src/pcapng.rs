//! What a pcapng file holds, as far as a bundle promises it: packets, and no secrets.
//!
//! Only the chain of blocks is followed (draft-ietf-opsawg-pcapng, little-endian as bundles are written).

/// Counts the packets of a file.
///
/// # Errors
/// In words: it is no such file, or holds a block that does not belong into a bundle.
pub(crate) fn packets(file: &[u8]) -> Result<u64, String> {
    let mut rest = file;
    let mut at = 0;
    let mut packets = 0;
    while !rest.is_empty() {
        let head = |from: usize| {
            let bytes = rest.get(from..from + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        let broken = || format!("the block at byte {at} is cut or damaged");
        let kind = head(0).ok_or_else(broken)?;
        let total = head(4).ok_or_else(broken)? as usize;
        if total < 12
            || !total.is_multiple_of(4)
            || total > rest.len()
            || head(total - 4) != Some(total as u32)
        {
            return Err(broken());
        }
        match kind {
            SECTION_HEADER if at == 0 && head(8) == Some(BYTE_ORDER) => {}
            INTERFACE_DESCRIPTION if at > 0 => {}
            ENHANCED_PACKET if at > 0 => packets += 1,
            DECRYPTION_SECRETS => {
                return Err("it holds session secrets, which belong into no bundle".to_owned());
            }
            _ => return Err(format!("the block at byte {at} is of a kind that no bundle has")),
        }
        rest = &rest[total..];
        at += total;
    }
    if at == 0 {
        return Err("it is empty".to_owned());
    }
    Ok(packets)
}

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let total = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &total, body, &total].concat()
    }

    #[test]
    fn packets_are_counted_and_secrets_are_refused() {
        let section = block(
            SECTION_HEADER,
            &[&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat(),
        );
        let packet = block(ENHANCED_PACKET, &[0; 24]);
        let file = [
            &section[..],
            &block(INTERFACE_DESCRIPTION, &[0; 8]),
            &packet,
            &packet,
        ]
        .concat();
        assert_eq!(packets(&file), Ok(2));
        assert_eq!(packets(&section), Ok(0));
        assert!(packets(&file[..file.len() - 1]).is_err());
        assert!(packets(b"").is_err());
        assert!(packets(&packet).is_err(), "no section");
        let secret = [&file[..], &block(DECRYPTION_SECRETS, &[0; 8])].concat();
        assert!(packets(&secret).unwrap_err().contains("session secrets"));
        assert!(packets(&[&file[..], &block(0x0bad, &[])].concat()).is_err());
    }
}
