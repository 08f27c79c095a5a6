//! The policy file: TOML, one table a rule. What is said here is also its published schema (`postern plan --schema`).

use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::words;

/// A policy for the filters of one provider: everything that `postern apply` adds, changes and removes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Postern policy")]
pub struct Document {
    pub policy: Head,
    /// Sublayers that rules name. The policy's own needs no table.
    #[serde(default, rename = "sublayer")]
    pub sublayers: Vec<SublayerTable>,
    /// Providers that rules name. The policy's own needs no table.
    #[serde(default, rename = "provider")]
    pub providers: Vec<ProviderTable>,
    /// A filter, or one for each of its layers and IP versions.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// What holds for all rules.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Head {
    /// The policy's name. The keys of its objects are made from it: under another name it is another policy.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// What people read beside the provider's name.
    #[schemars(with = "Option<String>")]
    pub description: Option<Spanned<String>>,
    /// The provider whose filters this policy has: the name of a [[provider]], a FWPM_PROVIDER_* name or a key [default: one of the
    /// policy's own].
    #[schemars(with = "Option<String>")]
    pub provider: Option<Spanned<String>>,
    /// The sublayer of rules that name none: the name of a [[sublayer]], a FWPM_SUBLAYER_* name or a key [default: one of the
    /// policy's own, of weight 0x8400].
    #[schemars(with = "Option<String>")]
    pub sublayer: Option<Spanned<String>>,
    /// How long filters live that do not say so: static is until removed or the base filtering engine stops [default: static].
    #[schemars(with = "Option<words::Lifetime>")]
    pub lifetime: Option<Spanned<String>>,
    /// Keys of filters of the provider that stay although no rule speaks of them: `postern export` lists what a policy cannot say.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub keep: Vec<Spanned<String>>,
}

/// A sublayer (FWPM_SUBLAYER0).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SublayerTable {
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// [default: made from the policy's name and this one's]
    #[schemars(with = "Option<String>")]
    pub key: Option<Spanned<String>>,
    #[schemars(with = "Option<String>")]
    pub description: Option<Spanned<String>>,
    /// 0 to 65535, as a number or in hexadecimal: "0x8400". The highest is asked first.
    #[schemars(with = "TextOrNumber")]
    pub weight: Spanned<Scalar>,
    /// [default: the policy's]
    #[schemars(with = "Option<String>")]
    pub provider: Option<Spanned<String>>,
    /// [default: persistent if one of its filters is]
    pub persistent: Option<bool>,
    /// Provider data, in hexadecimal.
    #[schemars(with = "Option<String>")]
    pub data: Option<Spanned<String>>,
}

/// A provider (FWPM_PROVIDER0).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProviderTable {
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// [default: made from the policy's name and this one's]
    #[schemars(with = "Option<String>")]
    pub key: Option<Spanned<String>>,
    #[schemars(with = "Option<String>")]
    pub description: Option<Spanned<String>>,
    /// The Windows service that it belongs to.
    pub service: Option<String>,
    /// [default: persistent if one of its objects is]
    pub persistent: Option<bool>,
    /// Provider data, in hexadecimal.
    #[schemars(with = "Option<String>")]
    pub data: Option<Spanned<String>>,
}

/// A rule: what to do with which traffic, where. Conditions on different fields must all match; several values of one are alternatives.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// The name that people see. With the layer's it makes the filter's key.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    #[schemars(with = "Option<String>")]
    pub description: Option<Spanned<String>>,
    /// The filter's key, for a rule that is one filter [default: made from the names of policy, rule and layer].
    #[schemars(with = "Option<String>")]
    pub key: Option<Spanned<String>>,
    /// bind, listen, connect, accept, established, outbound-transport, inbound-transport, outbound-ippacket, inbound-ippacket, forward,
    /// stream, datagram, outbound-icmp-error, inbound-icmp-error: a filter for each IP version; or the name of a FWPM_LAYER_* GUID.
    #[schemars(with = "OneOrMore<String>")]
    pub layer: Values,
    /// IP version [default: that of the addresses, else both].
    #[schemars(with = "Option<words::Family>")]
    pub family: Option<Spanned<String>>,
    /// What to do with traffic that matches. callout-permit, -block, -inspect and -hold are decided by the driver's callouts,
    /// callout-terminating, -inspection and -unknown by the one that `callout` names.
    #[schemars(with = "words::Action")]
    pub action: Spanned<String>,
    /// The key or FWPM_CALLOUT_* name of a callout of another program.
    #[schemars(with = "Option<String>")]
    pub callout: Option<Spanned<String>>,
    /// The filter's context (FWPM_FILTER0.rawContext) for that callout, in hexadecimal: "0x..." [default: 0].
    #[schemars(with = "Option<TextOrNumber>")]
    pub context: Option<Spanned<Scalar>>,
    /// The key of a provider context that there is, instead of a context.
    #[schemars(with = "Option<String>")]
    pub provider_context: Option<Spanned<String>>,
    /// The name of a [[sublayer]], a FWPM_SUBLAYER_* name or a key [default: the policy's].
    #[schemars(with = "Option<String>")]
    pub sublayer: Option<Spanned<String>>,
    /// The name of a [[provider]], a FWPM_PROVIDER_* name, a key, or "none" [default: the policy's]. A filter of another provider than the
    /// policy's stays when its rule leaves the file.
    #[schemars(with = "Option<String>")]
    pub provider: Option<Spanned<String>>,
    /// "auto" (from the conditions), a range from 0 to 15, or "0x..." for the 64-bit weight itself [default: auto].
    #[schemars(with = "Option<TextOrNumber>")]
    pub weight: Option<Spanned<Scalar>>,
    /// [default: the policy's]
    #[schemars(with = "Option<words::Lifetime>")]
    pub lifetime: Option<Spanned<String>>,
    /// Lower sublayers may not override the decision (FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT).
    #[schemars(with = "Option<bool>")]
    pub hard: Option<Spanned<bool>>,
    /// Block while the callout that decides is not registered; without this such traffic is permitted
    /// (FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED).
    #[schemars(with = "Option<bool>")]
    pub fail_closed: Option<Spanned<bool>>,
    /// With callout-block: drop without discard layers and audit events.
    #[schemars(with = "Option<bool>")]
    pub silent: Option<Spanned<bool>>,
    /// With callout-block at accept: answer a TCP packet with a reset.
    #[schemars(with = "Option<bool>")]
    pub reject: Option<Spanned<bool>>,
    /// With callout-hold: for how many seconds an answer is waited for [default: 30].
    #[schemars(with = "Option<u16>")]
    pub hold_for: Option<Spanned<Scalar>>,
    /// With callout-hold: what happens when nobody has answered [default: block].
    #[schemars(with = "Option<words::Otherwise>")]
    pub otherwise: Option<Spanned<String>>,
    /// Provider data, in hexadecimal.
    #[schemars(with = "Option<String>")]
    pub data: Option<Spanned<String>>,

    /// tcp, udp, icmp, icmpv6 or a number (IP_PROTOCOL).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub protocol: Option<Values>,
    /// ADDR, ADDR/PREFIX or ADDR-ADDR (IP_LOCAL_ADDRESS).
    #[schemars(with = "Option<OneOrMore<String>>")]
    pub local: Option<Values>,
    /// ADDR, ADDR/PREFIX or ADDR-ADDR (IP_REMOTE_ADDRESS).
    #[schemars(with = "Option<OneOrMore<String>>")]
    pub remote: Option<Values>,
    /// N or "N-N" (IP_LOCAL_PORT).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub local_port: Option<Values>,
    /// N or "N-N" (IP_REMOTE_PORT).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub remote_port: Option<Values>,
    /// ICMP type (ICMP_TYPE, which is the field of the local port).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub icmp_type: Option<Values>,
    /// ICMP code (ICMP_CODE, which is the field of the remote port).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub icmp_code: Option<Values>,
    /// A program's Windows path, its NT path, or System (ALE_APP_ID).
    #[schemars(with = "Option<OneOrMore<String>>")]
    pub app: Option<Values>,
    /// A user or group as a SID, or a security descriptor in SDDL that grants CC to those meant (ALE_USER_ID).
    #[schemars(with = "Option<OneOrMore<String>>")]
    pub user: Option<Values>,
    /// An app container, as a SID (ALE_PACKAGE_ID).
    #[schemars(with = "Option<OneOrMore<String>>")]
    pub package: Option<Values>,
    /// The LUID of a local interface (IP_LOCAL_INTERFACE).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub interface: Option<Values>,
    /// ethernet, wifi, loopback, ppp, tunnel, ... or a number (INTERFACE_TYPE, IF_TYPE_*).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub interface_type: Option<Values>,
    /// none, 6to4, isatap, teredo, ip-https, ... or a number (TUNNEL_TYPE).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub tunnel_type: Option<Values>,
    /// unicast, multicast, broadcast, anycast (IP_LOCAL_ADDRESS_TYPE).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub local_address_type: Option<Values>,
    /// unicast, multicast, broadcast, anycast (IP_DESTINATION_ADDRESS_TYPE).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub destination_address_type: Option<Values>,
    /// inbound or outbound (DIRECTION).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub direction: Option<Values>,
    /// At least one of these is set (FLAGS): loopback, fragment, reauthorize, ipsec-secured, raw-endpoint, ...
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub flags: Option<Values>,
    /// All of these are set (FLAGS).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub flags_all: Option<Values>,
    /// None of these is set (FLAGS).
    #[schemars(with = "Option<OneOrMore<TextOrNumber>>")]
    pub flags_none: Option<Values>,
    /// Conditions on any other field, or of another kind.
    #[serde(default)]
    pub condition: Vec<ConditionTable>,
}

/// A condition as the filter engine knows it (FWPM_FILTER_CONDITION0).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConditionTable {
    /// The name of a FWPM_CONDITION_* GUID, with or without that prefix, or a key.
    #[schemars(with = "String")]
    pub field: Spanned<String>,
    /// [default: equal]
    #[serde(rename = "match")]
    #[schemars(with = "Option<words::Match>")]
    pub match_type: Option<Spanned<String>>,
    /// A number, an address, a SID, a program's path or bytes in hexadecimal, as the field needs it; without one: the field is empty.
    #[schemars(with = "Option<TextOrNumber>")]
    pub value: Option<Spanned<Scalar>>,
    /// The end of a range that begins with `value`.
    #[schemars(with = "Option<TextOrNumber>")]
    pub to: Option<Spanned<Scalar>>,
}

/// A text or a number, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    Text(String),
    Number(i64),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(text),
            Scalar::Number(number) => write!(f, "{number}"),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number))
            }
        }
        deserializer.deserialize_any(One)
    }
}

/// One value or a list of them.
#[derive(Debug, Clone)]
pub struct Values {
    pub each: Vec<Spanned<Scalar>>,
    pub span: Range<usize>,
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
        let all = Spanned::<OneOrList>::deserialize(deserializer)?;
        let span = all.span();
        let each = match all.into_inner() {
            OneOrList::One(scalar) => vec![Spanned::new(span.clone(), scalar)],
            OneOrList::List(list) => list,
        };
        Ok(Values { each, span })
    }
}

enum OneOrList {
    One(Scalar),
    List(Vec<Spanned<Scalar>>),
}

impl<'de> Deserialize<'de> for OneOrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrList, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = OneOrList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a list of them")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrList, E> {
                Ok(OneOrList::One(Scalar::Text(text.to_owned())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<OneOrList, E> {
                Ok(OneOrList::One(Scalar::Number(number)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrList, A::Error> {
                let mut each = Vec::new();
                while let Some(one) = list.next_element()? {
                    each.push(one);
                }
                Ok(OneOrList::List(each))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// How the schema says it: a text or a number.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[allow(dead_code)]
enum TextOrNumber {
    Text(String),
    Number(i64),
}

/// How the schema says it: one, or a list.
struct OneOrMore<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMore{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// The JSON schema of policy files.
pub fn schema() -> Schema {
    schemars::schema_for!(Document)
}
