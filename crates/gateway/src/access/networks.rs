//! By the client's address (nginx: allow, deny): the first rule that fits decides.
use crate::exchange::Exchange;
use crate::kept;
use crate::net::networks::Networks;
use crate::scope::{self, Boxed, Check, Compiling, Refusal, Room, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Access by address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which clients may come in: `allow 10.0.0.0/8`, `deny all`; the first rule that fits decides, without one all may (nginx: `allow`, `deny`). Default: none.
    pub access: Vec<String>,
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Access by address";

    fn compile(&self, _: &Compiling<'_>, out: &mut scope::Settings) -> std::result::Result<(), String> {
        if !self.access.is_empty() {
            out.checks.push(Box::new(Rules::compile(&self.access)?));
        }
        Ok(())
    }
}

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
    fn decide(&self, ex: &Exchange) -> Verdict {
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

impl Check for Rules {
    fn verdict<'c>(&'c self, ex: &'c mut Exchange) -> Boxed<'c, crate::error::Result<Verdict>> {
        Box::pin(std::future::ready(Ok(self.decide(ex))))
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
