//! Prints placements of built-in models, for checking by hand.
use std::time::Instant;
use wafersim_place::*;
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{Bytes, DataType, Model, Precision};

fn main() {
    let wse3 = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
    let args: Vec<String> = std::env::args().collect();
    let name = args[1].as_str();
    let model = Model::builtin(name).unwrap();
    let mut request = Request::new(&model, wse3);
    request.context = args[2].parse().unwrap();
    request.experts = if args[3] == "clustered" { ExpertPlacement::Clustered } else { ExpertPlacement::Spread };
    request.precision = Precision { weights: args[4].parse::<DataType>().unwrap(), ..Precision::default() };
    if let Some(n) = args.get(5) {
        if n != "auto" {
            request.wafers = WaferCount::Exactly(n.parse().unwrap());
        }
    }
    if let Some(n) = args.get(6) {
        request.users = n.parse().unwrap();
    }
    if args.get(7).is_some_and(|f| f == "tight") {
        request.fill = Fill::Tight;
    }
    let _ = place(&request);
    let start = Instant::now();
    let runs = 200;
    for _ in 0..runs {
        let _ = std::hint::black_box(place(std::hint::black_box(&request)));
    }
    let each = start.elapsed().as_secs_f64() / runs as f64 * 1e6;
    match place(&request) {
        Err(e) => println!("{name}: {e}  [{each:.0} us]"),
        Ok(p) => {
            let first = &p.slots[p.slots.len() / 2];
            println!(
                "{name}: {} wafers ({} used), {} slots of {}x{}, {} used, {} empty; spare PEs/wafer {}; region {}; layouts {}; max_users {} max_context {} prefill {}  [{each:.0} us]",
                p.wafers,
                p.wafers_used,
                p.arrangement,
                first.slot.columns,
                first.slot.rows,
                p.slots.len(),
                p.empty_slots,
                p.spare_pes_per_wafer,
                first.region,
                p.layouts.len(),
                p.max_users(request.context),
                p.max_context(request.users),
                p.prefill_chunk_tokens()
            );
            let w = p.ledger.worst;
            println!(
                "  worst slot {} ({}): {:?} spare {}",
                w.slot,
                p.slots[w.slot].items.iter().map(|i| i.to_string()).collect::<Vec<_>>().join("+"),
                w.worst_pe,
                w.spare.0
            );
            for l in &p.layouts {
                println!(
                    "  layout layers {} first {} {}x{} w {} r {} kv {} a {} rx {} kv split {}x{} of {} experts {:?} idle {}",
                    l.layers,
                    l.first_layer,
                    l.columns,
                    l.rows,
                    l.worst_pe.weights.0,
                    l.worst_pe.replicated.0,
                    l.worst_pe.kv_cache.0,
                    l.worst_pe.activations.0,
                    l.worst_pe.receive_buffers.0,
                    l.kv.dimension_split,
                    l.kv.sequence_split,
                    l.kv.columns_per_head,
                    l.experts.as_ref().map(|e| (e.grid.across, e.grid.down, e.worst_bytes.0)),
                    l.idle_pes_in_feed_forward()
                );
            }
            for t in &p.tables {
                println!(
                    "  table {:?} w {} r {} a {} rx {}",
                    t.part,
                    t.worst_pe.weights.0,
                    t.worst_pe.replicated.0,
                    t.worst_pe.activations.0,
                    t.worst_pe.receive_buffers.0
                );
            }
            if args.get(8).is_some() {
                for e in &p.ledger.tensors {
                    println!(
                        "    {:?} bias {} copies {} bytes {} repl {} worst {} mean {:.1}",
                        e.role, e.is_bias, e.copies, e.bytes.0, e.replicated.0, e.worst_pe.0, e.mean_pe
                    );
                }
                println!("{:?}", p.ledger.totals);
            }
        }
    }
}
