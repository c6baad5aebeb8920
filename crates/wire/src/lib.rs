//! Bytes to events and back. Nothing here does I/O.
