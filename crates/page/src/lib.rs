//! Results as files for people: a page with charts that stands for itself, a spreadsheet, Markdown, CSV.
//!
//! A [`Document`] is made of the JSON that a command writes: by [`generic`] of any, by [`answer`], [`plan`], [`stream`]
//! and [`explain`] of those that have pages of their own. Its cells and the records of its charts are *places* in that
//! JSON, so that no number on a page can be another than the JSON's. What a document is written as knows nothing of
//! where it comes from: [`html`], [`workbook`], [`text`], [`parquet`] (with the feature of that name).
//!
//! This crate asks nothing and computes nothing; it opens no file and no socket. A page holds all that it needs: its
//! data, its style, its script, and Vega-Lite for its charts; it asks no network.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod answer;
pub mod chart;
pub mod cost;
pub mod document;
mod error;
pub mod explain;
pub mod generic;
pub mod html;
pub mod parquet;
pub mod plan;
pub mod size;
pub mod stream;
pub mod text;
pub mod unit;
pub mod workbook;

pub use document::Document;
pub use error::PageError;
