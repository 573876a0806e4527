//! Allocations and bytes per operation of the workloads of `speed`: the same code, under an
//! allocator that counts. `speed` runs it; it prints one line for each figure, fields separated by
//! tabs.

// It takes a part of the other program.
#![allow(dead_code)]

#[path = "speed/apart.rs"]
mod apart;
#[path = "speed/cases.rs"]
mod cases;
#[path = "speed/meter.rs"]
mod meter;
#[path = "speed/resident.rs"]
mod resident;
#[path = "speed/runtimes/mod.rs"]
mod runtimes;
#[path = "speed/workloads/mod.rs"]
mod workloads;

use std::{alloc::System, error::Error};

use cases::GROUPS;
use meter::{Meter, Reading};
use stats_alloc::StatsAlloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

/// Calls that give memory, and the bytes they give; of all threads.
fn read() -> Reading {
    let stats = ALLOCATOR.stats();
    [(stats.allocations + stats.reallocations) as u64, stats.bytes_allocated as u64]
}

fn main() {
    for group in GROUPS {
        for series in group.series {
            for &(size, _) in
                series.sizes.iter().filter(|(size, first)| *first && *size < 1_000_000)
            {
                for subject in group.subjects {
                    let meter = Meter::new(read);
                    let Some(ops) = (subject.run)(series.case(size), &meter) else { continue };
                    let [count, bytes] = meter.spent().map(|n| n as f64 / ops as f64);
                    println!("{}\t{size}\t{}\t{count:.3}\t{bytes:.1}", series.name, subject.name);
                }
            }
        }
    }
}
