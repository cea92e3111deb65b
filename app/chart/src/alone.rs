//! A drawing that stands alone: with its title, its legend, and colours in the place of the page's variables.

use std::fmt::Write as _;

use crate::canvas::{SERIES, VARIABLES};

/// A drawing with its title and a legend, and what it is in words.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// The names of the series, in their order.
    pub legend: Vec<String>,
    /// The drawing, of a width.
    pub svg: String,
    /// The figures behind it, their heads first.
    pub rows: Vec<Vec<String>>,
}

/// Space for the title, and for a line of the legend, in pixels.
const TITLE: u32 = 30;
const LINE: u32 = 20;
/// Names in a line of the legend.
const NAMES: usize = 5;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The value of an attribute of the outermost element, as plotters writes it.
fn number(svg: &str, name: &str) -> u32 {
    let start = svg.find(&format!("{name}=\"")).map_or(0, |at| at + name.len() + 2);
    svg[start..].split('"').next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Figure {
    /// As SVG.
    pub fn to_svg(&self) -> String {
        let (width, height) = (number(&self.svg, "width"), number(&self.svg, "height"));
        let lines = self.legend.len().div_ceil(NAMES) as u32;
        let above = TITLE + LINE * lines + 6;
        let all = height + above;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{all}\" viewBox=\"0 0 {width} {all}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
             <text x=\"8\" y=\"20\" font-size=\"15\" font-weight=\"600\" fill=\"#1b2130\">{}</text>",
            escaped(&self.title)
        );
        for (i, name) in self.legend.iter().enumerate() {
            let x = 14 + (i % NAMES) as u32 * (width.saturating_sub(14) / NAMES as u32);
            let y = TITLE + LINE * (i / NAMES) as u32 + 8;
            let colour = VARIABLES[5 + i % SERIES].1;
            // The colour of an earlier series, with a hole.
            let hole = match i < SERIES {
                true => String::new(),
                false => format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"2\" fill=\"white\"/>"),
            };
            // Writing to a text does not fail.
            let _ = write!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>{hole}<text x=\"{}\" y=\"{}\" fill=\"#1b2130\">{}</text>",
                x + 10,
                y + 4,
                escaped(name)
            );
        }
        let drawing = self.svg.replacen("<svg ", &format!("<svg y=\"{above}\" "), 1);
        svg += &drawing;
        svg += "</svg>\n";
        for (variable, light, _) in VARIABLES {
            svg = svg.replace(&format!("var({variable})"), light);
        }
        svg
    }
}

/// The style of a page: the variables of the page's style sheet in both themes, and what is not of them.
fn style() -> String {
    let mut style =
        ":root{color-scheme:light dark;--page:light-dark(#ffffff,#14171d);--line:light-dark(#d9dee8,#333a47);\
                     --soft:light-dark(#556074,#a3acbb)"
            .to_owned();
    for (variable, light, dark) in VARIABLES {
        let _ = write!(style, ";{variable}:light-dark({light},{dark})");
    }
    style
        + "}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;background:var(--page);\
           color:var(--text)}h1{font-size:1.4rem}h2{font-size:1.05rem;margin:0 0 .3rem}p{color:var(--soft);margin:.2rem 0}\
           figure{margin:0 0 2rem}.wide{overflow-x:auto}svg{max-width:100%;min-width:46rem;height:auto;display:block}\
           .legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.3rem 0}.legend i{display:inline-block;width:.7rem;\
           height:.7rem;border-radius:50%;margin-right:.35rem;box-sizing:border-box}summary{cursor:pointer;padding:.4rem 0}\
           table{border-collapse:collapse;font-size:.9rem}th,td{padding:.2rem .6rem;text-align:right;\
           border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}"
}

/// The legend, as HTML.
fn legend(names: &[String]) -> String {
    let mut legend = String::new();
    for (i, name) in names.iter().enumerate() {
        let variable = VARIABLES[5 + i % SERIES].0;
        // The colour of an earlier series, with a hole.
        let mark = if i < SERIES { "background" } else { "border:.22rem solid;border-color" };
        let _ = write!(legend, "<span><i style=\"{mark}:var({variable})\"></i>{}</span>", escaped(name));
    }
    if legend.is_empty() { legend } else { format!("<div class=\"legend\">{legend}</div>") }
}

/// Figures as one page of HTML that needs nothing else, in the theme of whoever looks at it, each with the numbers behind
/// it; `about` stands above them, a paragraph each.
pub fn html(title: &str, about: &[String], figures: &[Figure]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{1}</style><h1>{0}</h1>\n",
        escaped(title),
        style()
    );
    about.iter().for_each(|text| page += &format!("<p>{}</p>\n", escaped(text)));
    figures.iter().for_each(|figure| page += &figure.to_html());
    page + "</html>\n"
}

impl Figure {
    /// As a part of a page with the variables of the style sheet: title, legend, drawing, and the numbers behind it.
    pub fn to_html(&self) -> String {
        let role = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(&self.title));
        let mut html = format!(
            "<figure><h2>{}</h2>{}<div class=\"wide\">{}</div><details><summary>Figures</summary><div class=\"wide\"><table>",
            escaped(&self.title),
            legend(&self.legend),
            self.svg.replacen("<svg ", &role, 1)
        );
        for (i, row) in self.rows.iter().enumerate() {
            let cell = if i == 0 { "th" } else { "td" };
            html += "<tr>";
            for text in row {
                let _ = write!(html, "<{cell}>{}</{cell}>", escaped(text));
            }
            html += "</tr>";
        }
        html + "</table></div></details></figure>\n"
    }
}

/// Several figures as one drawing, one below the other.
pub fn svg_of_all(figures: &[Figure]) -> String {
    let drawings: Vec<String> = figures.iter().map(Figure::to_svg).collect();
    let [one] = &drawings[..] else {
        let width = drawings.iter().map(|svg| number(svg, "width")).max().unwrap_or_default();
        let mut inside = String::new();
        let mut below = 0;
        for svg in &drawings {
            inside += &svg.replacen("<svg ", &format!("<svg y=\"{below}\" "), 1);
            below += number(svg, "height");
        }
        return format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{below}\" viewBox=\"0 0 {width} {below}\">\
             {inside}</svg>\n"
        );
    };
    one.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_alone() {
        let svg = crate::ranking::draw(&[("a".into(), 2000), ("b<i>".into(), 1000)], Some(900), 640).unwrap();
        let legend = vec!["a".to_owned(), "b<i>".to_owned()];
        let figure = Figure { title: "x & y".into(), legend, svg, rows: vec![vec!["policy".into()]] };
        let svg = figure.to_svg();
        assert!(svg.contains("x &amp; y") && svg.contains("b&lt;i&gt;") && !svg.contains("var(--"), "{svg}");
        assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"), "{svg}");
        // The least stands first.
        let drawing = svg.split("y=\"56\"").nth(1).unwrap();
        assert!(drawing.find("b&lt;i&gt;").unwrap() < drawing.find("\na\n").unwrap(), "{svg}");
        let page = html("t", &["a < b".into()], std::slice::from_ref(&figure));
        assert!(page.contains("<th>policy</th>") && !page.contains("<script") && page.contains("a &lt; b"));
        // It follows the theme, and asks the network for nothing.
        assert!(page.contains("--s0:light-dark(") && page.contains("var(--s0)"), "{page}");
        assert!(!page.contains("href=") && !page.contains("src=") && !page.contains("url("), "{page}");
        let both = svg_of_all(&[figure.clone(), figure]);
        assert_eq!(both.matches("x &amp; y").count(), 2);
    }
}
