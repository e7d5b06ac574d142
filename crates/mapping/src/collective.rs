//! All-reduces from outside: the interface. What stands in a mapping is [`crate::Reduction::Own`]; the writer of layers
//! asks for the steps.

use wafersim_program::collective::Along;
use wafersim_program::{Axis, Node, Program, ReduceOperator, Region};

/// The lines on which a collective runs: on every row (or column) of the region one after the other, segments of
/// `members x stride` processing elements. A segment has `stride` sets of `members` members each, `stride` hops apart,
/// which lie between each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// The rectangle at work: the region of the program while the steps are written.
    pub region: Region,
    /// Direction of the lines.
    pub axis: Axis,
    /// Members of a set, at least 2.
    pub members: u64,
    /// Hops between neighbouring members; 1 where whole lines are reduced.
    pub stride: u64,
}

impl Lines {
    /// Whether each line is one set: every processing element of it is a member.
    pub fn are_whole(&self) -> bool {
        self.stride == 1 && self.members == self.region.along(self.axis)
    }
}

/// An all-reduce, composed of the words of [`wafersim_program`]: it is added up in closed form, run on the fabric and
/// computed with numbers like those that are built in.
pub trait Collective: Send + Sync {
    /// What tells it from all others: its name with every number that it works by. Goes into hashes and files.
    fn id(&self) -> String;

    /// Whether it can combine so. Where it cannot, the published tree takes its place. The built-in ones that deal
    /// out pieces cannot find a largest element with its place either.
    fn combines(&self, operator: ReduceOperator) -> bool {
        operator != ReduceOperator::ArgMax
    }

    /// Steps after which every member of every set holds the combined payload of its set. They are written for
    /// `lines.region`, and their colors are the program's ([`Program::colors_for`], or the functions of
    /// [`wafersim_program::collective`]). Whether they sum right is what the numeric reading checks, and whether
    /// routers have colors enough the fabric.
    ///
    /// # Errors
    /// In words, where there is none for these lines; the layer is refused then.
    fn all_reduce(&self, program: &mut Program, lines: Lines, along: Along) -> Result<Vec<Node>, String>;
}
