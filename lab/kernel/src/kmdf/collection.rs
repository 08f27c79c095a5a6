//! `WDFCOLLECTION`: an ordered set of objects, each of which it holds a reference to.

#![allow(non_snake_case, reason = "functions have the names of wdfcollection.h")]

use std::sync::{Arc, Mutex};

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::attributes::{self, Attributes, Rules};
use crate::kmdf::client::{self, Globals};
use crate::kmdf::object::{self, Body, Object, Typed, find};
use crate::kmdf::report::{broken, required};
use crate::nt::{DISPATCH_LEVEL, NtStatus};
use crate::ptr::Ptr;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfCollectionCreate,
    WdfCollectionGetCount,
    WdfCollectionAdd,
    WdfCollectionRemove,
    WdfCollectionRemoveItem,
    WdfCollectionGetItem,
    WdfCollectionGetFirstItem,
    WdfCollectionGetLastItem,
];

#[derive(Default)]
struct Collection {
    items: Mutex<Vec<Arc<Object>>>,
}

impl Body for Collection {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn dispose(&self, _object: &Arc<Object>) {
        let items = core::mem::take(&mut *lock(&self.items));
        for item in &items {
            object::dereference(item);
        }
    }
}

impl Typed for Collection {
    const TYPE: &'static str = "WDFCOLLECTION";
}

extern "win64" fn WdfCollectionCreate(globals: Ptr<Globals>, attributes: Ptr<Attributes>, out: Ptr<u64>) -> NtStatus {
    let client = client::of(globals);
    required(out, "Collection").write(0);
    require_irql(DISPATCH_LEVEL);
    let checked = match attributes::check(attributes, Rules::default()) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let collection = attributes::create(&client, &checked, &client.default_parent(), Collection::default());
    out.write(collection.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfCollectionGetCount(_globals: Ptr<Globals>, collection: u64) -> u32 {
    lock(&find::<Collection>(collection).items).len() as u32
}

extern "win64" fn WdfCollectionAdd(_globals: Ptr<Globals>, collection: u64, item: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let collection = find::<Collection>(collection);
    let item = object::any(item);
    if let Some(status) = inject::faulted() {
        return status;
    }
    object::reference(&item);
    lock(&collection.items).push(item);
    NtStatus::SUCCESS
}

fn remove(collection: u64, index: impl FnOnce(&[Arc<Object>]) -> Option<usize>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let collection = find::<Collection>(collection);
    let removed = {
        let mut items = lock(&collection.items);
        let index = index(&items).filter(|index| *index < items.len());
        index.map(|index| items.remove(index))
    };
    let Some(item) = removed else { return NtStatus::NOT_FOUND };
    object::dereference(&item);
    NtStatus::SUCCESS
}

extern "win64" fn WdfCollectionRemove(_globals: Ptr<Globals>, collection: u64, item: u64) {
    let status = remove(collection, |items| items.iter().position(|one| one.handle == item));
    if !status.is_success() {
        broken(
            format!("WdfCollectionRemove was given {item:#x}, which is not in the collection"),
            "remove only objects that were added",
        );
    }
}

extern "win64" fn WdfCollectionRemoveItem(_globals: Ptr<Globals>, collection: u64, index: u32) {
    let status = remove(collection, |_| Some(index as usize));
    if !status.is_success() {
        broken(
            format!("WdfCollectionRemoveItem was given index {index}, which the collection does not have"),
            "pass an index below WdfCollectionGetCount",
        );
    }
}

fn item(collection: u64, index: impl FnOnce(usize) -> usize) -> u64 {
    let collection = find::<Collection>(collection);
    let items = lock(&collection.items);
    items.get(index(items.len())).map_or(0, |item| item.handle)
}

extern "win64" fn WdfCollectionGetItem(_globals: Ptr<Globals>, collection: u64, index: u32) -> u64 {
    item(collection, |_| index as usize)
}

extern "win64" fn WdfCollectionGetFirstItem(_globals: Ptr<Globals>, collection: u64) -> u64 {
    item(collection, |_| 0)
}

extern "win64" fn WdfCollectionGetLastItem(_globals: Ptr<Globals>, collection: u64) -> u64 {
    item(collection, |count| count.wrapping_sub(1))
}
