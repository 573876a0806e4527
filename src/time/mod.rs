//! Time as the loop sees it.
//!
//! ```
//! use std::time::Duration;
//!
//! use boucle::time::{now, sleep};
//!
//! boucle::block_on(async {
//!     let start = now();
//!     sleep(Duration::from_millis(1)).await;
//!     assert!(now() - start >= Duration::from_millis(1));
//! });
//! ```

mod elapsed;
mod hold;
mod interval;
mod sleep;
mod timeout;

pub use elapsed::Elapsed;
pub use hold::{Hold, hold};
pub use interval::{Interval, MissedTicks, Tick, interval, interval_at};
pub use sleep::{Sleep, now, sleep, sleep_until};
pub use timeout::{Timeout, timeout, timeout_at};
