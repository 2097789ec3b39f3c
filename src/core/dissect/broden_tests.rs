use image::{ImageFormat, RgbImage};

use super::*;

const CATEGORY: &str = "name,first,last,count,frequency\r\nobject,1,2,2,3\r\nscene,3,3,1,1\r\n";
const LABEL: &str = "number,name,category,frequency,coverage,syns\r\n1,cat,object(2);scene(1),3,0.500000,kitty;puss\r\n\
                     2,\"car, old\",object(1),1,0.250000,\r\n3,zoo-s,scene(1),1,1.000000,\r\n";
const OBJECT: &str = "code,number,name,frequency,coverage\r\n1,1,cat,2,0.500000\r\n2,2,\"car, old\",1,0.250000\r\n";
const SCENE: &str = "code,number,name,frequency,coverage\r\n1,3,zoo-s,1,1.000000\r\n2,1,cat,1,0.500000\r\n";
const INDEX: &str = "image,split,ih,iw,sh,sw,object,scene\r\na/b.jpg,train,8,8,4,4,a/b_object.png,3\r\n\
                     c.jpg,val,8,8,4,4,a/b_1.png;2;a/b_2.png,0\r\n";

fn parse(index: &str, category: &str, label: &str) -> Result<Broden> {
    Broden::parse(index.as_bytes(), category.as_bytes(), label.as_bytes(), &mut |name| {
        Ok(Some(if name == "object" { OBJECT } else { SCENE }.as_bytes().to_vec()))
    })
}

fn png(numbers: &Array2<u16>) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    to_picture(numbers).write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

#[test]
fn round_trips_are_byte_exact() {
    let data = parse(INDEX, CATEGORY, LABEL).unwrap();
    assert_eq!(data.index_csv(), INDEX);
    assert_eq!(data.category_csv(), CATEGORY);
    assert_eq!(data.label_csv(), LABEL);
    assert_eq!((data.code_csv(0).as_str(), data.code_csv(1).as_str()), (OBJECT, SCENE));
    let unix = |t: &str| t.replace("\r\n", "\n");
    assert_eq!(parse(&unix(INDEX), &unix(CATEGORY), &unix(LABEL)).unwrap(), data);
    assert_eq!(data.names(), ["", "cat", "car, old", "zoo-s"]);
}

#[test]
fn columns_are_found_by_name() {
    let index = "scene,image,object,sw,sh,iw,ih,split\n3,a/b.jpg,a/b_object.png,4,4,8,8,train\n";
    assert_eq!(parse(index, CATEGORY, LABEL).unwrap().images[0], parse(INDEX, CATEGORY, LABEL).unwrap().images[0]);
}

#[test]
fn the_primary_category_has_the_largest_area_and_ties_go_to_the_later() {
    let data = parse(INDEX, CATEGORY, LABEL).unwrap();
    // 0: last category; 1: equal areas in both; 2: object; 3: scene.
    assert_eq!(data.primary(), [1, 1, 0, 1]);
    let without = Broden { codes: vec![Vec::new(), Vec::new()], ..data };
    assert_eq!(without.primary(), [1, 0, 0, 1]);
}

#[test]
fn label_numbers_are_red_plus_256_green() {
    // H.7: G = 3, R = 200 is 968.
    let picture = RgbImage::from_pixel(2, 1, image::Rgb([200, 3, 0]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    let bytes = bytes.into_inner();
    assert_eq!(label_picture(&bytes, [1, 2], 968).unwrap(), ndarray::array![[968, 968]]);
    assert!(label_picture(&bytes, [1, 2], 967).unwrap_err().to_string().contains("label 968"));
    assert!(label_picture(&bytes, [2, 1], 968).unwrap_err().to_string().contains("2x1"));
    let numbers = Array2::from_shape_fn((3, 5), |(y, x)| (y * 5 + x) as u16 * 2000);
    assert_eq!(label_picture(&png(&numbers), [3, 5], MAX_LABEL).unwrap(), numbers);
    let grey = RgbImage::from_pixel(2, 1, image::Rgb([7; 3]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    grey.write_to(&mut bytes, ImageFormat::Png).unwrap();
    assert!(label_picture(&bytes.into_inner(), [1, 2], 9999).unwrap_err().to_string().contains("blue"));
}

#[test]
fn hostile_tables_give_one_sentence() {
    for (index, category, label) in [
        ("", CATEGORY, LABEL),
        ("image\n", CATEGORY, LABEL),
        ("image,split,ih,iw,sh,sw,object,scene\n", CATEGORY, LABEL),
        ("image,split,ih,iw,sh,sw,object,scene\n../x.jpg,train,8,8,4,4,,3\n", CATEGORY, LABEL),
        ("image,split,ih,iw,sh,sw,object,scene\n/etc/passwd,train,8,8,4,4,,3\n", CATEGORY, LABEL),
        ("image,split,ih,iw,sh,sw,object,scene\nx.jpg,train,8,8,4,4,,9\n", CATEGORY, LABEL),
        ("image,split,ih,iw,sh,sw,object,scene\nx.jpg,train,8,8,99999999,4,,3\n", CATEGORY, LABEL),
        ("image,split,ih,iw,sh,sw,object,scene\nx.jpg,train,8,8,0,4,,3\n", CATEGORY, LABEL),
        ("image,split,ih,iw,sh,sw,object,scene\nx.jpg,train,8,8,4\n", CATEGORY, LABEL),
        (INDEX, "name,first,last,count,frequency\n../x,1,2,3,4\n", LABEL),
        (INDEX, "name,first,last,count,frequency\n", LABEL),
        (INDEX, CATEGORY, "number,name,category,frequency,coverage,syns\n40000,x,object(1),1,1,\n"),
        (INDEX, CATEGORY, "number,name,category,frequency,coverage,syns\n1,x,object(1),1,nan,\n"),
        (INDEX, CATEGORY, "number,name,category,frequency,coverage,syns\n1,x,object(1),1,1,\n1,x,object(1),1,1,\n"),
    ] {
        let error = parse(index, category, label).unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 200, "{error}");
    }
}
