//! Layers as they are written on the command line.

use postern_engine::layers::{self, Layer};

use super::address::Version;

/// A pair of layers that differ in the IP version, or one layer.
#[derive(Debug, Clone, Copy)]
pub enum Layers {
    Pair { v4: &'static Layer, v6: &'static Layer },
    One(&'static Layer),
}

/// The short names, in the order of a connection's life.
pub const SHORT: [(&str, &str); 14] = [
    ("bind", "ALE_RESOURCE_ASSIGNMENT"),
    ("listen", "ALE_AUTH_LISTEN"),
    ("connect", "ALE_AUTH_CONNECT"),
    ("accept", "ALE_AUTH_RECV_ACCEPT"),
    ("established", "ALE_FLOW_ESTABLISHED"),
    ("outbound-transport", "OUTBOUND_TRANSPORT"),
    ("inbound-transport", "INBOUND_TRANSPORT"),
    ("outbound-ippacket", "OUTBOUND_IPPACKET"),
    ("inbound-ippacket", "INBOUND_IPPACKET"),
    ("forward", "IPFORWARD"),
    ("stream", "STREAM"),
    ("datagram", "DATAGRAM_DATA"),
    ("outbound-icmp-error", "OUTBOUND_ICMP_ERROR"),
    ("inbound-icmp-error", "INBOUND_ICMP_ERROR"),
];

impl Layers {
    pub fn parse(text: &str) -> Result<Layers, String> {
        let short =
            SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(text)).map(|(_, name)| (*name).to_owned());
        let name = short.unwrap_or_else(|| text.to_uppercase().replace('-', "_"));
        if let Some(layer) = layers::by_name(&name) {
            return Ok(Layers::One(layer));
        }
        let (stem, discard) = match name.strip_suffix("_DISCARD") {
            Some(stem) => (stem, "_DISCARD"),
            None => (&name[..], ""),
        };
        let of = |version| layers::by_name(&format!("{stem}_{version}{discard}"));
        match (of("V4"), of("V6")) {
            (Some(v4), Some(v6)) => Ok(Layers::Pair { v4, v6 }),
            _ => Err(format!(
                "there is no layer '{text}': write one of {}, or the name of a FWPM_LAYER_* GUID (fwpmu.h)",
                SHORT.map(|(short, _)| short).join(", ")
            )),
        }
    }

    /// The layer for packets of a version, unless this is a single layer for the other.
    pub fn of(&self, version: Version) -> Option<&'static Layer> {
        match (self, version) {
            (Layers::Pair { v4, .. }, Version::V4) => Some(v4),
            (Layers::Pair { v6, .. }, Version::V6) => Some(v6),
            (Layers::One(layer), _) => self.version().is_none_or(|own| own == version).then_some(*layer),
        }
    }

    /// The IP version of a single layer that has one.
    pub fn version(&self) -> Option<Version> {
        match self {
            Layers::Pair { .. } => None,
            Layers::One(layer) => version(layer),
        }
    }
}

/// The IP version of a layer's packets; some layers see both.
pub fn version(layer: &Layer) -> Option<Version> {
    if layer.name.contains("_V4") {
        Some(Version::V4)
    } else if layer.name.contains("_V6") {
        Some(Version::V6)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_name_is_a_pair_of_layers() {
        for (short, name) in SHORT {
            let Ok(Layers::Pair { v4, v6 }) = Layers::parse(short) else { panic!("{short}") };
            assert_eq!((v4.name, v6.name), (&*format!("{name}_V4"), &*format!("{name}_V6")));
        }
    }

    #[test]
    fn the_headers_names_are_layers_too() {
        for name in ["FWPM_LAYER_ALE_AUTH_CONNECT_V4", "ALE_AUTH_CONNECT_V4", "ale-auth-connect-v4"] {
            let Ok(Layers::One(layer)) = Layers::parse(name) else { panic!("{name}") };
            assert_eq!(layer.id, 48);
        }
        assert!(matches!(Layers::parse("ALE_AUTH_CONNECT_DISCARD"), Ok(Layers::Pair { .. })));
        assert!(matches!(Layers::parse("INBOUND_MAC_FRAME_ETHERNET"), Ok(Layers::One(_))));
    }

    #[test]
    fn an_unknown_layer_is_answered_with_the_short_names() {
        assert!(Layers::parse("conect").unwrap_err().contains("connect, accept"));
    }
}
