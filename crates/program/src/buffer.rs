//! What lives in the memory of a processing element while a program runs, and the colors that carry it.

use std::borrow::Cow;

use serde::Serialize;
use wafersim_spec::{Bytes, DataType};

use crate::layout::Layout;

crate::brand::id! {
    /// A buffer of a program.
    ///
    /// Only a program makes ids, when it declares what they stand for
    /// ([`crate::Program::buffer`], [`crate::Program::laid_buffer`]). They carry its mark, and
    /// [`crate::Program::buffer_of`] of another program refuses them. Which program it was does not count where ids are
    /// compared: a program that is written twice equals itself.
    BufferId
}

impl BufferId {
    /// A buffer of no program: for a step that stands in none, and is only added up.
    pub const NONE: Self = Self::new(0, crate::brand::Brand::NONE);
}

/// Index of a color in its program. Which of the router's 24 colors it becomes is decided when the program is lowered.
/// Colors are names and no ids: those of one purpose along an axis have the same numbers in every program, and a color
/// stands for nothing that could be looked up.
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
