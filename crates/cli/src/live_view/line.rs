//! The figures of a moment in one line.

use bftap_analysis::MessageSums;

use super::facts::{LiveFacts, STATES};
use crate::report::{binary, bytes, count, factor};

/// `live: 12,345 packets/s, ...`.
pub(super) fn of(facts: &LiveFacts) -> String {
    let judged = &facts.judged;
    let sum = |of: fn(&super::facts::InterfaceFacts) -> f64| facts.interfaces.iter().map(of).sum::<f64>();
    let lost = |of: fn(&bftap_capture::source::InputStats) -> Option<u64>| {
        let lost = facts
            .interfaces
            .iter()
            .filter_map(|interface| of(&interface.stats));
        count(lost.sum())
    };
    let mut parts = vec![
        format!(
            "{} packets/s, {}",
            count(sum(|interface| interface.packets_a_second) as u64),
            bit_rate(sum(|interface| interface.bits_a_second))
        ),
        format!(
            "lost {} by the kernel, {} by interfaces",
            lost(|stats| stats.kernel_drops),
            lost(|stats| stats.interface_drops)
        ),
    ];
    let away = facts
        .interfaces
        .iter()
        .filter(|interface| interface.stats.problem.is_some());
    match away.count() {
        0 => {}
        number => parts.push(format!("{number} of {} interfaces away", facts.interfaces.len())),
    }
    parts.push(format!("lag {:.2} s", facts.lag.as_secs_f64()));
    let [workers, merging, store] = facts.queues;
    parts.push(format!("queues {workers}/{merging}/{store}"));
    parts.push(binary(facts.memory));
    let sessions = STATES.iter().zip(judged.sessions);
    let sessions: Vec<_> = sessions
        .filter(|((_, name), number)| *number > 0 || *name == "decrypted")
        .map(|((_, name), number)| format!("{} {name}", count(number)))
        .collect();
    parts.push(format!("sessions {}", sessions.join(", ")));
    parts.push(format!(
        "{} gaps, {} lost",
        count(judged.gaps),
        bytes(judged.lost_bytes)
    ));
    if let Some((height, round)) = judged.chains.values().max() {
        parts.push(format!("height {} round {}", count(*height), count(*round)));
    }
    let mut all = MessageSums::default();
    for sums in judged.kinds.values() {
        all.messages += sums.messages;
        all.useful += sums.useful;
    }
    parts.push(format!(
        "{} messages, redundancy {}",
        count(all.messages),
        redundancy(&all)
    ));
    if let Some(store) = &facts.store {
        let state = if store.away { "away" } else { "stored" };
        let ago = store.committed_ago.map_or_else(
            || "nothing yet".to_owned(),
            |ago| format!("{:.1} s ago", ago.as_secs_f64()),
        );
        parts.push(format!(
            "{state} {ago}, {} in the spool",
            bytes(store.spooled_bytes)
        ));
    }
    if let Some(written) = &facts.written {
        parts.push(format!(
            "{} packets kept, {} left out",
            count(written.packets),
            count(written.left_out)
        ));
    }
    if facts.late > 0 {
        parts.push(format!("{} out of order", count(facts.late)));
    }
    format!("live: {}", parts.join("; "))
}

/// `12.3 Mbit/s`.
pub(super) fn bit_rate(bits: f64) -> String {
    match bits {
        bits if bits >= 1e9 => format!("{:.2} Gbit/s", bits / 1e9),
        bits if bits >= 1e6 => format!("{:.1} Mbit/s", bits / 1e6),
        bits if bits >= 1e3 => format!("{:.1} kbit/s", bits / 1e3),
        bits => format!("{bits:.0} bit/s"),
    }
}

/// Messages for each useful one.
pub(super) fn redundancy(sums: &MessageSums) -> String {
    factor((sums.useful > 0).then(|| sums.messages as f64 / sums.useful as f64))
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::sample;
    use super::*;

    #[test]
    fn a_line_says_it_all() {
        assert_eq!(
            of(&sample()),
            "live: 20,646 packets/s, 19.8 Mbit/s; lost 1,238 by the kernel, 0 by interfaces; 1 of 2 interfaces away; lag 0.13 s; \
             queues 1/0/2; 81 MiB; sessions 20 decrypted, 1 without secret; 2 gaps, 2.9 kB lost; height 123,456 round 1; \
             71,700 messages, redundancy 5.83×; stored 0.2 s ago, 0 B in the spool; 1,238,700 packets kept, 67 left out; \
             3 out of order"
        );
        assert!(of(&LiveFacts::default()).contains("0 messages, redundancy"));
    }

    #[test]
    fn rates_have_a_unit_that_fits() {
        assert_eq!(bit_rate(999.0), "999 bit/s");
        assert_eq!(bit_rate(1_250_000.0), "1.2 Mbit/s");
        assert_eq!(bit_rate(3.9e9), "3.90 Gbit/s");
    }
}
