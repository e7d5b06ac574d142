//! Files for people: the ending of `--out` says how a result is written, for every command that has one.

use serde_json::Value;

use crate::surface::{Folder, simctl};

