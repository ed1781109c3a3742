//! What is said on a call, and when.

use std::fs::read_to_string;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use simulator::{Turn, demo_transcript};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// `agent` or `customer`.
    speaker: String,
    start_ms: u64,
    end_ms: u64,
    text: String,
}

/// The turns of the bundled call.
pub(crate) fn bundled() -> Vec<Turn> {
    demo_transcript()
}

/// Reads a JSON file: `[{"speaker": "agent", "start_ms": 600, "end_ms": 7540, "text": "..."}, ...]`.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Turn>> {
    let text = read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let said: Vec<Said> = serde_json::from_str(&text)
        .with_context(|| format!("{} is no list of turns", path.display()))?;
    ensure!(!said.is_empty(), "{} holds no turn", path.display());
    for turn in &said {
        let is_party = ["agent", "customer"].contains(&turn.speaker.as_str());
        ensure!(is_party, "speaker {:?}: say \"agent\" or \"customer\"", turn.speaker);
        ensure!(turn.start_ms < turn.end_ms, "a turn ends at {} ms before it begins", turn.end_ms);
    }
    let turn = |Said { speaker, start_ms, end_ms, text }| Turn { speaker, start_ms, end_ms, text };
    Ok(said.into_iter().map(turn).collect())
}

/// How long the turns last together, in seconds.
pub(crate) fn speech_s(turns: &[Turn]) -> f64 {
    turns.iter().map(|turn| (turn.end_ms - turn.start_ms) as f64 / 1_000.0).sum()
}
