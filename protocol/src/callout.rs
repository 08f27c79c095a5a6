//! The callouts that the driver registers, and how their keys are made.

/// What a callout does with the traffic that a filter sends to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Counts, and lets others decide. Named only by the driver's own filters: its callout object belongs to the driver's
    /// dynamic session, and no other session may refer to it.
    Monitor = 0,
    /// Counts, and lets others decide; for filters that a program adds.
    Inspect = 1,
    /// Blocks, as far as the right to decide is left.
    Block = 2,
    /// Permits, as far as the right to decide is left.
    Permit = 3,
    /// Puts the decision off until a program answers, or the filter's time is up.
    Hold = 4,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Monitor, Role::Inspect, Role::Block, Role::Permit, Role::Hold];

    /// The layers at which the driver has a callout with this role.
    pub const fn layers(self) -> &'static [Layer] {
        match self {
            Role::Monitor => &Layer::ALL,
            Role::Inspect | Role::Block | Role::Permit => Layer::ALL.split_at(8).0,
            Role::Hold => Layer::ALL.split_at(4).0,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Role::Monitor => "monitor",
            Role::Inspect => "inspect",
            Role::Block => "block",
            Role::Permit => "permit",
            Role::Hold => "hold",
        }
    }
}

/// A layer at which the driver has callouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer {
    AleAuthConnectV4 = 0,
    AleAuthConnectV6 = 1,
    AleAuthRecvAcceptV4 = 2,
    AleAuthRecvAcceptV6 = 3,
    InboundTransportV4 = 4,
    InboundTransportV6 = 5,
    OutboundTransportV4 = 6,
    OutboundTransportV6 = 7,
    AleFlowEstablishedV4 = 8,
    AleFlowEstablishedV6 = 9,
    StreamV4 = 10,
    StreamV6 = 11,
    DatagramDataV4 = 12,
    DatagramDataV6 = 13,
}

impl Layer {
    pub const ALL: [Layer; 14] = [
        Layer::AleAuthConnectV4,
        Layer::AleAuthConnectV6,
        Layer::AleAuthRecvAcceptV4,
        Layer::AleAuthRecvAcceptV6,
        Layer::InboundTransportV4,
        Layer::InboundTransportV6,
        Layer::OutboundTransportV4,
        Layer::OutboundTransportV6,
        Layer::AleFlowEstablishedV4,
        Layer::AleFlowEstablishedV6,
        Layer::StreamV4,
        Layer::StreamV6,
        Layer::DatagramDataV4,
        Layer::DatagramDataV6,
    ];

    /// The `FWPM_LAYER_*` key (fwpmu.h).
    pub const fn key(self) -> u128 {
        match self {
            Layer::AleAuthConnectV4 => 0xc38d57d1_05a7_4c33_904f_7fbceee60e82,
            Layer::AleAuthConnectV6 => 0x4a72393b_319f_44bc_84c3_ba54dcb3b6b4,
            Layer::AleAuthRecvAcceptV4 => 0xe1cd9fe7_f4b5_4273_96c0_592e487b8650,
            Layer::AleAuthRecvAcceptV6 => 0xa3b42c97_9f04_4672_b87e_cee9c483257f,
            Layer::InboundTransportV4 => 0x5926dfc8_e3cf_4426_a283_dc393f5d0f9d,
            Layer::InboundTransportV6 => 0x634a869f_fc23_4b90_b0c1_bf620a36ae6f,
            Layer::OutboundTransportV4 => 0x09e61aea_d214_46e2_9b21_b26b0b2f28c8,
            Layer::OutboundTransportV6 => 0xe1735bde_013f_4655_b351_a49e15762df0,
            Layer::AleFlowEstablishedV4 => 0xaf80470a_5596_4c13_9992_539e6fe57967,
            Layer::AleFlowEstablishedV6 => 0x7021d2b3_dfa4_406e_afeb_6afaf7e70efd,
            Layer::StreamV4 => 0x3b89653c_c170_49e4_b1cd_e0eeeee19a3e,
            Layer::StreamV6 => 0x47c9137a_7ec4_46b3_b6e4_48e926b1eda4,
            Layer::DatagramDataV4 => 0x3d08bf4e_45f6_4930_a922_417098e20027,
            Layer::DatagramDataV6 => 0xfa45fe2f_3cba_4427_87fc_57b9a4b10d00,
        }
    }

    /// The run-time id, `FWPS_LAYER_*` (fwpsk.h).
    pub const fn id(self) -> u16 {
        match self {
            Layer::AleAuthConnectV4 => 48,
            Layer::AleAuthConnectV6 => 50,
            Layer::AleAuthRecvAcceptV4 => 44,
            Layer::AleAuthRecvAcceptV6 => 46,
            Layer::InboundTransportV4 => 12,
            Layer::InboundTransportV6 => 14,
            Layer::OutboundTransportV4 => 16,
            Layer::OutboundTransportV6 => 18,
            Layer::AleFlowEstablishedV4 => 52,
            Layer::AleFlowEstablishedV6 => 54,
            Layer::StreamV4 => 20,
            Layer::StreamV6 => 22,
            Layer::DatagramDataV4 => 24,
            Layer::DatagramDataV6 => 26,
        }
    }

    /// The layer's name without its `FWPM_LAYER_` prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Layer::AleAuthConnectV4 => "ALE_AUTH_CONNECT_V4",
            Layer::AleAuthConnectV6 => "ALE_AUTH_CONNECT_V6",
            Layer::AleAuthRecvAcceptV4 => "ALE_AUTH_RECV_ACCEPT_V4",
            Layer::AleAuthRecvAcceptV6 => "ALE_AUTH_RECV_ACCEPT_V6",
            Layer::InboundTransportV4 => "INBOUND_TRANSPORT_V4",
            Layer::InboundTransportV6 => "INBOUND_TRANSPORT_V6",
            Layer::OutboundTransportV4 => "OUTBOUND_TRANSPORT_V4",
            Layer::OutboundTransportV6 => "OUTBOUND_TRANSPORT_V6",
            Layer::AleFlowEstablishedV4 => "ALE_FLOW_ESTABLISHED_V4",
            Layer::AleFlowEstablishedV6 => "ALE_FLOW_ESTABLISHED_V6",
            Layer::StreamV4 => "STREAM_V4",
            Layer::StreamV6 => "STREAM_V6",
            Layer::DatagramDataV4 => "DATAGRAM_DATA_V4",
            Layer::DatagramDataV6 => "DATAGRAM_DATA_V6",
        }
    }
}

/// One callout: a role at a layer. Not every role is at every layer: see [`Role::layers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callout {
    pub role: Role,
    pub layer: Layer,
}

/// Number of callouts that the driver registers.
pub const COUNT: usize = {
    let mut count = 0;
    let mut role = 0;
    while role < Role::ALL.len() {
        count += Role::ALL[role].layers().len();
        role += 1;
    }
    count
};

/// All callouts, by index: role after role, layer after layer.
pub const CALLOUTS: [Callout; COUNT] = {
    let mut all = [Callout { role: Role::Monitor, layer: Layer::AleAuthConnectV4 }; COUNT];
    let mut index = 0;
    let mut role = 0;
    while role < Role::ALL.len() {
        let layers = Role::ALL[role].layers();
        let mut layer = 0;
        while layer < layers.len() {
            all[index] = Callout { role: Role::ALL[role], layer: layers[layer] };
            index += 1;
            layer += 1;
        }
        role += 1;
    }
    all
};

impl Callout {
    /// The callout at `index` of [`CALLOUTS`]; `index` must be below [`COUNT`].
    pub const fn at(index: usize) -> Callout {
        CALLOUTS[index]
    }

    /// The callout with this role at this layer, if the driver has one.
    pub const fn new(role: Role, layer: Layer) -> Option<Callout> {
        if (layer as usize) < role.layers().len() { Some(Callout { role, layer }) } else { None }
    }

    /// Position in [`CALLOUTS`].
    pub const fn index(self) -> usize {
        let mut index = self.layer as usize;
        let mut role = 0;
        while role < self.role as usize {
            index += Role::ALL[role].layers().len();
            role += 1;
        }
        index
    }

    /// `calloutKey`: under it the driver registers the callout, and filters name it.
    pub const fn key(self) -> u128 {
        0x706f7374_6572_4e00_8001_000000000000 | (self.role as u128) << 8 | self.layer as u128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_have_been_since_the_first_version() {
        let block = Callout { role: Role::Block, layer: Layer::AleAuthRecvAcceptV6 };
        assert_eq!(block.key(), 0x706f7374_6572_4e00_8001_000000000203);
        assert_eq!(crate::VERSION, 0x0001_0001);
    }

    #[test]
    fn every_callout_has_its_own_index_and_key() {
        for (index, callout) in CALLOUTS.iter().enumerate() {
            assert_eq!(callout.index(), index);
            assert_eq!(Callout::new(callout.role, callout.layer), Some(*callout));
            assert!(CALLOUTS[..index].iter().all(|other| other.key() != callout.key()));
        }
    }

    #[test]
    fn roles_are_at_the_layers_that_they_can_serve() {
        assert_eq!(COUNT, 42);
        for layer in Role::Hold.layers() {
            assert!(layer.name().starts_with("ALE_AUTH_"), "an operation can be pended where it is authorised");
        }
        assert_eq!(Callout::new(Role::Hold, Layer::InboundTransportV4), None);
        assert_eq!(Callout::new(Role::Block, Layer::StreamV4), None);
    }
}
