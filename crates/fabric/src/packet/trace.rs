//! A list of messages as a table: `cycle,source_x,source_y,target_x,target_y,flits`, one message a line, in any order.
//!
//! Text in, messages out; who opens files is elsewhere. What is wrong is said with file and line.

use super::coordinate::{Coordinate, MeshSize};
use super::error::TrafficError;
use super::message::Message;

/// The columns, in the order in which errors name them; a file may have them in any order.
pub const COLUMNS: [&str; 6] = ["cycle", "source_x", "source_y", "target_x", "target_y", "flits"];

/// Reads a trace for a mesh. `file` is what errors call it.
///
/// # Errors
/// Where a column is missing, doubled or unknown, a field is no whole number, a place lies outside the mesh, a message
/// has no flits, or there is no message at all.
pub fn read_trace(text: &str, file: &str, size: MeshSize) -> Result<Vec<Message>, TrafficError> {
    let wrong = |line: u64, problem: String| TrafficError::Trace { file: file.to_owned(), line, problem };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name)) {
        return Err(wrong(1, format!("unknown column '{unknown}'; allowed: {}", COLUMNS.join(","))));
    }
    let mut indices = [0; COLUMNS.len()];
    for (index, name) in indices.iter_mut().zip(COLUMNS) {
        let mut found = header.iter().enumerate().filter(|(_, known)| *known == name);
        *index = match (found.next(), found.next()) {
            (Some((index, _)), None) => index,
            (None, _) => return Err(wrong(1, format!("no column '{name}'; needed: {}", COLUMNS.join(",")))),
            (Some(_), Some(_)) => return Err(wrong(1, format!("column '{name}' stands there twice"))),
        };
    }
    let mut messages = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            wrong(line, error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let number = |column: usize, largest: u64| {
            let written = record.get(indices[column]).unwrap_or_default();
            match written.parse::<u64>() {
                Ok(number) if number <= largest => Ok(number),
                _ => Err(wrong(
                    line,
                    format!("{} is '{written}'; allowed: a whole number from 0 to {largest}", COLUMNS[column]),
                )),
            }
        };
        let place = |first: usize| {
            let (x, y) = (number(first, u32::MAX.into())?, number(first + 1, u32::MAX.into())?);
            let (columns, rows) = (u64::from(size.columns()), u64::from(size.rows()));
            if x >= columns || y >= rows {
                let (x_name, y_name) = (COLUMNS[first], COLUMNS[first + 1]);
                let allowed = format!("columns 0 to {}, rows 0 to {}", columns - 1, rows - 1);
                return Err(wrong(line, format!("{x_name},{y_name} is {x},{y}, outside the mesh; allowed: {allowed}")));
            }
            Ok(Coordinate::new(x as u32, y as u32))
        };
        let message = Message {
            cycle: number(0, u64::MAX)?,
            source: place(1)?,
            destination: place(3)?,
            flits: number(5, u32::MAX.into())? as u32,
        };
        if message.flits == 0 {
            return Err(wrong(line, "flits is '0'; allowed: 1 or more".into()));
        }
        messages.push(message);
    }
    if messages.is_empty() {
        return Err(wrong(1, "there is no message; needed: one line for each after the header".into()));
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<Message>, TrafficError> {
        read_trace(text, "t.csv", MeshSize::new(4, 3)?)
    }

    #[test]
    fn columns_come_in_any_order() {
        let text = "flits,cycle,target_x,target_y,source_x,source_y\n# a burst\n7, 90 ,1,2,3,0\n1,0,0,0,0,0\n";
        let (source, destination) = (Coordinate::new(3, 0), Coordinate::new(1, 2));
        let corner = Coordinate::new(0, 0);
        let expected = vec![
            Message { source, destination, flits: 7, cycle: 90 },
            Message { source: corner, destination: corner, flits: 1, cycle: 0 },
        ];
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let header = "cycle,source_x,source_y,target_x,target_y,flits\n";
        for (text, parts) in [
            ("", ["line 1", "no column 'cycle'"]),
            ("cycle,source_x\n", ["line 1", "no column 'source_y'"]),
            ("cycle,cycle,source_x,source_y,target_x,target_y,flits\n", ["line 1", "twice"]),
            ("cycle,when\n", ["line 1", "'when'"]),
            (header, ["line 1", "no message"]),
            (&format!("{header}0,0,0,1,1,1\n5,0,0,4,1,1\n"), ["line 3", "target_x,target_y is 4,1"]),
            (&format!("{header}0,0,3,1,1,1\n"), ["line 2", "rows 0 to 2"]),
            (&format!("{header}0,0,0,1,1,0\n"), ["line 2", "flits is '0'"]),
            (&format!("{header}0,0,0,1,1,4294967296\n"), ["line 2", "'4294967296'"]),
            (&format!("{header}-1,0,0,1,1,1\n"), ["line 2", "cycle is '-1'"]),
            (&format!("{header}0,0,0,1,1\n"), ["line 2", "5 fields"]),
        ] {
            let error = read(text).expect_err(text).to_string();
            for part in parts {
                assert!(error.contains(part), "no '{part}' in: {error}");
            }
            assert!(error.starts_with("t.csv"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_a_list(text in "[0-9a-z,_\n\"#-]{0,200}", header in any::<bool>()) {
            let text = if header { format!("{}\n{text}", COLUMNS.join(",")) } else { text };
            if let Ok(messages) = read(&text) {
                prop_assert!(!messages.is_empty());
            }
        }
    }
}
