//! Computing while the interpreter is free for others.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How often somebody looks whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(50);

/// Computes on a thread of its own. `progress`, a callable and the number of all pieces, is called with the number of
/// pieces that are done, as `work` counts them, and the number of all, about twenty times a second and at the end.
///
/// # Errors
/// What `work` says, what `progress` raises, `KeyboardInterrupt`; `RuntimeError` where `work` panics, which is a bug.
pub fn computed<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<(Py<PyAny>, usize)>,
    work: impl FnOnce(&AtomicUsize) -> PyResult<T> + Send + 'static,
) -> PyResult<T> {
    let done = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = channel();
    let counted = Arc::clone(&done);
    thread::Builder::new()
        .name("wafersim".into())
        .spawn(move || {
            // Who waited may have gone.
            let _nobody_listens = sender.send(work(&counted));
        })
        .map_err(|error| PyRuntimeError::new_err(format!("no thread can be made: {error}")))?;
    let receiver = Mutex::new(receiver);
    loop {
        let received = py.detach(|| match receiver.lock() {
            Ok(receiver) => receiver.recv_timeout(LOOK),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        });
        if let Some((progress, all)) = &progress {
            progress.call1(py, (done.load(Ordering::Relaxed), *all))?;
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
