//! Names of modules as quantisers write them: whole, with `*`, or as regular expressions behind `re:`.

/// What a name is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// A name, or its beginning or its end, in which `*` stands for anything.
    Name(String),
    /// A regular expression that a name begins with.
    Expression(String),
}

impl Pattern {
    /// As it stands in a file.
    pub(super) fn new(text: &str) -> Self {
        match text.strip_prefix("re:") {
            Some(expression) => Self::Expression(expression.to_owned()),
            None => Self::Name(plain(text).to_owned()),
        }
    }

    /// Whether it means the module `name`.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Expression(text) => {
                let text: Vec<char> = text.chars().collect();
                // A file may name modules of a model inside another one.
                [name.to_owned(), format!("model.language_model.{}", plain(name))]
                    .iter()
                    .any(|name| at_start(&text, &name.chars().collect::<Vec<_>>()))
            }
            Self::Name(text) => {
                let name = plain(name);
                let (parts, segments): (Vec<&str>, Vec<&str>) = (text.split('.').collect(), name.split('.').collect());
                // Whole segments, anywhere in the name.
                segments.windows(parts.len()).any(|run| run.iter().zip(&parts).all(|(of, part)| glob(part, of)))
                    || (text.contains('*') && glob(text, name))
            }
        }
    }
}

/// A name without the beginnings that differ from library to library.
fn plain(name: &str) -> &str {
    let name = name.strip_prefix("model.").unwrap_or(name);
    let name = name.strip_prefix("language_model.").unwrap_or(name);
    name.strip_prefix("model.").unwrap_or(name)
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Steps of matching after which an expression counts as one that does not match: none of a real file needs so many.
const MOST_STEPS: u32 = 20_000;

/// Whether `text` begins like the expression says: literals, `.`, `\d`, `\w`, sets, groups with `|`, and `*`, `+`, `?`.
fn at_start(expression: &[char], text: &[char]) -> bool {
    let mut steps = 0;
    sequence(expression, text, &mut |_| true, &mut steps)
}

/// Where the alternatives of an expression begin and end.
fn alternatives(expression: &[char]) -> Vec<&[char]> {
    let (mut all, mut depth, mut start, mut at) = (Vec::new(), 0u32, 0, 0);
    while let Some(c) = expression.get(at) {
        match c {
            '\\' => at += 1,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                all.push(expression.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    all.push(expression.get(start..).unwrap_or_default());
    all
}

/// One element of an expression.
enum Atom<'a> {
    Any,
    Digit,
    Word,
    Literal(char),
    Set(&'a [char]),
    Group(&'a [char]),
    Start,
    End,
}

/// The first element, and how long it is.
fn atom(expression: &[char]) -> Option<(Atom<'_>, usize)> {
    Some(match expression {
        ['\\', 'd', ..] => (Atom::Digit, 2),
        ['\\', 'w', ..] => (Atom::Word, 2),
        ['\\', c, ..] => (Atom::Literal(*c), 2),
        ['.', ..] => (Atom::Any, 1),
        ['^', ..] => (Atom::Start, 1),
        ['$', ..] => (Atom::End, 1),
        ['[', rest @ ..] => {
            let length = rest.iter().position(|c| *c == ']')?;
            (Atom::Set(rest.get(..length)?), length + 2)
        }
        ['(', rest @ ..] => {
            let (mut depth, mut length) = (1u32, 0);
            while depth > 0 {
                match rest.get(length)? {
                    '\\' => length += 1,
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                length += 1;
            }
            let inside = rest.get(..length - 1)?;
            let inside = inside.strip_prefix(&['?', ':'][..]).unwrap_or(inside);
            (Atom::Group(inside), length + 1)
        }
        [c, ..] => (Atom::Literal(*c), 1),
        [] => return None,
    })
}

/// Whether `c` is one of a set such as `0-9_`.
fn in_set(set: &[char], c: char) -> bool {
    let (not, mut set) = match set {
        ['^', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let mut found = false;
    loop {
        match set {
            [from, '-', to, rest @ ..] => {
                found |= (*from..=*to).contains(&c);
                set = rest;
            }
            [one, rest @ ..] => {
                found |= *one == c;
                set = rest;
            }
            [] => return found != not,
        }
    }
}

fn sequence(expression: &[char], text: &[char], then: &mut dyn FnMut(&[char]) -> bool, steps: &mut u32) -> bool {
    *steps += 1;
    if *steps > MOST_STEPS {
        return false;
    }
    let all = alternatives(expression);
    if all.len() > 1 {
        return all.into_iter().any(|one| sequence(one, text, then, steps));
    }
    let Some((atom, length)) = atom(expression) else { return expression.is_empty() && then(text) };
    let rest = expression.get(length..).unwrap_or_default();
    let (least, most, rest) = match rest {
        ['*', rest @ ..] => (0, usize::MAX, rest),
        ['+', rest @ ..] => (1, usize::MAX, rest),
        ['?', rest @ ..] => (0, 1, rest),
        rest => (1, 1, rest),
    };
    repeat(&atom, (least, most), text, rest, then, steps)
}

/// As often as it goes, and less often where the rest does not follow.
fn repeat(
    atom: &Atom<'_>,
    (least, most): (usize, usize),
    text: &[char],
    rest: &[char],
    then: &mut dyn FnMut(&[char]) -> bool,
    steps: &mut u32,
) -> bool {
    *steps += 1;
    if *steps > MOST_STEPS {
        return false;
    }
    if most > 0 {
        let next = (least.saturating_sub(1), most.saturating_sub(1));
        let mut counted = *steps;
        let more = match atom {
            Atom::Group(inside) => {
                let mut behind =
                    |left: &[char]| left.len() < text.len() && repeat(atom, next, left, rest, then, &mut counted);
                sequence(inside, text, &mut behind, steps)
            }
            Atom::Start | Atom::End => false,
            one => match text {
                [c, left @ ..] if single(one, *c) => repeat(atom, next, left, rest, then, steps),
                _ => false,
            },
        };
        *steps = (*steps).max(counted);
        if more {
            return true;
        }
    }
    match atom {
        Atom::Start => sequence(rest, text, then, steps),
        Atom::End => text.is_empty() && sequence(rest, text, then, steps),
        _ => least == 0 && sequence(rest, text, then, steps),
    }
}

fn single(atom: &Atom<'_>, c: char) -> bool {
    match atom {
        Atom::Any => true,
        Atom::Digit => c.is_ascii_digit(),
        Atom::Word => c.is_ascii_alphanumeric() || c == '_',
        Atom::Literal(wanted) => c == *wanted,
        Atom::Set(set) => in_set(set, c),
        Atom::Group(_) | Atom::Start | Atom::End => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_as_quantisers_write_them() {
        let q = "model.layers.12.self_attn.q_proj";
        for (pattern, name, wanted) in [
            ("lm_head", "lm_head", true),
            ("lm_head", q, false),
            ("self_attn", q, true),
            ("q_proj", q, true),
            ("attn", q, false),
            ("model.layers.12.self_attn.q_proj", q, true),
            ("model.layers.1.self_attn.q_proj", q, false),
            ("language_model.model.layers.12.self_attn.q_proj", q, true),
            ("model.layers.*.self_attn", q, true),
            ("*lm_head", "lm_head", true),
            ("model.layers.12*", q, true),
            ("gate", "model.layers.0.mlp.gate", true),
            ("gate", "model.layers.0.mlp.gate_proj", false),
            ("re:.*self_attn.*", q, true),
            ("re:.*mlp\\.(gate|up|gate_up|down)_proj.*", "model.layers.0.mlp.up_proj", true),
            ("re:.*mlp\\.(gate|up|gate_up|down)_proj.*", "model.layers.0.mlp.experts.1.up_proj", false),
            ("re:model\\.layers\\.\\d+\\.self_attn\\.[qk]_proj$", q, true),
            ("re:model\\.layers\\.[0-9]\\.self_attn.*", q, false),
            ("re:(a|b)+c?d", "abbad", true),
            ("re:self_attn", q, false),
            ("re:.*lm_head", "lm_head", true),
            ("re:.*(", q, false),
            ("re:(.*)*(.*)*(.*)*x", q, false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), wanted, "{pattern} on {name}");
        }
    }
}
