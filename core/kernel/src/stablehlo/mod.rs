//! StableHLO text, as `jax.jit(f).lower(x).as_text()` and `torch_xla` print it: each operation is written as the call of
//! NumPy or JAX that it is, on a line of its own, and read as Python. Lines keep their numbers; what spans several
//! (`regions`) leaves the others empty.

mod regions;

use std::fmt::Write as _;

use self::regions::Line;

use super::nest::{At, Kernel};
use super::python;
use super::source::{Fusion, Source, check_length, refuse};
use accel_ground::error::Error;

/// Operations that are functions of their operands, and what they are called in Python.
const FUNCTIONS: [(&str, &str); 42] = [
    ("add", "np.add"),
    ("subtract", "np.subtract"),
    ("multiply", "np.multiply"),
    ("divide", "np.divide"),
    ("remainder", "np.remainder"),
    ("power", "np.power"),
    ("maximum", "np.maximum"),
    ("minimum", "np.minimum"),
    ("atan2", "np.arctan2"),
    ("and", "np.logical_and"),
    ("or", "np.logical_or"),
    ("not", "np.logical_not"),
    ("select", "np.where"),
    ("clamp", "clamp"),
    ("abs", "np.abs"),
    ("negate", "np.negative"),
    ("sign", "np.sign"),
    ("exponential", "np.exp"),
    ("exponential_minus_one", "np.expm1"),
    ("log", "np.log"),
    ("log_plus_one", "np.log1p"),
    ("logistic", "sigmoid"),
    ("sqrt", "np.sqrt"),
    ("rsqrt", "rsqrt"),
    ("cbrt", "np.cbrt"),
    ("sine", "np.sin"),
    ("cosine", "np.cos"),
    ("tan", "np.tan"),
    ("tanh", "np.tanh"),
    ("floor", "np.floor"),
    ("ceil", "np.ceil"),
    ("round_nearest_even", "np.rint"),
    ("round_nearest_afz", "np.round"),
    ("is_finite", "np.isfinite"),
    ("optimization_barrier", ""),
    ("erf", "erf"),
    ("dot", "np.matmul"),
    ("copy", "np.copy"),
    ("dot_general", ""),
    ("reduce", ""),
    ("broadcast_in_dim", ""),
    ("reshape", ""),
];

/// Reductions by the operation that they apply.
const REDUCTIONS: [(&str, &str); 6] = [
    ("add", "np.sum"),
    ("multiply", "np.prod"),
    ("maximum", "np.amax"),
    ("minimum", "np.amin"),
    ("and", "np.all"),
    ("or", "np.any"),
];

/// Reads a kernel.
pub fn read(source: &Source) -> Result<Kernel, Error> {
    check_length(source.code)?;
    let code = as_python(source.code)?;
    let main = code.contains("def main(").then_some("main");
    // It is what XLA compiles.
    let fusion = if source.fusion == Fusion::None { Fusion::None } else { Fusion::Graph };
    python::read(&Source { code: &code, function: source.function.or(main), fusion, ..*source })
}

/// The Python that a module of StableHLO is.
fn as_python(code: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(code.len());
    for (number, (depth, line)) in regions::lines(code)?.into_iter().enumerate() {
        let at = At { line: number as u32 + 1, column: 1 };
        let (written, outside) = match &line {
            Line::Python(written) => (written.clone(), false),
            Line::Operation(line) => (statement(line, at)?, line.starts_with("func.func")),
        };
        if !written.is_empty() {
            let indent = if outside { String::new() } else { "    ".repeat(depth + 1) };
            let _ = write!(out, "{indent}{written}");
        }
        out.push('\n');
    }
    Ok(out)
}

/// What a line is in Python; nothing for what only groups others.
fn statement(line: &str, at: At) -> Result<String, Error> {
    if let Some(signature) = line.strip_prefix("func.func") {
        return function(signature, at);
    }
    if line.starts_with("return") || line.starts_with("func.return") || line.starts_with("stablehlo.return") {
        let values: Vec<String> = operands(line.split(':').next().unwrap_or(line));
        return Ok(format!("return {}", values.join(", ")));
    }
    let Some((target, operation)) = line.split_once('=').filter(|_| line.starts_with('%')) else {
        return match line {
            "" | "}" | "{" => Ok(String::new()),
            line if line.starts_with("//") || line.starts_with('#') || line.starts_with("module") => Ok(String::new()),
            _ => Err(refuse(at, "this line of StableHLO is not read", "Print it with one operation on each line")),
        };
    };
    let targets: Vec<String> = operands(target);
    let value = value(operation.trim(), at)?;
    Ok(format!("{} = {value}", targets.join(", ")))
}

/// `public @main(%arg0: tensor<2x4xf32>) -> tensor<2x4xf32> {`
fn function(signature: &str, at: At) -> Result<String, Error> {
    let wrong =
        || refuse(at, "this function of StableHLO is not read", "Write `func.func @main(%a: tensor<2x4xf32>) -> ...`");
    let (_, rest) = signature.split_once('@').ok_or_else(wrong)?;
    let (name, rest) = rest.split_once('(').ok_or_else(wrong)?;
    let parameters = rest.split("->").next().unwrap_or(rest);
    let mut written = Vec::new();
    for parameter in parameters.split('%').skip(1) {
        let (own, kind) = parameter.split_once(':').ok_or_else(wrong)?;
        let (element, dims) = tensor(kind).ok_or_else(wrong)?;
        let annotation = if dims.is_empty() { element } else { format!("{element}[{}]", dims.join(", ")) };
        written.push(format!("{}: \"{annotation}\"", variable(own)));
    }
    Ok(format!("def {}({}):", variable(name), written.join(", ")))
}

/// What an operation makes.
fn value(operation: &str, at: At) -> Result<String, Error> {
    let call = operation.strip_prefix("call").or_else(|| operation.strip_prefix("func.call"));
    if let Some((name, rest)) = call.and_then(|call| call.trim().strip_prefix('@')?.split_once('(')) {
        return Ok(format!("{}({})", variable(name), operands(rest.split(')').next().unwrap_or(rest)).join(", ")));
    }
    let full = operation.trim_start_matches('"');
    let name: String = full.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '_')).collect();
    let Some(short) =
        name.strip_prefix("stablehlo.").or_else(|| name.strip_prefix("chlo.")).or_else(|| name.strip_prefix("mhlo."))
    else {
        let problem = format!("`{name}` is no operation of StableHLO");
        return Err(refuse(at, problem, "Give StableHLO, such as `jax.jit(f).lower(x).as_text()` prints"));
    };
    let rest = full.get(name.len()..).unwrap_or_default();
    let (body, types) = rest.split_once(" : ").unwrap_or((rest, ""));
    let result = types.rsplit("->").next().unwrap_or(types);
    let result = tensor(result);
    let own = operands(body.split("dim_numbers").next().unwrap_or(body));
    let first = own.first().cloned().unwrap_or_default();
    let wrong =
        |what: &str| refuse(at, format!("{what} of `{name}` are not read"), "Print it as StableHLO's pretty form");
    let dims = result.clone().map(|(_, dims)| dims).unwrap_or_default();
    let tuple = |parts: &[String]| match parts {
        [] => "()".to_owned(),
        parts => format!("({},)", parts.join(", ")),
    };
    match short {
        "constant" => Ok(match dims.as_slice() {
            // A number for all elements is no array.
            _ if !body.contains(',') && !body.contains('"') => number(body),
            dims => format!("np.zeros({})", tuple(dims)),
        }),
        "dot_general" => {
            let pair = |key: &str| -> Option<(Vec<String>, Vec<String>)> {
                let rest = body.split_once(key)?.1;
                let mut lists = lists(rest);
                Some((lists.next()?, lists.next()?))
            };
            let (a, b) = pair("contracting_dims").ok_or_else(|| wrong("the dimensions"))?;
            let (c, d) = pair("batching_dims").unwrap_or_default();
            let [x, y] = own.as_slice() else { return Err(wrong("the operands")) };
            Ok(format!("lax.dot_general({x}, {y}, (({}, {}), ({}, {})))", tuple(&a), tuple(&b), tuple(&c), tuple(&d)))
        }
        "reduce" => {
            let applied = body.split_once("applies").map(|(_, rest)| rest.trim()).unwrap_or_default();
            let by = REDUCTIONS.iter().find(|(own, _)| applied.starts_with(&format!("stablehlo.{own} ")));
            let axes = body.split_once("dimensions").and_then(|(_, rest)| lists(rest).next());
            match (by, axes) {
                (Some((_, function)), Some(axes)) => Ok(format!("{function}({first}, axis={})", tuple(&axes))),
                _ => Err(wrong("the operation and the dimensions")),
            }
        }
        "broadcast_in_dim" => {
            let along = lists(body).next().unwrap_or_default();
            let of = types.split("->").next().and_then(tensor).map(|(_, dims)| dims).unwrap_or_default();
            if of.is_empty() {
                return Ok(first);
            }
            let places: Vec<usize> = along.iter().filter_map(|axis| axis.parse().ok()).collect();
            let units: Vec<String> = (0..dims.len())
                .map(|own| match places.iter().position(|place| *place == own) {
                    Some(at) => of.get(at).cloned().unwrap_or_else(|| "1".to_owned()),
                    None => "1".to_owned(),
                })
                .collect();
            Ok(format!("np.broadcast_to(np.reshape({first}, {}), {})", tuple(&units), tuple(&dims)))
        }
        "reshape" if dims.is_empty() => Ok(first),
        "reshape" => Ok(format!("np.reshape({first}, {})", tuple(&dims))),
        "transpose" => {
            let order = lists(body).next().ok_or_else(|| wrong("the dimensions"))?;
            Ok(format!("np.transpose({first}, {})", tuple(&order)))
        }
        "convert" => match (result, dims.is_empty()) {
            (Some((element, _)), false) => Ok(format!("{first}.to(\"{element}\")")),
            _ => Ok(first),
        },
        "iota" => Ok(format!("np.zeros({})", tuple(&dims))),
        "compare" => Ok(format!("np.equal({})", own.join(", "))),
        "concatenate" => {
            let axis = body.split_once("dim =").map(|(_, axis)| axis.trim()).unwrap_or("0");
            Ok(format!("np.concatenate([{}], axis={axis})", own.join(", ")))
        }
        "slice" => {
            let ranges = lists(body).next().ok_or_else(|| wrong("the ranges"))?;
            Ok(format!("{first}[{}]", ranges.join(", ")))
        }
        "convolution" => convolution(body, &own).ok_or_else(|| wrong("the dimensions")),
        "custom_call" => Err(refuse(at, "what a custom call costs is not known", "Replace it by its operations")),
        short => match FUNCTIONS.iter().find(|(own, _)| *own == short) {
            Some((_, "")) => Ok(first),
            Some((_, function)) => Ok(format!("{function}({})", own.join(", "))),
            None => {
                let near = python::nearest(short, FUNCTIONS.iter().map(|(own, _)| *own)).join(", ");
                let problem = format!("what `{name}` costs is not known");
                Err(refuse(at, problem, format!("Known operations nearest to it are {near}")))
            }
        },
    }
}

/// A convolution of images: `dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f], window = {stride = [1, 1]}`.
fn convolution(body: &str, own: &[String]) -> Option<String> {
    let [x, w] = own else { return None };
    let mut numbers = lists(body.split_once("dim_numbers")?.1);
    let (image, filter, result) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let axes = image.len().checked_sub(2)?;
    let order = |from: &[String], first: [&str; 2]| -> Option<Vec<usize>> {
        let spatial = (0..axes).map(|axis| axis.to_string());
        let names = first.into_iter().map(str::to_owned).chain(spatial);
        names.map(|name| from.iter().position(|own| *own == name)).collect()
    };
    let text = |order: &[usize]| order.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let (x_order, w_order) = (order(&image, ["b", "f"])?, order(&filter, ["o", "i"])?);
    let back = order(&result, ["b", "f"])?;
    let mut inverse = vec![0; back.len()];
    for (to, from) in back.iter().enumerate() {
        *inverse.get_mut(*from)? = to;
    }
    let option = |key: &str| body.split_once(key).and_then(|(_, rest)| lists(rest).next());
    let stride = option("stride").unwrap_or_else(|| vec!["1".to_owned(); axes]);
    let dilation = option("rhs_dilate").unwrap_or_else(|| vec!["1".to_owned(); axes]);
    let pad = body.split_once("pad =").map(|(_, rest)| lists(rest).skip(1).take(axes).collect::<Vec<_>>());
    let padding: Vec<String> = (0..axes)
        .map(|axis| pad.as_ref().and_then(|pad| pad.get(axis)?.first().cloned()).unwrap_or_else(|| "0".to_owned()))
        .collect();
    let groups = body
        .split_once("feature_group_count =")
        .map_or("1", |(_, rest)| rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or("1"));
    let function = match axes {
        1 => "conv1d",
        2 => "conv2d",
        3 => "conv3d",
        _ => return None,
    };
    Some(format!(
        "np.transpose(F.{function}(np.transpose({x}, ({},)), np.transpose({w}, ({},)), None, ({},), ({},), ({},), {groups}), ({},))",
        text(&x_order),
        text(&w_order),
        stride.join(", "),
        padding.join(", "),
        dilation.join(", "),
        text(&inverse)
    ))
}

/// The values that a text names: `%0`, `%arg1`.
fn operands(text: &str) -> Vec<String> {
    text.split('%').skip(1).map(variable).filter(|name| !name.is_empty()).collect()
}

/// A name of Python for the name at the start of a text.
fn variable(text: &str) -> String {
    let name: String =
        text.trim().chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '-' | '#')).collect();
    let name = name.replace(['$', '.', '-', '#'], "_");
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("v{name}") } else { name }
}

/// Lists in brackets, in order: `[0] x [1]`.
fn lists(text: &str) -> impl Iterator<Item = Vec<String>> {
    text.split('[').skip(1).map(|part| {
        let inside = part.split(']').next().unwrap_or_default();
        inside.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    })
}

/// `dense<1.0>` as a number.
fn number(body: &str) -> String {
    let text = body.split_once('<').map_or("0.0", |(_, rest)| rest.split('>').next().unwrap_or("0.0")).trim();
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && text.contains(['.', 'e', 'E']) => format!("{value:?}"),
        Ok(value) if value.is_finite() => text.to_owned(),
        // Patterns of bits, infinities, truth values: their value has no cost.
        _ => "0.0".to_owned(),
    }
}

/// The type and the extents of `tensor<2x4xf32>`.
fn tensor(text: &str) -> Option<(String, Vec<String>)> {
    let inside = text.split_once("tensor<")?.1.split(['>', ',']).next()?;
    let mut parts: Vec<String> = inside.split('x').map(str::to_owned).collect();
    let element = parts.pop()?;
    let element = match element.as_str() {
        "i1" => "i8".to_owned(),
        other => other.strip_prefix('u').unwrap_or(other).replace("ui", "i"),
    };
    Some((element, parts))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::count::count;
    use crate::nest::Element;
    use crate::report::Count;

    fn flops(code: &str) -> Result<Count, Error> {
        let (defines, element, probability) = (BTreeMap::new(), Element::F32, 0.5);
        let (function, fusion, backward) = (None, Fusion::None, false);
        let source = Source { code, function, defines: &defines, shapes: &[], element, probability, fusion, backward };
        Ok(count(&read(&source)?.program)?.flops.count)
    }

    /// As `jax.jit(lambda x, w, b: jax.nn.softmax(jnp.tanh(x @ w + b))).lower(...).as_text()` prints it.
    const LAYER: &str = r#"module @jit__lambda attributes {mhlo.num_partitions = 1 : i32, mhlo.num_replicas = 1 : i32} {
  func.func public @main(%arg0: tensor<8x16xf32>, %arg1: tensor<16x32xf32>, %arg2: tensor<32xf32>) -> (tensor<8x32xf32> {jax.result_info = "result"}) {
    %0 = stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0], precision = [DEFAULT, DEFAULT] : (tensor<8x16xf32>, tensor<16x32xf32>) -> tensor<8x32xf32>
    %1 = stablehlo.broadcast_in_dim %arg2, dims = [1] : (tensor<32xf32>) -> tensor<1x32xf32>
    %2 = stablehlo.broadcast_in_dim %1, dims = [0, 1] : (tensor<1x32xf32>) -> tensor<8x32xf32>
    %3 = stablehlo.add %0, %2 : tensor<8x32xf32>
    %4 = stablehlo.tanh %3 : tensor<8x32xf32>
    %cst = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %5 = stablehlo.reduce(%4 init: %cst) applies stablehlo.maximum across dimensions = [1] : (tensor<8x32xf32>, tensor<f32>) -> tensor<8xf32>
    %6 = stablehlo.broadcast_in_dim %5, dims = [0] : (tensor<8xf32>) -> tensor<8x1xf32>
    %7 = stablehlo.broadcast_in_dim %6, dims = [0, 1] : (tensor<8x1xf32>) -> tensor<8x32xf32>
    %8 = stablehlo.subtract %4, %7 : tensor<8x32xf32>
    %9 = stablehlo.exponential %8 : tensor<8x32xf32>
    return %9 : tensor<8x32xf32>
  }
}
"#;

    #[test]
    fn operations_cost_what_they_cost_in_python() {
        // Products, a sum, a hyperbolic tangent, a maximum, a difference, an exponential.
        assert_eq!(flops(LAYER).unwrap(), Count::Whole(2 * 8 * 16 * 32 + 5 * 8 * 32));
        let image = "func.func @main(%a: tensor<1x8x8x3xf32>, %b: tensor<3x3x3x4xf32>) -> tensor<1x8x8x4xf32> {\n\
            %0 = stablehlo.convolution(%a, %b) dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f], window = \
            {stride = [1, 1], pad = [[1, 1], [1, 1]]} {batch_group_count = 1 : i64, feature_group_count = 1 : i64} : \
            (tensor<1x8x8x3xf32>, tensor<3x3x3x4xf32>) -> tensor<1x8x8x4xf32>\n return %0 : tensor<1x8x8x4xf32>\n}\n";
        assert_eq!(flops(image).unwrap(), Count::Whole(2 * 8 * 8 * 4 * 27));
    }

    /// A function of an array of 16 x 32 elements with that body.
    fn of(body: &str) -> String {
        format!(
            "module @jit_f {{\n func.func public @main(%arg0: tensor<16x32xf32>) -> tensor<16xf32> {{\n{body}\n }}\n}}\n"
        )
    }

    #[test]
    fn reductions_with_regions_are_those_with_operations() {
        let wanted = Count::Whole(16 * 32);
        for (operation, dimensions, between) in [
            ("add", "array<i64: 1>", ""),
            ("maximum", "dense<1> : tensor<1xi64>", "    ^bb0(%a: tensor<f32>, %b: tensor<f32>):\n"),
        ] {
            let generic = format!(
                "%cst = stablehlo.constant dense<0.0> : tensor<f32>\n%0 = \"stablehlo.reduce\"(%arg0, %cst) ({{\n{between}\
                 %1 = stablehlo.{operation} %a, %b : tensor<f32>\nstablehlo.return %1 : tensor<f32>\n\
                 }}) {{dimensions = {dimensions}}} : (tensor<16x32xf32>, tensor<f32>) -> tensor<16xf32>\nreturn %0 : tensor<16xf32>"
            );
            assert_eq!(flops(&of(&generic)).unwrap(), wanted, "{generic}");
        }
        let pretty = "%cst = stablehlo.constant dense<0.0> : tensor<f32>\n\
            %0 = stablehlo.reduce(%arg0 init: %cst) across dimensions = [1] : (tensor<16x32xf32>, tensor<f32>) -> tensor<16xf32>\n\
            reducer(%a: tensor<f32>, %b: tensor<f32>)  {\n%1 = stablehlo.minimum %a, %b : tensor<f32>\n\
            stablehlo.return %1 : tensor<f32>\n}\nreturn %0 : tensor<16xf32>";
        assert_eq!(flops(&of(pretty)).unwrap(), wanted);
        for (from, to, says) in [
            ("stablehlo.minimum %a, %b", "stablehlo.power %a, %b", "by `stablehlo.power` is not read"),
            ("stablehlo.return", "%2 = stablehlo.add %1, %1 : tensor<f32>\nstablehlo.return", "several operations"),
        ] {
            let error = flops(&of(&pretty.replacen(from, to, 1))).unwrap_err().to_string();
            assert!(error.contains("line 4") && error.contains(says), "{error}");
        }
    }

    /// As `lax.fori_loop(0, 100, lambda i, v: v * 2.0 + v, x)` prints it.
    const LOOP: &str = "%c = stablehlo.constant dense<0> : tensor<i32>
%0:2 = stablehlo.while(%iterArg = %arg0, %iterArg_0 = %c) : tensor<16x32xf32>, tensor<i32>
 cond {
  %c_1 = stablehlo.constant dense<100> : tensor<i32>
  %2 = stablehlo.compare  LT, %iterArg_0, %c_1,  SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
  stablehlo.return %2 : tensor<i1>
} do {
  %c_1 = stablehlo.constant dense<1> : tensor<i32>
  %2 = stablehlo.add %iterArg_0, %c_1 : tensor<i32>
  %cst = stablehlo.constant dense<2.0> : tensor<f32>
  %3 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<16x32xf32>
  %4 = stablehlo.multiply %iterArg, %3 : tensor<16x32xf32>
  %5 = stablehlo.add %4, %iterArg : tensor<16x32xf32>
  stablehlo.return %5, %2 : tensor<16x32xf32>, tensor<i32>
}
%6 = stablehlo.exponential %0#0 : tensor<16x32xf32>
return %6 : tensor<16x32xf32>";

    #[test]
    fn loops_that_count_are_loops() {
        let each = 16 * 32;
        assert_eq!(flops(&of(LOOP)).unwrap(), Count::Whole(100 * 2 * each + each));
        let by_seven = LOOP.replacen("dense<1>", "dense<7>", 1);
        assert_eq!(flops(&of(&by_seven)).unwrap(), Count::Whole(15 * 2 * each + each));
        let and_the_bound = LOOP.replacen(" LT,", " LE,", 1);
        assert_eq!(flops(&of(&and_the_bound)).unwrap(), Count::Whole(101 * 2 * each + each));
        for (from, to, says) in [
            ("dense<100>", "dense<1.5>", "when this loop ends"),
            ("%iterArg_0 = %c)", "%iterArg_0 = %d)", "starts is not known"),
            ("stablehlo.add %iterArg_0", "stablehlo.multiply %iterArg_0", "by how much this loop counts"),
            ("} do {", "} otherwise {", "this form of a loop"),
        ] {
            let error = flops(&of(&LOOP.replacen(from, to, 1))).unwrap_err().to_string();
            assert!(error.contains("line 4") && error.contains(says), "{from}: {error}");
        }
        let (head, _) = LOOP.split_once("\n}\n%6").unwrap();
        let cut = format!("func.func @main(%arg0: tensor<16x32xf32>) -> tensor<16xf32> {{\n{head}");
        assert!(flops(&cut).unwrap_err().to_string().contains("does not close"));
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        for (line, words) in [
            ("%0 = stablehlo.tanhh %a : tensor<4xf32>", "tanh"),
            ("%0 = arith.addf %a, %a : f32", "no operation of StableHLO"),
            ("stablehlo.custom", "one operation on each line"),
            ("%0 = stablehlo.custom_call @f(%a) : (tensor<4xf32>) -> tensor<4xf32>", "custom call"),
        ] {
            let code = format!("func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {{\n{line}\n return %0 : t\n}}\n");
            let error = flops(&code).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(words), "{line}: {error}");
        }
    }
}
