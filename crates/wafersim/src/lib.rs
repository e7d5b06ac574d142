//! placeholder
pub use wafersim_answer as answer;
pub use wafersim_cost as cost;
pub use wafersim_graph as graph;
pub use wafersim_kernels as kernels;
pub use wafersim_place as place;
pub use wafersim_program as program;
pub use wafersim_report as report;
pub use wafersim_spec as spec;
