//! Made-up transactions: rightly encoded, signed by nobody.

use bftap_ibft_decode::encode::List;
use bftap_ibft_decode::klaytn::{self, TransactionKind};

use crate::consensus::Dialect;
use crate::prng::Prng;

/// A transaction as it stands in a block's list.
pub fn made_up(dialect: Dialect, prng: &mut Prng) -> Vec<u8> {
    let address: [u8; 20] = prng.bytes();
    let to: [u8; 20] = prng.bytes();
    let [r, s]: [[u8; 32]; 2] = [prng.bytes(), prng.bytes()].map(|mut half: [u8; 32]| {
        // An integer without a leading zero.
        half[0] |= 0x40;
        half
    });
    let head = List::new()
        .uint(prng.below(100_000))
        .uint(25_000_000_000)
        .uint(21_000)
        .bytes(&to)
        .uint(prng.below(1 << 60));
    let typed = dialect == Dialect::Klaytn && prng.below(2) == 0;
    if typed {
        let signature = List::new().uint(2_035 + prng.below(2)).bytes(&r).bytes(&s);
        let fields = head.bytes(&address).list(&List::new().list(&signature));
        klaytn::transaction(TransactionKind::Klaytn(VALUE_TRANSFER), &fields)
    } else {
        let mut data = vec![0; prng.below(68) as usize];
        prng.fill(&mut data);
        let fields = head.bytes(&data).uint(37 + prng.below(2)).bytes(&r).bytes(&s);
        klaytn::transaction(TransactionKind::Legacy, &fields)
    }
}

/// Klaytn's transaction type of a value transfer.
const VALUE_TRANSFER: u8 = 0x08;
