//! What the run tells of the network under the messages, as facts.

use std::collections::BTreeSet;

use crate::aggregator::SessionParties;
use crate::facts::{RunFacts, TcpLinkFact};
use crate::knowledge::Knowledge;
use crate::observation::SessionEnd;
use crate::peers::{Peers, RefusedSums};
use crate::who::Who;

/// Lists of [`RunFacts`] that are made of sessions alone.
#[derive(Debug)]
pub(crate) struct NetworkFacts {
    links: Vec<TcpLinkFact>,
    peers: Peers,
}

impl NetworkFacts {
    /// Of connections that came to nothing, those to `ports` were dials of nodes; anything may have been behind the others.
    pub(crate) fn new(
        knowledge: &Knowledge,
        sessions: &[(SessionEnd, SessionParties)],
        refused: &RefusedSums,
        ports: &BTreeSet<u16>,
        who: &Who,
    ) -> Self {
        let resolved = &knowledge.resolved;
        let refused = refused
            .iter()
            .filter(|((_, recipient), _)| ports.contains(&recipient.port));
        Self {
            links: knowledge.links.facts(resolved),
            peers: Peers::new(sessions, refused, resolved, who),
        }
    }

    /// Adds the lists to the others.
    pub(crate) fn tell(self, facts: &mut RunFacts) {
        facts.links = self.links;
        facts.peers = self.peers.peers;
        facts.dials = self.peers.dials;
        facts.census = self.peers.census;
    }
}
