//! The programs of `tests/model`, from a fuzzer: boucle and its model must do the same.

#![no_main]

#[path = "../../tests/model/compare.rs"]
mod compare;
#[path = "../../tests/model/interpreter.rs"]
mod interpreter;
#[path = "../../tests/model/model/mod.rs"]
#[allow(dead_code)]
mod model;
#[path = "../../tests/model/program.rs"]
#[allow(dead_code)]
mod program;
#[path = "../../tests/model/real.rs"]
mod real;
#[path = "../../tests/model/runtime.rs"]
mod runtime;
#[path = "../../tests/model/shrink.rs"]
mod shrink;
#[path = "../../tests/model/trace.rs"]
mod trace;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if compare::compare(bytes, None).is_none() {
        panic!("{}", compare::report(bytes, None));
    }
});
