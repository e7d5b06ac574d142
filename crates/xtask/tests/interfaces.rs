//! What each crate offers to others is what its `api.txt` says: a change of an interface shows in the diff.

use std::fs;

use xtask::{Library, api, libraries};

#[test]
fn interfaces_are_as_written_down() {
    let libraries = libraries().expect("the crates can be read");
    assert!(libraries.len() > 20, "{} crates", libraries.len());
    let of = |library| api::difference(library).unwrap_or_else(|error| panic!("{error:#}"));
    let different: Vec<String> = libraries.iter().filter_map(of).collect();
    assert!(
        different.is_empty(),
        "interfaces have changed; if that is meant, run `{}` and read the diff:\n{}",
        api::UPDATE,
        different.join("\n")
    );
}

/// A small crate with everything that makes an interface hard to read off its files.
const LIB: &str = r#"
mod hidden;
pub mod open;
#[cfg(feature = "more")]
pub mod more { pub const MOST: u64 = 3; }
pub use hidden::{Kept, helper as help};
pub use open::Shape;
pub use std::fmt::Debug as Shown;
pub(crate) fn inner() {}
#[cfg(test)]
mod tests { pub fn nothing() {} }
"#;
const HIDDEN: &str = r#"
/// Documented.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Kept<T> { pub value: T, secret: u64 }
impl<T: Clone> Kept<T> { pub fn take(&self, mut count: usize) -> Option<T> { None } fn own(&self) {} }
impl<T> Default for Kept<T> { fn default() -> Self { loop {} } }
pub fn helper<'a>(text: &'a str) -> &'a str where 'a: 'static { text }
pub struct NotExported;
"#;
const OPEN: &str = r#"
use crate::hidden::Kept;
pub enum Shape { Line, Box { width: u64 }, Of(Kept<u8>) }
pub trait Drawn: Send { const SIDES: u32; type Ink; fn draw(&self, on: &mut dyn FnMut(u64)); fn twice(&self) {} }
impl Drawn for Shape { const SIDES: u32 = 1; type Ink = (); fn draw(&self, _: &mut dyn FnMut(u64)) {} }
impl Kept<u8> { pub const NONE: u8 = 0; }
"#;

#[test]
fn what_can_be_reached_is_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = Library { name: "made".into(), folder: folder.path().to_owned() };
    fs::create_dir(folder.path().join("src")).expect("a folder");
    for (name, text) in [("lib", LIB), ("hidden", HIDDEN), ("open", OPEN)] {
        fs::write(folder.path().join(format!("src/{name}.rs")), text).expect("a file");
    }
    let listed = api::of(&library).expect("Rust");
    let expected = "\
# What wafersim_made offers. Written by `cargo xtask api`.
#[non_exhaustive] wafersim_made::Kept
impl Clone + Debug for wafersim_made::Kept
pub const wafersim_made::Kept::NONE: u8
pub fn wafersim_made::Kept::take(&self, count: usize) -> Option<T>
pub wafersim_made::Kept::value: T
impl<T> Default for wafersim_made::Kept<T>
pub struct wafersim_made::Kept<T> { private fields }
pub use wafersim_made::Shape = wafersim_made::open::Shape
pub use wafersim_made::Shown = std::fmt::Debug
pub fn wafersim_made::help<'a>(text: &'a str) -> &'a str where 'a: 'static
#[cfg(feature = \"more\")] pub mod wafersim_made::more
#[cfg(feature = \"more\")] pub const wafersim_made::more::MOST: u64
pub mod wafersim_made::open
pub trait wafersim_made::open::Drawn: Send
type wafersim_made::open::Drawn::Ink
const wafersim_made::open::Drawn::SIDES: u32
fn wafersim_made::open::Drawn::draw(&self, on: &mut dyn FnMut(u64))
fn wafersim_made::open::Drawn::twice(&self) { .. }
impl Drawn for wafersim_made::open::Shape
pub enum wafersim_made::open::Shape
wafersim_made::open::Shape::Box
wafersim_made::open::Shape::Box::width: u64
wafersim_made::open::Shape::Line
wafersim_made::open::Shape::Of(Kept<u8>)
";
    assert_eq!(listed, expected);

    assert!(api::difference(&library).expect("Rust").is_some(), "nothing is written down yet");
    assert!(api::update(&library).expect("a file"));
    assert_eq!(api::difference(&library).expect("Rust"), None);
    assert!(!api::update(&library).expect("a file"), "the second time changes nothing");
    fs::write(folder.path().join("src/open.rs"), OPEN.replace("width: u64", "width: u32")).expect("a file");
    let difference = api::difference(&library).expect("Rust").expect("a field has changed");
    assert!(difference.contains("-wafersim_made::open::Shape::Box::width: u64"), "{difference}");
    assert!(difference.contains("+wafersim_made::open::Shape::Box::width: u32"), "{difference}");
}
