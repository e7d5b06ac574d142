//! Charts: what is refused, what is drawn, and that nothing panics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use wafersim_picture::chart::{
    self, Bin, ChartAxis, Distribution, Form, Frontier, Point, Sample, Scale, Series, Sweep, SweepPoint, distribution,
};
use wafersim_picture::{
    Chart, PictureError, Waterfall, WaterfallRow, chart_png, chart_svg, waterfall_png, waterfall_svg,
};

fn axis(name: &str, scale: Scale) -> ChartAxis {
    ChartAxis { name: name.into(), scale }
}

fn frontier() -> Chart {
    let wafers = |count: u32, factor: f64| Sweep {
        name: format!("{count} wafers"),
        points: [1u32, 2, 4, 8, 16, 32, 64]
            .map(|users| {
                let speed = factor * 400.0 / (1.0 + f64::from(users) / 24.0);
                SweepPoint { load: users.to_string(), total: speed * f64::from(users), per_user: speed }
            })
            .to_vec(),
        knee: Some(4),
    };
    chart::frontier(&Frontier {
        title: "Speed per user against total throughput".into(),
        caption: vec!["Labels are users; a ring is the knee.".into()],
        sweeps: vec![wafers(16, 1.0), wafers(24, 1.3), wafers(32, 1.45)],
        target: Some(500.0),
        throughput: Scale::Logarithmic,
        speed: Scale::Linear,
    })
}

fn size(png: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn a_frontier_has_its_labels_knees_and_target() {
    let svg = chart_svg(&frontier()).unwrap();
    for part in ["16 wafers", "24 wafers", "32 wafers", "target 500 tok/s", "16 (knee)", "1,000", "stroke-dasharray"] {
        assert!(svg.contains(part), "{part}");
    }
    assert_eq!(svg.matches("(knee)").count(), 3);
    // A disc for each point, a ring for each knee, a disc for each series in the legend.
    assert_eq!(svg.matches("<circle").count(), 21 + 3 + 3);
    let (width, height) = size(&chart_png(&frontier()).unwrap());
    assert!(svg.contains(&format!("width=\"{width}\" height=\"{height}\"")));
    assert_eq!(svg, chart_svg(&frontier()).unwrap());
    assert_eq!(chart_png(&frontier()).unwrap(), chart_png(&frontier()).unwrap());
}

#[test]
fn names_cannot_become_marks() {
    let mut chart = frontier();
    chart.title = "<script>alert(1)</script> & more".into();
    chart.series[0].points[0].label = "\"<b>".into();
    let svg = chart_svg(&chart).unwrap();
    assert!(!svg.contains("<script") && !svg.contains("<b>"));
    assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more"));
}

#[test]
fn what_has_no_place_is_refused_with_what_is_allowed() {
    type Spoil = fn(&mut Chart);
    let cases: [(Spoil, &str); 6] = [
        (|chart| chart.series.clear(), "the number of series is 0; allowed: 1 to 8"),
        (|chart| chart.series[1].points.clear(), "the number of points of series '24 wafers' is 0"),
        (
            |chart| chart.series[0].points[2].x = 0.0,
            "x of point 2 of series '16 wafers' is 0; allowed: numbers above 0",
        ),
        (|chart| chart.series[0].points[2].y = f64::NAN, "y of point 2 of series '16 wafers' is NaN"),
        (
            |chart| chart.series[0].knee = Some(7),
            "the knee of series '16 wafers' is 7; allowed: a point's index, below 7",
        ),
        (|chart| chart.targets[0].0 = f64::INFINITY, "the target 'target 500 tok/s' is inf"),
    ];
    for (spoil, message) in cases {
        let mut chart = frontier();
        spoil(&mut chart);
        let error = chart_svg(&chart).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(chart_png(&chart).unwrap_err(), error);
    }
}

fn latencies(form: Form) -> Distribution {
    let sample = |name: &str, middle: f64| Sample {
        name: name.into(),
        bins: (1..400u32)
            .map(|step| {
                let value = f64::from(step) * 0.5;
                let away = (value / middle).ln();
                Bin { value, count: (10_000.0 * (-away * away * 4.0).exp()) as u64 }
            })
            .collect(),
    };
    Distribution {
        title: "Time to first token".into(),
        caption: vec!["Two loads.".into()],
        axis: axis("time to first token, ms", Scale::Logarithmic),
        unit: "ms".into(),
        form,
        samples: vec![sample("8 users", 12.0), sample("32 users", 40.0)],
    }
}

#[test]
fn a_distribution_names_its_quantiles() {
    for form in [Form::Cumulative, Form::Histogram] {
        let svg = chart_svg(&distribution(&latencies(form)).unwrap()).unwrap();
        assert!(svg.contains("8 users (p50 ") && svg.contains(" ms)</text>"), "{svg}");
    }
    let mut wrong = latencies(Form::Cumulative);
    wrong.samples[1].bins.swap(3, 4);
    let error = distribution(&wrong).unwrap_err().to_string();
    assert!(
        error.contains("the value after another of sample '32 users' is 2 after 2.5; allowed: rising values"),
        "{error}"
    );
    wrong.samples[1].bins.clear();
    assert!(matches!(distribution(&wrong), Err(PictureError::Chart { .. })));
}

fn any_chart() -> impl Strategy<Value = Chart> {
    let value = prop_oneof![
        1 => any::<f64>(),
        400 => 1e-3f64..1e6,
        2 => Just(0.0),
        2 => Just(5e-324),
        9 => Just(1e100),
        9 => Just(1e-100),
    ];
    let label = prop_oneof![Just(String::new()), any::<String>()];
    let point = (value.clone(), value.clone(), label).prop_map(|(x, y, label)| Point { x, y, label });
    let series =
        (any::<String>(), prop::collection::vec(point, 1..12), any::<bool>(), prop::option::weighted(0.2, 0usize..12))
            .prop_map(|(name, points, marked, knee)| Series { name, points, marked, knee });
    let scale = || prop_oneof![Just(Scale::Linear), Just(Scale::Logarithmic)];
    let words = prop::collection::vec(any::<String>(), 0..3);
    let targets = prop::collection::vec((value, any::<String>()), 0..3);
    (any::<String>(), words, scale(), scale(), prop::collection::vec(series, 1..4), targets).prop_map(
        |(title, caption, x, y, series, targets)| Chart {
            title,
            caption,
            x: axis("x", x),
            y: axis("y", y),
            series,
            targets,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn garbage_is_refused_or_drawn(chart in any_chart()) {
        let (svg, png) = (chart_svg(&chart), chart_png(&chart));
        prop_assert_eq!(svg.is_ok(), png.is_ok());
        if let Ok(svg) = svg {
            prop_assert!(!svg.contains("NaN") || svg.contains(">NaN"));
            prop_assert!(!svg.contains("=\"inf"));
        }
    }

    #[test]
    fn any_counts_are_refused_or_drawn(
        bins in prop::collection::vec((prop_oneof![any::<f64>(), 0.0f64..100.0], any::<u64>()), 0..30), sort in any::<bool>(),
    ) {
        let mut bins: Vec<Bin> = bins.into_iter().map(|(value, count)| Bin { value, count }).collect();
        if sort {
            bins.sort_by(|one, other| one.value.total_cmp(&other.value));
        }
        for form in [Form::Cumulative, Form::Histogram] {
            let samples = vec![Sample { name: "s".into(), bins: bins.clone() }];
            if let Ok(chart) = distribution(&Distribution { samples, ..latencies(form) }) {
                let _ = chart_png(&chart);
            }
        }
    }
}

fn waterfall(rows: &[(&str, f64, bool)]) -> Waterfall {
    let row = |&(name, value, is_total): &(&str, f64, bool)| WaterfallRow { name: name.into(), value, is_total };
    let rows = rows.iter().map(row).collect();
    Waterfall {
        title: "<From> here".into(),
        caption: vec!["to there".into()],
        axis: "us".into(),
        is_more_better: false,
        rows,
    }
}

#[test]
fn a_waterfall_has_a_bar_and_a_number_for_each_row() {
    let drawn =
        waterfall(&[("start", 1000.0, true), ("less", 400.0, false), ("more", 450.0, false), ("end", 450.0, true)]);
    let svg = waterfall_svg(&drawn).unwrap();
    for part in ["start", "&lt;From&gt; here", ">1,000<", ">-600<", ">+50<", ">450<"] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    let (width, height) = size(&waterfall_png(&drawn).unwrap());
    assert!(svg.contains(&format!("width=\"{width}\" height=\"{height}\"")));
    for (rows, part) in [
        (vec![], "the number of rows is 0"),
        (vec![("step", 1.0, false)], "the first row is the step 'step'; allowed: a total"),
        (vec![("start", f64::NAN, true)], "the value of 'start' is NaN"),
    ] {
        let error = waterfall_svg(&waterfall(&rows)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
