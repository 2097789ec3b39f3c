//! Curves over the steps of a run: logits, loss, the constant of a search, norms.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    engine::trace::StepRecord,
    tui::{
        model::{Model, Run},
        text,
        theme::{Role, Theme},
        view::draw,
        widget::line_chart::{LineChart, Series},
    },
};

/// What the curves show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Chart {
    /// Logits of the true, target and best other class.
    #[default]
    Logits,
    /// The attack's objective.
    Loss,
    /// The constant c of a search, as a power of ten.
    Constant,
    /// L2 and Linf, each over its largest value.
    Norms,
}

impl Chart {
    /// The one after it.
    pub fn next(self) -> Self {
        match self {
            Self::Logits => Self::Loss,
            Self::Loss => Self::Constant,
            Self::Constant => Self::Norms,
            Self::Norms => Self::Logits,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Logits => "logits over steps",
            Self::Loss => "loss over steps",
            Self::Constant => "log10 of c over steps",
            Self::Norms => "norms over steps, each over its maximum",
        }
    }
}

/// A curve, its name, and the numbers that stand in the title: those of the steps, not of the scale.
struct Curve {
    series: Series,
    name: String,
    numbers: Vec<f32>,
}

fn curve(theme: &Theme, marks: (&'static str, &'static str), role: Role, name: &str, values: Vec<f32>) -> Curve {
    let series = Series { mark: theme.glyph(marks.0, marks.1), role, dashed: false, values: values.clone() };
    Curve { series, name: name.to_owned(), numbers: values }
}

/// Draws the chosen curves, with the values under the cursor in the title.
pub fn view(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let chart = model.attack.chart;
    let inner = draw::frame(theme, area, chart.title(), "", false, buf);
    let (Some(trace), Some(run), Some(newest)) = (model.trace(), &model.run, model.newest()) else {
        let line = "the curves of the true, target and best other class appear here";
        return draw::centred(buf, inner, &[(line.into(), theme.style(Role::Dim))]);
    };
    let curves = trace.with_steps(|steps| curves(model, run, chart, &steps[..steps.len().min(newest + 1)]));
    if curves.iter().all(|c| c.series.values.iter().all(|v| !v.is_finite())) {
        let line = format!("{} has no such numbers; v shows others", run.request.attack);
        return draw::centred(buf, inner, &[(line, theme.style(Role::Dim))]);
    }
    let here = model.position().unwrap_or(0);
    let mut x = area.x + text::width(chart.title()) as u16 + 4;
    for Curve { series, name, numbers } in curves.iter().rev() {
        let value = numbers.get(here).map(|v| text::number(*v)).unwrap_or_default();
        let room = usize::from(area.right().saturating_sub(x + 2));
        let name = text::truncate(name, 20.min(room.saturating_sub(text::width(&value) + 5)), theme.ellipsis());
        let label = format!(" {} {name} {value} ", series.mark);
        if text::width(&label) > room || name.is_empty() {
            break;
        }
        x = draw::text(buf, x, area.y, room as u16, &label, theme.style(series.role)) + 1;
    }
    let steps = if run.running() { run.total.unwrap_or(0).max(newest + 1) } else { newest + 1 };
    let series: Vec<Series> = curves.into_iter().map(|c| c.series).collect();
    LineChart { series: &series, cursor: Some(here), steps }.draw(theme, inner, buf);
}

fn curves(model: &Model, run: &Run, chart: Chart, steps: &[StepRecord]) -> Vec<Curve> {
    let theme = &model.theme;
    let of = |value: &dyn Fn(&StepRecord) -> f32| steps.iter().map(value).collect::<Vec<f32>>();
    match chart {
        Chart::Logits => {
            let mut other = curve(theme, ("■", "#"), Role::OtherClass, "best other", of(&|s| s.other_logit));
            other.series.dashed = true;
            let own = curve(theme, ("●", "o"), Role::TrueClass, &model.short_label(run.label), of(&|s| s.true_logit));
            let target = run.target.map(|t| {
                let values = of(&|s| s.target_logit.unwrap_or(f32::NAN));
                curve(theme, ("▲", "^"), Role::TargetClass, &model.short_label(t), values)
            });
            [other, own].into_iter().chain(target).collect()
        }
        Chart::Loss => vec![curve(theme, ("●", "o"), Role::Accent, "loss", of(&|s| s.loss))],
        Chart::Constant => {
            let c = of(&|s| s.terms.iter().find(|t| t.0 == "c").map_or(f32::NAN, |t| t.1));
            let mut one = curve(theme, ("●", "o"), Role::Accent, "c", c.iter().map(|c| c.log10()).collect());
            one.numbers = c;
            vec![one]
        }
        Chart::Norms => {
            let shares = |mut c: Curve| {
                let most = c.numbers.iter().copied().fold(0.0, f32::max);
                c.series.values = c.numbers.iter().map(|v| if most > 0.0 { v / most } else { 0.0 }).collect();
                c
            };
            let linf = curve(theme, ("■", "#"), Role::OtherClass, "Linf", of(&|s| s.linf));
            vec![shares(linf), shares(curve(theme, ("●", "o"), Role::Accent, "L2", of(&|s| s.l2)))]
        }
    }
}
