//! What a core holds while it is inside a stage: words that lie ready, words that have arrived, partial results.

use wafersim_fabric::circuit::StreamId;
use wafersim_values::interpreter::{Numbers, Way};

use crate::words::Partial;

/// Which elements the words of a stream are: known before the program runs, so that it need not travel.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// The tiles of a buffer: rows and elements of each field.
    Tiles(Vec<(Numbers, Numbers)>),
    /// A piece of a ring: number, way, rows, elements of each row.
    Piece(u64, Way, Numbers, Numbers),
}

/// Words of a piece.
#[derive(Debug)]
pub(crate) struct OwnedWords {
    pub(crate) part: u32,
    /// Place of the owner along the line.
    pub(crate) owner: u64,
    pub(crate) words: Partial,
}

impl OwnedWords {
    pub(crate) const fn is_of(&self, part: u32, owner: u64) -> bool {
        self.part == part && self.owner == owner
    }
}

/// A piece that a relayout has brought.
#[derive(Debug)]
pub(crate) struct ArrivedPiece {
    pub(crate) part: u32,
    /// Index of the owner along the line.
    pub(crate) from: u64,
    /// Number of the piece in its movement.
    pub(crate) number: usize,
    pub(crate) values: Vec<f32>,
}

/// What a core is at work on in its stage. Emptied when it leaves.
#[derive(Debug, Default)]
pub(crate) struct CoreState {
    /// Words that it sends.
    pub(crate) sends: Vec<(StreamId, Vec<u32>)>,
    /// Words that have come.
    pub(crate) taken: Vec<(StreamId, Vec<u32>)>,
    /// Partial results of chains, by part.
    pub(crate) partials: Vec<(u32, Partial)>,
    /// Words of pieces that are here.
    pub(crate) pieces: Vec<OwnedWords>,
    /// What lay in the source of a relayout when it began, by part and field.
    pub(crate) sources: Vec<(u32, Vec<Vec<f32>>)>,
    /// What has come for a relayout.
    pub(crate) arrived: Vec<ArrivedPiece>,
}

impl CoreState {
    pub(crate) fn clear(&mut self) {
        self.sends.clear();
        self.taken.clear();
        self.partials.clear();
        self.pieces.clear();
        self.sources.clear();
        self.arrived.clear();
    }

    pub(crate) fn send_word(&self, stream: StreamId, index: usize) -> Option<u32> {
        let words = self.sends.iter().find(|(known, _)| *known == stream).map(|(_, words)| words)?;
        // Shorter payloads than the longest are filled up.
        Some(words.get(index).copied().unwrap_or(0))
    }

    pub(crate) fn partial(&mut self, part: u32) -> Option<&mut Partial> {
        self.partials.iter_mut().find(|(known, _)| *known == part).map(|(_, partial)| partial)
    }

    /// Keeps a word; all of the stream when it is the last one.
    pub(crate) fn keep(&mut self, stream: StreamId, word: u32, is_last: bool) -> Option<Vec<u32>> {
        let at = match self.taken.iter().position(|(known, _)| *known == stream) {
            Some(at) => at,
            None => {
                self.taken.push((stream, Vec::new()));
                self.taken.len() - 1
            }
        };
        self.taken.get_mut(at)?.1.push(word);
        is_last.then(|| self.taken.swap_remove(at).1)
    }
}
