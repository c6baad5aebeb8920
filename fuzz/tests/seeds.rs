//! Every seed, and every crash that was found and kept, runs through its target without a fuzzer.
use std::path::Path;

#[test]
fn every_seed_of_every_target_keeps_the_laws() {
    for (name, target) in buchner_fuzz::TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&corpus).unwrap_or_else(|e| panic!("{}: {e}", corpus.display())) {
            let seed = entry.unwrap().path();
            let bytes = std::fs::read(&seed).unwrap();
            println!("{}", seed.display());
            target(&bytes);
            // Cut short and with a byte changed, too: a cheap neighbourhood of each seed.
            for at in 0..bytes.len() {
                target(&bytes[..at]);
                let mut changed = bytes.clone();
                changed[at] ^= 0x20;
                target(&changed);
            }
            seeds += 1;
        }
        assert!(seeds > 0, "{} has no seeds", corpus.display());
    }
}

#[test]
fn every_corpus_has_a_target() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(buchner_fuzz::TARGETS.iter().any(|(target, _)| *target == name), "no target for corpus/{name}");
    }
}
