//! Tables of objects with the changes of the one write transaction laid over them.
//!
//! Changes stay apart from what is committed until the commit, so that an abort has nothing to undo and other sessions never see them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use uuid::Uuid;

use crate::error::FwpError;
use crate::session::SessionId;

/// How long an object lives (documentation page "Object Management").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until its session ends.
    Dynamic(SessionId),
    /// Until it is deleted or BFE stops.
    Static,
    /// Until it is deleted; not in force while its provider's service is disabled.
    Persistent { provider: Option<Uuid> },
    /// For ever.
    BuiltIn,
}

impl Lifetime {
    /// Refuses a reference to an object that may go first.
    pub(crate) fn may_refer_to(self, other: Self) -> Result<(), FwpError> {
        let outlived = match (self, other) {
            (Self::Dynamic(session), Self::Dynamic(owner)) => session == owner,
            (_, Self::Dynamic(_)) | (Self::Persistent { .. } | Self::BuiltIn, Self::Static) => false,
            (Self::Persistent { provider }, Self::Persistent { provider: other }) => {
                other.is_none() || provider == other
            }
            _ => true,
        };
        if outlived { Ok(()) } else { Err(FwpError::LifetimeMismatch) }
    }

    /// Whether a session may delete an object of this lifetime.
    pub(crate) fn may_be_deleted_by(self, session: SessionId, dynamic: bool) -> Result<(), FwpError> {
        match self {
            Self::BuiltIn => Err(FwpError::BuiltinObject),
            Self::Dynamic(owner) if owner == session => Ok(()),
            Self::Dynamic(_) => Err(FwpError::WrongSession),
            Self::Static | Self::Persistent { .. } if dynamic => Err(FwpError::DynamicSessionInProgress),
            Self::Static | Self::Persistent { .. } => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored<T> {
    pub(crate) object: T,
    pub(crate) lifetime: Lifetime,
}

/// Which state a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Committed,
    /// With the write transaction's changes.
    Pending,
}

#[derive(Debug)]
pub(crate) struct Table<K, V> {
    committed: BTreeMap<K, V>,
    /// `None`: deleted.
    pending: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { committed: BTreeMap::new(), pending: BTreeMap::new() }
    }
}

impl<K: Ord, V> Table<K, V> {
    pub(crate) fn get(&self, state: State, key: &K) -> Option<&V> {
        match (state, self.pending.get(key)) {
            (State::Pending, Some(change)) => change.as_ref(),
            _ => self.committed.get(key),
        }
    }

    pub(crate) fn iter(&self, state: State) -> impl Iterator<Item = (&K, &V)> {
        let pending = match state {
            State::Committed => None,
            State::Pending => Some(&self.pending),
        };
        let unchanged =
            self.committed.iter().filter(move |(key, _)| pending.is_none_or(|pending| !pending.contains_key(*key)));
        let changed = pending.into_iter().flatten().filter_map(|(key, change)| Some((key, change.as_ref()?)));
        unchanged.chain(changed)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.pending.insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: K) {
        if self.committed.contains_key(&key) {
            self.pending.insert(key, None);
        } else {
            self.pending.remove(&key);
        }
    }

    pub(crate) fn remove_where(&mut self, doomed: impl Fn(&V) -> bool)
    where
        K: Copy,
    {
        let keys: Vec<_> = self.iter(State::Pending).filter(|(_, value)| doomed(value)).map(|(key, _)| *key).collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// The changes not yet committed: what was and what is to be.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Option<&V>, Option<&V>)> {
        self.pending.iter().map(|(key, change)| (self.committed.get(key), change.as_ref()))
    }

    pub(crate) fn commit(&mut self) {
        for (key, change) in mem::take(&mut self.pending) {
            match change {
                Some(value) => self.committed.insert(key, value),
                None => self.committed.remove(&key),
            };
        }
    }

    pub(crate) fn abort(&mut self) {
        self.pending.clear();
    }
}
