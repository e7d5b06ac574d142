//! tmp
use wafersim_answer::*;
fn main() {
    let mut f = wafersim_spec::ScenarioFile::default();
    for a in std::env::args().skip(1) {
        let (k, v) = a.split_once('=').unwrap();
        f.set(k, v).unwrap();
    }
    let q = match f.check("x").map_err(AnswerError::from).and_then(Question::load) {
        Ok(q) => q,
        Err(e) => {
            println!("{e}");
            return;
        }
    };
    let t = std::time::Instant::now();
    match answer_without_ranges(&q) {
        Ok(_) => {}
        Err(e) => {
            println!("{e}");
            return;
        }
    }
    let t1 = t.elapsed();
    let a = answer(&q).unwrap();
    println!("{:?} {:?}", t1, t.elapsed() - t1);
    println!(
        "{} {} wafers {} users {} ctx {} max_users {} kv {:?} region {:?} mb {} stages {}",
        a.model,
        a.wafer,
        a.wafers,
        a.users,
        a.context,
        a.max_users,
        a.memory.per_pe_bytes,
        a.memory.region,
        a.load.micro_batch,
        a.load.stages
    );
    for (p, x) in &a.profiles {
        println!(
            "{p:12} {:.1} tok/s/user total {:.0} tpot {:.1}us ttft {:.1}ms lat {:.1} slow {:.2} {}",
            x.tokens_per_second_per_user,
            x.tokens_per_second_total,
            x.time_per_output_token_us,
            x.time_to_first_token_ms,
            x.latency_us,
            x.slowest_stage_us,
            x.limit
        );
    }
    for b in &a.breakdown {
        println!(
            "{:28} {:10.0} {:5.1}%  {}",
            b.operator,
            b.cycles,
            b.share * 100.0,
            b.causes
                .iter()
                .filter(|(_, c)| **c > 0.0)
                .map(|(k, c)| format!("{k}={c:.0}"))
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    let u = a.uncertainty.unwrap();
    println!("{:?} {:?}", u.tokens_per_second_per_user, u.clock);
    for p in u.parameters.iter().take(8) {
        println!("  {} {}..{} {:?}", p.parameter, p.low, p.high, p.tokens_per_second_per_user);
    }
}
