//! What wavelets carry. The engine of wavelets moves a word in every wavelet through every router, and asks the one who
//! gave it what each core does with it; it does not know what the words mean.
//!
//! Nothing is carried with `()`: its word has no size, and the engine is the one without words.

use std::fmt::Debug;

/// A core: column and row of the simulated mesh.
pub type Core = (u32, u32);

/// A stream of a stage: index of the part, and of the stream among those of the part's lines. The line is the one that
/// the core lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Index of the part in its stage.
    pub part: u32,
    /// Index of the stream.
    pub stream: u32,
}

/// Gives words to cores that send, and gets those that arrive. `at` is a place of [`super::Lowered::schedule`], `index`
/// counts the wavelets of a stream as this core has sent or taken them, from 0.
///
/// Each core is asked in the order in which it works: it enters a stage, sends and takes, and leaves it. In which order
/// different cores are asked, the engine decides; results must not depend on it.
pub trait Contents {
    /// What one wavelet carries: 32 bits, or nothing.
    type Word: Copy + Debug;

    /// A core begins a stage: what it computes there by itself, and what lies ready to be sent.
    fn enter(&mut self, core: Core, at: u32);

    /// A core sends a wavelet from its memory.
    fn send(&mut self, core: Core, at: u32, stream: StreamId, index: u32) -> Self::Word;

    /// A core receives a word of `taken`, combines it with its own and sends the result on as the same wavelet of
    /// `sent`.
    fn forward(
        &mut self,
        core: Core,
        at: u32,
        streams: (StreamId, StreamId),
        index: u32,
        word: Self::Word,
    ) -> Self::Word;

    /// A core takes a word to its memory.
    fn take(&mut self, core: Core, at: u32, stream: StreamId, index: u32, word: Self::Word);

    /// A core is through with a stage.
    fn leave(&mut self, core: Core, at: u32);
}

/// Wavelets without contents.
impl Contents for () {
    type Word = ();

    #[inline]
    fn enter(&mut self, _: Core, _: u32) {}

    #[inline]
    fn send(&mut self, _: Core, _: u32, _: StreamId, _: u32) {}

    #[inline]
    fn forward(&mut self, _: Core, _: u32, _: (StreamId, StreamId), _: u32, (): ()) {}

    #[inline]
    fn take(&mut self, _: Core, _: u32, _: StreamId, _: u32, (): ()) {}

    #[inline]
    fn leave(&mut self, _: Core, _: u32) {}
}

impl<C: Contents> Contents for &mut C {
    type Word = C::Word;

    fn enter(&mut self, core: Core, at: u32) {
        C::enter(self, core, at);
    }

    fn send(&mut self, core: Core, at: u32, stream: StreamId, index: u32) -> C::Word {
        C::send(self, core, at, stream, index)
    }

    fn forward(
        &mut self,
        core: Core,
        at: u32,
        streams: (StreamId, StreamId),
        index: u32,
        word: Self::Word,
    ) -> Self::Word {
        C::forward(self, core, at, streams, index, word)
    }

    fn take(&mut self, core: Core, at: u32, stream: StreamId, index: u32, word: C::Word) {
        C::take(self, core, at, stream, index, word);
    }

    fn leave(&mut self, core: Core, at: u32) {
        C::leave(self, core, at);
    }
}
