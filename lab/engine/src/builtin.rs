//! The objects that Windows brings along: names, providers and weights as `netsh wfp show state` reports them.

use alloc::string::ToString;
use alloc::vec::Vec;
use uuid::Uuid;

use crate::guids::{provider, sublayer};
use crate::objects::{DisplayData, Provider, Sublayer};

const MICROSOFT: &str = "Microsoft Corporation";
const MPSSVC: Option<&str> = Some("mpssvc");

/// Key, name, description, service.
const PROVIDERS: &[(Uuid, &str, &str, Option<&str>)] = &[
    (
        provider::IKEEXT,
        MICROSOFT,
        "Microsoft Windows WFP Built-in IKEEXT provider used to identify filters added by IKE/AuthIP.",
        Some("IKEEXT"),
    ),
    (
        provider::IPSEC_DOSP_CONFIG,
        MICROSOFT,
        "Microsoft Windows WFP Built-in IPsec DoS Protection configuration provider used to identify filters added by IPsec Denial of Service Protection.",
        None,
    ),
    (
        provider::TCP_CHIMNEY_OFFLOAD,
        MICROSOFT,
        "Microsoft Windows WFP Built-in TCP Chimney Offload provider used to identify filters added by TCP Chimney Offload.",
        None,
    ),
    (
        provider::TCP_TEMPLATES,
        MICROSOFT,
        "Microsoft Windows WFP Built-in TCP Templates provider used to identify filters added by TCP Template based configuration.",
        None,
    ),
    (
        provider::MPSSVC_WSH,
        MICROSOFT,
        "Microsoft Windows WFP Built-in MPSSVC Windows Service Hardening and Quarantine provider.",
        MPSSVC,
    ),
    (provider::MPSSVC_WF, MICROSOFT, "Microsoft Windows WFP Built-in MPSSVC Windows Firewall provider.", MPSSVC),
    (
        provider::MPSSVC_EDP,
        MICROSOFT,
        "Microsoft Windows WFP Built-in MPSSVC Enterprise Data Protection provider.",
        MPSSVC,
    ),
    (
        provider::MPSSVC_TENANT_RESTRICTIONS,
        "WFP Built-in MPSSVC Tenant Restrictions Sublayer",
        "Microsoft Windows WFP Built-in MPSSVC Tenant Restrictions provider.",
        MPSSVC,
    ),
    (
        provider::MPSSVC_APP_ISOLATION,
        "@bfe.dll,-1217",
        "Microsoft Windows WFP Built-in MPSSVC App Isolation provider.",
        MPSSVC,
    ),
];

/// Key, weight, name, provider.
const SUBLAYERS: &[(Uuid, u16, &str, Option<Uuid>)] = &[
    (sublayer::INSPECTION, 0x0000, "WFP Built-in Inspection Sublayer", None),
    (sublayer::TEREDO, 0x0001, "WFP Built-in Edge Traversal Sublayer", None),
    (sublayer::MPSSVC_WF, 0x0002, "WFP Built-in MPSSVC Windows Firewall Sublayer", Some(provider::MPSSVC_WF)),
    (
        sublayer::MPSSVC_WSH,
        0x0003,
        "WFP Built-in MPSSVC Windows Service Hardening Sublayer",
        Some(provider::MPSSVC_WSH),
    ),
    (sublayer::MPSSVC_QUARANTINE, 0x0004, "WFP Built-in MPSSVC Quarantine Sublayer", Some(provider::MPSSVC_WSH)),
    (
        sublayer::MPSSVC_EDP,
        0x0005,
        "WFP Built-in MPSSVC Enterprise Data Protection Sublayer",
        Some(provider::MPSSVC_EDP),
    ),
    (
        sublayer::MPSSVC_TENANT_RESTRICTIONS,
        0x0006,
        "WFP Built-in MPSSVC Tenant Restrictions Sublayer",
        Some(provider::MPSSVC_TENANT_RESTRICTIONS),
    ),
    (
        sublayer::MPSSVC_APP_ISOLATION,
        0x0007,
        "WFP Built-in MPSSVC App Isolation Sublayer",
        Some(provider::MPSSVC_APP_ISOLATION),
    ),
    (sublayer::TCP_CHIMNEY_OFFLOAD, 0x2000, "WFP Built-in TCP Chimney Offload Sublayer", None),
    (sublayer::TCP_TEMPLATES, 0x2200, "WFP Built-in TCP Templates Sublayer", None),
    (sublayer::IPSEC_SECURITY_REALM, 0x3000, "WFP Built-in IPsec Security Realm Sublayer", None),
    (sublayer::SECURE_SOCKET, 0x4000, "WFP Built-in Secure Socket Sublayer", None),
    (sublayer::LIPS, 0x7FFF, "WFP Built-in Legacy IPsec Sublayer", None),
    (sublayer::UNIVERSAL, 0x8000, "WFP Built-in Universal Sublayer", None),
    (sublayer::IPSEC_DOSP, 0x8800, "WFP Built-in IPsec DoS Protection Sublayer", None),
    (sublayer::IPSEC_FORWARD_OUTBOUND_TUNNEL, 0x9000, "WFP Built-in IPsec Forward Outbound Tunnel Sublayer", None),
    (sublayer::IPSEC_TUNNEL, 0xA000, "WFP Built-in IPsec Tunnel Sublayer", None),
    (sublayer::RPC_AUDIT, 0xC000, "RPC Built-in Audit Sublayer", None),
];

pub(crate) fn providers() -> impl Iterator<Item = Provider> {
    PROVIDERS.iter().map(|(key, name, description, service)| Provider {
        key: *key,
        display: DisplayData { name: name.to_string(), description: description.to_string() },
        persistent: false,
        disabled: false,
        data: Vec::new(),
        service_name: service.map(ToString::to_string),
    })
}

pub(crate) fn sublayers() -> impl Iterator<Item = Sublayer> {
    SUBLAYERS.iter().map(|(key, weight, name, provider)| Sublayer {
        key: *key,
        display: DisplayData { name: name.to_string(), ..DisplayData::default() },
        persistent: false,
        provider: *provider,
        data: Vec::new(),
        weight: *weight,
    })
}
