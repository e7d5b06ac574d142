//! Code from outside in a mapping: a strategy or a collective of the caller's, under an id.
//!
//! Mappings are plain data: they are compared, hashed and written. Code from outside takes part in that by its id
//! alone. Two that differ must therefore have different ids: a name with every number that the code works by. A file
//! holds the id; a mapping that was read from one is refused until the code is handed over
//! ([`crate::Recipe::with_own`]).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use wafersim_place::experts::strategies::Strategy;

use crate::collective::Collective;

/// Code from outside: its id, and the code unless the mapping was read from a file.
pub struct Own<T: ?Sized> {
    id: String,
    code: Option<Arc<T>>,
}

impl<T: ?Sized> Own<T> {
    /// What a file says: the id alone.
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), code: None }
    }

    /// What tells it from all others.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The code, where it has been handed over.
    pub fn code(&self) -> Option<&T> {
        self.code.as_deref()
    }

    /// Takes the code of the same id from among some.
    pub(crate) fn take_from(&mut self, all: &[Self]) {
        if let (None, Some(known)) = (&self.code, all.iter().find(|known| known.id == self.id)) {
            self.code.clone_from(&known.code);
        }
    }
}

impl Own<dyn Strategy> {
    /// A strategy that deals experts to rectangles.
    pub fn strategy(strategy: impl Strategy + 'static) -> Self {
        Self { id: strategy.id(), code: Some(Arc::new(strategy)) }
    }
}

impl Own<dyn Collective> {
    /// A collective.
    pub fn collective(collective: impl Collective + 'static) -> Self {
        Self { id: collective.id(), code: Some(Arc::new(collective)) }
    }
}

impl<T: ?Sized> Clone for Own<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), code: self.code.clone() }
    }
}

impl<T: ?Sized> fmt::Debug for Own<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Own").field(&self.id).finish()
    }
}

/// By id.
impl<T: ?Sized> PartialEq for Own<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T: ?Sized> Eq for Own<T> {}

impl<T: ?Sized> Hash for Own<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}
