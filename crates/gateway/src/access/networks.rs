//! By the client's address (nginx: allow, deny): the first rule that fits decides.
use crate::access::{Refusal, Verdict};
use crate::exchange::Exchange;
use crate::net::networks::Networks;

/// Compiled rules.
pub struct Rules(Vec<(bool, Networks)>);

impl Rules {
    /// Compiles `allow 10.0.0.0/8`, `deny 192.0.2.1`, `allow unix:`, `deny all`.
    pub fn compile(rules: &[String]) -> Result<Self, String> {
        let compile = |(i, rule): (usize, &String)| {
            let (verb, network) = rule.split_once(' ').unwrap_or((rule, ""));
            let allow = match verb {
                "allow" => true,
                "deny" => false,
                _ => return Err(format!("access[{i}]: {rule:?} begins with neither allow nor deny")),
            };
            let network = if network == "all" { "*" } else { network };
            Ok((allow, Networks::parse(&[network.to_owned()]).map_err(|e| format!("access[{i}]: {e}"))?))
        };
        rules.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the client may come in.
    pub fn verdict(&self, ex: &Exchange) -> Verdict {
        match self.0.iter().find(|(_, network)| network.contains(&ex.client.addr)) {
            None => Verdict::Silent,
            Some((true, _)) => Verdict::Granted,
            Some((false, _)) => Verdict::Refused(Refusal {
                status: 403,
                challenges: Vec::new(),
                cause: "access forbidden by rule".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_what_they_cannot_read() {
        for rule in ["allow", "permit all", "deny 10.0.0.0/33"] {
            let error = Rules::compile(&[rule.to_owned()]).err().unwrap_or_default();
            assert!(error.starts_with("access[0]: "), "{error}");
        }
        assert!(Rules::compile(&["allow unix:".to_owned(), "deny all".to_owned()]).is_ok());
    }
}
