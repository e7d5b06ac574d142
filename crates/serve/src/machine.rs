//! The thread that runs the engine: it lets requests in, moves simulated time along with the clock, and tells how far
//! each request is.
//!
//! Whoever waits for a request sees its [`Progress`], the newest only: a client that reads slowly costs no memory, and
//! gets what it has missed when it reads again. Whoever drops a [`Running`] gives the request up, and its slot is
//! free. Between two looks at the clock lie [`TICK`] at least, in which all that is due happens at once.

mod delivery;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use wafersim_stream::Time;
use wafersim_stream::costs::StationKind;
use wafersim_stream::engine::live::FromOutside;
use wafersim_stream::observer::Levels;
use wafersim_stream::request::Request;
use wafersim_stream::run::Server;
use wafersim_stream::service::{Account, Ask, LimitState, Refusal, ServicePlan};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::prompt::Prompt;
use crate::record::Recorded;
use delivery::{Delivery, Live};

/// Shortest time between two looks at the clock: chunks are late by this at most.
pub const TICK: Duration = Duration::from_micros(500);
/// Wall time that is simulated at once where the simulation is behind: whoever asks waits no longer.
const STRETCH: f64 = 0.02;
/// Time between two looks at the clock where nothing is planned.
const LOOK: Duration = Duration::from_secs(60);
/// Simulated time after which an idle machine begins again at 0, with full buckets and an empty cache: 30 days, where
/// the engine's time ends after 213.
const EPOCH: Time = Time(30 * 86_400 * 1_000_000_000_000);

/// How far a request is. Times are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Tokens of the answer so far.
    pub produced: u32,
    /// Tokens of the prompt that the cache had.
    pub cached: u32,
    /// When it came.
    pub came: Time,
    /// When it got room.
    pub admitted: Option<Time>,
    /// When its prompt began to be computed.
    pub started: Option<Time>,
    /// When its first token came.
    pub first: Option<Time>,
    /// When its newest token came.
    pub last: Time,
    /// How it ended.
    pub end: Option<End>,
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its answer is complete.
    Finished,
    /// It has waited for room for too long.
    Late,
    /// The server stops.
    Stopped,
}

/// What is asked of the machine.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose account it is on.
    pub organisation: u32,
    /// The prompt.
    pub prompt: Prompt,
    /// Tokens of the answer that will be given.
    pub output: u32,
    /// Tokens of the answer that the client named as most.
    pub most: Option<u32>,
}

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// By the account, or for want of room to wait.
    Service(Refusal, Vec<LimitState>),
    /// It never fits the machine.
    TooLong,
    /// The server stops.
    Stopped,
}

/// A request that was let in. Whoever drops it gives it up.
#[derive(Debug)]
pub struct Running {
    /// Its number.
    pub number: u64,
    /// How far it is.
    pub progress: watch::Receiver<Progress>,
    /// How its account stands.
    pub limits: Vec<LimitState>,
    commands: mpsc::Sender<Command>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.progress.borrow().end.is_none() {
            // Where the thread has ended, so has the request.
            let _ = self.commands.send(Command::Cancel(self.number));
        }
    }
}

/// Who asks. What is answered gives the request up when it is dropped, so that it ends as well where whoever asked has
/// gone before the answer was looked at.
struct Asker {
    answer: oneshot::Sender<Result<Running, Refused>>,
    commands: mpsc::Sender<Command>,
}

enum Command {
    Submit(Box<Wanted>, Asker),
    /// Whether a request would be let in now.
    Check(Box<Wanted>, oneshot::Sender<Result<(), Refused>>),
    Cancel(u64),
    State(oneshot::Sender<State>),
    Stop,
}

/// The machine as it stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// How many are where.
    pub levels: Levels,
    /// Tokens for which room is taken.
    pub used: u64,
    /// Tokens that fit.
    pub capacity: u64,
    /// Simulated seconds since the start.
    pub now: f64,
    /// Seconds that the simulation is behind the clock.
    pub lag: f64,
    /// Busy time of the slots of each wafer so far, in simulated seconds: the mean of its slots; of several machines
    /// one after the other.
    pub wafers: Vec<f64>,
    /// Accounts, by organisation.
    pub accounts: Vec<Vec<LimitState>>,
}

/// Who hears of requests that are let in.
pub type Record = Box<dyn FnMut(&Recorded) + Send>;

/// What a machine is started with.
pub struct Setup {
    /// The machine.
    pub server: Server,
    /// The plan of all accounts.
    pub plan: Arc<ServicePlan>,
    /// How many accounts there are.
    pub organisations: usize,
    /// Simulated seconds in a second.
    pub speed: f64,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
    /// Who hears of every request that is let in.
    pub record: Option<Record>,
}

/// A machine that runs.
#[derive(Debug)]
pub struct MachineThread {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl MachineThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(setup: Setup) -> std::io::Result<Self> {
        let (commands, received) = mpsc::channel();
        let thread = std::thread::Builder::new().name("machine".into()).spawn(move || run(setup, &received))?;
        Ok(Self { commands, thread: Mutex::new(Some(thread)) })
    }

    /// Asks for an answer.
    ///
    /// # Errors
    /// Where the request is not let in.
    pub async fn submit(&self, wanted: Wanted) -> Result<Running, Refused> {
        let (answer, answered) = oneshot::channel();
        let asker = Asker { answer, commands: self.commands.clone() };
        self.commands.send(Command::Submit(Box::new(wanted), asker)).map_err(|_| Refused::Stopped)?;
        answered.await.map_err(|_| Refused::Stopped)?
    }

    /// Whether a request would be let in now; nothing is taken from its account.
    ///
    /// # Errors
    /// Where it would not.
    pub async fn would_admit(&self, wanted: Wanted) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Check(Box::new(wanted), answer)).map_err(|_| Refused::Stopped)?;
        answered.await.map_err(|_| Refused::Stopped)?
    }

    /// How it stands; nothing after its end.
    pub async fn state(&self) -> Option<State> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::State(answer)).ok()?;
        answered.await.ok()
    }

    /// Ends all requests, and the thread.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Why the machine begins again, or does not.
enum Next {
    Again,
    End,
}

fn run(mut setup: Setup, commands: &Receiver<Command>) {
    let mut record = setup.record.take();
    while matches!(epoch(&setup, &mut record, commands), Next::Again) {}
}

/// Runs from simulated time 0 until the end, or until nobody asks after a long time.
fn epoch(setup: &Setup, record: &mut Option<Record>, commands: &Receiver<Command>) -> Next {
    let clock = Clock::start(setup.speed);
    let mut load = FromOutside;
    let mut delivery = Delivery::new(Arc::clone(&setup.metrics), clock);
    let life = setup.plan.cache_life.map(Time::from_seconds);
    let mut engine = setup.server.live(&mut load, &mut delivery, life);
    let account = || Account::new(Arc::clone(&setup.plan));
    let mut accounts: Vec<Account> = (0..setup.organisations.max(1)).map(|_| account()).collect();
    let deadline = setup.plan.deadline.map(Time::from_seconds);
    loop {
        let now = clock.now();
        let target = now.min(engine.now() + Time::from_seconds(STRETCH * setup.speed));
        engine.advance(target);
        let late: Vec<u64> = deadline.map(|deadline| engine.observer().late(target, deadline)).unwrap_or_default();
        late.into_iter().for_each(|number| engine.cancel(number));
        for (at, live) in engine.observer().deliver() {
            if let Some(account) = accounts.get_mut(live.organisation as usize) {
                account.settle(at, live.reserved, &live.used());
            }
        }
        let is_behind = target < now;
        let command = if is_behind {
            match commands.try_recv() {
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => Command::Stop,
                Ok(command) => command,
            }
        } else {
            let next = [engine.next_at(), deadline.and_then(|deadline| engine.observer().next_late(deadline))];
            let wait = next.into_iter().flatten().min().map_or(LOOK, |at| clock.until(at));
            match commands.recv_timeout(wait.max(TICK)) {
                Err(RecvTimeoutError::Timeout) if engine.now() > EPOCH && engine.observer().is_idle() => {
                    return Next::Again;
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => Command::Stop,
                Ok(command) => command,
            }
        };
        match command {
            Command::Submit(wanted, Asker { answer, commands }) => {
                if !is_behind {
                    engine.advance(clock.now());
                }
                let now = engine.now();
                let Some(account) = accounts.get_mut(wanted.organisation as usize) else {
                    let _ = answer.send(Err(Refused::Stopped));
                    continue;
                };
                let tokens = u64::from(wanted.prompt.tokens) + u64::from(wanted.output);
                if !engine.could_serve(tokens) {
                    let _ = answer.send(Err(Refused::TooLong));
                    continue;
                }
                let content = wanted.prompt.content();
                let cached = engine.cached(&content, wanted.prompt.tokens);
                let ask = Ask { prompt: wanted.prompt.tokens, cached, most: wanted.most };
                let is_full = setup.plan.queue.is_some_and(|most| engine.levels().room >= most);
                let admitted = if is_full { Err(Refusal::Capacity) } else { account.admit(now, &ask) };
                let reserved = match admitted {
                    Ok(reserved) => reserved,
                    Err(refusal) => {
                        let _ = answer.send(Err(Refused::Service(refusal, account.limits(now))));
                        continue;
                    }
                };
                let limits = account.limits(now);
                let (prompt, output) = (wanted.prompt.tokens, wanted.output);
                let (live, progress) = Live::new(now, wanted.organisation, prompt, reserved);
                let number = engine.observer().expect(live);
                let request = Request { arrival: now, user: 0, prompt, output, content };
                // Numbers count from 0 in both.
                engine.submit(request);
                if let Some(record) = record {
                    record(&Recorded { came: now, prompt: wanted.prompt, output });
                }
                let _ = answer.send(Ok(Running { number, progress, limits, commands }));
            }
            Command::Check(wanted, answer) => {
                if !is_behind {
                    engine.advance(clock.now());
                }
                let now = engine.now();
                let content = wanted.prompt.content();
                let cached = engine.cached(&content, wanted.prompt.tokens);
                let ask = Ask { prompt: wanted.prompt.tokens, cached, most: wanted.most };
                let tokens = u64::from(wanted.prompt.tokens) + u64::from(wanted.output);
                let is_full = setup.plan.queue.is_some_and(|most| engine.levels().room >= most);
                let checked = match accounts.get(wanted.organisation as usize) {
                    None => Err(Refused::Stopped),
                    Some(_) if !engine.could_serve(tokens) => Err(Refused::TooLong),
                    Some(account) if is_full => Err(Refused::Service(Refusal::Capacity, account.limits(now))),
                    Some(account) => {
                        let admitted = account.clone().admit(now, &ask).map(drop);
                        admitted.map_err(|refusal| Refused::Service(refusal, account.limits(now)))
                    }
                };
                let _ = answer.send(checked);
            }
            Command::Cancel(number) => {
                if engine.observer().knows(number) {
                    engine.cancel(number);
                }
            }
            Command::State(answer) => {
                if !is_behind {
                    engine.advance(clock.now());
                }
                let state = State {
                    levels: engine.levels(),
                    used: engine.used(),
                    capacity: engine.capacity(),
                    now: engine.now().seconds(),
                    lag: clock.seconds(clock.now() - engine.now()),
                    wafers: wafers(engine.stations(), &engine.busy_so_far()),
                    accounts: accounts.iter().map(|account| account.limits(engine.now())).collect(),
                };
                let _ = answer.send(state);
            }
            Command::Stop => {
                engine.observer().stop();
                return Next::End;
            }
        }
    }
}

/// The mean busy time of the slots of each wafer, machine by machine.
fn wafers(stations: &[StationKind], busy: &[u64]) -> Vec<f64> {
    let of_machine = |busy: &[u64]| {
        let mut wafers: Vec<(f64, u32)> = Vec::new();
        for (station, busy) in stations.iter().zip(busy) {
            let StationKind::Slot { wafer, .. } = station else { continue };
            let at = *wafer as usize;
            if wafers.len() <= at {
                wafers.resize(at + 1, (0.0, 0));
            }
            if let Some((sum, slots)) = wafers.get_mut(at) {
                *sum += Time(*busy).seconds();
                *slots += 1;
            }
        }
        wafers.into_iter().map(|(sum, slots)| sum / f64::from(slots.max(1))).collect::<Vec<f64>>()
    };
    busy.chunks(stations.len().max(1)).flat_map(of_machine).collect()
}
