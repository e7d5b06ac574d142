//! Overwritten console blocks, made short again: where a page left lines out (`...`, `[..]`), the new output leaves out
//! the same ones. Lines are found again by their shape, which is what they say without numbers. It runs no command.

/// A page that was overwritten, with what the page before left out.
pub fn left_out(old: &str, new: &str) -> String {
    let mut known = blocks(old).into_iter();
    let (mut page, mut rest) = (String::with_capacity(new.len()), new);
    for block in blocks(new) {
        let Some((before, after)) = rest.split_once(block) else { break };
        page.push_str(before);
        match known.next() {
            Some(old) if old != block => page.push_str(&shortened(old, block)),
            _ => page.push_str(block),
        }
        rest = after;
    }
    page + rest
}

/// The console blocks of a page, without their fences.
fn blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```console\n").skip(1);
    blocks.filter_map(|block| block.split_once("```").map(|(block, _)| block)).collect()
}

fn shortened(old: &str, new: &str) -> String {
    let (before, now) = (commands(old), commands(new));
    let same = before.len() == now.len() && before.iter().zip(&now).all(|(before, now)| before[0] == now[0]);
    if !same {
        return new.to_owned();
    }
    let lines = before.iter().zip(&now).flat_map(|(before, now)| shortened_output(before, now));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// A command and its output, line by line.
fn commands(block: &str) -> Vec<Vec<&str>> {
    let mut commands: Vec<Vec<&str>> = Vec::new();
    for line in block.lines() {
        match commands.last_mut() {
            Some(command) if !line.starts_with("$ ") => command.push(line),
            _ => commands.push(vec![line]),
        }
    }
    commands
}

/// Whether a line says how fast the machine was that ran the command.
fn is_pace(line: &str) -> bool {
    let pace = line.split_once(" in ").is_some_and(|(done, _)| done.ends_with(" point") || done.ends_with(" points"));
    let of_points = line.strip_suffix(" points").and_then(|line| line.split_once(" of "));
    pace && line.ends_with(" per second") || of_points.is_some_and(|(done, all)| is_number(done) && is_number(all))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit())
}

fn shortened_output<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<&'t str> {
    let new: Vec<&str> = new.iter().copied().filter(|line| !is_pace(line)).collect();
    let segments: Vec<&[&str]> = old.split(|line| line.trim() == "...").collect();
    if segments.len() == 1 {
        return new;
    }
    let starts = starts(&segments, &new);
    let (mut kept, mut at) = (Vec::new(), 0);
    for (index, (segment, start)) in segments.iter().zip(starts).enumerate() {
        if index > 0 {
            kept.push("...");
        }
        if segment.is_empty() {
            continue;
        }
        let start = start.max(at);
        let mut end = (start + segment.len()).min(new.len());
        // A paragraph may have been wrapped anew: it ends where it ended, at an empty line.
        let is_paragraph = segment.last().is_some_and(|line| line.trim().is_empty());
        while is_paragraph && end > start && end < new.len() && !new[end - 1].trim().is_empty() {
            end += 1;
        }
        let patterns = segment.iter().map(Some).chain(std::iter::repeat(None));
        let line = |(line, pattern): (&&'t str, Option<&&'t str>)| match pattern {
            Some(pattern) if pattern.contains("[..]") && matches(pattern, line) => *pattern,
            _ => *line,
        };
        kept.extend(new[start.min(end)..end].iter().zip(patterns).map(line));
        at = end;
    }
    kept
}

/// Where each segment begins in the new output: in order, without overlap, as alike as possible in all. The first line
/// is the command.
fn starts(segments: &[&[&str]], new: &[&str]) -> Vec<usize> {
    let shapes: Vec<Vec<char>> = new.iter().map(|line| shape(line)).collect();
    let last = segments.len() - 1;
    // Of each way to place the segments so far: what it is worth, and where the last of them begins.
    let mut best: Vec<Vec<(f64, usize)>> = Vec::with_capacity(segments.len());
    for (index, segment) in segments.iter().enumerate() {
        let wanted: Vec<Vec<char>> = segment.iter().map(|line| shape(line)).collect();
        let latest = new.len().saturating_sub(segment.len());
        let mut row = vec![(f64::NEG_INFINITY, 0); new.len() + 1];
        for start in 0..=latest {
            let fixed = (index == 0 && start != 0) || (index == last && !segment.is_empty() && start != latest);
            let before = if index == 0 { 0.0 } else { best[index - 1][start].0 };
            if !fixed && before > f64::NEG_INFINITY {
                // A long line says more than a short one.
                let alike = wanted
                    .iter()
                    .zip(&shapes[start..])
                    .map(|(wanted, found)| alike(wanted, found) * (wanted.len() as f64).max(0.5));
                let end = start + segment.len();
                let worth = before + alike.sum::<f64>();
                if worth > row[end].0 + 1e-9 {
                    row[end] = (worth, start);
                }
            }
        }
        // What ends earlier may be followed later.
        for end in 1..row.len() {
            if row[end - 1].0 >= row[end].0 {
                row[end] = row[end - 1];
            }
        }
        best.push(row);
    }
    let (mut starts, mut end) = (Vec::with_capacity(segments.len()), new.len());
    for row in best.iter().rev() {
        end = row[end].1;
        starts.push(end);
    }
    starts.reverse();
    starts
}

/// What a line says without its numbers and rules.
fn shape(line: &str) -> Vec<char> {
    let mut shape: Vec<char> = Vec::new();
    for letter in line.trim().chars() {
        let letter = match letter {
            '0'..='9' | '.' | ',' => '#',
            '-' => ' ',
            other if other.is_whitespace() => ' ',
            other => other,
        };
        if !(matches!(letter, '#' | ' ') && shape.last() == Some(&letter)) {
            shape.push(letter);
        }
    }
    shape
}

/// How alike two lines are, from 0 to 1: letters that both have in order.
fn alike(one: &[char], other: &[char]) -> f64 {
    let mut common = vec![0u32; other.len() + 1];
    for letter in one {
        let mut diagonal = 0;
        for (at, found) in other.iter().enumerate() {
            let above = common[at + 1];
            common[at + 1] = if letter == found { diagonal + 1 } else { above.max(common[at]) };
            diagonal = above;
        }
    }
    let letters = one.len() + other.len();
    if letters == 0 { 1.0 } else { 2.0 * f64::from(common[other.len()]) / letters as f64 }
}

/// Whether a line is what a pattern says, in which `[..]` stands for anything.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        let at = if index + 1 == parts.len() { rest.len().checked_sub(part.len()) } else { rest.find(part) };
        match at.filter(|at| rest.is_char_boundary(*at) && rest[*at..].starts_with(part)) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn what_was_left_out_stays_so() {
    let old = "a\n```console\n$ run\n...\n  speed  12.5\n...\n  end 1\n  took [..] s\n```\nb\n";
    let new = "a\n```console\n$ run\nhead 1\n  width  3\n  speed  1,300\nmore\n  end 2\n  took 7 s\n```\nb\n";
    let short = "a\n```console\n$ run\n...\n  speed  1,300\n...\n  end 2\n  took [..] s\n```\nb\n";
    assert_eq!(left_out(old, new), short);
    assert_eq!(left_out(old, old), old);
}

#[test]
fn paragraphs_may_grow_and_paces_go() {
    let old = "```console\n$ run\n...\nOne line of text, 5 words\n\n...\n```\n";
    let new = "```console\n$ run\n3 of 4 points\n4 points in 2 s: 2 points per second\nx\nOne line of text,\n5 words\n\nz\n```\n";
    assert_eq!(left_out(old, new), "```console\n$ run\n...\nOne line of text,\n5 words\n\n...\n```\n");
}
