//! Replays the corpus of the fuzz targets, which is committed in `fuzz/corpus`: what `seeds.rs` makes, and every input
//! that once broke something.

#[path = "../torture/fixture.rs"]
mod fixture;
mod seeds;
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use targets::TARGETS;

#[test]
fn no_seed_breaks_its_target() {
    for (name, target) in TARGETS {
        let seeds = files_in(&fuzz().join("corpus").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            println!("{}", seed.display());
            target(&fs::read(&seed).unwrap());
        }
    }
}

#[test]
fn every_target_has_a_binary_and_every_corpus_a_target() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let files = files_in(&fuzz().join(folder)).into_iter();
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(stems("fuzz_targets"), known);
    assert_eq!(stems("corpus"), known);
}

#[test]
fn the_corpus_is_up_to_date() {
    for (target, name, bytes) in seeds::all() {
        let path = fuzz().join("corpus").join(target).join(&name);
        let is_same = fs::read(&path).is_ok_and(|committed| committed == bytes);
        assert!(is_same, "{target}/{name} differs; run: make fuzz-seeds");
    }
}

/// Not a test: writes the seeds.
#[test]
#[ignore = "writes files; run: make fuzz-seeds"]
fn write_the_seeds() {
    for (target, name, bytes) in seeds::all() {
        let folder = fuzz().join("corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
