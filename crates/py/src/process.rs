//! What the supervisor asks of the kernel and the allocator that Python has no call for.
use pyo3::prelude::*;

/// Makes orphaned descendants children of this process (prctl(2), `PR_SET_CHILD_SUBREAPER`), as they are PID 1's.
/// Raises `OSError` where the kernel refuses.
#[pyfunction]
pub fn become_subreaper() -> PyResult<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| std::io::Error::from(errno).into())
}

/// Kills this process when its parent ends (prctl(2), `PR_SET_PDEATHSIG`), or no longer. The kernel forgets it when the process
/// changes its user. Raises `OSError` where the kernel refuses.
#[pyfunction]
pub fn die_with_parent(on: bool) -> PyResult<()> {
    rustix::process::set_parent_process_death_signal(on.then_some(rustix::process::Signal::KILL))
        .map_err(|errno| std::io::Error::from(errno).into())
}

/// Returns what this process has freed to the system, now.
#[pyfunction]
pub fn give_back_memory() {
    buchner_gateway::sys::give_back_memory();
}
