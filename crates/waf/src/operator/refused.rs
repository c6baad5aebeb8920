//! Operators that are known and not supported.

/// Why an operator is refused; `lower` is its name in lowercase.
pub(super) fn reason(lower: &str) -> &'static str {
    match lower {
        "rbl" => "asks a block list by DNS for each request; no rule waits for the network",
        "geolookup" => "needs a database of places; use a variable of the gateway",
        "inspectfile" => "runs a program for each upload; no rule starts processes",
        "gsblookup" => "Google has ended version 1 of Safe Browsing, whose database it reads",
        "fuzzyhash" => "needs ssdeep and its database of digests",
        "validatehash" => "needs responses rewritten with digests of their links (SecHashEngine)",
        "validatedtd" => "reads a DTD for each document; documents are checked for well-formedness only",
        "validateschema" => "reads a schema for each document; documents are checked for well-formedness only",
        "rsub" => "changes bodies (SecStreamInBodyInspection); rules judge requests and leave them as they are",
        _ => "there is no such operator",
    }
}
