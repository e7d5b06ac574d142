//! Parts of a layer in rectangles of their own, for a chunk of a prompt: tokens and widths go from the rings of the
//! region to those of the rectangle and back, along one axis after the other.

use wafersim_program::{Axis, Dimension, Field, Node, Operand, Region};

use super::Chunk;
use crate::gemm::Rings;
use crate::writer::first;

impl Chunk<'_> {
    /// The rectangle of a part, where that is not the whole region.
    pub(super) fn own(&self, part: &str) -> Option<Region> {
        self.writer.mapping().rectangle(part)
    }

    /// Writes in a rectangle.
    pub(super) fn within<T>(&mut self, region: Region, write: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.writer.program.region, region);
        let written = write(self);
        self.writer.program.region = outer;
        written
    }

    /// All columns of the region, in the rows of a rectangle.
    fn beside(&self, rectangle: Region) -> Region {
        let whole = self.writer.region();
        Region::new(whole.x, rectangle.y, whole.columns, rectangle.rows)
    }

    /// Tokens from the rings of the region to those of a part's rectangle. What has none stays where it is.
    pub(super) fn enter(&mut self, x: Operand, rectangle: Option<Region>) -> (Vec<Node>, Operand) {
        let Some(rectangle) = rectangle else { return (Vec::new(), x) };
        let (whole, beside, rings) = (self.writer.region(), self.beside(rectangle), Rings::new(rectangle));
        let field = self.writer.field(x);
        let (rows, width) = (rings.rows(field.rows.size), field.row_size());
        let crossing = Field { rows: rows.clone(), ..field.clone() };
        let crossing = self.within(beside, |chunk| chunk.writer.declare("entering", vec![crossing]));
        let inside = Field::new(field.name, rows, vec![rings.inner(width, false)]);
        let inside = self.within(rectangle, |chunk| chunk.writer.declare("entered", vec![inside]));
        let nodes = vec![
            self.writer.counted_relayout(Axis::Y, whole, [x.buffer, crossing]),
            self.writer.counted_relayout(Axis::X, beside, [crossing, inside]),
        ];
        (nodes, first(inside))
    }

    /// The way back, into a buffer of a name whose widths lie as `inner` says.
    pub(super) fn leave(
        &mut self,
        y: Operand,
        rectangle: Region,
        (name, inner): (&'static str, Vec<Dimension>),
    ) -> (Vec<Node>, Operand) {
        let (whole, beside) = (self.writer.region(), self.beside(rectangle));
        let field = self.writer.field(y);
        let tokens = field.rows.size;
        let crossing = Field::new(field.name.clone(), field.rows, inner.clone());
        let crossing = self.within(beside, |chunk| chunk.writer.declare("leaving", vec![crossing]));
        let out = Field::new(field.name, self.rings().rows(tokens), inner);
        let out = self.writer.declare(name, vec![out]);
        let nodes = vec![
            self.writer.counted_relayout(Axis::X, beside, [y.buffer, crossing]),
            self.writer.counted_relayout(Axis::Y, whole, [crossing, out]),
        ];
        (nodes, first(out))
    }

    /// The way back to the residual stream's layout, where a part has a rectangle.
    pub(super) fn leave_to_stream(
        &mut self,
        y: Operand,
        rectangle: Option<Region>,
        name: &'static str,
    ) -> (Vec<Node>, Operand) {
        let Some(rectangle) = rectangle else { return (Vec::new(), y) };
        let inner = vec![self.rings().inner(self.hidden(), false)];
        self.leave(y, rectangle, (name, inner))
    }
}
