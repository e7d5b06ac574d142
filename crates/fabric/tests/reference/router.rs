//! A slow, obvious packet network: BookSim2's input-queued router with both of its allocators, one virtual channel.
//!
//! Written from the description of the pipeline, not from the code of the crate, whose shortcuts (one pointer and one
//! holder per output, worklists, a shared pool) it does not know: here every router is visited in every cycle, the
//! virtual channel and the switch are allocated separately with iSLIP, the second speculatively, and everything that
//! takes time waits in a calendar.

use std::collections::{BTreeMap, VecDeque};

use wafersim_fabric::packet::{Coordinate, Message};

const PORTS: usize = 5;
const LOCAL: usize = 4;

#[derive(Clone, Copy)]
struct Flit {
    destination: Coordinate,
    message: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// The queue is empty.
    Idle,
    /// The flit at the head asks for the output's virtual channel, and speculatively for the switch.
    WantsChannel,
    /// The flit at the head has the channel and asks for the switch.
    Active,
}

struct Input {
    queue: VecDeque<Flit>,
    state: State,
}

struct Output {
    /// The input whose flit has the channel.
    channel_of: Option<usize>,
    /// Slots of the queue downstream that are in use as far as this side knows.
    in_use: u32,
}

/// iSLIP with one iteration: outputs grant, inputs accept, both going round; pointers move where a grant is accepted.
#[derive(Default)]
struct Islip {
    grant_pointers: [usize; PORTS],
    accept_pointers: [usize; PORTS],
}

impl Islip {
    /// The output of each input.
    fn allocate(&mut self, wants: &[Option<usize>; PORTS]) -> [Option<usize>; PORTS] {
        let mut granted_to = [None; PORTS];
        for output in 0..PORTS {
            let round = (0..PORTS).map(|step| (self.grant_pointers[output] + step) % PORTS);
            granted_to[output] = round.into_iter().find(|&input| wants[input] == Some(output));
        }
        let mut matched = [None; PORTS];
        for input in 0..PORTS {
            let round = (0..PORTS).map(|step| (self.accept_pointers[input] + step) % PORTS);
            if let Some(output) = round.into_iter().find(|&output| granted_to[output] == Some(input)) {
                matched[input] = Some(output);
                self.grant_pointers[output] = (input + 1) % PORTS;
                self.accept_pointers[input] = (output + 1) % PORTS;
            }
        }
        matched
    }
}

struct Router {
    place: Coordinate,
    inputs: [Input; PORTS],
    outputs: [Output; PORTS],
    channel_allocator: Islip,
    switch_allocator: Islip,
}

struct Source {
    open: VecDeque<usize>,
    in_use: u32,
}

enum Event {
    Flit { router: usize, input: usize, flit: Flit },
    Credit { router: usize, output: usize },
    SourceCredit { router: usize },
    Arrival { router: usize, flit: Flit },
}

/// When each message is complete.
pub fn completions(columns: u32, rows: u32, queue: u32, hop: u64, messages: &[Message]) -> Vec<u64> {
    let index = |place: Coordinate| (place.row * columns + place.column) as usize;
    let nodes = (columns * rows) as usize;
    let mut routers: Vec<Router> = (0..nodes as u32)
        .map(|node| Router {
            place: Coordinate::new(node % columns, node / columns),
            inputs: std::array::from_fn(|_| Input { queue: VecDeque::new(), state: State::Idle }),
            outputs: std::array::from_fn(|_| Output { channel_of: None, in_use: 0 }),
            channel_allocator: Islip::default(),
            switch_allocator: Islip::default(),
        })
        .collect();
    let mut sources: Vec<Source> = (0..nodes).map(|_| Source { open: VecDeque::new(), in_use: 0 }).collect();
    let mut calendar: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    let mut unsent: Vec<u32> = messages.iter().map(|message| message.flits).collect();
    let mut missing = unsent.clone();
    let mut completion = vec![0; messages.len()];
    let mut cycle = 0;

    while missing.iter().any(|&flits| flits > 0) {
        for event in calendar.remove(&cycle).unwrap_or_default() {
            match event {
                Event::Flit { router, input, flit } => {
                    let port = &mut routers[router].inputs[input];
                    port.queue.push_back(flit);
                    assert!(port.queue.len() <= queue as usize, "a queue overflows");
                    if port.state == State::Idle {
                        port.state = State::WantsChannel;
                    }
                }
                Event::Credit { router, output } => routers[router].outputs[output].in_use -= 1,
                Event::SourceCredit { router } => sources[router].in_use -= 1,
                Event::Arrival { router, flit } => {
                    assert_eq!(routers[router].place, flit.destination);
                    missing[flit.message] -= 1;
                    if missing[flit.message] == 0 {
                        completion[flit.message] = cycle;
                    }
                    calendar.entry(cycle + 3).or_default().push(Event::Credit { router, output: LOCAL });
                }
            }
        }
        for (number, message) in messages.iter().enumerate() {
            if message.cycle == cycle {
                sources[index(message.source)].open.push_back(number);
            }
        }
        for (router, source) in sources.iter_mut().enumerate() {
            if source.in_use == queue {
                continue;
            }
            if let Some(message) = source.open.pop_front() {
                source.in_use += 1;
                unsent[message] -= 1;
                if unsent[message] > 0 {
                    source.open.push_back(message);
                }
                let flit = Flit { destination: messages[message].destination, message };
                calendar.entry(cycle + 2).or_default().push(Event::Flit { router, input: LOCAL, flit });
            }
        }
        for number in 0..nodes {
            for (input, output, flit) in routers[number].step(queue) {
                let place = routers[number].place;
                let back = if input == LOCAL {
                    (2, Event::SourceCredit { router: number })
                } else {
                    (3, Event::Credit { router: index(neighbour(place, input)), output: opposite(input) })
                };
                calendar.entry(cycle + back.0).or_default().push(back.1);
                let ahead = if output == LOCAL {
                    Event::Arrival { router: number, flit }
                } else {
                    Event::Flit { router: index(neighbour(place, output)), input: opposite(output), flit }
                };
                calendar.entry(cycle + hop).or_default().push(ahead);
            }
        }
        cycle += 1;
        assert!(cycle < 1_000_000, "the reference does not end");
    }
    completion
}

impl Router {
    /// One cycle: which flits leave, from which input to which output.
    fn step(&mut self, queue: u32) -> Vec<(usize, usize, Flit)> {
        let route = |input: &Input| input.queue.front().map(|flit| next_output(self.place, flit.destination));
        let routes: [Option<usize>; PORTS] = std::array::from_fn(|input| route(&self.inputs[input]));

        let mut channel_wants = [None; PORTS];
        let mut switch_wants = [None; PORTS];
        for input in 0..PORTS {
            let Some(output) = routes[input] else { continue };
            let has_credit = self.outputs[output].in_use < queue;
            match self.inputs[input].state {
                State::Idle => unreachable!("a queue with a flit is not idle"),
                State::WantsChannel => {
                    if self.outputs[output].channel_of.is_none() {
                        channel_wants[input] = Some(output);
                        if has_credit {
                            switch_wants[input] = Some(output);
                        }
                    }
                }
                State::Active => {
                    if has_credit {
                        switch_wants[input] = Some(output);
                    }
                }
            }
        }
        let channels = self.channel_allocator.allocate(&channel_wants);
        let switches = self.switch_allocator.allocate(&switch_wants);

        for input in 0..PORTS {
            if let Some(output) = channels[input] {
                assert!(self.outputs[output].channel_of.is_none());
                self.outputs[output].channel_of = Some(input);
                self.inputs[input].state = State::Active;
            }
        }
        let mut leaving = Vec::new();
        for input in 0..PORTS {
            let Some(output) = switches[input] else { continue };
            if self.inputs[input].state != State::Active {
                continue; // speculated in vain: the switch, but not the channel
            }
            assert_eq!(self.outputs[output].channel_of, Some(input));
            self.outputs[output].channel_of = None;
            self.outputs[output].in_use += 1;
            let port = &mut self.inputs[input];
            let flit = port.queue.pop_front().expect("an active queue has a flit");
            port.state = if port.queue.is_empty() { State::Idle } else { State::WantsChannel };
            leaving.push((input, output, flit));
        }
        leaving
    }
}

fn next_output(here: Coordinate, to: Coordinate) -> usize {
    if to.column > here.column {
        0
    } else if to.column < here.column {
        1
    } else if to.row > here.row {
        2
    } else if to.row < here.row {
        3
    } else {
        LOCAL
    }
}

fn neighbour(here: Coordinate, port: usize) -> Coordinate {
    match port {
        0 => Coordinate::new(here.column + 1, here.row),
        1 => Coordinate::new(here.column - 1, here.row),
        2 => Coordinate::new(here.column, here.row + 1),
        _ => Coordinate::new(here.column, here.row - 1),
    }
}

fn opposite(port: usize) -> usize {
    [1, 0, 3, 2, LOCAL][port]
}
