//! Numbers in steps of less than a hundredth: quantiles of any number of them in little memory.
//!
//! Numbers below 256 have a step each; above, each power of two has 128 steps. A quantile is told as the end of its step, so it is
//! never below the exact one and less than 1 % above it. Steps are only counted, so histograms are added and taken back like any sum.
//!
//! The largest numbers are kept besides, so that the largest of all is told exactly.

use std::collections::BTreeMap;

use crate::tally::Summed;

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    steps: BTreeMap<u16, u64>,
    largest: Largest,
}

/// The largest numbers and how often each is there. When many of them are taken back, the largest that are left may not be among them any
/// more: then its step is all that is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Largest {
    numbers: BTreeMap<u64, u64>,
}

impl Summed for Largest {
    fn add(&mut self, other: &Self) {
        self.numbers.add(&other.numbers);
        while self.numbers.len() > LARGEST {
            self.numbers.pop_first();
        }
    }

    fn take_back(&mut self, other: &Self) {
        self.numbers.take_back(&other.numbers);
    }
}

crate::tally::summed! {
    Histogram { steps, largest }
}

crate::kept! {
    Histogram { steps, largest }
    Largest { numbers }
}

impl Histogram {
    /// Adds a number; what is negative counts as 0.
    pub(crate) fn note(&mut self, value: i64) {
        let value = value.max(0).cast_unsigned();
        *self.steps.entry(step_of(value)).or_default() += 1;
        let numbers = &mut self.largest.numbers;
        if numbers.len() < LARGEST
            || numbers
                .first_key_value()
                .is_some_and(|(least, _)| *least <= value)
        {
            *numbers.entry(value).or_default() += 1;
            if numbers.len() > LARGEST {
                numbers.pop_first();
            }
        }
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> u64 {
        self.steps
            .values()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The smallest number that `percent` % of all do not exceed, by less than 1 % too large; `None` if there are none. Of 100 % it is exact.
    pub(crate) fn quantile(&self, percent: u64) -> Option<i64> {
        let rank = (u128::from(self.count()) * u128::from(percent))
            .div_ceil(100)
            .max(1);
        let mut passed = 0;
        let (&step, _) = self.steps.iter().find(|(_, count)| {
            passed += u128::from(**count);
            passed >= rank
        })?;
        let told = end_of(step).min(self.largest()?);
        Some(i64::try_from(told).unwrap_or(i64::MAX))
    }

    fn largest(&self) -> Option<u64> {
        let (&step, _) = self.steps.last_key_value()?;
        let known = self.largest.numbers.last_key_value();
        let known = known
            .map(|(largest, _)| *largest)
            .filter(|largest| step_of(*largest) == step);
        Some(known.unwrap_or_else(|| end_of(step)))
    }
}

fn step_of(value: u64) -> u16 {
    let power = value.max(1).ilog2();
    let halvings = power.saturating_sub(STEP_BITS);
    ((halvings << STEP_BITS) as u64 + (value >> halvings)) as u16
}

/// The largest number of a step.
fn end_of(step: u16) -> u64 {
    let halvings = u32::from(step >> STEP_BITS).saturating_sub(1);
    let mantissa = u128::from(step) - (u128::from(halvings) << STEP_BITS);
    u64::try_from(((mantissa + 1) << halvings) - 1).unwrap_or(u64::MAX)
}

/// Largest numbers that are kept.
const LARGEST: usize = 8;

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
        assert_eq!(
            histogram.quantile(100),
            values.last().copied(),
            "the longest is exact"
        );
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

    #[test]
    fn the_largest_is_exact_and_never_off_by_more_than_its_step() {
        let of = |values: &mut dyn Iterator<Item = i64>| {
            let mut histogram = Histogram::default();
            values.for_each(|value| histogram.note(value));
            histogram
        };
        // All of them nearly the same; one comes and goes.
        let all = of(&mut (0..5000).map(|number| 1_000_003 + number % 60));
        assert_eq!(all.quantile(100), Some(1_000_062));
        assert_eq!(
            all.quantile(99),
            Some(1_000_062),
            "no quantile is above the largest"
        );
        let mut sum = all.clone();
        for value in [1_000_100, 9_000_000, 3] {
            let one = of(&mut std::iter::once(value));
            sum.add(&one);
            assert_eq!(sum.quantile(100), Some(value.max(1_000_062)));
            sum.take_back(&one);
            assert_eq!(sum.quantile(100), Some(1_000_062));
        }
        let most = of(&mut (0..5000)
            .map(|number| 1_000_003 + number % 60)
            .filter(|value| *value > 1_000_010));
        sum.take_back(&most);
        let told = sum.quantile(100).unwrap();
        assert!((1_000_010..1_010_010).contains(&told), "{told}");
        assert_eq!(sum.count(), all.count() - most.count());
    }
}
