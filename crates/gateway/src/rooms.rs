//! One value per type: what each room keeps for itself, in a place that need not know the rooms.
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

/// The rooms' state on one thread. A value is made when it is first asked for.
#[derive(Default)]
pub struct LocalRooms(RefCell<Vec<(TypeId, Rc<dyn Any>)>>);

impl LocalRooms {
    /// The value of a type.
    pub fn get<T: Default + 'static>(&self) -> Rc<T> {
        let id = TypeId::of::<T>();
        let found = self.0.borrow().iter().find(|(of, _)| *of == id).map(|(_, value)| value.clone());
        if let Some(value) = found.and_then(|value| value.downcast().ok()) {
            return value;
        }
        let value = Rc::<T>::default();
        self.0.borrow_mut().push((id, value.clone()));
        value
    }
}

/// The rooms' state that all threads share. A value is made when it is first asked for.
#[derive(Default)]
pub struct SharedRooms(RwLock<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>);

impl SharedRooms {
    /// The value of a type. Takes a lock: a request's path keeps the value instead of asking each time.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let id = TypeId::of::<T>();
        let found = |all: &[(TypeId, Arc<dyn Any + Send + Sync>)]| {
            let (_, value) = all.iter().find(|(of, _)| *of == id)?;
            value.clone().downcast::<T>().ok()
        };
        if let Some(value) = found(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return value;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        found(&all).unwrap_or_else(|| {
            let value = Arc::<T>::default();
            all.push((id, value.clone()));
            value
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_type_has_one_value() {
        let local = LocalRooms::default();
        local.get::<Cell<u32>>().set(7);
        local.get::<Cell<u8>>().set(1);
        assert_eq!((local.get::<Cell<u32>>().get(), local.get::<Cell<u8>>().get()), (7, 1));
        let shared = SharedRooms::default();
        shared.get::<AtomicU32>().store(7, Ordering::Relaxed);
        assert_eq!(shared.get::<AtomicU32>().load(Ordering::Relaxed), 7);
    }
}
