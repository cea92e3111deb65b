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
            // Writing to a text does not fail.
            let _ = write!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\" fill=\"#1b2130\">{}</text>",
                x + 10,
                y + 4,
                escaped(name)
            );
        }
        let drawing = self.svg.replacen("<svg ", &format!("<svg y=\"{above}\" "), 1);
        svg += &drawing;
        svg += "</svg>\n";
        for (variable, colour) in VARIABLES {
            svg = svg.replace(&format!("var({variable})"), colour);
        }
        svg
    }
}

/// Figures as one page of HTML that needs nothing else, each with the numbers behind it.
pub fn html(title: &str, figures: &[Figure]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         svg{{max-width:100%;height:auto}}table{{border-collapse:collapse;font-size:.9rem}}\
         th,td{{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #d9dee8}}th:first-child,td:first-child{{text-align:left}}\
         </style><h1>{0}</h1>\n",
        escaped(title)
    );
    for figure in figures {
        page += &figure.to_svg();
        page += "<details><summary>Figures</summary><table>";
        for (i, row) in figure.rows.iter().enumerate() {
            let cell = if i == 0 { "th" } else { "td" };
            page += "<tr>";
            for text in row {
                let _ = write!(page, "<{cell}>{}</{cell}>", escaped(text));
            }
            page += "</tr>";
        }
        page += "</table></details>\n";
    }
    page + "</html>\n"
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
        let page = html("t", &[figure]);
        assert!(page.contains("<th>policy</th>") && !page.contains("<script"));
    }
}
