//! Provider contexts: what filters hand to their callouts (documentation pages "Object Model", "FWPM_PROVIDER_CONTEXT3").

use alloc::sync::Arc;
use uuid::Uuid;

use crate::engine::{Engine, check_display};
use crate::error::FwpError;
use crate::guids::callout;
use crate::layers::key as layer;
use crate::objects::{ContextContent, ContextType, Filter, FilterFlags, ProviderContext};
use crate::session::SessionId;
use crate::store::{Lifetime, State, Stored};

/// Run-time ids of provider contexts start here on real machines.
pub(crate) const FIRST_ID: u64 = 1 << 63;

const MAIN_MODE: &[ContextType] = &[ContextType::IpsecIkeMm, ContextType::IpsecAuthipMm, ContextType::IpsecIkev2Mm];
const QUICK_MODE_TRANSPORT: &[ContextType] =
    &[ContextType::IpsecIkeQmTransport, ContextType::IpsecAuthipQmTransport, ContextType::IpsecIkev2QmTransport];
const QUICK_MODE_TUNNEL: &[ContextType] =
    &[ContextType::IpsecIkeQmTunnel, ContextType::IpsecAuthipQmTunnel, ContextType::IpsecIkev2QmTunnel];

/// Layers and built-in callouts that read a provider context, with the types they read (documentation pages "Regular Transport Mode", "Tunnel
/// Mode", "Using Classify Options").
const READERS: &[(Uuid, &[ContextType])] = &[
    (layer::IKEEXT_V4, MAIN_MODE),
    (layer::IKEEXT_V6, MAIN_MODE),
    (callout::IPSEC_INBOUND_TRANSPORT_V4, QUICK_MODE_TRANSPORT),
    (callout::IPSEC_INBOUND_TRANSPORT_V6, QUICK_MODE_TRANSPORT),
    (callout::IPSEC_OUTBOUND_TRANSPORT_V4, QUICK_MODE_TRANSPORT),
    (callout::IPSEC_OUTBOUND_TRANSPORT_V6, QUICK_MODE_TRANSPORT),
    (callout::IPSEC_INBOUND_TUNNEL_V4, QUICK_MODE_TUNNEL),
    (callout::IPSEC_INBOUND_TUNNEL_V6, QUICK_MODE_TUNNEL),
    (callout::IPSEC_OUTBOUND_TUNNEL_V4, QUICK_MODE_TUNNEL),
    (callout::IPSEC_OUTBOUND_TUNNEL_V6, QUICK_MODE_TUNNEL),
    (callout::SET_OPTIONS_AUTH_CONNECT_LAYER_V4, &[ContextType::ClassifyOptions]),
    (callout::SET_OPTIONS_AUTH_CONNECT_LAYER_V6, &[ContextType::ClassifyOptions]),
    (callout::SET_OPTIONS_AUTH_RECV_ACCEPT_LAYER_V4, &[ContextType::ClassifyOptions]),
    (callout::SET_OPTIONS_AUTH_RECV_ACCEPT_LAYER_V6, &[ContextType::ClassifyOptions]),
];

impl Engine {
    /// `FwpmProviderContextAdd3`.
    pub fn provider_context_add(&mut self, session: SessionId, mut context: ProviderContext) -> Result<u64, FwpError> {
        self.write(session, &mut (), |engine, _| {
            check_display(&context.display)?;
            if matches!(&context.content, ContextContent::ClassifyOptions(options) if options.is_empty()) {
                return Err(FwpError::ZeroLengthArray);
            }
            context.key =
                engine.key_for(context.key, |engine, key| engine.contexts.get(State::Pending, key).is_some())?;
            let lifetime = engine.lifetime(session, context.persistent, context.provider)?;
            engine.check_provider(context.provider, lifetime)?;
            context.id = engine.next_context;
            engine.next_context += 1;
            let (key, id) = (context.key, context.id);
            engine.contexts.insert(key, Stored { object: Arc::new(context), lifetime });
            Ok(id)
        })
    }

    /// `FwpmProviderContextDeleteByKey0`.
    pub fn provider_context_delete(&mut self, session: SessionId, key: Uuid) -> Result<(), FwpError> {
        self.write(session, &mut (), |engine, _| {
            let stored = engine.contexts.get(State::Pending, &key).ok_or(FwpError::ProviderContextNotFound)?;
            stored.lifetime.may_be_deleted_by(session, engine.session(session)?.session.dynamic)?;
            if engine.filters.iter(State::Pending).any(|(_, stored)| stored.object.filter.provider_context == Some(key))
            {
                return Err(FwpError::InUse);
            }
            engine.contexts.remove(key);
            Ok(())
        })
    }

    /// `FwpmProviderContextDeleteById0`.
    pub fn provider_context_delete_by_id(&mut self, session: SessionId, id: u64) -> Result<(), FwpError> {
        let state = self.state_for(Some(session));
        let key = self.contexts.iter(state).find(|(_, stored)| stored.object.id == id).map(|(key, _)| *key);
        self.provider_context_delete(session, key.ok_or(FwpError::ProviderContextNotFound)?)
    }

    /// The provider context that a filter to be added names.
    pub(crate) fn context_of(
        &self,
        filter: &Filter,
        lifetime: Lifetime,
    ) -> Result<Option<Arc<ProviderContext>>, FwpError> {
        let key = match (filter.flags.contains(FilterFlags::HAS_PROVIDER_CONTEXT), filter.provider_context) {
            (false, None) => return Ok(None),
            (false, Some(_)) => return Err(FwpError::InvalidFlags),
            (true, key) => key.ok_or(FwpError::ProviderContextNotFound)?,
        };
        let stored = self.contexts.get(State::Pending, &key).ok_or(FwpError::ProviderContextNotFound)?;
        lifetime.may_refer_to(stored.lifetime)?;
        let context_type = stored.object.content.context_type();
        let reads = |reader: Uuid| READERS.iter().find(|(known, _)| *known == reader).map(|(_, types)| *types);
        let readers = [Some(filter.layer), filter.action.callout()];
        if readers.into_iter().flatten().filter_map(reads).any(|types| !types.contains(&context_type)) {
            return Err(FwpError::ProviderContextMismatch);
        }
        Ok(Some(Arc::clone(&stored.object)))
    }
}
