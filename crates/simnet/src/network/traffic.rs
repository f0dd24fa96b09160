//! Made-up transactions: rightly encoded, signed by nobody.

use std::rc::Rc;

use bftap_ibft_decode::encode::List;
use bftap_ibft_decode::klaytn::{self, TransactionKind};

use super::Network;
use super::event::{Event, Time};
use super::messages::Message;
use crate::consensus::Dialect;
use crate::devp2p;
use crate::prng::Prng;
use crate::rlpx::frame::compress;

impl Network<'_> {
    /// Sends transactions from a node to all its peers.
    pub(super) fn send_transactions(&mut self) {
        let period = self.options.block_period.0.cast_unsigned();
        let ticks = (period / TRANSACTION_TICK).max(1);
        let wanted = self.options.transactions as u64;
        let count = wanted / ticks + u64::from(self.prng.below(ticks) < wanted % ticks);
        self.queue
            .push(self.now + period.min(TRANSACTION_TICK), Event::Transactions);
        let index = self.prng.below(self.options.nodes as u64) as usize;
        if count == 0 || !self.nodes[index].running || self.nodes[index].paused_until > self.now {
            return;
        }
        let dialect = self.nodes[index].client.dialect();
        let made: Vec<Vec<u8>> = (0..count).map(|_| transaction(dialect, &mut self.prng)).collect();
        let payload = devp2p::items(made.iter().map(Vec::as_slice));
        let Ok(compressed) = compress(&payload) else {
            return;
        };
        let compressed: Rc<[u8]> = compressed.into();
        let room = (4 * self.options.transactions).saturating_sub(self.mempool.len());
        self.mempool.extend(made.into_iter().take(room));
        let channel = usize::from(self.options.channels - 1);
        for peer in 0..self.options.nodes {
            if let Some(session) = self.nodes[index].peers[peer].sessions[channel] {
                let delay = self.prng.below(300_000);
                let side = self.side_of(session, index);
                self.send(
                    session,
                    side,
                    delay,
                    Message::Transactions(Rc::clone(&compressed)),
                );
            }
        }
    }
}

/// A transaction as it stands in a block's list.
pub(super) fn transaction(dialect: Dialect, prng: &mut Prng) -> Vec<u8> {
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
const TRANSACTION_TICK: Time = 100_000_000;
