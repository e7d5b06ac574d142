//! What a token's way from wafer to wafer costs, and what is given away for it.
//!
//! Places on different wafers have no distance but the link. A stage that begins with what comes over a link may begin
//! everywhere at once, and one that ends on a link may end everywhere at once; a stage may also lie on both sides of a
//! link. Either saves at most half of the stage (docs/src/bound.md). So each link that a token goes over adds its time
//! and takes half of the stage before and half of the stage after away; which stages these are is up to the mapping,
//! and the bound lets it choose.

/// The links of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// How many.
    pub links: u32,
    /// Cycles of the stages that are given away for them.
    pub given_away: f64,
}

/// The links that a token must go over at the least, through stages that follow each other in a circle, each with its
/// cycles; and further links where they are quicker than what they save, on no more than `most` wafers.
pub fn crossing(stages: &[f64], link: f64, fewest_wafers: u32, most: Option<u32>) -> Crossing {
    let next = stages.iter().cycle().skip(1);
    let mut saved: Vec<f64> = stages.iter().zip(next).map(|(before, after)| (before + after) / 2.0).collect();
    saved.sort_unstable_by(|one, other| other.total_cmp(one));
    // One wafer needs no link: the chosen token goes back to where it came from.
    let needed = if fewest_wafers > 1 { fewest_wafers } else { 0 };
    let most = match most {
        None => usize::MAX,
        Some(most) if most <= 1 => needed as usize,
        Some(most) => most.max(needed) as usize,
    };
    // Where there are more wafers than stages, a stage lies on several, and its links are taken at the same time.
    let taken = saved.iter().enumerate().take(most).take_while(|(index, saved)| {
        let is_needed = *index < needed as usize;
        is_needed || **saved > link
    });
    let (mut links, mut given_away) = (0, 0.0);
    for (_, saved) in taken {
        links += 1;
        given_away += saved;
    }
    Crossing { links, given_away }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_may_choose_where_its_links_are() {
        let stages = [100.0, 60.0, 100.0, 60.0, 90.0];
        assert_eq!(crossing(&stages, 500.0, 1, None), Crossing { links: 0, given_away: 0.0 });
        // Between the last and the first: (90 + 100) / 2.
        assert_eq!(crossing(&stages, 500.0, 2, None), Crossing { links: 2, given_away: 95.0 + 80.0 });
        assert_eq!(crossing(&stages, 500.0, 9, None), Crossing { links: 5, given_away: 410.0 });
    }

    #[test]
    fn quick_links_are_taken_where_they_give_more_than_they_cost() {
        let stages = [100.0, 60.0, 100.0, 60.0, 90.0];
        assert_eq!(crossing(&stages, 90.0, 1, None), Crossing { links: 1, given_away: 95.0 });
        assert_eq!(crossing(&stages, 0.0, 1, None), Crossing { links: 5, given_away: 410.0 });
        assert_eq!(crossing(&stages, 0.0, 2, Some(3)), Crossing { links: 3, given_away: 255.0 });
        assert_eq!(crossing(&stages, 0.0, 1, Some(1)), Crossing { links: 0, given_away: 0.0 });
        assert_eq!(crossing(&[], 0.0, 2, None), Crossing { links: 0, given_away: 0.0 });
    }
}
