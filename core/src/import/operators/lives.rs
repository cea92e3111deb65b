//! The lives of storages: an address that is handed out again is another object.

use rustc_hash::FxHashSet;

use super::NONE;
use super::calls::{Calls, Mention};
use super::names::Phase;
use super::visit::{EventKind, UseMode, Visit};
use crate::trace::Kind;

/// One life of a storage.
#[derive(Debug)]
pub(super) struct Life {
    /// Bytes by extents that can be trusted, and by any.
    pub(super) size: u64,
    pub(super) any: u64,
    /// Its index in the trace, once it is used.
    pub(super) tensor: Option<u32>,
    /// Whether it began in the trace.
    pub(super) born: bool,
    pub(super) weight: bool,
    pub(super) statistic: bool,
    /// Whether an optimizer's step changes it, and whether nothing else uses it.
    pub(super) stepped: bool,
    pub(super) only_steps: bool,
    pub(super) read_elsewhere: bool,
    pub(super) written_elsewhere: bool,
}

impl Life {
    fn new(born: bool) -> Self {
        Self {
            size: 0,
            any: 0,
            tensor: None,
            born,
            weight: false,
            statistic: false,
            stepped: false,
            only_steps: true,
            read_elsewhere: false,
            written_elsewhere: false,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        if self.size > 0 { self.size } else { self.any }
    }

    pub(super) fn kind(&self) -> Kind {
        let learnt = self.stepped && self.read_elsewhere && !self.written_elsewhere;
        if self.born {
            Kind::Activations
        } else if self.weight || learnt {
            Kind::Weights
        } else if self.statistic || self.only_steps {
            Kind::Object
        } else {
            Kind::Activations
        }
    }
}

/// All lives of all storages.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) all: Vec<Life>,
    /// The life that each storage is in.
    pub(super) current: Vec<u32>,
    /// The life of each use.
    pub(super) of_use: Vec<u32>,
    /// Tensors that repeat their elements, where no strides give their extent.
    pub(super) repeated: FxHashSet<u64>,
}

impl Lives {
    fn begin(&mut self, storage: u32, born: bool) -> usize {
        let life = self.all.len();
        self.all.push(Life::new(born));
        self.current[storage as usize] = life as u32;
        life
    }

    fn at(&mut self, storage: u32) -> usize {
        match self.current[storage as usize] {
            NONE => self.begin(storage, false),
            life => life as usize,
        }
    }

    fn named(&mut self, mention: &Mention) -> &mut Life {
        let life = self.at(mention.storage);
        let trusted = mention.exact || !self.repeated.contains(&mention.tensor);
        let life = &mut self.all[life];
        life.any = life.any.max(mention.extent);
        if trusted {
            life.size = life.size.max(mention.extent);
        }
        life
    }

    pub(super) fn new(calls: &Calls, visit: &Visit<'_>, parents: &[u32]) -> Self {
        let mut lives =
            Self { current: vec![NONE; calls.storages.len()], of_use: vec![NONE; visit.uses.len()], ..Self::default() };
        for event in &visit.events {
            let node = &calls.nodes[event.node as usize];
            let steps = visit.phases[event.node as usize] == Some(Phase::Optimizer);
            match event.what {
                EventKind::Takes => {
                    let schema = calls.schemas.get(node.schema as usize);
                    for mention in calls.inputs(node) {
                        let life = lives.named(mention);
                        let argument = schema.and_then(|s| s.arguments.get(usize::from(mention.argument)));
                        if let Some(argument) = argument
                            && !steps
                        {
                            life.weight |= argument.weight;
                            life.statistic |= argument.statistic;
                        }
                    }
                }
                EventKind::Birth => {
                    let mention = &calls.mentions[event.range.0 as usize];
                    lives.begin(mention.storage, true);
                    lives.repeated.remove(&mention.tensor);
                    lives.named(mention);
                }
                EventKind::Uses => {
                    for at in event.range.0..event.range.1 {
                        let used = visit.uses[at as usize];
                        let life = lives.at(calls.mentions[used.mention as usize].storage);
                        lives.of_use[at as usize] = life as u32;
                        let life = &mut lives.all[life];
                        let reads = used.mode == UseMode::Read;
                        life.stepped |= steps && !reads;
                        life.only_steps &= steps;
                        life.read_elsewhere |= !steps && reads;
                        life.written_elsewhere |= !steps && !reads;
                    }
                }
                EventKind::Returns => {
                    let view = visit.views[event.node as usize];
                    let above = parents[event.node as usize];
                    // The outermost of nested views decides what comes of it.
                    if !view || above == NONE || !visit.views[above as usize] {
                        lives.returned(calls.inputs(node), calls.outputs(node), view);
                    }
                }
            }
        }
        lives
    }

    fn returned(&mut self, inputs: &[Mention], outputs: &[Mention], view: bool) {
        for mention in outputs {
            if view && !mention.exact {
                // A view's inputs are few: one, nearly always.
                let mut whole = 0;
                let mut repeats = false;
                for from in inputs.iter().filter(|from| from.storage == mention.storage).take(8) {
                    whole = whole.max(from.bytes);
                    repeats |= !from.exact && self.repeated.contains(&from.tensor);
                }
                if repeats || mention.bytes > whole {
                    self.repeated.insert(mention.tensor);
                } else {
                    self.repeated.remove(&mention.tensor);
                }
            } else if !mention.exact {
                self.repeated.remove(&mention.tensor);
            }
            self.named(mention);
        }
    }
}
