//! What the connections of one I/O thread are served with: the plan in force.
use crate::io::local::Local;
use crate::plan::PlanRef;
use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

/// An I/O thread as the doors see it.
pub struct Service {
    /// The thread as the rooms see it.
    pub local: Rc<Local>,
    plan: RefCell<PlanRef>,
}

impl Service {
    /// Serves by this plan.
    pub fn new(local: Rc<Local>, plan: PlanRef) -> Rc<Self> {
        Rc::new(Self { local, plan: RefCell::new(plan) })
    }

    /// The plan in force.
    pub fn plan(&self) -> PlanRef {
        self.plan.borrow().clone()
    }

    /// Puts another plan in force; requests that run go on by theirs. Returns the one before.
    pub fn replace(&self, plan: PlanRef) -> PlanRef {
        self.plan.replace(plan)
    }
}

impl Deref for Service {
    type Target = Rc<Local>;

    fn deref(&self) -> &Rc<Local> {
        &self.local
    }
}
