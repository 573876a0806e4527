//! The sources of a reactor, by key, and who waits on their sides.

use super::name::Name;
use crate::{
    slab::Slab,
    sys::{Event, Way},
    wakee::Wakee,
};

pub(super) struct Table {
    sources: Slab<Source>,
    /// The number of the next source: a key that is used again names another one.
    numbers: u32,
    tokens: Token,
}

pub(super) struct Source {
    /// That of its key; while the place is vacant, of no key that was given out.
    number: u32,
    pub(super) name: Name,
    /// For reading and for writing.
    sides: [Side; 2],
}

pub(super) struct Side {
    pub(super) ready: bool,
    /// It stays ready until an operation would have blocked.
    pub(super) ended: bool,
    /// That of the last event.
    pub(super) epoch: u32,
    first: Option<(Token, Wakee)>,
    others: Vec<(Token, Wakee)>,
}

/// Tells those who wait on a side apart, if they can say that they wait no longer. Zero for those
/// who cannot.
pub(crate) type Token = u32;

/// Names a source: its place and its number. An event, a letter or a question about a source that
/// has gone finds another number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    place: u32,
    number: u32,
}

impl Key {
    /// Below the keys of the poller itself, since no place is that high.
    pub(super) fn pack(self) -> u64 {
        u64::from(self.place) << 32 | u64::from(self.number)
    }

    pub(super) fn unpack(key: u64) -> Key {
        Key { place: (key >> 32) as u32, number: key as u32 }
    }
}

impl Side {
    fn new(epoch: u32) -> Side {
        Side { ready: true, ended: false, epoch, first: None, others: Vec::new() }
    }

    pub(super) fn block(&mut self) {
        (self.ready, self.ended) = (false, false);
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Wakee, Token)> {
        self.first.iter().chain(&self.others).map(|(token, wakee)| (wakee, *token))
    }

    /// Puts somebody where nobody waits.
    #[inline]
    pub(super) fn begin(&mut self, token: Token, wakee: Wakee) {
        self.first = Some((token, wakee));
    }

    /// Puts somebody last, in place of whoever waits under this token.
    pub(super) fn replace(&mut self, token: Token, wakee: Wakee) -> Option<Wakee> {
        let old = self.take(token);
        if self.is_awaited() {
            self.others.push((token, wakee));
        } else {
            self.first = Some((token, wakee));
        }
        old
    }

    /// Takes out who waits under this token.
    pub(super) fn take(&mut self, token: Token) -> Option<Wakee> {
        if token == 0 {
            return None;
        }
        if self.first.as_ref().is_some_and(|(of, _)| *of == token) {
            return self.first.take().map(|(_, wakee)| wakee);
        }
        let at = self.others.iter().position(|(of, _)| *of == token)?;
        Some(self.others.remove(at).1)
    }

    /// Takes everybody out, the first to come first.
    fn drain(&mut self, woken: &mut Vec<Wakee>) {
        if let Some((_, wakee)) = self.first.take() {
            woken.push(wakee);
        }
        if !self.others.is_empty() {
            woken.extend(self.others.drain(..).map(|(_, wakee)| wakee));
        }
    }

    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.first.is_some() || !self.others.is_empty()
    }
}

impl Table {
    pub(super) fn new() -> Table {
        Table { sources: Slab::new(), numbers: 0, tokens: 0 }
    }

    /// A source that may be ready for anything.
    pub(super) fn insert(&mut self, epoch: u32, name: Name) -> Key {
        let number = self.numbers;
        self.numbers = self.numbers.wrapping_add(1);
        let sides = [Side::new(epoch), Side::new(epoch)];
        Key { place: self.sources.insert(Source { number, name, sides }), number }
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Source> {
        self.sources.get_mut(key.place).filter(|source| source.number == key.number)
    }

    pub(super) fn side(&mut self, key: Key, way: Way) -> Option<&mut Side> {
        self.get(key).map(|source| &mut source.sides[way as usize])
    }

    pub(super) fn token(&mut self) -> Token {
        // Neither zero nor the highest, which have meanings.
        self.tokens = self.tokens % (Token::MAX - 1) + 1;
        self.tokens
    }

    /// Which ways of a source are waited for.
    pub(super) fn awaited(&mut self, key: Key) -> [bool; 2] {
        self.get(key).map_or([false; 2], |source| source.sides.each_ref().map(Side::is_awaited))
    }

    /// Takes a source out, and those who wait for it.
    pub(super) fn remove(&mut self, key: Key, woken: &mut Vec<Wakee>) {
        if let Some(source) = self.get(key) {
            source.number = key.number.wrapping_add(1 << 31);
            source.name = Name::Fd("", -1);
            source.sides.iter_mut().for_each(|side| side.drain(woken));
            self.sources.vacate(key.place);
        }
    }

    /// Notes an event, and takes out those who waited for it.
    pub(super) fn take_in(&mut self, event: Event, epoch: u32, woken: &mut Vec<Wakee>) {
        let Some(source) = self.get(Key::unpack(event.key)) else { return };
        let [read, write] = &mut source.sides;
        for (side, ready, ended) in
            [(read, event.readable, event.read_ended), (write, event.writable, event.write_ended)]
        {
            if ready {
                side.ready = true;
                side.ended |= ended;
                side.epoch = epoch;
                side.drain(woken);
            }
        }
    }

    /// Takes out every source, and those who wait.
    pub(super) fn remove_all(&mut self, woken: &mut Vec<Wakee>) {
        for (_, source) in self.sources.iter_mut() {
            source.sides.iter_mut().for_each(|side| side.drain(woken));
        }
        self.sources = Slab::new();
    }

    /// The names of the sides that somebody waits on.
    pub(super) fn names(&mut self) -> Vec<(Key, Way, Name)> {
        let mut names = Vec::new();
        for (place, source) in self.sources.iter_mut() {
            let key = Key { place, number: source.number };
            for way in [Way::Read, Way::Write] {
                if source.sides[way as usize].is_awaited() {
                    names.push((key, way, source.name.clone()));
                }
            }
        }
        names
    }
}
