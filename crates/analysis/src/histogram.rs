//! Numbers in steps of less than a hundredth: quantiles of any number of them in little memory.
//!
//! Numbers below 256 have a step each; above, each power of two has 128 steps. A quantile is told as the end of its step, so it is
//! never below the exact one and less than 1 % above it. Steps are only counted, so histograms are added and taken back like any sum.
//!
//! Of each step the largest number is kept, too: a quantile is told as that, and the largest of all is exact. What is taken back again can
//! leave it too large, still within its step; at the end of a run nothing is.

use std::collections::BTreeMap;

use crate::tally::Summed;

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    steps: BTreeMap<u16, Step>,
}

/// Numbers that are nearly the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    count: u64,
    largest: u64,
}

impl Summed for Step {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.largest = self.largest.max(other.largest);
    }

    fn take_back(&mut self, other: &Self) {
        self.count = self.count.saturating_sub(other.count);
        if self.count == 0 {
            *self = Self::default();
        }
    }
}

crate::tally::summed! {
    Histogram { steps }
}

crate::kept! {
    Histogram { steps }
    Step { count, largest }
}

impl Histogram {
    /// Adds a number; what is negative counts as 0.
    pub(crate) fn note(&mut self, value: i64) {
        let value = value.max(0).cast_unsigned();
        let one = Step {
            count: 1,
            largest: value,
        };
        self.steps.entry(step_of(value)).or_default().add(&one);
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> u64 {
        self.steps
            .values()
            .fold(0, |sum, step| sum.saturating_add(step.count))
    }

    /// The smallest number that `percent` % of all do not exceed, by less than 1 % too large; `None` if there are none. Of 100 % it is exact.
    pub(crate) fn quantile(&self, percent: u64) -> Option<i64> {
        let rank = (u128::from(self.count()) * u128::from(percent))
            .div_ceil(100)
            .max(1);
        let mut passed = 0;
        self.steps
            .iter()
            .find(|(_, step)| {
                passed += u128::from(step.count);
                passed >= rank
            })
            .map(|(_, step)| i64::try_from(step.largest).unwrap_or(i64::MAX))
    }
}

fn step_of(value: u64) -> u16 {
    let power = value.max(1).ilog2();
    let halvings = power.saturating_sub(STEP_BITS);
    ((halvings << STEP_BITS) as u64 + (value >> halvings)) as u16
}

/// The largest number that belongs to a step.
#[cfg(test)]
fn end_of(step: u16) -> u64 {
    let halvings = u32::from(step >> STEP_BITS).saturating_sub(1);
    let mantissa = u128::from(step) - (u128::from(halvings) << STEP_BITS);
    u64::try_from(((mantissa + 1) << halvings) - 1).unwrap_or(u64::MAX)
}

/// Steps of a power of two, as bits.
const STEP_BITS: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_and_are_less_than_a_hundredth_wide() {
        let around = |bit: u32| {
            let value = 1_u64 << bit;
            [value - 1, value, value + 1, value + value / 3]
        };
        for value in (0..3000).chain((11..63).flat_map(around)).chain([u64::MAX]) {
            let step = step_of(value);
            let end = end_of(step);
            assert!(end >= value && end - value <= value / 100, "{value}: {end}");
            assert_eq!(step_of(end), step, "{value}");
            assert!(end == u64::MAX || step_of(end + 1) == step + 1, "{value}");
        }
    }

    #[test]
    fn quantiles_are_at_most_a_hundredth_above_the_exact_ones() {
        let mut state = 7_u64;
        let mut values: Vec<i64> = (0..2000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 21) >> (state % 42)) as i64
            })
            .collect();
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(50), None);
        values.iter().for_each(|&value| histogram.note(value));
        values.sort_unstable();
        for percent in 1..=100_u64 {
            let exact = values[(values.len() * percent as usize).div_ceil(100) - 1];
            let told = histogram.quantile(percent).unwrap();
            assert!(
                told >= exact && told - exact <= exact / 100,
                "{percent} %: {told} of {exact}"
            );
        }
        assert_eq!(histogram.count(), 2000);
        assert_eq!(histogram.quantile(100), values.last().copied(), "the longest is exact");
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let of = |values: &[i64]| {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.note(value));
            histogram
        };
        let mut sum = of(&[1, 5, 5, 100_000]);
        let alone = sum.clone();
        sum.add(&of(&[5, 7, 1 << 40]));
        assert_eq!(sum.quantile(100), Some(1 << 40));
        sum.take_back(&of(&[5, 7, 1 << 40]));
        assert_eq!(sum, alone);
        sum.take_back(&alone);
        assert_eq!(sum, Histogram::default());
        assert_eq!(of(&[-5]), of(&[0]), "a clock that steps back makes no huge delay");
    }
}
