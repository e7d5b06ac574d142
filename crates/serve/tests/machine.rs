//! The machine's thread without a socket: a full queue, a deadline, giving up, the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::runtime::{Builder, Runtime};
use wafersim_serve::machine::{End, MachineThread, Refused, Running, Setup, Wanted};
use wafersim_serve::metrics::Metrics;
use wafersim_serve::prompt::Prompt;
use wafersim_stream::run::Server;
use wafersim_stream::scenario::StreamFile;
use wafersim_stream::service::{Refusal, ServicePlan};

const SCENARIO: &str = "
    [machine]
    model = 'llama-3.1-8b'
    wafers = 1
    users = 4
    context = 8192
";
const ANSWER: u32 = 7000;

fn machine(plan: &str) -> (Runtime, MachineThread, u64) {
    counted(plan, Arc::new(Metrics::new("test")))
}

fn counted(plan: &str, metrics: Arc<Metrics>) -> (Runtime, MachineThread, u64) {
    let file = StreamFile::parse(SCENARIO, "test").unwrap();
    let server = Server::new(file.check("test").unwrap(), None).unwrap();
    let room = server.summary().kv_tokens;
    let setup = Setup {
        server,
        plan: Arc::new(ServicePlan::parse(plan, "test").unwrap()),
        organisations: 1,
        speed: 0.1,
        metrics,
        record: None,
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    (runtime, MachineThread::start(setup).unwrap(), room)
}

async fn ask(machine: &MachineThread) -> Result<Running, Refused> {
    let prompt = Prompt::new("hello", 0, 4);
    machine.submit(Wanted { organisation: 0, prompt, output: ANSWER, most: Some(ANSWER) }).await
}

#[test]
fn a_full_queue_refuses_and_who_waits_too_long_is_told() {
    let (runtime, machine, room) = machine("queue = 1\ndeadline = 0.02");
    runtime.block_on(async {
        let mut running = Vec::new();
        for _ in 0..room / u64::from(ANSWER) {
            let mut one = ask(&machine).await.unwrap();
            one.progress.wait_for(|progress| progress.admitted.is_some()).await.unwrap();
            running.push(one);
        }
        let mut waiting = ask(&machine).await.unwrap();
        assert!(matches!(ask(&machine).await, Err(Refused::Service(Refusal::Capacity, _))));
        let end = *waiting.progress.wait_for(|progress| progress.end.is_some()).await.unwrap();
        assert_eq!((end.end, end.produced, end.admitted), (Some(End::Late), 0, None));
        // Its place in the queue is free again, and a slot is as soon as somebody gives up.
        let mut next = ask(&machine).await.unwrap();
        running.pop();
        let seen =
            *next.progress.wait_for(|progress| progress.admitted.is_some() || progress.end.is_some()).await.unwrap();
        assert!(seen.admitted.is_some(), "{seen:?}");
        let state = machine.state().await.unwrap();
        assert_eq!(state.levels.in_service, running.len() as u64 + 1);
        machine.stop();
        for mut one in running {
            assert_eq!(one.progress.wait_for(|progress| progress.end.is_some()).await.unwrap().end, Some(End::Stopped));
        }
        assert!(matches!(ask(&machine).await, Err(Refused::Stopped)));
        assert!(machine.state().await.is_none());
    });
}

#[test]
fn what_never_fits_is_refused_and_takes_nothing_from_the_account() {
    let (runtime, machine, _) = machine("tokens = { minute = 100000 }");
    runtime.block_on(async {
        let wanted = Wanted { organisation: 0, prompt: Prompt::new("x", 0, 4), output: 8192, most: None };
        assert!(matches!(machine.submit(wanted).await, Err(Refused::TooLong)));
        let account = machine.state().await.unwrap().accounts.remove(0);
        assert_eq!(account.first().map(|limit| limit.remaining), Some(100_000));
        drop(ask(&machine).await.unwrap());
        // What was reserved for the answer comes back when the pass that it is in is through: all but what was used.
        let remaining = async || machine.state().await.unwrap().accounts.remove(0).first().unwrap().remaining;
        while remaining().await <= 99_000 {
            tokio::task::yield_now().await;
        }
    });
}

/// Whoever goes before the answer to the request was looked at gives it up all the same.
#[test]
fn who_goes_before_the_answer_is_seen_gives_it_up() {
    let metrics = Arc::new(Metrics::new("test"));
    let (runtime, machine, _) = counted("", Arc::clone(&metrics));
    runtime.block_on(async {
        let inside = async |wanted: u64| {
            loop {
                let state = machine.state().await.unwrap();
                if state.levels.in_service == wanted {
                    return state;
                }
            }
        };
        let mut asked = Box::pin(ask(&machine));
        assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        inside(1).await;
        drop(asked);
        let state = inside(0).await;
        let text = metrics.text(&state);
        assert!(text.contains("wafersim:requests_cancelled_total{model_name=\"test\"} 1"), "{text}");
    });
}
