//! Slowest placements.
use std::time::Instant;
use wafersim_place::*;
use wafersim_spec::scenario::*;
use wafersim_spec::{Bytes, DataType, Model, Precision};
fn main() {
    let wse3 = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
    let mut rows = vec![];
    for name in wafersim_spec::model::builtin::names() {
        let Ok(model) = Model::builtin(name) else { continue };
        for weights in [DataType::Fp4, DataType::Fp8, DataType::Bf16] {
            for context in [1024, 32768, 131072, 1_000_000] {
                for users in [1, 16, 256] {
                    for wafers in
                        [WaferCount::Auto, WaferCount::Exactly(1), WaferCount::Exactly(20), WaferCount::Exactly(100)]
                    {
                        for experts in [ExpertPlacement::Spread, ExpertPlacement::Clustered] {
                            for fill in [Fill::Slot, Fill::Tight] {
                                let r = Request {
                                    context,
                                    users,
                                    wafers,
                                    experts,
                                    fill,
                                    precision: Precision { weights, ..Precision::default() },
                                    ..Request::new(&model, wse3)
                                };
                                let t = Instant::now();
                                let p = place(&r);
                                let e = t.elapsed().as_secs_f64() * 1e6;
                                rows.push((e, format!("{name} {weights} ctx {context} users {users} {wafers:?} {experts:?} {fill:?} ok {:?}", p.map(|p| (p.wafers, p.arrangement.to_string(), p.slots.len())).map_err(|e| e.to_string().chars().take(60).collect::<String>()))));
                            }
                        }
                    }
                }
            }
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let n = rows.len();
    println!(
        "{n} points, mean {:.0} us, median {:.0}, p99 {:.0}",
        rows.iter().map(|r| r.0).sum::<f64>() / n as f64,
        rows[n / 2].0,
        rows[n / 100].0
    );
    for (e, s) in rows.iter().take(12) {
        println!("{e:.0} us {s}");
    }
}
