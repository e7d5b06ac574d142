//! Pairs of tokens and experts, in the order in which they are worked on. A chunk of a prompt has all of its tokens
//! with all of their experts, tens of thousands of pairs: those are counted, not listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// One token-expert pair of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The token.
    pub token: u64,
    /// Which of its chosen experts.
    pub slot: u64,
    /// Row of the input.
    pub from: u64,
    /// Row of the output, to which the product is added.
    pub to: u64,
}

/// Pairs in an order. Copies share what is listed.
#[derive(Debug, Clone)]
pub struct Pairs(Kind);

#[derive(Debug, Clone)]
enum Kind {
    All(AllPairs),
    Listed(Arc<[Pair]>),
}

/// Every token with each of its experts, token by token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AllPairs {
    tokens: u64,
    top_k: u64,
    from: Row,
    to: Row,
}

/// Which row of an operand belongs to a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    OfToken,
    OfPair,
}

impl AllPairs {
    const fn len(&self) -> u64 {
        self.tokens.saturating_mul(self.top_k)
    }

    fn at(&self, index: u64) -> Pair {
        let (token, slot) = (index / self.top_k, index % self.top_k);
        let row = |row: Row| match row {
            Row::OfToken => token,
            Row::OfPair => index,
        };
        Pair { token, slot, from: row(self.from), to: row(self.to) }
    }
}

impl Pairs {
    /// Every one of `tokens` tokens with each of its `top_k` experts. Rows of input and output are those of tokens.
    pub const fn all(tokens: u64, top_k: u64) -> Self {
        Self(Kind::All(AllPairs { tokens, top_k, from: Row::OfToken, to: Row::OfToken }))
    }

    /// How many.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::All(all) => all.len(),
            Kind::Listed(list) => list.len() as u64,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pair with a number.
    pub fn get(&self, index: u64) -> Option<Pair> {
        match &self.0 {
            Kind::All(all) => (index < all.len()).then(|| all.at(index)),
            Kind::Listed(list) => list.get(usize::try_from(index).ok()?).copied(),
        }
    }

    /// All in order.
    pub fn iter(&self) -> impl Iterator<Item = Pair> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The same with outputs in rows of their own, one for each pair.
    #[must_use]
    pub fn into_own_rows(&self) -> Self {
        match &self.0 {
            Kind::All(all) => Self(Kind::All(AllPairs { to: Row::OfPair, ..*all })),
            Kind::Listed(list) => (0..).zip(&**list).map(|(to, pair)| Pair { to, ..*pair }).collect(),
        }
    }

    /// The same with inputs from rows of their own, one for each pair.
    #[must_use]
    pub fn from_own_rows(&self) -> Self {
        match &self.0 {
            Kind::All(all) => Self(Kind::All(AllPairs { from: Row::OfPair, ..*all })),
            Kind::Listed(list) => (0..).zip(&**list).map(|(from, pair)| Pair { from, ..*pair }).collect(),
        }
    }

    /// Rows of the input by how many pairs each goes into: (pairs, rows), fewest pairs first.
    pub fn of_rows(&self) -> Vec<(u64, u64)> {
        let list = match &self.0 {
            Kind::All(all) if all.len() == 0 => return Vec::new(),
            Kind::All(AllPairs { from: Row::OfToken, tokens, top_k, .. }) => return vec![(*top_k, *tokens)],
            Kind::All(all) => return vec![(1, all.len())],
            Kind::Listed(list) => list,
        };
        // Most lists come in the order of the rows.
        let mut from: Vec<u64> = list.iter().map(|pair| pair.from).collect();
        from.sort_unstable();
        let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
        from.chunk_by(u64::eq).for_each(|row| *rows.entry(row.len() as u64).or_default() += 1);
        rows.into_iter().collect()
    }
}

impl FromIterator<Pair> for Pairs {
    fn from_iter<I: IntoIterator<Item = Pair>>(pairs: I) -> Self {
        Self(Kind::Listed(pairs.into_iter().collect()))
    }
}

impl PartialEq for Pairs {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::All(one), Kind::All(another)) if one == another => true,
            _ => self.len() == other.len() && self.iter().eq(other.iter()),
        }
    }
}

impl Eq for Pairs {}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_would_be_listed() {
        for (tokens, top_k) in [(0, 8), (1, 1), (3, 2), (5, 8)] {
            let all = Pairs::all(tokens, top_k);
            let listed: Pairs = all.iter().collect();
            assert_eq!(all, listed);
            assert_eq!((all.len(), all.is_empty()), (tokens * top_k, tokens == 0));
            assert_eq!(all.of_rows(), listed.of_rows());
            for (counted, listed) in
                [(all.into_own_rows(), listed.into_own_rows()), (all.from_own_rows(), listed.from_own_rows())]
            {
                assert_eq!(counted, listed);
                assert_eq!(counted.of_rows(), listed.of_rows());
            }
            assert_eq!(all.get(tokens * top_k), None);
        }
        assert_ne!(Pairs::all(2, 3), Pairs::all(3, 2));
        assert_ne!(Pairs::all(2, 3), Pairs::all(2, 3).into_own_rows());
    }
}
