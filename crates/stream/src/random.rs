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
    /// What agents send beside their own work.
    Helpers = 6,
    /// How the work on tasks goes.
    Tasks = 7,
}

/// The stream of a purpose, for one of many who each have their own.
pub fn stream_of(seed: u64, purpose: Purpose, which: u32) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(purpose as u64 + ((u64::from(which) + 1) << 8));
    random
}

/// The stream of a purpose.
pub fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(purpose as u64);
    random
}
