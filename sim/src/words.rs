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
}
