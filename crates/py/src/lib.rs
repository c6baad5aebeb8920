//! The Python extension module `buchner._native`.
mod gateway;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native half of the `buchner` package.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::gateway::gateway_main;
}
