//! The program from outside: JSON keys, exit codes, files, and one clear sentence for every kind of bad input.

mod common;

use std::path::{Path, PathBuf};

use common::{
    program::{fails, json, psescope},
    root,
};
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";
const PANDA: &str = "samples/panda.jpg";

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn attack_writes_json_arrays_pictures_and_a_run() {
    let home = TempDir::new().expect("a folder");
    let (npy, png, run) = (home.path().join("npy"), home.path().join("png"), home.path().join("run.pse"));
    let report =
        json(psescope(&home).args(["attack", MODEL, PANDA, "--attack", "ifgsm", "--eps", "8/255", "--steps", "4", "--json"]).args([
            "--npy".as_ref(),
            npy.as_os_str(),
            "--png".as_ref(),
            png.as_os_str(),
            "--out".as_ref(),
            run.as_os_str(),
        ]));
    assert_eq!(report["schema"], "psescope.attack/1");
    assert_eq!(keys(&report)[..2], ["schema", "version"]);
    assert_eq!(report["true"]["index"], 388);
    assert_eq!(report["target"], Value::Null);
    assert_eq!(report["success"], true);
    assert_eq!(report["steps"], 4);
    assert!((report["params"]["eps"].as_f64().expect("a number") - 8.0 / 255.0).abs() < 1e-9);
    assert!(report["norms"]["linf"].as_f64().expect("a number") <= 8.0 / 255.0 + 1e-6);
    assert_ne!(report["adversarial"]["top"][0]["index"], 388);
    assert_eq!(report["clean"]["top"][0]["index"], 388);

    let [x0, adv, delta] = ["x0.npy", "adv.npy", "delta.npy"].map(|f| common::array(&npy.join(f)));
    assert_eq!(x0.shape(), [3, 227, 227]);
    assert_eq!(&adv - &x0, delta);
    for file in ["clean.png", "adversarial.png", "perturbation.png"] {
        assert_eq!(image::open(png.join(file)).expect("a PNG").to_rgb8().dimensions(), (227, 227));
    }

    let map = json(psescope(&home).args(["pse".as_ref(), run.as_os_str()]).args(["--grid", "7", "--mode", "linear", "--json"]));
    assert_eq!(map["schema"], "psescope.pse/1");
    assert_eq!(map["grid"]["rows"], 7);
    assert_eq!(map["cells"].as_array().expect("cells").len(), 49);
    assert_eq!(keys(&map["cells"][0]), ["row", "col", "s_raw", "b_raw", "s", "b", "r", "type"]);

    let stored =
        json(psescope(&home).args(["pse", MODEL, PANDA, "--true", "388", "--grid", "3", "--json", "--adv"]).arg(npy.join("adv.npy")));
    assert_eq!(stored["mode"], "exact");
    assert!(stored["forwards"].as_u64().expect("a number") >= 9);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let home = TempDir::new().expect("a folder");
    let run = |seed: &str, out: &str| {
        let dir = home.path().join(out);
        psescope(&home)
            .args(["attack", MODEL, PANDA, "--attack", "pgd", "--steps", "2", "--seed", seed, "--npy"])
            .arg(&dir)
            .assert()
            .success();
        std::fs::read(dir.join("adv.npy")).expect("written")
    };
    let first = run("1", "a");
    assert_eq!(first, run("1", "b"));
    assert_ne!(first, run("2", "c"));
}

#[test]
fn cam_grad_inspect_and_doctor_keep_their_contracts() {
    let home = TempDir::new().expect("a folder");
    let cam = json(psescope(&home).args(["cam", MODEL, PANDA, "--method", "cam", "--json"]));
    assert_eq!(cam["schema"], "psescope.cam/1");
    assert_eq!(cam["class"]["index"], 388);
    let shape: Vec<usize> = cam["shape"].as_array().expect("shape").iter().map(|v| v.as_u64().expect("a size") as usize).collect();
    assert_eq!(cam["raw"].as_array().expect("raw").len(), shape[0] * shape[1]);

    let out = home.path().join("grad.onnx");
    let grad = json(psescope(&home).args(["grad", MODEL, "--json", "--check", "-o"]).arg(&out));
    assert_eq!(grad["schema"], "psescope.grad/1");
    assert!(grad["missing"].as_array().expect("missing").is_empty());
    let limit = if grad["check"]["float64"] == true { 1e-3 } else { 0.05 };
    assert!(grad["check"]["relative_error"].as_f64().expect("an error") < limit, "{grad}");
    assert!(out.metadata().expect("written").len() > 100_000);

    let inspect = json(psescope(&home).args(["inspect", MODEL, "--json"]));
    assert_eq!(inspect["schema"], "psescope.inspect/1");
    assert_eq!(inspect["logits"]["classes"], 1000);
    assert_eq!(inspect["linear_head"], "fire9");

    let doctor = json(psescope(&home).args(["doctor", "--json"]));
    assert_eq!(doctor["schema"], "psescope.doctor/1");
}

#[test]
fn usage_errors_end_with_two() {
    let home = TempDir::new().expect("a folder");
    fails(psescope(&home).args(["attack", MODEL, PANDA, "--attack", "nonsense"]), 2, "nonsense");
    fails(psescope(&home).args(["attack", MODEL, PANDA, "--eps", "much"]), 2, "eps");
    fails(psescope(&home).args(["attack", MODEL, PANDA, "--eps", "-1"]), 2, "eps");
    fails(psescope(&home).args(["attack", MODEL, PANDA, "--target", "1000"]), 2, "1000");
    fails(psescope(&home).args(["attack", MODEL, PANDA, "--target", "388"]), 2, "388");
    fails(psescope(&home).args(["attack", MODEL, PANDA, "--device", "toaster"]), 2, "toaster");
    fails(psescope(&home).args(["pse", MODEL, PANDA, "--grid", "0"]), 2, "grid");
    fails(psescope(&home).args(["pse", MODEL]), 2, "image");
    fails(psescope(&home).args(["cam", MODEL, PANDA, "--class", "5000"]), 2, "5000");
}

#[test]
fn unusable_files_end_with_three_and_one_sentence() {
    let home = TempDir::new().expect("a folder");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let model = std::fs::read(root().join(MODEL)).expect("the sample model");
    let photo = std::fs::read(root().join(PANDA)).expect("the sample photo");

    let attack = |model: &Path, image: &Path| {
        let mut command = psescope(&home);
        command.arg("attack").arg(model).arg(image);
        command
    };
    let (good_model, good_image) = (root().join(MODEL), root().join(PANDA));
    fails(&mut attack(Path::new("nowhere.onnx"), &good_image), 3, "nowhere.onnx");
    fails(&mut attack(&root().join("onnx"), &good_image), 3, "onnx");
    fails(&mut attack(&file("empty.onnx", b""), &good_image), 3, "empty.onnx");
    fails(&mut attack(&file("text.onnx", b"this is not a model"), &good_image), 3, "ONNX");
    fails(&mut attack(&file("cut.onnx", &model[..model.len() / 2]), &good_image), 3, "ONNX");
    fails(&mut attack(&good_image, &good_image), 3, "picture");
    fails(&mut attack(&good_model, Path::new("nowhere.jpg")), 3, "nowhere.jpg");
    fails(&mut attack(&good_model, &file("empty.jpg", b"")), 3, "empty.jpg");
    fails(&mut attack(&good_model, &file("text.jpg", b"not a picture")), 3, "text.jpg");
    fails(&mut attack(&good_model, &file("cut.jpg", &photo[..photo.len() / 2])), 3, "cut.jpg");
    fails(&mut attack(&good_model, &good_model), 3, "squeezenet1_1.onnx");
    for alone in [PANDA, MODEL] {
        fails(psescope(&home).args(["layers", alone]), 2, "give a model and an image");
    }
    fails(psescope(&home).arg("pse").arg(file("cut.pse", b"\x10\0\0\0\0\0\0\0{")), 3, "cut.pse");

    let wrong = home.path().join("wrong.npy");
    ndarray_npy::write_npy(&wrong, &ndarray::Array3::<f32>::zeros((3, 5, 5))).expect("written");
    fails(&mut attack(&good_model, &wrong), 3, "wrong.npy");
}

#[test]
fn an_operator_without_a_rule_is_named() {
    let home = TempDir::new().expect("a folder");
    let path = home.path().join("odd.onnx");
    std::fs::write(&path, odd_model()).expect("written");
    fails(psescope(&home).args(["grad", "-o", "/dev/null"]).arg(&path), 3, "GridSample");
    let inspect = json(psescope(&home).args(["inspect", "--json"]).arg(&path));
    assert_eq!(inspect["gradient"]["missing"][0]["op"], "GridSample");
}

/// A model whose path from image to logits runs through an operator nobody differentiates.
fn odd_model() -> Vec<u8> {
    use psescope::core::onnx::{DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo, write};
    let value = |name: &str, shape: Vec<Dim>| ValueInfo { name: name.into(), ty: TensorType { dtype: DType::F32, shape: Some(shape) } };
    let graph = Graph {
        name: "odd".into(),
        ir_version: 8,
        opset: 17,
        inputs: vec![value("image", vec![Dim::Batch(1), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)])],
        outputs: vec![value("logits", vec![Dim::Batch(1), Dim::Fixed(3)])],
        nodes: vec![
            Node::new("GridSample", &["image", "places"], &["odd"]),
            Node::new("GlobalAveragePool", &["odd"], &["pooled"]),
            Node::new("Flatten", &["pooled"], &["logits"]),
        ],
        initializers: [("places".to_owned(), TensorData::f32(&[1, 2, 2, 2], &[0.0; 8]))].into_iter().collect(),
        ..Graph::default()
    };
    write::to_bytes(&graph)
}

#[test]
fn a_failed_attack_is_one_only_when_asked() {
    let home = TempDir::new().expect("a folder");
    let args = ["attack", MODEL, PANDA, "--eps", "0.00001", "--alpha", "0.00001", "--steps", "1"];
    psescope(&home).args(args).assert().code(0);
    psescope(&home).args(args).arg("--exit-code").assert().code(1);
}

#[test]
fn the_program_describes_itself() {
    let home = TempDir::new().expect("a folder");
    for args in [&["--help"][..], &["--version"], &["attack", "--help"]] {
        let assert = psescope(&home).args(args).assert().success();
        assert!(!assert.get_output().stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn the_inspector_refuses_a_pipe_with_a_hint() {
    let home = TempDir::new().expect("a folder");
    fails(psescope(&home).args([MODEL, PANDA]), 3, "psescope attack");
}
