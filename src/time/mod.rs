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

mod sleep;

pub use sleep::{Sleep, now, sleep, sleep_until};
