//! A message's options, which are read and kept together: a fleet that boots makes a storm of these.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use super::code;

/// Octets of what most answers say.
const LISTED_USUAL: usize = 128;

/// A message's options, by number, the parts of each joined (RFC 3396). One piece of memory, in which a number, a length
/// of two octets and a value follow each other.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(Box<[u8]>);

impl Options {
    /// Parts of one number are joined in their order.
    pub(super) fn join(mut parts: Vec<(u8, &[u8])>) -> Self {
        parts.sort_by_key(|(code, _)| *code);
        let mut octets = Vec::with_capacity(parts.iter().map(|(_, value)| value.len() + 3).sum());
        for same in parts.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((code, _)) = same.first() else { continue };
            put(&mut octets, *code, same.iter().map(|(_, value)| *value));
        }
        Self(octets.into())
    }

    /// The same, and of `others` those whose number has none.
    #[must_use]
    pub fn with_missing<'a>(&'a self, others: impl Iterator<Item = (u8, &'a [u8])>) -> Self {
        let mut missing = others.filter(|(code, _)| self.get(*code).is_none()).peekable();
        if missing.peek().is_none() {
            return self.clone();
        }
        Self::join(self.iter().chain(missing).collect())
    }

    /// An option's octets.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == code).map(|(_, value)| value)
    }

    /// Every option, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        each(&self.0)
    }

    /// All of them, by number.
    pub fn to_map(&self) -> BTreeMap<u8, Vec<u8>> {
        self.iter().map(|(code, value)| (code, value.to_vec())).collect()
    }

    /// An option that is one number of exactly its type's length.
    pub fn number<N: Number>(&self, code: u8) -> Option<N> {
        self.get(code).and_then(N::of)
    }

    /// An option's first address.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.addresses(code).next()
    }

    /// An option's addresses; a rest of less than four octets is left away.
    pub fn addresses(&self, code: u8) -> impl Iterator<Item = Ipv4Addr> {
        let octets = self.get(code).unwrap_or_default().chunks_exact(4);
        octets.filter_map(|octets| <[u8; 4]>::try_from(octets).ok()).map(Ipv4Addr::from)
    }

    /// An option as a text for recognisers and people: without the zeros that some write behind it, control characters
    /// as spaces, at most 255 characters. `None` when nothing is left.
    pub fn text(&self, code: u8) -> Option<String> {
        let text = String::from_utf8_lossy(self.get(code)?);
        let text: String = text
            .trim_end_matches('\0')
            .chars()
            .take(255)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The options that the client asks for, in its order of preference (option 55).
    pub fn asked(&self) -> &[u8] {
        self.get(code::ASKED).unwrap_or_default()
    }
}

impl FromIterator<(u8, Vec<u8>)> for Options {
    fn from_iter<I: IntoIterator<Item = (u8, Vec<u8>)>>(options: I) -> Self {
        let options: Vec<(u8, Vec<u8>)> = options.into_iter().collect();
        Self::join(options.iter().map(|(code, value)| (*code, value.as_slice())).collect())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Options that are to be written, in this order; kept as [`Options`] are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Listed(Vec<u8>);

impl Listed {
    /// None, with room for what most answers say.
    pub fn new() -> Self {
        Self(Vec::with_capacity(LISTED_USUAL))
    }

    /// One more, behind the others.
    pub fn push(&mut self, code: u8, value: &[u8]) {
        put(&mut self.0, code, std::iter::once(value));
    }

    /// The octets of the first of this number.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == code).map(|(_, value)| value)
    }

    /// Every one, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        each(&self.0)
    }
}

impl<V: AsRef<[u8]>> Extend<(u8, V)> for Listed {
    fn extend<I: IntoIterator<Item = (u8, V)>>(&mut self, options: I) {
        options.into_iter().for_each(|(code, value)| self.push(code, value.as_ref()));
    }
}

impl<V: AsRef<[u8]>> FromIterator<(u8, V)> for Listed {
    fn from_iter<I: IntoIterator<Item = (u8, V)>>(options: I) -> Self {
        let mut listed = Self::new();
        listed.extend(options);
        listed
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Puts an option behind the others; of one that is too long, as much as its length can say.
fn put<'a>(octets: &mut Vec<u8>, code: u8, parts: impl Iterator<Item = &'a [u8]> + Clone) {
    let len = parts.clone().map(<[u8]>::len).sum::<usize>().min(usize::from(u16::MAX));
    octets.push(code);
    octets.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    let end = octets.len() + len;
    parts.for_each(|part| octets.extend_from_slice(part));
    octets.truncate(end);
}

/// What was put there.
fn each(octets: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let [code, high, low, behind @ ..] = rest else { return None };
        let (value, next) = behind.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
        rest = next;
        Some((*code, value))
    })
}

/// What a number in an option may be.
pub trait Number: Sized {
    /// `None` unless the octets are exactly as many as it has.
    fn of(octets: &[u8]) -> Option<Self>;
}

impl Number for u8 {
    fn of(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Number for u16 {
    fn of(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Number for u32 {
    fn of(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self::from_be_bytes)
    }
}

/// The parts of options in a field of a message, up to its end mark or to what is cut off. The library's iterator takes
/// memory for each that stands in several.
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while let [code::PAD, rest @ ..] = self.0 {
            self.0 = rest;
        }
        let [number, len, rest @ ..] = self.0 else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*len)).filter(|_| *number != code::END)?;
        self.0 = rest;
        Some((*number, value))
    }
}
