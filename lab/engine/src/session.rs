//! Sessions and transactions (documentation page "Object Management").

use alloc::vec::Vec;

use crate::engine::Engine;
use crate::error::FwpError;
use crate::notify::CalloutNotify;
use crate::objects::Session;
use crate::store::{Lifetime, State};

/// The handle of an open session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct SessionId(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct OpenSession {
    pub(crate) session: Session,
    pub(crate) transaction: Option<Transaction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transaction {
    ReadOnly,
    ReadWrite,
}

impl Engine {
    /// `FwpmEngineOpen0`.
    pub fn session_open(&mut self, mut session: Session) -> Result<SessionId, FwpError> {
        if session.key.is_nil() {
            session.key = self.new_key();
        } else if self.sessions.values().any(|open| open.session.key == session.key) {
            return Err(FwpError::AlreadyExists);
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(id, OpenSession { session, transaction: None });
        Ok(id)
    }

    /// `FwpmEngineClose0`: aborts the session's transaction and deletes its dynamic objects. [`FwpError::Timeout`] and still open while
    /// another session's transaction is in the way of the deletion.
    pub fn session_close(&mut self, id: SessionId, notify: &mut dyn CalloutNotify) -> Result<(), FwpError> {
        if self.session(id)?.transaction.is_some() {
            self.transaction_abort(id, notify)?;
        }
        if self.session(id)?.session.dynamic && self.has_objects_of(Lifetime::Dynamic(id)) {
            self.write(id, notify, |engine, _| {
                engine.delete_all_of(Lifetime::Dynamic(id));
                Ok(())
            })?;
        }
        self.sessions.remove(&id);
        Ok(())
    }

    /// The base filtering engine stops: sessions end, and static objects with them. Persistent ones stay.
    pub fn stop(&mut self, notify: &mut dyn CalloutNotify) {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for id in &sessions {
            // Not every session is in a transaction.
            let _ = self.transaction_abort(*id, notify);
        }
        self.sessions.clear();
        for id in sessions {
            self.delete_all_of(Lifetime::Dynamic(id));
        }
        self.delete_all_of(Lifetime::Static);
        self.commit(notify);
    }

    /// The open sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, open)| (*id, &open.session))
    }

    /// What must be so for calls that are not part of transactions: the session has none in progress.
    pub fn outside_transaction(&self, id: SessionId) -> Result<&Session, FwpError> {
        let open = self.session(id)?;
        if open.transaction.is_some() { Err(FwpError::TxnInProgress) } else { Ok(&open.session) }
    }

    /// `FwpmTransactionBegin0`. Many may read at a time, or one may write: [`FwpError::Timeout`] at once where Windows would first wait for
    /// the lock. The host may wait and ask again.
    pub fn transaction_begin(&mut self, id: SessionId, read_only: bool) -> Result<(), FwpError> {
        if self.session(id)?.transaction.is_some() {
            return Err(FwpError::TxnInProgress);
        }
        let transaction = if read_only { Transaction::ReadOnly } else { Transaction::ReadWrite };
        self.lock(id, transaction)
    }

    /// `FwpmTransactionCommit0`. Callouts hear of deleted filters after the new filters are in force.
    pub fn transaction_commit(&mut self, id: SessionId, notify: &mut dyn CalloutNotify) -> Result<(), FwpError> {
        match self.session_mut(id)?.transaction.take() {
            None => Err(FwpError::NoTxnInProgress),
            Some(Transaction::ReadOnly) => Ok(()),
            Some(Transaction::ReadWrite) => {
                self.commit(notify);
                Ok(())
            }
        }
    }

    /// `FwpmTransactionAbort0`. Callouts that agreed to filters in it hear that these are deleted.
    pub fn transaction_abort(&mut self, id: SessionId, notify: &mut dyn CalloutNotify) -> Result<(), FwpError> {
        match self.session_mut(id)?.transaction.take() {
            None => Err(FwpError::NoTxnInProgress),
            Some(Transaction::ReadOnly) => Ok(()),
            Some(Transaction::ReadWrite) => {
                self.abort(notify);
                Ok(())
            }
        }
    }

    /// Runs a change inside the session's transaction, or in an implicit one. A change that fails must have changed nothing: it does not
    /// affect the transaction.
    pub(crate) fn write<T>(
        &mut self,
        id: SessionId,
        notify: &mut dyn CalloutNotify,
        change: impl FnOnce(&mut Self, &mut dyn CalloutNotify) -> Result<T, FwpError>,
    ) -> Result<T, FwpError> {
        match self.session(id)?.transaction {
            Some(Transaction::ReadOnly) => Err(FwpError::IncompatibleTxn),
            Some(Transaction::ReadWrite) => change(self, notify),
            None => {
                self.lock(id, Transaction::ReadWrite)?;
                let result = change(self, notify);
                self.session_mut(id)?.transaction = None;
                match result {
                    Ok(_) => self.commit(notify),
                    Err(_) => self.abort(notify),
                }
                result
            }
        }
    }

    pub(crate) fn session(&self, id: SessionId) -> Result<&OpenSession, FwpError> {
        self.sessions.get(&id).ok_or(FwpError::NotFound)
    }

    fn session_mut(&mut self, id: SessionId) -> Result<&mut OpenSession, FwpError> {
        self.sessions.get_mut(&id).ok_or(FwpError::NotFound)
    }

    fn lock(&mut self, id: SessionId, transaction: Transaction) -> Result<(), FwpError> {
        let blocked = self.sessions.values().any(|open| match open.transaction {
            Some(Transaction::ReadWrite) => true,
            Some(Transaction::ReadOnly) => transaction == Transaction::ReadWrite,
            None => false,
        });
        if blocked {
            return Err(FwpError::Timeout);
        }
        self.session_mut(id)?.transaction = Some(transaction);
        Ok(())
    }

    /// What a session's reads see: its own uncommitted changes, or what is committed.
    pub(crate) fn state_for(&self, id: Option<SessionId>) -> State {
        let transaction = id.and_then(|id| self.sessions.get(&id)).and_then(|open| open.transaction);
        if transaction == Some(Transaction::ReadWrite) { State::Pending } else { State::Committed }
    }

    fn has_objects_of(&self, lifetime: Lifetime) -> bool {
        self.filters.iter(State::Committed).any(|(_, stored)| stored.lifetime == lifetime)
            || self.callouts.iter(State::Committed).any(|(_, stored)| stored.lifetime == lifetime)
            || self.sublayers.iter(State::Committed).any(|(_, stored)| stored.lifetime == lifetime)
            || self.contexts.iter(State::Committed).any(|(_, stored)| stored.lifetime == lifetime)
            || self.providers.iter(State::Committed).any(|(_, stored)| stored.lifetime == lifetime)
    }

    /// Nothing that stays can refer to what goes here, so that it can go without looking: a session's dynamic objects, or, once all of
    /// these have gone, the static ones.
    fn delete_all_of(&mut self, lifetime: Lifetime) {
        let filters: Vec<_> = self
            .filters
            .iter(State::Pending)
            .filter(|(_, s)| s.lifetime == lifetime)
            .map(|(id, s)| (*id, s.object.filter.key))
            .collect();
        for (id, key) in filters {
            self.filters.remove(id);
            self.filter_ids.remove(key);
        }
        self.callouts.remove_where(|stored| stored.lifetime == lifetime);
        self.sublayers.remove_where(|stored| stored.lifetime == lifetime);
        self.contexts.remove_where(|stored| stored.lifetime == lifetime);
        self.providers.remove_where(|stored| stored.lifetime == lifetime);
    }
}
