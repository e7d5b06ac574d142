//! Laws of sizes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use wafersim_decide::money::Economics;
use wafersim_decide::size::levels::{Level, Metric, Quantile};
use wafersim_decide::size::{Asked, Growth, Size, size};
use wafersim_stream::scenario::StreamFile;

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
    Asked { scenario, levels, mapping: None, search: None, seeds: 2, availability: 0.99, growth, economics }
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
