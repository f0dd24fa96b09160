//! Writes a simulated capture with its secrets and truth into a folder:
//! `cargo run -p bftap-simnet --example simulate -- FOLDER [NODES [SEQUENCES [CLIENT]]]`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use bftap_simnet::{SimulateOptions, Sinks, simulate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder to write to")?);
    let mut options = SimulateOptions::default();
    if let Some(nodes) = arguments.next() {
        options.nodes = nodes.parse()?;
    }
    if let Some(sequences) = arguments.next() {
        options.sequences = Some(sequences.parse()?);
    }
    if let Some(client) = arguments.next() {
        options.clients = vec![client.parse()?];
    }
    fs::create_dir_all(&folder)?;
    let create = |name: &str| -> std::io::Result<Box<dyn Write>> {
        Ok(Box::new(BufWriter::new(File::create(folder.join(name))?)))
    };
    let captures = options.capture_names().into_iter();
    let captures = captures.map(|name| create(&format!("{name}.{}", options.format.extension())));
    let sinks = Sinks {
        captures: captures.collect::<Result<_, _>>()?,
        key_log: create("sessions.keylog")?,
        nodes: create("nodes.json")?,
        truth: create("truth.json")?,
    };
    let summary = simulate(&options, sinks)?;
    println!("{summary:?}");
    Ok(())
}
