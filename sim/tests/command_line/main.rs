//! `simctl` as a user meets it: what goes in, what comes out on stdout and stderr, and with which exit code.

mod bound;
mod certify;
mod crosscheck;
mod fabric;
mod files;
mod mappings;
mod models;
mod pictures;
mod place;
mod plan;
mod ranges;
mod reference;
mod routing;
mod run;
mod saved_mappings;
mod scenarios;
mod store;
mod stream;
mod streams;
mod surface;
mod trace;
mod traffic;
mod validate;
mod values;
mod wrong_input;
