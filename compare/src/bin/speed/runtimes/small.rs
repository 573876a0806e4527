//! Those that do nothing but block on a future. What they need is kept by the thread, or made anew
//! each time; there is no runtime to be new.

use std::hint::black_box;

use crate::{
    cases::{Case, Workload},
    meter::Meter,
    workloads::enter,
};

pub(super) fn pollster(case: Case, meter: &Meter) -> Option<usize> {
    there(case, meter, |i| ::pollster::block_on(async move { black_box(i) }))
}

pub(super) fn futures_lite(case: Case, meter: &Meter) -> Option<usize> {
    there(case, meter, |i| ::futures_lite::future::block_on(async move { black_box(i) }))
}

fn there(case: Case, meter: &Meter, once: impl Fn(usize) -> usize) -> Option<usize> {
    if case.workload != Workload::BlockOn {
        return None;
    }
    enter(case, meter, once);
    Some(case.ops)
}
