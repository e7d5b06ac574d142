//! Threads that compute: one a core, or as many as `RAYON_NUM_THREADS` says; fewer where the system makes no more.

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle};

use rayon::ThreadPoolBuilder;

use crate::output::say;

/// Makes sure that the threads which work will want can be made. A pool whose threads cannot be made is none,
/// and cannot be made a second time: so they are tried first.
pub fn prepare() {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).filter(|count| *count > 0);
    let wanted = asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
    let possible = possible(wanted);
    if possible == wanted {
        return;
    }
    say(&format!("note: of {wanted} threads the system makes {possible}; work takes longer, and comes out the same"));
    // This thread is one of them.
    let pool = ThreadPoolBuilder::new().num_threads(possible.max(1)).use_current_thread();
    if let Err(error) = pool.build_global() {
        say(&format!("note: {error}"));
    }
}

/// How many of so many threads can be there at once.
fn possible(wanted: usize) -> usize {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let tried = |_| {
        let gate = Arc::clone(&gate);
        Builder::new().spawn(move || drop(gate.lock())).ok()
    };
    let made: Vec<JoinHandle<()>> = (0..wanted).map_while(tried).collect();
    drop(closed);
    let count = made.len();
    for thread in made {
        let _ended = thread.join();
    }
    count
}
