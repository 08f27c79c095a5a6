//! Pended operations, injected packets, and the packets' memory.

use core::ffi::c_void;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fwps::sys::*;
use postern_engine::layers;
use postern_engine::objects::Action;

use super::stand_in::{
    callout, filter, import, import_address, on_classify, register, registration, session, unregister,
};
use crate::ptr::Ptr;
use crate::traffic::{Connection, Decision};
use crate::{Config, Lab, ndis};

const KEY: u128 = 0x1234;

/// A lab with an unknown-action filter at `layer` that names the stand-in's callout.
fn lab_at(layer: uuid::Uuid) -> Lab {
    let lab = Lab::start(Config::default());
    register(&lab, &registration(KEY));
    let session = session(&lab);
    let key = callout(&lab, session, KEY, layer);
    filter(&lab, session, layer, Action::CalloutUnknown(key));
    lab
}

fn connection() -> Connection<'static> {
    let local: SocketAddr = "10.0.0.1:5000".parse().unwrap();
    let remote: SocketAddr = "10.0.0.2:53".parse().unwrap();
    Connection { protocol: 17, local, remote, app: Some("\\device\\disk\\app.exe") }
}

/// A classifyFn that several threads run: what it sends ends in a channel.
type Classified = (u16, u32, u32);

/// Classifies on every thread: pends what is not a reauthorisation, and permits or blocks what is.
unsafe extern "win64" fn pend_or_decide(
    values: *const FWPS_INCOMING_VALUES0,
    metadata: *const FWPS_INCOMING_METADATA_VALUES0,
    layer_data: *mut c_void,
    _classify_context: *const c_void,
    filter: *const FWPS_FILTER3,
    _flow_context: u64,
    out: *mut FWPS_CLASSIFY_OUT0,
) {
    let (values, metadata) = (Ptr::new(values.cast_mut()).as_ref(), Ptr::new(metadata.cast_mut()).as_ref());
    let filter = Ptr::new(filter.cast_mut()).as_ref();
    // SAFETY: the lab passes a valid structure, which nobody else has now.
    let out = unsafe { &mut *out };
    let index = match values.layerId {
        FWPS_LAYER_ALE_AUTH_CONNECT_V4 => FWPS_FIELD_ALE_AUTH_CONNECT_V4_FLAGS,
        _ => FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_FLAGS,
    };
    let value = Ptr::new(values.incomingValue).at(index.into()).read().value;
    // SAFETY: flags are of type UINT32.
    let flags = unsafe { value.Anonymous.uint32 };
    let injected = match layer_data.is_null() {
        true => FWPS_PACKET_NOT_INJECTED,
        false => {
            import!("fwpkclnt.sys", FwpsQueryPacketInjectionState0(HANDLE.get(), layer_data, core::ptr::null::<u64>()))
                as u32
        }
    };
    let sender = SENDER.lock().unwrap().clone().expect("a test listens");
    sender.send((values.layerId, flags, injected)).unwrap();
    if flags & FWP_CONDITION_FLAG_IS_REAUTHORIZE != 0 || injected == FWPS_PACKET_INJECTED_BY_SELF {
        out.actionType = if filter.context == 1 { FWP_ACTION_PERMIT } else { FWP_ACTION_BLOCK };
        return;
    }
    let mut context = 0u64;
    let status = import!("fwpkclnt.sys", FwpsPendOperation0(metadata.completionHandle, &raw mut context));
    assert_eq!(status, STATUS_SUCCESS);
    let mut other = 0u64;
    let again = import!("fwpkclnt.sys", FwpsPendOperation0(metadata.completionHandle, &raw mut other));
    assert_eq!(again, STATUS_FWP_CANNOT_PEND);
    PENDED.set(context);
    if values.layerId == FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4 {
        let mut clone = Ptr::<NET_BUFFER_LIST>::NULL;
        let list = layer_data.cast::<NET_BUFFER_LIST>();
        // SAFETY: the layer data is a list with one buffer.
        let buffer = unsafe { (*list).FirstNetBuffer };
        let headers = metadata.ipHeaderSize + metadata.transportHeaderSize;
        import!("ndis.sys", NdisRetreatNetBufferDataStart(buffer, headers, 0u32, 0u64));
        let status = import!("fwpkclnt.sys", FwpsAllocateCloneNetBufferList0(list, 0u64, 0u64, 0u32, &raw mut clone));
        assert_eq!(status, STATUS_SUCCESS);
        import!("ndis.sys", NdisAdvanceNetBufferDataStart(buffer, headers, 0u8, 0u64));
        CLONE.set(clone);
    }
    out.actionType = FWP_ACTION_BLOCK;
    out.flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
    out.rights &= !FWPS_RIGHT_ACTION_WRITE;
}

static SENDER: std::sync::Mutex<Option<mpsc::Sender<Classified>>> = std::sync::Mutex::new(None);
/// One test at a time uses [`SENDER`] and [`COMPLETED`].
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

thread_local! {
    static PENDED: Cell<u64> = const { Cell::new(0) };
    static CLONE: Cell<Ptr<NET_BUFFER_LIST>> = const { Cell::new(Ptr::NULL) };
}
/// The injection handle, on whatever thread.
struct SharedHandle(std::sync::atomic::AtomicU64);
impl SharedHandle {
    fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}
static HANDLE: SharedHandle = SharedHandle(std::sync::atomic::AtomicU64::new(0));

fn lab_that_pends(layer: uuid::Uuid, verdict: u64) -> (Lab, mpsc::Receiver<Classified>) {
    let (sender, receiver) = mpsc::channel();
    *SENDER.lock().unwrap() = Some(sender);
    let lab = Lab::start(Config::default());
    register(&lab, &FWPS_CALLOUT3 { classifyFn: Some(pend_or_decide), ..registration(KEY) });
    let session = session(&lab);
    let key = callout(&lab, session, KEY, layer);
    super::stand_in::filter_with(&lab, session, layer, Action::CalloutUnknown(key), |filter| {
        filter.raw_context = verdict
    });
    (lab, receiver)
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_pended_connect_is_classified_again_when_it_is_completed() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (verdict, decision) in [(1, Decision::Permit), (0, Decision::Block)] {
        let (lab, classified) = lab_that_pends(layers::key::ALE_AUTH_CONNECT_V4, verdict);
        let mut traffic = lab.traffic();
        let outcome = traffic.connect(&connection());
        assert_eq!((outcome.decision, outcome.pended, outcome.new_flow), (Decision::Block, true, true));
        assert_eq!(classified.recv().unwrap(), (FWPS_LAYER_ALE_AUTH_CONNECT_V4, 0, FWPS_PACKET_NOT_INJECTED));
        assert_eq!(lab.kernel.fwp.left_behind(0).len(), 2, "the callout and the pended operation");
        lab.enter(|| {
            import!("fwpkclnt.sys", FwpsCompleteOperation0(PENDED.get(), 0u64));
            import!("fwpkclnt.sys", FwpsCompleteOperation0(PENDED.get(), 0u64));
        });
        assert_eq!(lab.violations().len(), 1, "completed twice");
        let (_, flags, _) = classified.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(flags, FWP_CONDITION_FLAG_IS_REAUTHORIZE);
        let packet = crate::traffic::Packet {
            direction: crate::traffic::Direction::Outbound,
            protocol: 17,
            local: connection().local,
            remote: connection().remote,
            tcp_flags: 0,
            icmp_id: 0,
            fragment: None,
            bytes: &[],
            payload: &[],
        };
        wait_until("the verdict", || !traffic.packet(&packet).pended);
        assert_eq!(traffic.packet(&packet).decision, decision);
    }
}

static COMPLETED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

unsafe extern "win64" fn free_clone(_context: *mut c_void, list: *mut NET_BUFFER_LIST, dispatch_level: u8) {
    assert_eq!(dispatch_level, 1);
    import!("fwpkclnt.sys", FwpsFreeCloneNetBufferList0(list, 0u32));
    COMPLETED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}

fn create_handle(types: u32) -> u64 {
    let mut handle = 0u64;
    let status = import!("fwpkclnt.sys", FwpsInjectionHandleCreate0(AF_INET, types, &raw mut handle));
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

#[test]
fn a_pended_accept_is_decided_by_injecting_its_packet() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (lab, classified) = lab_that_pends(layers::key::ALE_AUTH_RECV_ACCEPT_V4, 1);
    let handle = lab.enter(|| create_handle(FWPS_INJECTION_TYPE_TRANSPORT));
    HANDLE.0.store(handle, std::sync::atomic::Ordering::SeqCst);
    let mut traffic = lab.traffic();
    let accept = Connection { local: connection().local, remote: connection().remote, ..connection() };
    assert!(traffic.accept(&accept).pended);
    assert_eq!(classified.recv().unwrap().2, FWPS_PACKET_NOT_INJECTED);
    let before = COMPLETED.load(std::sync::atomic::Ordering::SeqCst);
    lab.enter(|| {
        import!("fwpkclnt.sys", FwpsCompleteOperation0(PENDED.get(), CLONE.get()));
        let status = import!(
            "fwpkclnt.sys",
            FwpsInjectTransportReceiveAsync0(
                handle,
                0u64,
                0u64,
                0u32,
                AF_INET,
                1u32,
                0u32,
                0u32,
                CLONE.get(),
                free_clone as *const ()
            )
        );
        // `import!` passes ten arguments at most: the eleventh, the completion context, is whatever stands there.
        assert_eq!(status, STATUS_SUCCESS);
    });
    let (layer, _, injected) = classified.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!((layer, injected), (FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4, FWPS_PACKET_INJECTED_BY_SELF));
    lab.enter(|| {
        assert_eq!(import!("fwpkclnt.sys", FwpsInjectionHandleDestroy0(handle)), STATUS_SUCCESS);
    });
    assert_eq!(COMPLETED.load(std::sync::atomic::Ordering::SeqCst), before + 1, "destroying has waited");
    let packet = crate::traffic::Packet {
        direction: crate::traffic::Direction::Inbound,
        protocol: 17,
        local: accept.local,
        remote: accept.remote,
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &[],
        payload: &[],
    };
    assert_eq!(traffic.packet(&packet).decision, Decision::Permit);
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
}

#[test]
fn injecting_is_refused_with_the_documented_statuses() {
    let lab = lab_at(layers::key::OUTBOUND_TRANSPORT_V4);
    let statuses = Rc::new(RefCell::new(Vec::new()));
    let seen = statuses.clone();
    let handle = lab.enter(|| create_handle(0));
    on_classify(move |classify| {
        let list = classify.layer_data;
        let completion = free_clone as *const ();
        let inject = |flags: u32, list: *mut c_void, completion: *const ()| {
            seen.borrow_mut().push(import!(
                "fwpkclnt.sys",
                FwpsInjectNetworkSendAsync0(handle, 0u64, flags, 1u32, list, completion, 0u64)
            ));
        };
        inject(0, list, completion);
        inject(1, list, completion);
        inject(0, list, core::ptr::null());
    });
    lab.traffic().connect(&connection());
    let expected = [STATUS_FWP_INJECT_HANDLE_STALE, STATUS_INVALID_PARAMETER, STATUS_INVALID_PARAMETER];
    assert_eq!(statuses.take(), expected, "no flags make a handle without NETWORK");
    lab.enter(|| {
        assert_eq!(import!("fwpkclnt.sys", FwpsInjectionHandleDestroy0(handle)), STATUS_SUCCESS);
        assert_eq!(import!("fwpkclnt.sys", FwpsInjectionHandleDestroy0(handle)), STATUS_INVALID_HANDLE);
    });
}

#[test]
fn a_referenced_packet_keeps_its_bytes_while_traffic_goes_on() {
    let lab = lab_at(layers::key::OUTBOUND_TRANSPORT_V4);
    let kept = Rc::new(Cell::new(core::ptr::null_mut::<NET_BUFFER_LIST>()));
    let keep = kept.clone();
    on_classify(move |classify| {
        if keep.get().is_null() {
            keep.set(classify.layer_data.cast());
            import!("fwpkclnt.sys", FwpsReferenceNetBufferList0(keep.get(), 0u8));
        }
    });
    let mut traffic = lab.traffic();
    traffic.connect(&connection());
    let before = lab.enter(|| ndis::bytes_of(Ptr::new(kept.get()), 100));
    assert_eq!(before[..2], 5000u16.to_be_bytes());
    let other = Connection { local: "10.0.0.1:6000".parse().unwrap(), ..connection() };
    traffic.connect(&other);
    lab.enter(|| {
        assert_eq!(ndis::bytes_of(Ptr::new(kept.get()), 100), before);
        import!("fwpkclnt.sys", FwpsDereferenceNetBufferList0(kept.get(), 0u8));
        import!("fwpkclnt.sys", FwpsDereferenceNetBufferList0(kept.get(), 0u8));
    });
    assert_eq!(lab.violations().len(), 1, "dereferenced twice");
}

#[test]
fn a_classify_that_leaves_the_data_beginning_elsewhere_is_reported() {
    for (undone, violations) in [(true, 0), (false, 1)] {
        let lab = lab_at(layers::key::INBOUND_TRANSPORT_V4);
        on_classify(move |classify| {
            let list = Ptr::new(classify.layer_data.cast::<NET_BUFFER_LIST>());
            let buffer = list.as_ref().FirstNetBuffer;
            let status = import!("ndis.sys", NdisRetreatNetBufferDataStart(buffer, 8u32, 0u32, 0u64));
            assert_eq!(status, STATUS_SUCCESS);
            if undone {
                import!("ndis.sys", NdisAdvanceNetBufferDataStart(buffer, 8u32, 0u8, 0u64));
            }
        });
        lab.traffic().accept(&connection());
        assert_eq!(lab.violations().len(), violations, "{:?}", lab.violations());
    }
}

#[test]
fn what_stands_beside_the_data_goes_along_with_a_copy() {
    let lab = lab_at(layers::key::OUTBOUND_TRANSPORT_V4);
    let origins = Rc::new(RefCell::new(Vec::new()));
    let seen = origins.clone();
    on_classify(move |classify| {
        let source = classify.layer_data.cast::<NET_BUFFER_LIST>();
        // SAFETY: the lab's list, which nobody else has now.
        unsafe { (*source).NetBufferListInfo[0] = core::ptr::without_provenance_mut(7) };
        let copy = crate::thread::current().fwp.ndis.new_list_with_buffer(0, 0, 0, Ptr::NULL, 0, 0);
        import!("ndis.sys", NdisCopySendNetBufferListInfo(copy.as_mut_ptr(), source));
        let origin = ndis::LabList::of(copy).and_then(ndis::LabList::origin).unwrap();
        seen.borrow_mut().push((copy.as_ref().NetBufferListInfo[0].addr(), origin.remote));
        import!("fwpkclnt.sys", FwpsFreeNetBufferList0(copy.as_mut_ptr()));
    });
    lab.traffic().connect(&connection());
    assert_eq!(origins.take(), [(7, connection().remote)]);
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
}

#[test]
fn net_buffers_are_read_copied_and_moved_as_ndis_does() {
    let lab = Lab::start(Config::default());
    lab.enter(|| {
        let parameters = NET_BUFFER_LIST_POOL_PARAMETERS {
            Header: NDIS_OBJECT_HEADER { Type: 0x80, Revision: 1, Size: 16 },
            ProtocolId: 0,
            fAllocateNetBuffer: 1,
            ContextSize: 0,
            PoolTag: 0x7473_6574,
            DataSize: 0,
        };
        let mut bytes: [u8; 10] = core::array::from_fn(|index| index as u8);
        let (first, second) = bytes.split_at_mut(4);
        let pool = address_of(import_address!("ndis.sys", NdisAllocateNetBufferListPool(0u64, &raw const parameters)));
        let tail = address_of(import_address!("ndis.sys", NdisAllocateMdl(0u64, second.as_mut_ptr(), 6u32)));
        let head = address_of(import_address!("ndis.sys", NdisAllocateMdl(0u64, first.as_mut_ptr(), 4u32)));
        // SAFETY: an MDL that the lab has just made.
        unsafe { (*(head as *mut MDL)).Next = tail as *mut MDL };
        let mut list = core::ptr::null_mut::<NET_BUFFER_LIST>();
        let status = import!(
            "fwpkclnt.sys",
            FwpsAllocateNetBufferAndNetBufferList0(pool, 0u16, 0u16, head, 1u32, 9usize, &raw mut list)
        );
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(ndis::bytes_of(Ptr::new(list), 100), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        // SAFETY: the list has a buffer.
        let buffer = unsafe { (*list).FirstNetBuffer };
        let mut storage = [0u8; 6];
        let three = import_address!("ndis.sys", NdisGetDataBuffer(buffer, 3u32, 0u64, 1u32, 0u32));
        assert_eq!(three, first.as_ptr().addr() as u64 + 1, "contiguous, so in place");
        let none = import_address!("ndis.sys", NdisGetDataBuffer(buffer, 6u32, 0u64, 1u32, 0u32));
        assert_eq!(none, 0, "not contiguous, and no storage");
        let copied = import_address!("ndis.sys", NdisGetDataBuffer(buffer, 6u32, storage.as_mut_ptr(), 1u32, 0u32));
        assert_eq!((copied, storage), (storage.as_ptr().addr() as u64, [1, 2, 3, 4, 5, 6]));

        import!("ndis.sys", NdisAdvanceNetBufferDataStart(buffer, 5u32, 0u8, 0u64));
        assert_eq!(ndis::bytes_of(Ptr::new(list), 100), [6, 7, 8, 9]);
        import!("ndis.sys", NdisRetreatNetBufferDataStart(buffer, 6u32, 0u32, 0u64));
        assert_eq!(ndis::bytes_of(Ptr::new(list), 100), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        import!("ndis.sys", NdisRetreatNetBufferDataStart(buffer, 2u32, 3u32, 0u64));
        assert_eq!(ndis::bytes_of(Ptr::new(list), 100), [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        import!("ndis.sys", NdisAdvanceNetBufferDataStart(buffer, 2u32, 1u8, 0u64));
        assert_eq!(ndis::bytes_of(Ptr::new(list), 100), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);

        let mut clone = core::ptr::null_mut::<NET_BUFFER_LIST>();
        let status = import!("fwpkclnt.sys", FwpsAllocateCloneNetBufferList0(list, 0u64, 0u64, 0u32, &raw mut clone));
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(ndis::bytes_of(Ptr::new(clone), 100), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(Ptr::new(clone).as_ref().ParentNetBufferList, list);
        assert_eq!(Ptr::new(list).as_ref().ChildRefCount, 1);
        import!("fwpkclnt.sys", FwpsFreeCloneNetBufferList0(clone, 0u32));

        assert_eq!(lab.kernel.fwp.left_behind(0).len(), 3, "pool, MDLs and list: {:?}", lab.kernel.fwp.left_behind(0));
        import!("fwpkclnt.sys", FwpsFreeNetBufferList0(list));
        import!("ndis.sys", NdisFreeMdl(head));
        import!("ndis.sys", NdisFreeMdl(tail));
        import!("ndis.sys", NdisFreeNetBufferListPool(pool));
        assert!(lab.violations().is_empty(), "{:?}", lab.violations());
        assert!(lab.kernel.fwp.left_behind(0).is_empty());
        import!("ndis.sys", NdisFreeMdl(tail));
        assert_eq!(lab.violations().len(), 1, "freed twice");
    });
}

fn address_of(address: u64) -> u64 {
    assert_ne!(address, 0);
    address
}

#[test]
fn a_clone_is_injected_in_place_of_a_blocked_packet() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let lab = lab_at(layers::key::OUTBOUND_TRANSPORT_V4);
    let handle = lab.enter(|| create_handle(FWPS_INJECTION_TYPE_TRANSPORT));
    on_classify(move |classify| {
        let mut clone = core::ptr::null_mut::<NET_BUFFER_LIST>();
        let status = import!(
            "fwpkclnt.sys",
            FwpsAllocateCloneNetBufferList0(classify.layer_data, 0u64, 0u64, 0u32, &raw mut clone)
        );
        assert_eq!(status, STATUS_SUCCESS);
        let status = import!(
            "fwpkclnt.sys",
            FwpsInjectTransportSendAsync0(
                handle,
                0u64,
                0u64,
                0u32,
                0u64,
                AF_INET,
                1u32,
                clone,
                free_clone as *const (),
                0u64
            )
        );
        assert_eq!(status, STATUS_SUCCESS);
        classify.out.actionType = FWP_ACTION_BLOCK;
        classify.out.flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
    });
    let outcome = lab.traffic().connect(&connection());
    assert_eq!(outcome.decision, Decision::Block);
    lab.enter(|| {
        assert_eq!(import!("fwpkclnt.sys", FwpsInjectionHandleDestroy0(handle)), STATUS_SUCCESS);
    });
    let left = lab.kernel.fwp.left_behind(0);
    assert_eq!(left.len(), 1, "the callout only: {left:?}");
    let id = lab.kernel.fwp.callouts.all()[0].id;
    assert_eq!(unregister(&lab, id), STATUS_SUCCESS);
}

#[test]
fn a_pended_redirect_goes_on_where_it_was_left() {
    let lab = lab_at(layers::key::ALE_CONNECT_REDIRECT_V4);
    let handle = Rc::new(Cell::new(0u64));
    let pend = handle.clone();
    on_classify(move |classify| {
        let mut acquired = 0u64;
        let status =
            import!("fwpkclnt.sys", FwpsAcquireClassifyHandle0(classify.classify_context, 0u32, &raw mut acquired));
        assert_eq!(status, STATUS_SUCCESS);
        pend.set(acquired);
        let out = &raw mut *classify.out;
        assert_eq!(import!("fwpkclnt.sys", FwpsPendClassify0(acquired, 0u64, 0u32, out)), STATUS_SUCCESS);
        assert_eq!(import!("fwpkclnt.sys", FwpsPendClassify0(acquired, 0u64, 0u32, out)), STATUS_FWP_CANNOT_PEND);
    });
    let mut traffic = lab.traffic();
    let outcome = traffic.connect(&connection());
    assert_eq!((outcome.pended, outcome.layer), (true, FWPS_LAYER_ALE_CONNECT_REDIRECT_V4));

    // The request can be written to before the classify is completed.
    lab.enter(|| {
        let mut request = core::ptr::null_mut::<FWPS_CONNECT_REQUEST0>();
        let status = import!(
            "fwpkclnt.sys",
            FwpsAcquireWritableLayerDataPointer0(handle.get(), 0u64, 0u32, &raw mut request, 0u64)
        );
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(Ptr::new(request).read().remoteAddressAndPort.ss_family, AF_INET);
        import!("fwpkclnt.sys", FwpsApplyModifiedLayerData0(handle.get(), request, 0u32));
        let action = FWP_ACTION_PERMIT;
        let out =
            FWPS_CLASSIFY_OUT0 { actionType: action, outContext: 0, filterId: 0, rights: 0, flags: 0, reserved: 0 };
        import!("fwpkclnt.sys", FwpsCompleteClassify0(handle.get(), 0u32, &raw const out));
        import!("fwpkclnt.sys", FwpsReleaseClassifyHandle0(handle.get()));
    });
    let session = session(&lab);
    let blocking = filter(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block);
    let packet = crate::traffic::Packet {
        direction: crate::traffic::Direction::Outbound,
        protocol: 17,
        local: connection().local,
        remote: connection().remote,
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &[],
        payload: &[],
    };
    assert_eq!(traffic.packet(&packet).filter_id, Some(blocking), "the next layer is ALE_AUTH_CONNECT");
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
    assert_eq!(lab.kernel.fwp.left_behind(0).len(), 1, "the callout only");
}
