//! Linux: epoll, edge-triggered, each descriptor registered once for both directions.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        EventfdFlags, Timespec,
        epoll::{self, EventData, EventFlags},
        eventfd,
    },
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};

use super::{
    call::call,
    event::{EVENTS, Event},
    returns,
};

/// Ends are told, so a short read or write shows that the next one would block.
pub(crate) const TELLS_ENDS: bool = true;

/// The lowest key that no user has.
const OWN: u64 = u64::MAX - 1;

/// In milliseconds, for old kernels; who waits that long may wait again.
const LONGEST: u128 = 1_000_000_000;

pub(crate) struct Poller {
    epoll: OwnedFd,
    /// Written to by `notify`, never read: with edges, each write is an event.
    bell: OwnedFd,
}

/// What a wait brings, and, for the one thread that waits, its alarm: epoll's own limits are whole
/// milliseconds, or come late by the slack that the system gives to sleeping threads.
pub(crate) struct Events {
    events: Vec<epoll::Event>,
    /// Made when the first limit comes. Where there is none to be had, limits are whole
    /// milliseconds, rounded up.
    timer: Option<OwnedFd>,
    /// When the timer rings, if it is set. It may stay set for longer than it is wanted: who waits
    /// with a limit that moves ahead, such as a server's, sets it once in a while.
    rings: Option<Instant>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { events: Vec::with_capacity(EVENTS), timer: None, rings: None }
    }

    /// Of users' descriptors alone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        let of_users = self.events.iter().filter(|event| event.data.u64() < OWN);
        of_users.map(|event| {
            // Copied out, since the fields are packed.
            let (flags, data) = (event.flags, event.data);
            let over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            let ended = over || flags.intersects(EventFlags::RDHUP | EventFlags::PRI);
            Event {
                key: data.u64(),
                readable: ended || flags.contains(EventFlags::IN),
                writable: over || flags.contains(EventFlags::OUT),
                read_ended: ended,
                write_ended: over,
            }
        })
    }

    /// Whether there may be more than were brought.
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() == EVENTS
    }

    /// Sets the timer, if that is possible and it would not ring in time.
    fn set_timer(&mut self, epoll: &OwnedFd, limit: Duration) -> io::Result<()> {
        let now = Instant::now();
        let Some(at) = now.checked_add(limit) else { return Ok(()) };
        if self.rings.is_some_and(|rings| now < rings && rings <= at) {
            return Ok(());
        }
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => {
                let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
                let timer = call(|| Ok(timerfd_create(TimerfdClockId::Monotonic, flags)?))?;
                let data = EventData::new_u64(OWN + 1);
                call(|| Ok(epoll::add(epoll, &timer, data, EventFlags::IN | EventFlags::ET)?))?;
                none.insert(timer)
            }
        };
        let value = timespec(limit);
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: interval, it_value: value };
        call(|| Ok(timerfd_settime(&*timer, TimerfdTimerFlags::empty(), &spec)?))?;
        self.rings = Some(at);
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        returns::look();
        let epoll = call(|| Ok(epoll::create(epoll::CreateFlags::CLOEXEC)?))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = call(|| Ok(eventfd(0, flags)?))?;
        let data = EventData::new_u64(OWN);
        call(|| Ok(epoll::add(&epoll, &bell, data, EventFlags::IN | EventFlags::ET)?))?;
        Ok(Poller { epoll, bell })
    }

    /// No event disarms its descriptor.
    #[inline]
    pub(crate) const fn is_oneshot(&self) -> bool {
        false
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let ways = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::PRI;
        let data = EventData::new_u64(key);
        call(|| Ok(epoll::add(&self.epoll, fd, data, ways | EventFlags::ET)?))
    }

    /// Nothing to do: with edges, the next event comes by itself.
    pub(crate) fn arm(&self, _: u64, _: [bool; 2]) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>, _: u64) -> io::Result<()> {
        call(|| Ok(epoll::delete(&self.epoll, fd)?))
    }

    /// Returns early, with nothing, when a signal comes.
    pub(crate) fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        events.events.clear();
        let limit = match limit {
            None => None,
            Some(Duration::ZERO) => Some(Duration::ZERO),
            Some(limit) => match events.set_timer(&self.epoll, limit) {
                Ok(()) => None,
                Err(_) => Some(Duration::from_millis(limit.as_millis().min(LONGEST) as u64 + 1)),
            },
        };
        let limit = limit.map(timespec);
        let waited = epoll::wait(&self.epoll, spare_capacity(&mut events.events), limit.as_ref());
        returns::refill();
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn notify(&self) {
        // A counter that is full has rung already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
