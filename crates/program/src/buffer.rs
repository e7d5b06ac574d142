//! What lives in the memory of a processing element while a program runs, and the colors that carry it.

use std::borrow::Cow;

use serde::Serialize;
use wafersim_spec::{Bytes, DataType};

use crate::layout::Layout;

/// Index of a buffer in its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BufferId(pub u32);

/// Index of a color in its program. Which of the router's 24 colors it becomes is decided when the program is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Color(pub u32);

/// A piece of a tensor in every processing element of the region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Buffer {
    /// Name for people, for example `attention.scores`. Several buffers may share it; their ids differ.
    pub name: Cow<'static, str>,
    /// Elements in the fullest processing element.
    pub elements: u64,
    /// Number format.
    pub data_type: DataType,
    /// Which elements lie where; not given in programs that are written for their cost alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
}

impl Buffer {
    /// Wavelets that carry the buffer of the fullest processing element.
    pub fn wavelets(&self) -> u64 {
        self.data_type.wavelets(self.elements)
    }

    /// Bytes in the fullest processing element.
    pub fn bytes(&self) -> Bytes {
        self.data_type.storage(self.elements)
    }
}
