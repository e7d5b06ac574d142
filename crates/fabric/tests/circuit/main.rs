//! Circuit mode held to the truth, to the closed form, to a slow obvious router, and to itself.

mod engines;
mod hard_cases;
mod programs;
mod reference;
