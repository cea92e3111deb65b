//! What each call does itself: the uses of storages, and the events in their order.

use super::calls::{Calls, Mention, Node};
use super::names::{Name, Phase};
use super::schema::Argument;
use super::tree::Tree;

/// One use of a storage; its life is found later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    pub(super) mention: u32,
    pub(super) mode: UseMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UseMode {
    Read,
    Write,
    Update,
    /// A write if it covers the whole object, else an update.
    Replace,
}

/// What happens, in the order in which it happens at one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EventKind {
    /// A call names what it takes.
    Takes,
    /// The storage of a mention begins a new life.
    Birth,
    /// A call uses storages.
    Uses,
    /// A call names what it returns.
    Returns,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// The id at which it happens.
    pub(super) at: u64,
    pub(super) what: EventKind,
    /// Ties are taken in this order.
    pub(super) turn: u32,
    pub(super) node: u32,
    /// Uses: where they start and end. Birth: the mention.
    pub(super) range: (u32, u32),
    /// Whether the call's work is counted here.
    pub(super) works: bool,
}

/// When a storage was last taken, written and born, in counted calls; and what the call at hand does with it.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// How many of the calls that are open were given it.
    held: u32,
    taken: u32,
    written: u32,
    born: u32,
    given: u32,
    returned: u32,
    plain: u32,
    changed: u32,
    used: u32,
}

/// A call whose inside is being visited.
#[derive(Debug)]
struct Frame {
    node: u32,
    /// Which of its children comes next.
    next: u32,
    /// The counts of calls, births and work when it was entered.
    counted: u32,
    births: u32,
    work: u32,
    /// The last id inside.
    last: u64,
    /// Whether there is an operator inside.
    operators: bool,
}

/// How many calls went which way.
#[derive(Debug, Default)]
pub(super) struct CallCounts {
    pub(super) operators: u64,
    pub(super) leaves: u64,
    pub(super) counted: u64,
    pub(super) not_leaves: u64,
    pub(super) views: u64,
    pub(super) no_data: u64,
    pub(super) without_tensors: u64,
    pub(super) covered: u64,
}

/// What a walk through the tree finds.
pub(super) struct Visit<'c> {
    calls: &'c Calls,
    pub(super) phases: Vec<Option<Phase>>,
    pub(super) views: Vec<bool>,
    seen: Vec<Seen>,
    pub(super) uses: Vec<Use>,
    pub(super) events: Vec<Event>,
    births: u32,
    counted: u32,
    work: u32,
    tick: u32,
    pub(super) counts: CallCounts,
}

impl<'c> Visit<'c> {
    pub(super) fn new(calls: &'c Calls) -> Self {
        Self {
            calls,
            phases: vec![None; calls.nodes.len()],
            views: vec![false; calls.nodes.len()],
            seen: vec![Seen::default(); calls.storages.len()],
            uses: Vec::new(),
            events: Vec::new(),
            births: 0,
            counted: 0,
            work: 0,
            tick: 0,
            counts: CallCounts::default(),
        }
    }

    fn enter(&mut self, node: u32, above: Option<Phase>) -> Frame {
        let call = &self.calls.nodes[node as usize];
        self.phases[node as usize] = self.calls.names[call.name as usize].phase.or(above);
        if call.operator {
            for mention in self.calls.inputs(call) {
                self.seen[mention.storage as usize].held += 1;
            }
        }
        Frame {
            node,
            next: 0,
            counted: self.counted,
            births: self.births,
            work: self.work,
            last: call.id,
            operators: false,
        }
    }

    /// Visits all calls, those inside a call before it.
    pub(super) fn all(&mut self, tree: &Tree) {
        let mut stack = Vec::new();
        for &root in &tree.roots {
            stack.push(self.enter(root, None));
            while let Some(frame) = stack.last_mut() {
                let node = frame.node as usize;
                let children = &tree.children[tree.first[node] as usize..tree.first[node + 1] as usize];
                if let Some(&child) = children.get(frame.next as usize) {
                    frame.next += 1;
                    stack.push(self.enter(child, self.phases[node]));
                    continue;
                }
                let Some(frame) = stack.pop() else { break };
                self.leave(&frame);
                if let Some(above) = stack.last_mut() {
                    above.last = above.last.max(frame.last);
                    above.operators |= frame.operators || self.calls.nodes[node].operator;
                }
            }
        }
        // Only the visit itself needs it.
        self.seen = Vec::new();
    }

    fn event(&mut self, at: u64, what: EventKind, node: u32, range: (u32, u32), works: bool) {
        let turn = self.events.len() as u32;
        self.events.push(Event { at, what, turn, node, range, works });
    }

    fn leave(&mut self, frame: &Frame) {
        let calls = self.calls;
        let node = &calls.nodes[frame.node as usize];
        if !node.operator {
            return;
        }
        self.counts.operators += 1;
        self.counts.leaves += u64::from(!frame.operators);
        if node.start == node.end {
            self.counts.without_tensors += 1;
            return;
        }
        self.tick += 1;
        let tick = self.tick;
        let name = &calls.names[node.name as usize];
        let (inputs, outputs) = (calls.inputs(node), calls.outputs(node));
        for mention in inputs {
            self.seen[mention.storage as usize].given = tick;
        }
        // Memory that neither this call nor one around it was given is new, unless a call inside made it.
        for (at, mention) in (node.split..).zip(outputs) {
            let seen = &mut self.seen[mention.storage as usize];
            seen.returned = tick;
            if seen.held == 0 && seen.born <= frame.births {
                self.births += 1;
                seen.born = self.births;
                self.event(node.id, EventKind::Birth, frame.node, (at, at + 1), false);
            }
        }
        if !inputs.is_empty() {
            self.event(node.id, EventKind::Takes, frame.node, (0, 0), false);
        }
        self.uses_of(frame, node, name);
        for mention in inputs {
            self.seen[mention.storage as usize].held -= 1;
        }
        if !outputs.is_empty() {
            self.event(frame.last, EventKind::Returns, frame.node, (0, 0), false);
        }
    }

    /// What the call itself does.
    fn uses_of(&mut self, frame: &Frame, node: &Node, name: &Name) {
        let calls = self.calls;
        let (inputs, outputs, tick) = (calls.inputs(node), calls.outputs(node), self.tick);
        let schema = calls.schemas.get(node.schema as usize);
        if name.no_data {
            self.counts.no_data += 1;
            return;
        }
        let shared = outputs.iter().all(|m| self.seen[m.storage as usize].given == tick) && !outputs.is_empty();
        if shared && (name.view || schema.is_some_and(|s| !s.changes && !name.in_place)) {
            self.views[frame.node as usize] = true;
            self.counts.views += 1;
            return;
        }
        // Calls inside work. Only a schema says what this one does beside them.
        let below = self.counted > frame.counted;
        if below && schema.is_none() {
            self.counts.covered += 1;
            return;
        }
        let start = self.uses.len();
        let argument = |m: &Mention, seen: &Seen| match schema {
            Some(schema) if schema.changes || !name.in_place => {
                schema.arguments.get(usize::from(m.argument)).copied().unwrap_or_default()
            }
            // The schemas of collectives (`c10d::allreduce_`) do not say what they change: the first argument.
            Some(_) => Argument { changed: m.argument == 0, ..Argument::default() },
            None => {
                Argument { changed: (name.in_place && m.argument == 0) || seen.returned == tick, ..Argument::default() }
            }
        };
        for m in inputs {
            let seen = &mut self.seen[m.storage as usize];
            if argument(m, seen).changed {
                seen.changed = tick;
            } else {
                seen.plain = tick;
            }
        }
        for (mention, m) in (node.start..).zip(inputs) {
            let seen = &mut self.seen[m.storage as usize];
            let inside = below && seen.taken > frame.counted;
            if seen.changed != tick && seen.used != tick && !inside && !name.shapes_only {
                seen.used = tick;
                self.uses.push(Use { mention, mode: UseMode::Read });
            }
        }
        let reads = self.uses.len() > start;
        for (mention, m) in (node.start..).zip(inputs.iter().chain(outputs)) {
            let seen = &mut self.seen[m.storage as usize];
            let output = mention >= node.split;
            let concerned = if output { seen.given != tick } else { seen.changed == tick };
            if !concerned || seen.used == tick {
                continue;
            }
            let inside = below && seen.written > frame.counted;
            let mode = if inside && !reads {
                continue;
            } else if inside {
                UseMode::Update
            } else if output {
                // A buffer that was given to a call around this one may be larger than what is written.
                if seen.held == 0 { UseMode::Write } else { UseMode::Replace }
            } else {
                let declared = argument(m, seen);
                if !declared.changed {
                    continue;
                }
                let replaces = declared.result || name.replaces;
                if replaces && seen.plain != tick { UseMode::Replace } else { UseMode::Update }
            };
            seen.used = tick;
            self.uses.push(Use { mention, mode });
        }
        if self.uses.len() == start {
            *(if below { &mut self.counts.covered } else { &mut self.counts.no_data }) += 1;
            return;
        }
        self.counted += 1;
        for used in self.uses.iter().skip(start) {
            let seen = &mut self.seen[calls.mentions[used.mention as usize].storage as usize];
            seen.taken = self.counted;
            if used.mode != UseMode::Read {
                seen.written = self.counted;
            }
        }
        // A call around the one that multiplies says the same work again.
        let works = node.flops > 0.0 && self.work == frame.work;
        self.work += u32::from(works);
        self.counts.counted += 1;
        self.counts.not_leaves += u64::from(frame.operators);
        self.event(frame.last, EventKind::Uses, frame.node, (start as u32, self.uses.len() as u32), works);
    }
}
