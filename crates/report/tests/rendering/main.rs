//! What results look like, on results made by hand. Golden texts are renewed with
//! `INSTA_UPDATE=always cargo test -p wafersim-report`.

mod answer;
mod bound;
mod made_by_hand;
mod plan;
mod reference;
mod validation;
