use super::*;

#[test]
fn messages_name_the_missing_library() {
    let message = "/onnxruntime_src/provider_bridge.cc:2195 Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No such file or directory";
    let text = explain(Device::Cuda(0), message);
    assert!(text.starts_with("CUDA:0 cannot be used: libcublasLt.so.13 is missing; install the CUDA libraries"), "{text}");
    let text = explain(Device::TensorRt(1), "error: libnvinfer.so.10: cannot open shared object file");
    assert!(text.contains("TensorRT:1") && text.contains("install TensorRT 10"), "{text}");
    assert!(explain(Device::Cuda(7), "CUDA failure 101: invalid device ordinal ; GPU=7").contains("no GPU with that number"));
    assert!(explain(Device::Cuda(0), "odd\nthing").contains("odd thing; use --device cpu"));
}

#[test]
fn site_packages_of_a_wheel() {
    let sites = site_packages_of(Path::new("/v/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1"), &|_| None);
    assert_eq!(sites, [PathBuf::from("/v/lib/python3.12/site-packages")]);
}

#[test]
fn automatic_devices_come_best_first() {
    assert_eq!(automatic(&["TensorRT", "CUDA", "CPU"], false), [Device::Cuda(0), Device::Cpu]);
    assert_eq!(automatic(&["TensorRT", "CUDA", "CPU"], true), [Device::TensorRt(0), Device::Cuda(0), Device::Cpu]);
    assert_eq!(automatic(&["CPU"], true), [Device::Cpu]);
}

/// Compiles an empty shared library; false without a compiler.
#[cfg(target_os = "linux")]
fn stub(file: &Path, needs: &[&Path]) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut command = std::process::Command::new("cc");
    command.args(["-shared", "-fPIC", "-x", "c", "/dev/null", "-o"]).arg(file).arg(format!("-Wl,-soname,{name},--no-as-needed"));
    for library in needs {
        // Named by file after the language is given back to the linker.
        command.args(["-x", "none"]).arg(library);
    }
    command.output().is_ok_and(|o| o.status.success())
}

#[test]
#[cfg(target_os = "linux")]
fn libraries_of_pip_are_loaded_in_order_and_the_missing_one_is_named() {
    let site = tempfile::tempdir().unwrap();
    let cuda = site.path().join("nvidia/cu99/lib");
    let (lib, cudnn) = (site.path().join("nvidia/cublas/lib"), site.path().join("nvidia/cudnn/lib"));
    for folder in [&cuda, &lib, &cudnn] {
        std::fs::create_dir_all(folder).unwrap();
    }
    // Versions that no real library has, so that nothing installed here can take their place.
    let light = lib.join("libcublasLt.so.990");
    let heavy = lib.join("libcublas.so.990");
    let (lost, dnn) = (cuda.join("libnvrtc-gone.so.990"), cudnn.join("libcudnn.so.990"));
    if !stub(&light, &[]) || !stub(&heavy, &[&light]) || !stub(&lost, &[]) || !stub(&dnn, &[&lost]) {
        eprintln!("skipped: there is no C compiler to make stub libraries");
        return;
    }
    std::fs::remove_file(&lost).unwrap();
    let loaded = preload_nvidia(&[site.path().to_path_buf()]);
    // cuBLAS finds cuBLASLt although no loader path names its folder.
    assert_eq!(loaded[..2], [Ok(light), Ok(heavy)]);
    let why = loaded[2].as_ref().unwrap_err();
    let text = explain(Device::Cuda(0), why);
    assert!(text.contains("libnvrtc-gone.so.990 is missing") && text.contains("--device cpu"), "{text}");
}
