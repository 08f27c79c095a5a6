//! From what happened to what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use postern_faults::scenario::{self, ASSOCIATE, Outcome};
use postern_lab::{Circumstance, Kind, LoadError, TracedCall, Violation};
use serde::Serialize;

use crate::image::ImageFacts;
use crate::inventory::{Device, is_ignored, place};
use crate::rules::{self, Rule, Severity};
use crate::trials::{NOT_MADE, Situation, Tried};

/// A defect of the driver.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// From 1, the worst first.
    pub number: usize,
    /// The sort of defect.
    pub rule: &'static str,
    pub severity: Severity,
    pub what: String,
    /// In the image: offset, and the function's name where the image has symbols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What the lab saw.
    pub seen: Vec<String>,
    /// In which situations; empty: whenever the driver is loaded and unloaded.
    pub when: Vec<String>,
    pub why: &'static str,
    /// Title of the documentation page that says so.
    pub source: &'static str,
    /// The fault that shows it, for `postern lab faults --case`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
}

/// What tells findings of one rule apart.
type Subject = String;

#[derive(Default)]
struct Draft {
    what: String,
    severity: Option<Severity>,
    place: Option<String>,
    seen: BTreeSet<String>,
    when: Vec<String>,
    case: Option<String>,
    /// Faults that show it.
    statuses: BTreeSet<&'static str>,
    functions: BTreeSet<String>,
}

/// The findings so far, by rule and subject.
pub struct Findings {
    drafts: BTreeMap<(&'static str, Subject), (&'static Rule, Draft)>,
    /// What the run without anything special shows, without numbers.
    known: BTreeSet<String>,
    /// What faults of different functions show.
    common: BTreeSet<String>,
}

/// Problems are the same if they differ in addresses and counts alone, and in whether it was a start or a stay that ended.
fn without_numbers(text: &str) -> String {
    let text =
        text.strip_prefix("after DriverEntry failed of ").or(text.strip_prefix("after unload of ")).unwrap_or(text);
    let mut result = String::new();
    for word in text.split_inclusive(|letter: char| letter.is_whitespace() || matches!(letter, ',' | '(' | ')' | ':')) {
        // A place in the image tells problems apart.
        let is_place = word.contains("+0x");
        result.extend(word.chars().filter(|letter| is_place || !letter.is_ascii_hexdigit()));
    }
    result
}

/// What is told once, however many things show it, and what is told of each place.
fn subject_of(rule: &'static Rule, text: &str) -> Subject {
    let once = [rules::SESSION_LEFT, rules::OBJECTS_LEFT, rules::HANG, rules::UNKNOWN_IMPORTS, rules::WORK_FREED];
    if once.contains(&rule) { Subject::new() } else { without_numbers(text) }
}

fn text_of(violation: &Violation) -> String {
    violation.place.as_ref().map_or_else(|| violation.what.clone(), |place| format!("{} at {place}", violation.what))
}

/// The sort of defect that it is a sign of, what was seen, and where.
type Problem = (&'static Rule, String, Option<String>);

/// Whether a bug check, or what comes to one, has ended a run.
pub fn has_stopped(outcome: &Outcome) -> bool {
    outcome.problems.iter().any(|problem| problem.contains("the lab has stopped"))
}

/// What went wrong in a run: each violation, and each problem that the scenario saw itself.
fn problems(outcome: &Outcome) -> Vec<Problem> {
    let mut problems: Vec<Problem> = outcome
        .violations
        .iter()
        .map(|violation| (rule_of(violation), text_of(violation), violation.place.as_ref().map(ToString::to_string)))
        .collect();
    for problem in &outcome.problems {
        let rule = if problem.starts_with(NOT_MADE) || problem.contains("the lab has stopped") {
            // Why it has stopped is a violation.
            continue;
        } else if problem.contains("left in the filter engine") {
            rules::OBJECTS_LEFT
        } else if problem.contains("session of the filter engine is left") {
            rules::SESSION_LEFT
        } else if problem.starts_with("it hangs") || problem.starts_with("it is still busy") {
            rules::HANG
        } else if problem.contains("has no DriverUnload") {
            rules::NO_UNLOAD
        } else if problem.starts_with("it does not load after") {
            rules::START_AFTER_STOP
        } else if problem.ends_with("is still loaded") {
            continue;
        } else {
            rules::LEFT
        };
        problems.push((rule, problem.clone(), None));
    }
    problems
}

/// What a driver did wrong in a run, other than leaving something, without numbers.
fn deeds(outcome: &Outcome) -> impl Iterator<Item = String> {
    let deeds = [rules::POOL, rules::BUG_CHECK, rules::LATE_CALL, rules::CONTRACT, rules::IRQL, rules::SPIN_LOCK];
    let done = problems(outcome).into_iter().filter(move |(rule, ..)| deeds.contains(rule));
    done.map(|(_, text, _)| without_numbers(&text))
}

/// The defect that a violation is a sign of.
fn rule_of(violation: &Violation) -> &'static Rule {
    let what = &violation.what;
    let says = |text: &str| what.contains(text);
    match violation.kind {
        _ if says("which the lab does not supply") => rules::UNKNOWN_IMPORTS,
        Kind::Bugcheck => rules::BUG_CHECK,
        Kind::LateCall => rules::LATE_CALL,
        Kind::Pool | Kind::Stack => rules::POOL,
        Kind::Irql => rules::IRQL,
        Kind::SpinLock => rules::SPIN_LOCK,
        Kind::Hang => rules::HANG,
        Kind::Contract if says("freed a work item that is still queued") => rules::WORK_FREED,
        Kind::Contract if says("has replaced DRIVER_OBJECT.DriverUnload") => rules::UNLOAD_REPLACED,
        Kind::Contract => rules::CONTRACT,
        Kind::Leak if says("flow(s) carry its contexts") => rules::CONTEXTS_LEFT,
        Kind::Leak if says("is still registered") => rules::CALLOUT_LEFT,
        Kind::Leak if says("work item") => rules::WORK_LEFT,
        Kind::Leak if says(": thread ") => rules::THREAD_LEFT,
        Kind::Leak if says("KeFlushQueuedDpcs") => rules::DPC_NOT_FLUSHED,
        Kind::Leak if says("is still queued") => rules::TIMER_LEFT,
        Kind::Leak if says("symbolic link") => rules::LINK_LEFT,
        Kind::Leak if says("device object") => rules::DEVICE_LEFT,
        Kind::Leak if says("FwpmEngineClose0") => rules::SESSION_LEFT,
        Kind::Leak if says("HandleDestroy0") => rules::HANDLE_LEFT,
        Kind::Leak if says("pended operation") || says("classify handle") => rules::PENDED_LEFT,
        Kind::Leak if says("BfeState") || says("subscription") => rules::SUBSCRIPTION_LEFT,
        Kind::Leak if says("pool:") || says("lookaside") => rules::MEMORY_LEFT,
        Kind::Leak if says("was not unregistered") => rules::CALLBACK_LEFT,
        Kind::Leak => rules::LEFT,
    }
}

impl Findings {
    /// `base` and `again` are runs in which nothing special happens.
    pub fn new(base: &Outcome, again: &Outcome) -> Findings {
        let both = [problems(base), problems(again)];
        let known = both.iter().flatten().map(|(_, text, _)| without_numbers(text)).collect();
        Findings { drafts: BTreeMap::new(), known, common: BTreeSet::new() }
    }

    fn draft(&mut self, rule: &'static Rule, subject: impl Into<Subject>) -> &mut Draft {
        &mut self.drafts.entry((rule.id, subject.into())).or_insert((rule, Draft::default())).1
    }

    /// Has what a driver did wrong in a run, other than leaving something, not be told again.
    pub fn learn(&mut self, outcome: &Outcome) {
        self.known.extend(deeds(outcome));
    }

    /// Finds what a driver does wrong whichever function fails: that comes of something else.
    pub fn compare(&mut self, faults: &[&Tried]) {
        let mut functions: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for one in faults {
            let Situation::Fault(case) = &one.situation else { continue };
            for deed in deeds(&one.outcome) {
                functions.entry(deed).or_default().insert(&case.function);
            }
        }
        self.common = functions.into_iter().filter(|(_, of)| of.len() > 1).map(|(deed, _)| deed).collect();
    }

    pub fn of_image(&mut self, image: &ImageFacts) {
        if !image.unknown.is_empty() {
            let draft = self.draft(rules::UNKNOWN_IMPORTS, "");
            draft.what = what_of(rules::UNKNOWN_IMPORTS, None);
            draft.seen.extend(image.unknown.iter().cloned());
        }
    }

    pub fn of_refusal(&mut self, error: &LoadError) {
        if crate::is_image_error(error) {
            return;
        }
        let draft = self.draft(rules::REFUSED, "");
        draft.what = "the driver does not start".into();
        draft.seen.insert(error.to_string());
    }

    /// What the run shows in which nothing special happens.
    pub fn of_base(&mut self, base: &Outcome, devices: &[Device]) {
        let problems = problems(base);
        if problems.iter().any(|(rule, ..)| *rule == rules::NO_UNLOAD) {
            // It has left nothing, because it is still there.
            self.draft(rules::NO_UNLOAD, "").what = what_of(rules::NO_UNLOAD, None);
            devices.iter().for_each(|device| self.of_device(device));
            return;
        }
        let freed = problems.iter().any(|(rule, ..)| *rule == rules::WORK_FREED);
        for (rule, text, place) in problems {
            let rule = if freed && is_held_by_work(rule, &text) { rules::WORK_FREED } else { rule };
            let draft = self.draft(rule, subject_of(rule, &text));
            draft.what = what_of(rule, None);
            draft.place = place.or(draft.place.take());
            draft.seen.insert(text);
        }
        if has_stopped(base) {
            // It was not unloaded, and there is no more to see than why the system stopped.
            self.drafts.retain(|(id, _), _| ![rules::OBJECTS_LEFT.id, rules::SESSION_LEFT.id].contains(id));
            return;
        }
        self.name_remains(base);
        self.of_order(base);
        self.of_threads(base);
        for device in devices {
            self.of_device(device);
        }
    }

    /// Whether the driver cannot be unloaded at all.
    pub fn never_leaves(&self) -> bool {
        self.drafts.keys().any(|(id, _)| *id == rules::NO_UNLOAD.id)
    }

    /// Says whose the objects are that are left in the filter engine.
    fn name_remains(&mut self, base: &Outcome) {
        if base.remains.is_empty() {
            return;
        }
        self.drafts.retain(|(id, _), _| *id != rules::OBJECTS_LEFT.id);
        let draft = self.draft(rules::OBJECTS_LEFT, "");
        draft.what = "objects stay in the filter engine after the driver has gone".into();
        draft.seen.extend(base.remains.iter().map(|(kind, key, name)| format!("{kind} {key}: {name}")));
        let add =
            base.trace.iter().find(|call| call.function == "FwpmFilterAdd0" || call.function == "FwpmCalloutAdd0");
        draft.place = add.and_then(place);
    }

    /// What goes before what it is used by.
    fn of_order(&mut self, base: &Outcome) {
        // Callouts that are never unregistered are told as such.
        let is_last = |call: &TracedCall| call.function.starts_with("FwpsCalloutUnregister") && call.succeeded();
        let end = base.trace.iter().rposition(is_last).map_or(0, |last| last + 1);
        for call in base.trace[..end].iter().filter(|call| call.outermost == "DriverUnload") {
            match &call.circumstance {
                Some(Circumstance::Filters(filters)) if call.succeeded() => {
                    let blocking: Vec<_> =
                        filters.iter().filter(|filter| filter.blocks && filter.name != scenario::NAME).collect();
                    if blocking.is_empty() {
                        continue;
                    }
                    let draft = self.draft(rules::FILTERS_AFTER_CALLOUTS, "");
                    draft.what =
                        "callouts are unregistered while filters name them that block without their callout".into();
                    draft.place = draft.place.take().or_else(|| place(call));
                    draft
                        .seen
                        .extend(blocking.iter().map(|filter| format!("filter {} \"{}\"", filter.id, filter.name)));
                }
                Some(Circumstance::Callouts(callouts)) if !callouts.is_empty() => {
                    let rule = if call.function == "IoDeleteDevice" {
                        rules::DEVICE_BEFORE_CALLOUTS
                    } else {
                        rules::HANDLE_BEFORE_CALLOUTS
                    };
                    let draft = self.draft(rule, call.function);
                    draft.what =
                        format!("{} is called while {} callouts are registered", call.function, callouts.len());
                    draft.place = draft.place.take().or_else(|| place(call));
                    draft.seen.extend(callouts.iter().cloned());
                }
                _ => {}
            }
        }
    }

    /// Threads whose objects nobody has waited for.
    fn of_threads(&mut self, base: &Outcome) {
        let waited_for: BTreeSet<u64> = base
            .trace
            .iter()
            .filter(|call| call.succeeded() || call.returned.is_some_and(|value| (1..64).contains(&value)))
            .filter_map(|call| match &call.circumstance {
                Some(Circumstance::Threads(threads)) => Some(threads),
                _ => None,
            })
            .flatten()
            .copied()
            .collect();
        let made: Vec<&TracedCall> =
            base.trace.iter().filter(|call| call.function == "PsCreateSystemThread" && call.succeeded()).collect();
        let left = base.violations.iter().any(|violation| rule_of(violation) == rules::THREAD_LEFT);
        if made.len() > waited_for.len() && !left {
            let draft = self.draft(rules::THREAD_NOT_WAITED_FOR, "");
            let (made_count, waited) = (made.len(), waited_for.len());
            draft.what =
                format!("{made_count} threads are created, and the objects of {waited} of them are waited for");
            draft.place = made.first().and_then(|call| place(call));
            draft
                .seen
                .insert("no KeWaitForSingleObject or KeWaitForMultipleObjects on the thread object succeeds".into());
        }
    }

    fn of_device(&mut self, device: &Device) {
        let open_to = match &device.security {
            None => Some("everybody, by the system's default descriptor".to_owned()),
            Some(text) => open_to(text),
        };
        let Some(open_to) = open_to else { return };
        let name = device.path.clone().unwrap_or_default();
        let draft = self.draft(rules::DEVICE_OPEN, name.clone());
        draft.what = format!("the device {name} is open to {open_to}");
        draft.place.clone_from(&device.place);
        draft.seen.extend(device.security.clone());
    }

    /// What a run shows that the one without anything special does not.
    pub fn of_trial(&mut self, base: &Outcome, tried: &Tried) {
        let known = &self.known;
        let new: Vec<_> = problems(&tried.outcome)
            .into_iter()
            .filter(|(_, text, _)| !known.contains(&without_numbers(text)))
            .collect();
        let mut new = self.of_timing(tried, new);
        if new.iter().any(|(rule, ..)| *rule == rules::HANG) {
            // What a driver that hangs has not released yet it has not left behind.
            let told = [rules::HANG, rules::BUG_CHECK, rules::POOL, rules::IRQL, rules::SPIN_LOCK, rules::CONTRACT];
            new.retain(|(rule, ..)| told.contains(rule));
        }
        if new.is_empty() {
            return;
        }
        // What follows from contexts that come too late is told with them.
        if matches!(tried.situation, Situation::Traffic { .. } | Situation::Association { .. })
            && self.of_gate(tried, &new)
        {
            return;
        }
        if matches!(tried.situation, Situation::Fault(_)) {
            let common = |(_, text, _): &mut Problem| self.common.contains(&without_numbers(text));
            let of_no_fault: Vec<Problem> = new.extract_if(.., common).collect();
            self.tell(&tried.situation, of_no_fault);
            if new.is_empty() {
                return;
            }
        }
        match &tried.situation {
            Situation::Fault(case) => {
                let recorded =
                    base.calls.iter().find(|one| one.call.function == case.function && one.call.number == case.number);
                let where_ = recorded.and_then(|one| one.call.place.as_ref()).map(ToString::to_string);
                let starting = new.iter().any(|(_, text, _)| text.contains("after DriverEntry failed"));
                let rule = if starting {
                    rules::PARTIAL_START
                } else if case.function.starts_with("FwpsCalloutUnregister") {
                    rules::UNREGISTER_STATUS
                } else if case.function == "FwpsFlowRemoveContext0" {
                    rules::REMOVAL_PENDING
                } else {
                    rules::FAILURE
                };
                let worst = new.iter().map(|(rule, ..)| rule.severity).max();
                let ignored = is_ignored(base, tried);
                let subject = if starting {
                    // One mistake shows at many a call.
                    let left: BTreeSet<String> = new.iter().map(|(_, text, _)| without_numbers(text)).collect();
                    left.into_iter().collect()
                } else {
                    // A function that is called at many a place in a row is one mistake.
                    format!("{} {}", case.function, function_of(where_.as_deref().unwrap_or_default()))
                };
                let draft = self.draft(rule, subject);
                draft.statuses.insert(case.failure.name);
                draft.functions.insert(case.function.clone());
                let functions = draft.functions.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let statuses = draft.statuses.iter().copied().collect::<Vec<_>>().join(", ");
                draft.what = if starting {
                    format!("a start that fails leaves behind what came before it (at {functions})")
                } else {
                    format!("{} ({statuses})", what_of(rule, Some(&case.function)))
                };
                if ignored {
                    draft.seen.insert("the driver goes on as if the call had succeeded".into());
                }
                draft.place = draft.place.take().or(where_);
                draft.severity = draft.severity.max(worst);
                draft.case.get_or_insert_with(|| case.to_string());
                draft.when.push(tried.situation.to_string());
                draft.seen.extend(new.into_iter().map(|(_, text, _)| text));
            }
            Situation::Refused { function, .. } => {
                // One that does not try again at all is told so already.
                let attempts = tried.outcome.trace.iter().filter(|call| call.function == *function).count();
                let of_base = base.trace.iter().filter(|call| call.function == *function).count();
                if attempts <= of_base {
                    return;
                }
                let draft = self.draft(rules::UNREGISTER_GIVES_UP, *function);
                draft.what = format!(
                    "{function} is tried again, but not until it succeeds: {} attempts more",
                    attempts - of_base
                );
                draft.place = base.trace.iter().find(|call| call.function == *function).and_then(place);
                draft.when.push(tried.situation.to_string());
                draft.seen.extend(new.into_iter().map(|(_, text, _)| text));
            }
            situation => self.tell(situation, new),
        }
    }

    /// Tells of each problem by itself.
    fn tell(&mut self, situation: &Situation, problems: Vec<Problem>) {
        for (rule, text, place) in problems {
            let draft = self.draft(rule, subject_of(rule, &text));
            draft.what = what_of(rule, None);
            draft.place = place.or(draft.place.take());
            draft.when.push(situation.to_string());
            draft.when.dedup();
            draft.seen.insert(text);
        }
    }

    /// Takes out what any run may show that is fast or slow enough, and what follows from what is known; returns the rest.
    fn of_timing(&mut self, tried: &Tried, new: Vec<Problem>) -> Vec<Problem> {
        let has = |rule: &Rule| self.drafts.keys().any(|(id, _)| *id == rule.id);
        let thread = [rules::THREAD_NOT_WAITED_FOR, rules::THREAD_LEFT].into_iter().find(|rule| has(rule));
        let timer = [rules::TIMER_LEFT, rules::DPC_NOT_FLUSHED].into_iter().find(|rule| has(rule));
        let in_the_way = has(rules::OBJECTS_LEFT) || has(rules::LINK_LEFT) || has(rules::DEVICE_LEFT);
        let freed = new.iter().any(|(rule, ..)| *rule == rules::WORK_FREED);
        let alone = new.len() == 1;
        let (mut rest, mut timing) = (Vec::new(), Vec::new());
        for (rule, text, place) in new {
            let of_thread = rule == rules::THREAD_LEFT || rule == rules::LATE_CALL && text.contains("StartRoutine");
            let of_timer = rule == rules::DPC_NOT_FLUSHED
                || rule == rules::TIMER_LEFT
                || rule == rules::LATE_CALL && text.contains("DeferredRoutine")
                // The timer itself lies in the image.
                || [rules::LATE_CALL, rules::BUG_CHECK].contains(&rule) && text.contains("in an unloaded image");
            let told = if of_thread && thread.is_some() {
                thread
            } else if of_timer && timer.is_some() {
                timer
            } else if rule == rules::START_AFTER_STOP && (in_the_way || !alone) {
                continue;
            } else if freed && is_held_by_work(rule, &text) {
                Some(rules::WORK_FREED)
            } else {
                [rules::WORK_FREED, rules::DPC_NOT_FLUSHED].into_iter().find(|known| *known == rule)
            };
            match told {
                Some(told) => timing.push((told, text, place)),
                None => rest.push((rule, text, place)),
            }
        }
        for (rule, text, place) in timing {
            let known = self.drafts.keys().find(|(id, _)| *id == rule.id).map(|(_, subject)| subject.clone());
            let draft = self.draft(rule, known.unwrap_or_default());
            if draft.what.is_empty() {
                draft.what = what_of(rule, None);
                draft.place = place;
            }
            draft.seen.insert(text);
            draft.when.push(tried.situation.to_string());
            draft.when.dedup();
        }
        rest
    }

    /// Contexts that are associated after the driver has begun to remove them, if they do harm.
    fn of_gate(&mut self, tried: &Tried, new: &[Problem]) -> bool {
        let trace = &tried.outcome.trace;
        let is_removal =
            |call: &TracedCall| call.function == "FwpsFlowRemoveContext0" && call.outermost == "DriverUnload";
        let Some(first) = trace.iter().position(is_removal) else { return false };
        let is_late = |call: &&TracedCall| call.function == ASSOCIATE && call.succeeded();
        let Some(late) = trace[first..].iter().find(is_late) else { return false };
        let removal = place(&trace[first]);
        let draft = self.draft(rules::DRAIN_BEFORE_GATE, "");
        draft.what = "flow contexts are removed before new ones are refused".into();
        draft.place = removal;
        draft.when.push(tried.situation.to_string());
        draft.seen.insert(format!(
            "a context is associated during the unload, after the first was removed{}",
            place(late).map_or_else(String::new, |place| format!(", at {place}"))
        ));
        draft.seen.extend(new.iter().map(|(_, text, _)| text.clone()));
        true
    }

    /// The findings, the worst first.
    pub fn done(self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .drafts
            .into_values()
            .map(|(rule, draft)| Finding {
                number: 0,
                rule: rule.id,
                severity: draft.severity.unwrap_or(rule.severity),
                what: draft.what,
                place: draft.place,
                seen: draft.seen.into_iter().collect(),
                when: draft.when,
                why: rule.why,
                source: rule.source,
                case: draft.case,
            })
            .collect();
        findings.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.rule.cmp(other.rule)));
        for (number, finding) in findings.iter_mut().enumerate() {
            finding.number = number + 1;
        }
        findings
    }
}

/// The function that a place lies in, if the image has symbols; else the place's kilobyte.
fn function_of(place: &str) -> &str {
    match place.split_once('(') {
        Some((_, symbol)) => symbol.split('+').next().unwrap_or(symbol),
        None => &place[..place.len().saturating_sub(3)],
    }
}

/// Whether a device is left because the system refers to it until a work item has run.
fn is_held_by_work(rule: &'static Rule, text: &str) -> bool {
    rule == rules::DEVICE_LEFT && text.contains("still referenced")
}

/// A defect in words.
fn what_of(rule: &'static Rule, function: Option<&str>) -> String {
    let function = function.unwrap_or("a function");
    match rule {
        rule if rule == rules::CALLOUT_LEFT => "a callout stays registered".into(),
        rule if rule == rules::CONTEXTS_LEFT => "a callout stays registered, because flows carry its contexts".into(),
        rule if rule == rules::UNREGISTER_STATUS => format!("what {function} returns is not acted upon"),
        rule if rule == rules::REMOVAL_PENDING => {
            "a flow context that is yet to be deleted is taken for deleted".into()
        }
        rule if rule == rules::FAILURE => format!("the failure of {function} is not coped with"),
        rule if rule == rules::THREAD_LEFT => "a thread runs on".into(),
        rule if rule == rules::TIMER_LEFT => "a timer or DPC stays queued".into(),
        rule if rule == rules::DPC_NOT_FLUSHED => "nobody waits for the end of a DPC".into(),
        rule if rule == rules::WORK_LEFT => "a work item is left".into(),
        rule if rule == rules::WORK_FREED => "a work item is freed while it is queued".into(),
        rule if rule == rules::CALLBACK_LEFT => "a callback routine stays registered".into(),
        rule if rule == rules::OBJECTS_LEFT => "objects stay in the filter engine after the driver has gone".into(),
        rule if rule == rules::SESSION_LEFT => "a session with the filter engine stays open".into(),
        rule if rule == rules::HANDLE_LEFT => "an injection or redirect handle is not destroyed".into(),
        rule if rule == rules::PENDED_LEFT => "a pended operation is not completed".into(),
        rule if rule == rules::SUBSCRIPTION_LEFT => {
            "a subscription to the state of the base filtering engine is left".into()
        }
        rule if rule == rules::LINK_LEFT => "a symbolic link is left".into(),
        rule if rule == rules::DEVICE_LEFT => "a device object is left".into(),
        rule if rule == rules::UNLOAD_REPLACED => "DRIVER_OBJECT.DriverUnload is written after WdfDriverCreate".into(),
        rule if rule == rules::NO_UNLOAD => "the driver has no unload function".into(),
        rule if rule == rules::HANG => "the driver hangs".into(),
        rule if rule == rules::LATE_CALL => "the driver is called after it has gone".into(),
        rule if rule == rules::BUG_CHECK => "the system stops".into(),
        rule if rule == rules::POOL => "memory is misused".into(),
        rule if rule == rules::IRQL => "a call is made at a wrong IRQL".into(),
        rule if rule == rules::SPIN_LOCK => "a spin lock is misused".into(),
        rule if rule == rules::MEMORY_LEFT => "memory is not freed".into(),
        rule if rule == rules::START_AFTER_STOP => "the driver does not start again".into(),
        rule if rule == rules::UNKNOWN_IMPORTS => "the image imports what the lab does not supply".into(),
        rule if rule == rules::CONTRACT => "a call breaks its contract".into(),
        _ => "something is left behind".into(),
    }
}

/// Who a security descriptor string lets in, other than the system and its administrators.
fn open_to(sddl: &str) -> Option<String> {
    const OTHERS: &[(&str, &str)] = &[
        ("WD", "everybody"),
        ("S-1-1-0", "everybody"),
        ("AN", "anonymous users"),
        ("AU", "every user who has logged on"),
        ("S-1-5-11", "every user who has logged on"),
        ("BU", "every user"),
        ("S-1-5-32-545", "every user"),
        ("IU", "every user who has logged on here"),
        ("BG", "guests"),
        ("AC", "every app"),
    ];
    if sddl.contains("NO_ACCESS_CONTROL") {
        return Some("everybody: it has no access control list".into());
    }
    let list = &sddl[sddl.find("D:")?..];
    list.split('(').skip(1).find_map(|entry| {
        let fields: Vec<&str> = entry.split(')').next()?.split(';').collect();
        let [kind, _, rights, _, _, who] = fields[..] else { return None };
        let who = OTHERS.iter().find(|(name, _)| *name == who)?.1;
        let mask = rights.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
        // To open a device for requests takes the right to read or write data, by itself or within a generic right.
        const DATA: u32 = 0xD000_0003;
        let opens = mask.map_or_else(
            || ["GA", "GR", "GW", "FA", "FR", "FW", "CC", "DC"].iter().any(|right| rights.contains(right)),
            |mask| mask & DATA != 0,
        );
        (kind == "A" && opens).then(|| format!("{who} ({rights})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_says_who_may_open_a_device() {
        // The strings of wdmsec.h.
        for closed in
            ["D:P", "D:P(A;;GA;;;SY)", "D:P(A;;GA;;;SY)(A;;GA;;;BA)", "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GX;;;WD)"]
        {
            assert_eq!(open_to(closed), None, "{closed}");
        }
        for (open, to) in [
            ("D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GRGW;;;WD)(A;;GR;;;RC)", "everybody (GRGW)"),
            ("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019f;;;BU)", "every user (0x12019f)"),
            ("D:NO_ACCESS_CONTROL", "everybody: it has no access control list"),
        ] {
            assert_eq!(open_to(open).as_deref(), Some(to), "{open}");
        }
    }

    #[test]
    fn addresses_and_counts_do_not_tell_problems_apart_and_places_do() {
        let one = without_numbers("pool: 3 allocation(s), 120 bytes, at x+0x1010 (Entry+0x10)");
        assert_eq!(one, without_numbers("pool: 12 allocation(s), 480 bytes, at x+0x1010 (Entry+0x10)"));
        assert_ne!(one, without_numbers("pool: 3 allocation(s), 120 bytes, at x+0x1020 (Entry+0x20)"));
    }
}
