//! A plain CSV: `arrival_s,prompt_tokens,output_tokens`, and where there are sessions `session`, a whole number: each
//! request of a session begins with all tokens of the one before.

use super::{Lines, rows, shown, whole};
use crate::error::StreamError;
use crate::request::Content;

pub(super) fn read(text: &str, lines: &mut Lines<'_>, most: usize) -> Result<(), StreamError> {
    let headers = ["arrival_s,prompt_tokens,output_tokens", "arrival_s,prompt_tokens,output_tokens,session"];
    for (line, fields) in rows(text, lines, &headers)?.into_iter().take(most) {
        let (Some(arrival), Some(prompt), Some(output)) = (fields.first(), fields.get(1), fields.get(2)) else {
            continue;
        };
        let at = arrival.trim().parse::<f64>().map_err(|_| {
            lines.wrong(line, format!("field 'arrival_s' is '{}'", shown(arrival)), "a time from 0 to 1000000 s")
        })?;
        let prompt = whole(lines, line, "prompt_tokens", prompt)?;
        let output = whole(lines, line, "output_tokens", output)?;
        let content = match fields.get(3) {
            Some(session) => Content::Session { session: whole(lines, line, "session", session)?, common: 0 },
            None => Content::Unique,
        };
        lines.push(line, at, prompt, output, content)?;
    }
    Ok(())
}
