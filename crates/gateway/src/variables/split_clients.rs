//! A variable that divides requests into parts of given sizes, the same text always falling into the same part
//! (nginx: split_clients).
use crate::exchange::Exchange;
use crate::scope::{Definition, Found};
use crate::vars::{Names, Sent, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hundredths of a percent in the whole.
const WHOLE: u64 = 10_000;

/// A value by the part that a text falls into.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "SplitClients")]
pub struct Config {
    /// The text that decides, with variables.
    pub source: String,
    /// Parts in hundredths of a percent, and their values; 0 is all that is left.
    pub parts: Vec<(u32, String)>,
}

/// Compiled parts.
pub struct SplitClients {
    source: Template,
    /// Upper bound of each part's hashes, 0 for the rest.
    bounds: Vec<u32>,
    results: Vec<Template>,
}

impl SplitClients {
    /// Compiles parts.
    pub fn compile(config: &Config, names: &Names) -> Result<Self, String> {
        let source = Template::compile(&config.source, names).map_err(|e| format!("source: {e}"))?;
        let (mut bounds, mut results, mut sum) = (Vec::new(), Vec::new(), 0);
        for (part, value) in &config.parts {
            sum += u64::from(*part);
            if sum > WHOLE {
                return Err("the parts are more than 100 percent".into());
            }
            bounds.push(if *part == 0 { 0 } else { (sum * u64::from(u32::MAX) / WHOLE) as u32 });
            results.push(Template::text(value));
        }
        Ok(Self { source, bounds, results })
    }
}

impl Definition for SplitClients {
    fn find(&self, ex: &Exchange, sent: Sent<'_>) -> Found {
        let hash = murmur2(&self.source.value(ex, sent));
        let part = self.bounds.iter().position(|bound| *bound == 0 || hash < *bound);
        part.map_or(Found::Absent, |part| Found::Result(part as u32))
    }

    fn result(&self, number: u32) -> Option<&Template> {
        self.results.get(number as usize)
    }
}

/// MurmurHash2 with the seed 0, as nginx has it.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_murmurs() {
        // From the reference implementation by Austin Appleby.
        for (text, hash) in [("", 0), ("a", 0x9268_5f5e)] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text} {:#x}", murmur2(text.as_bytes()));
        }
    }

    #[test]
    fn parts_are_bounds_of_hashes() {
        let config = Config { source: "x".into(), parts: vec![(50, "a".into()), (2000, "b".into()), (0, "c".into())] };
        let parts = SplitClients::compile(&config, &Names::default()).unwrap();
        assert_eq!(parts.bounds, [21_474_836, 880_468_295, 0]);
        let config = Config { parts: vec![(9999, String::new()), (2, String::new())], ..config };
        assert!(SplitClients::compile(&config, &Names::default()).is_err());
    }
}
