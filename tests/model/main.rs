//! boucle beside a model of itself: random programs run on both, and the same must happen.
//!
//! `MODEL_OPERATIONS` says how many operations are tried; `MODEL_SEED` names the first program, and
//! the only one unless the other is set too. `fuzz/` runs the same programs from a fuzzer.
//!
//! Not compared: the order in which a loop that goes drops its tasks, which nothing promises; and
//! `run`, since a waker that is kept for later has a loop wait for it in earnest.

mod compare;
mod interpreter;
mod model;
mod program;
mod real;
mod runtime;
mod shrink;
mod trace;

use std::{collections::BTreeSet, fs, path::Path};

use self::{
    compare::{compare, report, stories},
    model::Plant,
    program::Random,
};

/// How much `cargo test` tries.
const FEW: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_programs_do_the_same_on_both() {
    let (seed, limit) = (setting("MODEL_SEED"), setting("MODEL_OPERATIONS"));
    let limit = limit.unwrap_or(if seed.is_some() { 1 } else { FEW });
    let (mut seed, mut operations, mut programs) = (seed.unwrap_or(0), 0, 0_u64);
    while operations < limit {
        let bytes = Random::bytes(seed);
        match compare(&bytes, None) {
            Some(more) => operations += more,
            None => panic!("MODEL_SEED={seed} differs:\n{}", report(&bytes, None)),
        }
        (seed, programs) = (seed + 1, programs + 1);
    }
    println!("{operations} operations in {programs} programs, the last of seed {}", seed - 1);
}

/// The programs that a fuzzer has found worth keeping: each reaches something that no other does.
#[test]
fn kept_programs_do_the_same_on_both() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        // A published crate has no fuzzer, nor what it has found.
        return;
    }
    let files = fs::read_dir(fuzz.join("corpus/ops")).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.collect();
    assert!(files.len() > 100, "{} programs were kept", files.len());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        assert!(compare(&bytes, None).is_some(), "{file:?} differs:\n{}", report(&bytes, None));
    }
}

#[test]
fn any_bytes_are_a_program() {
    let mut random = Random(1);
    for len in 0..200 {
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        assert!(compare(&bytes, None).is_some(), "{}", report(&bytes, None));
    }
}

#[test]
fn programs_do_a_bit_of_everything() {
    let [mut real, _] = stories(&[], None);
    for seed in 0..400 {
        let [story, _] = stories(&Random::bytes(seed), None);
        real.events.extend(story.events);
    }
    let seen: BTreeSet<&str> = real.events.iter().map(|event| event.what).collect();
    let everything = "CANCELLED, FAILED, FINISHED, NEW, READY, RUNNING, WAITING, advances, \
        blocks on, cancels, cancels a child, cancels the scope, closing at, \
        drops a child's handle, drops a handle, failed:, finds it cancelled, \
        finds that it panicked, gathers, gives, has gathered, has raced, has waited for, is at, \
        is dropped, is polled at, joins, keeps its waker, leaves a scope with, looks in vain, \
        main gives, next deadline, nobody observes, opens a scope, output dropped, panics, \
        panics at the host:, parks, races, runs, sees, sets a limit of, sleeps, sleeps on, spawns, \
        spawns a child, steps, still waits, uses a canceller, waits for a child, \
        waits for a task, waits for tasks, wakes, wakes elsewhere, was in time:, yields";
    assert_eq!(seen.into_iter().collect::<Vec<_>>().join(", "), everything);
}

#[test]
fn what_is_done_wrong_on_purpose_is_found() {
    let plants = [
        Plant::LifoWakes,
        Plant::YoungTimersFirst,
        Plant::LateCancel,
        Plant::KeptOutput,
        Plant::EagerLetters,
        Plant::LostSelfWake,
        Plant::GreedyGather,
        Plant::YoungChildrenFirst,
        Plant::ShortStride,
        Plant::ClockFirst,
    ];
    for plant in plants {
        let mut operations = 0;
        let found = (0..).map(Random::bytes).find(|bytes| match compare(bytes, Some(plant)) {
            Some(more) => {
                operations += more;
                assert!(operations < 300_000, "{plant:?} was not found");
                false
            }
            None => true,
        });
        let report = report(&found.unwrap(), Some(plant));
        println!("{plant:?}, after {operations} operations:\n{report}\n");
    }
}
