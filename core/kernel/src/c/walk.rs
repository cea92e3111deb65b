//! Walks over statements and expressions that need no recursion: a chain of operators may be long.

use lang_c::ast::*;
use lang_c::span::Node;

/// A part of a function.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Statement(&'a Node<Statement>),
    Expression(&'a Node<Expression>),
    Declaration(&'a Node<Declaration>),
    /// The head of a loop, and what stands in it.
    Head(&'a Node<Expression>),
}

/// Calls `see` with `part` and everything in it, in no particular order.
pub(super) fn walk<'a>(part: Part<'a>, see: &mut dyn FnMut(Part<'a>)) {
    let mut open = vec![part];
    while let Some(part) = open.pop() {
        see(part);
        match part {
            Part::Statement(statement) => statement_parts(&statement.node, &mut open),
            Part::Expression(expression) | Part::Head(expression) => {
                children(&expression.node, &mut |child| open.push(Part::Expression(child)));
            }
            Part::Declaration(declaration) => {
                for declarator in &declaration.node.declarators {
                    if let Some(initializer) = &declarator.node.initializer {
                        initializers(&initializer.node, &mut open);
                    }
                }
            }
        }
    }
}

fn initializers<'a>(initializer: &'a Initializer, open: &mut Vec<Part<'a>>) {
    match initializer {
        Initializer::Expression(expression) => open.push(Part::Expression(expression)),
        Initializer::List(items) => items.iter().for_each(|item| initializers(&item.node.initializer.node, open)),
    }
}

fn statement_parts<'a>(statement: &'a Statement, open: &mut Vec<Part<'a>>) {
    match statement {
        Statement::Labeled(labeled) => open.push(Part::Statement(&labeled.node.statement)),
        Statement::Compound(items) => open.extend(items.iter().filter_map(|item| match &item.node {
            BlockItem::Declaration(declaration) => Some(Part::Declaration(declaration)),
            BlockItem::Statement(statement) => Some(Part::Statement(statement)),
            BlockItem::StaticAssert(_) => None,
        })),
        Statement::Expression(expression) | Statement::Return(expression) => {
            open.extend(expression.as_deref().map(Part::Expression));
        }
        Statement::If(branch) => {
            open.push(Part::Expression(&branch.node.condition));
            open.push(Part::Statement(&branch.node.then_statement));
            open.extend(branch.node.else_statement.as_deref().map(Part::Statement));
        }
        Statement::Switch(switch) => {
            open.push(Part::Expression(&switch.node.expression));
            open.push(Part::Statement(&switch.node.statement));
        }
        Statement::While(repeat) => {
            open.push(Part::Expression(&repeat.node.expression));
            open.push(Part::Statement(&repeat.node.statement));
        }
        Statement::DoWhile(repeat) => {
            open.push(Part::Expression(&repeat.node.expression));
            open.push(Part::Statement(&repeat.node.statement));
        }
        Statement::For(repeat) => {
            match &repeat.node.initializer.node {
                ForInitializer::Expression(expression) => open.push(Part::Head(expression)),
                ForInitializer::Declaration(declaration) => {
                    open.push(Part::Declaration(declaration));
                    for declarator in &declaration.node.declarators {
                        if let Some(Initializer::Expression(e)) = declarator.node.initializer.as_ref().map(|i| &i.node)
                        {
                            open.push(Part::Head(e));
                        }
                    }
                }
                ForInitializer::Empty | ForInitializer::StaticAssert(_) => {}
            }
            open.extend(repeat.node.condition.as_deref().map(Part::Head));
            open.extend(repeat.node.step.as_deref().map(Part::Head));
            open.push(Part::Statement(&repeat.node.statement));
        }
        Statement::Goto(_) | Statement::Continue | Statement::Break | Statement::Asm(_) => {}
    }
}

/// Calls `see` with the expressions that `expression` is made of.
pub(super) fn children<'a>(expression: &'a Expression, see: &mut dyn FnMut(&'a Node<Expression>)) {
    match expression {
        Expression::Member(member) => see(&member.node.expression),
        Expression::Call(call) => {
            see(&call.node.callee);
            call.node.arguments.iter().for_each(see);
        }
        Expression::UnaryOperator(unary) => see(&unary.node.operand),
        Expression::Cast(cast) => see(&cast.node.expression),
        Expression::BinaryOperator(binary) => {
            see(&binary.node.lhs);
            see(&binary.node.rhs);
        }
        Expression::Conditional(conditional) => {
            see(&conditional.node.condition);
            see(&conditional.node.then_expression);
            see(&conditional.node.else_expression);
        }
        Expression::Comma(list) => list.iter().for_each(see),
        _ => {}
    }
}

/// The name that an expression is, if it is one.
pub(super) fn name(expression: &Node<Expression>) -> Option<&str> {
    match &expression.node {
        Expression::Identifier(identifier) => Some(&identifier.node.name),
        _ => None,
    }
}

/// The variable that an expression assigns itself, not in its parts.
pub(super) fn assigned(expression: &Expression) -> Option<&str> {
    match expression {
        Expression::BinaryOperator(binary) if assigns(&binary.node.operator.node) => name(&binary.node.lhs),
        Expression::UnaryOperator(unary) if steps(&unary.node.operator.node).is_some() => name(&unary.node.operand),
        Expression::UnaryOperator(unary) if unary.node.operator.node == UnaryOperator::Address => {
            name(&unary.node.operand)
        }
        _ => None,
    }
}

/// Whether an operator assigns.
pub(super) fn assigns(operator: &BinaryOperator) -> bool {
    use BinaryOperator::*;
    matches!(
        operator,
        Assign
            | AssignMultiply
            | AssignDivide
            | AssignModulo
            | AssignPlus
            | AssignMinus
            | AssignShiftLeft
            | AssignShiftRight
            | AssignBitwiseAnd
            | AssignBitwiseXor
            | AssignBitwiseOr
    )
}

/// What an operator such as `++` adds.
pub(super) fn steps(operator: &UnaryOperator) -> Option<i64> {
    match operator {
        UnaryOperator::PostIncrement | UnaryOperator::PreIncrement => Some(1),
        UnaryOperator::PostDecrement | UnaryOperator::PreDecrement => Some(-1),
        _ => None,
    }
}
