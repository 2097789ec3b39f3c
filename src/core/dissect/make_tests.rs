use serde_json::json;

use super::*;
use crate::core::dissect::broden::Broden;

/// A photo whose left half is the object "box", with a part in its upper corner.
fn photo() -> Photo {
    let picture = RgbImage::from_fn(64, 64, |x, _| image::Rgb(if x < 32 { [200, 20, 30] } else { [20, 30, 200] }));
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let table = json!({"p": {"scene": "hall", "rest": ["material", "wood"], "polys": [
        ["object", "box", [0, 0, 5, 0, 5, 10, 0, 10]], ["part", "corner", [0, 0, 2, 0, 2, 2, 0, 2]]]}});
    Photo::new("p", file.get_ref(), &table).unwrap()
}

fn set() -> Vec<Picture> {
    let photos = [photo()];
    (0..count(1)).filter(|i| i % 7 == 3 || *i >= count(1) - PER_PHOTO - PER_CUTOUT).map(|i| picture(&photos, i, 5, 64).unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_pictures() {
    let photos = [photo()];
    for index in [0, 100, count(1) - 50, count(1) - 1] {
        let (a, b) = (picture(&photos, index, 5, 64).unwrap(), picture(&photos, index, 5, 64).unwrap());
        assert_eq!(a.image, b.image);
        assert_eq!(a.planes, b.planes);
        assert_ne!(a.image, picture(&photos, index, 6, 64).unwrap().image, "{index}");
    }
}

#[test]
fn masks_lie_on_what_they_name() {
    let photos = [photo()];
    for index in count(1) - PER_PHOTO - PER_CUTOUT..count(1) {
        let made = picture(&photos, index, 5, 64).unwrap();
        let plane = |category: &str| &made.planes.iter().find(|(c, _)| *c == category).unwrap().1;
        let (object, part) = (plane("object"), plane("part"));
        let mut area = 0;
        for ((y, x), name) in object.indexed_iter().filter(|(_, n)| !n.is_empty()) {
            area += 1;
            assert_eq!(name, "box");
            // The object is red, but for the border pixels that a resize mixes.
            let inner = [(0, 1), (1, 0), (0, usize::MAX), (usize::MAX, 0)];
            let inside = inner.iter().all(|(dy, dx)| object.get((y.wrapping_add(*dy), x.wrapping_add(*dx))).is_some_and(|n| !n.is_empty()));
            let rgb = made.image.get_pixel(2 * x as u32, 2 * y as u32).0;
            assert!(!inside || rgb[0] > 180 && rgb[2] < 60, "{} {rgb:?}", made.name);
        }
        assert!(area > 20, "{}", made.name);
        assert!(part.indexed_iter().all(|(at, n)| n.is_empty() || !object[at].is_empty()));
    }
}

#[test]
fn tables_are_whole_and_can_be_read_back() {
    let made = number(&set());
    let data = &made.broden;
    let codes = |name: &str| data.categories.iter().position(|c| c.name == name).map(|c| data.code_csv(c).into_bytes());
    let back = Broden::parse(data.index_csv().as_bytes(), data.category_csv().as_bytes(), data.label_csv().as_bytes(), &mut |name| {
        Ok(codes(name))
    });
    assert_eq!(&back.unwrap(), data);
    assert_eq!(data.labels.iter().map(|l| l.number).collect::<Vec<_>>(), (1..=data.labels.len() as u16).collect::<Vec<_>>());
    assert!(data.labels.windows(2).all(|l| l[0].frequency >= l[1].frequency));
    let names: Vec<&str> = data.labels.iter().map(|l| l.name.as_str()).collect();
    for name in ["box", "corner", "hall-s", "wood", "red-c", "blue-c", "striped"] {
        assert!(names.contains(&name), "{name}");
    }
    assert!(
        data.categories.iter().map(|c| c.name.as_str()).eq(data.categories.iter().map(|c| c.name.as_str())) && data.categories.len() == 6
    );
    assert!(data.images.iter().any(|e| e.split == "val") && data.images.iter().any(|e| e.split == "train"));
}

#[test]
fn textures_differ() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (kind, name) in TEXTURES.iter().enumerate() {
        let texture = texture::Texture::random(kind, 64, &mut rng);
        let values: Vec<[u8; 3]> = (0..64 * 64).map(|i| texture.at(f64::from(i % 64), f64::from(i / 64))).collect();
        let mean = values.iter().map(|v| f64::from(v[0]) + f64::from(v[1]) + f64::from(v[2])).sum::<f64>() / values.len() as f64;
        let spread =
            values.iter().map(|v| (0..3).map(|c| f64::from(v[c]) - f64::from(values[0][c])).map(f64::abs).sum::<f64>()).fold(0.0, f64::max);
        assert!(spread > 60.0 && mean > 0.0, "{name}");
    }
}
