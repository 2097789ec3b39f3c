//! Best classes with bars: clean, and at the step being looked at.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    engine::event::Scored,
    tui::{
        model::Model,
        text,
        theme::{Role, Theme},
        view::draw,
    },
};

/// Mark and colour of the true class, the target and the rest; the marks are the chart's.
pub fn mark(theme: &Theme, class: usize, truth: Option<usize>, target: Option<usize>) -> (&'static str, Role) {
    if Some(class) == truth {
        (theme.glyph("●", "o"), Role::TrueClass)
    } else if Some(class) == target {
        (theme.glyph("▲", "^"), Role::TargetClass)
    } else {
        (" ", Role::Text)
    }
}

/// Draws both lists, side by side or one above the other, or only the second where there is no room.
pub fn draw(model: &Model, area: Rect, buf: &mut Buffer) {
    let stepped = model.record().is_some();
    let now = match model.position() {
        Some(step) => format!("step {step}"),
        None => "clean".into(),
    };
    let (clean, current) = (model.clean_scores(5), model.current_scores(5));
    if !stepped {
        list(model, "clean", &clean, area, buf);
    } else if area.width >= 56 {
        let half = (area.width - 2) / 2;
        list(model, "clean", &clean, Rect { width: half, ..area }, buf);
        list(model, &now, &current, Rect { x: area.x + half + 2, width: area.width - half - 2, ..area }, buf);
    } else if area.height >= 10 {
        let top = if area.height >= 13 { 7 } else { area.height / 2 };
        let cut = |height: u16| usize::from(height.saturating_sub(1)).min(5);
        list(model, "clean", &clean[..clean.len().min(cut(top))], Rect { height: top, ..area }, buf);
        list(model, &now, &current, Rect { y: area.y + top, height: area.height - top, ..area }, buf);
    } else {
        list(model, &now, &current, area, buf);
    }
}

fn list(model: &Model, title: &str, scores: &[Scored], area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    draw::text(buf, area.x, area.y, area.width, title, theme.style(Role::Dim));
    let truth = model.true_class();
    let target = model.run.as_ref().and_then(|r| r.target);
    let number = 5u16;
    let bar = if area.width >= 34 {
        area.width / 3
    } else if area.width >= 26 {
        4
    } else {
        0
    };
    let room = area.width.saturating_sub(number + bar + 4);
    for (i, score) in scores.iter().enumerate() {
        let y = area.y + 1 + i as u16;
        if y >= area.bottom() {
            break;
        }
        let (glyph, role) = mark(theme, score.class, truth, target);
        let style = theme.style(role);
        draw::text(buf, area.x, y, 1, glyph, style);
        let label = text::pad(&model.short_label(score.class), usize::from(room), theme.ellipsis());
        let x = draw::text(buf, area.x + 2, y, room, &label, style) + 1;
        draw::text(buf, x, y, bar, &draw::bar(theme, score.prob, usize::from(bar)), style);
        let value = format!("{:>5}", text::prob(score.prob));
        draw::text(buf, area.right().saturating_sub(number), y, number, &value, theme.style(Role::Text));
    }
}
