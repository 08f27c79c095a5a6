//! `cargo xtask bench`: what reading, writing, comparing and restoring states costs, with a real file and with 100,000 filters.

use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use postern_cli::state::State;
use postern_cli::state::diff::diff;
use postern_cli::state::xml::{self, Dump};
use uuid::Uuid;

const FILTERS: usize = 100_000;

fn main() {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/wfp-state/keploy.wfpstate.xml.gz");
    let mut real = Vec::new();
    let file = std::fs::File::open(packed).expect("the real file");
    flate2::read::GzDecoder::new(file).read_to_end(&mut real).expect("the real file is whole");
    measure("a real state", &real, 11);
    measure("100,000 filters", &generated(real.clone()), 3);
}

/// The real state with its filters again and again, under other keys and ids.
fn generated(real: Vec<u8>) -> Vec<u8> {
    let mut state = Dump::read(real).expect("the real file is valid").state;
    let filters = std::mem::take(&mut state.filters);
    for index in 0..FILTERS {
        let mut filter = filters[index % filters.len()].clone();
        filter.key = Uuid::from_u128(filter.key.as_u128() ^ (index as u128) << 64);
        filter.id = 100_000 + index as u64;
        state.filters.push(filter);
    }
    written(&state)
}

fn written(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    xml::write(state, &mut bytes).expect("memory can be written");
    bytes
}

fn measure(what: &str, bytes: &[u8], rounds: usize) {
    let size = format!("{what}, {:.1} MB", bytes.len() as f64 / 1e6);
    let dump = row(&format!("{size}: read"), rounds, || Dump::read(bytes.to_vec()).expect("the file is valid"));
    let Dump { state, text } = dump;
    drop(text);
    row("  write", rounds, || written(&state));
    row("  restore an engine", rounds, || state.engine().expect("the objects are an engine's"));
    let mut other = state.clone();
    for filter in other.filters.iter_mut().step_by(100) {
        filter.raw_context ^= 1;
    }
    row("  diff, each hundredth filter changed", rounds, || diff(&state, &other));
}

/// The median time, and by how much the process grew at most.
fn row<T>(what: &str, rounds: usize, mut work: impl FnMut() -> T) -> T {
    let mut times = Vec::new();
    let before = resident("VmRSS");
    // The kernel counts the peak from here.
    let counted = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let mut last = None;
    for _ in 0..rounds {
        drop(last.take());
        let begun = Instant::now();
        let result = black_box(work());
        times.push(begun.elapsed());
        last = Some(result);
    }
    let peak = if counted {
        format!("+{} MiB at most", resident("VmHWM").saturating_sub(before) >> 10)
    } else {
        String::new()
    };
    times.sort();
    println!("{what:<44} {:>20}  {peak}", milliseconds(times[rounds / 2]));
    last.expect("at least one round")
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// In KiB.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
