//! Pieces of SVG: escaping, colours, text, pictures. Used inline in pages and, rasterised, for figures.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ImageEncoder as _, RgbImage, codecs::png::PngEncoder};

use crate::core::{
    error::{Error, Result},
    tensor::labels::is_harmful,
};

/// Colours by meaning.
#[derive(Debug, Clone, Copy)]
pub struct Ink {
    /// Text.
    pub text: &'static str,
    /// Less important text, axes.
    pub dim: &'static str,
    /// Grid lines, frames.
    pub line: &'static str,
    /// Behind everything.
    pub ground: &'static str,
    /// The true class.
    pub truth: &'static str,
    /// The target class.
    pub target: &'static str,
    /// The best other class.
    pub other: &'static str,
}

/// On white paper.
pub const PAPER: Ink =
    Ink { text: "#1a1a1a", dim: "#595959", line: "#c8c8c8", ground: "#ffffff", truth: "#1659b5", target: "#b34700", other: "#6b6b6b" };

/// In a page that follows the reader's choice of dark or light.
pub const PAGE: Ink = Ink {
    text: "var(--text)",
    dim: "var(--dim)",
    line: "var(--line)",
    ground: "var(--ground)",
    truth: "var(--truth)",
    target: "var(--target)",
    other: "var(--other)",
};

/// Where text sits at its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Begins there.
    Start,
    /// Is centred there.
    Middle,
    /// Ends there.
    End,
}

/// Text safe inside elements and quoted attributes, of XML and HTML. Characters that XML forbids are dropped, and those that
/// hide others or turn them round.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_harmful(c) && c != '\n' && c != '\t' => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

/// A line of text.
pub fn text(out: &mut String, at: (f32, f32), size: f32, fill: &str, anchor: Anchor, line: &str) {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let _ = writeln!(
        out,
        r#"<text x="{:.1}" y="{:.1}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{}</text>"#,
        at.0,
        at.1,
        escape(line)
    );
}

/// Shortens a line to about this width. Widths are estimated: half a size per character, a whole one for wide scripts.
pub fn fit(line: &str, size: f32, width: f32) -> String {
    let wide = |c: char| if c.is_ascii() { 0.53 } else { unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) as f32 * 0.55 };
    let mut used = 0.0;
    for (i, c) in line.char_indices() {
        used += wide(c) * size;
        if used > width {
            let keep: String = line[..i].chars().collect::<Vec<_>>().split_last().map_or(String::new(), |(_, head)| head.iter().collect());
            return format!("{}…", keep.trim_end());
        }
    }
    line.to_owned()
}

/// A filled rectangle.
pub fn rect(out: &mut String, [x, y, w, h]: [f32; 4], fill: &str) {
    let _ = writeln!(out, r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill="{fill}"/>"#);
}

/// A picture in a frame; small pictures keep their pixels.
pub fn picture(out: &mut String, [x, y, w, h]: [f32; 4], picture: &RgbImage, line: &str) -> Result<()> {
    let rendering = if picture.width() < 96 { r#" image-rendering="optimizeSpeed""# } else { "" };
    let _ = writeln!(out, r#"<image x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}"{rendering} href="{}"/>"#, data_uri(picture)?);
    let _ = writeln!(out, r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill="none" stroke="{line}"/>"#);
    Ok(())
}

/// A colour as `#rrggbb`.
pub fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// A picture as the bytes of a PNG file.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (w, h) = picture.dimensions();
    PngEncoder::new(&mut bytes)
        .write_image(picture, w, h, image::ExtendedColorType::Rgb8)
        .map_err(|e| Error::Input(format!("a picture of {w} x {h} pixels cannot be written as PNG: {e}")))?;
    Ok(bytes)
}

/// A picture inside a page.
pub fn data_uri(picture: &RgbImage) -> Result<String> {
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png(picture)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes() {
        assert_eq!(escape("<b a='1' c=\"2\">&\u{1b}[0m\u{0}"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;[0m");
    }

    #[test]
    fn long_lines_are_cut_with_a_sign() {
        assert_eq!(fit("short", 10.0, 100.0), "short");
        let cut = fit("a rather long line of text", 10.0, 60.0);
        assert!(cut.ends_with('…') && cut.len() < 16, "{cut}");
    }
}
