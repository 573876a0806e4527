//! Makes a program that shows something as small as it can, while it still shows it.

use crate::program::WIDTH;

/// Deletes operations, ever fewer at a time, then makes the bytes that are left small.
pub(crate) fn shrink(bytes: &[u8], shows: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut best = bytes.to_vec();
    loop {
        let before = best.clone();
        let mut len = best.len().next_power_of_two();
        while len >= 1 {
            // Whole operations as long as they are many.
            let step = if len >= WIDTH { len / WIDTH * WIDTH } else { len };
            let mut at = 0;
            while at < best.len() {
                let mut fewer = best.clone();
                fewer.drain(at..(at + step).min(best.len()));
                if shows(&fewer) {
                    best = fewer;
                } else {
                    at += step;
                }
            }
            len /= 2;
        }
        for at in 0..best.len() {
            for value in [0, 1, best[at] & 7, best[at] & 63, best[at] / 2] {
                let mut smaller = best.clone();
                smaller[at] = value;
                if value < best[at] && shows(&smaller) {
                    best = smaller;
                }
            }
        }
        if best == before {
            return best;
        }
    }
}
