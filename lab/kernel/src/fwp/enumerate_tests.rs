//! Enumerations with templates, as a driver makes them: by page, of the objects that there were at the beginning.

use fwps::sys::*;
use postern_engine::layers;
use postern_engine::objects::Action;

use super::marshal::guid;
use super::stand_in::{filter, filter_with, import, session};
use super::tests::open_engine;
use crate::ptr::Ptr;
use crate::{Config, Lab};

const LAYER_NOT_FOUND: NTSTATUS = 0xC022_0004_u32 as NTSTATUS;
const INVALID_ENUMERATOR: NTSTATUS = 0xC022_001D_u32 as NTSTATUS;
const NEVER_MATCH: NTSTATUS = 0xC022_0033_u32 as NTSTATUS;

fn template(condition: &mut FWPM_FILTER_CONDITION0) -> FWPM_FILTER_ENUM_TEMPLATE0 {
    FWPM_FILTER_ENUM_TEMPLATE0 {
        providerKey: core::ptr::null_mut(),
        layerKey: guid(layers::key::OUTBOUND_TRANSPORT_V4),
        enumType: 1,
        flags: 0,
        providerContextTemplate: core::ptr::null_mut(),
        numFilterConditions: 1,
        filterCondition: condition,
        actionMask: u32::MAX,
        calloutKey: core::ptr::null_mut(),
    }
}

fn udp() -> FWPM_FILTER_CONDITION0 {
    FWPM_FILTER_CONDITION0 {
        fieldKey: FWPM_CONDITION_IP_PROTOCOL,
        matchType: FWP_MATCH_EQUAL,
        conditionValue: FWP_CONDITION_VALUE0 { r#type: FWP_UINT8, Anonymous: FWP_CONDITION_VALUE0_0 { uint8: 17 } },
    }
}

#[test]
fn a_template_chooses_and_pages_are_of_the_moment_of_its_handle() {
    use postern_engine::objects::{Condition, ConditionValue, MatchType};
    let lab = Lab::start(Config::default());
    let owner = session(&lab);
    let layer = layers::key::OUTBOUND_TRANSPORT_V4;
    let of = |protocol| {
        filter_with(&lab, owner, layer, Action::Permit, |filter| {
            let (field, value) = (postern_engine::guids::condition::IP_PROTOCOL, ConditionValue::Uint8(protocol));
            filter.conditions.push(Condition { field, match_type: MatchType::Equal, value });
        })
    };
    let (any, _tcp, udp_one) = (filter(&lab, owner, layer, Action::Block), of(6), of(17));
    filter(&lab, owner, layers::key::OUTBOUND_TRANSPORT_V6, Action::Block);
    let udp_two = of(17);
    let handle = lab.enter(|| {
        let (engine, mut condition, mut handle) = (open_engine(), udp(), 0u64);
        let template = template(&mut condition);
        let status = import!("fwpkclnt.sys", FwpmFilterCreateEnumHandle0(engine, &raw const template, &raw mut handle));
        assert_eq!(status, STATUS_SUCCESS);
        (engine, handle)
    });
    let (engine, handle) = handle;
    lab.engine().filter_delete(owner, udp_two).unwrap();
    of(17);
    lab.enter(|| {
        let page = || {
            let (mut entries, mut count) = (core::ptr::null_mut::<*mut FWPM_FILTER0>(), 0u32);
            let status =
                import!("fwpkclnt.sys", FwpmFilterEnum0(engine, handle, 2u32, &raw mut entries, &raw mut count));
            assert_eq!(status, STATUS_SUCCESS);
            let entry = |index| Ptr::new(Ptr::new(entries).at(index).read()).read();
            let ids: Vec<u64> = (0..count as usize).map(|index| entry(index).filterId).collect();
            import!("fwpkclnt.sys", FwpmFreeMemory0(&raw mut entries));
            ids
        };
        assert_eq!([page(), page(), page()], [vec![any, udp_one], vec![udp_two], vec![]]);
        assert_eq!(import!("fwpkclnt.sys", FwpmFilterDestroyEnumHandle0(engine, handle)), STATUS_SUCCESS);
        assert_eq!(import!("fwpkclnt.sys", FwpmEngineClose0(engine)), STATUS_SUCCESS);
    });
    assert!(lab.violations().is_empty(), "{:?}", lab.violations());
}

#[test]
fn a_template_that_makes_no_sense_has_its_status() {
    let lab = Lab::start(Config::default());
    lab.enter(|| {
        let engine = open_engine();
        let mut condition = udp();
        let mut status = |change: fn(&mut FWPM_FILTER_ENUM_TEMPLATE0)| {
            let (mut template, mut handle) = (template(&mut condition), 0u64);
            change(&mut template);
            import!("fwpkclnt.sys", FwpmFilterCreateEnumHandle0(engine, &raw const template, &raw mut handle))
        };
        assert_eq!(status(|template| template.layerKey = GUID::default()), LAYER_NOT_FOUND);
        assert_eq!(status(|template| template.enumType = 2), INVALID_ENUMERATOR);
        assert_eq!(status(|template| template.flags = 0x20), STATUS_FWP_INVALID_FLAGS);
        assert_eq!(status(|template| template.actionMask = 0), NEVER_MATCH);
        assert_eq!(status(|template| template.filterCondition = core::ptr::null_mut()), STATUS_FWP_NULL_POINTER);
        assert_eq!(import!("fwpkclnt.sys", FwpmEngineClose0(engine)), STATUS_SUCCESS);
    });
}
