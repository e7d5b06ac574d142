//! How many of the tokens that sparse attention chooses lie in one place.
//!
//! Which tokens an indexer chooses depends on the text, and nobody has published it for a spread cache. Here every cached
//! token is as likely as any other: a guess. At the low end the choice lies evenly, at the high end a place holds nothing
//! that is not chosen; recent tokens, which are chosen often, lie in few rows where rows are levelled.

/// Chance that the room in some place does not do for the choice of one token.
const OVERFLOW: f64 = 1e-3;

/// Room for chosen tokens in every place, of `here` cached tokens of one user at most: as many as are exceeded in any
/// of `places` places at one token in a thousand. `top_k` of `context` tokens are chosen.
pub fn chosen_tokens(here: u64, places: u64, context: u64, top_k: u64) -> u64 {
    if top_k >= context || here == 0 {
        return here;
    }
    let (n, share) = (here as f64, top_k as f64 / context as f64);
    // The binomial distribution from none to all; the chance of more than so many, union over all places.
    let mut term = (n * (-share).ln_1p()).exp();
    let mut beyond = 1.0 - term;
    let mut room = 0;
    while room < here && beyond * places as f64 > OVERFLOW {
        let taken = room as f64;
        term *= (n - taken) / (taken + 1.0) * share / (1.0 - share);
        beyond -= term;
        room += 1;
    }
    room.clamp(1, here).min(top_k.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_lies_between_an_even_choice_and_all() {
        for (here, places, top_k) in [(1, 700, 2), (47, 700, 2048), (171, 750, 2048), (12, 9000, 2048), (3000, 40, 64)]
        {
            let context = here * places;
            let room = chosen_tokens(here, places, context, top_k);
            assert!(room <= here && room * places >= top_k.min(context), "{here} {places}: {room}");
        }
        // All are chosen.
        assert_eq!(chosen_tokens(5, 100, 500, 2048), 5);
        // 128 K tokens over 750 rows: 171 of which 2.7 are chosen on average.
        assert_eq!(chosen_tokens(175, 750, 131_072, 2048), 13);
    }
}
