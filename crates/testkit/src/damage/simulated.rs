//! A simulated network in memory, with the places of its frames.

use bftap_simnet::{
    CaptureFormat, CaptureLayout, LoggedFrame, SimulateError, SimulateOptions, Sinks, Summary,
    simulate_with_frames,
};
use serde_json::Value;

/// What a simulation wrote.
pub struct Simulated {
    /// One pcap file with nanoseconds.
    pub capture: Vec<u8>,
    /// Secrets of the simulated sessions, for `SecretStore::add_key_log`.
    pub key_log: Vec<u8>,
    /// Names, addresses and keys of the nodes.
    pub nodes: Value,
    /// The truth about the undamaged capture.
    pub truth: Value,
    /// Where the frames lie.
    pub frames: Vec<LoggedFrame>,
    /// What the simulator says of it.
    pub summary: Summary,
}

/// Simulates into memory; whatever the options say of it, the capture is one pcap file.
///
/// # Panics
/// If the truth or the nodes are no JSON.
pub fn simulated(options: &SimulateOptions) -> Result<Simulated, SimulateError> {
    let options = SimulateOptions {
        format: CaptureFormat::PcapNanos,
        layout: CaptureLayout::Together,
        ..options.clone()
    };
    let [mut capture, mut key_log, mut nodes, mut truth] = [const { Vec::new() }; 4];
    let mut frames = Vec::new();
    let summary = simulate_with_frames(
        &options,
        Sinks {
            captures: vec![Box::new(&mut capture)],
            key_log: Box::new(&mut key_log),
            nodes: Box::new(&mut nodes),
            truth: Box::new(&mut truth),
        },
        &mut |frame| frames.push(frame),
    )?;
    Ok(Simulated {
        capture,
        key_log,
        nodes: serde_json::from_slice(&nodes).expect("JSON of the nodes"),
        truth: serde_json::from_slice(&truth).expect("JSON of the truth"),
        frames,
        summary,
    })
}
