//! Words that come from outside, fit for a terminal: names and values of files may hold what moves its cursor, or be
//! longer than anybody reads.

use std::borrow::Cow;

/// Most letters of a value in a message.
const LONGEST_WORD: usize = 200;
/// Most letters of a message; the end says what is allowed.
const LONGEST_MESSAGE: usize = 2000;

/// Text in which what moves a cursor is replaced; line ends stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let moves = |letter: char| letter.is_control() && letter != '\n';
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|letter| if moves(letter) { '\u{fffd}' } else { letter }).collect())
}

/// A message for people: printable, with the middle of long values left out.
pub fn message(text: &str) -> String {
    let text = printable(text);
    let mut short = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        short += &without_middle(word, LONGEST_WORD);
    }
    without_middle(&short, LONGEST_MESSAGE).into_owned()
}

/// Three quarters of what is kept stand at the beginning.
fn without_middle(text: &str, most: usize) -> Cow<'_, str> {
    let letters = text.chars().count();
    if letters <= most {
        return Cow::Borrowed(text);
    }
    let place = |letter: usize| text.char_indices().nth(letter).map_or(text.len(), |(place, _)| place);
    let (start, end) = (place(most * 3 / 4), place(letters - most / 4));
    Cow::Owned(format!("{}...{}", &text[..start], &text[end..]))
}

/// Lines that are longer than `width` broken at spaces; what follows stands as far in as the line does. What shows a
/// place in a file, with a bar at its left, stays as it is.
pub fn wrapped(text: &str, width: usize) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| wrapped_line(line, width)).collect();
    lines.join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    let is_shown =
        line.split_once('|').is_some_and(|(before, _)| before.chars().all(|c| c == ' ' || c.is_ascii_digit()));
    if line.chars().count() <= width || is_shown {
        return line.to_owned();
    }
    let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
    let (mut whole, mut here) = (String::new(), indent.clone());
    for word in line.split_whitespace() {
        let is_first = here.len() == indent.len();
        if !is_first && here.chars().count() + 1 + word.chars().count() > width {
            whole += &here;
            whole.push('\n');
            here.clone_from(&indent);
        } else if !is_first {
            here.push(' ');
        }
        here += word;
    }
    whole + &here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_lose_their_middle_and_cursors_stay() {
        let long = format!("--set: 'load.{}' is unknown; allowed: \u{1b}[2Jload.users", "ä".repeat(100_000));
        let said = message(&long);
        assert!(said.chars().count() < 300, "{said}");
        assert!(said.starts_with("--set: 'load.ä") && said.ends_with("' is unknown; allowed: \u{fffd}[2Jload.users"));
        assert!(message(&"word ".repeat(100_000)).chars().count() < 2100);
        assert_eq!(message("one\ntwo\t3"), "one\ntwo\u{fffd}3");
    }

    #[test]
    fn long_lines_are_broken_and_places_in_files_are_not() {
        assert_eq!(wrapped("error: one two three", 12), "error: one\ntwo three");
        assert_eq!(wrapped("  one two three", 9), "  one two\n  three");
        let shown = format!("12 | users = {}", "x ".repeat(60));
        assert_eq!(wrapped(&shown, 80), shown);
        assert_eq!(wrapped(&"x".repeat(100), 80), "x".repeat(100));
    }
}
