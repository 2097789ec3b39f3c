//! The eleven basic colour names by rules in CIE Lab (D65): lightness and chroma decide grey, hue the rest. The borders are ours.

/// black, white, grey, red, orange, brown, yellow, green, blue, purple or pink.
pub fn name(rgb: [u8; 3]) -> &'static str {
    let [l, a, b] = lab(rgb);
    let chroma = a.hypot(b);
    let hue = b.atan2(a).to_degrees().rem_euclid(360.0);
    if chroma < 10.0 || l < 8.0 || (l > 92.0 && chroma < 14.0) || (l < 20.0 && chroma < 16.0) {
        return match l {
            l if l < 22.0 => "black",
            l if l < 84.0 => "grey",
            _ => "white",
        };
    }
    match hue {
        h if !(10.0..345.0).contains(&h) => {
            if l > 58.0 {
                "pink"
            } else {
                "red"
            }
        }
        h if h < 48.0 => match (l, chroma) {
            (l, c) if l > 62.0 && c < 62.0 => "pink",
            (l, c) if l < 45.0 && c < 45.0 => "brown",
            _ => "red",
        },
        h if h < 78.0 => {
            if l < 56.0 || chroma < 36.0 {
                "brown"
            } else {
                "orange"
            }
        }
        h if h < 106.0 => {
            if l < 50.0 || (chroma < 26.0 && l < 75.0) {
                "brown"
            } else {
                "yellow"
            }
        }
        h if h < 195.0 => "green",
        h if h < 307.0 => {
            if h > 295.0 && chroma < 60.0 {
                "purple"
            } else {
                "blue"
            }
        }
        _ => {
            if l > 68.0 {
                "pink"
            } else {
                "purple"
            }
        }
    }
}

/// CIE Lab of an sRGB colour.
fn lab(rgb: [u8; 3]) -> [f64; 3] {
    let linear = rgb.map(|v| {
        let v = f64::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    });
    let mix = |m: [f64; 3]| m.iter().zip(linear).map(|(a, b)| a * b).sum::<f64>();
    let f = |t: f64| if t > 216.0 / 24389.0 { t.cbrt() } else { (24389.0 / 27.0 * t + 16.0) / 116.0 };
    let x = f(mix([0.412_456, 0.357_576, 0.180_437]) / 0.950_47);
    let y = f(mix([0.212_673, 0.715_152, 0.072_175]));
    let z = f(mix([0.019_334, 0.119_192, 0.950_304]) / 1.088_83);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_colours_have_their_names() {
        for (rgb, expected) in [
            ([0, 0, 0], "black"),
            ([255, 255, 255], "white"),
            ([128, 128, 128], "grey"),
            ([220, 20, 30], "red"),
            ([255, 0, 0], "red"),
            ([255, 140, 0], "orange"),
            ([139, 69, 19], "brown"),
            ([255, 230, 0], "yellow"),
            ([20, 160, 40], "green"),
            ([0, 128, 0], "green"),
            ([30, 60, 200], "blue"),
            ([0, 0, 255], "blue"),
            ([135, 206, 235], "blue"),
            ([128, 0, 128], "purple"),
            ([255, 182, 193], "pink"),
        ] {
            assert_eq!(name(rgb), expected, "{rgb:?} {:?}", lab(rgb));
        }
        let white = lab([255; 3]);
        assert!((white[0] - 100.0).abs() < 0.01 && white[1].abs() < 0.01 && white[2].abs() < 0.02, "{white:?}");
    }
}
