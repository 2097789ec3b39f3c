//! Draws the pictures of `docs/screens/`: the real screens, computed on the embedded engine, rendered from their cells without a terminal.
//!
//! `cargo run --release --example gallery [-- FOLDER]`

use std::{fmt::Write as _, fs, path::Path};

use image::{
    ExtendedColorType, ImageEncoder as _,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use psescope::tui::{theme::Depth, view::ViewCache};
use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};
use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

mod headless;

use headless::Inspector;

/// Pixels of a cell.
const CELL: (u32, u32) = (8, 16);
/// The sixteen colours, as a terminal with a dark background shows them, then its foreground and background.
const NAMED: [[u8; 3]; 16] = [
    [40, 44, 52],
    [224, 108, 117],
    [130, 180, 100],
    [229, 192, 123],
    [97, 150, 225],
    [198, 120, 221],
    [86, 182, 194],
    [171, 178, 191],
    [110, 118, 132],
    [240, 130, 140],
    [160, 215, 130],
    [245, 215, 150],
    [120, 175, 250],
    [220, 150, 240],
    [120, 210, 220],
    [235, 238, 243],
];
const PAPER: [u8; 3] = [22, 24, 29];
const INK: [u8; 3] = [214, 218, 226];

fn rgb(colour: Color, otherwise: [u8; 3]) -> [u8; 3] {
    let named = |i: usize| NAMED[i];
    match colour {
        Color::Rgb(r, g, b) => [r, g, b],
        Color::Black => named(0),
        Color::Red => named(1),
        Color::Green => named(2),
        Color::Yellow => named(3),
        Color::Blue => named(4),
        Color::Magenta => named(5),
        Color::Cyan => named(6),
        Color::Gray => named(7),
        Color::DarkGray => named(8),
        Color::LightRed => named(9),
        Color::LightGreen => named(10),
        Color::LightYellow => named(11),
        Color::LightBlue => named(12),
        Color::LightMagenta => named(13),
        Color::LightCyan => named(14),
        Color::White => named(15),
        Color::Indexed(i) => palette(i),
        Color::Reset => otherwise,
    }
}

/// The xterm palette: sixteen names, a cube, greys.
fn palette(i: u8) -> [u8; 3] {
    let level = |v: u8| if v == 0 { 0 } else { 55 + 40 * v };
    match i {
        0..=15 => NAMED[usize::from(i)],
        16..=231 => [level((i - 16) / 36), level((i - 16) / 6 % 6), level((i - 16) % 6)],
        _ => [8 + 10 * (i - 232); 3],
    }
}

fn colours(cell: &Cell) -> ([u8; 3], [u8; 3]) {
    let (fg, bg) = (rgb(cell.fg, INK), rgb(cell.bg, PAPER));
    let fg = if cell.modifier.contains(Modifier::DIM) { std::array::from_fn(|i| (fg[i] / 2).saturating_add(bg[i] / 2)) } else { fg };
    if cell.modifier.contains(Modifier::REVERSED) { (bg, fg) } else { (fg, bg) }
}

/// Rectangles, in parts of a cell (x, y, width, height), of glyphs that must meet their neighbours without a gap.
fn parts(glyph: char) -> Option<Vec<[f32; 4]>> {
    let quadrants = |bits: u8| {
        [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.5, 0.5]]
            .iter()
            .enumerate()
            .filter(|(i, _)| bits >> i & 1 == 1)
            .map(|(_, p)| [p[0], p[1], 0.5, 0.5])
            .collect()
    };
    let (thin, thick) = (0.13, 0.26);
    // Arms: left, right, up, down.
    let lines = |arms: [bool; 4], t: f32| {
        let (tx, ty) = (t, t / 2.0);
        let mut out = Vec::new();
        if arms[0] || arms[1] {
            let (from, to) = (if arms[0] { 0.0 } else { 0.5 - tx / 2.0 }, if arms[1] { 1.0 } else { 0.5 + tx / 2.0 });
            out.push([from, 0.5 - ty / 2.0, to - from, ty]);
        }
        if arms[2] || arms[3] {
            let (from, to) = (if arms[2] { 0.0 } else { 0.5 - ty / 2.0 }, if arms[3] { 1.0 } else { 0.5 + ty / 2.0 });
            out.push([0.5 - tx / 2.0, from, tx, to - from]);
        }
        out
    };
    let arm = |l: u8, r: u8, u: u8, d: u8| [l == 1, r == 1, u == 1, d == 1];
    Some(match glyph {
        '█' => vec![[0.0, 0.0, 1.0, 1.0]],
        '▀' => vec![[0.0, 0.0, 1.0, 0.5]],
        '▐' => vec![[0.5, 0.0, 0.5, 1.0]],
        '▁'..='▇' => {
            let h = (glyph as u32 - 0x2580) as f32 / 8.0;
            vec![[0.0, 1.0 - h, 1.0, h]]
        }
        '▉'..='▏' => vec![[0.0, 0.0, 1.0 - (glyph as u32 - 0x2588) as f32 / 8.0, 1.0]],
        '▖' => quadrants(0b0100),
        '▗' => quadrants(0b1000),
        '▘' => quadrants(0b0001),
        '▙' => quadrants(0b1101),
        '▚' => quadrants(0b1001),
        '▛' => quadrants(0b0111),
        '▜' => quadrants(0b1011),
        '▝' => quadrants(0b0010),
        '▞' => quadrants(0b0110),
        '▟' => quadrants(0b1110),
        '─' => lines(arm(1, 1, 0, 0), thin),
        '│' => lines(arm(0, 0, 1, 1), thin),
        '╭' | '┌' => lines(arm(0, 1, 0, 1), thin),
        '╮' | '┐' => lines(arm(1, 0, 0, 1), thin),
        '╰' | '└' => lines(arm(0, 1, 1, 0), thin),
        '╯' | '┘' => lines(arm(1, 0, 1, 0), thin),
        '├' => lines(arm(0, 1, 1, 1), thin),
        '┤' => lines(arm(1, 0, 1, 1), thin),
        '━' => lines(arm(1, 1, 0, 0), thick),
        '┃' => lines(arm(0, 0, 1, 1), thick),
        '┏' => lines(arm(0, 1, 0, 1), thick),
        '┓' => lines(arm(1, 0, 0, 1), thick),
        '┗' => lines(arm(0, 1, 1, 0), thick),
        '┛' => lines(arm(1, 0, 1, 0), thick),
        '⠁'..='⣿' => {
            let bits = glyph as u32 - 0x2800;
            let dots = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
            let at = |(x, y): (i32, i32)| [0.12 + 0.5 * x as f32, 0.06 + 0.25 * y as f32, 0.26, 0.13];
            dots.into_iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, p)| at(p)).collect()
        }
        _ => return None,
    })
}

fn fill(out: &mut String, [x, y, w, h]: [f32; 4], [r, g, b]: [u8; 3]) {
    let _ = write!(out, "<rect x='{x:.2}' y='{y:.2}' width='{w:.2}' height='{h:.2}' fill='#{r:02x}{g:02x}{b:02x}'/>");
}

/// The cells of a frame as a drawing.
fn drawing(buffer: &Buffer) -> String {
    let (cw, ch) = (CELL.0 as f32, CELL.1 as f32);
    let (w, h) = (u32::from(buffer.area.width) * CELL.0, u32::from(buffer.area.height) * CELL.1);
    let mut out = format!("<svg xmlns='http://www.w3.org/2000/svg' width='{w}' height='{h}' shape-rendering='crispEdges'>");
    fill(&mut out, [0.0, 0.0, w as f32, h as f32], PAPER);
    for y in 0..buffer.area.height {
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let (fg, bg) = colours(cell);
            let (left, top) = (f32::from(x) * cw, f32::from(y) * ch);
            if bg != PAPER {
                fill(&mut out, [left, top, cw, ch], bg);
            }
            let Some(glyph) = cell.symbol().chars().next().filter(|c| *c != ' ') else { continue };
            if let Some(parts) = parts(glyph) {
                for [px, py, pw, ph] in parts {
                    fill(&mut out, [left + px * cw, top + py * ch, pw * cw, ph * ch], fg);
                }
                continue;
            }
            // The font lacks this sign.
            let escaped = cell.symbol().replace('✗', "×").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let weight = if cell.modifier.contains(Modifier::BOLD) {
                format!(" stroke='#{:02x}{:02x}{:02x}' stroke-width='0.45'", fg[0], fg[1], fg[2])
            } else {
                String::new()
            };
            let _ = write!(
                out,
                "<text x='{left}' y='{}' font-size='13.2' fill='#{:02x}{:02x}{:02x}'{weight}>{escaped}</text>",
                top + 12.4,
                fg[0],
                fg[1],
                fg[2]
            );
        }
    }
    out + "</svg>"
}

fn png(buffer: &Buffer) -> Vec<u8> {
    let mut fonts = Database::new();
    for font in [epaint_default_fonts::HACK_REGULAR, epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::NOTO_EMOJI_REGULAR] {
        fonts.load_font_data(font.to_vec());
    }
    let options = Options { fontdb: fonts.into(), font_family: "Hack".into(), ..Options::default() };
    let tree = Tree::from_str(&drawing(buffer), &options).expect("our own drawing is well formed");
    let (w, h) = (u32::from(buffer.area.width) * CELL.0, u32::from(buffer.area.height) * CELL.1);
    let mut pixmap = Pixmap::new(w, h).expect("a screen has a size");
    resvg::render(&tree, Transform::identity(), &mut pixmap.as_mut());
    // Opaque throughout: three channels, packed as tightly as the format allows.
    let rgb: Vec<u8> = pixmap.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
    let packed = [FilterType::NoFilter, FilterType::Adaptive].map(|filter| {
        let mut out = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Best, filter);
        encoder.write_image(&rgb, w, h, ExtendedColorType::Rgb8).expect("memory suffices");
        out
    });
    packed.into_iter().min_by_key(Vec::len).expect("two of them")
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/docs/screens").into());
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (model, panda) = (root.join("onnx/squeezenet1_1.onnx"), root.join("samples/panda.jpg"));
    let (model, panda) = (model.display().to_string(), panda.display().to_string());
    let size = (120, 40);
    let open = |theme: &str, depth, size, folder| Inspector::open(theme, depth, size, &model, &panda, folder);
    let write = |name: &str, inspector: &Inspector, size: (u16, u16)| -> anyhow::Result<()> {
        let bytes = png(&inspector.frame(&mut ViewCache::default(), size));
        let path = folder.join(format!("{name}.png"));
        fs::write(&path, &bytes)?;
        println!("{} {} kB", path.display(), bytes.len() / 1000);
        Ok(())
    };

    let mut i = open("terminal", Depth::True, size, None);
    write("start", &i, size)?;
    i.keys("a");
    write("form", &i, size)?;
    i.keys("<esc>t").keys("red<space>panda<enter>").settle();
    i.keys("<space>").settle();
    i.keys("r").settle();
    write("attack", &i, size)?;
    i.keys("?");
    write("help", &i, size)?;
    i.keys("<esc>2<enter>").settle();
    write("pixels", &i, size)?;
    i.keys("<esc>3").settle();
    write("cam", &i, size)?;
    i.keys("4").settle();
    write("layers", &i, size)?;
    i.keys("5").settle();
    i.keys("K20<enter>").settle();
    write("units", &i, size)?;
    i.keys("6").settle();
    i.keys("C").settle();
    write("insight", &i, size)?;
    i.keys("1");
    i.model.theme = psescope::tui::theme::Theme::new("terminal", Depth::None, false).expect("built in");
    write("no-color", &i, size)?;
    i.model.theme = psescope::tui::theme::Theme::new("terminal", Depth::Ansi256, false).expect("built in");
    write("small", &i, (80, 24))?;

    let mut t = open("terminal", Depth::True, size, Some(root.join("samples")));
    t.keys("T").until(|m| m.triage.rows.len() == m.triage.total && m.triage.total > 0).settle();
    t.keys("jj").settle();
    write("triage", &t, size)?;
    Ok(())
}
