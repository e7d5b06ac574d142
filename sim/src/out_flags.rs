//! `--format` and `--out`: what a command writes, and where. The ending of the file says how it is written.
//!
//! A command says what it can write at the least, its text and its JSON; every other form follows from the JSON, where
//! the command has no form of its own ([`Forms`]).

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;
use wafersim::page::document::{Data, Tone};
use wafersim::page::generic::{self, Heading};
use wafersim::page::html::{self, Made};
use wafersim::page::{Document, parquet, text, workbook};
use wafersim::report::head::Head;

use crate::failure::Failure;
use crate::output::Destination;
use crate::picture_file::Kind;

/// How something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For a terminal.
    #[value(alias = "table")]
    Text,
    /// For documents.
    Markdown,
    /// For spreadsheets and programs: a line a row, all figures in full.
    Csv,
    /// For programs: all figures in full.
    Json,
    /// A page with charts and tables that stands for itself.
    Html,
    /// A spreadsheet.
    Xlsx,
    /// The largest table with the types of its columns; in builds with the feature `parquet`.
    Parquet,
    /// A picture of the result, where it has one.
    Svg,
    /// The same in pixels.
    Png,
    /// The `config.json` of a model, to copy.
    Config,
    /// The file of a wafer, to copy.
    Toml,
}

impl Form {
    /// The form that the ending of a name asks for.
    fn of_ending(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "txt" => Self::Text,
            "md" | "markdown" => Self::Markdown,
            "csv" => Self::Csv,
            "json" => Self::Json,
            "html" | "htm" => Self::Html,
            "xlsx" => Self::Xlsx,
            "parquet" => Self::Parquet,
            "svg" => Self::Svg,
            "png" => Self::Png,
            _ => return None,
        })
    }

    /// Its ending.
    const fn ending(self) -> &'static str {
        match self {
            Self::Text => ".txt",
            Self::Markdown => ".md",
            Self::Csv => ".csv",
            Self::Json => ".json",
            Self::Html => ".html",
            Self::Xlsx => ".xlsx",
            Self::Parquet => ".parquet",
            Self::Svg => ".svg",
            Self::Png => ".png",
            Self::Config => ".json",
            Self::Toml => ".toml",
        }
    }

    /// Its name as a value of `--format`.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it is a file as it was read.
    const fn is_file(self) -> bool {
        matches!(self, Self::Config | Self::Toml)
    }

    const fn is_picture(self) -> bool {
        matches!(self, Self::Svg | Self::Png)
    }
}

/// Whether a command draws its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HasPicture {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Flags of everything that is written.
#[derive(Debug, Args)]
pub struct OutFlags {
    /// How to write it [default: by the ending of --out, text otherwise].
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "text|markdown|csv|json|html|xlsx|parquet|svg|png"
    )]
    format: Option<Form>,
    /// File to write to instead of stdout; .html, .xlsx, .csv, .md, .json, .parquet, .svg, .png and .txt say how.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Where the result goes, opened, and how it is written.
#[derive(Debug)]
pub struct Out {
    /// How.
    pub form: Form,
    destination: Destination,
}

impl OutFlags {
    /// The form that is asked for.
    pub fn form(&self, has_picture: HasPicture) -> Result<Form, Failure> {
        if let Some(form @ (Form::Config | Form::Toml)) = self.format {
            return Err(Failure::Flag {
                flag: "--format".into(),
                problem: format!("is {}, which is of one model or wafer", form.name()),
                allowed: "simctl models NAME --format config, simctl wafers NAME --format toml".into(),
            });
        }
        let by_ending = self.out.as_deref().and_then(Form::of_ending);
        if let (Some(asked), Some(by_ending), Some(out)) = (self.format, by_ending, &self.out)
            && asked != by_ending
        {
            return Err(Failure::Flag {
                flag: "--format".into(),
                problem: format!(
                    "is {}, and the ending of --out {} says {}",
                    asked.name(),
                    out.display(),
                    by_ending.name()
                ),
                allowed: format!("a file whose name ends in {}, or no --format", asked.ending()),
            });
        }
        let form = self.format.or(by_ending).unwrap_or(Form::Text);
        if form.is_picture() && has_picture == HasPicture::No {
            let others = Form::value_variants().iter().filter(|form| !form.is_picture() && !form.is_file());
            let endings: Vec<&str> = others.map(|form| form.ending()).collect();
            return Err(Failure::Flag {
                flag: if self.format.is_some() { "--format" } else { "--out" }.into(),
                problem: format!("asks for a picture ({}), and this command draws none", form.ending()),
                allowed: format!("a file whose name ends in {}", endings.join(", ")),
            });
        }
        if form == Form::Parquet && !parquet::IS_THERE {
            return Err(Failure::Flag {
                flag: if self.format.is_some() { "--format" } else { "--out" }.into(),
                problem: "asks for Parquet, which this build does not write (cargo build --features parquet)".into(),
                allowed: "a file whose name ends in .csv, which reads back to the same numbers".into(),
            });
        }
        Ok(form)
    }

    /// Writes the file of one model or wafer as it is, where `form` asks for that; else nothing, and `false`.
    pub fn copies(&self, form: Form, text: impl FnOnce() -> Result<String, Failure>) -> Result<bool, Failure> {
        if self.format != Some(form) {
            return Ok(false);
        }
        let text = text()?;
        Destination::open(self.out.as_deref())?.write_bytes(text.as_bytes())?;
        Ok(true)
    }

    /// Opens the file, so that a wrong path, or a form that there is not, is known at once.
    pub fn open(&self, has_picture: HasPicture) -> Result<Out, Failure> {
        let form = self.form(has_picture)?;
        Ok(Out { form, destination: Destination::open(self.out.as_deref())? })
    }
}

type Written<'a, T> = &'a dyn Fn() -> Result<T, Failure>;

/// What a command can write; each form is made where it is asked for only.
#[derive(Clone, Copy)]
pub struct Forms<'a> {
    command: &'a str,
    head: Option<&'a Head>,
    text_head: Option<&'a Head>,
    text: Written<'a, String>,
    json: Written<'a, String>,
    markdown: Option<Written<'a, String>>,
    csv: Option<Written<'a, String>>,
    picture: Option<&'a dyn Fn(Kind) -> Result<Vec<u8>, Failure>>,
    document: Option<&'a dyn Fn(Data) -> Result<Document, Failure>>,
}

impl<'a> Forms<'a> {
    /// Text and JSON of a command's result.
    pub fn new(command: &'a str, text: Written<'a, String>, json: Written<'a, String>) -> Self {
        Self {
            command,
            head: None,
            text_head: None,
            text,
            json,
            markdown: None,
            csv: None,
            picture: None,
            document: None,
        }
    }

    /// With what was asked, which every form says.
    #[must_use]
    pub fn asked(self, head: &'a Head) -> Self {
        Self { head: Some(head), text_head: Some(head), ..self }
    }

    /// With something else that was asked in its text, where the text says the rest itself.
    #[must_use]
    pub fn asked_in_text(self, head: &'a Head) -> Self {
        Self { text_head: Some(head), ..self }
    }

    /// With nothing in its text of what was asked.
    #[must_use]
    pub fn bare_text(self) -> Self {
        Self { text_head: None, ..self }
    }

    fn text(&self) -> Result<String, Failure> {
        let text = (self.text)()?;
        Ok(match self.text_head {
            Some(head) => head.text(text),
            None => text,
        })
    }

    fn json(&self) -> Result<String, Failure> {
        let json = (self.json)()?;
        Ok(match self.head {
            Some(head) => head.json(&json)?,
            None => json,
        })
    }

    /// With Markdown of its own.
    #[must_use]
    pub fn markdown(self, markdown: Written<'a, String>) -> Self {
        Self { markdown: Some(markdown), ..self }
    }

    /// With CSV of its own.
    #[must_use]
    pub fn csv(self, csv: Written<'a, String>) -> Self {
        Self { csv: Some(csv), ..self }
    }

    /// With a picture.
    #[must_use]
    pub fn picture(self, picture: &'a dyn Fn(Kind) -> Result<Vec<u8>, Failure>) -> Self {
        Self { picture: Some(picture), ..self }
    }

    /// With a page of its own, made of the JSON.
    #[must_use]
    pub fn document(self, document: &'a dyn Fn(Data) -> Result<Document, Failure>) -> Self {
        Self { document: Some(document), ..self }
    }

    fn page(&self) -> Result<Document, Failure> {
        let main: Value = serde_json::from_str(&self.json()?).map_err(|error| no_json(&error))?;
        let data = Data { main, beside: Vec::new() };
        if let Some(document) = self.document {
            return document(data);
        }
        let text = self.text()?;
        let mut document = generic::document(heading(self.command, &text), data);
        document.sections.push(as_text(text));
        Ok(document)
    }
}

/// The printed text, below all else.
pub fn as_text(text: String) -> wafersim::page::document::Section {
    use wafersim::page::document::{Part, Section};
    Section::new("as-text", "As text").show(Some(Part::Lines(text)))
}

/// What a page is headed with where nothing better is known: the first sentence of the text.
pub fn heading(command: &str, text: &str) -> Heading {
    let paragraph: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    // A table that stands at the beginning says nothing in one line.
    let is_prose = paragraph.len() <= 6 && paragraph.iter().all(|line| !line.contains("---") && !line.contains("   "));
    let verdict = if is_prose { paragraph.join(" ") } else { String::new() };
    Heading { title: format!("simctl {command}"), verdict, tone: Tone::Neutral }
}

fn no_json(error: &serde_json::Error) -> Failure {
    Failure::Write { file: "JSON".into(), reason: error.to_string() }
}

/// What made a page, with the command as it would be typed.
pub fn made() -> Made {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy())).collect();
    Made {
        generator: format!("wafersim {}", env!("CARGO_PKG_VERSION")),
        command: std::iter::once("simctl".to_owned()).chain(words).collect::<Vec<_>>().join(" "),
    }
}

/// A word of a command, in quotes where a shell would take it apart.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_=./,:@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

impl Out {
    /// Writes the result.
    pub fn write(self, forms: Forms<'_>) -> Result<(), Failure> {
        let Self { form, destination } = self;
        let own = match (form, forms.markdown, forms.csv) {
            (Form::Text, ..) => Some(forms.text()?),
            (Form::Json, ..) => Some(forms.json()?),
            (Form::Markdown, Some(markdown), _) => {
                let markdown = markdown()?;
                Some(match forms.head {
                    Some(head) => head.markdown(markdown),
                    None => markdown,
                })
            }
            (Form::Csv, _, Some(csv)) => {
                let csv = csv()?;
                Some(match forms.head {
                    Some(head) => head.csv(&csv)?,
                    None => csv,
                })
            }
            _ => None,
        };
        if let Some(own) = own {
            return destination.write(&own);
        }
        match (form, forms.picture) {
            (Form::Svg, Some(draw)) => return destination.write_bytes(&draw(Kind::Svg)?),
            (Form::Png, Some(draw)) => return destination.write_bytes(&draw(Kind::Png)?),
            _ => {}
        }
        let document = forms.page()?;
        match form {
            Form::Html => destination.write_bytes(html::page(&document, &made())?.as_bytes()),
            Form::Xlsx => destination.write_bytes(&workbook::xlsx(&document)?),
            Form::Parquet => destination.write_bytes(&parquet::bytes(&document)?),
            Form::Csv => destination.write(&text::csv(&document)?),
            _ => destination.write(&text::markdown(&document)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(format: Option<Form>, out: &str) -> Result<Form, Failure> {
        OutFlags { format, out: (!out.is_empty()).then(|| out.into()) }.form(HasPicture::Yes)
    }

    #[test]
    fn endings_say_how() {
        for (format, out, expected) in [
            (None, "", Form::Text),
            (None, "a", Form::Text),
            (None, "/dev/null", Form::Text),
            (None, "a.HTML", Form::Html),
            (None, "a.md", Form::Markdown),
            (None, "a.tar.csv", Form::Csv),
            (Some(Form::Csv), "a.dat", Form::Csv),
            (Some(Form::Csv), "a.csv", Form::Csv),
            (Some(Form::Html), "", Form::Html),
        ] {
            assert_eq!(form(format, out).unwrap(), expected, "{out}");
        }
        let refused = form(Some(Form::Csv), "a.html").unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("a file whose name ends in .csv"), "{refused}");
    }

    #[test]
    fn commands_can_be_typed_again() {
        assert_eq!([quoted("--set"), quoted("a b"), quoted("it's")], ["--set", "'a b'", "'it'\\''s'"]);
    }
}
