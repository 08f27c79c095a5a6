use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere leaves the data usable: every update is complete at each step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
