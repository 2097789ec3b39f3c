//! Kitty's graphics without placeholder characters: a picture is sent once under a number, put over blank cells, and taken away by that
//! number. Nothing of it is in the cells, so whoever draws text there has to take it away in the same breath.
//! <https://sw.kovidgoyal.net/kitty/graphics-protocol/>

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratatui::layout::Rect;

/// Most base64 characters in one sequence.
const CHUNK: usize = 4096;

/// Takes away everything on the present screen, and the terminal's copies; for leaving in a hurry.
pub const CLEAR: &str = "\x1b_Ga=d,d=A,q=2\x1b\\";

/// Gives the terminal a PNG file under a number, without showing it.
pub fn transmission(id: u32, png: &[u8]) -> String {
    let text = STANDARD.encode(png);
    let chunks = text.len().div_ceil(CHUNK).max(1);
    let mut out = String::with_capacity(text.len() + 32 * chunks);
    for i in 0..chunks {
        let part = &text[i * CHUNK..((i + 1) * CHUNK).min(text.len())];
        let more = u8::from(i + 1 < chunks);
        let what = if i == 0 { format!("a=t,i={id},f=100,q=2,") } else { String::new() };
        // Writing to a string does not fail.
        let _ = write!(out, "\x1b_G{what}m={more};{part}\x1b\\");
    }
    out
}

/// Places differ by where they are, so that one picture can be in two.
fn place(area: Rect) -> u32 {
    (u32::from(area.y) << 12 | u32::from(area.x)) + 1
}

/// Puts a picture over these cells; the cursor stays where it is.
pub fn put(id: u32, area: Rect) -> String {
    let (row, column, p) = (area.y + 1, area.x + 1, place(area));
    format!("\x1b7\x1b[{row};{column}H\x1b_Ga=p,i={id},p={p},c={},r={},C=1,q=2\x1b\\\x1b8", area.width, area.height)
}

/// Whether this puts pictures over the cells.
pub fn shows(sequences: &str) -> bool {
    sequences.contains("\x1b_Ga=p,")
}

/// Takes a picture away from these cells; the terminal keeps its copy.
pub fn take(id: u32, area: Rect) -> String {
    format!("\x1b_Ga=d,d=i,i={id},p={},q=2\x1b\\", place(area))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_pictures_come_in_pieces_that_add_up() {
        for length in [0, 1, 3000, 3072, 3073, 20_000] {
            let png: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            let sent = transmission(9, &png);
            let pieces: Vec<(&str, &str)> = sent
                .split_terminator("\x1b\\")
                .map(|s| s.strip_prefix("\x1b_G").and_then(|s| s.split_once(';')).expect("a piece"))
                .collect();
            assert!(pieces[0].0.starts_with("a=t,i=9,f=100,q=2,m="));
            for (i, (keys, part)) in pieces.iter().enumerate() {
                assert!(part.len() <= CHUNK);
                assert_eq!(keys.ends_with("m=0"), i + 1 == pieces.len(), "{length}: piece {i}");
            }
            let text: String = pieces.iter().map(|p| p.1).collect();
            assert_eq!(STANDARD.decode(text).expect("base64"), png);
        }
    }

    #[test]
    fn one_picture_has_two_places() {
        let (a, b) = (Rect::new(3, 2, 10, 5), Rect::new(2, 3, 10, 5));
        assert_ne!(place(a), place(b));
        assert!(put(5, a).contains("\x1b[3;4H\x1b_Ga=p,i=5") && put(5, a).contains("c=10,r=5,C=1"));
        assert!(take(5, a).contains(&format!("d=i,i=5,p={}", place(a))));
    }
}
