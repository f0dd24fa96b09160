//! How sure a difference is: resampling, and the quantiles that make intervals of it.
//!
//! Pure, and the same for the same input: random numbers come from a fixed seed.

/// How often is resampled. The standard error is then itself known to 1.6 %.
const RESAMPLES: usize = 2000;

/// Values of one measure, in units that are resampled as a whole.
#[derive(Clone, Debug)]
pub(crate) enum Sample {
    /// Each unit's numerator and denominator: the statistic is the ratio of their sums.
    Ratio(Vec<[f64; 2]>),
    /// Each unit's values: the statistic is a quantile of all of them.
    Quantile(f64, Vec<Vec<f64>>),
}

impl Sample {
    fn units(&self) -> usize {
        match self {
            Self::Ratio(units) => units.len(),
            Self::Quantile(_, units) => units.len(),
        }
    }

    /// The statistic of all units; `None` where nothing was measured.
    pub(crate) fn statistic(&self) -> Option<f64> {
        self.of(0..self.units(), &mut Vec::new())
    }

    fn of(&self, units: impl Iterator<Item = usize>, buffer: &mut Vec<f64>) -> Option<f64> {
        match self {
            Self::Ratio(values) => {
                let sums = units.fold([0.0; 2], |sums, unit| {
                    [sums[0] + values[unit][0], sums[1] + values[unit][1]]
                });
                (sums[1] > 0.0).then(|| sums[0] / sums[1])
            }
            Self::Quantile(share, values) => {
                buffer.clear();
                units.for_each(|unit| buffer.extend_from_slice(&values[unit]));
                quantile(buffer, *share)
            }
        }
    }
}

/// The value that a share of all values does not exceed: the nearest rank.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    let rank = (share * values.len() as f64).ceil() as usize;
    let place = rank.clamp(1, values.len().max(1)) - 1;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(place, f64::total_cmp).1)
}

/// A difference between two samples, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Difference {
    /// What B is above A.
    pub(crate) estimate: f64,
    /// Its standard error.
    pub(crate) standard_error: f64,
    /// Degrees of freedom for Student's t: of the smaller sample.
    pub(crate) freedom: f64,
}

impl Difference {
    /// The difference of the statistics of two samples; `None` where one cannot be told.
    ///
    /// The bootstrap (Efron and Tibshirani 1993, chapters 6 and 8): both samples are drawn anew from their own units, with replacement; the
    /// spread of the differences is the standard error. Times sqrt(n / (n - 1)), by which it is too small for n units.
    pub(crate) fn of(a: &Sample, b: &Sample) -> Option<Self> {
        let units = [a.units(), b.units()];
        let smaller = units[0].min(units[1]);
        if smaller < 2 {
            return None;
        }
        let estimate = b.statistic()? - a.statistic()?;
        let mut random = SplitMix(0x6266_7461_7020_6469);
        let mut buffer = Vec::new();
        let (mut drawn, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for _ in 0..RESAMPLES {
            let of_a = a.of((0..units[0]).map(|_| random.below(units[0])), &mut buffer);
            let of_b = b.of((0..units[1]).map(|_| random.below(units[1])), &mut buffer);
            // None of a draw has a denominator: it says nothing.
            let (Some(of_a), Some(of_b)) = (of_a, of_b) else {
                continue;
            };
            // Welford's way: no large sums are subtracted.
            let value = of_b - of_a;
            drawn += 1.0;
            let from_mean = value - mean;
            mean += from_mean / drawn;
            squares += from_mean * (value - mean);
        }
        if drawn < RESAMPLES as f64 / 2.0 {
            return None;
        }
        let small = smaller as f64;
        Some(Self {
            estimate,
            standard_error: (squares / (drawn - 1.0)).sqrt() * (small / (small - 1.0)).sqrt(),
            freedom: small - 1.0,
        })
    }

    /// Interval that holds the true difference with this confidence.
    pub(crate) fn interval(&self, confidence: f64) -> [f64; 2] {
        let half = student_quantile(f64::midpoint(1.0, confidence), self.freedom) * self.standard_error;
        [self.estimate - half, self.estimate + half]
    }

    /// Whether chance alone would not make it, if `comparisons` are looked at together: Bonferroni's correction of 5 %.
    pub(crate) fn is_beyond_chance(&self, comparisons: usize) -> bool {
        let [low, high] = self.interval(1.0 - 0.05 / comparisons.max(1) as f64);
        low > 0.0 || high < 0.0
    }
}

/// Quantile of the standard normal distribution: Acklam's rational approximation, with an error below 1.2e-9 of the value.
pub(crate) fn normal_quantile(share: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.024_25;
    let of = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if share < TAIL {
        let q = (-2.0 * share.ln()).sqrt();
        of(&C, q) / of(&D, q)
    } else if share > 1.0 - TAIL {
        -normal_quantile(1.0 - share)
    } else {
        let q = share - 0.5;
        of(&A, q * q) * q / of(&B, q * q)
    }
}

/// Quantile of Student's t: the expansion around the normal one (Abramowitz and Stegun 26.7.5), good to 0.1 % from ten degrees of freedom on.
pub(crate) fn student_quantile(share: f64, freedom: f64) -> f64 {
    let z = normal_quantile(share);
    let [z3, z5, z7, z9] = [3, 5, 7, 9].map(|power| z.powi(power));
    let terms = [
        (z3 + z) / 4.0,
        (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0,
        (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0,
        (79.0 * z9 + 776.0 * z7 + 1482.0 * z5 - 1920.0 * z3 - 945.0 * z) / 92_160.0,
    ];
    let expanded = terms.iter().rev().fold(0.0, |sum, term| (sum + term) / freedom);
    z + expanded
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        // By multiplication; that some are likelier by 2^-50 is no matter here.
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(values: &[f64]) -> Sample {
        Sample::Ratio(values.iter().map(|value| [*value, 1.0]).collect())
    }

    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found}, not {expected}");
    }

    /// Tables of the standard normal distribution.
    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (share, expected) in [
            (0.5, 0.0),
            (0.841_344_746, 1.0),
            (0.95, 1.644_853_627),
            (0.975, 1.959_963_985),
            (0.995, 2.575_829_304),
            (0.999_5, 3.290_526_731),
            (0.999_999, 4.753_424_309),
            (0.01, -2.326_347_874),
        ] {
            close(normal_quantile(share), expected, 1e-7);
        }
    }

    /// Tables of Student's t.
    #[test]
    fn student_quantiles_are_those_of_the_tables() {
        for (share, freedom, expected) in [
            (0.975, 10.0, 2.228_139),
            (0.975, 20.0, 2.085_963),
            (0.995, 19.0, 2.860_935),
            (0.995, 30.0, 2.749_996),
            (0.999_5, 19.0, 3.883_406),
            (0.975, 100.0, 1.983_972),
        ] {
            close(student_quantile(share, freedom), expected, 2e-3 * expected);
        }
    }

    /// The mice of Efron and Tibshirani, An Introduction to the Bootstrap (1993), table 2.1: the mean survival differs by 30.63 days, with a
    /// standard error of 28.93 by the usual formula.
    #[test]
    fn the_bootstrap_finds_what_the_textbook_has() {
        let control = [52.0, 104.0, 146.0, 10.0, 51.0, 30.0, 40.0, 27.0, 46.0];
        let treatment = [94.0, 197.0, 16.0, 38.0, 99.0, 141.0, 23.0];
        let difference = Difference::of(&mean_of(&control), &mean_of(&treatment)).unwrap();
        close(difference.estimate, 30.63, 0.01);
        // Plug-in errors 13.33 and 23.37, together 26.90; times sqrt(7 / 6) 29.06.
        close(difference.standard_error, 29.06, 0.04 * 29.06);
        assert!(!difference.is_beyond_chance(1));
        assert!(difference.interval(0.95)[0] < 0.0);
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let values = || (1..=100).map(f64::from).collect::<Vec<_>>();
        assert_eq!(quantile(&mut values(), 0.5), Some(50.0));
        assert_eq!(quantile(&mut values(), 0.95), Some(95.0));
        assert_eq!(quantile(&mut values(), 1.0), Some(100.0));
        assert_eq!(quantile(&mut [3.0], 0.01), Some(3.0));
        assert_eq!(quantile(&mut [], 0.5), None);
        let median = Sample::Quantile(0.5, values().into_iter().map(|value| vec![value]).collect());
        let difference = Difference::of(&median, &median).unwrap();
        // Of the median of 100 even values: about sqrt(n) / 2 ranks, here days of one each.
        close(difference.standard_error, 5.0 * 2_f64.sqrt(), 0.8);
        assert_eq!(difference.estimate, 0.0);
    }

    /// Normal numbers, by their quantiles at random shares.
    fn noise(seed: u64, units: usize) -> Vec<f64> {
        let mut random = SplitMix(seed);
        (0..units)
            .map(|_| normal_quantile((random.next() >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17))
            .collect()
    }

    /// Two runs of the same thing, 300 times with 10 measures each: at most some 5 % of them may show a difference, and an interval of 95 % holds
    /// the truth about as often as it says.
    #[test]
    fn noise_is_no_difference() {
        let (mut beyond, mut held, pairs) = (0, 0, 300);
        for pair in 0..pairs {
            let mut any = false;
            for measure in 0..10 {
                let seed = pair * 1000 + measure * 10;
                let a = mean_of(&noise(seed, 20));
                let b = mean_of(&noise(seed + 1_000_003, 20));
                let difference = Difference::of(&a, &b).unwrap();
                any |= difference.is_beyond_chance(10);
                let [low, high] = difference.interval(0.95);
                held += usize::from(low <= 0.0 && 0.0 <= high);
            }
            beyond += usize::from(any);
        }
        assert!(beyond <= pairs as usize * 8 / 100, "{beyond} of {pairs}");
        let share = held as f64 / (pairs * 10) as f64;
        assert!((0.935..=0.985).contains(&share), "{share}");
    }

    #[test]
    fn a_real_difference_is_found() {
        let shifted: Vec<f64> = noise(7, 40).iter().map(|value| value + 2.0).collect();
        let difference = Difference::of(&mean_of(&noise(3, 40)), &mean_of(&shifted)).unwrap();
        assert!(difference.is_beyond_chance(20));
        let [low, high] = difference.interval(0.95);
        assert!(low < 2.0 && 2.0 < high);
        // Whatever never varies differs by what it differs.
        let difference = Difference::of(&mean_of(&[4.0; 20]), &mean_of(&[5.0; 20])).unwrap();
        assert!(difference.is_beyond_chance(20) && difference.standard_error < 1e-9);
        let same = Difference::of(&mean_of(&[4.0; 20]), &mean_of(&[4.0; 20])).unwrap();
        assert!(!same.is_beyond_chance(1));
    }

    #[test]
    fn what_was_not_measured_has_no_difference() {
        let nothing = Sample::Ratio(vec![[0.0, 0.0]; 20]);
        assert_eq!(Difference::of(&nothing, &mean_of(&[1.0; 20])), None);
        assert_eq!(Difference::of(&mean_of(&[1.0]), &mean_of(&[1.0; 20])), None);
        assert_eq!(Sample::Quantile(0.5, vec![Vec::new(); 4]).statistic(), None);
    }
}
