//! Weights that stay in place while a program runs: which part of which matrix lies where, and how it is stored.

use serde::Serialize;
use wafersim_spec::DataType;
use wafersim_spec::model::Role;

use crate::layout::Field;
use crate::region::Region;

crate::brand::id! {
    /// A weight of a program.
    ///
    /// Only a program makes ids, when it declares what they stand for
    /// ([`crate::Program::weight`]). They carry its mark, and
    /// [`crate::Program::weight_of`] of another program refuses them. Which program it was does not count where ids are
    /// compared: a program that is written twice equals itself.
    WeightId
}

/// A weight that stays in place while the program runs: `y[outputs] = x[inputs] W`, tiled over a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weight {
    /// What it does in its layer.
    pub role: Role,
    /// Which of several with one role (the gains of q and k); for experts the choice is made when the program runs.
    pub copy: u64,
    /// The processing elements that hold it.
    pub region: Region,
    /// Which inputs a place holds: the inner elements of this field.
    pub inputs: Field,
    /// Which outputs a place holds: the inner elements of this field.
    pub outputs: Field,
    /// What the input goes through before the matrix, in order: the tile is one of the product of all of them, formed
    /// before the program starts.
    pub behind: Vec<Factor>,
    /// How the tile is stored; where that is not said, as the weights of the model are in all.
    pub stored: Option<Stored>,
    /// Which part of the matrix it is.
    pub part: Part,
}

impl Weight {
    /// A matrix on a region, its inputs and outputs as in the operands of its product.
    pub const fn new(role: Role, region: Region, inputs: Field, outputs: Field) -> Self {
        Self { role, copy: 0, region, inputs, outputs, behind: Vec::new(), stored: None, part: Part::Whole }
    }
}

/// The part of a matrix that is a weight of its own, or what is made of the parts that its heads have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Of each head some of the outputs: output `o` is `o mod size` of those of head `o / size`.
    Outputs(HeadPart),
    /// The same, which a rotary embedding combines in pairs: `(2 i, 2 i + 1)` in the matrix, `(i, i + size / 2)` here.
    Rotated(HeadPart),
    /// A matrix for each head, from all inputs to its outputs: input `i` is `i mod inputs` of the vector of head `i /
    /// inputs`, output `o` as in `Outputs`. Between heads there is nothing.
    OfHeads {
        /// The outputs.
        part: HeadPart,
        /// Inputs of the matrix.
        inputs: u64,
    },
    /// All outputs of each head, `width` of them, the last `rotated` first, and these in pairs as in `Rotated`.
    RotatedFirst {
        /// Outputs of a head.
        width: u64,
        /// How many are rotated.
        rotated: u64,
    },
    /// The matrices of `OfHeads` turned round: from the outputs of the matrix to its inputs.
    OfHeadsTurned {
        /// The outputs.
        part: HeadPart,
        /// Inputs of the matrix.
        inputs: u64,
    },
}

/// Some of the outputs that each head has in a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HeadPart {
    /// Outputs of a head.
    pub width: u64,
    /// The first of the part.
    pub first: u64,
    /// How many.
    pub size: u64,
}

impl HeadPart {
    /// The output of the matrix, and the head that it belongs to.
    const fn of(self, output: u64) -> (u64, u64) {
        match (output.checked_div(self.size), output.checked_rem(self.size)) {
            (Some(head), Some(number)) => (head * self.width + self.first + number, head),
            _ => (self.first, 0),
        }
    }
}

impl Part {
    /// Input and output of the matrix that stand at an input and an output of the weight; nothing where there is none.
    pub const fn at(self, input: u64, output: u64) -> Option<(u64, u64)> {
        match self {
            Self::Whole => Some((input, output)),
            Self::Outputs(part) => Some((input, part.of(output).0)),
            Self::Rotated(part) => {
                let (half, number) = (part.size / 2, if part.size == 0 { 0 } else { output % part.size });
                let turned = if number < half { 2 * number } else { 2 * (number - half) + 1 };
                Some((input, part.of(output - number + turned).0))
            }
            Self::RotatedFirst { width, rotated } => {
                let number = if width == 0 { 0 } else { output % width };
                if number < rotated {
                    let part = HeadPart { width, first: width - rotated, size: rotated };
                    let head = if width == 0 { 0 } else { output / width };
                    Self::Rotated(part).at(input, head * rotated + number)
                } else {
                    Some((input, output - rotated))
                }
            }
            Self::OfHeads { part, inputs } => {
                let ((row, head), all) = (part.of(output), if inputs == 0 { 1 } else { inputs });
                if input / all == head { Some((input % all, row)) } else { None }
            }
            Self::OfHeadsTurned { part, inputs } => Self::OfHeads { part, inputs }.at(output, input),
        }
    }
}

/// A gain of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GainName {
    /// What it does.
    pub role: Role,
    /// Which of several with one role.
    pub copy: u64,
}

impl GainName {
    /// The only gain of a role, or the first of several.
    pub const fn first(role: Role) -> Self {
        Self { role, copy: 0 }
    }
}

/// What an input goes through before a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// A matrix, with its bias where it has one.
    Matrix(Role),
    /// The gain of a norm.
    Gain(GainName),
}

/// How a tile is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stored {
    /// The format of the elements.
    pub data_type: DataType,
    /// What the scales multiply.
    pub scaling: Scaling,
}

/// What the block scales of a weight in 8 or 4 bit multiply ([`DataType::scale_tile`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// There are none.
    Nothing,
    /// The partial sums of a block's inputs, each time they are made.
    Sums,
    /// The elements, while they are converted.
    Elements,
}
