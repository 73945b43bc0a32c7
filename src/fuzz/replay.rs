//! The seeds, the corpus, and mutations of both, on stable Rust.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ACCEPTED, Seed, TARGETS, Target};

/// `fuzz/` of these sources, unless they cannot be read from here (a test binary copied elsewhere, or
/// another user's sources).
fn sources(test: &str) -> Option<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    match fs::read_dir(&fuzz) {
        Ok(_) => Some(fuzz),
        Err(error) => {
            println!("skipped: {test}: the sources cannot be read from here: {error}");
            None
        }
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn judge(target: &Target, name: &str, bytes: &[u8]) {
    let accepted = (target.body)(bytes);
    let expected = name.starts_with(ACCEPTED);
    assert_eq!(accepted, expected, "{}/{name}: accepted?", target.name);
}

/// The name that libFuzzer gives what it adds to a corpus, its SHA-1, which says nothing of the input.
fn is_libfuzzers(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn every_seed_is_judged_as_its_name_says() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        for sort in [ACCEPTED, "truncated", "hostile"] {
            let any = seeds.iter().any(|(name, _)| name.starts_with(sort));
            assert!(any, "{}: no {sort} seed", target.name);
        }
        for (name, bytes) in seeds {
            judge(target, name, &bytes);
        }
    }
}

/// What libFuzzer starts from is what is tested here, and what it found once stays found.
#[test]
fn the_corpus_is_replayed() {
    let Some(fuzz) = sources("the_corpus_is_replayed") else {
        return;
    };
    let targets = TARGETS.map(|target| target.name.to_owned());
    let folders = names(&fuzz.join("corpus"));
    assert!(folders.iter().eq(&targets), "{folders:?}: {targets:?}");
    let programs = names(&fuzz.join("fuzz_targets"));
    let expected = targets.map(|name| format!("{name}.rs"));
    assert!(programs.iter().eq(&expected), "{programs:?}");
    for target in &TARGETS {
        let folder = fuzz.join("corpus").join(target.name);
        let files = names(&folder);
        for (name, bytes) in (target.seeds)() {
            let written = files.contains(name) && fs::read(folder.join(name)).unwrap() == bytes;
            assert!(
                written,
                "{}/{name} is another: cargo test --lib write_the_seeds -- --ignored",
                target.name
            );
        }
        for name in files {
            let bytes = fs::read(folder.join(&name)).unwrap();
            if is_libfuzzers(&name) {
                (target.body)(&bytes);
            } else {
                judge(target, &name, &bytes);
            }
        }
    }
}

#[test]
#[ignore = "writes fuzz/corpus; after a change of a format"]
fn write_the_seeds() {
    for target in &TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in (target.seeds)() {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// `ISOBENCH_FUZZ=N` mutations of each target's seeds, the same ones every time.
#[test]
fn mutated_seeds_break_nothing() {
    let rounds = std::env::var("ISOBENCH_FUZZ").map_or(500, |n| n.parse().unwrap());
    for target in &TARGETS {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let seeds = (target.seeds)();
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..rounds {
            let bytes = mutated(&seeds, &mut random);
            match (target.body)(&bytes) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
        println!("{}: {accepted} accepted, {refused} refused", target.name);
        assert!(refused > 0, "{}", target.name);
    }
}

/// A seed with a few bytes, words or lengths changed, or the end of another one behind its beginning.
fn mutated(seeds: &[Seed], random: &mut impl Rng) -> Vec<u8> {
    let any = |random: &mut _| seeds.choose(random).unwrap().1.clone();
    let mut bytes = any(random);
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => {
                let other = any(random);
                bytes.truncate(at);
                bytes.extend(other.get(at..).unwrap_or_default());
            }
            2 => {
                let word = [0, 1, u64::MAX, 1 << 63, random.random()];
                let word = word.choose(random).unwrap().to_le_bytes();
                let at = at / 8 * 8;
                bytes
                    .iter_mut()
                    .skip(at)
                    .zip(word)
                    .for_each(|(b, w)| *b = w);
            }
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = byte.wrapping_add(random.random_range(0..3)).wrapping_sub(1);
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.random();
                }
            }
        }
    }
    bytes
}
