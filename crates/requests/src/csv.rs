//! Rows of a CSV: columns by name, in any order, quoted or not; what the format does not know is left alone.

use crate::error::{RequestError, shown};
use crate::format::Role;
use crate::input::{Line, Lines, Text};
use crate::row::{Row, Scale, allowed};

/// A CSV behind its header.
pub(crate) struct Csv {
    lines: Lines,
    header: String,
    columns: Vec<(Option<Role>, String)>,
    separator: u8,
    scale: Scale,
}

/// What parts the fields of a header: commas, or where there are none semicolons, tabs or bars, whichever there are
/// most of.
pub(crate) fn separator(header: &[u8]) -> u8 {
    let count = |separator: u8| header.iter().filter(|byte| **byte == separator).count();
    if count(b',') > 0 {
        return b',';
    }
    let others = [b';', b'\t', b'|'].into_iter().filter(|other| count(*other) > 0);
    others.max_by_key(|other| count(*other)).unwrap_or(b',')
}

/// Whether a line before the header is a remark.
pub(crate) fn is_remark(line: &str) -> bool {
    line.starts_with('#')
}

/// The fields of a line; a quoted one may hold what parts them, and quotes written twice.
pub(crate) fn fields(line: &[u8], separator: u8) -> Vec<Vec<u8>> {
    if !line.contains(&b'"') {
        return line.split(|byte| *byte == separator).map(<[u8]>::to_vec).collect();
    }
    let (mut fields, mut field, mut quoted) = (Vec::new(), Vec::new(), false);
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&b'"') => {
                field.push(b'"');
                bytes.next();
            }
            b'"' => quoted = !quoted,
            byte if byte == separator && !quoted => fields.push(std::mem::take(&mut field)),
            byte => field.push(byte),
        }
    }
    fields.push(field);
    fields
}

impl Csv {
    /// Reads the header. `role` says what a column means.
    pub(crate) fn open(
        text: Text,
        file: &str,
        scale: Scale,
        role: impl Fn(&str) -> Option<Role>,
    ) -> Result<Self, RequestError> {
        let mut lines = Lines::new(text);
        let mut header = String::new();
        while let Some(line) = lines.next(file)? {
            header = String::from_utf8_lossy(line.text).into_owned();
            if !is_remark(&header) {
                break;
            }
        }
        let separator = separator(header.as_bytes());
        // Where semicolons part fields, commas may stand in numbers.
        let scale = Scale { comma_decimals: separator != b',', ..scale };
        let named = fields(header.as_bytes(), separator).into_iter().map(|name| {
            let name = String::from_utf8_lossy(&name).trim().to_owned();
            (role(&name), name)
        });
        let columns: Vec<(Option<Role>, String)> = named.collect();
        for (at, (role, name)) in columns.iter().enumerate() {
            if role.is_some() && columns[..at].iter().any(|(_, before)| before == name) {
                return Err(RequestError::Line {
                    file: file.into(),
                    line: 1,
                    problem: format!("two columns '{}'", shown(name.as_bytes())),
                    allowed: "each name once".into(),
                });
            }
        }
        Ok(Self { lines, header, columns, separator, scale })
    }

    /// Whether a column of this role is there.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.columns.iter().any(|(column, _)| *column == Some(role))
    }

    /// The next row; false where there is none.
    pub(crate) fn next(&mut self, file: &str, row: &mut Row) -> Result<bool, RequestError> {
        let Some(Line { number, text: line, may_have_quotes }) = self.lines.next(file)? else { return Ok(false) };
        row.clear(number);
        let wrong =
            |problem: String, allowed: String| RequestError::Line { file: file.into(), line: number, problem, allowed };
        let scale = &mut self.scale;
        let (mut count, mut bad) = (0, None);
        let mut put = |row: &mut Row, field: &[u8]| {
            let column = self.columns.get(count);
            count += 1;
            if let Some((Some(role), name)) = column
                && bad.is_none()
                && !scale.put(row, *role, field)
            {
                bad = Some((*role, name, shown(field)));
            }
        };
        let mut from = 0;
        if may_have_quotes && line.contains(&b'"') {
            fields(line, self.separator).iter().for_each(|field| put(row, field));
        } else {
            for at in memchr::memchr_iter(self.separator, line) {
                put(row, &line[from..at]);
                from = at + 1;
            }
            put(row, &line[from..]);
        }
        if may_have_quotes && line.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            let problem = format!("a quote is opened and never closed: '{}'", shown(line));
            return Err(wrong(problem, "quotes in pairs, a field in one line".into()));
        }
        if count != self.columns.len() {
            let problem = format!("{count} fields: '{}' (a truncated line?)", shown(line));
            return Err(wrong(problem, format!("{} fields: {}", self.columns.len(), shown(self.header.as_bytes()))));
        }
        if let Some((role, name, text)) = bad {
            let problem = format!("field '{}' is '{text}'", shown(name.as_bytes()));
            return Err(wrong(problem, allowed(role, scale.unit)));
        }
        Ok(true)
    }
}
