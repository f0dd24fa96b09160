//! What the run tells of the network under the messages, as facts.

use crate::facts::{RunFacts, TcpLinkFact};
use crate::knowledge::Knowledge;

/// Lists of [`RunFacts`] that are made of sessions alone.
#[derive(Debug)]
pub(crate) struct NetworkFacts {
    links: Vec<TcpLinkFact>,
}

impl NetworkFacts {
    pub(crate) fn new(knowledge: &Knowledge) -> Self {
        Self {
            links: knowledge.links.facts(&knowledge.resolved),
        }
    }

    /// Adds the lists to the others.
    pub(crate) fn tell(self, facts: &mut RunFacts) {
        facts.links = self.links;
    }
}
