//! What batches put on experts and on the places where experts live, drawn from a trace.
