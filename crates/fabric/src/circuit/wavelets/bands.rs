//! Areas by the row, or by the column, that they cover: a stage may have thousands, of which few cover a place.

use crate::circuit::route::Area;

/// Areas by number, for every row or every column those that cover it.
#[derive(Debug, Default)]
pub(super) struct Bands {
    /// Whether they are rows.
    of_rows: bool,
    /// The first row or column that any covers.
    origin: u32,
    /// Where the numbers of a band begin, and where those of the last end.
    begins: Vec<u32>,
    /// Ascending in each band.
    numbers: Vec<u32>,
}

impl Bands {
    /// `areas` by number.
    pub(super) fn new(areas: &[(u32, Area)]) -> Self {
        let covered = |of_rows: bool| {
            areas.iter().map(|(_, area)| u64::from(if of_rows { area.rows } else { area.columns })).sum::<u64>()
        };
        let of_rows = covered(true) <= covered(false);
        let band = |area: &Area| if of_rows { (area.y, area.rows) } else { (area.x, area.columns) };
        let origin = areas.iter().map(|(_, area)| band(area).0).min().unwrap_or(0);
        let end = areas.iter().map(|(_, area)| band(area)).map(|(first, count)| first + count).max().unwrap_or(origin);
        let span = |area: &Area| {
            let (first, count) = band(area);
            (first - origin) as usize..(first - origin + count) as usize
        };
        let mut begins = vec![0u32; (end - origin) as usize + 1];
        for (_, area) in areas {
            begins[span(area)].iter_mut().for_each(|count| *count += 1);
        }
        let mut total = 0;
        for begin in &mut begins {
            total += std::mem::replace(begin, total);
        }
        let (mut next, mut numbers) = (begins.clone(), vec![0; total as usize]);
        for (number, area) in areas {
            for next in &mut next[span(area)] {
                numbers[*next as usize] = *number;
                *next += 1;
            }
        }
        Self { of_rows, origin, begins, numbers }
    }

    /// Numbers of areas that may cover a place, among them all that do.
    pub(super) fn near(&self, (x, y): (u32, u32)) -> &[u32] {
        let Some(band) = (if self.of_rows { y } else { x }).checked_sub(self.origin) else { return &[] };
        let Some(&[begin, end]) = self.begins.get(band as usize..).and_then(|begins| begins.first_chunk()) else {
            return &[];
        };
        self.numbers.get(begin as usize..end as usize).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_covers_a_place_is_near() {
        let area = |x, y, columns, rows| Area { x, y, columns, rows };
        for areas in [
            vec![area(2, 1, 3, 2), area(0, 2, 9, 1), area(4, 0, 1, 4)],
            vec![area(1, 0, 1, 8), area(3, 1, 2, 7)],
            vec![],
        ] {
            let numbered: Vec<(u32, Area)> = (10..).zip(areas).collect();
            let bands = Bands::new(&numbered);
            for (x, y) in (0..12).flat_map(|x| (0..12).map(move |y| (x, y))) {
                let near = bands.near((x, y));
                assert!(near.is_sorted());
                for (number, area) in &numbered {
                    assert!(!area.contains(x, y) || near.contains(number), "{number} at {x}, {y}");
                }
            }
        }
    }
}
