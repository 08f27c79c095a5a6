//! Enumeration templates: which objects an enumeration returns (documentation pages "FWPM_FILTER_ENUM_TEMPLATE0" and its kin).

use alloc::vec::Vec;
use core::cmp::Reverse;
use uuid::Uuid;

use crate::engine::View;
use crate::error::FwpError;
use crate::layers::{self, Layer};
use crate::matching::Matcher;
use crate::objects::{Callout, Condition, ContextType, Filter, FilterFlags, ProviderContext, Sublayer};
use crate::runtime::action;
use crate::values;

/// `FWPM_FILTER_ENUM_TEMPLATE0`. No template at all stands for every filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FilterTemplate {
    pub provider: Option<Uuid>,
    /// Required.
    pub layer: Uuid,
    pub enum_type: EnumType,
    pub flags: EnumFlags,
    /// Only filters that name a provider context of this kind.
    pub provider_context: Option<ContextTemplate>,
    /// One a field. None at all: of any conditions.
    pub conditions: Vec<Condition>,
    /// Filters whose action type has one of these bits.
    pub action_mask: u32,
    pub callout: Option<Uuid>,
}

impl FilterTemplate {
    /// Every filter at a layer, whether in force or not.
    pub fn at(layer: Uuid) -> FilterTemplate {
        FilterTemplate {
            provider: None,
            layer,
            enum_type: EnumType::Overlapping,
            flags: EnumFlags::INCLUDE_BOOTTIME | EnumFlags::INCLUDE_DISABLED,
            provider_context: None,
            conditions: Vec::new(),
            action_mask: u32::MAX,
            callout: None,
        }
    }
}

/// `FWP_FILTER_ENUM_TYPE`: how a filter's conditions must relate to those of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[repr(u32)]
pub enum EnumType {
    /// The filter matches all that the template describes.
    FullyContained = 0,
    /// The filter matches some of it.
    Overlapping = 1,
}

impl EnumType {
    pub fn from_number(number: u32) -> Result<Self, FwpError> {
        match number {
            0 => Ok(Self::FullyContained),
            1 => Ok(Self::Overlapping),
            _ => Err(FwpError::InvalidEnumerator),
        }
    }
}

bitflags::bitflags! {
    /// `FWP_FILTER_ENUM_FLAG_*` (fwptypes.h).
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct EnumFlags: u32 {
        const BEST_TERMINATING_MATCH = 0x1;
        const SORTED = 0x2;
        const BOOTTIME_ONLY = 0x4;
        const INCLUDE_BOOTTIME = 0x8;
        const INCLUDE_DISABLED = 0x10;
    }
}

/// `FWPM_CALLOUT_ENUM_TEMPLATE0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CalloutTemplate {
    pub provider: Option<Uuid>,
    /// Zero in the structure: callouts of every layer.
    pub layer: Option<Uuid>,
}

/// `FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ContextTemplate {
    pub provider: Option<Uuid>,
    /// `FWPM_PROVIDER_CONTEXT_TYPE_MAX` in the structure: of every type.
    pub context_type: Option<ContextType>,
}

/// `FWPM_SUBLAYER_ENUM_TEMPLATE0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SublayerTemplate {
    pub provider: Option<Uuid>,
}

impl CalloutTemplate {
    pub(crate) fn check(&self) -> Result<(), FwpError> {
        match self.layer {
            Some(layer) if layers::by_key(&layer).is_none() => Err(FwpError::LayerNotFound),
            _ => Ok(()),
        }
    }

    pub(crate) fn matches(&self, callout: &Callout) -> bool {
        is_or_any(self.provider, callout.provider) && self.layer.is_none_or(|layer| callout.layer == layer)
    }
}

impl ContextTemplate {
    pub(crate) fn matches(&self, context: &ProviderContext) -> bool {
        is_or_any(self.provider, context.provider)
            && self.context_type.is_none_or(|of| context.content.context_type() == of)
    }
}

impl SublayerTemplate {
    pub(crate) fn matches(&self, sublayer: &Sublayer) -> bool {
        is_or_any(self.provider, sublayer.provider)
    }
}

fn is_or_any(wanted: Option<Uuid>, provider: Option<Uuid>) -> bool {
    wanted.is_none() || wanted == provider
}

const ACTIONS: [u32; 5] =
    [action::BLOCK, action::PERMIT, action::CALLOUT_TERMINATING, action::CALLOUT_INSPECTION, action::CALLOUT_UNKNOWN];
/// `FWP_ACTION_FLAG_TERMINATING`, `FWP_ACTION_FLAG_CALLOUT`.
const TERMINATING: u32 = 0x1000;
const CALLOUT: u32 = 0x4000;

/// A template that has been checked.
#[derive(Debug)]
pub(crate) struct FilterSearch<'a> {
    template: &'a FilterTemplate,
    layer: &'static Layer,
}

impl FilterTemplate {
    /// Refuses what is wrong, and what no filter could ever match.
    pub(crate) fn check(&self) -> Result<FilterSearch<'_>, FwpError> {
        let layer = layers::by_key(&self.layer).ok_or(FwpError::LayerNotFound)?;
        if !EnumFlags::all().contains(self.flags) {
            return Err(FwpError::InvalidFlags);
        }
        if self.action_mask == CALLOUT && self.callout.is_none() {
            return Err(FwpError::NullPointer);
        }
        Matcher::new(layer, &self.conditions)?;
        let fields: Vec<Uuid> = self.conditions.iter().map(|condition| condition.field).collect();
        if (1..fields.len()).any(|index| fields[..index].contains(&fields[index])) {
            return Err(FwpError::DuplicateCondition);
        }
        let search = FilterSearch { template: self, layer };
        let possible = |condition: &Condition| values::is_possible(condition, search.data_type(&condition.field));
        let named = |kind: &u32| self.callout.is_none() || kind & CALLOUT != 0;
        if !ACTIONS.iter().any(|kind| kind & self.action_mask != 0 && named(kind))
            || !self.conditions.iter().all(possible)
        {
            return Err(FwpError::NeverMatch);
        }
        Ok(search)
    }
}

impl FilterSearch<'_> {
    pub(crate) fn matches(&self, filter: &Filter, context: Option<&ProviderContext>) -> bool {
        let Self { template, .. } = self;
        let has = |flag| filter.flags.contains(flag);
        let shown = if template.flags.contains(EnumFlags::BOOTTIME_ONLY) {
            has(FilterFlags::BOOTTIME)
        } else {
            (!has(FilterFlags::BOOTTIME) || template.flags.contains(EnumFlags::INCLUDE_BOOTTIME))
                && (!has(FilterFlags::DISABLED) || template.flags.contains(EnumFlags::INCLUDE_DISABLED))
        };
        shown
            && filter.layer == template.layer
            && is_or_any(template.provider, filter.provider)
            && filter.action.action_type() & template.action_mask != 0
            && (template.callout.is_none() || filter.action.callout() == template.callout)
            && template.provider_context.is_none_or(|of| context.is_some_and(|context| of.matches(context)))
            && (template.conditions.is_empty() || self.conditions_match(filter))
    }

    fn conditions_match(&self, filter: &Filter) -> bool {
        let fields = || filter.conditions.chunk_by(|one, next| one.field == next.field);
        let of = |alternatives: &[Condition]| {
            let field = alternatives[0].field;
            (self.data_type(&field), self.template.conditions.iter().find(|condition| condition.field == field))
        };
        match self.template.enum_type {
            // Of a field that the template leaves open it describes every value.
            EnumType::FullyContained => fields().all(|alternatives| match of(alternatives) {
                (data_type, Some(wanted)) => values::contain(alternatives, wanted, data_type),
                (_, None) => false,
            }),
            EnumType::Overlapping => fields().all(|alternatives| match of(alternatives) {
                (data_type, Some(wanted)) => {
                    alternatives.iter().any(|condition| values::overlap(condition, wanted, data_type))
                }
                (_, None) => true,
            }),
        }
    }

    /// Conditions have been checked to be on fields of the layer.
    fn data_type(&self, field: &Uuid) -> layers::DataType {
        self.layer.field_index(field).map_or(layers::DataType::Empty, |index| self.layer.fields[index].data_type)
    }
}

impl<'a> View<'a> {
    /// `FwpmFilterCreateEnumHandle0` with a template, and all of its filters: by id, or as the template's flags say.
    pub fn filters_matching(self, template: &FilterTemplate) -> Result<Vec<&'a Filter>, FwpError> {
        let search = template.check()?;
        let context = |filter: &Filter| self.provider_context(&filter.provider_context?);
        let mut found: Vec<&Filter> = self.filters().filter(|filter| search.matches(filter, context(filter))).collect();
        let best = template.flags.contains(EnumFlags::BEST_TERMINATING_MATCH);
        if best {
            found.retain(|filter| filter.action.action_type() & TERMINATING != 0);
        }
        if best || template.flags.contains(EnumFlags::SORTED) {
            found.sort_by_key(|filter| Reverse(filter.effective_weight));
        }
        if best {
            found.truncate(1);
        }
        Ok(found)
    }

    /// `FwpmCalloutCreateEnumHandle0`.
    pub fn callouts_matching(self, template: &CalloutTemplate) -> Result<Vec<Callout>, FwpError> {
        template.check()?;
        Ok(self.callouts().filter(|callout| template.matches(callout)).collect())
    }

    /// `FwpmProviderContextCreateEnumHandle0`.
    pub fn provider_contexts_matching(self, template: &ContextTemplate) -> Vec<&'a ProviderContext> {
        self.provider_contexts().filter(|context| template.matches(context)).collect()
    }

    /// `FwpmSubLayerCreateEnumHandle0`.
    pub fn sublayers_matching(self, template: &SublayerTemplate) -> Vec<&'a Sublayer> {
        self.sublayers().filter(|sublayer| template.matches(sublayer)).collect()
    }
}
