//! Nodes that fail, and how the network looks when they do.

use bftap_model::Nanos;

use super::Network;
use super::conn::EndState;
use super::event::{ConnIndex, Event, NodeIndex, Time};
use super::truth::{Deed, DeedBy};
use crate::devp2p::DisconnectReason;
use crate::options::FaultKind;

impl Network<'_> {
    /// A fault stops a node.
    pub(super) fn stop(&mut self, index: NodeIndex, kind: FaultKind) {
        let fault = self.options.faults.iter().position(|fault| {
            fault.node == index && fault.kind == kind && fault.from.0.cast_unsigned() == self.now
        });
        if let Some(fault) = fault {
            self.deed(fault, None, 1);
        }
        let until = fault
            .and_then(|fault| self.options.faults[fault].until)
            .map(|until| until.0.cast_unsigned());
        let node = &mut self.nodes[index];
        if kind == FaultKind::Paused {
            node.paused_until = until.unwrap_or(Time::MAX);
            node.gone = until.is_none();
            return;
        }
        node.gone = until.is_none();
        self.kill(index, kind == FaultKind::PowerLoss);
    }

    /// A node's process is no more. With the power gone, too, nothing tells its peers.
    pub(super) fn kill(&mut self, index: NodeIndex, power_loss: bool) {
        let node = &mut self.nodes[index];
        node.running = false;
        node.powered = !power_loss;
        node.core = None;
        node.paused_until = 0;
        for (conn, side) in self.connections_of(index) {
            if power_loss {
                // Should the host come back, it knows nothing of this connection.
                if let Some(conn) = self.conn_mut(conn) {
                    conn.ends[side].state = EndState::Closed;
                }
                let timeout = READ_TIMEOUT + self.prng.below(1_000_000_000);
                let event = Event::ReadTimeout {
                    conn,
                    side: 1 - side as u8,
                };
                self.queue.push(self.now + timeout, event);
                continue;
            }
            if self.prng.chance(TORN_FRAMES) {
                self.tear(conn, side);
            }
            self.close(conn, side);
        }
    }

    /// A node leaves in good order.
    pub(super) fn quit(&mut self, index: NodeIndex) {
        for (conn, side) in self.connections_of(index) {
            self.disconnect(conn, side, DisconnectReason::Quitting);
        }
        let node = &mut self.nodes[index];
        node.running = false;
        node.core = None;
    }

    /// Open connections of a node, and its side of each.
    fn connections_of(&self, index: NodeIndex) -> Vec<(ConnIndex, usize)> {
        let open = self
            .conns
            .iter()
            .enumerate()
            .filter_map(|(conn, entry)| Some((conn, entry.as_ref()?)));
        open.flat_map(|(conn, entry)| {
            let ours =
                |side: &usize| entry.ends[*side].node == index && entry.ends[*side].state == EndState::Open;
            [0, 1]
                .into_iter()
                .filter(ours)
                .map(move |side| (conn as ConnIndex, side))
        })
        .collect()
    }

    /// All nodes stop, forget their chain, and start on a new one.
    pub(super) fn reinitialize(&mut self) {
        let deed = Deed {
            chain: self.chains.len() - 1,
            node: None,
            kind: "reinitialize".to_owned(),
            by_node: false,
            until: None,
            view: None,
            by_height: false,
            count: 1,
        };
        self.truth.deed(self.now, DeedBy::Reinitialize, deed);
        for index in 0..self.options.hosts() {
            self.kill(index, false);
        }
        self.dial_start = self.now + REINITIALIZE_TIME + self.options.start_spread.0.cast_unsigned();
        self.consensus_start = self.dial_start + self.options.warm_up.0.cast_unsigned();
        self.new_chain();
        for index in 0..self.options.hosts() {
            if !self.nodes[index].gone {
                let spread = self.options.start_spread.0.cast_unsigned();
                let at = self.now + REINITIALIZE_TIME + self.prng.between(0, spread);
                self.queue.push(at, Event::Start(index));
            }
        }
    }

    /// The faults that a node has now, each with its place in the options.
    pub(super) fn active_faults(&self, index: NodeIndex) -> impl Iterator<Item = (usize, FaultKind)> + '_ {
        let now = Nanos(self.now.cast_signed());
        let faults = self.options.faults.iter().enumerate();
        faults
            .filter(move |(_, fault)| fault.node == index && fault.is_active(now))
            .map(|(number, fault)| (number, fault.kind))
    }

    /// The fault of this kind that a node has now.
    pub(super) fn active_fault(&self, index: NodeIndex, kind: FaultKind) -> Option<usize> {
        self.active_faults(index)
            .find_map(|(fault, active)| (active == kind).then_some(fault))
    }
}

const REINITIALIZE_TIME: Time = 1_500_000_000;
/// A node hears nothing for so long before it gives a session up (`frameReadTimeout`).
const READ_TIMEOUT: Time = 30_000_000_000;
/// How often, in a million, a killed process dies in the middle of a frame.
const TORN_FRAMES: u32 = 500_000;
