//! The indexer of sparse attention in the walk over a layer (DeepSeek-V3.2): its key's norm, its scores, the choice.
//!
//! From the choice on attention is that of a cache of the chosen tokens alone ([`crate::sparse`]).

use wafersim_graph::layer::TensorId;
use wafersim_spec::model::Indexer;

use super::{Walk, nothing};
use crate::attention::Attending;
use crate::lies::KvLies;
use crate::request::LowerError;

impl Walk<'_> {
    /// Where the heads of the indexer and their key lie, where there is one.
    pub(super) fn indexing(&self, lies: KvLies) -> Option<(KvLies, Indexer)> {
        let indexer = self.latent().ok().and_then(|latent| latent.indexer)?;
        Some((lies.of_indexer(indexer.heads)?, indexer))
    }

    fn indexed(&self) -> Result<(Attending, KvLies), LowerError> {
        let attending = self.attending()?;
        let (lies, _) =
            self.indexing(attending.lies).ok_or_else(|| nothing("a choice of tokens without an indexer"))?;
        Ok((attending, lies))
    }

    /// LayerNorm of the new key, in place.
    pub(super) fn index_norm(&mut self, name: &'static str, reads: &[TensorId]) -> Result<(), LowerError> {
        let x = self.operand(reads.first())?;
        let lies = super::latent_lies(self.writer.request, self.latent()?);
        let nodes = self.writer.index_norm(name, x, lies);
        self.writer.program.push(name, nodes);
        Ok(())
    }

    pub(super) fn index_scores(
        &mut self,
        name: &'static str,
        reads: &[TensorId],
        writes: &[TensorId],
    ) -> Result<(), LowerError> {
        let (attending, lies) = self.indexed()?;
        let (query, weights) = (self.operand(reads.first())?, self.operand(reads.get(2))?);
        let (nodes, index) = self.writer.index_scores(&attending, lies, [query, weights])?;
        self.at.extend(writes.first().map(|id| (*id, index)));
        self.writer.push_with_route_changes(name, nodes);
        Ok(())
    }

    pub(super) fn select(&mut self, name: &'static str, top_k: u64, reads: &[TensorId]) -> Result<(), LowerError> {
        let (attending, _) = self.indexed()?;
        let index = self.operand(reads.first())?;
        let (nodes, chosen) = self.writer.select(&attending, index, top_k)?;
        (self.attending, self.filled) = (Some(chosen.attending), Some(chosen.filled));
        self.writer.push_with_route_changes(name, nodes);
        Ok(())
    }
}
