//! Settings of the firewall.
use crate::kept;
use crate::kinds::FilePath;
use crate::scope::{self, Compiling, Room};
use crate::vars::Variable;
use crate::waf::inspection::Firewall;
use crate::waf::rulesets::Rulesets;
use crate::waf::variables;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The firewall.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What becomes of requests and responses that the rules find: nothing is looked at (`off`), they are logged (`detect`), blocked too (`block`), or as `SecRuleEngine` has it (`rules`; nginx: `modsecurity on`). Default: off.
    pub waf: Mode,
    /// Files with rules in ModSecurity's language, in this order (nginx: `modsecurity_rules_file`). Default: those of `[crs]`.
    pub waf_rules: Vec<FilePath>,
}

kept!(Settings);
kept!(Option<Firewall>);

/// What becomes of what the rules find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is looked at.
    #[default]
    Off,
    /// It is logged.
    Detect,
    /// It is blocked.
    Block,
    /// As the rules say.
    Rules,
}

/// The rules for all that have none of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Rules in ModSecurity's language.
    pub text: String,
    /// The directory that files named in it are relative to.
    pub base: String,
}

impl Room for Settings {
    const TITLE: &'static str = "Firewall";
    const VARIABLES: &'static [Variable] = variables::VARIABLES;

    fn compile(&self, cx: &Compiling<'_>, out: &mut scope::Settings) -> Result<(), String> {
        if self.waf == Mode::Off {
            return Ok(());
        }
        let rules = cx.table::<Rulesets>().ok_or_else(|| "waf: there are no rules".to_owned())?;
        let firewall = Firewall::new(rules.of(&self.waf_rules)?, self.waf);
        out.filters.push(Box::new(firewall.clone()));
        out.put(Some(firewall));
        Ok(())
    }
}
