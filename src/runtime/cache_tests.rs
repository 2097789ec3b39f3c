use super::*;
use crate::{
    core::{
        graph::{self, Layout, Loss, infer},
        onnx::{DType, Dim, Node, TensorData, TensorType, ValueInfo, write},
    },
    runtime::{backend::Backend as _, embedded::Embedded},
};

fn prepared() -> Prepared {
    let value = |name: &str, shape: Vec<Dim>| ValueInfo { name: name.into(), ty: TensorType { dtype: DType::F32, shape: Some(shape) } };
    let mut g = Graph { ir_version: 8, opset: 17, ..Graph::default() };
    g.inputs = vec![value("image", vec![Dim::Batch(1), Dim::Fixed(3), Dim::Fixed(4), Dim::Fixed(4)])];
    g.outputs = vec![value("z", vec![Dim::Batch(1), Dim::Fixed(3)])];
    g.nodes.push(Node::new("Sigmoid", &["image"], &["map"]));
    g.nodes.push(Node::new("GlobalAveragePool", &["map"], &["a"]));
    g.nodes.push(Node::new("Flatten", &["a"], &["z0"]));
    g.nodes.push(Node::new("Mul", &["z0", "c"], &["z"]));
    g.initializers.insert("c".into(), TensorData::f32(&[3], &[1.0, -2.0, 3.0]));
    infer::infer(&mut g).unwrap();
    let (image, logits) = ("image".into(), "z".into());
    Prepared { graph: g, image, layout: Layout::Nchw, shape: [3, 4, 4], logits, classes: 3, notices: Vec::new() }
}

fn cache(folder: &Path, limit: u64) -> GraphCache {
    GraphCache::new(folder.to_owned(), "0123abcd", &prepared(), Duration::ZERO, limit)
}

fn requests() -> Vec<Instrumentation> {
    let tap = |kind| vec![("map".to_owned(), kind)];
    vec![
        Instrumentation { image_gradient: true, ..Instrumentation::default() },
        Instrumentation { image_gradient: true, loss: Loss::Margin, ..Instrumentation::default() },
        Instrumentation { taps: tap(TapKind::ValueAndGradient), ..Instrumentation::default() },
        Instrumentation { taps: tap(TapKind::Value), gates: vec![graph::Gate { tensor: "map".into() }], ..Instrumentation::default() },
    ]
}

#[test]
fn what_comes_back_is_what_was_built() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path(), LIMIT);
    for spec in requests() {
        assert!(cache.read(&spec).is_none());
        let built = graph::instrument(&prepared(), &spec).unwrap();
        let bytes = write::to_bytes(&built.graph);
        cache.write(&spec, &bytes, Duration::from_millis(1));
        let (names, read) = cache.read(&spec).expect("kept");
        assert_eq!((&names.image, &names.logits, &names.cotangent), (&built.image, &built.logits, &built.cotangent));
        assert_eq!((&names.labels, &names.loss, &names.grad_image), (&built.labels, &built.loss, &built.grad_image));
        assert_eq!((&names.taps, &names.gates), (&built.taps, &built.gates));
        let inputs = |g: &Graph| g.inputs.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
        assert_eq!(inputs(&names.graph), inputs(&built.graph));
        assert!(read.starts_with(&bytes), "the checksum comes last");
        Embedded::new(1).unwrap().load(&read).expect("still a model");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), requests().len());
    let name = cache.path(&requests()[0]).file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("0123abcd-") && name.ends_with(concat!("-", env!("CARGO_PKG_VERSION"), ".onnx")), "{name}");
}

#[test]
fn damaged_files_are_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path(), LIMIT);
    let spec = &requests()[1];
    let bytes = write::to_bytes(&graph::instrument(&prepared(), spec).unwrap().graph);
    let damages: [fn(&mut Vec<u8>); 4] = [Vec::clear, |b| b.truncate(b.len() / 2), |b| b[40] ^= 1, |b| b.truncate(b.len() - 1)];
    for damage in damages {
        cache.write(spec, &bytes, Duration::ZERO);
        let mut file = fs::read(cache.path(spec)).unwrap();
        damage(&mut file);
        fs::write(cache.path(spec), file).unwrap();
        assert!(cache.read(spec).is_none());
        assert!(!cache.path(spec).exists());
    }
}

#[test]
fn the_folder_stays_small_and_fast_graphs_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let specs = requests();
    let small = cache(dir.path(), 2_500);
    for (i, spec) in specs[..3].iter().enumerate() {
        small.write(spec, &[7; 1_000], Duration::ZERO);
        let then = SystemTime::now() - Duration::from_secs(100 - i as u64);
        File::open(small.path(spec)).unwrap().set_modified(then).unwrap();
    }
    small.bound();
    let kept: Vec<bool> = specs[..3].iter().map(|s| small.path(s).exists()).collect();
    assert_eq!(kept, [false, true, true], "the oldest went");
    let patient = GraphCache { slow: SLOW, ..small };
    patient.write(&specs[3], &[7; 10], Duration::from_millis(10));
    assert!(!patient.path(&specs[3]).exists());
    // A folder that cannot be made is no error.
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    cache(&file.join("graphs"), LIMIT).write(&specs[0], &[1], Duration::ZERO);
}

#[test]
fn writers_and_readers_at_once_see_whole_files_only() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path(), LIMIT);
    let spec = requests().remove(0);
    let bytes = write::to_bytes(&graph::instrument(&prepared(), &spec).unwrap().graph);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    cache.write(&spec, &bytes, Duration::ZERO);
                    assert!(cache.read(&spec).is_some());
                }
            });
        }
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no unfinished file is left");
}
