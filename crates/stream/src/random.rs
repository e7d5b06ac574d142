//! Random numbers: ChaCha8, one stream for each purpose, so that one more draw here changes nothing there.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What numbers are drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Times between arrivals.
    Arrivals = 1,
    /// Lengths, thinking, tools.
    Load = 2,
    /// Which drafts are accepted.
    Speculation = 3,
    /// Which experts tokens want.
    Experts = 4,
    /// How clients' waits are spread.
    Clients = 5,
}

/// The stream of a purpose.
pub fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(purpose as u64);
    random
}
