//! A trace in another format. The plain CSV holds everything that is read; others hold what they can, and a trace that
//! has more is refused, or loses it by name.

use std::io::Write;

use crate::format::Format;
use crate::number::{plain, written};
use crate::reader::{Start, TraceRequest, seconds};
use crate::settings::TimeUnit;

/// Formats that are written.
pub const WRITTEN: [Format; 6] =
    [Format::Plain, Format::Mooncake, Format::Azure, Format::Vidur, Format::Splitwise, Format::LlmServingSim];

/// What the requests of a trace have, so that a writer knows its columns before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Has {
    /// Sessions.
    pub sessions: bool,
    /// Requests that wait for an answer.
    pub waits: bool,
    /// Tokens kept of sessions.
    pub kept: bool,
    /// Hashes.
    pub hashes: bool,
    /// Blocks of other than 512 tokens, which Mooncake's rows cannot say.
    pub other_blocks: bool,
}

impl Has {
    /// Adds what a request has.
    pub fn add(&mut self, request: &TraceRequest) {
        self.sessions |= !request.session.is_empty();
        self.waits |= matches!(request.start, Start::After(_));
        self.kept |= request.kept.is_some();
        self.hashes |= request.block > 0;
        self.other_blocks |= request.block > 0 && request.block != 512;
    }

    /// What a format cannot say of it: what must be there (the trace would be another one), and what is only lost.
    pub const fn missing(&self, format: Format) -> (Option<&'static str>, Option<&'static str>) {
        let lost = match format {
            Format::Plain => None,
            Format::Mooncake if self.kept => Some("how many tokens turns keep of their sessions"),
            Format::Mooncake if self.other_blocks => Some("the size of its blocks (read it with load.block)"),
            Format::Mooncake => None,
            _ if self.hashes => Some("what prompts have in common"),
            _ if self.sessions => Some("its sessions"),
            _ => None,
        };
        let needed = match format {
            Format::Plain | Format::Mooncake => None,
            _ if self.waits => Some("turns that wait for the answer before them"),
            _ => None,
        };
        (needed, lost)
    }
}

/// Writes requests one by one.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    format: Format,
    has: Has,
    count: u64,
}

/// The date that written Azure times count from: 2023-11-16, the day of the 2023 trace, in picoseconds since 1970.
const AZURE_ORIGIN: i128 = 1_700_092_800_000_000_000_000;

impl<W: Write> Writer<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// Where writing fails.
    pub fn new(mut output: W, format: Format, has: Has) -> std::io::Result<Self> {
        match format {
            Format::Azure => writeln!(output, "TIMESTAMP,ContextTokens,GeneratedTokens")?,
            Format::Vidur => writeln!(output, "arrived_at,num_prefill_tokens,num_decode_tokens")?,
            Format::Splitwise => writeln!(
                output,
                "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size"
            )?,
            Format::Mooncake | Format::LlmServingSim => {}
            _ => {
                let columns = [
                    (has.sessions, ",session"),
                    (has.waits, ",delay_s"),
                    (has.kept, ",kept_tokens"),
                    (has.hashes, ",block_tokens,hash_ids"),
                ];
                let more: String = columns.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| *name).collect();
                writeln!(output, "arrival_s,prompt_tokens,output_tokens{more}")?;
            }
        }
        Ok(Self { output, format, has, count: 0 })
    }

    /// Writes a request.
    ///
    /// # Errors
    /// Where writing fails.
    pub fn write(&mut self, request: &TraceRequest) -> std::io::Result<()> {
        let at = i128::from(request.start.picoseconds());
        let TraceRequest { prompt, output, .. } = request;
        match self.format {
            Format::Azure => {
                let date = written(AZURE_ORIGIN + at, TimeUnit::Date);
                let date = date.replace('T', " ").replace('Z', "+00:00");
                writeln!(self.output, "{date},{prompt},{output}")?;
            }
            Format::Vidur => writeln!(self.output, "{},{prompt},{output}", plain(at, 12))?,
            Format::Splitwise => {
                writeln!(self.output, "{},2,0,{},1,{prompt},{output}", self.count, plain(at, 12))?;
            }
            Format::LlmServingSim => writeln!(
                self.output,
                "{{\"input_toks\": {prompt}, \"output_toks\": {output}, \"arrival_time_ns\": {}}}",
                (at + 500) / 1000
            )?,
            Format::Mooncake => self.mooncake(request)?,
            _ => self.plain(request)?,
        }
        self.count += 1;
        Ok(())
    }

    fn mooncake(&mut self, request: &TraceRequest) -> std::io::Result<()> {
        let output = &mut self.output;
        let (key, at) = match request.start {
            Start::At(at) => ("timestamp", at),
            Start::After(wait) => ("delay", wait),
        };
        write!(output, "{{\"{key}\": {}, \"input_length\": {}", plain(at.into(), 9), request.prompt)?;
        write!(output, ", \"output_length\": {}", request.output)?;
        if request.block > 0 {
            let hashes: Vec<String> = request.hashes.iter().map(u64::to_string).collect();
            write!(output, ", \"hash_ids\": [{}]", hashes.join(", "))?;
        }
        if !request.session.is_empty() {
            write!(output, ", \"session_id\": {}", serde_json::Value::from(request.session.as_str()))?;
        }
        writeln!(output, "}}")
    }

    fn plain(&mut self, request: &TraceRequest) -> std::io::Result<()> {
        let output = &mut self.output;
        let (at, delay) = match request.start {
            Start::At(at) => (seconds(at), String::new()),
            Start::After(wait) => (String::new(), seconds(wait)),
        };
        write!(output, "{at},{},{}", request.prompt, request.output)?;
        if self.has.sessions {
            write!(output, ",{}", quoted(&request.session))?;
        }
        if self.has.waits {
            write!(output, ",{delay}")?;
        }
        if self.has.kept {
            write!(output, ",{}", request.kept.map_or_else(String::new, |kept| kept.to_string()))?;
        }
        if self.has.hashes && request.block == 0 {
            write!(output, ",,")?;
        } else if self.has.hashes {
            write!(output, ",{},", request.block)?;
            for (index, hash) in request.hashes.iter().enumerate() {
                write!(output, "{}{hash}", if index > 0 { " " } else { "" })?;
            }
        }
        writeln!(output)
    }

    /// Ends it.
    ///
    /// # Errors
    /// Where writing fails.
    pub fn finish(mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// A field of a CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
