//! The machine as placement sees it: a mesh of processing elements with a small memory each. It knows no clock, no
//! router and no vendor.

use serde::Serialize;
use wafersim_spec::{Bytes, Wafer};

/// One wafer: a mesh of equal processing elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Columns of processing elements that a program may use.
    pub columns: u64,
    /// Rows of processing elements that a program may use.
    pub rows: u64,
    /// Memory of one processing element.
    pub memory: Bytes,
    /// The part of `memory` that code and runtime leave free for data.
    pub free_memory: Bytes,
}

impl Machine {
    /// Processing elements of one wafer.
    pub const fn pes(&self) -> u64 {
        self.columns.saturating_mul(self.rows)
    }

    /// Memory of one processing element that code and runtime take.
    pub fn code_and_runtime(&self) -> Bytes {
        self.memory.saturating_sub(self.free_memory)
    }
}

impl From<&Wafer> for Machine {
    fn from(wafer: &Wafer) -> Self {
        Self {
            columns: wafer.columns(),
            rows: wafer.rows(),
            memory: wafer.memory_bytes(),
            free_memory: wafer.free_bytes(),
        }
    }
}
