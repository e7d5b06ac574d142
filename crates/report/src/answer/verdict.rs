//! The verdict: reached, not found or excluded, with which programs, by what margin; what the published and the best
//! known programs give; what binds, at which clock and whether that matters; what ideal hardware would give, and what
//! no mapping beats.

use wafersim_answer::{Answer, ClockPoint, State};
use wafersim_spec::Wafer;
use wafersim_spec::scenario::Profile;
use wafersim_spec::wafer::Key;

use super::uncertainty::{chance, without_room};
use crate::number::{figure, plural, whole};
use crate::paragraph::wrapped;

pub(super) fn text(answer: &Answer, wafer: &Wafer) -> String {
    let verdict = &answer.verdict;
    let users = match answer.users {
        1 => "its one user".to_owned(),
        users => format!("each of {} users", whole(users)),
    };
    let programs = programs(answer.profile);
    let gives = format!(
        "{model} on {wafers} gives {users} {speed} tok/s",
        model = answer.model,
        wafers = plural(u64::from(answer.wafers), &format!("{} wafer", answer.wafer)),
        speed = figure(answer.tokens_per_second_per_user),
    );
    let target = figure_of_target(verdict.target);
    let (margin, others) = (margin(verdict.margin), others(answer));
    let unbeaten = figure(answer.profiles.no_mapping_beats.tokens_per_second_per_user);
    let found = match verdict.state {
        State::Reached => format!("REACHED: {programs}, {gives}, {margin} of {target}{others}"),
        State::NotFound => format!(
            "NOT FOUND: {programs}, {gives}, {margin} of {target}{others}; what is below {unbeaten} tok/s is not excluded"
        ),
        State::Excluded => format!(
            "EXCLUDED: no mapping beats {unbeaten} tok/s, and the target is {target}; {programs}, {gives}{others}"
        ),
    };
    let limited = format!("It is limited by {}; {}{}.", verdict.limit, clock(answer, wafer), sampled(answer));
    wrapped("", &format!("{found}. {limited}")) + &wrapped("", &bounds(answer))
}

/// The profile with what it assumes.
fn programs(profile: Profile) -> String {
    let assumption = match profile {
        Profile::Published => "with the published programs",
        Profile::Best => "with the best programs known",
        Profile::Ideal => "with the best programs known on ideal hardware",
    };
    format!("{assumption} (profile {profile})")
}

/// `77 % below the target`, `10 % above the target`, `12 times the target`.
fn margin(margin: f64) -> String {
    let percent = margin.abs() * 100.0;
    let digits = if percent < 10.0 { format!("{percent:.1}") } else { format!("{percent:.0}") };
    match margin {
        _ if percent < 0.05 => "just at the target".into(),
        margin if margin < 0.0 => format!("{digits} % below the target"),
        margin if margin < 2.0 => format!("{digits} % above the target"),
        margin => format!("{} times the target", figure(margin + 1.0)),
    }
}

fn figure_of_target(target: f64) -> String {
    if target.fract() == 0.0 && target < 1e15 { whole(target as u64) } else { figure(target) }
}

/// The clock, where it comes from, and whether another published one changes the verdict.
fn clock(answer: &Answer, wafer: &Wafer) -> String {
    let used = answer.verdict.clock_ghz;
    let published = wafer.figure(Key::ClockGigahertz);
    let nominal = published.value;
    let named = if (used - nominal).abs() < 1e-9 {
        format!("the clock is the nominal {used} GHz")
    } else {
        format!("the clock is {used} GHz as asked (nominal: {nominal} GHz)")
    };
    let Some(ranges) = &answer.uncertainty else { return named };
    let (low, high) = (published.low, published.high);
    if low >= high {
        return named;
    }
    let reached = answer.verdict.state.is_reached();
    let other: Vec<&ClockPoint> = ranges.clock.iter().filter(|point| point.reaches_target != reached).collect();
    let Some(first) = other.first() else {
        return format!("{named}, and no clock from {low} to {high} GHz would change the verdict");
    };
    let said = if reached { "not be reached" } else { "be reached" };
    format!(
        "{named}, and the verdict depends on it: at {} GHz ({} tok/s) the target would {said}",
        first.ghz,
        figure(first.tokens_per_second_per_user)
    )
}

/// How probable it is that the target is reached, where that was sampled.
fn sampled(answer: &Answer) -> String {
    let sampled = answer.uncertainty.as_ref().and_then(|ranges| ranges.sampled.as_ref());
    sampled.map_or_else(String::new, |sampled| {
        let draws = format!("{} draws", whole(u64::from(sampled.samples)));
        format!("; over all that is not known it is reached in {}{}", chance(sampled, &draws), without_room(sampled))
    })
}

/// What the profiles of the real machine give, other than the answer's own: `; published gives 378 tok/s`.
fn others(answer: &Answer) -> String {
    let real = [Profile::Best, Profile::Published].into_iter().filter(|profile| *profile != answer.profile);
    let said = real.filter_map(|profile| {
        let said = answer.profiles.get(&profile)?;
        let differs = said.reaches_target != answer.verdict.state.is_reached();
        let reaches = match (differs, said.reaches_target) {
            (false, _) => "",
            (true, true) => ", which reaches it",
            (true, false) => ", which does not reach it",
        };
        Some(format!("; {profile} gives {} tok/s{reaches}", figure(said.tokens_per_second_per_user)))
    });
    said.collect()
}

/// What the same programs would give on ideal hardware, where that was asked for and is not the answer itself; and what
/// nothing beats.
fn bounds(answer: &Answer) -> String {
    let profiles = &answer.profiles;
    let said = profiles.get(&Profile::Ideal).filter(|_| answer.profile != Profile::Ideal);
    let ideal = said.map_or_else(String::new, |said| {
        format!("On ideal hardware these programs would give {} tok/s. ", figure(said.tokens_per_second_per_user))
    });
    format!(
        "{ideal}No mapping at all beats {} tok/s, or {} at the multiply rate that was measured (simctl bound).",
        figure(profiles.no_mapping_beats.tokens_per_second_per_user),
        figure(profiles.no_mapping_beats_at_measured_rate.tokens_per_second_per_user)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_said_in_words() {
        for (value, text) in [
            (-0.77, "77 % below the target"),
            (-0.031, "3.1 % below the target"),
            (0.1, "10 % above the target"),
            (0.0001, "just at the target"),
            (11.0, "12.00 times the target"),
        ] {
            assert_eq!(margin(value), text);
        }
        assert_eq!([figure_of_target(2000.0), figure_of_target(0.25)], ["2,000", "0.2500"]);
    }
}
