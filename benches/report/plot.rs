//! A view as a picture: a panel a case, in it a bar a target, as SVG.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::table::{Cell, Row, Table, number};

/// One target's bar in one panel.
struct Bar<'a> {
    target: &'a str,
    cell: Cell,
}

const WIDTH: u32 = 960;
const COLUMNS: usize = 2;
const BAR: i32 = 18;
const TITLE: i32 = 34;
const HEAD: i32 = 26;
/// For the names of targets, and for numbers behind the bars.
const NAMES: i32 = 105;
const NUMBERS: i32 = 75;
const DIRECT: RGBColor = RGBColor(150, 150, 150);
const OURS: RGBColor = RGBColor(200, 80, 20);
const PEERS: RGBColor = RGBColor(90, 130, 180);
const WHISKER: RGBColor = RGBColor(40, 40, 40);

/// As text of an SVG file.
pub fn svg(title: &str, table: &Table) -> Result<String> {
    let bars = i32::try_from(table.rows.len())?;
    let lines = table.cases.len().div_ceil(COLUMNS);
    let panel = HEAD + bars * BAR + 10;
    let height = TITLE + panel * i32::try_from(lines)?;
    let mut text = String::new();
    {
        let area =
            SVGBackend::with_string(&mut text, (WIDTH, u32::try_from(height)?)).into_drawing_area();
        area.fill(&WHITE)?;
        area.draw(&Text::new(title.to_owned(), (10, 8), ("sans-serif", 18)))?;
        let (_, below) = area.split_vertically(TITLE);
        let panels = below.split_evenly((lines, COLUMNS));
        for ((at, case), area) in table.cases.iter().enumerate().zip(&panels) {
            let bars: Vec<_> = table.rows.iter().map(|row| bar(row, at)).collect();
            draw_panel(area, case, &bars)?;
        }
        area.present()?;
    }
    Ok(text)
}

fn bar(row: &Row, case: usize) -> Bar<'_> {
    Bar {
        target: &row.target,
        cell: row.cells.get(case).copied().unwrap_or(Cell::Missing),
    }
}

fn draw_panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    case: &str,
    bars: &[Bar<'_>],
) -> Result<()> {
    area.draw(&Text::new(case.to_owned(), (10, 6), ("sans-serif", 14)))?;
    let most = bars
        .iter()
        .filter_map(|bar| bar.cell.measured())
        .map(|cell| cell.most)
        .fold(0.0, f64::max);
    let width = f64::from(i32::try_from(area.dim_in_pixel().0)? - NAMES - NUMBERS);
    let x = |value: f64| NAMES + (value / most.max(f64::MIN_POSITIVE) * width) as i32;
    for (index, bar) in bars.iter().enumerate() {
        let top = HEAD + BAR * i32::try_from(index)?;
        area.draw(&Text::new(
            bar.target.to_owned(),
            (10, top + 2),
            ("sans-serif", 12),
        ))?;
        let Cell::Measured(cell) = bar.cell else {
            let word = match bar.cell {
                Cell::Failed => "failed",
                _ => "not measured",
            };
            area.draw(&Text::new(word, (NAMES, top + 2), ("sans-serif", 12)))?;
            continue;
        };
        let corners = [(NAMES, top + 2), (x(cell.median), top + BAR - 3)];
        area.draw(&Rectangle::new(corners, color(bar.target).filled()))?;
        let middle = top + BAR / 2;
        area.draw(&PathElement::new(
            vec![(x(cell.least), middle), (x(cell.most), middle)],
            WHISKER,
        ))?;
        let label = (x(cell.most) + 6, top + 2);
        area.draw(&Text::new(number(cell.median), label, ("sans-serif", 12)))?;
    }
    Ok(())
}

/// Ours is also a tunnel over another transport or with other settings.
fn color(target: &str) -> RGBColor {
    match target {
        "direct" => DIRECT,
        name if name.starts_with("tunnel") => OURS,
        _ => PEERS,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Cell, Measured, Row, Table};

    #[test]
    fn draws_a_bar_for_what_was_measured_and_says_what_was_not() {
        let cell = Measured {
            median: 12.0,
            least: 11.0,
            most: 14.0,
            ahead: false,
        };
        let table = Table {
            cases: vec!["c1".to_owned(), "c<32>".to_owned()],
            rows: vec![Row {
                target: "tunnel".to_owned(),
                cells: vec![Cell::Measured(cell), Cell::Missing],
            }],
        };
        let svg = super::svg("Rate", &table).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        assert!(
            svg.contains("12.0") && svg.contains("not measured"),
            "{svg}"
        );
        assert!(svg.contains("c&lt;32&gt;"), "{svg}");
    }
}
