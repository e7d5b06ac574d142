//! Rows of a long run: those that are known from before, and somebody who hears of each new one as it ends.

/// What a run of many rows need not compute, and who keeps what it computes. Places count from 0 in the order of the
/// result, whatever the order in which rows end.
pub struct Rows<'a, Row, Error> {
    /// The row at a place, where it is known. It is taken as it is.
    known: &'a (dyn Fn(usize) -> Option<Row> + Sync),
    /// Called once for each row that was computed, from any thread, as it ends.
    finished: &'a (dyn Fn(usize, &Row) -> Result<(), Error> + Sync),
    /// Whether a place is this run's business.
    wanted: &'a (dyn Fn(usize) -> bool + Sync),
}

impl<'a, Row, Error> Rows<'a, Row, Error> {
    /// Rows of which none is known. `finished` hears of each as it ends, from any thread; its error ends the run.
    pub fn none_known(finished: &'a (dyn Fn(usize, &Row) -> Result<(), Error> + Sync)) -> Self {
        Self { known: &|_| None, finished, wanted: &|_| true }
    }

    /// Rows of which some are known; these are taken as they are, and nobody hears of them.
    pub const fn new(
        known: &'a (dyn Fn(usize) -> Option<Row> + Sync),
        finished: &'a (dyn Fn(usize, &Row) -> Result<(), Error> + Sync),
    ) -> Self {
        Self { known, finished, wanted: &|_| true }
    }

    /// Of these rows only some: the others are left out of the result.
    #[must_use]
    pub const fn only(self, wanted: &'a (dyn Fn(usize) -> bool + Sync)) -> Self {
        Self { wanted, ..self }
    }

    /// The row at a place: as it is known, or computed and told of.
    ///
    /// # Errors
    /// Where it cannot be computed or kept.
    pub fn at(&self, place: usize, compute: impl FnOnce() -> Result<Row, Error>) -> Result<Row, Error> {
        if let Some(row) = (self.known)(place) {
            return Ok(row);
        }
        let row = compute()?;
        (self.finished)(place, &row)?;
        Ok(row)
    }

    /// Rows that are computed together, at their places: as they are known if all are, or else computed, and those told
    /// of that were not known. None of them where the first is not wanted.
    ///
    /// # Errors
    /// As [`Rows::at`].
    pub fn together(
        &self,
        places: &[usize],
        compute: impl FnOnce() -> Result<Vec<Row>, Error>,
    ) -> Result<Vec<(usize, Row)>, Error> {
        if places.first().is_some_and(|first| !(self.wanted)(*first)) {
            return Ok(Vec::new());
        }
        let known: Vec<Option<Row>> = places.iter().map(|place| (self.known)(*place)).collect();
        let computed = if known.iter().all(Option::is_some) { Vec::new() } else { compute()? };
        let mut computed = computed.into_iter();
        let mut rows = Vec::with_capacity(places.len());
        for (place, known) in places.iter().zip(known) {
            let new = computed.next();
            if let (None, Some(row)) = (&known, &new) {
                (self.finished)(*place, row)?;
            }
            rows.extend(known.or(new).map(|row| (*place, row)));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn known_rows_are_neither_computed_nor_told_of() {
        let told = Mutex::new(Vec::new());
        let finished = |place: usize, row: &u64| {
            told.lock().unwrap().push((place, *row));
            if *row == 13 { Err("refused") } else { Ok(()) }
        };
        let known = |place: usize| (place < 2).then_some(100);
        let rows = Rows::new(&known, &finished);
        assert_eq!(rows.at(1, || Err("computed")), Ok(100));
        assert_eq!(rows.at(2, || Ok(7)), Ok(7));
        assert_eq!(rows.at(3, || Ok(13)), Err("refused"));
        assert_eq!(rows.together(&[0, 1], || Err("computed")), Ok(vec![(0, 100), (1, 100)]));
        assert_eq!(rows.together(&[1, 5], || Ok(vec![8, 9])), Ok(vec![(1, 100), (5, 9)]));
        assert_eq!(*told.lock().unwrap(), [(2, 7), (3, 13), (5, 9)]);
        let part = Rows::new(&known, &finished).only(&|place| place == 1);
        assert_eq!(part.together(&[4, 1], || Err("computed")), Ok(Vec::new()));
        assert_eq!(part.together(&[1, 0], || Err("computed")), Ok(vec![(1, 100), (0, 100)]));
        let anew = Rows::none_known(&finished);
        assert_eq!(anew.at(0, || Ok(1)), Ok(1));
    }
}
