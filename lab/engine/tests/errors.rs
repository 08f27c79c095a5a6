//! Every error of the page "WFP Error Codes": which call gives it, or why none of the lab's does. docs/filter-engine-objects.md lists the
//! same.

mod lab;

use lab::*;
use postern_engine::FwpError::*;
use postern_engine::guids::condition as field;
use postern_engine::net_events::{EngineOption, check_option};
use postern_engine::objects::*;
use postern_engine::template::*;
use postern_engine::*;

enum Given {
    /// By this engine.
    Here(fn() -> FwpError),
    /// By the lab's kernel.
    Kernel(&'static str),
    /// By the engine, at a limit that is too far away for a test.
    Limit(&'static str),
    /// By nothing in the lab: why.
    Nowhere(&'static str),
}
use Given::*;

const INJECTED: &str = "only where a fault is injected (`postern lab inject`, `lab faults`)";
const IPSEC: Given = Nowhere("IPsec's policies and security associations are not modelled");

fn add(filter: Filter) -> FwpError {
    let (mut engine, session) = engine();
    engine.filter_add(session, filter, &mut ()).unwrap_err()
}

fn with(match_type: MatchType, value: ConditionValue) -> FwpError {
    add(Filter { conditions: vec![condition(PORT, match_type, value)], ..filter(Action::Permit) })
}

fn template(change: fn(&mut FilterTemplate)) -> FwpError {
    let mut template = FilterTemplate::at(CONNECT);
    change(&mut template);
    engine().0.view(None).filters_matching(&template).unwrap_err()
}

fn table() -> Vec<(FwpError, Given)> {
    vec![
        (CalloutNotFound, Here(|| add(filter(Action::CalloutUnknown(key(9)))))),
        (
            ConditionNotFound,
            Here(|| {
                let conditions = vec![equal(field::IP_SOURCE_ADDRESS, ConditionValue::Uint32(1))];
                add(Filter { conditions, ..filter(Action::Permit) })
            }),
        ),
        (
            FilterNotFound,
            Here(|| {
                let (mut engine, session) = engine();
                engine.filter_delete(session, 9, &mut ()).unwrap_err()
            }),
        ),
        (LayerNotFound, Here(|| add(Filter { layer: key(9), ..filter(Action::Permit) }))),
        (ProviderNotFound, Here(|| add(Filter { provider: Some(key(9)), ..filter(Action::Permit) }))),
        (
            ProviderContextNotFound,
            Here(|| {
                let flags = FilterFlags::HAS_PROVIDER_CONTEXT;
                add(Filter { flags, provider_context: Some(key(9)), ..filter(Action::Permit) })
            }),
        ),
        (SublayerNotFound, Here(|| add(Filter { sublayer: key(9), ..filter(Action::Permit) }))),
        (
            NotFound,
            Here(|| {
                let (mut engine, session) = engine();
                engine.session_close(session, &mut ()).unwrap();
                engine.session_close(session, &mut ()).unwrap_err()
            }),
        ),
        (
            AlreadyExists,
            Here(|| {
                let (mut engine, session) = engine();
                engine.provider_add(session, provider(1)).unwrap();
                engine.provider_add(session, provider(1)).unwrap_err()
            }),
        ),
        (
            InUse,
            Here(|| {
                let (mut engine, session) = engine();
                engine.callout_add(session, callout(1)).unwrap();
                engine.filter_add(session, filter(Action::CalloutUnknown(key(1))), &mut ()).unwrap();
                engine.callout_delete(session, key(1)).unwrap_err()
            }),
        ),
        (
            DynamicSessionInProgress,
            Here(|| {
                let mut engine = Engine::new();
                let session = engine.session_open(dynamic_session()).unwrap();
                engine.provider_add(session, Provider { persistent: true, ..provider(1) }).unwrap_err()
            }),
        ),
        (
            WrongSession,
            Here(|| {
                let (mut engine, session) = engine();
                let dynamic = engine.session_open(dynamic_session()).unwrap();
                engine.provider_add(dynamic, provider(1)).unwrap();
                engine.provider_delete(session, key(1)).unwrap_err()
            }),
        ),
        (
            NoTxnInProgress,
            Here(|| {
                let (mut engine, session) = engine();
                engine.transaction_commit(session, &mut ()).unwrap_err()
            }),
        ),
        (
            TxnInProgress,
            Here(|| {
                let (mut engine, session) = engine();
                engine.transaction_begin(session, true).unwrap();
                engine.transaction_begin(session, true).unwrap_err()
            }),
        ),
        (TxnAborted, Nowhere("no transaction is aborted by force: Windows does it after an hour")),
        (
            SessionAborted,
            Kernel("any call of a driver or program whose session has ended with the base filtering engine"),
        ),
        (
            IncompatibleTxn,
            Here(|| {
                let (mut engine, session) = engine();
                engine.transaction_begin(session, true).unwrap();
                engine.provider_add(session, provider(1)).unwrap_err()
            }),
        ),
        (
            Timeout,
            Here(|| {
                let (mut engine, session) = engine();
                let other = engine.session_open(static_session()).unwrap();
                engine.transaction_begin(session, false).unwrap();
                engine.transaction_begin(other, false).unwrap_err()
            }),
        ),
        (NetEventsDisabled, Kernel("FwpmNetEventSubscribe, FwpmNetEventEnum while they are not collected")),
        (
            IncompatibleLayer,
            Here(|| {
                let (mut engine, session) = engine();
                engine.callout_add(session, Callout { layer: layers::key::RPC_UM, ..callout(1) }).unwrap_err()
            }),
        ),
        (KmClientsOnly, Nowhere("no function of the lab is for kernel-mode clients alone")),
        (
            LifetimeMismatch,
            Here(|| {
                let (mut engine, session) = engine();
                engine.sublayer_add(session, sublayer(1, 1)).unwrap();
                let of = Filter { flags: FilterFlags::PERSISTENT, sublayer: key(1), ..filter(Action::Permit) };
                engine.filter_add(session, of, &mut ()).unwrap_err()
            }),
        ),
        (
            BuiltinObject,
            Here(|| {
                let (mut engine, session) = engine();
                engine.sublayer_delete(session, guids::sublayer::UNIVERSAL).unwrap_err()
            }),
        ),
        (TooManyCallouts, Limit("FwpmCalloutAdd0, of the 100,001st callout")),
        (NotificationDropped, Nowhere("what a subscriber misses is counted; the lab's notifications have no status")),
        (TrafficMismatch, IPSEC),
        (IncompatibleSaState, IPSEC),
        (NullPointer, Here(|| template(|template| template.action_mask = 0x4000))),
        (InvalidEnumerator, Here(|| ContextType::from_number(14).unwrap_err())),
        (InvalidFlags, Here(|| add(Filter { flags: FilterFlags::DISABLED, ..filter(Action::Permit) }))),
        (
            InvalidNetMask,
            Here(|| {
                let conditions =
                    vec![equal(field::IP_REMOTE_ADDRESS, ConditionValue::V4AddrMask { addr: 1, mask: 0xFF00_FF00 })];
                add(Filter { conditions, ..filter(Action::Permit) })
            }),
        ),
        (
            InvalidRange,
            Here(|| {
                let ends = (ConditionValue::Uint16(2), ConditionValue::Uint16(1));
                with(MatchType::Range, ConditionValue::Range(ends.into()))
            }),
        ),
        (InvalidInterval, IPSEC),
        (
            ZeroLengthArray,
            Here(|| {
                let (mut engine, session) = engine();
                let content = ContextContent::ClassifyOptions(vec![]);
                let context = ProviderContext { content, ..ProviderContext::new(key(1), "context", vec![]) };
                engine.provider_context_add(session, context).unwrap_err()
            }),
        ),
        (NullDisplayName, Here(|| add(Filter { display: display(""), ..filter(Action::Permit) }))),
        (InvalidActionType, Here(|| Action::new(action::CONTINUE, key(1)).unwrap_err())),
        (InvalidWeight, Here(|| add(Filter { weight: Weight::Range(16), ..filter(Action::Permit) }))),
        (MatchTypeMismatch, Here(|| with(MatchType::Prefix, ConditionValue::Uint16(1)))),
        (TypeMismatch, Here(|| with(MatchType::Equal, ConditionValue::Uint8(1)))),
        (OutOfBounds, Here(|| check_option(EngineOption::CollectNetEvents, 2).unwrap_err())),
        (Reserved, Kernel("FwpmFilterAdd0, of a filter whose reserved member is not NULL")),
        (
            DuplicateCondition,
            Here(|| {
                let port = || equal(PORT, ConditionValue::Uint16(1));
                let conditions = vec![port(), equal(PROTOCOL, ConditionValue::Uint8(6)), port()];
                add(Filter { conditions, ..filter(Action::Permit) })
            }),
        ),
        (DuplicateKeymod, IPSEC),
        (ActionIncompatibleWithLayer, Nowhere("which layers take which actions is not documented")),
        (ActionIncompatibleWithSublayer, Nowhere("which sublayers take which actions is not documented")),
        (ContextIncompatibleWithLayer, Nowhere("which layers take which contexts is not documented")),
        (ContextIncompatibleWithCallout, Nowhere("which callouts take which contexts is not documented")),
        (IncompatibleAuthMethod, IPSEC),
        (IncompatibleDhGroup, IPSEC),
        (EmNotSupported, IPSEC),
        (NeverMatch, Here(|| template(|template| template.action_mask = 0))),
        (
            ProviderContextMismatch,
            Here(|| {
                let (mut engine, session) = engine();
                engine.provider_context_add(session, ProviderContext::new(key(1), "context", vec![])).unwrap();
                let of = Filter {
                    layer: layers::key::IKEEXT_V4,
                    flags: FilterFlags::HAS_PROVIDER_CONTEXT,
                    provider_context: Some(key(1)),
                    ..filter(Action::Permit)
                };
                engine.filter_add(session, of, &mut ()).unwrap_err()
            }),
        ),
        (InvalidParameter, Here(|| add(Filter { display: display("a\u{7}"), ..filter(Action::Permit) }))),
        (TooManySublayers, Limit("FwpmSubLayerAdd0, when none of the 65,536 weights is free")),
        (
            CalloutNotificationFailed,
            Here(|| {
                let (mut engine, session) = engine();
                engine.callout_add(session, callout(1)).unwrap();
                engine.callout_register(key(1), 0).unwrap();
                let mut refuses = Heard { refuse: true, ..Heard::default() };
                engine.filter_add(session, filter(Action::CalloutUnknown(key(1))), &mut refuses).unwrap_err()
            }),
        ),
        (InvalidAuthTransform, IPSEC),
        (InvalidCipherTransform, IPSEC),
        (IncompatibleCipherTransform, IPSEC),
        (InvalidTransformCombination, IPSEC),
        (DuplicateAuthMethod, IPSEC),
        (InvalidTunnelEndpoint, IPSEC),
        (L2DriverNotReady, Nowhere("the lab has no layer 2 driver that could be missing")),
        (KeyDictatorAlreadyRegistered, IPSEC),
        (KeyDictationInvalidKeyingMaterial, IPSEC),
        (ConnectionsDisabled, Nowhere("connection objects are not modelled")),
        (InvalidDnsName, IPSEC),
        (StillOn, Nowhere("no feature of the lab is switched off in steps")),
        (IkeextNotRunning, IPSEC),
        (TcpipNotReady, Nowhere(INJECTED)),
        (InjectHandleClosing, Nowhere(INJECTED)),
        (InjectHandleStale, Nowhere(INJECTED)),
        (CannotPend, Nowhere(INJECTED)),
        (DropNoicmp, Nowhere("what it asks of the stack is not modelled")),
    ]
}

#[test]
fn every_code_is_given_where_the_table_says() {
    for (error, given) in table() {
        if let Here(give) = given {
            assert_eq!(give(), error);
        }
    }
}

#[test]
fn the_table_has_every_code_once_and_so_has_the_page() {
    let known: Vec<FwpError> = (0..=u16::MAX).filter_map(FwpError::from_code).collect();
    let listed: Vec<FwpError> = table().iter().map(|(error, _)| *error).collect();
    assert_eq!(listed, known);
    let page = include_str!("../../../docs/filter-engine-objects.md");
    for (error, given) in table() {
        let line = page.lines().find(|line| line.starts_with(&format!("| `{}` |", error.name())));
        let line = line.unwrap_or_else(|| panic!("the page does not have {}", error.name()));
        let told = match given {
            Here(_) => continue,
            Kernel(text) | Limit(text) => text,
            Nowhere(why) => why,
        };
        assert!(line.contains(told), "{line}");
    }
}
