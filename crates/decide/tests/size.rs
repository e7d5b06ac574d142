//! Laws of sizes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::sync::Arc;

use wafersim_answer::Stop;
use wafersim_decide::money::Economics;
use wafersim_decide::size::levels::{Level, Metric, Quantile};
use wafersim_decide::size::{Asked, Growth, Size, size};
use wafersim_requests::Settings;
use wafersim_stream::load::{LoadSource, Replay};
use wafersim_stream::scenario::StreamFile;
use wafersim_stream::trace::Trace;

/// A small model without a search, for speed.
fn asked(users: u32, first_token: f64, speed: f64) -> Asked {
    let text = format!(
        "[machine]\nmodel = 'llama-3.1-8b'\ncontext = 4096\n[load]\nusers = {users}\nthink = 0.5\n\
         prompt = {{ median = 1000 }}\noutput = {{ median = 100, spread = 0.5 }}\n[run]\nwarm_up = 2.0\nwindow = 6.0\n"
    );
    let scenario = StreamFile::parse(&text, "test").unwrap().check("test").unwrap();
    let level = |metric, quantile, bound| Level { metric, quantile, bound };
    let levels = vec![level(Metric::FirstToken, Quantile::P95, first_token), level(Metric::Speed, Quantile::P5, speed)];
    let growth = Some(Growth { per_month: 0.1, months: 12 });
    let economics = Economics::default();
    Asked {
        scenario,
        requests: None,
        levels,
        mapping: None,
        search: None,
        seeds: 2,
        availability: 0.99,
        growth,
        economics,
        stop: Stop::default(),
    }
}

fn sized(users: u32, first_token: f64, speed: f64) -> Size {
    size(&asked(users, first_token, speed), &|_| ()).unwrap()
}

#[test]
fn more_users_never_need_fewer_wafers() {
    let wafers = |size: &Size| size.machines.unwrap() * u64::from(size.wafers_per_machine.unwrap());
    let (few, many) = (sized(6, 0.3, 300.0), sized(60, 0.3, 300.0));
    assert!(few.feasible && many.feasible);
    assert!(wafers(&few) <= wafers(&many), "{} {}", wafers(&few), wafers(&many));
    for size in [&few, &many] {
        assert!(size.levels.iter().all(|kept| kept.holds && kept.half_width.is_some()), "{:?}", size.levels);
        assert!(size.ttft_p95_s.unwrap() <= 0.3 && size.speed_p5.unwrap() >= 300.0);
        assert!(size.users_per_machine.unwrap() * size.machines.unwrap() as f64 >= size.users);
        assert!(size.headroom.unwrap() >= 0.0 && size.nearest.is_none());
        let months = &size.growth;
        assert!(months.windows(2).all(|pair| pair[0].machines < pair[1].machines && pair[0].month < pair[1].month));
        let cost = size.cost.as_ref().unwrap();
        let systems =
            (size.machines.unwrap() + size.spares.unwrap().machines) * u64::from(size.wafers_per_machine.unwrap());
        assert_eq!(cost.load.systems, systems, "those in reserve are paid for too");
    }
}

#[test]
fn what_nobody_can_keep_is_infeasible_and_says_why() {
    let size = sized(6, 0.3, 1e6);
    assert!(!size.feasible && size.machines.is_none() && size.cost.is_none());
    assert_eq!(size.binds.as_deref(), Some("speed_p5"));
    let nearest = size.nearest.unwrap();
    let change = nearest.changes.iter().find(|change| change.path == "speed_p5").unwrap();
    let best = change.value.unwrap();
    assert!(change.is == 1e6 && (100.0..1e6).contains(&best));
    // What is said to be feasible is.
    assert!(sized(1, 0.3, 0.97 * best).feasible);
}

#[test]
fn threads_do_not_matter() {
    let in_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| sized(12, 0.3, 300.0))
    };
    assert_eq!(in_threads(1), in_threads(3));
}

#[test]
fn what_is_no_size_is_refused() {
    let none = Asked { levels: Vec::new(), ..asked(6, 0.3, 300.0) };
    assert!(size(&none, &|_| ()).unwrap_err().to_string().contains("at least one"));
}

/// Sessions of three turns each, whose prompts go on, over some minutes.
fn trace(sessions: u32) -> Arc<Trace> {
    let mut rows: Vec<(f64, String)> = Vec::new();
    for session in 0..sessions {
        let start = f64::from(session) * 300.0 / f64::from(sessions);
        for turn in 0..3u32 {
            let at = start + f64::from(turn) * 2.0;
            rows.push((at, format!("{at:.3},{},{},s{session}", 400 + 200 * turn, 60)));
        }
    }
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    let rows: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
    let text = format!("arrival_s,prompt_tokens,output_tokens,session_id\n{}\n", rows.join("\n"));
    Arc::new(Trace::of_text(&text, "trace.csv", &Settings::default()).unwrap())
}

fn of_trace(sessions: u32) -> Asked {
    let text = "[machine]\nmodel = 'llama-3.1-8b'\ncontext = 4096\n[load]\nkind = 'trace'\nfile = 'trace.csv'\n";
    let scenario = StreamFile::parse(text, "test").unwrap().check("test").unwrap();
    Asked { scenario, requests: Some(trace(sessions)), ..asked(6, 0.3, 300.0) }
}

#[test]
fn a_trace_is_sized_by_its_requests_a_second() {
    let (thin, dense) = (size(&of_trace(100), &|_| ()).unwrap(), size(&of_trace(8000), &|_| ()).unwrap());
    assert!(thin.feasible && dense.feasible, "{:?} {:?}", thin.binds, dense.binds);
    // 300 requests in 303 s.
    assert!((thin.users - 300.0 / 301.0).abs() < 0.02, "{}", thin.users);
    assert_eq!(thin.machines, Some(1), "one request a second is little");
    let wafers = |size: &Size| size.machines.unwrap() * u64::from(size.wafers_per_machine.unwrap());
    assert!(wafers(&dense) >= wafers(&thin));
    assert!(dense.users_per_machine.unwrap() * dense.machines.unwrap() as f64 >= dense.users * (1.0 - 1e-9));
    assert!(thin.prompts.iter().any(|said| said.contains("600 tokens in the median")), "{:?}", thin.prompts);
}

#[test]
fn a_trace_without_times_is_refused() {
    let text = "arrival_s,prompt_tokens,output_tokens\n0,9,1\n0,9,1\n";
    let requests = Some(Arc::new(Trace::of_text(text, "trace.csv", &Settings::default()).unwrap()));
    let refused = size(&Asked { requests, ..of_trace(3) }, &|_| ()).unwrap_err().to_string();
    assert!(refused.contains("all at once") && refused.contains("allowed"), "{refused}");
}

#[test]
fn a_part_of_a_trace_has_whole_sessions_and_grows() {
    let trace = trace(400);
    let users = |part: f64| -> Vec<u32> {
        let mut replay = Replay::new(Arc::clone(&trace), 1.0).part(part, 7);
        std::iter::from_fn(|| replay.next()).map(|request| request.user).collect()
    };
    let (few, more, all) = (users(0.2), users(0.6), users(1.0));
    assert_eq!(all.len(), 1200);
    assert!((150..350).contains(&few.len()) && few.len() % 3 == 0, "{}", few.len());
    assert!(few.iter().all(|user| more.contains(user)) && more.len() < all.len());
}
