//! Brings what was written to the disk, beside the run: a row waits for the operating system, not for the disk.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// What the thread is to do.
#[derive(Debug, Default)]
struct State {
    /// Something was written since the disk had everything.
    is_dirty: bool,
    is_over: bool,
    /// What the operating system said of the first failure.
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that brings a file to the disk, again and again as long as something is written to it. Whatever is written
/// while the disk is at work goes with the next time: a slow disk makes larger groups, not a slower run.
#[derive(Debug)]
pub struct Syncing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncing {
    /// Starts the thread for a file that is open for writing.
    pub fn start(file: File) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = Builder::new().name("store".into()).spawn(move || work(&of_thread, &file))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Something was written. What the operating system said, where the disk has failed before.
    pub fn wrote(&self) -> Result<(), String> {
        let mut state = self.shared.state();
        state.is_dirty = true;
        self.shared.woken.notify_one();
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// Waits until the disk has everything.
    pub fn finish(mut self) -> Result<(), String> {
        self.stop();
        self.shared.state().failed.clone().map_or(Ok(()), Err)
    }

    fn stop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.woken.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ended = thread.join();
        }
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(shared: &Shared, file: &File) {
    loop {
        let mut state = shared.state();
        while !state.is_dirty && !state.is_over {
            state = shared.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_dirty {
            return;
        }
        state.is_dirty = false;
        drop(state);
        if let Err(error) = file.sync_data() {
            shared.state().failed.get_or_insert_with(|| error.to_string());
        }
    }
}
