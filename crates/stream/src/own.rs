//! Code from outside in a run: an own policy, admission, routing of experts, load. Each run makes its own from the
//! scenario's seed, so that runs side by side share nothing. Its id goes into the hash of a run's inputs and stands in
//! what is said of the machine.

use std::fmt;
use std::sync::Arc;

use crate::admission::Admission;
use crate::experts::ExpertSource;
use crate::load::{Door, Entry, LoadSource, Lost, Story, TaskOutcome};
use crate::policy::Policy;
use crate::request::Request;
use crate::time::Time;

/// Code from outside: its id, and how it is made for a run from the scenario's seed.
struct Own<T: ?Sized> {
    id: String,
    start: Start<T>,
}

type Start<T> = Arc<dyn Fn(u64) -> Box<T> + Send + Sync>;

impl<T: ?Sized> Own<T> {
    fn new(id: impl Into<String>, start: impl Fn(u64) -> Box<T> + Send + Sync + 'static) -> Option<Self> {
        Some(Self { id: id.into(), start: Arc::new(start) })
    }

    fn start(&self, seed: u64) -> Box<T> {
        (self.start)(seed)
    }
}

impl<T: ?Sized> Clone for Own<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), start: Arc::clone(&self.start) }
    }
}

impl<T: ?Sized> fmt::Debug for Own<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id)
    }
}

/// What of a run is code from outside, in place of what the scenario says.
#[derive(Debug, Clone, Default)]
pub struct StreamExtensions {
    policy: Option<Own<dyn Policy>>,
    admission: Option<Own<dyn Admission>>,
    experts: Option<Own<dyn ExpertSource>>,
    load: Option<Own<dyn LoadSource>>,
}

/// Every `start` is called once for each run, with the scenario's seed. An id is a name with every number that the code
/// works by.
impl StreamExtensions {
    /// The same with a policy: who goes next.
    #[must_use]
    pub fn policy(self, id: impl Into<String>, start: impl Fn(u64) -> Box<dyn Policy> + Send + Sync + 'static) -> Self {
        Self { policy: Own::new(id, start), ..self }
    }

    /// The same with an admission: who gets room for keys and values.
    #[must_use]
    pub fn admission(
        self,
        id: impl Into<String>,
        start: impl Fn(u64) -> Box<dyn Admission> + Send + Sync + 'static,
    ) -> Self {
        Self { admission: Own::new(id, start), ..self }
    }

    /// The same with a source of experts: which of them each token wants. Nothing in a model without routed experts.
    #[must_use]
    pub fn experts(
        self,
        id: impl Into<String>,
        start: impl Fn(u64) -> Box<dyn ExpertSource> + Send + Sync + 'static,
    ) -> Self {
        Self { experts: Own::new(id, start), ..self }
    }

    /// The same with a load: who asks, when and for how much. Prompts and answers have one token at least.
    #[must_use]
    pub fn load(
        self,
        id: impl Into<String>,
        start: impl Fn(u64) -> Box<dyn LoadSource> + Send + Sync + 'static,
    ) -> Self {
        Self { load: Own::new(id, start), ..self }
    }

    /// Kind and id of each: `policy: patient`.
    pub fn ids(&self) -> Vec<String> {
        let ids = [
            ("policy", self.policy.as_ref().map(|own| &own.id)),
            ("admission", self.admission.as_ref().map(|own| &own.id)),
            ("experts of tokens", self.experts.as_ref().map(|own| &own.id)),
            ("load", self.load.as_ref().map(|own| &own.id)),
        ];
        ids.into_iter().filter_map(|(kind, id)| Some(format!("{kind}: {}", id?))).collect()
    }

    pub(crate) fn started_policy(&self, seed: u64) -> Option<Box<dyn Policy>> {
        self.policy.as_ref().map(|own| own.start(seed))
    }

    pub(crate) fn started_admission(&self, seed: u64) -> Option<Box<dyn Admission>> {
        self.admission.as_ref().map(|own| own.start(seed))
    }

    pub(crate) fn started_experts(&self, seed: u64) -> Option<Box<dyn ExpertSource>> {
        self.experts.as_ref().map(|own| own.start(seed))
    }

    pub(crate) fn started_load(&self, seed: u64) -> Option<Box<dyn LoadSource>> {
        let started = self.load.as_ref().map(|own| own.start(seed))?;
        Some(Box::new(Checked(started)))
    }

    /// The same under a load of a scenario.
    pub(crate) fn without_load(self) -> Self {
        Self { load: None, ..self }
    }
}

/// A load whose requests have one token at least on both sides.
#[derive(Debug)]
struct Checked(Box<dyn LoadSource>);

fn checked(request: Request) -> Request {
    Request { prompt: request.prompt.max(1), output: request.output.max(1), ..request }
}

impl LoadSource for Checked {
    fn next(&mut self) -> Option<Request> {
        self.0.next().map(checked)
    }

    fn most_inside(&self) -> Option<u64> {
        self.0.most_inside()
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        self.0.after(user, now).map(checked)
    }

    fn asks(&self) -> bool {
        self.0.asks()
    }

    fn ask(&mut self, request: &Request, door: &Door, now: Time) -> Entry {
        match self.0.ask(request, door, now) {
            Entry::In => Entry::In,
            Entry::Back(next) => Entry::Back(next.map(checked)),
        }
    }

    fn served(&mut self, story: &Story<'_>) {
        self.0.served(story);
    }

    fn beside(&mut self) -> Option<Request> {
        self.0.beside().map(checked)
    }

    fn deadline(&self, request: &Request) -> Option<Time> {
        self.0.deadline(request)
    }

    fn queue_deadline(&self) -> Option<Time> {
        self.0.queue_deadline()
    }

    fn lost(&mut self, lost: &Lost<'_>, now: Time) -> Option<Request> {
        self.0.lost(lost, now).map(checked)
    }

    fn owner(&self, user: u32) -> u32 {
        self.0.owner(user)
    }

    fn tasks(&self, end: Time) -> Option<TaskOutcome> {
        self.0.tasks(end)
    }
}
