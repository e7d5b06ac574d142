//! Certificates that pass, and one for each part that fails because its limit was set so.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use wafersim_answer::{Question, best_mappings};
use wafersim_certify::{Limits, MOST_TRIED, certify, first_that_passes};
use wafersim_mapping::{Certificate, CertificateState, PartName, Resolved};
use wafersim_spec::scenario::WaferCount;
use wafersim_spec::{Bytes, Model, Scenario, Wafer};
use wafersim_values::Tolerance;

fn question() -> Question {
    let scenario = Scenario { context: 4096, prompt: 4096, wafers: WaferCount::Exactly(1), ..Scenario::default() };
    Question::new(scenario, Model::builtin("llama-3.1-8b").unwrap(), Wafer::builtin("wse3").unwrap()).unwrap()
}

fn best(question: &Question) -> Resolved {
    best_mappings(question).unwrap().remove(0)
}

fn under(limits: &Limits) -> Certificate {
    let question = question();
    certify(&question, &best(&question), limits, &|_| ())
}

#[test]
fn a_small_model_passes_and_says_what_was_looked_at() {
    let certificate = under(&Limits::of(&question().wafer));
    assert_eq!(certificate.state, CertificateState::Passed, "{certificate:#?}");
    let names: Vec<PartName> = certificate.parts.iter().map(|part| part.name).collect();
    for name in [PartName::Memory, PartName::Colors, PartName::Fabric, PartName::Numbers] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(certificate.identical.iter().any(|line| line == "rewrites"), "{:?}", certificate.identical);
    assert!(certificate.scaled.iter().any(|line| line.starts_with("region: ")), "{:?}", certificate.scaled);
}

#[test]
fn each_part_fails_by_itself() {
    let usual = Limits::of(&question().wafer);
    for (limits, name) in [
        (Limits { memory: Some(Bytes(20_000)), ..usual }, PartName::Memory),
        (Limits { colors: 2, ..usual }, PartName::Colors),
        (Limits { deviation_percent: 0.0, ..usual }, PartName::Fabric),
        (Limits { numbers: Tolerance::FP32.with(1e-12), ..usual }, PartName::Numbers),
    ] {
        let certificate = under(&limits);
        assert_eq!(certificate.state, CertificateState::Failed);
        assert_eq!(certificate.failing(), [name]);
    }
}

#[test]
fn at_most_five_are_tried_and_the_first_that_passes_counts() {
    let question = question();
    let best = best(&question);
    let usual = Limits::of(&question.wafer);
    let many = vec![best.clone(); MOST_TRIED + 2];
    let none = first_that_passes(&question, &many, &Limits { colors: 2, ..usual }, &|_| ());
    assert_eq!((none.tried.len(), none.passed().is_none()), (MOST_TRIED, true));
    assert_eq!(none.of_answer().unwrap().certificate.state, CertificateState::Failed);
    // A mapping of another machine cannot be opened; the next one passes.
    let mut other = best.clone();
    other.resolved_for.wafer_hash = "0".into();
    let outcome = first_that_passes(&question, &[other, best], &usual, &|_| ());
    assert_eq!(outcome.passed().map(|(index, _)| index), Some(1));
}

#[test]
fn it_is_stored_with_the_mapping_and_is_of_that_content_alone() {
    let question = question();
    let outcome = first_that_passes(&question, &[best(&question)], &Limits::of(&question.wafer), &|_| ());
    let (_, passed) = outcome.passed().unwrap();
    let text = passed.resolved.to_toml();
    assert!(text.contains("[certificate]"), "{text}");
    let read = Resolved::parse(&text, "saved.toml").unwrap();
    assert_eq!((read.to_toml(), read.certificate()), (text, passed.certificate.clone()));
    let changed = Resolved { micro_batch: 2, ..read };
    assert_eq!(changed.certificate(), Certificate::default());
}
