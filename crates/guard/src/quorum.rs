//! Whether enough validators still reach each other: the largest set of them in which every pair may talk.
//!
//! That set is what is left of the reachable ones when of each blocked pair at least one is left out: a vertex cover of the blocked pairs,
//! as small as possible. It is found exactly as long as that takes few steps, which it does for tens of validators; else a cover is
//! taken that may be larger than needed, so that fewer are counted than there are, never more.

use std::collections::BTreeSet;

/// What is known of the validators; they are numbers from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// How many there are.
    pub validators: usize,
    /// Those that are blocked or silent.
    pub unreachable: BTreeSet<usize>,
    /// Those that may not talk to each other.
    pub apart: BTreeSet<(usize, usize)>,
}

/// How many validators are left that all reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Their number, or less.
    pub together: usize,
    /// Whether it is their number.
    pub exact: bool,
}

/// Steps of the exact search; some seconds of work at most.
const MOST_STEPS: u32 = 1 << 14;

impl Network {
    /// The largest set of validators of which each reaches each other.
    pub fn left(&self) -> Left {
        let reachable = (0..self.validators)
            .filter(|node| !self.unreachable.contains(node))
            .count();
        let pairs: Vec<(usize, usize)> = self
            .apart
            .iter()
            .copied()
            .filter(|(a, b)| {
                a != b
                    && a.max(b) < &self.validators
                    && !self.unreachable.contains(a)
                    && !self.unreachable.contains(b)
            })
            .collect();
        let mut steps = MOST_STEPS;
        for size in 0..=reachable {
            match has_cover(&pairs, size, &mut steps) {
                Some(true) => {
                    return Left {
                        together: reachable - size,
                        exact: true,
                    };
                }
                Some(false) => {}
                None => break,
            }
        }
        Left {
            together: reachable.saturating_sub(greedy_cover(pairs)),
            exact: false,
        }
    }
}

/// Whether leaving out `size` of them separates all pairs; `None` when it takes too long to tell.
fn has_cover(pairs: &[(usize, usize)], size: usize, steps: &mut u32) -> Option<bool> {
    let Some(busiest) = busiest(pairs) else {
        return Some(true);
    };
    if size == 0 {
        return Some(false);
    }
    *steps = steps.checked_sub(1)?;
    let without = |node: usize| -> Vec<_> {
        pairs
            .iter()
            .copied()
            .filter(|(a, b)| *a != node && *b != node)
            .collect()
    };
    // Either the one with most pairs is left out, or all whom it may not talk to.
    if has_cover(&without(busiest), size - 1, steps)? {
        return Some(true);
    }
    let others: BTreeSet<usize> = pairs
        .iter()
        .filter_map(|(a, b)| match busiest {
            node if node == *a => Some(*b),
            node if node == *b => Some(*a),
            _ => None,
        })
        .collect();
    if others.len() > size {
        return Some(false);
    }
    let rest: Vec<_> = pairs
        .iter()
        .copied()
        .filter(|(a, b)| !others.contains(a) && !others.contains(b))
        .collect();
    has_cover(&rest, size - others.len(), steps)
}

fn greedy_cover(mut pairs: Vec<(usize, usize)>) -> usize {
    let mut size = 0;
    while let Some(node) = busiest(&pairs) {
        pairs.retain(|(a, b)| *a != node && *b != node);
        size += 1;
    }
    size
}

/// The one that stands in most pairs.
fn busiest(pairs: &[(usize, usize)]) -> Option<usize> {
    let mut counts = std::collections::BTreeMap::new();
    for (a, b) in pairs {
        *counts.entry(*a).or_insert(0_u32) += 1;
        *counts.entry(*b).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(node, count)| (*count, std::cmp::Reverse(*node)))
        .map(|(node, _)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(validators: usize, unreachable: &[usize], apart: &[(usize, usize)]) -> usize {
        let network = Network {
            validators,
            unreachable: unreachable.iter().copied().collect(),
            apart: apart.iter().copied().collect(),
        };
        let left = network.left();
        assert!(left.exact);
        left.together
    }

    #[test]
    fn pairs_count_as_what_they_do_to_the_whole() {
        assert_eq!(left(7, &[], &[]), 7);
        assert_eq!(left(7, &[1, 2], &[]), 5);
        assert_eq!(left(7, &[], &[(0, 1)]), 6);
        assert_eq!(
            left(7, &[], &[(0, 1), (0, 2), (0, 3)]),
            6,
            "one is left out, not three"
        );
        assert_eq!(left(7, &[], &[(0, 1), (2, 3)]), 5);
        assert_eq!(
            left(7, &[0], &[(0, 1), (2, 3)]),
            5,
            "a pair with one that is out already costs nothing"
        );
        assert_eq!(left(4, &[], &[(0, 1), (1, 2), (2, 3), (3, 0)]), 2, "a ring");
        assert_eq!(left(5, &[], &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]), 2);
        assert_eq!(left(0, &[], &[]), 0);
        assert_eq!(left(3, &[0, 1, 2], &[(0, 1)]), 0);
    }

    /// All sets of up to ten validators, one by one.
    #[test]
    fn the_answer_is_that_of_trying_all_sets() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below) as usize
        };
        for _ in 0..300 {
            let validators = 1 + random(10);
            let mut network = Network {
                validators,
                ..Network::default()
            };
            for _ in 0..random(4) {
                network.unreachable.insert(random(validators as u64));
            }
            for _ in 0..random(14) {
                let (a, b) = (random(validators as u64), random(validators as u64));
                if a != b {
                    network.apart.insert((a, b));
                }
            }
            let best = (0..1_u32 << validators)
                .filter(|set| {
                    let has = |node: usize| set >> node & 1 == 1;
                    !network.unreachable.iter().any(|node| has(*node))
                        && !network.apart.iter().any(|(a, b)| has(*a) && has(*b))
                })
                .map(u32::count_ones)
                .max()
                .unwrap();
            assert_eq!(
                network.left(),
                Left {
                    together: best as usize,
                    exact: true
                },
                "{network:?}"
            );
        }
    }

    #[test]
    fn what_takes_too_long_is_told_too_low_and_not_too_high() {
        // Triangles apart from each other: two of each three are left out.
        let mut network = Network {
            validators: 300,
            ..Network::default()
        };
        for first in (0..300).step_by(3) {
            network
                .apart
                .extend([(first, first + 1), (first + 1, first + 2), (first, first + 2)]);
        }
        let left = network.left();
        assert!(left.together <= 100, "{left:?}");
    }
}
