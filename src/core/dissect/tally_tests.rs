//! Oracles of the method report, H.7.

use ndarray::Array4;

use super::*;
use crate::core::dissect::{
    broden::{Category, Code, Label},
    mask::Upsampling,
    quantile::{Quantiles, level},
    survey::summaries,
};

/// Labels 1 and 2 are objects, 3 is a scene.
fn data() -> Broden {
    let category = |name: &str| Category { name: name.into(), first: 1, last: 3, count: 1, frequency: 1 };
    let label =
        |number: u16| Label { number, name: format!("l{number}"), categories: Vec::new(), frequency: 1, coverage: 1.0, syns: Vec::new() };
    let code = |number: u16| Code { code: 1, number, name: String::new(), frequency: 1, coverage: 1.0 };
    Broden {
        categories: vec![category("object"), category("scene")],
        labels: (1..=3).map(label).collect(),
        codes: vec![vec![code(1), code(2)], vec![code(3)]],
        images: Vec::new(),
    }
}

const SIDE: usize = 40;

fn plane(on: impl Fn(usize, usize) -> u16) -> ImageLabels {
    ImageLabels { planes: vec![Array2::from_shape_fn((SIDE, SIDE), |(y, x)| on(y, x))], whole: Vec::new(), pixels: (SIDE * SIDE) as u64 }
}

/// Dissects maps of the label pictures' size with one unit.
fn dissect(maps: &Array4<f32>, labels: &[ImageLabels], rule: Rule, compat: bool) -> Tally {
    let (n, units, h, w) = maps.dim();
    let mut quantiles = Quantiles::new(units, n, h * w, level(0.005), 1 << 20);
    quantiles.push(0, maps.view(), &summaries(maps.as_slice().unwrap(), h * w)).unwrap();
    let up = Upsampler::new([h, w], [SIDE, SIDE], [SIDE, SIDE], Upsampling::Plain);
    let mut tally = Tally::new(rule, Vocabulary::new(&data(), compat), &quantiles.finish());
    tally.add(maps.view(), labels, &vec![&up; n]);
    tally
}

fn maps(images: usize, value: impl Fn(usize, usize, usize) -> f32) -> Array4<f32> {
    Array4::from_shape_fn((images, 1, SIDE, SIDE), |(i, _, y, x)| value(i, y, x))
}

/// Seven of 1600 pixels, .44 %.
fn spot(y: usize, x: usize) -> bool {
    y == 10 && (5..12).contains(&x)
}

#[test]
fn a_unit_matches_its_own_mask() {
    let binary = maps(1, |_, y, x| f32::from(u8::from(spot(y, x))));
    let result = dissect(&binary, &[plane(|y, x| u16::from(spot(y, x)))], Rule::Original, false).result();
    assert_eq!((result.rows[0].label.as_str(), result.rows[0].score), ("l1", 1.0));
    // Level 994/999 of 1600 values lies just below the ninth largest.
    let nine = |y: usize, x: usize| y == 10 && (5..14).contains(&x);
    let graded = maps(1, |_, y, x| if nine(y, x) { 5.0 + x as f32 } else { (y * 7 + x) as f32 / 1000.0 });
    let result = dissect(&graded, &[plane(|y, x| u16::from(nine(y, x)))], Rule::Original, false).result();
    assert_eq!((result.rows[0].label.as_str(), result.rows[0].score), ("l1", 1.0));
}

#[test]
fn a_plateau_above_the_quantile_gives_an_empty_mask() {
    let broad = maps(1, |_, y, _| f32::from(u8::from(y < 2)));
    let result = dissect(&broad, &[plane(|y, _| u16::from(y < 2))], Rule::Original, false).result();
    assert_eq!((result.rows[0].label.as_str(), result.rows[0].score, result.rows[0].best[0].activation), ("", 0.0, 0));
}

#[test]
fn shifted_masks_overlap_by_k_of_n() {
    let unit = maps(1, |_, y, x| f32::from(u8::from(spot(y, x))));
    for shift in 0..=7 {
        let labels = plane(|y, x| u16::from(x >= shift && spot(y, x - shift)) * 2);
        let got = dissect(&unit, &[labels], Rule::Original, false).result().rows[0].score;
        let k = 7 - shift;
        approx::assert_abs_diff_eq!(got, k as f64 / (14 - k) as f64, epsilon = 1e-15);
    }
}

#[test]
fn images_without_the_category_count_only_under_the_all_images_rule() {
    // The second image has no object; the unit is on there too, with the same values.
    let unit = maps(2, |_, y, x| f32::from(u8::from(y == 10 && (5..9).contains(&x))));
    let object = plane(|y, x| u16::from(y == 10 && (5..9).contains(&x)));
    let scene = ImageLabels { planes: Vec::new(), whole: vec![3], pixels: (SIDE * SIDE) as u64 };
    let alone = dissect(
        &maps(1, |_, y, x| f32::from(u8::from(y == 10 && (5..9).contains(&x)))),
        std::slice::from_ref(&object),
        Rule::Original,
        false,
    );
    assert_eq!(alone.result().rows[0].score, 1.0);
    let score = |rule| dissect(&unit, &[object.clone(), scene.clone()], rule, false).result().rows[0].best[0].iou;
    assert_eq!((score(Rule::Original), score(Rule::Lite), score(Rule::AllImages)), (1.0, 1.0, 0.5));
}

#[test]
fn the_lite_rule_leaves_out_images_the_mask_does_not_meet() {
    // Both images have the object; in the second the mask lies elsewhere.
    let unit = maps(2, |_, y, x| f32::from(u8::from(y == 10 && (5..9).contains(&x))));
    let labels = [plane(|y, x| u16::from(y == 10 && (5..9).contains(&x))), plane(|y, x| u16::from(y == 30 && x == 1))];
    let score = |rule| dissect(&unit, &labels, rule, false).result().rows[0].best[0].clone();
    let (original, lite) = (score(Rule::Original), score(Rule::Lite));
    assert_eq!((original.truth, original.activation, original.intersect), (5, 8, 4));
    assert_eq!((lite.truth, lite.activation, lite.intersect), (5, 4, 4));
}

#[test]
fn a_scene_is_every_pixel_of_its_images() {
    // On in a fraction f of the pixels of the scene's images and nowhere else: IoU = f.
    let unit = maps(4, |i, y, x| f32::from(u8::from(i < 2 && spot(y, x))));
    let whole = |labels: &[u16]| ImageLabels { planes: Vec::new(), whole: labels.to_vec(), pixels: (SIDE * SIDE) as u64 };
    let result = dissect(&unit, &[whole(&[3]), whole(&[3]), whole(&[]), whole(&[0])], Rule::Original, false).result();
    approx::assert_abs_diff_eq!(result.rows[0].score, 7.0 / 1600.0, epsilon = 1e-15);
    assert_eq!(result.rows[0].label, "l3");
}

#[test]
fn label_0_is_ignored_unless_asked_for() {
    let unit = maps(1, |_, y, x| f32::from(u8::from(spot(y, x))));
    let none = ImageLabels { planes: vec![Array2::zeros((SIDE, SIDE))], whole: vec![0], pixels: (SIDE * SIDE) as u64 };
    let plain = dissect(&unit, std::slice::from_ref(&none), Rule::Original, false);
    assert!(plain.truth().iter().chain(plain.both(0)).chain(plain.activation(0)).all(|v| *v == 0));
    let compat = dissect(&unit, &[none], Rule::Original, true);
    // As published: the nameless label belongs to the last category and holds whole images; unlabelled pixels stay unlabelled.
    assert_eq!((compat.truth()[0], compat.both(0)[0]), (1600, 7));
    let best = &compat.result().rows[0].best[1];
    assert_eq!((best.label.as_str(), best.truth), ("", 1600));
}
