//! `[rules]` and `[score]` of the configuration file: when rules speak, and what scores are made of.

use bftap_analysis::{MOST_FUTURE_HEIGHTS, RULES, RuleOptions, ScoreOptions};
use bftap_model::Nanos;
use serde::Deserialize;

/// `[rules]`: thresholds, by rule.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RulesTable {
    off: Option<Vec<String>>,
    listed: Option<usize>,
    restart_ms: Option<u32>,
    future_heights: Option<u64>,
    future_per_minute: Option<u64>,
    stale_heights: Option<u64>,
    stale_per_minute: Option<u64>,
    roundchange_rounds: Option<u64>,
    repeated_copies: Option<u64>,
    volume_per_minute: Option<u64>,
    volume_factor: Option<u64>,
    undecodable_per_minute: Option<u64>,
    oversized_vote_bytes: Option<u64>,
    oversized_proposal_bytes: Option<u64>,
    churn_per_minute: Option<u64>,
    stalled_seconds: Option<u32>,
    slow_factor: Option<u64>,
    slow_ms: Option<u32>,
    slow_turns: Option<u64>,
    missing_turns: Option<u64>,
    silent_seconds: Option<u32>,
    silent_rounds: Option<u64>,
    partial_heights: Option<u64>,
}

/// `[score]`: weights, caps and decay.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScoreTable {
    half_life_seconds: Option<u32>,
    time_in_mesh_weight: Option<f64>,
    time_in_mesh_quantum_seconds: Option<u32>,
    time_in_mesh_cap: Option<f64>,
    first_deliveries_weight: Option<f64>,
    first_deliveries_cap: Option<f64>,
    delivery_deficit_weight: Option<f64>,
    delivery_deficit_threshold: Option<f64>,
    invalid_weight: Option<f64>,
    invalid_cap: Option<f64>,
    colocation_weight: Option<f64>,
    colocation_threshold: Option<f64>,
    colocation_cap: Option<f64>,
    behaviour_weight: Option<f64>,
    behaviour_threshold: Option<f64>,
    behaviour_cap: Option<f64>,
}

fn set<T>(value: &mut T, configured: Option<T>) {
    if let Some(configured) = configured {
        *value = configured;
    }
}

fn seconds(value: &mut Nanos, configured: Option<u32>) {
    set(value, configured.map(|seconds| Nanos::from_secs(seconds.into())));
}

fn millis(value: &mut Nanos, configured: Option<u32>) {
    set(value, configured.map(|millis| Nanos::from_millis(millis.into())));
}

impl RulesTable {
    /// What cannot be meant.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        for name in self.off.iter().flatten() {
            if !RULES.contains(&name.as_str()) {
                let why = format!("there is no rule {name:?}; there are {}", RULES.join(", "));
                return Err(("rules.off", why));
            }
        }
        if self.listed == Some(0) {
            return Err(("rules.listed", "1 or more; `off` switches rules off".to_owned()));
        }
        if self
            .future_heights
            .is_some_and(|heights| heights > MOST_FUTURE_HEIGHTS)
        {
            return Err(("rules.future_heights", format!("at most {MOST_FUTURE_HEIGHTS}")));
        }
        Ok(())
    }

    /// What it means.
    pub(super) fn options(&self) -> RuleOptions {
        let mut options = RuleOptions::default();
        options.off.extend(self.off.iter().flatten().cloned());
        set(&mut options.listed, self.listed);
        millis(&mut options.restart, self.restart_ms);
        set(&mut options.future_heights, self.future_heights);
        set(&mut options.future_per_minute, self.future_per_minute);
        set(&mut options.stale_heights, self.stale_heights);
        set(&mut options.stale_per_minute, self.stale_per_minute);
        set(&mut options.roundchange_rounds, self.roundchange_rounds);
        set(&mut options.repeated_copies, self.repeated_copies);
        set(&mut options.volume_per_minute, self.volume_per_minute);
        set(&mut options.volume_factor, self.volume_factor);
        set(&mut options.undecodable_per_minute, self.undecodable_per_minute);
        set(&mut options.oversized_vote_bytes, self.oversized_vote_bytes);
        set(
            &mut options.oversized_proposal_bytes,
            self.oversized_proposal_bytes,
        );
        set(&mut options.churn_per_minute, self.churn_per_minute);
        seconds(&mut options.stalled, self.stalled_seconds);
        set(&mut options.slow_factor, self.slow_factor);
        millis(&mut options.slow, self.slow_ms);
        set(&mut options.slow_turns, self.slow_turns);
        set(&mut options.missing_turns, self.missing_turns);
        seconds(&mut options.silent, self.silent_seconds);
        set(&mut options.silent_rounds, self.silent_rounds);
        set(&mut options.partial_heights, self.partial_heights);
        options
    }
}

impl ScoreTable {
    /// What cannot be meant.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value) in [
            ("score.half_life_seconds", self.half_life_seconds),
            (
                "score.time_in_mesh_quantum_seconds",
                self.time_in_mesh_quantum_seconds,
            ),
        ] {
            if value == Some(0) {
                return Err((key, "1 or more".to_owned()));
            }
        }
        for (key, value, reward) in [
            ("score.time_in_mesh_weight", self.time_in_mesh_weight, true),
            ("score.time_in_mesh_cap", self.time_in_mesh_cap, true),
            (
                "score.first_deliveries_weight",
                self.first_deliveries_weight,
                true,
            ),
            ("score.first_deliveries_cap", self.first_deliveries_cap, true),
            (
                "score.delivery_deficit_weight",
                self.delivery_deficit_weight,
                false,
            ),
            (
                "score.delivery_deficit_threshold",
                self.delivery_deficit_threshold,
                true,
            ),
            ("score.invalid_weight", self.invalid_weight, false),
            ("score.invalid_cap", self.invalid_cap, true),
            ("score.colocation_weight", self.colocation_weight, false),
            ("score.colocation_threshold", self.colocation_threshold, true),
            ("score.colocation_cap", self.colocation_cap, true),
            ("score.behaviour_weight", self.behaviour_weight, false),
            ("score.behaviour_threshold", self.behaviour_threshold, true),
            ("score.behaviour_cap", self.behaviour_cap, true),
        ] {
            let Some(value) = value else { continue };
            if !value.is_finite() || (value < 0.0) == reward && value != 0.0 {
                let range = if reward { "0 or more" } else { "0 or less" };
                return Err((key, range.to_owned()));
            }
        }
        Ok(())
    }

    /// What it means.
    pub(super) fn options(&self) -> ScoreOptions {
        let mut options = ScoreOptions::default();
        seconds(&mut options.half_life, self.half_life_seconds);
        set(&mut options.time_in_mesh_weight, self.time_in_mesh_weight);
        seconds(
            &mut options.time_in_mesh_quantum,
            self.time_in_mesh_quantum_seconds,
        );
        set(&mut options.time_in_mesh_cap, self.time_in_mesh_cap);
        set(&mut options.first_deliveries_weight, self.first_deliveries_weight);
        set(&mut options.first_deliveries_cap, self.first_deliveries_cap);
        set(&mut options.delivery_deficit_weight, self.delivery_deficit_weight);
        set(
            &mut options.delivery_deficit_threshold,
            self.delivery_deficit_threshold,
        );
        set(&mut options.invalid_weight, self.invalid_weight);
        set(&mut options.invalid_cap, self.invalid_cap);
        set(&mut options.colocation_weight, self.colocation_weight);
        set(&mut options.colocation_threshold, self.colocation_threshold);
        set(&mut options.colocation_cap, self.colocation_cap);
        set(&mut options.behaviour_weight, self.behaviour_weight);
        set(&mut options.behaviour_threshold, self.behaviour_threshold);
        set(&mut options.behaviour_cap, self.behaviour_cap);
        options
    }
}
