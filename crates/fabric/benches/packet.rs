//! placeholder until the packet bench is written
fn main() {}
