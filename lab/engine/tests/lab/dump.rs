//! Reads the filters of a `netsh wfp` dump: only what a weight depends on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use postern_engine::guids::condition;
use postern_engine::layers::{self, Layer};
use postern_engine::objects::*;
use quick_xml::Reader;
use quick_xml::events::Event;
use uuid::Uuid;

/// An element with its text and its children.
#[derive(Default)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| &child.text)
    }

    fn descendants<'a>(&'a self, found: &mut Vec<&'a Element>, wanted: &dyn Fn(&Element) -> bool) {
        if wanted(self) {
            found.push(self);
        }
        self.children.iter().for_each(|child| child.descendants(found, wanted));
    }

    /// Filters, and (in a state file) layers.
    fn having(&self, child: &str) -> Vec<&Element> {
        let mut found = Vec::new();
        self.descendants(&mut found, &|element| element.child(child).is_some());
        found
    }
}

pub struct DumpedFilter {
    pub layer: &'static Layer,
    pub weight: Weight,
    pub conditions: Vec<Condition>,
    pub effective_weight: u64,
}

pub struct Dump(Element);

impl Dump {
    pub fn open(name: &str) -> Dump {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/wfp-state").join(name);
        let mut text = String::new();
        GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        let mut reader = Reader::from_str(&text);
        let mut open = vec![Element::default()];
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    let name = start.name().as_ref().to_owned();
                    open.push(Element { name, ..Element::default() });
                }
                Event::Text(text) => open.last_mut().unwrap().text.push_str(text.trim()),
                Event::End(_) => {
                    let closed = open.pop().unwrap();
                    open.last_mut().unwrap().children.push(closed);
                }
                Event::Eof => return Dump(open.pop().unwrap()),
                _ => {}
            }
        }
    }

    pub fn filters(&self) -> impl Iterator<Item = DumpedFilter> {
        self.0.having("effectiveWeight").into_iter().map(|filter| {
            let weight = filter.child("weight").unwrap();
            let weight = match weight.text_of("type") {
                "FWP_EMPTY" => Weight::Auto,
                "FWP_UINT8" => Weight::Range(weight.text_of("uint8").parse().unwrap()),
                "FWP_UINT64" => Weight::Exact(weight.text_of("uint64").parse().unwrap()),
                other => panic!("{other}"),
            };
            let layer = filter.text_of("layerKey");
            let layer = layers::by_name(layer).unwrap_or_else(|| panic!("{layer}"));
            let conditions = filter.child("filterCondition").into_iter().flat_map(|conditions| &conditions.children);
            DumpedFilter {
                layer,
                weight,
                conditions: conditions.map(|read| read_condition(layer, read)).collect(),
                effective_weight: filter.child("effectiveWeight").unwrap().text_of("uint64").parse().unwrap(),
            }
        })
    }

    /// The fields of the machine's layers, by layer id; empty if the dump does not list them.
    pub fn fields(&self) -> BTreeMap<u16, Vec<Uuid>> {
        let layers = self.0.having("layerId").into_iter().filter_map(|listed| {
            let layer = layers::by_name(listed.text_of("layerKey"))?;
            let fields = &listed.child("field")?.children;
            let keys = fields.iter().map(|field| condition::NAMES.key(field.text_of("fieldKey")).unwrap());
            Some((layer.id, keys.collect()))
        });
        layers.collect()
    }
}

fn read_condition(layer: &Layer, read: &Element) -> Condition {
    let field = condition::NAMES.key(read.text_of("fieldKey")).unwrap();
    assert!(layer.field_index(&field).is_some(), "{} has no {}", layer.name, read.text_of("fieldKey"));
    let match_type = match read.text_of("matchType").trim_start_matches("FWP_MATCH_") {
        "EQUAL" => MatchType::Equal,
        "NOT_EQUAL" => MatchType::NotEqual,
        "RANGE" => MatchType::Range,
        "FLAGS_ALL_SET" => MatchType::FlagsAllSet,
        "FLAGS_ANY_SET" => MatchType::FlagsAnySet,
        "FLAGS_NONE_SET" => MatchType::FlagsNoneSet,
        other => panic!("{other}"),
    };
    Condition { field, match_type, value: value(read.child("conditionValue").unwrap()) }
}

/// The value; of what weighs the same whatever it holds, an empty one.
fn value(read: &Element) -> ConditionValue {
    match read.text_of("type") {
        "FWP_UINT8" => ConditionValue::Uint8(read.text_of("uint8").parse().unwrap()),
        "FWP_UINT16" => ConditionValue::Uint16(read.text_of("uint16").parse().unwrap()),
        "FWP_UINT32" => {
            let text = read.text_of("uint32");
            let address = text.parse::<std::net::Ipv4Addr>().map(u32::from);
            ConditionValue::Uint32(address.unwrap_or_else(|_| text.parse().unwrap()))
        }
        "FWP_UINT64" => ConditionValue::Uint64(0),
        "FWP_BYTE_ARRAY16_TYPE" => {
            let address: std::net::Ipv6Addr = read.text_of("byteArray16").parse().unwrap();
            ConditionValue::ByteArray16(address.octets())
        }
        "FWP_RANGE_TYPE" => {
            let range = read.child("rangeValue").unwrap();
            let end = |name| value(range.child(name).unwrap());
            ConditionValue::Range(Box::new((end("valueLow"), end("valueHigh"))))
        }
        "FWP_BYTE_BLOB_TYPE" => ConditionValue::ByteBlob(vec![]),
        "FWP_SID" => ConditionValue::Sid(vec![]),
        "FWP_SECURITY_DESCRIPTOR_TYPE" => ConditionValue::SecurityDescriptor(vec![]),
        other => panic!("{other}"),
    }
}
