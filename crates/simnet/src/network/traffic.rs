//! Transactions on their way between nodes.

use std::rc::Rc;

use super::Network;
use super::event::{Event, Time};
use super::messages::Message;
use crate::devp2p;
use crate::rlpx::frame::compress;
use crate::transaction::made_up;

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
        let made: Vec<Vec<u8>> = (0..count).map(|_| made_up(dialect, &mut self.prng)).collect();
        let payload = devp2p::items(made.iter().map(Vec::as_slice));
        let Ok(compressed) = compress(&payload) else {
            return;
        };
        let compressed: Rc<[u8]> = compressed.into();
        let room = (4 * self.options.transactions).saturating_sub(self.mempool.len());
        self.mempool.extend(made.into_iter().take(room));
        let channel = usize::from(self.options.channels - 1);
        for peer in 0..self.options.hosts() {
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

const TRANSACTION_TICK: Time = 100_000_000;
