//! One program on both, and what is told if they differ.

use std::rc::Rc;

use crate::{
    interpreter::{Story, run},
    model::{Model, Plant},
    program::Program,
    real::Real,
    shrink::shrink,
    trace::{difference, side_by_side},
};

/// What boucle makes of a program, and what the model does, with a fault in it or without.
pub(crate) fn stories(bytes: &[u8], plant: Option<Plant>) -> [Story; 2] {
    let program = Program::decode(bytes);
    let real = run(program.clone(), |trace| Rc::new(Real::new(trace)));
    let model = run(program, |trace| Rc::new(Model::new(trace, plant)));
    [real, model]
}

/// How many operations that took, unless the two differ.
pub(crate) fn compare(bytes: &[u8], plant: Option<Plant>) -> Option<u64> {
    let [real, model] = stories(bytes, plant);
    let same = real.events == model.events;
    same.then_some(u64::from(real.operations))
}

/// The smallest program that still shows the difference, and the difference.
pub(crate) fn report(bytes: &[u8], plant: Option<Plant>) -> String {
    let small = shrink(bytes, |bytes| compare(bytes, plant).is_none());
    let [real, model] = stories(&small, plant);
    let at = difference(&real.events, &model.events).expect("it was kept");
    let program = Program::decode(&small);
    let traces = side_by_side(["boucle", "model"], &real.events, &model.events, at);
    format!("{program}\n{traces}\nbytes: {small:?}")
}
