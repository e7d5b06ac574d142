//! Arrays that threads write at places of their own.
//!
//! Lines of the mesh lie beside one another in memory in one axis and across it in the other, so that slices cannot be
//! divided among threads. Relaxed atomics cost what plain words cost on the machines of interest; no two threads ever
//! write the same place at the same time, and a barrier of the thread pool lies between stages.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

macro_rules! cells {
    ($name:ident, $atomic:ident, $word:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Debug, Default)]
        pub(super) struct $name(Vec<$atomic>);

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self(self.0.iter().map(|cell| $atomic::new(cell.load(Ordering::Relaxed))).collect())
            }
        }

        impl $name {
            pub(super) fn new(places: usize) -> Self {
                Self((0..places).map(|_| $atomic::new(0)).collect())
            }

            pub(super) fn get(&self, place: usize) -> $word {
                self.0[place].load(Ordering::Relaxed)
            }

            pub(super) fn set(&self, place: usize, value: $word) {
                self.0[place].store(value, Ordering::Relaxed);
            }

            pub(super) fn into_vec(self) -> Vec<$word> {
                self.0.into_iter().map($atomic::into_inner).collect()
            }
        }
    };
}

cells!(Ticks, AtomicU64, u64, "A time for each place.");
cells!(Counts, AtomicU32, u32, "A count for each place.");
cells!(Depths, AtomicU16, u16, "A depth of a queue for each place.");
