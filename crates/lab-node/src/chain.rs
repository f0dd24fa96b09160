//! A node's blocks: those it may have to hand on.

use std::collections::BTreeMap;
use std::sync::Arc;

use bftap_ibft_decode::SIGNATURE_LEN;
use bftap_model::{Address, Hash256};
use bftap_simnet::consensus::{Dialect, Head, Proposal, ReceivedBlock};
use bftap_simnet::devp2p;
use hashbrown::HashMap;

/// A decided block.
#[derive(Debug)]
pub(crate) struct ChainBlock {
    pub(crate) block: Arc<Proposal>,
    pub(crate) round: u64,
    pub(crate) seals: Vec<[u8; SIGNATURE_LEN]>,
}

impl ChainBlock {
    pub(crate) fn header_rlp(&self) -> Vec<u8> {
        self.block.header_rlp(self.round, &self.seals)
    }

    pub(crate) fn body(&self, dialect: Dialect) -> Vec<u8> {
        devp2p::body(self.block.transactions(), dialect)
    }

    /// About how many bytes it holds.
    fn bytes(&self) -> usize {
        self.header_rlp().len() + self.block.transactions().len()
    }

    /// NewBlock with it.
    pub(crate) fn new_block(&self) -> Vec<u8> {
        devp2p::new_block(
            &self.block.decided_rlp(self.round, &self.seals),
            self.block.number(),
        )
    }
}

impl From<ReceivedBlock> for ChainBlock {
    fn from(received: ReceivedBlock) -> Self {
        Self {
            block: received.block,
            round: received.round,
            seals: received.seals,
        }
    }
}

/// The newest blocks, without a gap.
#[derive(Debug)]
pub(crate) struct Chain {
    validators: Vec<Address>,
    /// Seals that make a block believable: 2F+1.
    needed: usize,
    blocks: BTreeMap<u64, Arc<ChainBlock>>,
    /// Of all of them.
    bytes: usize,
    numbers: HashMap<Hash256, u64>,
    head: Head,
    /// Time of the head, in hundredths of seconds; 0 for the genesis block.
    centis: u64,
}

/// Why a block of a peer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("not sealed by enough validators")]
    Seals,
    #[error("does not follow the head")]
    Parent,
    #[error("its proposer is no validator")]
    Proposer,
}

impl Chain {
    pub(crate) fn new(validators: Vec<Address>, faulty: usize, genesis: Hash256) -> Self {
        Self {
            validators,
            needed: 2 * faulty + 1,
            blocks: BTreeMap::new(),
            bytes: 0,
            numbers: HashMap::new(),
            head: Head {
                number: 0,
                hash: genesis,
                proposer: None,
            },
            centis: 0,
        }
    }

    pub(crate) const fn head(&self) -> Head {
        self.head
    }

    pub(crate) const fn head_centis(&self) -> u64 {
        self.centis
    }

    /// Whether a peer's block may follow the head. One further on is believed for its seals: peers may not have those between.
    pub(crate) fn check(&self, received: &ReceivedBlock) -> Result<(), Refused> {
        let block = &received.block;
        if block.number() <= self.head.number
            || (block.number() == self.head.number + 1 && block.parent() != self.head.hash)
        {
            return Err(Refused::Parent);
        }
        if self.validators.binary_search(&block.proposer()).is_err() {
            return Err(Refused::Proposer);
        }
        if received.sealed_by(&self.validators) < self.needed {
            return Err(Refused::Seals);
        }
        Ok(())
    }

    /// A block is the new head.
    pub(crate) fn push(&mut self, block: ChainBlock) -> Arc<ChainBlock> {
        let number = block.block.number();
        if number != self.head.number + 1 {
            self.blocks.clear();
            self.numbers.clear();
            self.bytes = 0;
        }
        self.head = Head {
            number,
            hash: block.block.hash(),
            proposer: Some(block.block.proposer()),
        };
        self.centis = block.block.centis();
        self.bytes += block.bytes();
        let block = Arc::new(block);
        self.numbers.insert(self.head.hash, number);
        self.blocks.insert(number, Arc::clone(&block));
        while self.blocks.len() > KEPT_BLOCKS || (self.bytes > KEPT_BYTES && self.blocks.len() > 1) {
            if let Some((_, oldest)) = self.blocks.pop_first() {
                self.numbers.remove(&oldest.block.hash());
                self.bytes = self.bytes.saturating_sub(oldest.bytes());
            }
        }
        block
    }

    pub(crate) fn number_of(&self, hash: &Hash256) -> Option<u64> {
        self.numbers.get(hash).copied()
    }

    pub(crate) fn by_hash(&self, hash: &Hash256) -> Option<&Arc<ChainBlock>> {
        self.blocks.get(self.numbers.get(hash)?)
    }

    /// Blocks at `from`, `from + step` and so on, downwards if `reverse`, until one is missing.
    ///
    /// Where the oldest kept block is above `from`, it goes on from there: who is that far behind cannot have them in order.
    pub(crate) fn range(
        &self,
        from: u64,
        step: u64,
        reverse: bool,
    ) -> impl Iterator<Item = &Arc<ChainBlock>> {
        let oldest = self.blocks.keys().next().copied().unwrap_or(0);
        let mut next = Some(if reverse { from } else { from.max(oldest) });
        std::iter::from_fn(move || {
            let at = next?;
            next = if reverse {
                at.checked_sub(step)
            } else {
                at.checked_add(step)
            };
            self.blocks.get(&at)
        })
    }
}

/// Blocks that are kept: some hours of one a second.
const KEPT_BLOCKS: usize = 20_000;
/// And their bytes.
const KEPT_BYTES: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use bftap_ibft_decode::istanbul::committed_seal_hash;
    use bftap_ibft_decode::rlp_view::Item;
    use bftap_simnet::consensus::{BlockPlan, HeaderForm};
    use bftap_simnet::key::NodeKey;
    use bftap_simnet::prng::Prng;

    use super::*;

    fn made(keys: &[NodeKey], number: u64, parent: Hash256, seals: usize) -> ReceivedBlock {
        let validators: Vec<_> = keys.iter().map(NodeKey::address).collect();
        let plan = BlockPlan {
            form: HeaderForm::Klaytn,
            parent,
            number,
            centis: 100 * number,
            validators: &validators,
            transactions: Vec::new(),
            transaction_count: 0,
            entropy: [number as u8; 32],
        };
        let block = Proposal::seal(plan, &keys[0]);
        let signed = committed_seal_hash(&block.hash());
        let seals: Vec<_> = keys[..seals].iter().map(|key| key.sign(&signed)).collect();
        let rlp = block.decided_rlp(0, &seals);
        ReceivedBlock::read(Dialect::Klaytn, &Item::only(&rlp, 0, "Block").unwrap()).unwrap()
    }

    #[test]
    fn only_what_enough_validators_sealed_is_believed() {
        let mut prng = Prng::new(1);
        let mut keys: Vec<_> = (0..4).map(|_| NodeKey::draw(&mut prng)).collect();
        keys.sort_by_key(NodeKey::address);
        let validators = keys.iter().map(NodeKey::address).collect();
        let genesis = Hash256([7; 32]);
        let mut chain = Chain::new(validators, 1, genesis);
        assert_eq!(chain.check(&made(&keys, 1, genesis, 2)), Err(Refused::Seals));
        assert_eq!(
            chain.check(&made(&keys, 1, Hash256([8; 32]), 3)),
            Err(Refused::Parent)
        );
        let first = made(&keys, 1, genesis, 3);
        assert_eq!(chain.check(&first), Ok(()));
        chain.push(first.into());
        assert_eq!(chain.check(&made(&keys, 1, genesis, 3)), Err(Refused::Parent));
        let strangers: Vec<_> = (0..4).map(|_| NodeKey::draw(&mut prng)).collect();
        assert_eq!(
            chain.check(&made(&strangers, 2, chain.head().hash, 4)),
            Err(Refused::Proposer)
        );
        // A node that comes back after long believes a block further on.
        let later = made(&keys, 9, Hash256([9; 32]), 4);
        assert_eq!(chain.check(&later), Ok(()));
        chain.push(later.into());
        let numbers = |from, reverse| -> Vec<u64> {
            chain
                .range(from, 1, reverse)
                .map(|block| block.block.number())
                .collect()
        };
        assert_eq!(numbers(1, false), [9]);
        assert_eq!(numbers(9, true), [9]);
        assert_eq!(chain.number_of(&chain.head().hash), Some(9));
    }
}
