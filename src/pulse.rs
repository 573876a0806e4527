//! What a loop polls right now, for other threads and for signal handlers.
//!
//! Two words say who is polled: a number and a place, both of which mean something without any
//! task. A third counts, up by one when a poll begins and by one when it ends: so a reader knows
//! whether anything is polled, whether the two words belong together, and whether it is still the
//! same poll as when it looked last.
//!
//! | the loop | a reader |
//! |---|---|
//! | the ticket is even | takes the ticket; even: nothing is polled |
//! | writes number and place | reads number and place |
//! | makes the ticket odd, polls | takes the ticket again; another one: nothing is known |
//! | makes the ticket even | |
//!
//! `[pulse]` invariant: what is stored as a place is null or was a `&'static Location`.

use std::{panic::Location, ptr};

use crate::facade::{AtomicPtr, AtomicUsize, Ordering};

#[derive(Default)]
pub(crate) struct Pulse {
    ticket: AtomicUsize,
    /// The number of the task; its lower half on 32-bit machines.
    id: AtomicUsize,
    place: AtomicPtr<Location<'static>>,
}

/// One poll that goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Beat {
    /// Tells it from every other poll of the loop, but for one in 2 billion.
    pub(crate) ticket: usize,
    pub(crate) id: u64,
    pub(crate) place: &'static Location<'static>,
}

impl Pulse {
    /// A poll begins. One thread at a time.
    pub(crate) fn begin(&self, id: u64, place: &'static Location<'static>) {
        // Ordering: Release on both words: whoever sees one of them sees the even ticket before,
        // and so does not take it for part of an earlier poll.
        self.id.store(id as usize, Ordering::Release);
        self.place.store(ptr::from_ref(place).cast_mut(), Ordering::Release);
        // Not read and added to in one step, since nobody else writes. Odd now if a poll has not
        // ended: another one begins all the same.
        let ticket = self.ticket.load(Ordering::Relaxed);
        self.ticket.store(ticket.wrapping_add(1 + ticket % 2), Ordering::Release);
    }

    /// The poll is over.
    pub(crate) fn end(&self) {
        let ticket = self.ticket.load(Ordering::Relaxed);
        // Ordering: Relaxed; the stores of the next poll show it.
        self.ticket.store(ticket.wrapping_add(ticket % 2), Ordering::Relaxed);
    }

    /// The poll that goes on, if one does. From any thread, and from signal handlers.
    pub(crate) fn read(&self) -> Option<Beat> {
        // Ordering: Acquire sees the words of this poll, or of a later one.
        let ticket = self.ticket.load(Ordering::Acquire);
        // Ordering: Acquire, so that the ticket is read again after them.
        let id = self.id.load(Ordering::Acquire);
        let place = self.place.load(Ordering::Acquire);
        if ticket % 2 == 0 || self.ticket.load(Ordering::Relaxed) != ticket {
            return None;
        }
        // SAFETY: [pulse].
        let place = unsafe { place.as_ref() }?;
        Some(Beat { ticket, id: id as u64, place })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_poll_is_seen_while_it_goes_on() {
        let pulse = Pulse::default();
        assert_eq!(pulse.read(), None);
        let here = Location::caller();
        pulse.begin(7, here);
        let first = pulse.read().unwrap();
        assert_eq!((first.id, first.place), (7, here));
        assert_eq!(pulse.read(), Some(first));
        pulse.end();
        assert_eq!(pulse.read(), None);
        pulse.begin(7, here);
        assert_ne!(pulse.read().unwrap().ticket, first.ticket);
    }

    #[test]
    fn a_reader_never_mixes_two_polls() {
        #[track_caller]
        fn here() -> &'static Location<'static> {
            Location::caller()
        }
        let polls = if cfg!(miri) { 200 } else { 20_000 };
        let places = [here(), here()];
        let pulse = Pulse::default();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while seen < polls {
                    if let Some(beat) = pulse.read() {
                        let of = (beat.id % 2) as usize;
                        assert!(std::ptr::eq(beat.place, places[of]), "{beat:?}");
                        seen = beat.id;
                    }
                }
            });
            for id in 0..polls {
                pulse.begin(id, places[(id % 2) as usize]);
                pulse.end();
            }
            pulse.begin(polls, places[0]);
            reader.join().unwrap();
        });
    }
}
