//! How far wavelets go: of all wavelets of a program, the hops from router to router. It is what moving data costs in
//! energy, whatever it costs in time.
//!
//! Every processing element is taken to send as much as the fullest one; relayouts whose buffers have layouts are
//! counted element by element. Of a multicast and a broadcast each link counts once: routers copy in passing.

use crate::program::{Node, Program};
use crate::region::Region;
use crate::sent::KnownMovements;
use crate::step::{Action, Broadcast, Relayout, Step};

impl Program {
    /// Hops of all wavelets of one run.
    ///
    /// # Errors
    /// Where a relayout wants what its source does not have.
    pub fn wavelet_hops(&self, known: &KnownMovements) -> Result<u64, String> {
        let mut steps: Vec<(&Step, u64)> = Vec::new();
        self.visit_all(&mut |step, times| steps.push((step, times)));
        let each = steps.into_iter().map(|(step, times)| Ok(self.hops_of(step, known)?.saturating_mul(times)));
        each.sum()
    }

    fn visit_all<'a>(&'a self, each: &mut impl FnMut(&'a Step, u64)) {
        self.body.iter().for_each(|node: &Node| node.visit(1, each));
    }

    fn hops_of(&self, step: &Step, known: &KnownMovements) -> Result<u64, String> {
        let wavelets = |buffer| self.buffer_of(buffer).wavelets();
        let hops = match &step.action {
            Action::ChainReduce(chain) => step.hops_along_lines().saturating_mul(wavelets(chain.payload)),
            Action::Multicast(cast) => step.hops_along_lines().saturating_mul(wavelets(cast.payload)),
            Action::Shift(shift) => step.hops_along_lines().saturating_mul(wavelets(shift.payload)),
            Action::Broadcast(Broadcast { payload, .. }) => step
                .region
                .columns
                .saturating_mul(step.region.rows)
                .saturating_sub(1)
                .saturating_mul(wavelets(*payload)),
            Action::ReduceScatter(_) | Action::AllGather(_) => self.hops_of_pieces(step),
            Action::Relayout(moved) => self.hops_of_relayout(step.region, moved, known)?,
            Action::Compute(_) | Action::RouteChange(_) | Action::Synchronise(_) => 0,
        };
        Ok(hops)
    }

    fn hops_of_pieces(&self, step: &Step) -> u64 {
        let Some((pieces, purpose)) = step.action.pieces() else { return 0 };
        let lines = step.region.along(pieces.axis.across());
        let smaller = self.buffer_of(pieces.source).wavelets().min(self.buffer_of(pieces.target).wavelets());
        let flows = pieces.flows(step.region.along(pieces.axis), purpose, smaller);
        let each = flows.iter().map(|flow| {
            let way: u64 = match flow.reaches {
                Some((low, high)) => high - low,
                None => flow.path.windows(2).map(|edge| edge[0].abs_diff(edge[1])).sum(),
            };
            way.saturating_mul(flow.words)
        });
        each.sum::<u64>().saturating_mul(lines)
    }

    fn hops_of_relayout(&self, region: Region, moved: &Relayout, known: &KnownMovements) -> Result<u64, String> {
        let data_type = self.buffer_of(moved.source).data_type;
        match known.of(self, region, moved) {
            Some(lines) => {
                let of_line = |sent: &[crate::sent::Sent]| -> u64 {
                    sent.iter().map(|sent| sent.from.abs_diff(sent.to) * data_type.wavelets(sent.elements)).sum()
                };
                Ok(lines?.iter().map(|alike| alike.count.saturating_mul(of_line(&alike.sent))).sum())
            }
            // What is known is its path.
            None => {
                let lines = region.along(moved.axis.across());
                Ok(moved.hops.saturating_mul(moved.wavelets).saturating_mul(lines))
            }
        }
    }
}
