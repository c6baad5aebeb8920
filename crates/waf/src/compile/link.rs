//! One rule of a chain: variables, transformations, operator.

use crate::memory::read_number;
use crate::operator::Operator;
use crate::rule::{Comparison, Link, Operand, Quick, Subject};
use crate::seclang::LoadError;
use crate::seclang::action::Action;
use crate::seclang::template::Template;
use crate::seclang::variable::Variable;
use crate::text::{Part, Text};
use crate::transform::Transform;

use super::Shop;
use super::draft::DraftLink;

/// Compiles a link without its actions.
pub fn link(draft: &DraftLink, inherited: &[Action], shop: &mut Shop) -> Result<Link, LoadError> {
    let error = |what: String| LoadError::new(&draft.at, what, &*draft.text);
    let steps = steps(inherited.iter().chain(&draft.actions)).map_err(error)?;
    let node = shop.pipelines.node(&steps);
    let has = |wanted: fn(&Action) -> bool| draft.actions.iter().any(wanted);
    let stages = if has(|action| matches!(action, Action::MultiMatch)) {
        (0..=steps.len()).map(|length| shop.pipelines.node(&steps[..length])).collect()
    } else {
        Box::default()
    };
    let capture = has(|action| matches!(action, Action::Capture));
    let mut link = Link {
        list: None,
        operator: None,
        negated: false,
        argument: None,
        node,
        stages,
        capture,
        quick: None,
        filter: None,
        union: None,
        acts: Box::default(),
    };
    if let Some(written) = &draft.operator {
        let operator = Operator::compile(&written.name, &written.argument, &draft.base).map_err(error)?;
        let argument = operator.macros().map(Template::parse).transpose().map_err(error)?;
        link.argument = argument.map(|template| Text::new(&template, &mut shop.names));
        link.negated = written.negated;
        link.filter = match operator.required_literals() {
            Some(literals) if !written.negated => Some(shop.prefilter.add(&literals.texts)),
            _ => None,
        };
        link.list = Some(shop.lists.add(&draft.targets, &mut shop.names));
        if let Some(list) = link.list.filter(|list| shop.lists.get(*list).stable && link.stages.is_empty()) {
            let next = shop.unions.len() as u32;
            link.union = link.filter.map(|_| *shop.unions.entry((list, node)).or_insert(next));
        }
        link.quick = quick(&operator, &link, shop);
        link.operator = Some(operator);
    }
    Ok(link)
}

/// The transformations left after the last `none`.
fn steps<'a>(actions: impl Iterator<Item = &'a Action>) -> Result<Vec<Transform>, String> {
    let mut steps = Vec::new();
    for action in actions {
        let Action::Transform(name) = action else { continue };
        match Transform::from_name(name).ok_or_else(|| format!("unknown transformation t:{name}"))? {
            Transform::None => steps.clear(),
            step => steps.push(step),
        }
    }
    Ok(steps)
}

fn quick(operator: &Operator, link: &Link, shop: &Shop) -> Option<Quick> {
    let comparison = Comparison::of(operator.name())?;
    let [source] = &*shop.lists.get(link.list?).sources else { return None };
    let subject = match (source.count, source.slot) {
        (true, Some(slot)) => Subject::CountTx(slot),
        (true, None) if source.variable != Variable::Tx => Subject::Count,
        (false, Some(slot)) if link.node == 0 => Subject::Tx(slot),
        _ => return None,
    };
    let right = match &link.argument {
        None => Operand::Number(read_number(operator.argument().as_bytes())),
        Some(text) => operand(text.clone()),
    };
    Some(Quick { subject, comparison, right })
}

/// The simplest form of a text.
pub fn operand(text: Text) -> Operand {
    match &*text.0 {
        [Part::Tx(slot)] => Operand::Tx(*slot),
        [Part::Literal(literal)] => {
            let number = read_number(literal);
            if number.to_string().as_bytes() == &**literal { Operand::Number(number) } else { Operand::Text(text) }
        }
        _ => Operand::Text(text),
    }
}
