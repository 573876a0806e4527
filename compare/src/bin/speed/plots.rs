//! Pictures. Each has a white ground of its own, so that it can be read on a dark page too.

use std::path::Path;

use plotters::{
    coord::{Shift, combinators::LogCoord},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    Result,
    cases::{Group, short},
    measure::Row,
    table::figure,
};

const FONT: &str = "sans-serif";
const WIDTH: u32 = 1080;

/// The limit grey, boucle red, then colours that can be told apart, also by the colour-blind.
const COLOURS: [RGBColor; 11] = [
    RGBColor(150, 150, 150),
    RGBColor(204, 36, 29),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(110, 90, 60),
    RGBColor(70, 70, 70),
    RGBColor(120, 94, 240),
    RGBColor(170, 190, 40),
];

/// A panel for each row of the first table, a bar for each subject, shorter is better.
pub(crate) fn bars(path: &Path, group: &Group, rows: &[Row]) -> Result<()> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.first).collect();
    let columns = 3.min(rows.len());
    let lines = rows.len().div_ceil(columns);
    let panel_height = 46 + 17 * group.subjects.len() as u32;
    let size = (WIDTH, 44 + panel_height * lines as u32);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{}: nanoseconds of CPU per operation, shorter is better", group.title);
    let root = root.titled(&title, (FONT, 20))?;
    for (row, panel) in rows.iter().zip(root.split_evenly((lines, columns))) {
        panel_of_bars(&panel.margin(4, 4, 8, 8), group, row)?;
    }
    Ok(root.present()?)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn panel_of_bars(area: &Area<'_>, group: &Group, row: &Row) -> Result<()> {
    const LABELS: i32 = 135;
    const FIGURES: i32 = 50;
    const LINE: i32 = 17;
    let dark = RGBColor(30, 30, 30);
    let heading = (FONT, 14).into_font().style(FontStyle::Bold).color(&dark);
    let title = row.series.title(row.size).replace('`', "");
    area.draw(&Text::new(title, (0, 4), heading))?;
    let longest = longest_whole(row, group.subjects.len());
    let room = (area.dim_in_pixel().0 as i32 - LABELS - FIGURES) as f64;
    let text = |at: HPos| {
        (FONT, 12).into_font().color(&dark).pos(Pos::new(at, VPos::Center)).into_text_style(area)
    };
    for (n, subject) in group.subjects.iter().enumerate() {
        let y = 32 + n as i32 * LINE;
        area.draw(&Text::new(subject.name, (LABELS - 6, y), text(HPos::Right)))?;
        let time = row.median(n);
        let share = time.map_or(0.0, |time| time / longest);
        let end = LABELS + (share.min(1.0) * room) as i32;
        if time.is_some() {
            let bar = [(LABELS, y - LINE / 2 + 2), (end.max(LABELS + 1), y + LINE / 2 - 2)];
            area.draw(&Rectangle::new(bar, COLOURS[n].filled()))?;
        }
        if share > 1.0 {
            let cut = [(end - 14, y + LINE / 2), (end - 8, y - LINE / 2)];
            area.draw(&PathElement::new(cut, WHITE.stroke_width(3)))?;
        }
        let words = time.map_or("-".to_owned(), figure);
        area.draw(&Text::new(words, (end + 4, y), text(HPos::Left)))?;
    }
    Ok(())
}

/// What the longest bar stands for. One that is many times longer than all others is cut short, so
/// that these can be seen; its figure stands beside it.
fn longest_whole(row: &Row, subjects: usize) -> f64 {
    let mut times: Vec<f64> = (0..subjects).filter_map(|n| row.median(n)).collect();
    times.sort_by(f64::total_cmp);
    match times[..] {
        [.., second, last] if last > 8.0 * second => second * 1.5,
        [.., last] => last,
        [] => 1.0,
    }
}

/// A panel for each series that grows, a line for each subject; both axes are logarithmic.
pub(crate) fn growth(path: &Path, group: &Group, rows: &[Row]) -> Result<()> {
    let series: Vec<_> = group.series.iter().filter(|series| series.grows()).collect();
    // One panel more, for who is who.
    let columns = 3.min(series.len() + 1);
    let lines = (series.len() + 1).div_ceil(columns);
    let root = SVGBackend::new(path, (WIDTH, 44 + 300 * lines as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{}: nanoseconds of CPU per operation, as n grows", group.title);
    let root = root.titled(&title, (FONT, 20))?;
    let panels = root.split_evenly((lines, columns));
    for (series, panel) in series.iter().zip(&panels) {
        let rows: Vec<&Row> =
            rows.iter().filter(|row| row.series.workload == series.workload).collect();
        panel_of_lines(&panel.margin(4, 4, 8, 8), group, &rows)?;
    }
    legend(&panels[series.len()].margin(30, 4, 30, 8), group)?;
    Ok(root.present()?)
}

fn panel_of_lines(area: &Area<'_>, group: &Group, rows: &[&Row]) -> Result<()> {
    let title = rows[0].series.title.replace("{n}", "n").replace('`', "");
    let all =
        || rows.iter().flat_map(|row| (0..group.subjects.len()).filter_map(|n| row.median(n)));
    // Whole powers of ten, so that at least two are on the axis.
    let power = |n: f64| 10_f64.powf(n);
    let low = power(all().fold(f64::MAX, f64::min).log10().floor());
    let high = power(all().fold(1.0, f64::max).log10().ceil());
    let widest = rows.iter().map(|row| row.size).max().unwrap_or(1) as f64;
    let narrowest = rows.iter().map(|row| row.size).min().unwrap_or(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 14).into_font().style(FontStyle::Bold))
        .x_label_area_size(24)
        .y_label_area_size(44)
        .margin_right(14)
        .build_cartesian_2d((narrowest..widest).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_labels(7)
        .y_labels(5)
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style((FONT, 12))
        .x_label_formatter(&|n| short(n.round() as usize))
        .y_label_formatter(&|n| figure(*n))
        .draw()?;
    // We last, so that nobody's line covers ours.
    let order = (0..group.subjects.len()).filter(|&n| n != 1).chain([1]);
    for n in order {
        let points: Vec<(f64, f64)> =
            rows.iter().filter_map(|row| Some((row.size as f64, row.median(n)?))).collect();
        line(&mut chart, points, n)?;
    }
    Ok(())
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

fn line(chart: &mut Chart<'_, '_>, points: Vec<(f64, f64)>, n: usize) -> Result<()> {
    let style = COLOURS[n].stroke_width(if n == 1 { 3 } else { 2 });
    chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
    chart.draw_series(points.into_iter().map(|at| Circle::new(at, 3, COLOURS[n].filled())))?;
    Ok(())
}

fn legend(area: &Area<'_>, group: &Group) -> Result<()> {
    for (n, subject) in group.subjects.iter().enumerate() {
        let y = 10 + n as i32 * 22;
        area.draw(&PathElement::new([(0, y), (28, y)], COLOURS[n].stroke_width(3)))?;
        area.draw(&Circle::new((14, y), 4, COLOURS[n].filled()))?;
        let style = (FONT, 14).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(subject.name, (38, y), style))?;
    }
    Ok(())
}
