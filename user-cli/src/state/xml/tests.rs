//! Real files, damaged ones, and generated states.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use postern_engine::guids::{self, condition};
use postern_engine::layers;
use postern_engine::objects::*;
use proptest::prelude::*;
use uuid::{Uuid, uuid};

use super::*;
use crate::filter::app_id;
use crate::sddl;
use crate::state::Unknown;

const STATE: &str = "keploy.wfpstate.xml.gz";
const FILTERS: &str = "le_voile-a.filters.xml.gz";

fn real(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/wfp-state").join(name);
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn read(text: &str) -> Result<State, ReadError> {
    Dump::read(text.as_bytes().to_vec()).map(|dump| dump.state)
}

fn written(state: &State) -> String {
    let mut bytes = Vec::new();
    write(state, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The items whose first element is this one, by its value, with their lines as they stand except for indentation and line ends.
fn items(text: &str, first: &str) -> BTreeMap<String, Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start_matches('\t').len();
    let begins = |at: usize| lines[at].trim_start() == "<item>" && lines[at + 1].trim_start().starts_with(first);
    let item = |at: usize| {
        let end =
            (at..lines.len()).find(|end| lines[*end].trim() == "</item>" && indent(lines[*end]) == indent(lines[at]));
        let lines: Vec<_> = lines[at..=end.unwrap()].iter().map(|line| line.trim().to_owned()).collect();
        (lines[1].clone(), lines)
    };
    (0..lines.len() - 1).filter(|at| begins(*at)).map(item).collect()
}

#[test]
fn real_files_are_understood_whole() {
    let Dump { state, .. } = Dump::read(real(STATE)).unwrap();
    assert_eq!(state.time.unwrap().to_string(), "2024-10-22T20:48:53.891Z");
    let counts = [
        state.sessions.len(),
        state.providers.len(),
        state.provider_contexts.len(),
        state.sublayers.len(),
        state.callouts.len(),
        state.filters.len(),
    ];
    assert_eq!(counts, [15, 16, 469, 45, 89, 1254]);
    assert_eq!(state.layers.iter().map(|layer| layer.fields.len()).sum::<usize>(), 1409);
    assert_eq!(state.unknown, []);

    let Dump { state, .. } = Dump::read(real(FILTERS)).unwrap();
    assert_eq!(state.time, None);
    assert_eq!((state.providers.len(), state.filters.len()), (15, 286));
    assert_eq!(state.unknown, []);
}

#[test]
fn objects_are_written_as_netsh_writes_them() {
    for (name, objects) in [
        (STATE, &["<filterKey>", "<calloutKey>", "<providerKey>", "<providerContextKey>", "<subLayerKey>"][..]),
        (FILTERS, &["<filterKey>", "<providerKey>"]),
    ] {
        let dump = Dump::read(real(name)).unwrap();
        let ours = written(&dump.state);
        for first in objects {
            let (ours, theirs) = (items(&ours, first), items(&dump.text, first));
            assert!(theirs.len() > 10, "{name}: {first}");
            assert!(ours.keys().eq(theirs.keys()), "{name}: {first}");
            for (key, lines) in theirs {
                assert_eq!(ours[&key], lines, "{name}");
            }
        }
    }
}

#[test]
fn the_text_of_a_file_is_kept() {
    for name in [STATE, FILTERS] {
        let bytes = real(name);
        assert!(Dump::read(bytes.clone()).unwrap().text.as_bytes() == bytes, "{name}");
    }
}

#[test]
fn files_may_be_utf_16() {
    let text = String::from_utf8(real(FILTERS)).unwrap();
    let filters = Dump::read(real(FILTERS)).unwrap().state.filters;
    let bytes = |text: &str, order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    // What a console's code page makes of the mark on the way through PowerShell.
    let through_437 = text.replacen('\u{feff}', "\u{feff}\u{2229}\u{2557}\u{2510}", 1);
    let without_mark = text.trim_start_matches('\u{feff}');
    for bytes in [
        bytes(&text, u16::to_le_bytes),
        bytes(&text, u16::to_be_bytes),
        bytes(&through_437, u16::to_le_bytes),
        bytes(without_mark, u16::to_le_bytes),
        bytes(without_mark, u16::to_be_bytes),
        without_mark.as_bytes().to_vec(),
    ] {
        let dump = Dump::read(bytes).unwrap();
        assert_eq!(dump.text.trim_start_matches('\u{feff}'), without_mark);
        assert_eq!(dump.state.filters, filters);
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused_wherever_that_was() {
    let text = String::from_utf8(real(FILTERS)).unwrap();
    let end = text.rfind("</wfpdiag>").unwrap() + "</wfpdiag>".len();
    let mut at = 40;
    while at < end {
        if text.is_char_boundary(at) {
            let error = read(&text[..at]).unwrap_err();
            assert_eq!(error.line, 1 + text[..at].matches('\n').count(), "cut at {at}: {error}");
        }
        // Not a divisor of anything in the file.
        at += 7919;
    }
    for cut in [end - 1, end - 5] {
        assert!(read(&text[..cut]).is_err());
    }
    assert!(read(&text[..end]).is_ok());
}

/// A file with one filter, in which `from` is `to`.
fn with(from: &str, to: &str) -> String {
    let mut state = State::default();
    let mut filter = Filter::new("a filter", layers::key::ALE_AUTH_CONNECT_V4, Action::Block);
    filter.key = KEY;
    filter.sublayer = guids::sublayer::UNIVERSAL;
    filter.weight = Weight::Range(4);
    filter.id = 70000;
    filter.conditions = vec![Condition {
        field: condition::IP_REMOTE_PORT,
        match_type: MatchType::Equal,
        value: ConditionValue::Uint16(443),
    }];
    state.filters.push(filter);
    let text = written(&state);
    let (before, filters) = text.split_at(text.find("<filters numItems").unwrap());
    assert!(filters.contains(from), "{from}");
    before.to_owned() + &filters.replacen(from, to, 1)
}

const KEY: Uuid = uuid!("0b7c0a6e-1f27-4b4d-9a5c-6d1f0c3b2a10");

#[test]
fn what_is_damaged_is_named_with_its_line_and_element() {
    let filter = "in wfpstate/layers/item[49]/filters/item[1]";
    let port = format!("{filter}/filterCondition/item[1]/conditionValue/uint16");
    let table = [
        ("<uint16>443<", "<uint16>70000<", format!("{port}: '70000' is no number from 0 to 65535")),
        ("<uint16>443<", "<uint16>4x3<", format!("{port}: '4x3' is no number")),
        ("<uint16>443<", "<uint16>4&oops;3<", format!("{port}: &oops; stands for nothing")),
        ("<uint16>443<", "<uint16><b/>443<", format!("{port}: elements where there should be text")),
        ("<uint8>4<", "<uint8>-4<", format!("{filter}/weight/uint8: '-4' is no number from 0 to 255")),
        ("<filterId>70000<", "<filterId><", format!("{filter}/filterId: '' is no number")),
        ("{0b7c0a6e-", "{0b7c0a6g-", format!("{filter}/filterKey: '{{0b7c0a6g-")),
        ("<layerKey>FWPM_LAYER_ALE_AUTH_CONNECT_V4<", "<layerKey>ALE<", format!("{filter}/layerKey: 'ALE' is no GUID")),
        (
            "<type>FWP_ACTION_BLOCK<",
            "<type>FWP_ACTION_CALLOUT_TERMINATING<",
            format!("{filter}/action: FWP_ACTION_CALLOUT_TERMINATING without"),
        ),
        ("<filterType/>", "text", format!("{filter}/action: text where there should be elements")),
        ("</filterId>", "</filterID>", format!("{filter}/filterId: ")),
    ];
    for (from, to, expected) in table {
        let text = with(from, to);
        let filters = text.find("<filters numItems").unwrap();
        let at = filters + text[filters..].find(to).unwrap();
        let line = 1 + text[..at].matches('\n').count();
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(&expected), "{from} -> {to}: {error}");
        let told = error.strip_prefix("line ").unwrap().split(',').next().unwrap().parse::<usize>().unwrap();
        assert!((line - 1..line + 3).contains(&told), "{from} -> {to}, line {line}: {error}");
    }
    let key = format!("<filterKey>{}</filterKey>", KEY.braced());
    let missing = read(&with(&key, "")).unwrap_err().to_string();
    assert!(missing.contains(&format!("{filter}: there is no <filterKey>")), "{missing}");
}

#[test]
fn what_is_no_file_of_netsh_is_told() {
    for (text, problem) in [
        ("", "the file is empty"),
        (" \r\n", "the file is empty"),
        ("<?xml version=\"1.0\"?>", "the file has no elements"),
        ("<html><body/></html>", "<html> is no element of `netsh wfp show state`"),
        ("Access is denied.", "text where there should be elements"),
        ("<wfpstate><timeStamp>yesterday</timeStamp></wfpstate>", "in wfpstate/timeStamp: 'yesterday' is no time"),
        ("<wfpdiag><filters><filter/></filters></wfpdiag>", "in wfpdiag/filters/filter: <filter> in a list of <item>"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with("line 1") && error.contains(problem), "{text}: {error}");
    }
    let error = Dump::read(b"<wfpstate>\n\xff</wfpstate>".to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "line 2: bytes that are no UTF-8");
    let error = Dump::read(b"\xff\xfe<\0\n\0\0\xd8<\0".to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "line 2: bytes that are no UTF-16");
}

#[test]
fn what_a_newer_windows_has_is_kept_apart() {
    let table = [
        ("<reserved/>", "<reserved>7</reserved>", "reserved", "<reserved>7</reserved>"),
        ("<reserved/>", "<colour><r>1</r></colour><reserved/>", "colour", "<colour><r>1</r></colour>"),
        (
            "<flags/>\r\n\t\t\t\t\t<providerKey/>",
            "<flags><item>FWPM_FILTER_FLAG_NEW</item></flags>",
            "flags",
            "FWPM_FILTER_FLAG_NEW",
        ),
        ("FWP_MATCH_EQUAL", "FWP_MATCH_ROUGHLY", "matchType", "FWP_MATCH_ROUGHLY"),
        ("FWPM_CONDITION_IP_REMOTE_PORT<", "FWPM_CONDITION_MOOD<", "fieldKey", "FWPM_CONDITION_MOOD"),
        ("<uint16>443</uint16>", "<uint128>443</uint128>", "conditionValue", "uint128"),
        ("<type>FWP_ACTION_BLOCK<", "<type>FWP_ACTION_SHRUG<", "action", "FWP_ACTION_SHRUG"),
        (
            ">FWPM_SUBLAYER_UNIVERSAL</subLayerKey>",
            ">FWPM_SUBLAYER_ODD</subLayerKey>",
            "subLayerKey",
            "FWPM_SUBLAYER_ODD",
        ),
    ];
    for (from, to, element, text) in table {
        let state = read(&with(from, to)).unwrap();
        let [Unknown { object: "filter", key: KEY, element: told, text: what }] = &state.unknown[..] else {
            panic!("{from} -> {to}: {:?}", state.unknown);
        };
        assert_eq!(told, element);
        assert!(what.contains(text), "{from} -> {to}: {what}");
        assert_eq!(state.filters.len(), 1);
        // And the filter is not evaluated where its condition is one of them.
        let doubts = state.engine().unwrap().doubts;
        let evaluated = !doubts.iter().any(|doubt| matches!(doubt, postern_engine::Doubt::NotEvaluated { .. }));
        assert_eq!(evaluated, !["matchType", "fieldKey", "conditionValue"].contains(&element), "{doubts:?}");
    }
    // The same symbol is the same key, another one another.
    let sublayer = |name: &str| read(&with("FWPM_SUBLAYER_UNIVERSAL</subLayerKey>", name)).unwrap().filters[0].sublayer;
    assert_eq!(sublayer("FWPM_SUBLAYER_ODD</subLayerKey>"), sublayer("FWPM_SUBLAYER_ODD</subLayerKey>"));
    assert_ne!(sublayer("FWPM_SUBLAYER_ODD</subLayerKey>"), sublayer("FWPM_SUBLAYER_EVEN</subLayerKey>"));
}

#[test]
fn text_that_xml_has_other_uses_for_is_written_as_netsh_does() {
    let named = |name: &str| {
        let mut state = State::default();
        state.filters.push(Filter { key: KEY, ..Filter::new(name, layers::key::ALE_AUTH_CONNECT_V4, Action::Block) });
        written(&state)
    };
    assert!(named("Solitaire & Casual Games").contains("<name><![CDATA[Solitaire & Casual Games]]></name>"));
    assert!(named("\"it's\"").contains("<name>\"it's\"</name>"));
    for name in ["a & b", "<b>", "]]>", "&amp;", "é'\"ß 漢"] {
        assert_eq!(read(&named(name)).unwrap().filters[0].display.name, name);
    }
    for escaped in ["a &amp; b", "a &#38; b", "a &#x26; b", "<![CDATA[a & b]]>", "a <![CDATA[&]]> b"] {
        assert_eq!(read(&with("a filter", escaped)).unwrap().filters[0].display.name, "a & b", "{escaped}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß漢]{1,12}"
}

fn display() -> impl Strategy<Value = DisplayData> {
    (text(), text()).prop_map(|(name, description)| DisplayData { name, description })
}

fn keyed(number: u128) -> Uuid {
    Uuid::from_u128(0x1234_5678 << 96 | number)
}

fn sid() -> impl Strategy<Value = Vec<u8>> {
    (0..20u8, prop::collection::vec(any::<u32>(), 1..6)).prop_map(|(authority, parts)| {
        let mut sid = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, authority];
        sid.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        sid
    })
}

fn descriptor() -> impl Strategy<Value = Vec<u8>> {
    let entry = (sid(), 1..512u32, any::<bool>()).prop_map(|(sid, mask, allows)| {
        format!("({};;{mask:#x};;;{})", if allows { "A" } else { "D" }, sddl::sid_text(&sid).unwrap())
    });
    prop::collection::vec(entry, 0..4).prop_map(|entries| sddl::parse(&format!("O:LSD:{}", entries.concat())).unwrap())
}

fn single() -> impl Strategy<Value = ConditionValue> {
    prop_oneof![
        Just(ConditionValue::Empty),
        any::<u8>().prop_map(ConditionValue::Uint8),
        any::<u16>().prop_map(ConditionValue::Uint16),
        any::<u32>().prop_map(ConditionValue::Uint32),
        any::<u64>().prop_map(ConditionValue::Uint64),
        any::<[u8; 16]>().prop_map(ConditionValue::ByteArray16),
        any::<[u8; 6]>().prop_map(ConditionValue::ByteArray6),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(ConditionValue::ByteBlob),
        text().prop_map(|text| ConditionValue::ByteBlob(app_id::blob(&text))),
        sid().prop_map(ConditionValue::Sid),
        descriptor().prop_map(ConditionValue::SecurityDescriptor),
        text().prop_map(ConditionValue::UnicodeString),
    ]
}

fn value() -> impl Strategy<Value = ConditionValue> {
    prop_oneof![
        4 => single(),
        1 => any::<(u32, u32)>().prop_map(|(addr, mask)| ConditionValue::V4AddrMask { addr, mask }),
        1 => (any::<[u8; 16]>(), 0..=128u8).prop_map(|(addr, prefix)| ConditionValue::V6AddrMask { addr, prefix }),
        1 => (single(), single()).prop_map(|ends| ConditionValue::Range(Box::new(ends))),
    ]
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let field = prop::sample::select(guids::condition::NAMES.iter().map(|(_, key)| key).collect::<Vec<_>>());
    let match_type = prop::sample::select(MatchType::ALL.to_vec());
    let field = prop_oneof![3 => field, 1 => any::<u128>().prop_map(keyed)];
    let condition =
        (field, match_type, value()).prop_map(|(field, match_type, value)| Condition { field, match_type, value });
    prop::collection::vec(condition, 0..4)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Block),
        Just(Action::Permit),
        any::<u128>().prop_map(|key| Action::CalloutTerminating(keyed(key))),
        any::<u128>().prop_map(|key| Action::CalloutInspection(keyed(key))),
        any::<u128>().prop_map(|key| Action::CalloutUnknown(keyed(key))),
    ]
}

fn layer() -> impl Strategy<Value = Uuid> {
    prop::sample::select(layers::all().iter().map(|layer| layer.key).collect::<Vec<_>>())
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..9)
}

fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let weight =
        prop_oneof![Just(Weight::Auto), (0..16u8).prop_map(Weight::Range), any::<u64>().prop_map(Weight::Exact)];
    let what = (display(), layer(), action(), conditions(), weight);
    let rest = (any::<u32>(), data(), any::<Option<u128>>(), any::<Option<u128>>(), any::<(u64, u64)>());
    let filter = (what, rest).prop_map(|((display, layer, action, conditions, weight), rest)| {
        let (flags, data, provider, context, (raw_context, effective_weight)) = rest;
        Filter {
            display,
            flags: FilterFlags::from_bits_retain(flags),
            provider_context: context.map(keyed),
            provider: provider.map(keyed),
            data,
            sublayer: guids::sublayer::UNIVERSAL,
            weight,
            conditions,
            raw_context: if context.is_some() { 0 } else { raw_context },
            effective_weight,
            ..Filter::new("", layer, action)
        }
    });
    prop::collection::vec(filter, 0..6).prop_map(|mut filters| {
        for (index, filter) in filters.iter_mut().enumerate() {
            filter.key = keyed(index as u128 + 1);
            filter.id = 70000 + index as u64;
        }
        filters
    })
}

fn callouts() -> impl Strategy<Value = Vec<Callout>> {
    let callout = (display(), layer(), data(), any::<[bool; 3]>(), any::<u16>()).prop_map(
        |(display, layer, data, [persistent, uses_provider_context, registered], flags)| Callout {
            display,
            data,
            persistent,
            uses_provider_context,
            registered,
            registration_flags: flags.into(),
            ..Callout::new(Uuid::nil(), "", layer)
        },
    );
    prop::collection::vec(callout, 0..4).prop_map(|mut callouts| {
        for (index, callout) in callouts.iter_mut().enumerate() {
            callout.key = keyed(index as u128 + 1);
            callout.id = 300 + index as u32;
        }
        callouts
    })
}

fn contexts() -> impl Strategy<Value = Vec<ProviderContext>> {
    let option = (0..9u32, single()).prop_map(|(option, value)| ClassifyOption { option, value });
    let policy = |text: &str| ContextContent::Policy { context_type: ContextType::IpsecIkeMm, text: text.to_owned() };
    let content = prop_oneof![
        data().prop_map(ContextContent::General),
        prop::collection::vec(option, 1..3).prop_map(ContextContent::ClassifyOptions),
        Just(policy("<ikeMmPolicy>\n\t\t\t\t<flags/>\n\t\t\t</ikeMmPolicy>")),
    ];
    let context = (display(), data(), any::<bool>(), content).prop_map(|(display, data, persistent, content)| {
        ProviderContext { display, data, persistent, content, ..ProviderContext::new(Uuid::nil(), "", vec![]) }
    });
    prop::collection::vec(context, 0..4).prop_map(|mut contexts| {
        for (index, context) in contexts.iter_mut().enumerate() {
            context.key = keyed(index as u128 + 1);
            context.id = (1 << 63) + index as u64;
        }
        contexts
    })
}

fn sublayers() -> impl Strategy<Value = Vec<Sublayer>> {
    prop::collection::btree_map(any::<u16>(), (display(), data(), any::<bool>()), 0..4).prop_map(|sublayers| {
        let sublayer = |(weight, (display, data, persistent))| Sublayer {
            key: keyed(u128::from(weight) + 1),
            display,
            persistent,
            provider: persistent.then_some(guids::provider::MPSSVC_WF),
            data,
            weight,
        };
        sublayers.into_iter().map(sublayer).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_again(filters in filters(), callouts in callouts(), sublayers in sublayers(), contexts in contexts()) {
        let state = State { filters, callouts, sublayers, provider_contexts: contexts, ..State::default() };
        let again = read(&written(&State { time: Some(jiff::Timestamp::UNIX_EPOCH), ..state.clone() })).unwrap();
        // By layer in the file, by id in the state.
        prop_assert_eq!(again.filters, state.filters);
        prop_assert_eq!(again.callouts, state.callouts);
        prop_assert_eq!(again.sublayers, state.sublayers);
        prop_assert_eq!(again.provider_contexts, state.provider_contexts);
        prop_assert_eq!(again.unknown, vec![]);
    }

    #[test]
    fn no_bytes_make_the_reader_fall(change in any::<(prop::sample::Index, u8)>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = with("443", "443").into_bytes();
        let at = change.0.index(bytes.len());
        bytes[at] = change.1;
        let end = cut.index(bytes.len());
        let _ = Dump::read(bytes.clone());
        prop_assert!(Dump::read(bytes[..end].to_vec()).is_err() || end > bytes.len() - 90);
    }
}
