//! What has been shown of a mapping: a line, and one for each part.

use wafersim_mapping::{Certificate, CertificatePart, CertificateState, PartName};

use crate::number::{figure, whole};
use crate::paragraph::{heading, labelled, wrapped};

/// The state in a line, after its label.
pub(crate) fn state(certificate: &Certificate) -> String {
    let named = |names: Vec<PartName>| names.into_iter().map(PartName::name).collect::<Vec<_>>().join(", ");
    match certificate.state {
        CertificateState::None => "none: the mapping of profile best is uncertified (--certify)".to_owned(),
        CertificateState::Passed => {
            let mut names: Vec<PartName> = certificate.parts.iter().map(|part| part.name).collect();
            names.dedup();
            format!("passed: {} of the mapping of profile best", named(names))
        }
        CertificateState::Failed => format!("failed: {}", named(certificate.failing())),
    }
}

/// The parts under a heading; nothing where there are none.
pub(crate) fn section(certificate: &Certificate) -> String {
    if certificate.parts.is_empty() { String::new() } else { heading("Certificate") + &parts(certificate) }
}

/// The state and each part, for people.
pub fn text(certificate: &Certificate) -> String {
    labelled("certificate", certificate.state.name()) + &parts(certificate)
}

fn parts(certificate: &Certificate) -> String {
    let mut text: String = certificate.parts.iter().map(part).collect();
    for (label, list) in [("identical", &certificate.identical), ("scaled", &certificate.scaled)] {
        if !list.is_empty() {
            text.push_str(&labelled(label, &list.join("; ")));
        }
    }
    text
}

fn part(part: &CertificatePart) -> String {
    let CertificatePart { name, state, subject, value, limit, unit, says } = part;
    let against = match (value, limit) {
        (Some(value), Some(limit)) => format!(", {} of at most {} {unit}", said(*value), said(*limit)),
        _ => String::new(),
    };
    wrapped(&format!("  {:<20} ", name.name()), &format!("{state}{against}: {subject}; {says}"))
}

/// Counts as such, other figures with their sign.
fn said(value: f64) -> String {
    if value.fract() == 0.0 && (0.0..1e15).contains(&value) { whole(value as u64) } else { signed(value) }
}

fn signed(value: f64) -> String {
    if value < 0.0 { format!("-{}", figure(-value)) } else { figure(value) }
}

#[cfg(test)]
mod tests {
    use wafersim_mapping::PartState;

    use super::*;

    #[test]
    fn a_part_is_a_line() {
        let of = |value: f64, limit: f64, unit: &str| CertificatePart {
            name: PartName::Fabric,
            state: PartState::Passed,
            subject: "62 layers".into(),
            value: Some(value),
            limit: Some(limit),
            unit: unit.into(),
            says: "words".into(),
        };
        let certificate = Certificate::new("0".into(), vec![of(-0.51, 3.0, "%"), of(41_000.0, 42_000.0, "bytes")]);
        let text = text(&certificate);
        assert!(text.starts_with("  certificate          passed\n"), "{text}");
        assert!(text.contains("fabric               passed, -0.5100 of at most 3 %: 62 layers; words\n"), "{text}");
        assert!(text.contains("41,000 of at most 42,000 bytes"), "{text}");
        assert!(state(&Certificate::default()).starts_with("none"));
    }
}
