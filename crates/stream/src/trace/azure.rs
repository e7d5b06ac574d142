//! Azure LLM inference traces 2023: `TIMESTAMP,ContextTokens,GeneratedTokens`, with `2023-11-16 18:15:46.6805900`.

use super::{Lines, rows, shown, whole};
use crate::error::StreamError;
use crate::request::Content;

pub(super) fn read(text: &str, lines: &mut Lines<'_>, most: usize) -> Result<(), StreamError> {
    let mut first = None;
    for (line, fields) in rows(text, lines, &["TIMESTAMP,ContextTokens,GeneratedTokens"])?.into_iter().take(most) {
        let [time, prompt, output] = fields[..] else { continue };
        let at = ticks(time).ok_or_else(|| {
            let problem = format!("field 'TIMESTAMP' is '{}'", shown(time));
            lines.wrong(line, problem, "a time such as 2023-11-16 18:15:46.6805900")
        })?;
        let start = *first.get_or_insert(at);
        let prompt = whole(lines, line, "ContextTokens", prompt)?;
        let output = whole(lines, line, "GeneratedTokens", output)?;
        // Differences of whole numbers, so that no digit of the fraction is lost.
        lines.push(line, (at - start) as f64 * 1e-7, prompt, output, Content::Unique)?;
    }
    Ok(())
}

/// Ticks of 100 ns from the year 1 on.
fn ticks(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once(' ')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<i64>().ok()?, time.next()?.parse::<i64>().ok()?);
    let seconds = time.next()?;
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let second = second.parse::<i64>().ok()?;
    let is_plain = fraction.len() <= 7 && fraction.bytes().all(|digit| digit.is_ascii_digit());
    let is_date = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..61).contains(&second);
    if !(is_plain && is_date && is_time) {
        return None;
    }
    let fraction = format!("{fraction:0<7}").parse::<i64>().ok()?;
    // Days of the civil calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 10_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn days_follow_each_other() {
        let at = |text| ticks(text).unwrap();
        assert_eq!(at("2023-11-16 18:15:46.6805900") - at("2023-11-16 18:15:46"), 6_805_900);
        assert_eq!(at("2024-03-01 00:00:00.0") - at("2024-02-29 23:59:59.9"), 1_000_000);
        assert_eq!(at("2024-01-01 00:00:00.0") - at("2023-12-31 00:00:00.0"), 864_000_000_000);
        for text in ["", "2023-11-16", "2023-13-01 00:00:00", "2023-11-16 24:00:00.0", "2023-11-16 1:2:3.x"] {
            assert_eq!(ticks(text), None, "{text}");
        }
    }
}
