//! Code from outside: what it deals is kept or refused, its id is what is compared and written.

use wafersim_mapping::experts::Dealt;
use wafersim_mapping::{Experts, Mapping, Own, OwnExperts, Recipe, Reduction, resolve};
use wafersim_place::experts::assignment::Assignment;
use wafersim_place::experts::strategies::{Strategy, Task};
use wafersim_spec::Size;

use crate::common::{inputs, tiny, wse3};

/// Experts from the last to the first, so many beyond what fits put into the first rectangle.
struct Backwards {
    too_many: usize,
}

impl Strategy for Backwards {
    fn name(&self) -> &str {
        "backwards"
    }

    fn id(&self) -> String {
        format!("backwards, {} too many", self.too_many)
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let experts = task.demand.experts();
        let home = |expert: usize| if expert < self.too_many { 0 } else { (experts - 1 - expert) / task.room };
        Assignment::single(task.cells, home, experts)
    }
}

fn recipe(too_many: usize) -> Recipe {
    let own = OwnExperts::new(Backwards { too_many }).sharing(Size::Exactly(2));
    Recipe { name: "mine".into(), experts: Experts::Own(own), ..Recipe::default() }
}

#[test]
fn what_a_strategy_deals_is_in_the_mapping() {
    let (model, wafer) = (tiny(), wse3());
    let resolved = resolve(&recipe(0), inputs(&model, &wafer)).unwrap();
    let experts = resolved.kinds.iter().find_map(|kind| kind.mapping.experts.as_ref()).unwrap();
    // The grid of fewest bytes has two rectangles more than it takes.
    assert_eq!((experts.cells(), experts.room), (6, 2));
    assert_eq!(experts.homes, [[3], [3], [2], [2], [1], [1], [0], [0]]);
    // A saved mapping has every number, and needs no code.
    let text = resolved.to_toml();
    let Mapping::Resolved(read) = Mapping::parse(&text, "saved").unwrap() else { panic!("{text}") };
    assert_eq!(read.to_toml(), text);
    assert_eq!(
        read.mapped(inputs(&model, &wafer)).unwrap().layers,
        resolved.mapped(inputs(&model, &wafer)).unwrap().layers
    );
}

#[test]
fn what_is_not_valid_is_refused_with_numbers() {
    let (model, wafer) = (tiny(), wse3());
    let said = resolve(&recipe(3), inputs(&model, &wafer)).unwrap_err().to_string();
    for part in ["experts 'backwards, 3 too many'", "to 6 rectangles", "at most 5 to one", "at most 2 in each"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_file_holds_the_id_and_the_code_is_handed_over() {
    let (model, wafer) = (tiny(), wse3());
    let written = recipe(0).to_toml();
    assert!(written.contains("own = \"backwards, 0 too many\""), "{written}");
    let read = Recipe::parse(&written, "mine").unwrap();
    assert_eq!((&read, read.own()), (&recipe(0), vec![("experts", "backwards, 0 too many")]));
    let said = resolve(&read, inputs(&model, &wafer)).unwrap_err().to_string();
    assert!(said.contains("its code is not there"), "{said}");
    let other = read.clone().with_own(&[Own::strategy(Backwards { too_many: 3 })], &[]);
    assert!(resolve(&other, inputs(&model, &wafer)).is_err(), "another id");
    let whole = read.with_own(&[Own::strategy(Backwards { too_many: 0 })], &[]);
    assert_eq!(resolve(&whole, inputs(&model, &wafer)), resolve(&recipe(0), inputs(&model, &wafer)));
}

#[test]
fn own_reductions_are_written_by_their_id_alone() {
    let text = "[reductions]\nx = { kind = \"own\", id = \"fan of 3\" }\n";
    let read = Recipe::parse(text, "mine").unwrap();
    assert_eq!(read.reductions.x, Reduction::Own(Own::named("fan of 3")));
    assert_eq!(Recipe::parse(&read.to_toml(), "again").unwrap(), read);
    for (wrong, says) in [
        ("{ kind = \"own\" }", "needs an 'id'"),
        ("{ kind = \"own\", id = \"a\", roots = 2 }", "an 'id' alone"),
        ("{ kind = \"tree\", id = \"a\" }", "'id' is of kind 'own'"),
    ] {
        let said = Recipe::parse(&format!("[reductions]\nx = {wrong}\n"), "mine").unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
    let both = Recipe::parse("[experts]\nown = \"a\"\nstrategy = \"linear\"\n", "mine").unwrap_err().to_string();
    assert!(both.contains("two strategies"), "{both}");
}

#[test]
fn assignments_that_no_file_has_checked_are_checked() {
    let (model, wafer) = (tiny(), wse3());
    let homes = |first: Vec<u16>| std::iter::once(first).chain((1..8).map(|expert| vec![expert % 4])).collect();
    let refused = |homes: Vec<Vec<u16>>, across: u64| {
        let dealt = Some(Dealt { across, down: 2, homes, layers: Default::default() });
        let experts = Experts::File { file: "by hand".into(), dealt };
        resolve(&Recipe { experts, ..Recipe::default() }, inputs(&model, &wafer)).err().map(|error| error.to_string())
    };
    assert_eq!(refused(homes(vec![0]), 2), None);
    for (first, across, says) in
        [(vec![], 2, "expert 0"), (vec![4], 2, "0 to 3"), (vec![1, 1], 2, "different"), (vec![0], 0, "0 x 2")]
    {
        let said = refused(homes(first), across).unwrap();
        assert!(said.contains(says) && said.contains("experts.file"), "{said}");
    }
}
