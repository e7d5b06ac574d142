//! A request: when it comes, how many tokens it brings and wants, and which of its tokens others may have in common
//! with it.

use crate::time::Time;

/// Tokens of a block of the prefix cache.
pub const BLOCK: u32 = 128;

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it comes.
    pub arrival: Time,
    /// Who asks: users of a closed loop are told when they have been served.
    pub user: u32,
    /// Tokens of the prompt, at least 1.
    pub prompt: u32,
    /// Tokens of the answer, at least 1.
    pub output: u32,
    /// What identifies the prompt's tokens.
    pub content: Content,
}

/// What identifies the tokens of a request, so that equal prefixes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Like no other.
    Unique,
    /// Hashes of the prompt's blocks of `size` tokens, a multiple of [`BLOCK`] or a part of it; the answer's are not
    /// known. A hash stands for a block and all before it, as in the Mooncake traces. Of smaller blocks, only as many
    /// as fill a [`BLOCK`] can be shared.
    Hashed {
        /// Tokens of a hashed block.
        size: u32,
        /// A hash for each block, the last one perhaps not full.
        hashes: Box<[u64]>,
    },
    /// A session whose every request continues the one before, answer included.
    Session {
        /// Number of the session.
        session: u64,
        /// Leading tokens that all sessions have in common.
        common: u32,
    },
    /// A session that has kept only parts of what was before: pieces in rising order, the last without an end.
    Spliced(Box<[Piece]>),
}

/// Tokens of one origin within a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it ends.
    pub until: u32,
    /// Equal numbers are equal tokens at equal places; `u64::MAX` is what all sessions have in common.
    pub key: u64,
}

impl Content {
    /// The key of a block of [`BLOCK`] tokens, or nothing where the block cannot be shared. Equal keys are equal
    /// tokens, as long as all blocks before them are equal, which is how they are looked up.
    pub fn block(&self, index: u32) -> Option<u64> {
        match self {
            Self::Unique => None,
            Self::Hashed { size, hashes } => {
                if *size < BLOCK {
                    let each = BLOCK / (*size).max(1);
                    let first = index.checked_mul(each)? as usize;
                    let parts = hashes.get(first..first.checked_add(each as usize)?)?;
                    return Some(parts.iter().fold(0, |key, hash| mixed(*hash, key)));
                }
                let each = size / BLOCK;
                let hash = hashes.get((index / each) as usize)?;
                Some(mixed(*hash, u64::from(index % each)))
            }
            Self::Session { session, common } => {
                let is_common = (index + 1).saturating_mul(BLOCK) <= *common;
                Some(mixed(if is_common { u64::MAX } else { *session }, u64::from(index)))
            }
            Self::Spliced(pieces) => {
                let end = (index + 1).saturating_mul(BLOCK);
                let piece = pieces.iter().find(|piece| end <= piece.until).or(pieces.last())?;
                Some(mixed(piece.key, u64::from(index)))
            }
        }
    }

    /// Whether the answer's tokens continue what the next request begins with.
    pub const fn knows_answer(&self) -> bool {
        matches!(self, Self::Session { .. } | Self::Spliced(_))
    }
}

/// Two numbers as one key (the finaliser of SplitMix64, Steele et al. 2014). Two blocks of different content have
/// the same key with probability 2^-64.
pub(crate) const fn mixed(one: u64, other: u64) -> u64 {
    let mut key = one.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ other.wrapping_add(0x2545_f491_4f6c_dd1d);
    key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}
