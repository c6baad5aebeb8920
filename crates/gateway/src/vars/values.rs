//! The values of variables that the configuration defines, as one request has them: set, or looked for when first needed.
//! A main request and its subrequests share them, as in nginx.
use crate::exchange::Exchange;
use crate::scope::{Definition, Found};
use crate::vars::{Sent, Template};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Definitions that may lead to one another while one value is looked for; more are a cycle.
const MAX_DEPTH: u8 = 64;

/// The values of one request. Without defined variables they are nothing at all.
#[derive(Clone, Default)]
pub struct Values(Option<Rc<Slots>>);

struct Slots {
    slots: RefCell<Box<[Slot]>>,
    depth: Cell<u8>,
}

#[derive(Clone, Debug, Default)]
enum Slot {
    #[default]
    Unset,
    Absent,
    Result(u32),
    Bytes(Bytes),
}

impl Values {
    /// Room for the values of a plan's variables.
    pub fn new(count: usize) -> Self {
        Self((count > 0).then(|| {
            let slots = vec![Slot::Unset; count].into_boxed_slice();
            Rc::new(Slots { slots: RefCell::new(slots), depth: Cell::new(0) })
        }))
    }

    /// Sets a variable.
    pub fn set(&self, index: u32, value: Bytes) {
        self.put(index, Slot::Bytes(value));
    }

    /// Whether a variable that was written has a value, if an empty one.
    pub fn is_found(&self, index: u32, ex: &Exchange) -> bool {
        let Some(shared) = &self.0 else { return false };
        let volatile = || ex.scope.definitions.get(index as usize).is_some_and(|definition| definition.volatile());
        !matches!(shared.slots.borrow().get(index as usize), None | Some(Slot::Unset | Slot::Absent)) || volatile()
    }

    /// Appends the value of a variable, which is looked for unless it is known.
    pub fn write(&self, index: u32, ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
        let Some(shared) = &self.0 else { return };
        let Some(definition) = ex.scope.definitions.get(index as usize) else { return };
        let known = match shared.slots.borrow().get(index as usize) {
            None | Some(Slot::Absent) => return,
            Some(Slot::Bytes(bytes)) => return out.extend_from_slice(bytes),
            Some(Slot::Result(number)) => Some(*number),
            Some(Slot::Unset) => None,
        };
        if let Some(number) = known {
            let text = definition.result(number).and_then(Template::as_text);
            return out.extend_from_slice(text.unwrap_or_default());
        }
        if shared.depth.get() == MAX_DEPTH {
            return ex.log_error("variables lead to one another in a cycle");
        }
        shared.depth.set(shared.depth.get() + 1);
        self.find(index, &**definition, ex, sent, out);
        shared.depth.set(shared.depth.get() - 1);
    }

    fn find(&self, index: u32, definition: &dyn Definition, ex: &Exchange, sent: Sent<'_>, out: &mut Vec<u8>) {
        let at = out.len();
        let slot = match definition.find(ex, sent) {
            Found::Absent => Slot::Absent,
            Found::Bytes(bytes) => {
                out.extend_from_slice(&bytes);
                Slot::Bytes(bytes)
            }
            Found::Result(number) => match definition.result(number) {
                None => Slot::Absent,
                Some(template) => {
                    template.write(ex, sent, out);
                    match template.as_text() {
                        Some(_) => Slot::Result(number),
                        None => Slot::Bytes(Bytes::copy_from_slice(&out[at..])),
                    }
                }
            },
        };
        if !definition.volatile() {
            self.put(index, slot);
        }
    }

    fn put(&self, index: u32, value: Slot) {
        if let Some(shared) = &self.0 {
            if let Some(slot) = shared.slots.borrow_mut().get_mut(index as usize) {
                *slot = value;
            }
        }
    }
}
