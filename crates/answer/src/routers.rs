//! Which programs the routers have colors for, for questions that have programs in common which send alike.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use wafersim_fabric::circuit::{self, CircuitError};
use wafersim_mapping::hash;
use wafersim_program::{KnownMovements, Program};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::Key;

/// Programs that have been checked, by a hash of what they send and of the wafer; and what their relayouts move.
#[derive(Debug, Default)]
pub(crate) struct KnownRouters {
    pub(crate) movements: KnownMovements,
    checked: Mutex<BTreeMap<String, Result<(), CircuitError>>>,
}

impl KnownRouters {
    /// How many are kept.
    const KEPT: usize = 4096;

    /// As [`circuit::fits_in_routers`].
    pub(crate) fn fit(&self, program: &Program, wafer: &Wafer) -> Result<(), CircuitError> {
        let machine = [Key::Colors, Key::Columns, Key::Rows].map(|key| wafer.figure(key).value);
        let key = hash::of(&(machine, program.traffic()));
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = checked().get(&key) {
            return known.clone();
        }
        // Not under the lock: who waits for it could be who works for it.
        let fits = circuit::fits_in_routers(program, wafer, &self.movements);
        let mut checked = checked();
        if checked.len() >= Self::KEPT {
            checked.clear();
        }
        checked.insert(key, fits.clone());
        fits
    }
}
