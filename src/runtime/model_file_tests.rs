use prost::Message;

use super::*;
use crate::core::onnx::{DType, Dim, Node, TensorData, TensorType, ValueInfo, pb, write};

fn graph() -> Graph {
    let ty = TensorType { dtype: DType::F32, shape: Some(vec![Dim::Batch(1), Dim::Fixed(2)]) };
    let value = |name: &str| ValueInfo { name: name.into(), ty: ty.clone() };
    let mut g = Graph { ir_version: 8, opset: 17, inputs: vec![value("x")], outputs: vec![value("y")], ..Graph::default() };
    g.nodes.push(Node::new("Add", &["x", "w"], &["y"]));
    g.initializers.insert("w".into(), TensorData::f32(&[2], &[1.5, -2.0]));
    g
}

/// A model whose weight is the first 8 bytes of the file at `location`.
fn external(location: &str) -> Vec<u8> {
    let mut proto = write::to_proto(&graph());
    let tensor = &mut proto.graph.as_mut().unwrap().initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
    tensor.external_data = vec![pb::StringStringEntryProto { key: Some("location".into()), value: Some(location.into()) }];
    proto.encode_to_vec()
}

fn weights() -> Vec<u8> {
    [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn message(path: &Path) -> String {
    load(path).unwrap_err().to_string()
}

#[test]
fn a_model_is_read_and_named_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, write::to_bytes(&graph())).unwrap();
    let model = load(&path).unwrap();
    assert_eq!(model.graph.nodes.len(), 1);
    assert_eq!(model.sha256.len(), 64);
    assert_eq!(model.sha256, model.fingerprint);
}

#[test]
fn what_is_not_a_model_gets_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    assert!(message(&dir.path().join("absent.onnx")).contains("no such file"));
    assert!(message(dir.path()).contains("is a folder"));
    assert!(message(&file("empty.onnx", b"")).contains("is empty"));
    assert!(message(&file("lfs.onnx", b"version https://git-lfs.example/spec/v1\noid sha256:00\n")).contains("git lfs pull"));
    assert!(message(&file("m.pt", b"PK\x03\x04....")).contains("torch.onnx.export"));
    assert!(message(&file("p.png", b"\x89PNG\r\n\x1a\n")).contains("picture"));
    assert!(message(&file("page.onnx", b"\n<!DOCTYPE html><html>")).contains("web page"));
    assert!(message(&file("noise.onnx", &[0xff; 300])).contains("not an ONNX model"));
    let whole = write::to_bytes(&graph());
    for cut in 1..whole.len() {
        let text = message(&file("cut.onnx", &whole[..cut]));
        assert!(!text.contains('\n') && text.contains("cut.onnx"), "{text}");
    }
}

#[test]
fn external_data_beside_the_model_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    for location in ["w.bin", "./w.bin", "data/w.bin"] {
        std::fs::write(dir.path().join(location), weights()).unwrap();
        let path = dir.path().join("m.onnx");
        std::fs::write(&path, external(location)).unwrap();
        let model = load(&path).unwrap();
        assert_eq!(model.graph.initializers["w"].to_f64().unwrap(), [1.5, -2.0]);
        assert_ne!(model.sha256, model.fingerprint);
    }
}

#[test]
fn external_data_outside_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("model");
    std::fs::create_dir(&inside).unwrap();
    let secret = dir.path().join("secret.bin");
    std::fs::write(&secret, weights()).unwrap();
    let path = inside.join("m.onnx");
    let absolute = secret.display().to_string();
    for location in ["../secret.bin", "sub/../../secret.bin", absolute.as_str(), "..\\secret.bin", "", "."] {
        std::fs::write(&path, external(location)).unwrap();
        assert!(load(&path).is_err(), "{location}");
    }
    std::fs::write(&path, external("../secret.bin")).unwrap();
    assert!(message(&path).contains("outside its own folder"));
    std::fs::write(&path, external("gone.bin")).unwrap();
    assert!(message(&path).contains("download it too"));
    std::fs::write(inside.join("short.bin"), [0; 3]).unwrap();
    std::fs::write(&path, external("short.bin")).unwrap();
    assert!(message(&path).contains("too short"));
}

#[cfg(unix)]
#[test]
fn links_may_not_leave_the_folder_except_into_the_models_own_blobs() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (dir.path().join("blobs"), dir.path().join("snapshots/abc"));
    std::fs::create_dir(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(blobs.join("11"), external("m.onnx_data")).unwrap();
    std::fs::write(blobs.join("22"), weights()).unwrap();
    symlink("../../blobs/11", snapshot.join("m.onnx")).unwrap();
    symlink("../../blobs/22", snapshot.join("m.onnx_data")).unwrap();
    assert!(load(&snapshot.join("m.onnx")).is_ok());

    // The same data from a model that is not itself a link.
    let plain = dir.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    std::fs::write(plain.join("m.onnx"), external("m.onnx_data")).unwrap();
    symlink("../blobs/22", plain.join("m.onnx_data")).unwrap();
    assert!(message(&plain.join("m.onnx")).contains("outside its own folder"));

    // A link out of the cache altogether.
    std::fs::write(dir.path().join("secret"), weights()).unwrap();
    std::fs::remove_file(snapshot.join("m.onnx_data")).unwrap();
    symlink("../../secret", snapshot.join("m.onnx_data")).unwrap();
    assert!(message(&snapshot.join("m.onnx")).contains("outside its own folder"));
}
