//! The state as netsh shows it, beside a real file.

#[allow(dead_code)]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use common::lab::Lab;
use quick_xml::Reader;
use quick_xml::events::Event;

#[derive(Debug, Default)]
struct Node {
    name: String,
    items: Option<usize>,
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn child(&self, name: &str) -> &Node {
        self.children.iter().find(|child| child.name == name).unwrap_or_else(|| panic!("no {name} in {}", self.name))
    }
}

/// The roots of a file, with its byte order mark.
fn parse(text: &str) -> Vec<Node> {
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').expect("a byte order mark"));
    let mut stack = vec![Node::default()];
    let node = |start: &quick_xml::events::BytesStart| Node {
        name: start.name().as_ref().to_owned(),
        items: start.attributes().map(|attribute| attribute.unwrap()).find_map(|attribute| {
            assert_eq!(attribute.key.as_ref(), "numItems");
            attribute.value.parse().ok()
        }),
        ..Node::default()
    };
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => stack.push(node(&start)),
            Event::Empty(start) => stack.last_mut().unwrap().children.push(node(&start)),
            Event::End(_) => {
                let done = stack.pop().unwrap();
                stack.last_mut().unwrap().children.push(done);
            }
            Event::Text(text) => stack.last_mut().unwrap().text += text.trim(),
            Event::CData(text) => stack.last_mut().unwrap().text += &text,
            Event::GeneralRef(_) | Event::Decl(_) => {}
            Event::Eof => return stack.pop().unwrap().children,
            other => panic!("{other:?}"),
        }
    }
}

fn real() -> (String, Vec<Node>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/wfp-state/keploy.wfpstate.xml.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let nodes = parse(&text);
    (text, nodes)
}

/// A lab with a filter of every kind, as text and parsed.
fn ours() -> (String, Vec<Node>) {
    let lab = Lab::started();
    for arguments in [
        &["--layer", "connect", "--action", "block", "--protocol", "tcp", "--remote-port", "80-90", "--family", "v4"][..],
        &["--layer", "connect", "--action", "permit", "--remote", "10.0.0.1-10.0.0.9", "--weight", "0xffff"],
        &["--layer", "accept", "--action", "callout-block", "--remote", "fe80::1-fe80::9", "--weight", "3"],
        &["--layer", "accept", "--action", "callout-inspect", "--app", "System", "--lifetime", "persistent"],
        &["--layer", "bind", "--action", "permit", "--local-port", "53", "--name", "<names> & 'quotes'", "--hard"],
    ] {
        lab.ok(&[&["filter", "add"], arguments].concat());
    }
    let file = lab.socket().with_extension("xml");
    lab.ok(&["state", "--format", "xml", "--out", file.to_str().unwrap()]);
    let text = std::fs::read_to_string(file).unwrap();
    let nodes = parse(&text);
    (text, nodes)
}

/// Which children an element has at a path, and which of them comes before which.
#[derive(Debug, Default)]
struct Shape {
    names: BTreeSet<String>,
    before: BTreeSet<(String, String)>,
}

fn shapes(nodes: &[Node]) -> BTreeMap<String, Shape> {
    fn visit(path: &str, node: &Node, shapes: &mut BTreeMap<String, Shape>) {
        let path = format!("{path}/{}", node.name);
        let shape = shapes.entry(path.clone()).or_default();
        for (index, child) in node.children.iter().enumerate() {
            shape.names.insert(child.name.clone());
            for later in node.children[index + 1..].iter().filter(|later| later.name != child.name) {
                shape.before.insert((child.name.clone(), later.name.clone()));
            }
        }
        node.children.iter().for_each(|child| visit(&path, child, shapes));
    }
    let mut shapes = BTreeMap::new();
    nodes.iter().for_each(|node| visit("", node, &mut shapes));
    shapes
}

#[test]
fn every_element_stands_where_the_real_file_has_it() {
    let (_, real) = real();
    let real = shapes(&real);
    let (_, ours) = ours();
    for (path, shape) in shapes(&ours) {
        let theirs = real.get(&path).unwrap_or_else(|| panic!("the real file has no {path}"));
        for name in &shape.names {
            assert!(theirs.names.contains(name), "the real file has no {path}/{name}");
        }
        for order in &shape.before {
            assert!(theirs.before.contains(order), "{path}: {} before {}", order.0, order.1);
        }
    }
}

#[test]
fn the_items_that_have_no_variants_have_all_elements_of_the_real_ones() {
    let (_, real) = real();
    let (_, ours) = ours();
    let (real, ours) = (shapes(&real), shapes(&ours));
    let layers = "/wfpstate/layers/item";
    for path in [
        "/wfpstate",
        "/wfpstate/sessions/item",
        layers,
        &format!("{layers}/layer"),
        &format!("{layers}/layer/field/item"),
        &format!("{layers}/callouts/item"),
        &format!("{layers}/filters/item/action"),
        &format!("{layers}/filters/item/filterCondition/item"),
        "/wfpstate/providers/item",
        "/wfpstate/subLayers/item",
        "/wfpstate/subscriptions",
        "/wfpstate/ipsecStatistics",
        "/wfpstate/ipsecStatistics/aggregateDropPacketStatistics",
        "/firewallState",
    ] {
        let mut missing: Vec<_> = real[path].names.difference(&ours[path].names).collect();
        // Of a service that the lab has not.
        missing.retain(|name| *name != "ikeextStatistics");
        assert!(missing.is_empty(), "{path} lacks {missing:?}");
    }
    // The one variant: a filter with a provider context has its key in place of the raw context.
    let filter = format!("{layers}/filters/item");
    let missing: Vec<_> = real[&filter].names.difference(&ours[&filter].names).collect();
    assert_eq!(missing, ["providerContextKey"]);
}

#[test]
fn layers_are_named_and_numbered_as_in_the_real_file() {
    let describe = |roots: &[Node]| -> Vec<String> {
        let layers = roots[0].child("layers");
        let of = |layer: &Node, name: &str| layer.child(name).text.clone();
        layers
            .children
            .iter()
            .map(|item| item.child("layer"))
            .map(|layer| {
                let flags: Vec<&str> = layer.child("flags").children.iter().map(|flag| &*flag.text).collect();
                let display = &layer.child("displayData").child("name").text;
                format!(
                    "{} {} {display} {flags:?} {}",
                    of(layer, "layerId"),
                    of(layer, "layerKey"),
                    of(layer, "defaultSubLayerKey")
                )
            })
            .collect()
    };
    let (_, real) = real();
    let (_, ours) = ours();
    assert_eq!(describe(&ours), describe(&real));
}

#[test]
fn lists_tell_their_number_and_empty_ones_do_not() {
    fn visit(node: &Node) {
        if let Some(items) = node.items {
            assert!(items > 0, "{}", node.name);
            assert_eq!(items, node.children.len(), "{}", node.name);
        }
        let has_items = node.children.first().is_some_and(|child| child.name == "item");
        assert_eq!(has_items, node.items.is_some(), "{}", node.name);
        node.children.iter().for_each(visit);
    }
    let (_, ours) = ours();
    ours.iter().for_each(visit);
    let (_, real) = real();
    real.iter().for_each(visit);
}

#[test]
fn bytes_are_those_of_netsh() {
    let (text, roots) = ours();
    assert_eq!(roots.len(), 2);
    assert!(text.starts_with(
        "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n<wfpstate>\r\n\t<timeStamp>"
    ));
    assert!(text.ends_with("\t<dynamicKeywordAddresses/>\r\n</firewallState>\r\n"));
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert!(text.contains("<name><![CDATA[<names> & 'quotes']]></name>"));
    // Not in the committed file, whose lines were ended by LF on its way; everything else is.
    let (real, _) = real();
    let (ours, real) = (text.replace('\r', ""), real.as_str());
    let block = |text: &str, from: &str, to: &str| {
        let begin = text.find(from).unwrap();
        text[begin..][..text[begin..].find(to).unwrap()].to_owned()
    };
    assert_eq!(block(&ours, "<ipsecStatistics>", "</wfpstate>"), block(real, "<ipsecStatistics>", "</wfpstate>"));
    let layer = |text: &str| block(text, "<layerKey>FWPM_LAYER_INBOUND_IPPACKET_V4<", "<callouts");
    assert_eq!(layer(&ours), layer(real));
    let sublayer = |text: &str| {
        block(text, "\n\t\t<item>\n\t\t\t<subLayerKey>FWPM_SUBLAYER_INSPECTION<", "<subLayerKey>FWPM_SUBLAYER_TEREDO<")
    };
    assert_eq!(sublayer(&ours), sublayer(real));
    let app = |text: &str| block(text, "<data>530079007300740065006d000000</data>", "</conditionValue>");
    assert_eq!(app(&ours), app(real));
}
