//! Framework objects: handles, the tree, references, contexts, deletion.
//!
//! A handle is a number that no driver can dereference and that is never used again, so that a stale one
//! is told apart from every live one.

use core::any::Any;
use core::marker::PhantomData;
use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::export;
use crate::image;
use crate::irql;
use crate::kernel::lock;
use crate::kmdf::attributes::Context;
use crate::kmdf::client::Client;
use crate::kmdf::lock::CallbackLock;
use crate::kmdf::report::{WDF_INVALID_HANDLE, broken, fatal};
use crate::kmdf::wdm;
use crate::nt::PASSIVE_LEVEL;
use crate::thread;

/// What an object is beyond being an object.
pub(super) trait Body: Any + Send + Sync {
    /// The type of its handles: `WDFQUEUE`.
    fn type_name(&self) -> &'static str;
    /// Its deletion begins; its children are still there.
    fn begin_delete(&self, _object: &Arc<Object>) {}
    /// Its children are cleaned up; `EvtCleanupCallback` comes next.
    fn dispose(&self, _object: &Arc<Object>) {}
    /// Its memory goes; `EvtDestroyCallback` has been called.
    fn destroy(&self) {}
    /// Whether it can only be disposed of at `PASSIVE_LEVEL`.
    fn is_passive(&self) -> bool {
        false
    }
}

/// A body whose handles a function can ask for.
pub(super) trait Typed: Body {
    const TYPE: &'static str;
}

pub(super) struct Object {
    pub handle: u64,
    pub client: Arc<Client>,
    /// Where it was created.
    pub caller: u64,
    /// Serialises the callbacks of the object and of what inherits its scope.
    pub callback_lock: Option<Arc<CallbackLock>>,
    pub passive_callbacks: bool,
    body: Box<dyn Body>,
    tree: Mutex<Tree>,
    pub contexts: Mutex<Vec<Context>>,
}

struct Tree {
    parent: u64,
    children: BTreeSet<u64>,
    deleting: bool,
    /// Whether the object's own life has not ended, which counts as a reference.
    own: bool,
    /// One for the object's own life, one for each `WdfObjectReference`.
    references: u32,
}

/// An object of a known type.
pub(super) struct Ref<T> {
    pub object: Arc<Object>,
    body: PhantomData<fn() -> T>,
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Ref { object: self.object.clone(), body: PhantomData }
    }
}

impl<T: Typed> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let body: &dyn Any = &*self.object.body;
        body.downcast_ref().expect("the type was checked when this was made")
    }
}

impl<T: Typed> Ref<T> {
    pub fn handle(&self) -> u64 {
        self.object.handle
    }

    fn of(object: Arc<Object>) -> Option<Self> {
        let body: &dyn Any = &*object.body;
        body.is::<T>().then_some(Ref { object, body: PhantomData })
    }
}

const SHARDS: usize = 16;
const REMEMBERED: usize = 8192;

/// A handle that is no longer valid.
#[derive(Clone, Copy)]
struct Retired {
    type_name: &'static str,
    /// The call that ended the object.
    by: &'static str,
    caller: u64,
}

#[derive(Default)]
struct Graveyard {
    order: VecDeque<u64>,
    retired: HashMap<u64, Retired>,
}

/// All objects of one lab.
#[derive(Default)]
pub(super) struct Handles {
    live: [Mutex<HashMap<u64, Arc<Object>>>; SHARDS],
    graveyard: Mutex<Graveyard>,
}

/// In the kernel's half of the address space: to touch it faults.
const FIRST_HANDLE: u64 = 0xFFFF_B000_0000_0000;

fn new_handle() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    FIRST_HANDLE + 16 * NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Handles {
    fn shard(&self, handle: u64) -> &Mutex<HashMap<u64, Arc<Object>>> {
        &self.live[(handle >> 4) as usize % SHARDS]
    }

    pub fn get(&self, handle: u64) -> Option<Arc<Object>> {
        lock(self.shard(handle)).get(&handle).cloned()
    }

    /// Objects of a driver, in the order of their creation.
    pub fn of_client(&self, client: &Arc<Client>) -> Vec<Arc<Object>> {
        let mut objects: Vec<Arc<Object>> = self
            .live
            .iter()
            .flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>())
            .filter(|object| Arc::ptr_eq(&object.client, client))
            .collect();
        objects.sort_by_key(|object| object.handle);
        objects
    }

    fn retire(&self, object: &Object) {
        lock(self.shard(object.handle)).remove(&object.handle);
        let mut graveyard = lock(&self.graveyard);
        let retired =
            Retired { type_name: object.type_name(), by: export::current_name(), caller: thread::page().caller.get() };
        graveyard.retired.insert(object.handle, retired);
        graveyard.order.push_back(object.handle);
        if graveyard.order.len() > REMEMBERED
            && let Some(oldest) = graveyard.order.pop_front()
        {
            graveyard.retired.remove(&oldest);
        }
    }

    /// What a handle that is not live once was.
    fn describe_dead(&self, handle: u64) -> String {
        match lock(&self.graveyard).retired.get(&handle) {
            Some(retired) => {
                let place = image::place(retired.caller).map_or_else(String::new, |place| format!(" at {place}"));
                format!("{handle:#x}, a {} that {} ended{place}", retired.type_name, retired.by)
            }
            None => format!("{handle:#x}, which is no handle of a framework object"),
        }
    }
}

fn handles() -> &'static Handles {
    // The kernel outlives every call made in it.
    let handles: *const Handles = &raw const thread::current().kmdf.handles;
    // SAFETY: the thread stays in this kernel for as long as any code of this module runs on it.
    unsafe { &*handles }
}

/// The live object of a handle whose type may be any.
pub(super) fn any(handle: u64) -> Arc<Object> {
    if let Some(object) = handles().get(handle) {
        return object;
    }
    invalid(handle, "a framework object")
}

/// The live object of a handle of one type.
pub(super) fn find<T: Typed>(handle: u64) -> Ref<T> {
    let Some(object) = handles().get(handle) else { invalid(handle, T::TYPE) };
    let found = object.type_name();
    match Ref::of(object) {
        Some(found) => found,
        None => fatal(
            WDF_INVALID_HANDLE,
            handle,
            &format!("{} was given {handle:#x}, a {found}, where it takes a {}", export::current_name(), T::TYPE),
        ),
    }
}

/// As [`find`], for a handle that the framework itself keeps and whose object may have gone.
pub(super) fn find_quiet<T: Typed>(handle: u64) -> Option<Ref<T>> {
    Ref::of(handles().get(handle)?)
}

fn invalid(handle: u64, expected: &str) -> ! {
    let given = if handle == 0 { "a null handle".to_string() } else { handles().describe_dead(handle) };
    let name = export::current_name();
    fatal(WDF_INVALID_HANDLE, handle, &format!("{name} was given {given}; it takes {expected}"))
}

/// An object about to be created.
pub(super) struct New<B> {
    pub client: Arc<Client>,
    pub parent: Option<Arc<Object>>,
    pub body: B,
    pub callback_lock: Option<Arc<CallbackLock>>,
    pub passive_callbacks: bool,
    pub contexts: Vec<Context>,
}

impl<B: Typed> New<B> {
    pub fn create(self) -> Ref<B> {
        let object = Arc::new(Object {
            handle: new_handle(),
            client: self.client,
            caller: thread::page().caller.get(),
            callback_lock: self.callback_lock,
            passive_callbacks: self.passive_callbacks,
            body: Box::new(self.body),
            tree: Mutex::new(Tree {
                parent: self.parent.as_ref().map_or(0, |parent| parent.handle),
                children: BTreeSet::new(),
                deleting: false,
                own: true,
                references: 1,
            }),
            contexts: Mutex::new(self.contexts),
        });
        if let Some(parent) = self.parent {
            lock(&parent.tree).children.insert(object.handle);
        }
        let handles = handles();
        for context in lock(&object.contexts).iter() {
            lock(&thread::current().kmdf.contexts).insert(context.memory.address(), object.handle);
        }
        lock(handles.shard(object.handle)).insert(object.handle, object.clone());
        Ref { object, body: PhantomData }
    }
}

impl Object {
    pub fn type_name(&self) -> &'static str {
        self.body.type_name()
    }

    pub fn describe(&self) -> String {
        let place = image::place(self.caller).map_or_else(String::new, |place| format!(", created at {place}"));
        format!("{} {:#x}{place}", self.type_name(), self.handle)
    }

    pub fn parent(&self) -> u64 {
        lock(&self.tree).parent
    }

    pub fn is_deleting(&self) -> bool {
        lock(&self.tree).deleting
    }

    /// References that a driver took and has not given back.
    pub fn references(&self) -> u32 {
        let tree = lock(&self.tree);
        tree.references - u32::from(tree.own)
    }

    /// The nearest object of a type on the way up from this one, itself included.
    pub fn nearest<T: Typed>(self: &Arc<Self>) -> Option<Ref<T>> {
        let mut at = self.clone();
        loop {
            if let Some(found) = Ref::of(at.clone()) {
                return Some(found);
            }
            at = handles().get(at.parent())?;
        }
    }

    fn children(&self) -> Vec<Arc<Object>> {
        let children = lock(&self.tree).children.clone();
        children.into_iter().filter_map(|child| handles().get(child)).collect()
    }

    fn must_be_passive(&self) -> bool {
        self.body.is_passive() || self.passive_callbacks || self.children().iter().any(|child| child.must_be_passive())
    }
}

pub(super) fn reference(object: &Arc<Object>) {
    lock(&object.tree).references += 1;
}

/// Gives one reference of the driver's back.
pub(super) fn dereference(object: &Arc<Object>) {
    let mut tree = lock(&object.tree);
    if tree.references == u32::from(tree.own) {
        drop(tree);
        broken(
            format!("{} gave back a reference to {} that nobody had taken", export::current_name(), object.describe()),
            "pair each WdfObjectDereference with a WdfObjectReference; an object's own life ends with WdfObjectDelete",
        );
        return;
    }
    tree.references -= 1;
    let last = tree.references == 0;
    drop(tree);
    if last {
        destroy(object);
    }
}

/// Deletes an object and everything below it.
///
/// All children are cleaned up before their parent ("Framework Object Life Cycle"). Objects that need
/// `PASSIVE_LEVEL` for it and are deleted above are deleted by a work item.
pub(super) fn delete(object: &Arc<Object>) {
    if irql::current() > PASSIVE_LEVEL && object.must_be_passive() {
        wdm::queue_work(object.handle, delete_later, object.client.image);
        return;
    }
    delete_now(object);
}

extern "win64" fn delete_later(handle: u64) {
    if let Some(object) = handles().get(handle) {
        delete_now(&object);
    }
}

fn delete_now(object: &Arc<Object>) {
    {
        let mut tree = lock(&object.tree);
        if tree.deleting {
            return;
        }
        tree.deleting = true;
    }
    if let Some(parent) = handles().get(object.parent()) {
        lock(&parent.tree).children.remove(&object.handle);
    }
    dispose(object);
    release(object);
}

fn dispose(object: &Arc<Object>) {
    lock(&object.tree).deleting = true;
    object.body.begin_delete(object);
    for child in object.children() {
        dispose(&child);
    }
    object.body.dispose(object);
    let callbacks: Vec<u64> = lock(&object.contexts).iter().map(|context| context.cleanup).collect();
    for callback in callbacks.into_iter().filter(|callback| *callback != 0) {
        let at = object.type_name();
        object.client.call("EvtCleanupCallback", at, irql::current(), callback, (object.handle,));
    }
}

fn release(object: &Arc<Object>) {
    for child in object.children() {
        release(&child);
    }
    let mut tree = lock(&object.tree);
    tree.own = false;
    tree.references -= 1;
    let last = tree.references == 0;
    drop(tree);
    if last {
        destroy(object);
    }
}

fn destroy(object: &Arc<Object>) {
    let callbacks: Vec<u64> = lock(&object.contexts).iter().map(|context| context.destroy).collect();
    for callback in callbacks.into_iter().filter(|callback| *callback != 0) {
        let at = object.type_name();
        object.client.call("EvtDestroyCallback", at, irql::current(), callback, (object.handle,));
    }
    object.body.destroy();
    for context in lock(&object.contexts).drain(..) {
        lock(&thread::current().kmdf.contexts).remove(&context.memory.address());
        context.free();
    }
    handles().retire(object);
}

/// Forgets an object whose driver has gone, without calling into it.
pub(super) fn abandon(object: &Arc<Object>) {
    object.body.destroy();
    for context in lock(&object.contexts).drain(..) {
        lock(&thread::current().kmdf.contexts).remove(&context.memory.address());
        context.free();
    }
    handles().retire(object);
}
