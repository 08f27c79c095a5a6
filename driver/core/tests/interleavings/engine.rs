//! A filter engine that behaves as Windows may, as far as its documentation and the field's experience go.
//!
//! It fails whoever it calls too late: `flowDeleteFn` after the callout has been unregistered.

use std::vec::Vec;

use loom::sync::Mutex;
use postern_core::Status;
use postern_core::flows::Ticket;
use postern_protocol::Layer;

/// What the documentation leaves open, or leaves room for.
#[derive(Clone, Copy, Default)]
pub struct Script {
    /// The layer at which contexts cannot be associated, and what is answered there.
    pub refuse: Option<(Layer, Status)>,
    /// The first removal is answered so, and does nothing.
    pub first_removal: Option<Status>,
    /// The first attempt to unregister is answered so, and does nothing.
    pub first_unregister: Option<Status>,
}

pub struct Engine {
    script: Script,
    state: Mutex<State>,
}

struct State {
    callouts: Vec<Callout>,
    contexts: Vec<Context>,
    ended: Vec<u64>,
    removals: usize,
    unregisters: usize,
}

struct Callout {
    layer: Layer,
    registered: bool,
    classifying: usize,
}

#[derive(Clone, Copy)]
struct Context {
    flow: u64,
    layer: Layer,
    ticket: Ticket,
    /// It goes when the last classify in progress ends.
    doomed: bool,
}

/// `flowDeleteFn` of all callouts.
pub trait FlowDelete {
    fn flow_delete(&self, layer: Layer, ticket: Ticket);
}

impl State {
    fn callout(&mut self, layer: Layer) -> &mut Callout {
        self.callouts.iter_mut().find(|callout| callout.layer == layer).expect("a callout of ours")
    }

    /// Takes one context off its flow that is as wanted, and that no classify keeps there; those are doomed.
    fn detach(&mut self, wanted: impl Fn(&Context) -> bool) -> Option<Context> {
        for index in 0..self.contexts.len() {
            let context = self.contexts[index];
            if !wanted(&context) {
                continue;
            }
            if self.callout(context.layer).classifying > 0 {
                self.contexts[index].doomed = true;
                continue;
            }
            let callout = self.callout(context.layer);
            assert!(callout.registered, "late call");
            self.contexts.remove(index);
            return Some(context);
        }
        None
    }
}

impl Engine {
    /// An engine with a registered callout at each of `layers`.
    pub fn new(layers: &[Layer], script: Script) -> Self {
        let callout = |layer: &Layer| Callout { layer: *layer, registered: true, classifying: 0 };
        let callouts = layers.iter().map(callout).collect();
        let state = State { callouts, contexts: Vec::new(), ended: Vec::new(), removals: 0, unregisters: 0 };
        Engine { script, state: Mutex::new(state) }
    }

    fn state(&self) -> loom::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Classifies at `layer`, if a callout is registered there: `classifyFn` is given the flow's context, and what is doomed goes at
    /// the end.
    pub fn classify(&self, flow: u64, layer: Layer, driver: &impl FlowDelete, classify: impl FnOnce(Option<Ticket>)) {
        let ticket = {
            let mut state = self.state();
            let callout = state.callout(layer);
            if !callout.registered {
                return;
            }
            callout.classifying += 1;
            let of_flow = |context: &&Context| context.flow == flow && context.layer == layer;
            state.contexts.iter().find(of_flow).map(|context| context.ticket)
        };
        classify(ticket);
        let doomed = {
            let mut state = self.state();
            state.callout(layer).classifying -= 1;
            state.detach(|context| context.layer == layer && context.doomed)
        };
        doomed.into_iter().for_each(|context| self.delete(context, driver));
    }

    /// The callout is not held meanwhile: the documentation of unregistering speaks of associated contexts only.
    fn delete(&self, context: Context, driver: &impl FlowDelete) {
        driver.flow_delete(context.layer, context.ticket);
    }

    /// The flow ends by itself.
    pub fn end_flow(&self, flow: u64, driver: &impl FlowDelete) {
        self.state().ended.push(flow);
        loop {
            let detached = self.state().detach(|context| context.flow == flow && !context.doomed);
            match detached {
                Some(context) => self.delete(context, driver),
                None => return,
            }
        }
    }

    /// `FwpsFlowAssociateContext0`
    pub fn associate(&self, flow: u64, layer: Layer, ticket: Ticket) -> Status {
        if let Some((at, status)) = self.script.refuse
            && at == layer
        {
            return status;
        }
        let mut state = self.state();
        assert!(state.callout(layer).registered, "a context of a callout that is not registered");
        if state.ended.contains(&flow) {
            return Status::NOT_FOUND;
        }
        if state.contexts.iter().any(|context| context.flow == flow && context.layer == layer) {
            return Status::OBJECT_NAME_EXISTS;
        }
        state.contexts.push(Context { flow, layer, ticket, doomed: false });
        Status::SUCCESS
    }

    /// `FwpsFlowRemoveContext0`
    pub fn remove(&self, flow: u64, layer: Layer, driver: &impl FlowDelete) -> Status {
        let detached = {
            let mut state = self.state();
            state.removals += 1;
            if let Some(status) = self.script.first_removal
                && state.removals == 1
            {
                return status;
            }
            let is_it = |context: &Context| context.flow == flow && context.layer == layer;
            if !state.contexts.iter().any(is_it) {
                return Status::UNSUCCESSFUL;
            }
            state.detach(is_it)
        };
        match detached {
            Some(context) => {
                self.delete(context, driver);
                Status::SUCCESS
            }
            None => Status::PENDING,
        }
    }

    /// `FwpsCalloutUnregisterById0`
    pub fn unregister(&self, layer: Layer) -> Status {
        let mut state = self.state();
        state.unregisters += 1;
        if let Some(status) = self.script.first_unregister
            && state.unregisters == 1
        {
            return status;
        }
        let has_context = state.contexts.iter().any(|context| context.layer == layer);
        let callout = state.callout(layer);
        if !callout.registered {
            return Status::FWP_CALLOUT_NOT_FOUND;
        }
        if has_context || callout.classifying > 0 {
            return Status::DEVICE_BUSY;
        }
        callout.registered = false;
        Status::SUCCESS
    }

    /// The driver takes itself for gone. The engine must not be able to call it any more.
    pub fn assert_gone(&self) {
        let state = self.state();
        let registered = state.callouts.iter().find(|callout| callout.registered);
        assert!(registered.is_none(), "left with a callout registered at {}", registered.unwrap().layer.name());
        assert!(state.contexts.is_empty(), "left with a context");
    }

    /// How many contexts flows have.
    pub fn contexts(&self) -> usize {
        self.state().contexts.len()
    }
}
