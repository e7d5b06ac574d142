//! Experts from `wafersim_routing`: its generator, in which every user keeps hot experts of its own for some tokens, or
//! a trace.

use wafersim_routing::Routing;

use super::{ExpertSource, RoutedLayer};

/// A [`Routing`] as a source.
#[derive(Debug)]
pub struct FromRouting<R> {
    routing: R,
    users: u32,
    chosen: Vec<u16>,
}

impl<R: Routing> FromRouting<R> {
    /// A routing that knows `users` users; users with higher numbers share with lower ones.
    pub fn new(routing: R, users: u32) -> Self {
        let chosen = vec![0; routing.header().top_k as usize];
        Self { routing, users: users.max(1), chosen }
    }
}

impl<R: Routing + std::fmt::Debug> ExpertSource for FromRouting<R> {
    fn choose(&mut self, user: u32, layer: RoutedLayer, chosen: &mut Vec<u32>) {
        chosen.clear();
        let users = [user % self.users];
        let done = self.routing.choose(layer.index, &users, &mut self.chosen);
        // The shape was compared with the model's, and users stay in their range.
        debug_assert!(done.is_ok(), "{done:?}");
        if done.is_ok() {
            chosen.extend(self.chosen.iter().map(|expert| u32::from(*expert)));
        }
    }
}
