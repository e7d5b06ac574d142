//! How wide the terminals behind stdout and stderr are, where there are any. Files and pipes have no width: what goes
//! there is laid out for 100 columns, the same bytes wherever it was made.

use std::io::IsTerminal;

use terminal_size::{Width, terminal_size_of};
use wafersim::report::set_page_width;

/// Narrower terminals are written to as if they had this many columns, wider ones as if they had no more than `WIDEST`.
const NARROWEST: usize = 80;
const WIDEST: usize = 200;

/// Lays texts out for the terminal behind stdout, if one is there.
pub fn fit_stdout() {
    let stdout = std::io::stdout();
    if stdout.is_terminal()
        && let Some((Width(columns), _)) = terminal_size_of(&stdout)
    {
        set_page_width(usize::from(columns).clamp(NARROWEST, WIDEST));
    }
}

/// The width of messages, where stderr is a terminal.
pub fn width_of_stderr() -> Option<usize> {
    let stderr = std::io::stderr();
    let (Width(columns), _) = stderr.is_terminal().then(|| terminal_size_of(&stderr)).flatten()?;
    Some(usize::from(columns).clamp(NARROWEST, WIDEST))
}
