//! `simctl` as a user meets it: what goes in, what comes out on stdout and stderr, and with which exit code.

mod plan;
mod reference;
mod run;
mod scenarios;
mod streams;
mod surface;
mod traffic;
mod validate;
mod values;
mod wrong_input;
