//! What all places that packets come from have in common.

use crate::packet::Batch;

/// Where packets come from, in order of time as far as can be told.
pub trait PacketSource: Send {
    /// The next packets; waits until there are some. `None`: it is over, because all is read or because it was told to stop.
    ///
    /// A batch without packets says only that time goes on ([`Batch::reached`]), or that something of [`inputs`](Self::inputs) changed.
    fn next_batch(&mut self) -> Option<Batch>;

    /// The input of each tap of the batches so far: by [`TapId`](bftap_model::TapId), an index of [`inputs`](Self::inputs).
    fn inputs_of_taps(&self) -> Vec<usize>;

    /// What is known of each input now. The list neither grows nor changes its order.
    fn inputs(&self) -> Vec<InputStats>;

    /// What is known of each input in the end, when nothing more is read.
    fn finish(self: Box<Self>) -> Vec<InputStats> {
        self.inputs()
    }
}

/// What is known of one input: a file or an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputStats {
    /// Path as given, or name of the interface.
    pub name: String,
    /// SHA-256 of its content in hex; empty where it is not taken, or not yet.
    pub sha256: String,
    /// Packets given.
    pub packets: u64,
    /// Captured bytes in them.
    pub bytes: u64,
    /// Packets that were seen and lost by whoever captured: there was no room for them. `None` where nobody says.
    pub kernel_drops: Option<u64>,
    /// Packets that the interface itself lost. `None` where nobody says.
    pub interface_drops: Option<u64>,
    /// How often an interface was not there; `None` for files.
    pub times_down: Option<u64>,
    /// Why it cannot be read any further, or at the moment.
    pub problem: Option<String>,
}
