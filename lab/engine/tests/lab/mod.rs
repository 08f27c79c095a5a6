//! What the engine's tests share: short ways to make objects, and callouts that say what a test wants.
#![allow(dead_code)]

use std::collections::BTreeMap;

use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

pub const PORT: Uuid = guids::condition::IP_REMOTE_PORT;
pub const PROTOCOL: Uuid = guids::condition::IP_PROTOCOL;
pub const CONNECT: Uuid = layers::key::ALE_AUTH_CONNECT_V4;

pub fn key(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn display(name: &str) -> DisplayData {
    DisplayData::named(name)
}

pub fn static_session() -> Session {
    Session::new("", 4, "NT AUTHORITY\\SYSTEM")
}

pub fn dynamic_session() -> Session {
    Session { dynamic: true, ..static_session() }
}

pub fn provider(number: u128) -> Provider {
    Provider {
        key: key(number),
        display: display("provider"),
        persistent: false,
        disabled: false,
        data: vec![],
        service_name: None,
    }
}

pub fn sublayer(number: u128, weight: u16) -> Sublayer {
    Sublayer { key: key(number), display: display("sublayer"), persistent: false, provider: None, data: vec![], weight }
}

pub fn callout(number: u128) -> Callout {
    Callout::new(key(number), "callout", CONNECT)
}

pub fn filter(action: Action) -> Filter {
    Filter::new("filter", CONNECT, action)
}

pub fn condition(field: Uuid, match_type: MatchType, value: ConditionValue) -> Condition {
    Condition { field, match_type, value }
}

pub fn equal(field: Uuid, value: ConditionValue) -> Condition {
    condition(field, MatchType::Equal, value)
}

/// `S-1-5-<number>`.
pub fn sid(number: u32) -> Vec<u8> {
    let mut sid = vec![1, 1, 0, 0, 0, 0, 0, 5];
    sid.extend(number.to_le_bytes());
    sid
}

/// A self-relative security descriptor: entries of (type, SID), each with the right to match.
pub fn security_descriptor(entries: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, sid) in entries {
        list.extend([*kind, 0]);
        list.extend((8 + sid.len() as u16).to_le_bytes());
        list.extend(1u32.to_le_bytes());
        list.extend(sid);
    }
    let mut descriptor = vec![1, 0, 0x04, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0];
    descriptor.extend((8 + list.len() as u16).to_le_bytes());
    descriptor.extend((entries.len() as u16).to_le_bytes());
    descriptor.extend([0, 0]);
    descriptor.extend(list);
    descriptor
}

/// The incoming values of a layer, all unknown but those given by index.
pub fn values<'a>(layer: u16, known: &[(usize, Value<'a>)]) -> Vec<Value<'a>> {
    let fields = layers::by_id(layer).expect("a layer").fields;
    let mut values = vec![Value::Empty; fields.len()];
    for (index, value) in known {
        values[*index] = *value;
    }
    values
}

/// An engine with one open static session.
pub fn engine() -> (Engine, SessionId) {
    let mut engine = Engine::new();
    let session = engine.session_open(static_session()).expect("a session");
    (engine, session)
}

/// Callouts by id: what each writes, and what they did wrong.
#[derive(Default)]
pub struct Script {
    pub answers: BTreeMap<u32, fn(&mut ClassifyOut)>,
    pub calls: Vec<(u32, ClassifyOut)>,
    pub violations: Vec<ContractViolation>,
}

impl Callouts for Script {
    fn classify(&mut self, callout_id: u32, _: &RuntimeFilter, out: &mut ClassifyOut) -> CalloutCall {
        let Some(answer) = self.answers.get(&callout_id) else { return CalloutCall::NotRegistered };
        self.calls.push((callout_id, *out));
        answer(out);
        CalloutCall::Called
    }

    fn contract_violation(&mut self, _: &RuntimeFilter, violation: ContractViolation) {
        self.violations.push(violation);
    }
}

/// Records notifications; refuses additions when told to, and gives contexts when told to.
#[derive(Default)]
pub struct Heard {
    pub notes: Vec<(NotifyType, u32, bool, u64)>,
    pub refuse: bool,
    pub context: Option<u64>,
}

impl CalloutNotify for Heard {
    fn notify(
        &mut self,
        kind: NotifyType,
        id: u32,
        filter_key: Option<Uuid>,
        filter: &mut RuntimeFilter,
    ) -> Result<(), NotifyRefused> {
        self.notes.push((kind, id, filter_key.is_some(), filter.context));
        if kind == NotifyType::AddFilter {
            if self.refuse {
                return Err(NotifyRefused);
            }
            filter.context = self.context.unwrap_or(filter.context);
        }
        Ok(())
    }
}
