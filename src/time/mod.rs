//! Time as the loop sees it.

mod sleep;

pub use sleep::{Sleep, now, sleep, sleep_until};
