//! Tokens as text with the spaces that people put.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// Tokens on one line, as rustfmt would put them in a signature.
pub(crate) fn compact(tokens: &impl ToTokens) -> String {
    let mut line = Line { text: String::new(), last: Last::Open };
    line.stream(tokens.to_token_stream());
    line.text
}

/// What stands before the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// What wants nothing behind it: an opening bracket, `&`, `::`, the mark of a lifetime.
    Open,
    /// A name, a literal, a closing bracket.
    Word,
    /// The name of a lifetime.
    Lifetime,
    /// A comma, a colon, an operator.
    Spaced,
}

struct Line {
    text: String,
    last: Last,
}

impl Line {
    fn stream(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(first) => {
                    let mut sign = first.as_char().to_string();
                    let mut spacing = first.spacing();
                    // Signs of two or three characters; those that belong to generics stand alone.
                    while spacing == Spacing::Joint && !matches!(sign.as_str(), "'" | "<" | ">" | "&" | "*") {
                        let Some(TokenTree::Punct(next)) = tokens.peek() else { break };
                        if matches!(next.as_char(), '\'' | '&' | '<' | '*') {
                            break;
                        }
                        sign.push(next.as_char());
                        spacing = next.spacing();
                        tokens.next();
                    }
                    self.sign(&sign);
                }
                TokenTree::Group(group) => self.group(group.delimiter(), group.stream()),
                TokenTree::Ident(name) => self.word(&name.to_string()),
                TokenTree::Literal(literal) => self.word(&literal.to_string()),
            }
        }
    }

    fn put(&mut self, has_space: bool, text: &str, last: Last) {
        if has_space {
            self.text.push(' ');
        }
        self.text.push_str(text);
        self.last = last;
    }

    fn word(&mut self, word: &str) {
        let last = if self.text.ends_with('\'') { Last::Lifetime } else { Last::Word };
        self.put(self.last != Last::Open, word, last);
    }

    fn sign(&mut self, sign: &str) {
        let (has_space, last) = match sign {
            "," | ";" | ":" => (false, Last::Spaced),
            "::" | ".." | "." | "?" | "<" => (self.last == Last::Spaced, Last::Open),
            ">" => (false, Last::Word),
            "&" | "*" | "'" | "#" => (self.last != Last::Open, Last::Open),
            "!" => (self.last == Last::Spaced, Last::Word),
            _ => (self.last != Last::Open, Last::Spaced),
        };
        self.put(has_space, sign, last);
    }

    fn group(&mut self, delimiter: Delimiter, inner: TokenStream) {
        let (open, close) = match delimiter {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::None => ("", ""),
        };
        let is_block = delimiter == Delimiter::Brace && !inner.is_empty();
        let is_type = delimiter == Delimiter::Parenthesis
            && ["mut", "dyn", "const", "as"].iter().any(|word| self.ends_with(word));
        let has_space =
            matches!(self.last, Last::Spaced | Last::Lifetime) || (self.last == Last::Word && (is_block || is_type));
        self.put(has_space, open, if is_block { Last::Spaced } else { Last::Open });
        self.stream(inner);
        // A list over several lines ends with a comma.
        if self.text.ends_with(',') {
            self.text.pop();
        }
        self.put(is_block, close, Last::Word);
    }

    fn ends_with(&self, word: &str) -> bool {
        let before = self.text.strip_suffix(word);
        before.is_some_and(|before| !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_as_rustfmt_writes_them() {
        for text in [
            "fn answer(question: &Question) -> Result<Answer, AnswerError>",
            "fn run<'a, T: Judge + Sync>(&'a mut self, done: &mut (dyn Fn(usize, &T) + Sync)) -> Option<&'a T>",
            "const fn rows(self) -> impl Iterator<Item = (u64, [f64; 3])>",
            "fn of(path: impl AsRef<std::path::Path>) where T: for<'a> From<&'a str>",
            "fn never(tile: *const u8, many: ::std::vec::Vec<Vec<u8>>) -> !",
            "fn shared(of: Arc<dyn Fn(&str) -> Option<Box<dyn Any>>>, other: &&str)",
            "type Drawing<'a> = &'a (dyn Fn(u64, u64) + Sync)",
            "#[cfg(feature = \"fabric\")]",
            "struct Rows(pub u64, _)",
        ] {
            let tokens: TokenStream = text.parse().expect("tokens");
            assert_eq!(compact(&tokens), text);
        }
    }
}
