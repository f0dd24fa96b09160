//! Blocks of memory that are used again once nobody holds them.

use std::sync::Arc;

/// Spare blocks kept at most.
const MAX_SPARE: usize = 8;

/// Keeps blocks of about one size, so that reading a large file touches the same memory over and over: new
/// memory has to be cleared, by us and by the system, which costs as much as reading into it.
#[derive(Debug)]
pub(super) struct Blocks {
    size: usize,
    known: Vec<Arc<Vec<u8>>>,
}

impl Blocks {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            known: Vec::new(),
        }
    }

    /// A block of at least `len` bytes, of any content, that nobody else holds.
    pub(super) fn take(&mut self, len: usize) -> Arc<Vec<u8>> {
        let free = self
            .known
            .iter_mut()
            .position(|block| block.len() >= len && Arc::get_mut(block).is_some());
        match free {
            Some(at) => self.known.swap_remove(at),
            None => Arc::new(vec![0; len.max(self.size)]),
        }
    }

    /// Remembers a block that is being handed out, to take it again when it comes free.
    pub(super) fn remember(&mut self, block: &Arc<Vec<u8>>) {
        // What was made larger for one large packet is not kept for small ones.
        if block.len() <= self.size {
            if self.known.len() == MAX_SPARE {
                self.known.remove(0);
            }
            self.known.push(Arc::clone(block));
        }
    }
}
