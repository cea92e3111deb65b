//! Types of C as far as they show what is an array, and what is arithmetic on floating-point values.

use std::collections::BTreeMap;

use lang_c::ast::*;
use lang_c::span::Node;

use crate::nest::Element;

/// What `dialect` writes for `auto`.
pub(super) const AUTO: &str = "__auto";

/// What stands at the end of a type, behind pointers and arrays.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base<'a> {
    /// A number.
    Number(Element),
    /// Whatever the value is that it is given.
    Auto,
    /// Nothing.
    Void,
    /// A struct, with its fields.
    Struct(&'a StructType),
    /// What is not read, in words.
    Other(&'static str),
}

/// One step of a type, outermost first.
#[derive(Debug, Clone)]
pub(super) enum Dim<'a> {
    Pointer,
    /// With its extent.
    Array(Option<&'a Node<Expression>>),
    Function,
}

/// A type.
#[derive(Debug, Clone)]
pub(super) struct Type<'a> {
    pub(super) base: Base<'a>,
    pub(super) dims: Vec<Dim<'a>>,
    pub(super) constant: bool,
    pub(super) typedef: bool,
    /// Whether it is a number that is never below zero.
    pub(super) unsigned: bool,
}

impl Type<'_> {
    /// Whether it is one floating-point number; none if it is no number.
    pub(super) fn float(&self) -> Option<bool> {
        match self.base {
            Base::Number(element) if self.dims.is_empty() => Some(element.is_float()),
            _ => None,
        }
    }

    /// How many subscripts it takes: those of a struct's units are one.
    pub(super) fn rank(&self) -> usize {
        self.dims.len() + usize::from(matches!(self.base, Base::Struct(_)))
    }

    /// The least and the largest value of an integer, as far as 64 bits hold them; none if it is something else.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        let Base::Number(element) = self.base else { return None };
        if self.float() != Some(false) {
            return None;
        }
        let bits = 8 * element.bytes() as u32;
        Some(match (self.unsigned, bits) {
            (true, 64) => (0, i64::MAX),
            (true, bits) => (0, (1 << bits) - 1),
            (false, bits) => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
        })
    }
}

/// Types by the names that `typedef` gave them.
pub(super) type Typedefs<'a> = BTreeMap<&'a str, Type<'a>>;

/// The type that the words before a declarator make.
pub(super) fn declared<'a>(specifiers: &'a [Node<DeclarationSpecifier>], typedefs: &Typedefs<'a>) -> Type<'a> {
    let words = specifiers.iter().filter_map(|specifier| match &specifier.node {
        DeclarationSpecifier::TypeSpecifier(word) => Some(&word.node),
        _ => None,
    });
    let is =
        |wanted: &dyn Fn(&DeclarationSpecifier) -> bool| specifiers.iter().any(|specifier| wanted(&specifier.node));
    let mut made = base(words, typedefs);
    made.constant |= is(
        &|word| matches!(word, DeclarationSpecifier::TypeQualifier(qualifier) if qualifier.node == TypeQualifier::Const),
    );
    made.typedef = is(
        &|word| matches!(word, DeclarationSpecifier::StorageClass(class) if class.node == StorageClassSpecifier::Typedef),
    );
    made
}

/// The type of a cast or of `sizeof`.
pub(super) fn named<'a>(name: &'a TypeName, typedefs: &Typedefs<'a>) -> Type<'a> {
    let words = name.specifiers.iter().filter_map(|specifier| match &specifier.node {
        SpecifierQualifier::TypeSpecifier(word) => Some(&word.node),
        _ => None,
    });
    let made = base(words, typedefs);
    match &name.declarator {
        Some(declarator) => derived(made, &declarator.node),
        None => made,
    }
}

pub(super) fn base<'a>(words: impl Iterator<Item = &'a TypeSpecifier>, typedefs: &Typedefs<'a>) -> Type<'a> {
    let (mut long, mut found, mut integer, mut unsigned) = (0_u32, None, None, false);
    for word in words {
        unsigned |= matches!(word, TypeSpecifier::Unsigned | TypeSpecifier::Bool);
        match word {
            TypeSpecifier::Void => found = Some(Base::Void),
            TypeSpecifier::Char | TypeSpecifier::Bool => integer = Some(Element::I8),
            TypeSpecifier::Short => integer = Some(Element::I16),
            TypeSpecifier::Int | TypeSpecifier::Signed | TypeSpecifier::Unsigned => {
                integer = integer.or(Some(Element::I32));
            }
            TypeSpecifier::Long => long += 1,
            TypeSpecifier::Float => found = Some(Base::Number(Element::F32)),
            TypeSpecifier::Double => found = Some(Base::Number(Element::F64)),
            TypeSpecifier::Enum(_) => found = Some(Base::Number(Element::I32)),
            TypeSpecifier::TS18661Float(float) => {
                found = Some(match float.width {
                    // No C type is bfloat16; `text` writes `_Float16x` for it, which no compiler has.
                    16 if matches!(float.format, TS18661FloatFormat::BinaryExtended) => Base::Number(Element::Bf16),
                    // And none has 8 bits: `_Decimal64x`, which no compiler has either.
                    64 if matches!(float.format, TS18661FloatFormat::DecimalExtended) => Base::Number(Element::F8),
                    16 => Base::Number(Element::F16),
                    32 => Base::Number(Element::F32),
                    64 => Base::Number(Element::F64),
                    _ => Base::Other("a number format"),
                });
            }
            TypeSpecifier::TypedefName(name) if name.node.name == AUTO => found = Some(Base::Auto),
            TypeSpecifier::TypedefName(name) => match typedefs.get(name.node.name.as_str()) {
                Some(known) => return Type { typedef: false, ..known.clone() },
                None => found = Some(Base::Other("a type")),
            },
            TypeSpecifier::Struct(own) if own.node.kind.node == StructKind::Union => {
                found = Some(Base::Other("a union"));
            }
            TypeSpecifier::Struct(own) if own.node.declarations.is_some() => found = Some(Base::Struct(&own.node)),
            TypeSpecifier::Struct(own) => {
                let tag = own.node.identifier.as_ref().and_then(|tag| typedefs.get(tag.node.name.as_str()));
                match tag {
                    Some(known) => return Type { typedef: false, ..known.clone() },
                    None => found = Some(Base::Other("a struct that is not declared here")),
                }
            }
            TypeSpecifier::Complex => found = Some(Base::Other("a complex number")),
            TypeSpecifier::Atomic(_) => found = Some(Base::Other("an atomic value")),
            TypeSpecifier::TypeOf(_) => found = Some(Base::Other("a type")),
        }
    }
    let base = match (found, long) {
        (Some(Base::Number(Element::F64)), 1..) => Base::Other("a long double"),
        (Some(found), _) => found,
        (None, 1..) => Base::Number(Element::I64),
        (None, 0) => Base::Number(integer.unwrap_or(Element::I32)),
    };
    Type { base, dims: Vec::new(), constant: false, typedef: false, unsigned }
}

/// `base` with the pointers and arrays of `declarator`.
pub(super) fn derived<'a>(base: Type<'a>, declarator: &'a Declarator) -> Type<'a> {
    let mut dims = match &declarator.kind.node {
        DeclaratorKind::Declarator(inner) => {
            let plain = Type { dims: Vec::new(), ..base.clone() };
            derived(plain, &inner.node).dims
        }
        DeclaratorKind::Abstract | DeclaratorKind::Identifier(_) => Vec::new(),
    };
    // `*a[4]` is an array of pointers: what follows a name binds tighter than what precedes it.
    let mut pointers = Vec::new();
    for step in &declarator.derived {
        match &step.node {
            DerivedDeclarator::Pointer(_) | DerivedDeclarator::Block(_) => pointers.push(Dim::Pointer),
            DerivedDeclarator::Array(array) => dims.push(Dim::Array(match &array.node.size {
                ArraySize::VariableExpression(extent) | ArraySize::StaticExpression(extent) => Some(extent),
                ArraySize::Unknown | ArraySize::VariableUnknown => None,
            })),
            DerivedDeclarator::Function(_) | DerivedDeclarator::KRFunction(_) => dims.push(Dim::Function),
        }
    }
    dims.extend(pointers);
    dims.extend(base.dims.iter().cloned());
    Type { dims, ..base }
}

/// The name that a declarator declares.
pub(super) fn name(declarator: &Declarator) -> Option<&Node<Identifier>> {
    match &declarator.kind.node {
        DeclaratorKind::Identifier(name) => Some(name),
        DeclaratorKind::Declarator(inner) => name_of(inner),
        DeclaratorKind::Abstract => None,
    }
}

fn name_of(inner: &Node<Declarator>) -> Option<&Node<Identifier>> {
    name(&inner.node)
}
