//! What must hold of every trace, whatever its form: tokens of a user count up from 0 without holes, experts exist, and
//! no token chooses one twice.

use crate::header::{Header, MOST_USERS};
use crate::token::Token;

/// What has been seen so far. Its size depends on users and experts, not on the length of the trace.
#[derive(Debug, Clone)]
pub struct Checker {
    experts: u32,
    top_k: usize,
    /// The next token of each user.
    next: Vec<u64>,
    /// The last choice in which each expert was seen.
    seen: Vec<u64>,
    choice: u64,
}

impl Checker {
    /// Before the first token.
    pub fn new(header: &Header) -> Self {
        Self {
            experts: header.experts,
            top_k: header.top_k as usize,
            next: Vec::new(),
            seen: vec![0; header.experts as usize],
            choice: 0,
        }
    }

    /// Whether this token may come now.
    pub fn begin(&mut self, user: u32, token: u64) -> Result<(), String> {
        if user >= MOST_USERS {
            return Err(format!("user {user}; allowed: 0 to {}", MOST_USERS - 1));
        }
        if self.next.len() <= user as usize {
            self.next.resize(user as usize + 1, 0);
        }
        let next = &mut self.next[user as usize];
        if token != *next {
            return Err(format!("token {token} of user {user} where token {next} is due: tokens of a user count up"));
        }
        *next = next.saturating_add(1);
        Ok(())
    }

    /// Whether a token may choose these experts in a layer.
    pub fn choice(&mut self, experts: &[u16], weights: Option<&[f32]>) -> Result<(), String> {
        if experts.len() != self.top_k {
            return Err(format!("{} experts; allowed: {}, as the header says", experts.len(), self.top_k));
        }
        self.choice += 1;
        for &expert in experts {
            match self.seen.get_mut(usize::from(expert)) {
                None => return Err(format!("expert {expert} is unknown; allowed: 0 to {}", self.experts - 1)),
                Some(seen) if *seen == self.choice => return Err(format!("expert {expert} is chosen twice")),
                Some(seen) => *seen = self.choice,
            }
        }
        let wrong = weights.and_then(|weights| weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)));
        wrong.map_or(Ok(()), |weight| Err(format!("weight {weight}; allowed: finite and not negative")))
    }

    /// Whether a whole token may come now.
    pub fn token(&mut self, token: &Token<'_>) -> Result<(), String> {
        self.begin(token.user, token.token)?;
        for (layer, experts) in token.experts.chunks_exact(self.top_k).enumerate() {
            let range = layer * self.top_k..(layer + 1) * self.top_k;
            let weights = token.weights.and_then(|weights| weights.get(range));
            self.choice(experts, weights)
                .map_err(|reason| format!("user {}, token {}, layer {layer}: {reason}", token.user, token.token))?;
        }
        Ok(())
    }
}
