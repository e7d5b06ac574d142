//! Lists of elements by the vector, or the head, that they belong to.

use super::compute::not_here;

/// Neighbours of a list that belong to one vector of `width` elements.
pub(super) struct Group<'t> {
    /// Number of the vector.
    pub(super) number: u32,
    /// Its elements here, counted from its first.
    pub(super) elements: &'t [u32],
    /// Where they begin in the list.
    pub(super) start: usize,
    /// The element of the list that is the vector's first.
    pub(super) first: u32,
}

impl<'t> Group<'t> {
    pub(super) fn all(inner: &'t [u32], width: u32) -> impl Iterator<Item = Self> {
        let width = width.max(1);
        let mut start = 0;
        std::iter::from_fn(move || {
            let rest = inner.get(start..)?;
            let number = rest.first()? / width;
            let first = number * width;
            let length = rest.iter().take_while(|element| (first..first + width).contains(element)).count();
            let group = Self { number, elements: rest.get(..length)?, start, first };
            start += length;
            Some(group)
        })
    }

    /// Where its number stands in a list.
    pub(super) fn place(&self, numbers: impl IntoIterator<Item = u32>) -> Result<usize, String> {
        let found = numbers.into_iter().position(|number| number == self.number);
        found.ok_or_else(|| not_here(self.number))
    }

    /// Its part of a row.
    pub(super) fn of<'v>(&self, row: &'v [f32]) -> &'v [f32] {
        row.get(self.start..self.start + self.elements.len()).unwrap_or(&[])
    }

    /// Its part of a row, to be changed.
    pub(super) fn of_mut<'v>(&self, row: &'v mut [f32]) -> &'v mut [f32] {
        row.get_mut(self.start..self.start + self.elements.len()).unwrap_or(&mut [])
    }
}
