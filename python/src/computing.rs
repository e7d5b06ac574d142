//! Computing while the interpreter is free for others.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use wafersim::answer::Stop;

/// How often somebody looks whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(50);

/// How far a computation is, and whether anybody still waits for it.
#[derive(Debug, Default)]
pub struct Counted {
    done: AtomicU64,
    all: AtomicU64,
    left: Stop,
}

impl Counted {
    /// So many pieces of so many are done.
    pub fn at(&self, done: u64, all: u64) {
        self.all.store(all, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// One more piece is done.
    pub fn one_more(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether who waited has gone: what can stop, should.
    pub fn is_left(&self) -> bool {
        self.left.is_set()
    }

    /// For what looks by itself whether it should go on.
    pub fn stop(&self) -> Stop {
        self.left.clone()
    }
}

/// Computes on a thread of its own. `progress`, a callable, is called with the number of pieces that are done, as
/// `work` counts them, and the number of all, about twenty times a second and at the end.
///
/// # Errors
/// What `work` says, what `progress` raises, `KeyboardInterrupt`; `RuntimeError` where `work` panics, which is a bug.
pub fn computed<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&Counted) -> PyResult<T> + Send + 'static,
) -> PyResult<T> {
    let counted = Arc::new(Counted::default());
    let (sender, receiver) = channel();
    let counting = Arc::clone(&counted);
    thread::Builder::new()
        .name("wafersim".into())
        .spawn(move || {
            // Who waited may have gone.
            let _nobody_listens = sender.send(work(&counting));
        })
        .map_err(|error| PyRuntimeError::new_err(format!("no thread can be made: {error}")))?;
    let receiver = Mutex::new(receiver);
    let waited = wait(py, progress.as_ref(), &counted, &receiver);
    counted.left.set();
    waited
}

fn wait<T: Send>(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    counted: &Counted,
    receiver: &Mutex<Receiver<PyResult<T>>>,
) -> PyResult<T> {
    loop {
        let received = py.detach(|| match receiver.lock() {
            Ok(receiver) => receiver.recv_timeout(LOOK),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        });
        let (done, all) = (counted.done.load(Ordering::Relaxed), counted.all.load(Ordering::Relaxed));
        if let Some(progress) = progress.filter(|_| all > 0) {
            progress.call1(py, (done, all))?;
        }
        match received {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("a bug in wafersim: the computation ended without a result"));
            }
        }
    }
}
