//! Exact worst PE against the bound.
use wafersim_place::*;
use wafersim_spec::{Bytes, Model};
fn main() {
    let wse3 = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
    for (name, context, clustered) in [
        ("qwen3-coder-480b-a35b", 8192, false),
        ("qwen3-coder-480b-a35b", 32768, true),
        ("llama-3.1-8b", 8192, false),
        ("gpt-oss-120b", 8192, false),
    ] {
        let model = Model::builtin(name).unwrap();
        let mut r = Request { context, ..Request::new(&model, wse3) };
        if clustered {
            r.experts = wafersim_spec::scenario::ExpertPlacement::Clustered;
        }
        let p = place(&r).unwrap();
        let l = &p.layouts[0];
        let mut worst = (0, 0, 0);
        let mut least = u64::MAX;
        for row in (0..l.rows).step_by(3) {
            for column in 0..l.columns {
                let b = l.weights_at(column, row).weights.0;
                least = least.min(b);
                if b > worst.0 {
                    worst = (b, column, row);
                }
            }
        }
        println!(
            "{name} {}x{} bound {} exact(sampled rows) {:?} least {least} mean {:.1}",
            l.columns,
            l.rows,
            l.worst_pe.weights.0,
            worst,
            l.all_matrices().map(|m| m.bytes.0).sum::<u64>() as f64 / l.pes() as f64
        );
    }
}
