//! tmp
use wafersim_answer::validate::*;
fn main() {
    let t = read_table(&std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap(), "x").unwrap();
    let w = ["wse2", "wse3"].into_iter().map(|n| (n.to_string(), wafersim_spec::Wafer::builtin(n).unwrap())).collect();
    let v = validate(&t, &w);
    for p in &v.predictions {
        println!("{:38} {:>12.1} {:>12.1} {:>7.2}", p.id, p.measured, p.predicted, p.error_percent);
    }
    for g in &v.groups {
        println!(
            "{:14} {} {:?} {} {:.2} {:.2}",
            g.kernel, g.device, g.evidence, g.rows, g.mape_percent, g.worst_percent
        );
    }
    println!("{} {:?}", v.mape_percent, v.skipped);
}
