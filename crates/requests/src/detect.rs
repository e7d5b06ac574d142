//! Which row of the table a file is: by the keys of its first rows. Where two rows fit that would read it differently,
//! or none, the message says what was seen, and what to do.

use serde_json::Value;

use crate::csv::{fields, is_remark, separator};
use crate::error::{RequestError, shown};
use crate::format::{FOREIGN, Format, Kind, NAMED, PRESETS, Preset, Role};
use crate::input::objects;
use crate::settings::{Settings, TimeUnit};

/// How a file is to be read.
pub(crate) struct Found {
    pub(crate) preset: Preset,
    pub(crate) columns: Vec<(Role, String)>,
    pub(crate) unit: TimeUnit,
    pub(crate) block: u32,
    /// Whether every object stands in a line of its own.
    pub(crate) is_lines: bool,
}

/// Rows that are looked at.
const SAMPLES: usize = 20;

/// What the beginning of a file shows.
struct Sample {
    kind: Kind,
    keys: Vec<String>,
    rows: Vec<Value>,
    /// The first lines of a CSV behind the header.
    lines: String,
    header: String,
    is_lines: bool,
    /// Whether capitals in names of columns count.
    exact: bool,
}

/// Whether a beginning is long enough.
pub(crate) fn is_enough(head: &[u8]) -> bool {
    match head.trim_ascii_start().first() {
        Some(b'{' | b'[') => !objects(head, 1).is_empty(),
        _ => head.contains(&b'\n'),
    }
}

impl Sample {
    fn of(head: &[u8]) -> Self {
        if !matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
            let text = String::from_utf8_lossy(head.get(..1 << 16).unwrap_or(head));
            let mut lines = text.lines().filter(|line| !line.trim().is_empty()).skip_while(|line| is_remark(line));
            let header = lines.next().unwrap_or("").to_owned();
            let separator = separator(header.as_bytes());
            let keys: Vec<String> = fields(header.as_bytes(), separator)
                .iter()
                .map(|key| String::from_utf8_lossy(key).trim().to_owned())
                .collect();
            let lines = lines.take(SAMPLES).collect::<Vec<_>>().join("\n");
            let kind = if is_chunk(&header) { Kind::ServeGen } else { Kind::Csv };
            return Self { kind, keys, rows: Vec::new(), lines, header, is_lines: true, exact: true };
        }
        let objects = objects(head, SAMPLES);
        let is_lines =
            head.trim_ascii_start().first() == Some(&b'{') && objects.iter().all(|object| !object.contains(&b'\n'));
        let rows: Vec<Value> = objects.iter().filter_map(|object| serde_json::from_slice(object).ok()).collect();
        let mut keys: Vec<String> = Vec::new();
        for row in rows.iter().filter_map(Value::as_object) {
            keys.extend(row.keys().filter(|key| !keys.contains(key)).cloned().collect::<Vec<_>>());
        }
        let header = String::from_utf8_lossy(head.get(..256).unwrap_or(head)).into_owned();
        Self { kind: Kind::Json, keys, rows, lines: String::new(), header, is_lines, exact: true }
    }

    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| if self.exact { known == key } else { known.eq_ignore_ascii_case(key) })
    }

    fn fits(&self, preset: &Preset) -> bool {
        preset.kind == self.kind
            && preset.signs.iter().all(|key| self.has(key))
            && (preset.one_of.is_empty() || preset.one_of.iter().any(|key| self.has(key)))
            && (preset.holds.is_empty() || self.lines.contains(preset.holds))
    }

    /// What of another kind it is: its name, and how to get a trace from it.
    fn foreign(&self) -> Option<(&'static str, &'static str)> {
        let is_dataset = |row: &Value| {
            row.as_object().is_some_and(|row| {
                !row.is_empty() && row.keys().all(|key| key.bytes().all(|digit| digit.is_ascii_digit()))
            })
        };
        if self.rows.first().is_some_and(is_dataset) {
            return Some(("ServeGen's lengths without their times", "its chunk-i-trace.csv, with this file beside it"));
        }
        if self.kind == Kind::Json && self.rows.is_empty() && self.header.trim_start().starts_with("[[") {
            return Some(("a matrix of numbers (loads of experts?), no requests", "a trace of requests"));
        }
        FOREIGN
            .iter()
            .find(|(signs, _, _)| signs.iter().all(|key| self.has(key)))
            .map(|(_, name, allowed)| (*name, *allowed))
    }
}

/// ServeGen's chunks have no header: start of a window, rate, variation, law, shape, scale.
fn is_chunk(line: &str) -> bool {
    let fields: Vec<&str> = line.trim_end().split(',').map(str::trim).collect();
    let [start, rate, variation, law, ..] = fields[..] else { return false };
    fields.len() == 6
        && matches!(law, "Gamma" | "Weibull" | "")
        && [start, rate, variation].iter().all(|field| field.parse::<f64>().is_ok())
}

/// Finds out how the file with this beginning is to be read.
pub(crate) fn detect(head: &[u8], file: &str, settings: &Settings) -> Result<Found, RequestError> {
    let mut sample = Sample::of(head);
    if ["wait_for", "tool_wait_ms"].iter().any(|key| sample.has(key)) {
        return Err(is_foreign(file, FOREIGN[0].1, FOREIGN[0].2));
    }
    let asked = |preset: &&Preset| settings.format == Format::Auto || preset.formats.contains(&settings.format);
    let named = !settings.columns.is_empty();
    let mut found = PRESETS.iter().filter(asked).find(|preset| sample.fits(preset));
    if found.is_none() && sample.kind == Kind::Csv && sample.foreign().is_none() {
        // Columns that were renamed in capitals or small letters.
        sample.exact = false;
        found = PRESETS.iter().filter(asked).find(|preset| preset.signs.len() > 1 && sample.fits(preset));
        sample.exact = found.is_none();
    }
    let mut preset = match found {
        Some(preset) => *preset,
        None if named && sample.kind != Kind::ServeGen => {
            let mut of_format =
                PRESETS.iter().filter(|preset| preset.kind == sample.kind && settings.format != Format::Auto);
            let own = of_format.find(asked);
            own.copied().unwrap_or(Preset { kind: sample.kind, ..NAMED })
        }
        None => return Err(unknown(&sample, file, settings)),
    };
    if settings.format == Format::Auto && !named {
        refuse_ambiguous(&preset, &sample, file, settings)?;
    }
    if settings.sort && preset.order == crate::format::Order::Time {
        preset.order = crate::format::Order::Any;
    }
    let columns = columns(&preset, &sample, file, settings)?;
    Ok(Found {
        unit: settings.time_unit.unwrap_or(preset.unit),
        block: settings.block.unwrap_or(preset.block),
        is_lines: sample.is_lines,
        preset,
        columns,
    })
}

/// The format's columns, with those that are named in place of its own.
fn columns(
    preset: &Preset,
    sample: &Sample,
    file: &str,
    settings: &Settings,
) -> Result<Vec<(Role, String)>, RequestError> {
    let named = settings.columns.named();
    let is_named = |role: Role| named.iter().any(|(named, _, name)| *named == role && name.is_some());
    let own = preset.columns.iter().filter(|(role, _)| !is_named(*role));
    // As the file writes them.
    let written = |name: &str| {
        let known = sample.keys.iter().find(|known| known.eq_ignore_ascii_case(name)).filter(|_| !sample.exact);
        known.cloned().unwrap_or_else(|| name.to_owned())
    };
    let mut columns: Vec<(Role, String)> = own.map(|(role, name)| (*role, written(name))).collect();
    let keys = if sample.kind == Kind::Csv { "column" } else { "key" };
    for (role, field, name) in named {
        let Some(name) = name else { continue };
        let refuse = |problem: String| RequestError::Setting {
            file: file.into(),
            field,
            problem: format!("is '{}', {problem}", shown(name.as_bytes())),
            allowed: format!("another of its {keys}s: {}", shown(sample.keys.join(", ").as_bytes())),
        };
        // The first objects may all begin sessions; whether any has a wait is known at the end.
        let is_late = sample.kind == Kind::Json && role == Role::Delay;
        if !is_late && !sample.has(name) {
            return Err(refuse(format!("and the file has no such {keys}")));
        }
        if let Some((other, _)) = columns.iter().find(|(_, known)| known == name) {
            return Err(refuse(format!("which is the {keys} of {}", other.what())));
        }
        columns.push((role, name.to_owned()));
    }
    Ok(columns)
}

fn is_foreign(file: &str, name: &str, allowed: &str) -> RequestError {
    RequestError::File { file: file.into(), problem: format!("is {name}"), allowed: allowed.into() }
}

/// No row of the table fits, or none of the format that was asked for.
fn unknown(sample: &Sample, file: &str, settings: &Settings) -> RequestError {
    let elsewhere = PRESETS.iter().find(|preset| sample.fits(preset));
    if elsewhere.is_none()
        && let Some((name, allowed)) = sample.foreign()
    {
        return is_foreign(file, name, allowed);
    }
    if sample.header.trim().is_empty() {
        return RequestError::File {
            file: file.into(),
            problem: "is empty".into(),
            allowed: "a trace with at least one request".into(),
        };
    }
    let keys: Vec<&str> = sample.keys.iter().map(String::as_str).collect();
    let (seen, what) = match sample.kind {
        Kind::Json if keys.is_empty() => (shown(sample.header.as_bytes()), "text is"),
        Kind::Json => (shown(keys.join(", ").as_bytes()), "keys are"),
        Kind::Csv | Kind::ServeGen => (shown(sample.header.as_bytes()), "columns are"),
    };
    let mut problem = format!("the {what} '{seen}'");
    if let Some(preset) = elsewhere {
        problem.push_str(&format!(", which is {} (load.format = {})", preset.name, preset.formats[0].name()));
    }
    let of_format = PRESETS.iter().filter(|preset| preset.formats.contains(&settings.format));
    let mut ways: Vec<String> = Vec::new();
    for preset in of_format {
        let keys = preset.signs.iter().chain(preset.one_of.first()).copied().collect::<Vec<_>>().join(",");
        if !keys.is_empty() && !ways.contains(&keys) {
            ways.push(keys);
        }
    }
    if ways.is_empty() {
        ways.push(format!("a trace in one of the formats {}", Format::NAMES[1..].join(", ")));
        ways.push("names of columns in load.columns, for example load.columns.prompt = prompt_tokens".into());
    }
    RequestError::Line { file: file.into(), line: 1, problem, allowed: ways.join(", or ") }
}

/// Files whose keys do not tell their unit, or the size of their blocks.
fn refuse_ambiguous(preset: &Preset, sample: &Sample, file: &str, settings: &Settings) -> Result<(), RequestError> {
    if preset.formats.first() != Some(&Format::Mooncake) || sample.has("session_id") || sample.has("delay") {
        return Ok(());
    }
    let refuse = |problem: String, allowed: &str| {
        Err(RequestError::File { file: file.into(), problem, allowed: allowed.into() })
    };
    let number = |row: &Value, key: &str| row.get(key).and_then(Value::as_f64);
    let has_hashes = sample.has("hash_ids");
    if settings.time_unit.is_none() && !has_hashes && sample.has("timestamp") {
        return refuse(
            "has timestamp, input_length, output_length and no hash_ids: AIPerf and Mooncake mean milliseconds, \
             GuideLLM seconds"
                .into(),
            "load.format = mooncake (milliseconds), or load.time_unit = ms or s",
        );
    }
    let fraction = sample.rows.iter().filter_map(|row| number(row, "timestamp")).find(|at| at.fract() != 0.0);
    if let (Some(at), None) = (fraction, settings.time_unit) {
        return refuse(
            format!(
                "has the keys of Mooncake and a timestamp of {at}: Mooncake's are whole milliseconds, \
                 GuideLLM's seconds"
            ),
            "load.time_unit = s or ms",
        );
    }
    if settings.block.is_some() || !has_hashes {
        return Ok(());
    }
    let counts = sample.rows.iter().filter_map(|row| {
        let hashes = row.get("hash_ids").and_then(Value::as_array)?.len() as u64;
        Some((number(row, "input_length")? as u64, hashes))
    });
    let counts: Vec<(u64, u64)> = counts.collect();
    let misfit = counts.iter().find(|(prompt, hashes)| prompt.div_ceil(u64::from(preset.block)) != *hashes);
    let Some((prompt, hashes)) = misfit else { return Ok(()) };
    let fits = |block: &&u64| {
        counts.iter().all(|(prompt, hashes)| prompt.div_ceil(**block) == *hashes || prompt / **block == *hashes)
    };
    // Some other size that fits every row, or a mistake in one: the reader says in which.
    let Some(block) = [16u64, 32, 64, 128, 256, 1024, 2048].iter().find(fits) else { return Ok(()) };
    refuse(
        format!(
            "has the keys of Mooncake, but {hashes} hashes for a prompt of {prompt} tokens: blocks of {block} tokens"
        ),
        &format!(
            "load.format = mooncake with load.block = {block}, and load.time_unit = s or ms, which the \
             file does not say"
        ),
    )
}
