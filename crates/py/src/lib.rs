//! The Python extension module `buchner._native`.
use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native half of the `buchner` package.
#[pymodule]
mod _native {}
