//! Checks that tests of written layers share.

use wafersim_program::{Action, Piece, Program, Sent, movement, movements};

/// Lines that are put together move what each of them moves by itself.
pub fn lines_move_as_by_themselves(program: &Program) {
    for step in program.steps() {
        let Action::Relayout(moved) = &step.action else { continue };
        let Some(Ok(together)) = movements(program, step.region, moved) else { continue };
        for alike in together {
            for line in alike.first..alike.first + alike.count {
                let alone = movement(program, step.region, moved, line).expect("layouts").expect("all is held");
                let size =
                    |piece: &Piece| Sent { from: piece.from, to: piece.to, elements: piece.elements.len() as u64 };
                let alone: Vec<Sent> = alone.pieces.iter().map(size).collect();
                assert_eq!(alike.sent, alone, "line {line} of {moved:?}");
            }
        }
    }
}
