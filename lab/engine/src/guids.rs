//! The names that headers and netsh give to GUIDs (fwpmu.h, fwpmk.h).

use uuid::{Uuid, uuid};

/// The symbolic names of one class of objects.
#[derive(Debug)]
pub struct Names(&'static [(&'static str, Uuid)]);

impl Names {
    /// The whole symbol, as netsh prints it: `FWPM_CONDITION_IP_PROTOCOL`.
    pub fn name(&self, key: &Uuid) -> Option<&'static str> {
        self.iter().find(|(_, k)| k == key).map(|(name, _)| name)
    }

    /// The key of a symbol, with or without its prefix.
    pub fn key(&self, name: &str) -> Option<Uuid> {
        self.iter().find(|(n, _)| *n == name || n.splitn(3, '_').nth(2) == Some(name)).map(|(_, key)| key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Uuid)> + use<> {
        self.0.iter().copied()
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $module:ident $prefix:literal { $($name:ident = $key:literal,)+ })+) => {
        $(
            $(#[$doc])*
            pub mod $module {
                use super::{Names, Uuid, uuid};

                $(pub const $name: Uuid = uuid!($key);)+
                pub const NAMES: Names = Names(&[$((concat!($prefix, stringify!($name)), $name)),+]);
            }
        )+
    };
}

names! {
    /// `FWPM_CONDITION_*`: the fields of layers. A key is unique only within a layer.
    condition "FWPM_CONDITION_" {
        INTERFACE_MAC_ADDRESS = "f6e63dce-1f4b-4c6b-b6ef-1165e71f8ee7",
        MAC_LOCAL_ADDRESS = "d999e981-7948-4c83-b742-c84e3b678f8f",
        MAC_REMOTE_ADDRESS = "408f2ed4-3a70-4b4d-92a6-415ac20e2f12",
        ETHER_TYPE = "fd08948d-a219-4d52-bb98-1a5540ee7b4e",
        VLAN_ID = "938eab21-3618-4e64-9ca5-2141ebda1ca2",
        VSWITCH_TENANT_NETWORK_ID = "dc04843c-79e6-4e44-a025-65b9bb0f9f94",
        NDIS_PORT = "db7bb42b-2dac-4cd4-a59a-e0bdce1e6834",
        NDIS_MEDIA_TYPE = "cb31cef1-791d-473b-89d1-61c5984304a0",
        NDIS_PHYSICAL_MEDIA_TYPE = "34c79823-c229-44f2-b83c-74020882ae77",
        L2_FLAGS = "7bc43cbf-37ba-45f1-b74a-82ff518eeb10",
        MAC_LOCAL_ADDRESS_TYPE = "cc31355c-3073-4ffb-a14f-79415cb1ead1",
        MAC_REMOTE_ADDRESS_TYPE = "027fedb4-f1c1-4030-b564-ee777fd867ea",
        ALE_PACKAGE_ID = "71bc78fa-f17c-4997-a602-6abb261f351c",
        MAC_SOURCE_ADDRESS = "7b795451-f1f6-4d05-b7cb-21779d802336",
        MAC_DESTINATION_ADDRESS = "04ea2a93-858c-4027-b613-b43180c7859e",
        MAC_SOURCE_ADDRESS_TYPE = "5c1b72e4-299e-4437-a298-bc3f014b3dc2",
        MAC_DESTINATION_ADDRESS_TYPE = "ae052932-ef42-4e99-b129-f3b3139e34f7",
        IP_SOURCE_PORT = "a6afef91-3df4-4730-a214-f5426aebf821",
        IP_DESTINATION_PORT = "ce6def45-60fb-4a7b-a304-af30a117000e",
        VSWITCH_ID = "c4a414ba-437b-4de6-9946-d99c1b95b312",
        VSWITCH_NETWORK_TYPE = "11d48b4b-e77a-40b4-9155-392c906c2608",
        VSWITCH_SOURCE_INTERFACE_ID = "7f4ef24b-b2c1-4938-ba33-a1ecbed512ba",
        VSWITCH_DESTINATION_INTERFACE_ID = "8ed48be4-c926-49f6-a4f6-ef3030e3fc16",
        VSWITCH_SOURCE_VM_ID = "9c2a9ec2-9fc6-42bc-bdd8-406d4da0be64",
        VSWITCH_DESTINATION_VM_ID = "6106aace-4de1-4c84-9671-3637f8bcf731",
        VSWITCH_SOURCE_INTERFACE_TYPE = "e6b040a2-edaf-4c36-908b-f2f58ae43807",
        VSWITCH_DESTINATION_INTERFACE_TYPE = "fa9b3f06-2f1a-4c57-9e68-a7098b28dbfe",
        ALE_SECURITY_ATTRIBUTE_FQBN_VALUE = "37a57699-5883-4963-92b8-3e704688b0ad",
        IPSEC_SECURITY_REALM_ID = "37a57700-5884-4964-92b8-3e704688b0ad",
        ALE_EFFECTIVE_NAME = "b1277b9a-b781-40fc-9671-e5f1b989f34e",
        IP_LOCAL_ADDRESS = "d9ee00de-c1ef-4617-bfe3-ffd8f5a08957",
        IP_REMOTE_ADDRESS = "b235ae9a-1d64-49b8-a44c-5ff3d9095045",
        IP_SOURCE_ADDRESS = "ae96897e-2e94-4bc9-b313-b27ee80e574d",
        IP_DESTINATION_ADDRESS = "2d79133b-b390-45c6-8699-acaceaafed33",
        IP_LOCAL_ADDRESS_TYPE = "6ec7f6c4-376b-45d7-9e9c-d337cedcd237",
        IP_DESTINATION_ADDRESS_TYPE = "1ec1b7c9-4eea-4f5e-b9ef-76beaaaf17ee",
        IP_NEXTHOP_ADDRESS = "eabe448a-a711-4d64-85b7-3f76b65299c7",
        IP_LOCAL_INTERFACE = "4cd62a49-59c3-4969-b7f3-bda5d32890a4",
        IP_ARRIVAL_INTERFACE = "618a9b6d-386b-4136-ad6e-b51587cfb1cd",
        ARRIVAL_INTERFACE_TYPE = "89f990de-e798-4e6d-ab76-7c9558292e6f",
        ARRIVAL_TUNNEL_TYPE = "511166dc-7a8c-4aa7-b533-95ab59fb0340",
        ARRIVAL_INTERFACE_INDEX = "cc088db3-1792-4a71-b0f9-037d21cd828b",
        NEXTHOP_SUB_INTERFACE_INDEX = "ef8a6122-0577-45a7-9aaf-825fbeb4fb95",
        IP_NEXTHOP_INTERFACE = "93ae8f5b-7f6f-4719-98c8-14e97429ef04",
        NEXTHOP_INTERFACE_TYPE = "97537c6c-d9a3-4767-a381-e942675cd920",
        NEXTHOP_TUNNEL_TYPE = "72b1a111-987b-4720-99dd-c7c576fa2d4c",
        NEXTHOP_INTERFACE_INDEX = "138e6888-7ab8-4d65-9ee8-0591bcf6a494",
        ORIGINAL_PROFILE_ID = "46ea1551-2255-492b-8019-aabeee349f40",
        CURRENT_PROFILE_ID = "ab3033c9-c0e3-4759-937d-5758c65d4ae3",
        LOCAL_INTERFACE_PROFILE_ID = "4ebf7562-9f18-4d06-9941-a7a625744d71",
        ARRIVAL_INTERFACE_PROFILE_ID = "cdfe6aab-c083-4142-8679-c08f95329c61",
        NEXTHOP_INTERFACE_PROFILE_ID = "d7ff9a56-cdaa-472b-84db-d23963c1d1bf",
        REAUTHORIZE_REASON = "11205e8c-11ae-457a-8a44-477026dd764a",
        ORIGINAL_ICMP_TYPE = "076dfdbe-c56c-4f72-ae8a-2cfe7e5c8286",
        IP_PHYSICAL_ARRIVAL_INTERFACE = "da50d5c8-fa0d-4c89-b032-6e62136d1e96",
        IP_PHYSICAL_NEXTHOP_INTERFACE = "f09bd5ce-5150-48be-b098-c25152fb1f92",
        INTERFACE_QUARANTINE_EPOCH = "cce68d5e-053b-43a8-9a6f-33384c28e4f6",
        INTERFACE_TYPE = "daf8cd14-e09e-4c93-a5ae-c5c13b73ffca",
        TUNNEL_TYPE = "77a40437-8779-4868-a261-f5a902f1c0cd",
        IP_FORWARD_INTERFACE = "1076b8a5-6323-4c5e-9810-e8d3fc9e6136",
        IP_PROTOCOL = "3971ef2b-623e-4f9a-8cb1-6e79b806b9a7",
        IP_LOCAL_PORT = "0c1ba1af-5765-453f-af22-a8f791ac775b",
        IP_REMOTE_PORT = "c35a604d-d22b-4e1a-91b4-68f674ee674b",
        EMBEDDED_LOCAL_ADDRESS_TYPE = "4672a468-8a0a-4202-abb4-849e92e66809",
        EMBEDDED_REMOTE_ADDRESS = "77ee4b39-3273-4671-b63b-ab6feb66eeb6",
        EMBEDDED_PROTOCOL = "07784107-a29e-4c7b-9ec7-29c44afafdbc",
        EMBEDDED_LOCAL_PORT = "bfca394d-acdb-484e-b8e6-2aff79757345",
        EMBEDDED_REMOTE_PORT = "cae4d6a1-2968-40ed-a4ce-547160dda88d",
        FLAGS = "632ce23b-5167-435c-86d7-e903684aa80c",
        DIRECTION = "8784c146-ca97-44d6-9fd1-19fb1840cbf7",
        INTERFACE_INDEX = "667fd755-d695-434a-8af5-d3835a1259bc",
        SUB_INTERFACE_INDEX = "0cd42473-d621-4be3-ae8c-72a348d283e1",
        SOURCE_INTERFACE_INDEX = "2311334d-c92d-45bf-9496-edf447820e2d",
        SOURCE_SUB_INTERFACE_INDEX = "055edd9d-acd2-4361-8dab-f9525d97662f",
        DESTINATION_INTERFACE_INDEX = "35cf6522-4139-45ee-a0d5-67b80949d879",
        DESTINATION_SUB_INTERFACE_INDEX = "2b7d4399-d4c7-4738-a2f5-e994b43da388",
        ALE_APP_ID = "d78e1e87-8644-4ea5-9437-d809ecefc971",
        ALE_ORIGINAL_APP_ID = "0e6cd086-e1fb-4212-842f-8a9f993fb3f6",
        ALE_USER_ID = "af043a0a-b34d-4f86-979c-c90371af6e66",
        ALE_REMOTE_USER_ID = "f63073b7-0189-4ab0-95a4-6123cbfab862",
        ALE_REMOTE_MACHINE_ID = "1aa47f51-7f93-4508-a271-81abb00c9cab",
        ALE_PROMISCUOUS_MODE = "1c974776-7182-46e9-afd3-b02910e30334",
        ALE_SIO_FIREWALL_SYSTEM_PORT = "b9f4e088-cb98-4efb-a2c7-ad07332643db",
        ALE_REAUTH_REASON = "b482d227-1979-4a98-8044-18bbe6237542",
        ALE_NAP_CONTEXT = "46275a9d-c03f-4d77-b784-1c57f4d02753",
        KM_AUTH_NAP_CONTEXT = "35d0ea0e-15ca-492b-900e-97fd46352cce",
        REMOTE_USER_TOKEN = "9bf0ee66-06c9-41b9-84da-288cb43af51f",
        RPC_IF_UUID = "7c9c7d9f-0075-4d35-a0d1-8311c4cf6af1",
        RPC_IF_VERSION = "eabfd9b7-1262-4a2e-adaa-5f96f6fe326d",
        RPC_IF_FLAG = "238a8a32-3199-467d-871c-272621ab3896",
        DCOM_APP_ID = "ff2e7b4d-3112-4770-b636-4d24ae3a6af2",
        IMAGE_NAME = "d024de4d-deaa-4317-9c85-e40ef6e140c3",
        RPC_PROTOCOL = "2717bc74-3a35-4ce7-b7ef-c838fabdec45",
        RPC_AUTH_TYPE = "daba74ab-0d67-43e7-986e-75b84f82f594",
        RPC_AUTH_LEVEL = "e5a0aed5-59ac-46ea-be05-a5f05ecf446e",
        SEC_ENCRYPT_ALGORITHM = "0d306ef0-e974-4f74-b5c7-591b0da7d562",
        SEC_KEY_SIZE = "4772183b-ccf8-4aeb-bce1-c6c6161c8fe4",
        IP_LOCAL_ADDRESS_V4 = "03a629cb-6e52-49f8-9c41-5709633c09cf",
        IP_LOCAL_ADDRESS_V6 = "2381be84-7524-45b3-a05b-1e637d9c7a6a",
        PIPE = "1bd0741d-e3df-4e24-8634-762046eef6eb",
        IP_REMOTE_ADDRESS_V4 = "1febb610-3bcc-45e1-bc36-2e067e2cb186",
        IP_REMOTE_ADDRESS_V6 = "246e1d8c-8bee-4018-9b98-31d4582f3361",
        PROCESS_WITH_RPC_IF_UUID = "e31180a8-bbbd-4d14-a65e-7157b06233bb",
        RPC_EP_VALUE = "dccea0b9-0886-4360-9c6a-ab043a24fba9",
        RPC_EP_FLAGS = "218b814a-0a39-49b8-8e71-c20c39c7dd2e",
        CLIENT_TOKEN = "c228fc1e-403a-4478-be05-c9baa4c05ace",
        RPC_SERVER_NAME = "b605a225-c3b3-48c7-9833-7aefa9527546",
        RPC_SERVER_PORT = "8090f645-9ad5-4e3b-9f9f-8023ca097909",
        RPC_PROXY_AUTH_TYPE = "40953fe2-8565-4759-8488-1771b4b4b5db",
        CLIENT_CERT_KEY_LENGTH = "a3ec00c7-05f4-4df7-91f2-5f60d91ff443",
        CLIENT_CERT_OID = "c491ad5e-f882-4283-b916-436b103ff4ad",
        NET_EVENT_TYPE = "206e9996-490e-40cf-b831-b38641eb6fcb",
        PEER_NAME = "9b539082-eb90-4186-a6cc-de5b63235016",
        REMOTE_ID = "f68166fd-0682-4c89-b8f5-86436c7ef9b7",
        AUTHENTICATION_TYPE = "eb458cd5-da7b-4ef9-8d43-7b0a840332f2",
        KM_TYPE = "ff0f5f49-0ceb-481b-8638-1479791f3f2c",
        KM_MODE = "feef4582-ef8f-4f7b-858b-9077d122de47",
        IPSEC_POLICY_KEY = "ad37dee3-722f-45cc-a4e3-068048124452",
        QM_MODE = "f64fc6d1-f9cb-43d2-8a5f-e13bc894f265",
        COMPARTMENT_ID = "35a791ab-04ac-4ff2-a6bb-da6cfac71806",
        RESERVED0 = "678f4deb-45af-4882-93fe-19d4729d9834",
        RESERVED1 = "d818f827-5c69-48eb-bf80-d86b17755f97",
        RESERVED2 = "53d4123d-e15b-4e84-b7a8-dce16f7b62d9",
        RESERVED3 = "7f6e8ca3-6606-4932-97c7-e1f20710af3b",
        RESERVED4 = "5f58e642-b937-495e-a94b-f6b051a49250",
        RESERVED5 = "9ba8f6cd-f77c-43e6-8847-11939dc5db5a",
        RESERVED6 = "f13d84bd-59d5-44c4-8817-5ecdae1805bd",
        RESERVED7 = "65a0f930-45dd-4983-aa33-efc7b611af08",
        RESERVED8 = "4f424974-0c12-4816-9b47-9a547db39a32",
        RESERVED9 = "ce78e10f-13ff-4c70-8643-36ad1879afa3",
        RESERVED10 = "b979e282-d621-4c8c-b184-b105a61c36ce",
        RESERVED11 = "2d62ee4d-023d-411f-9582-43acbb795975",
        RESERVED12 = "a3677c32-7e35-4ddc-93da-e8c33fc923c7",
        RESERVED13 = "335a3e90-84aa-42f5-9e6f-59309536a44c",
        RESERVED14 = "30e44da2-2f1a-4116-a559-f907de83604a",
        RESERVED15 = "bab8340f-afe0-43d1-80d8-5ca456962de3",
        RPC_OPNUM = "d58efb76-aab7-4148-a87e-9581134129b9",
        ALE_PACKAGE_FAMILY_NAME = "81bc78fb-f28d-4886-a604-6acc261f261b",
    }
    /// `FWPM_SUBLAYER_*`.
    sublayer "FWPM_SUBLAYER_" {
        RPC_AUDIT = "758c84f4-fb48-4de9-9aeb-3ed9551ab1fd",
        IPSEC_TUNNEL = "83f299ed-9ff4-4967-aff4-c309f4dab827",
        UNIVERSAL = "eebecc03-ced4-4380-819a-2734397b2b74",
        LIPS = "1b75c0ce-ff60-4711-a70f-b4958cc3b2d0",
        SECURE_SOCKET = "15a66e17-3f3c-4f7b-aa6c-812aa613dd82",
        TCP_CHIMNEY_OFFLOAD = "337608b9-b7d5-4d5f-82f9-3618618bc058",
        INSPECTION = "877519e1-e6a9-41a5-81b4-8c4f118e4a60",
        TEREDO = "ba69dc66-5176-4979-9c89-26a7b46a8327",
        IPSEC_FORWARD_OUTBOUND_TUNNEL = "a5082e73-8f71-4559-8a9a-101cea04ef87",
        IPSEC_DOSP = "e076d572-5d3d-48ef-802b-909eddb098bd",
        TCP_TEMPLATES = "24421dcf-0ac5-4caa-9e14-50f6e3636af0",
        IPSEC_SECURITY_REALM = "37a57701-5884-4964-92b8-3e704688b0ad",
        MPSSVC_WSH = "b3cdd441-af90-41ba-a745-7c6008ff2300",
        MPSSVC_WF = "b3cdd441-af90-41ba-a745-7c6008ff2301",
        MPSSVC_QUARANTINE = "b3cdd441-af90-41ba-a745-7c6008ff2302",
        MPSSVC_EDP = "09a47e38-fa97-471b-b123-18bcd7e65071",
        MPSSVC_TENANT_RESTRICTIONS = "1ec6c7e1-fdd9-478a-b55f-ff8ba1d2c17d",
        MPSSVC_APP_ISOLATION = "ffe221c3-92a8-4564-a59f-dafb70756020",
    }
    /// `FWPM_PROVIDER_*`.
    provider "FWPM_PROVIDER_" {
        IKEEXT = "10ad9216-ccde-456c-8b16-e9f04e60a90b",
        IPSEC_DOSP_CONFIG = "3c6c05a9-c05c-4bb9-8338-2327814ce8bf",
        TCP_CHIMNEY_OFFLOAD = "896aa19e-9a34-4bcb-ae79-beb9127c84b9",
        TCP_TEMPLATES = "76cfcd30-3394-432d-bed3-441ae50e63c3",
        MPSSVC_WSH = "4b153735-1049-4480-aab4-d1b9bdc03710",
        MPSSVC_WF = "decc16ca-3f33-4346-be1e-8fb4ae0f3d62",
        MPSSVC_EDP = "a90296f7-46b8-4457-8f84-b05e05d3c622",
        MPSSVC_TENANT_RESTRICTIONS = "d0718ff9-44da-4f50-9dc2-c963a4247613",
        MPSSVC_APP_ISOLATION = "3cc2631f-2d5d-43a0-b174-614837d863a1",
    }
    /// `FWPM_PROVIDER_CONTEXT_*`.
    provider_context "FWPM_PROVIDER_CONTEXT_" {
        SECURE_SOCKET_AUTHIP = "b25ea800-0d02-46ed-92bd-7fa84bb73e9d",
        SECURE_SOCKET_IPSEC = "8c2d4144-f8e0-42c0-94ce-7ccfc63b2f9b",
    }
    /// `FWPM_CALLOUT_*`: the callouts that Windows itself registers.
    callout "FWPM_CALLOUT_" {
        IPSEC_INBOUND_TRANSPORT_V4 = "5132900d-5e84-4b5f-80e4-01741e81ff10",
        IPSEC_INBOUND_TRANSPORT_V6 = "49d3ac92-2a6c-4dcf-955f-1c3be009dd99",
        IPSEC_OUTBOUND_TRANSPORT_V4 = "4b46bf0a-4523-4e57-aa38-a87987c910d9",
        IPSEC_OUTBOUND_TRANSPORT_V6 = "38d87722-ad83-4f11-a91f-df0fb077225b",
        IPSEC_INBOUND_TUNNEL_V4 = "191a8a46-0bf8-46cf-b045-4b45dfa6a324",
        IPSEC_INBOUND_TUNNEL_V6 = "80c342e3-1e53-4d6f-9b44-03df5aeee154",
        IPSEC_OUTBOUND_TUNNEL_V4 = "70a4196c-835b-4fb0-98e8-075f4d977d46",
        IPSEC_OUTBOUND_TUNNEL_V6 = "f1835363-a6a5-4e62-b180-23db789d8da6",
        IPSEC_FORWARD_INBOUND_TUNNEL_V4 = "28829633-c4f0-4e66-873f-844db2a899c7",
        IPSEC_FORWARD_INBOUND_TUNNEL_V6 = "af50bec2-c686-429a-884d-b74443e7b0b4",
        IPSEC_FORWARD_OUTBOUND_TUNNEL_V4 = "fb532136-15cb-440b-937c-1717ca320c40",
        IPSEC_FORWARD_OUTBOUND_TUNNEL_V6 = "dae640cc-e021-4bee-9eb6-a48b275c8c1d",
        IPSEC_INBOUND_INITIATE_SECURE_V4 = "7dff309b-ba7d-4aba-91aa-ae5c6640c944",
        IPSEC_INBOUND_INITIATE_SECURE_V6 = "a9a0d6d9-c58c-474e-8aeb-3cfe99d6d53d",
        IPSEC_INBOUND_TUNNEL_ALE_ACCEPT_V4 = "3df6e7de-fd20-48f2-9f26-f854444cba79",
        IPSEC_INBOUND_TUNNEL_ALE_ACCEPT_V6 = "a1e392d3-72ac-47bb-87a7-0122c69434ab",
        IPSEC_ALE_CONNECT_V4 = "6ac141fc-f75d-4203-b9c8-48e6149c2712",
        IPSEC_ALE_CONNECT_V6 = "4c0dda05-e31f-4666-90b0-b3dfad34129a",
        IPSEC_DOSP_FORWARD_V6 = "6d08a342-db9e-4fbe-9ed2-57374ce89f79",
        IPSEC_DOSP_FORWARD_V4 = "2fcb56ec-cd37-4b4f-b108-62c2b1850a0c",
        WFP_TRANSPORT_LAYER_V4_SILENT_DROP = "eda08606-2494-4d78-89bc-67837c03b969",
        WFP_TRANSPORT_LAYER_V6_SILENT_DROP = "8693cc74-a075-4156-b476-9286eece814e",
        TCP_CHIMNEY_CONNECT_LAYER_V4 = "f3e10ab3-2c25-4279-ac36-c30fc181bec4",
        TCP_CHIMNEY_CONNECT_LAYER_V6 = "39e22085-a341-42fc-a279-aec94e689c56",
        TCP_CHIMNEY_ACCEPT_LAYER_V4 = "e183ecb2-3a7f-4b54-8ad9-76050ed880ca",
        TCP_CHIMNEY_ACCEPT_LAYER_V6 = "0378cf41-bf98-4603-81f2-7f12586079f6",
        SET_OPTIONS_AUTH_CONNECT_LAYER_V4 = "bc582280-1677-41e9-94ab-c2fcb15c2eeb",
        SET_OPTIONS_AUTH_CONNECT_LAYER_V6 = "98e5373c-b884-490f-b65f-2f6a4a575195",
        SET_OPTIONS_AUTH_RECV_ACCEPT_LAYER_V4 = "2d55f008-0c01-4f92-b26e-a08a94569b8d",
        SET_OPTIONS_AUTH_RECV_ACCEPT_LAYER_V6 = "63018537-f281-4dc4-83d3-8dec18b7ade2",
        RESERVED_AUTH_CONNECT_LAYER_V4 = "288b524d-0566-4e19-b612-8f441a2e5949",
        RESERVED_AUTH_CONNECT_LAYER_V6 = "00b84b92-2b5e-4b71-ab0e-aaca43e387e6",
        TEREDO_ALE_RESOURCE_ASSIGNMENT_V6 = "31b95392-066e-42a2-b7db-92f8acdd56f9",
        EDGE_TRAVERSAL_ALE_RESOURCE_ASSIGNMENT_V4 = "079b1010-f1c5-4fcd-ae05-da41107abd0b",
        TEREDO_ALE_LISTEN_V6 = "81a434e7-f60c-4378-bab8-c625a30f0197",
        EDGE_TRAVERSAL_ALE_LISTEN_V4 = "33486ab5-6d5e-4e65-a00b-a7afed0ba9a1",
        TCP_TEMPLATES_CONNECT_LAYER_V4 = "215a0b39-4b7e-4eda-8ce4-179679df6224",
        TCP_TEMPLATES_CONNECT_LAYER_V6 = "838b37a1-5c12-4d34-8b38-078728b2d25c",
        TCP_TEMPLATES_ACCEPT_LAYER_V4 = "2f23f5d0-40c4-4c41-a254-46d8dba8957c",
        TCP_TEMPLATES_ACCEPT_LAYER_V6 = "b25152f0-991c-4f53-bbe7-d24b45fe632c",
        POLICY_SILENT_MODE_AUTH_CONNECT_LAYER_V4 = "5fbfc31d-a51c-44dc-acb6-0624a030a700",
        POLICY_SILENT_MODE_AUTH_CONNECT_LAYER_V6 = "5fbfc31d-a51c-44dc-acb6-0624a030a701",
        POLICY_SILENT_MODE_AUTH_RECV_ACCEPT_LAYER_V4 = "5fbfc31d-a51c-44dc-acb6-0624a030a702",
        POLICY_SILENT_MODE_AUTH_RECV_ACCEPT_LAYER_V6 = "5fbfc31d-a51c-44dc-acb6-0624a030a703",
        HTTP_TEMPLATE_SSL_HANDSHAKE = "b3423249-8d09-4858-9210-95c7fda8e30f",
        OUTBOUND_NETWORK_CONNECTION_POLICY_LAYER_V4 = "103090d4-8e28-4fd6-9894-d1d67d6b10c9",
        OUTBOUND_NETWORK_CONNECTION_POLICY_LAYER_V6 = "4ed3446d-8dc7-459b-b09f-c1cb7a8f8689",
        BUILT_IN_RESERVED_1 = "779719a4-e695-47b6-a199-7999fec9163b",
        BUILT_IN_RESERVED_2 = "ef9661b6-7c5e-48fd-a130-96678ceacc41",
        BUILT_IN_RESERVED_3 = "18729c7a-2f62-4be0-966f-974b21b86df1",
        BUILT_IN_RESERVED_4 = "6c3fb801-daff-40e9-91e6-f7ff7e52f7d9",
    }
}
