//! Entry points of the fuzz targets, kept beside the code so that unit tests run them too.
//!
//! Each takes any bytes and panics when a promise of this crate does not hold.

use std::collections::BTreeSet;

use bftap_analysis::quorum::Threshold;

use crate::guard::{Guard, GuardError, Order, State};
use crate::rules::{Measure, Party, Target, parse_flows};
use crate::switch::Bridge;

/// Takes bytes for what `ovs-ofctl` tells of a switch: flows, meters and their statistics, parted by zero bytes.
pub fn fuzz_ofctl(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\0');
    let [flows, config, stats] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let (read, strange) = parse_flows(flows);
    let ours = flows
        .lines()
        .filter(|line| line.trim().starts_with("cookie=0xbf7a"))
        .count();
    assert_eq!(read.len() + strange.len(), ours, "no rule of ours is overlooked");
    let state = match State::read(flows, config, stats) {
        Ok(state) => state,
        Err(error) => {
            assert!(matches!(error, GuardError::Strange(_)) && !strange.is_empty());
            return;
        }
    };
    let guard = guard();
    for (cookie, flows) in &state.flows {
        let blocked = guard.blocked(*cookie, flows, &state.meters);
        assert_eq!(blocked.rules, flows.len());
        assert!(blocked.nodes.len() <= 2 && blocked.nodes.len() == blocked.ips.len());
    }
    let order = Order {
        target: Target::Node(guard.validators[3].clone()),
        measure: Measure::Drop,
        ttl: 300,
        force: false,
        dry_run: true,
    };
    let dropped =
        |flow: &&crate::rules::Flow| flow.meter.is_none() && flow.from.is_none() != flow.to.is_none();
    let ours = order.target.cookie();
    let other = read
        .iter()
        .filter(dropped)
        .filter(|flow| flow.cookie != ours)
        .filter_map(|flow| flow.from.or(flow.to))
        .find(|ip| guard.validators[..3].iter().any(|party| party.ips.contains(ip)));
    if other.is_some() {
        assert!(
            guard.check(&state, &order).is_err(),
            "of four validators not two are blocked"
        );
    } else {
        // Whether it is refused depends on pairs.
        drop(guard.check(&state, &order));
    }
}

fn guard() -> Guard {
    let validators = (1..=4_u8)
        .map(|node| Party {
            name: format!("cn{node}"),
            ips: vec![[10, 0, 0, node].into()],
        })
        .collect();
    Guard {
        bridge: Bridge {
            name: "br0".to_owned(),
            db: None,
            openflow: None,
        },
        validators,
        silent: BTreeSet::new(),
        threshold: Threshold::CeilTwoThirdsAllBelowFour,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Open vSwitch 3.1 tells it.
    const SEEDS: [&str; 3] = [
        "OFPST_FLOW reply (OF1.3) (xid=0x6):\n cookie=0xbf7a100000000001, duration=1.539s, table=0, n_packets=7, n_bytes=420, hard_timeout=300, \
         priority=65000,ip,nw_src=10.0.0.3 actions=drop\n cookie=0xbf7a100000000001, duration=1.539s, table=0, n_packets=7, n_bytes=420, \
         hard_timeout=300, priority=65000,ip,nw_dst=10.0.0.3 actions=drop\n",
        " cookie=0xbf7a200000000002, duration=0.039s, table=0, n_packets=18446744073709551615, n_bytes=9, \
         priority=65000,ipv6,ipv6_src=fd00::1,ipv6_dst=fd00::3 actions=meter:47001,NORMAL\n cookie=0xbf7a200000000002, duration=0.039s, \
         table=0, n_packets=1, n_bytes=0, priority=65000,ip,nw_src=10.0.0.1,nw_dst=10.0.0.2 actions=meter:47001,NORMAL\n\0\
         OFPST_METER_CONFIG reply (OF1.3) (xid=0x2):\nmeter=47001 kbps burst stats bands=\ntype=drop rate=20 burst_size=2000\n\0\
         OFPST_METER reply (OF1.3) (xid=0x2):\nmeter:47001 flow_count:1 packet_in_count:9 byte_in_count:0 duration:0.084s bands:\n\
         0: packet_count:4 byte_count:0\n",
        " cookie=0xbf7a300000000000, duration=nans, n_packets=1, hard_timeout=9, priority=1,ip actions=drop\n",
    ];

    #[test]
    fn seeds_hold_every_promise_whole_cut_and_changed() {
        for (number, seed) in SEEDS.iter().enumerate() {
            let seed = seed.as_bytes();
            if std::env::var_os("BFTAP_BLESS").is_some() {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/ofctl");
                std::fs::create_dir_all(folder).unwrap();
                std::fs::write(format!("{folder}/{number}"), seed).unwrap();
            }
            fuzz_ofctl(seed);
            let mut changed = seed.to_vec();
            for place in 0..seed.len() {
                fuzz_ofctl(&seed[..place]);
                changed[place] ^= [0x10, 0x02, 0x01][place % 3];
                fuzz_ofctl(&changed);
                changed[place] = seed[place];
            }
        }
    }
}
