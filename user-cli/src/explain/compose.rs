//! From what was noted to an explanation.

use postern_engine::objects::Filter;
use postern_engine::{
    ConditionResult, ConditionTrace, Decision as Word, Doubt, Effect as Weighed, FilterTrace, Outcome, Restored, Said,
    Snapshot, Source, SublayerTrace, layers,
};
use postern_traffic::Outcome as Passed;
use postern_traffic::{Interface, USER};

use super::callouts::{self, Asked, Possible};
use super::names::{Names, clean, layer_name, quoted};
use super::question::{Question, Subject};
use super::tracer::Noted;
use super::view::*;
use super::walk::{Walked, Walks};
use crate::filter::{describe, sid};
use crate::output::{counted, hex};

/// Filters of a sublayer that nearly match, at most.
const MOST_NEAR: usize = 50;

pub fn compose(
    restored: &Restored,
    snapshot: &Snapshot,
    names: &Names<'_>,
    question: &Question,
    interface: Interface,
    Walks { walked, outcome }: Walks,
) -> Explanation {
    let composer = Composer { snapshot, names, question, interface };
    let mut depends = false;
    let mut stages = Vec::new();
    for walked in &walked {
        let mut stops = Vec::new();
        for noted in &walked.noted {
            let stop = composer.stop(noted, depends);
            depends |= !stop.discard && stop.decision == Decision::Depends;
            stops.push(stop);
        }
        stages.push(Stage { title: walked.title.clone(), decides: walked.decides, stops });
    }
    Explanation {
        question: composer.question(),
        verdict: composer.verdict(&stages, outcome.as_ref()),
        asked: composer.asked(&walked),
        notes: composer.notes(restored, &walked, &stages),
        stages,
    }
}

struct Composer<'a> {
    snapshot: &'a Snapshot,
    names: &'a Names<'a>,
    question: &'a Question,
    interface: Interface,
}

impl Composer<'_> {
    fn question(&self) -> QuestionView {
        let question = self.question;
        let interface = self.interface;
        let text = |of: &[u8]| sid::text(of).unwrap_or_else(|| hex(of));
        let user = match (&question.user[..], &question.app) {
            ([], Some(_)) => USER.iter().map(|of| text(of)).collect(),
            (user, _) => user.iter().map(|of| text(of)).collect(),
        };
        QuestionView {
            kind: question.kind().name(),
            protocol: question.protocol.to_string(),
            local: question.protocol.local(question.local),
            remote: (!matches!(question.subject, Subject::Bind | Subject::Listen))
                .then(|| question.protocol.remote(question.remote)),
            app: question.app.clone(),
            user,
            package: question.package.as_deref().map(text),
            interface: InterfaceView {
                luid: format!("{:#x}", interface.luid),
                index: interface.index,
                kind: interface.kind,
                tunnel: interface.tunnel,
                epoch: interface.epoch.to_string(),
            },
            profile: question.profile,
            loopback: question.loopback(),
            packet: match &question.subject {
                Subject::Packet(packets) => packets.last().map(|packet| packet.number),
                _ => None,
            },
            state: question.state.clone(),
            time: question.time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            filters: self.names.filters(),
            text: question.text(),
        }
    }

    fn stop(&self, noted: &Noted, depends: bool) -> Stop {
        let layer = layers::by_id(noted.layer);
        let fields = layer.map_or(&[][..], |layer| layer.fields);
        let decision = noted.decision();
        let verdict = noted.trace.verdict;
        let sublayers: Vec<SublayerView> =
            noted.trace.sublayers.iter().map(|sublayer| self.sublayer(noted, sublayer)).collect();
        let open = noted.possibilities.ways.iter().any(|way| !way.asked.is_empty());
        Stop {
            layer: layer_name(noted.layer),
            layer_id: noted.layer,
            purpose: purpose(noted.at, noted.discard),
            filters: noted.trace.sublayers.iter().map(|sublayer| sublayer.filters.len()).sum(),
            discard: noted.discard,
            depends,
            decision,
            hard: decision != Decision::Depends && verdict.hard,
            filter: verdict.filter_id.filter(|_| decision != Decision::Depends).map(|id| self.names.filter_name(id)),
            why: self.why(noted, decision, &sublayers),
            outcomes: if open {
                noted.possibilities.ways.iter().map(|way| self.possibility(way)).collect()
            } else {
                Vec::new()
            },
            sublayers,
            changes: noted.changes.clone(),
            values: fields
                .iter()
                .zip(&noted.values)
                .filter_map(|(field, value)| Some(FieldValue { field: field.name, value: value.clone()? }))
                .collect(),
        }
    }

    fn possibility(&self, way: &Possible) -> Possibility {
        Possibility {
            condition: way.asked.iter().map(|asked| self.assumption(asked)).collect(),
            decision: way.verdict.action.into(),
            hard: way.verdict.hard,
            filter: way.verdict.filter_id.map(|id| self.names.filter_name(id)),
        }
    }

    fn assumption(&self, asked: &Asked) -> Assumption {
        Assumption { filter: asked.filter, callout: self.names.callout_name(asked.callout), says: asked.says.word() }
    }

    /// Why the layer decides as it does.
    fn why(&self, noted: &Noted, decision: Decision, sublayers: &[SublayerView]) -> String {
        let verdict = noted.trace.verdict;
        if decision == Decision::Depends {
            let callouts = self.deciding_callouts(noted);
            return format!("it depends on {}", callouts.join(", and on "));
        }
        let Some(filter) = verdict.filter_id else {
            return match noted.trace.sublayers.len() {
                0 => "the layer has no filters, and the default is to permit".to_owned(),
                _ => "no filter that matches decides, and the default is to permit".to_owned(),
            };
        };
        let place = sublayers.iter().find(|of| matches!(of.effect, Some(Effect::Decides | Effect::Vetoes)));
        let sublayer = place.map_or_else(String::new, |sublayer| format!(" in sublayer {}", sublayer.name));
        let winner = noted.trace.sublayers.iter().flat_map(|sublayer| &sublayer.filters).find(|of| of.id == filter);
        let how = match winner.map(|winner| winner.outcome) {
            Some(Outcome::Ended { effect: Weighed::Vetoes, .. }) => {
                "its callout vetoes a hard permit, which nothing else can override".to_owned()
            }
            Some(Outcome::Ended { word, .. }) => {
                let by = match word.by {
                    Source::Filter => "",
                    Source::Callout => "its callout says so; ",
                    Source::NotRegistered => "its callout is not registered; ",
                };
                let others = others(sublayers, word.action);
                match (word.action, word.hard) {
                    (Word::Block, true) => format!("{by}a block is hard, and no sublayer below can permit it{others}"),
                    (Word::Block, false) => format!("{by}the block is soft, and no sublayer below permits it{others}"),
                    (Word::Permit, true) => format!("{by}the permit is hard, and no filter below can block it{others}"),
                    (Word::Permit, false) => format!("{by}the permit is soft, and no sublayer blocks it{others}"),
                }
            }
            _ => String::new(),
        };
        format!(
            "{} by {}{sublayer}; {how}",
            Decision::from(verdict.action).past(),
            quoted(&self.names.filter_name(filter))
        )
    }

    /// The callouts whose answers make a difference.
    fn deciding_callouts(&self, noted: &Noted) -> Vec<String> {
        let mut callouts: Vec<String> = Vec::new();
        for asked in noted.possibilities.ways.iter().flat_map(|way| &way.asked) {
            let name =
                format!("callout {}, which filter {} asks", self.names.callout_name(asked.callout), asked.filter);
            if !callouts.contains(&name) {
                callouts.push(name);
            }
        }
        callouts
    }

    fn sublayer(&self, noted: &Noted, trace: &SublayerTrace) -> SublayerView {
        let mut filters = Vec::new();
        let (mut near, mut others) = (0, 0);
        let mut ended_by = None;
        let mut spoken = None;
        for filter in &trace.filters {
            match filter.outcome {
                Outcome::DoesNotMatch if !nearly_matches(&filter.conditions) => {
                    others += 1;
                    continue;
                }
                Outcome::DoesNotMatch if near == MOST_NEAR => {
                    others += 1;
                    continue;
                }
                Outcome::DoesNotMatch => near += 1,
                Outcome::Ended { .. } => {
                    ended_by = Some(filter.id);
                    spoken = Some(filter);
                }
                _ => {}
            }
            filters.extend(self.filter(noted, filter, ended_by));
        }
        let (says, effect, why) = match spoken {
            Some(filter) => self.spoken(noted, filter),
            None => (None, None, self.silence(trace)),
        };
        let sublayer = self.names.sublayer(trace.weight);
        SublayerView {
            key: sublayer.map(|sublayer| sublayer.key).unwrap_or_default(),
            name: self.names.sublayer_name(trace.weight),
            weight: trace.weight,
            says,
            effect,
            why,
            filters,
            others,
        }
    }

    fn silence(&self, trace: &SublayerTrace) -> String {
        let matching = trace.filters.iter().filter(|filter| filter.outcome != Outcome::DoesNotMatch).count();
        match matching {
            0 => "no filter matches".to_owned(),
            1 => "the filter that matches leaves the decision to others".to_owned(),
            _ => "the filters that match leave the decision to others".to_owned(),
        }
    }

    /// What a sublayer says, and what became of it.
    fn spoken(&self, noted: &Noted, filter: &FilterTrace) -> (Option<Decision>, Option<Effect>, String) {
        let Outcome::Ended { word, effect, overridden_by } = filter.outcome else { return (None, None, String::new()) };
        let wins = noted.trace.verdict.filter_id == Some(filter.id);
        let hardness = if word.hard { "hard" } else { "soft" };
        let verb = if word.action == Word::Permit { "permits" } else { "blocks" };
        let (part, rest) = match effect {
            Weighed::Vetoes => (Effect::Vetoes, "vetoes the hard permit above".to_owned()),
            Weighed::Overruled | Weighed::LacksRight => {
                (Effect::Overruled, "counts for nothing: a sublayer above has decided, hard".to_owned())
            }
            Weighed::Decides | Weighed::Overrides if wins => {
                let over =
                    if effect == Weighed::Overrides { ", in place of what the sublayers above said, soft" } else { "" };
                (Effect::Decides, format!("decides{over}"))
            }
            Weighed::Decides | Weighed::Overrides => {
                let by =
                    overridden_by.map_or_else(String::new, |id| format!(" by {}", quoted(&self.names.filter_name(id))));
                (Effect::Overridden, format!("is overridden below{by}"))
            }
        };
        let asked = noted.possibilities.first().asked.iter().any(|asked| asked.filter == filter.id);
        let open = noted.decision() == Decision::Depends && asked;
        let taken = if open { format!("if its callout {verb}: ") } else { String::new() };
        (Some(word.action.into()), Some(part), format!("{taken}{verb}, {hardness}: {rest}"))
    }

    fn filter(&self, noted: &Noted, trace: &FilterTrace, ended_by: Option<u64>) -> Option<FilterView> {
        let filter = self.names.filter(trace.id)?;
        let wins = noted.trace.verdict.filter_id == Some(trace.id);
        let (part, says) = match trace.outcome {
            Outcome::DoesNotMatch => (
                Part::Unknown,
                format!(
                    "would {}, if it matched: {}",
                    would(filter),
                    unknown_fields(noted.layer, &trace.conditions).join(", ")
                ),
            ),
            Outcome::NotReached => {
                let by = ended_by.map_or_else(String::new, |id| format!(": filter {id} has spoken for the sublayer"));
                (Part::NotReached, format!("would {}, and is not reached{by}", would(filter)))
            }
            Outcome::Asked(said) => (Part::PassesOn, passed_on(said).to_owned()),
            Outcome::Ended { word, .. } => {
                let verb = if word.action == Word::Permit { "permits" } else { "blocks" };
                let by = match word.by {
                    Source::Filter => "",
                    Source::Callout => ", says the callout",
                    Source::NotRegistered => ", as its callout is not registered",
                };
                let text = format!("{verb}, {}{by}", if word.hard { "hard" } else { "soft" });
                (if wins { Part::Wins } else { Part::Loses }, text)
            }
        };
        let view = describe::View::new(filter, &[]);
        Some(FilterView {
            id: filter.id,
            key: filter.key,
            name: clean(&filter.display.name),
            provider: filter.provider.map(|key| self.names.provider_name(&key)),
            action: view.action_text(),
            callout: self.callout(noted.layer, filter),
            hard: view.hard,
            effective_weight: view.effective_weight,
            part,
            says,
            conditions: self.conditions(noted, filter, &trace.conditions),
        })
    }

    fn callout(&self, layer: u16, filter: &Filter) -> Option<CalloutView> {
        let key = filter.action.callout()?;
        let runtime = self.snapshot.filter(layer, filter.id)?;
        let id = runtime.action.callout_id;
        Some(CalloutView {
            key,
            name: self.names.callout_name(id),
            registered: self.names.callout(id).is_some_and(|callout| callout.registered),
            answer: callouts::describe(self.names, runtime),
        })
    }

    /// By field, as the texts of filters are.
    fn conditions(&self, noted: &Noted, filter: &Filter, traces: &[ConditionTrace]) -> Vec<ConditionView> {
        let texts = describe::conditions(&filter.conditions);
        let fields = traces.chunk_by(|_, next| next.alternative);
        texts
            .into_iter()
            .zip(fields)
            .map(|(text, alternatives)| ConditionView {
                text,
                value: alternatives
                    .first()
                    .and_then(|first| noted.values.get(usize::from(first.field)).cloned().flatten()),
                result: result(alternatives),
            })
            .collect()
    }

    /// The outcome of the stages that were asked about.
    fn verdict(&self, stages: &[Stage], outcome: Option<&Passed>) -> VerdictView {
        let stops: Vec<&Stop> = stages
            .iter()
            .filter(|stage| stage.decides)
            .flat_map(|stage| &stage.stops)
            .filter(|stop| !stop.discard)
            .collect();
        let block = stops.iter().find(|stop| stop.decision == Decision::Block);
        let open: Vec<&&Stop> = stops.iter().filter(|stop| stop.decision == Decision::Depends).collect();
        if let Some(stop) = block {
            return VerdictView {
                decision: Decision::Block,
                layer: Some(stop.layer.clone()),
                filter: stop.filter.clone(),
                why: match open.len() {
                    0 => format!("At {} it is {}.", stop.layer, stop.why),
                    _ => format!(
                        "At {} it is {}. Before that a callout may block it already, at {}.",
                        stop.layer,
                        stop.why,
                        open.iter().map(|stop| stop.layer.as_str()).collect::<Vec<_>>().join(" and ")
                    ),
                },
            };
        }
        if !open.is_empty() {
            let parts: Vec<String> = match open.len() {
                1 | 2 => open.iter().map(|stop| format!("at {} {}", stop.layer, stop.why)).collect(),
                _ => {
                    let mut layers: Vec<&str> = Vec::new();
                    for stop in &open {
                        if !layers.contains(&&*stop.layer) {
                            layers.push(&stop.layer);
                        }
                    }
                    vec![format!("it depends on callouts at {}", layers.join(", "))]
                }
            };
            return VerdictView {
                decision: Decision::Depends,
                layer: None,
                filter: None,
                why: format!("{}. Unless a callout blocks it, nothing does.", capital(&parts.join("; "))),
            };
        }
        let decided = match outcome.map(|outcome| (outcome.layer, outcome.filter_id)) {
            Some((layer, Some(filter))) => stops
                .iter()
                .find(|stop| stop.layer_id == layer && stop.filter.as_ref().is_some_and(|of| of.id == filter)),
            Some((_, None)) => None,
            // Programs that bind and listen pass one layer after the other.
            None => stops.iter().rfind(|stop| stop.filter.is_some()),
        };
        match decided {
            Some(stop) => VerdictView {
                decision: Decision::Permit,
                layer: Some(stop.layer.clone()),
                filter: stop.filter.clone(),
                why: format!("At {} it is {}. No other layer blocks it.", stop.layer, stop.why),
            },
            None => VerdictView {
                decision: Decision::Permit,
                layer: None,
                filter: None,
                why: "No filter decides, and the default is to permit.".to_owned(),
            },
        }
    }

    fn notes(&self, restored: &Restored, walked: &[Walked], stages: &[Stage]) -> Vec<String> {
        let mut notes = Vec::new();
        for stage in stages.iter().filter(|stage| !stage.decides) {
            for stop in stage.stops.iter().filter(|stop| !stop.discard && stop.decision == Decision::Block) {
                notes.push(format!("Later, {} is blocked at {}: {}.", stage.title, stop.layer, stop.why));
            }
        }
        let mut fields: Vec<(&'static str, usize)> = Vec::new();
        let mut waiting = 0;
        let passed: Vec<&Noted> = walked.iter().flat_map(|walked| &walked.noted).collect();
        for noted in &passed {
            for filter in noted.trace.sublayers.iter().flat_map(|sublayer| &sublayer.filters) {
                if filter.outcome != Outcome::DoesNotMatch || !nearly_matches(&filter.conditions) {
                    continue;
                }
                waiting += 1;
                for name in unknown_fields(noted.layer, &filter.conditions) {
                    match fields.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, count)) => *count += 1,
                        None => fields.push((name, 1)),
                    }
                }
            }
        }
        if waiting > 0 {
            fields.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let fields: Vec<String> = fields.iter().map(|(name, count)| format!("{name} ({count})")).collect();
            let options = "--app, --user, --package and --interface tell more";
            notes.push(format!(
                "{} would match if more were known: {}; {options}.",
                counted(waiting as u64, "filter"),
                fields.join(", ")
            ));
        }
        if passed.iter().any(|noted| noted.possibilities.incomplete) {
            notes.push("Too many callouts are asked to try all their answers: other outcomes are possible.".to_owned());
        }
        notes.extend(doubts(restored, self.names));
        notes
    }

    /// What became of the filters that were asked about by id.
    fn asked(&self, walked: &[Walked]) -> Vec<AskedFilter> {
        self.question.filters.iter().map(|id| self.asked_filter(*id, walked)).collect()
    }

    fn asked_filter(&self, id: u64, walked: &[Walked]) -> AskedFilter {
        let Some(filter) = self.names.filter(id) else {
            return AskedFilter { id, layer: String::new(), text: "there is no filter with this id".to_owned() };
        };
        let layer = describe::layer(&filter.layer);
        let traced = walked.iter().flat_map(|walked| &walked.noted).find_map(|noted| {
            let filters = noted.trace.sublayers.iter().flat_map(|sublayer| &sublayer.filters);
            filters.into_iter().find(|filter| filter.id == id).map(|trace| (noted, trace))
        });
        let text = match traced {
            None if walked.iter().flat_map(|walked| &walked.noted).any(|noted| layer_name(noted.layer) == layer) => {
                "not in force: a boot-time filter, or one that cannot be evaluated here".to_owned()
            }
            None => format!("not asked: nothing here passes {layer}"),
            Some((noted, trace)) if trace.outcome == Outcome::DoesNotMatch => {
                let conditions = self.conditions(noted, filter, &trace.conditions);
                let reasons: Vec<String> = conditions
                    .iter()
                    .filter(|condition| condition.result != Match::Matches)
                    .map(|condition| match &condition.value {
                        Some(value) => format!("{}, and here it is {value}", condition.text),
                        None => format!("{}, and here that is not known", condition.text),
                    })
                    .collect();
                format!("does not match: {}", reasons.join("; "))
            }
            Some((noted, trace)) => {
                let ended_by =
                    noted.trace.sublayers.iter().find(|of| of.filters.iter().any(|of| of.id == id)).and_then(
                        |sublayer| {
                            let ended = |of: &&FilterTrace| matches!(of.outcome, Outcome::Ended { .. });
                            sublayer.filters.iter().find(ended).map(|of| of.id)
                        },
                    );
                let view = self.filter(noted, trace, ended_by);
                let says = view.map(|view| view.says).unwrap_or_default();
                let rest = match trace.outcome {
                    Outcome::Ended { .. } => self.spoken(noted, trace).2,
                    _ => says,
                };
                format!("matches: {rest}")
            }
        };
        AskedFilter { id, layer, text }
    }
}

/// What the sublayers said that did not win, if that is worth a word.
fn others(sublayers: &[SublayerView], winner: Word) -> String {
    let lost: Vec<&str> = sublayers
        .iter()
        .filter(|of| {
            matches!(of.effect, Some(Effect::Overridden | Effect::Overruled)) && of.says != Some(winner.into())
        })
        .map(|of| of.name.as_str())
        .collect();
    match (lost.as_slice(), winner) {
        ([], _) => String::new(),
        (lost, Word::Block) => format!("; the permit of {} does not count", lost.join(", ")),
        (lost, Word::Permit) => format!("; the block of {} does not count", lost.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Whether only values that are not known keep a filter from matching.
fn nearly_matches(conditions: &[ConditionTrace]) -> bool {
    let mut fields = conditions.chunk_by(|_, next| next.alternative).map(result);
    fields.all(|result| result != Match::Differs)
}

fn unknown_fields(layer: u16, conditions: &[ConditionTrace]) -> Vec<&'static str> {
    let fields = layers::by_id(layer).map_or(&[][..], |layer| layer.fields);
    conditions
        .chunk_by(|_, next| next.alternative)
        .filter(|alternatives| result(alternatives) == Match::Unknown)
        .filter_map(|alternatives| fields.get(usize::from(alternatives[0].field)).map(|field| field.name))
        .collect()
}

fn result(alternatives: &[ConditionTrace]) -> Match {
    let any = |wanted| alternatives.iter().any(|of| of.result == wanted);
    if any(ConditionResult::Matches) {
        Match::Matches
    } else if any(ConditionResult::Unknown) {
        Match::Unknown
    } else {
        Match::Differs
    }
}

fn would(filter: &Filter) -> &'static str {
    use postern_engine::objects::Action;
    match filter.action {
        Action::Permit => "permit",
        Action::Block => "block",
        Action::CalloutTerminating(_) | Action::CalloutInspection(_) | Action::CalloutUnknown(_) => "ask its callout",
    }
}

fn passed_on(said: Said) -> &'static str {
    match said {
        Said::Continue => "its callout lets the next filter decide",
        Said::NotRegistered => "its callout is not registered, and is passed over",
        Said::NotOnThisFlow => "its callout is not called on this flow",
        Said::Word(_) | Said::Violation(_) => "its callout's answer is none that it may give",
    }
}

fn doubts(restored: &Restored, names: &Names<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let (mut weights, mut skipped, mut unknown_callouts) = (0, Vec::new(), 0);
    for doubt in &restored.doubts {
        match doubt {
            Doubt::UnknownSublayer { key, weight } => notes.push(format!(
                "Sublayer {} is named by filters and not in the state: it is taken to have the weight {weight}.",
                key.braced()
            )),
            Doubt::UnknownCallout { .. } => unknown_callouts += 1,
            Doubt::NotEvaluated { filter, error } => {
                skipped.push(format!("{} ({})", quoted(&names.filter_name(*filter)), error.name()));
            }
            Doubt::Weight { .. } => weights += 1,
        }
    }
    if unknown_callouts > 0 {
        notes.push(format!(
            "{} named by filters and not in the state: taken for registered.",
            if unknown_callouts == 1 {
                "One callout is".to_owned()
            } else {
                format!("{unknown_callouts} callouts are")
            }
        ));
    }
    if !skipped.is_empty() {
        notes.push(format!("Not evaluated, as this engine does not know what they test: {}.", skipped.join(", ")));
    }
    if weights > 0 {
        notes.push(format!(
            "{} not the one computed from weight and conditions: the one in the state counts.",
            if weights == 1 {
                "The weight of one filter is".to_owned()
            } else {
                format!("The weights of {weights} filters are")
            }
        ));
    }
    notes
}

fn purpose(at: postern_traffic::At, discard: bool) -> &'static str {
    use postern_traffic::At::*;
    if discard {
        return "shown what was dropped; its verdict counts for nothing";
    }
    match at {
        BindRedirect => "a bind may be redirected",
        ResourceAssignment => "a local address and port are assigned",
        AuthListen => "a listen is authorised",
        ConnectRedirect => "a connect may be redirected",
        AuthConnect => "the connect is authorised, once for the flow",
        AuthRecvAccept => "the accept is authorised, once for the flow",
        FlowEstablished => "the flow is established",
        Stream => "the data of a TCP segment",
        DatagramData => "the data of a datagram",
        OutboundTransport => "each packet that is sent, with its transport header",
        OutboundIpPacket => "each packet that is sent, with its IP header",
        InboundTransport => "each packet that arrives, with its transport header",
        InboundIpPacket => "each packet that arrives, with its IP header",
        InboundIcmpError => "an ICMP error that arrives",
        OutboundIcmpError => "an ICMP error that is sent",
        EndpointClosure => "the endpoint is closed",
        ResourceRelease => "the local address and port are released",
    }
}
