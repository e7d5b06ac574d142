//! What tells the ids of one program from those of another.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering as Access};

/// The mark of a program, which its ids carry. It is another one in every program; clones of a program share it, as
/// they share what was declared before.
///
/// It is no part of what a program is: to `==`, `<` and hashes all are alike, so that a program that is written twice
/// equals itself, ids included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brand(u32);

impl Brand {
    /// Of no program.
    pub(crate) const NONE: Self = Self(0);

    /// One that no other program has. (After four thousand million programs they come again: then a foreign id may not
    /// be told.)
    pub(crate) fn fresh() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self(NEXT.fetch_add(1, Access::Relaxed))
    }

    pub(crate) const fn is(self, other: Self) -> bool {
        self.0 == other.0
    }
}

impl PartialEq for Brand {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Brand {}

impl PartialOrd for Brand {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Brand {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for Brand {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// An id of a program.
macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            index: u32,
            brand: $crate::brand::Brand,
        }

        impl $name {
            pub(crate) const fn new(index: usize, brand: $crate::brand::Brand) -> Self {
                Self { index: index as u32, brand }
            }

            /// Its number in the program that has made it, from 0.
            pub const fn index(self) -> usize {
                self.index as usize
            }

            pub(crate) const fn is_of(self, brand: $crate::brand::Brand) -> bool {
                self.brand.is(brand)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.index)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u32(self.index)
            }
        }
    };
}
pub(crate) use id;
