//! The network itself, before anything goes wrong in it.

use bftap_model::CaptureTime;
use bftap_simnet::client::Client;
use bftap_simnet::prng::Prng;
use bftap_simnet::{Ending, Gossip, SimulateOptions};

use super::{Scenario, from_to, ms, one_of};

/// A network of random size, clients, gossip, times, and looks on the wire.
pub(super) fn shape(seed: u64, dice: &mut Prng) -> Scenario {
    let nodes = one_of(dice, &[4, 4, 4, 4, 5, 6, 7, 7, 7, 8, 10, 13, 21]);
    let clients = clients(dice, nodes);
    let klaytn = clients[0].dialect() == Client::Klaytn1_4.dialect();
    // Many nodes that pass everything on make many messages; a few heights of them say as much.
    let large = nodes > 8;
    let gossip = if nodes == 21 || dice.below(4) == 0 {
        Gossip::Direct
    } else {
        Gossip::Flood
    };
    let options = SimulateOptions {
        seed: seed.wrapping_mul(1_000_003),
        nodes,
        clients,
        gossip,
        sequences: Some(if large { 8 } else { 14 }),
        ending: one_of(dice, &[Ending::Cut, Ending::Cut, Ending::Quit]),
        // The begin of a minute: rules count by the minute.
        start: CaptureTime::from_nanos(1_795_000_020_000_000_000),
        // Who was refused dials again within a second.
        warm_up: ms(2_000),
        block_period: ms(1_000),
        round_timeout: ms(from_to(dice, 2_500, 4_000)),
        latency: bftap_model::Nanos(from_to(dice, 50_000, 3_000_000)),
        jitter: bftap_model::Nanos(from_to(dice, 10_000, 300_000)),
        transactions: dice.below(4) as usize,
        background: !large && dice.below(2) == 0,
        channels: if klaytn && dice.below(4) == 0 { 2 } else { 1 },
        simultaneous_dials: dice.below(5) == 0,
        ipv6: dice.below(6) == 0,
        vlan: (dice.below(8) == 0).then_some(7),
        mss: one_of(dice, &[1448, 1448, 1448, 536]),
        other_flows: dice.below(3) as usize,
        ..SimulateOptions::default()
    };
    Scenario {
        seed,
        about: Vec::new(),
        options,
        named: dice.below(2) == 0,
        must: Vec::new(),
        may: Vec::new(),
    }
}

fn clients(dice: &mut Prng, nodes: usize) -> Vec<Client> {
    // Of other numbers two quorums of 2F+1 may have no honest node in common, and a chain splits without anybody's fault.
    let safe = nodes % 3 == 1;
    let all: &[&[Client]] = if safe {
        &[
            &[Client::Klaytn1_4],
            &[Client::Klaytn1_12],
            &[Client::Kaia2_2],
            &[Client::Quorum20_10],
            &[Client::Quorum24_4],
            &[Client::Klaytn1_12, Client::Kaia2_2],
            &[Client::Quorum24_4, Client::Quorum20_10],
        ]
    } else {
        &[
            &[Client::Klaytn1_12],
            &[Client::Kaia2_2],
            &[Client::Klaytn1_12, Client::Kaia2_2],
        ]
    };
    one_of(dice, all).to_vec()
}
